//! Safetensors, single and sharded: a header that holds together or an error, within its memory.

use std::io;
use std::sync::Arc;

use tern_formats::safetensors::{self, Header, Writer};
use tern_formats::{BytesSource, DType, Source};

use crate::bytes::Choices;
use crate::watch::{Budget, within};

/// The read window and what a message takes.
const CONSTANT: usize = 64 << 10;

/// One case.
pub fn case(data: &[u8]) {
    if let Some(file) = crate::raw(data) {
        return check(file.to_vec(), false);
    }
    let mut c = Choices::new(data);
    if c.once_in(4) {
        return sharded(&mut c);
    }
    let (header, data_len, valid) = header(&mut c);
    let mut file = Vec::new();
    let broken_len = !valid && c.once_in(4);
    file.extend(if broken_len { c.extreme() } else { header.len() as u64 }.to_le_bytes());
    file.extend(header.as_bytes());
    file.resize(file.len() + data_len, 7);
    check(file, valid);
}

fn check(file: Vec<u8>, valid: bool) {
    let len = file.len();
    let source = BytesSource::new("fuzz.safetensors", file);
    let budget = Budget::new(2 * len + CONSTANT, len);
    let header = match within(budget, "reading a header", || Header::read(&source)) {
        Ok(header) => header,
        Err(error) => {
            assert!(!valid, "refused a valid file: {error}");
            assert!(error.to_string().len() < len + (4 << 10), "an error of {} bytes", error.to_string().len());
            return;
        }
    };
    let mut end = header.data_start;
    let mut order: Vec<_> = header.tensors.iter().collect();
    order.sort_by_key(|t| (t.offset, t.bytes));
    for t in order {
        assert_eq!(t.offset, end, "{} does not follow the one before", t.name);
        end += t.bytes;
    }
    assert_eq!(end, len as u64, "the tensors fill the file");
    let opened = safetensors::open(Arc::new(source)).expect("what was read opens");
    let again = written_again(&opened);
    let reopened = safetensors::open(Arc::new(BytesSource::new("again", again.clone()))).expect("ours opens");
    assert_eq!(again, written_again(&reopened), "written twice, the bytes are the same");
}

fn written_again(file: &safetensors::Safetensors) -> Vec<u8> {
    let mut writer = Writer::new("again");
    for (key, value) in file.metadata.iter() {
        writer.metadata(key, value).expect("a string that was read");
    }
    for t in file.checkpoint.tensors() {
        writer.tensor(&*t.name, t.dtype, t.shape.clone()).expect("a tensor that was read");
    }
    let mut body = writer.begin(Vec::new()).expect("a vector takes all");
    for t in file.checkpoint.tensors() {
        body.write(&file.checkpoint.read(t).expect("within the file")).expect("a vector takes all");
    }
    body.finish().expect("all tensors are there")
}

/// A header, the data it asks for, and whether it is valid.
fn header(c: &mut Choices<'_>) -> (String, usize, bool) {
    let may = !c.once_in(4);
    let mut broken = false;
    let mut breaks = |c: &mut Choices<'_>| {
        let breaks = may && c.once_in(16);
        broken |= breaks;
        breaks
    };
    let (mut members, mut end) = (Vec::new(), 0usize);
    if c.once_in(2) {
        let value = if breaks(c) { "[1]".to_string() } else { serde_json::json!({ "format": c.text(8) }).to_string() };
        members.push(format!("\"__metadata__\":{value}"));
    }
    let plain: Vec<DType> = DType::ALL.iter().copied().filter(|d| !d.is_quantized()).collect();
    for i in 0..c.below(6) {
        let dtype = *c.pick(&plain);
        let shape: Vec<u64> =
            (0..c.below(4)).map(|_| if breaks(c) { c.extreme() } else { c.below(5) as u64 }).collect();
        let bytes = shape.iter().fold(dtype.block_bytes() as u64, |n, d| n.wrapping_mul(*d)) as usize;
        let bytes = bytes.min(4 << 10);
        let (begin, stop) = if breaks(c) { (c.extreme(), c.extreme()) } else { (end as u64, (end + bytes) as u64) };
        end += bytes;
        let code = if breaks(c) { c.text(4) } else { dtype.name().to_string() };
        let name = serde_json::Value::from(if breaks(c) { c.text(12) } else { format!("t{i}{}", c.text(12)) });
        let code = serde_json::Value::from(code);
        members.push(format!("{name}:{{\"dtype\":{code},\"shape\":{shape:?},\"data_offsets\":[{begin},{stop}]}}"));
    }
    if breaks(c) && !members.is_empty() {
        members.push(members[c.below(members.len())].clone());
    }
    let mut text = format!("{{{}}}", members.join(","));
    if breaks(c) {
        let at = (0..=c.below(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
    }
    (text, end, !broken)
}

/// An index over two shards of which names, places and shards can be wrong.
fn sharded(c: &mut Choices<'_>) {
    const NAMES: &[&str] = &["a.safetensors", "b.safetensors", "../a", "/etc/passwd", "", "c", "a\u{0}b", "CON", "a/b"];
    let (one, two) = (shard("x", c.below(3)), shard("y", c.below(3)));
    let map: Vec<String> = ["x", "y", "z"][..1 + c.below(3)]
        .iter()
        .map(|name| format!("\"{name}\":{}", serde_json::Value::from(*c.pick(NAMES))))
        .collect();
    let mut index = format!("{{\"metadata\":{{}},\"weight_map\":{{{}}}}}", map.join(",")).into_bytes();
    if c.once_in(4) {
        let at = c.below(index.len());
        index[at] = c.number();
    }
    let index = BytesSource::new("index", index);
    let open = |name: &str| -> io::Result<Box<dyn Source>> {
        assert!(!name.contains(['/', '\\', '\0']) && name != ".." && !name.is_empty(), "asked for {name:?}");
        match name {
            "a.safetensors" => Ok(Box::new(BytesSource::new(name, one.clone()))),
            "b.safetensors" => Ok(Box::new(BytesSource::new(name, two.clone()))),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    };
    if let Ok(checkpoint) = safetensors::open_sharded(&index, &open) {
        for t in checkpoint.tensors() {
            checkpoint.read(t).expect("a tensor of a checked shard");
        }
    }
}

fn shard(name: &str, elements: usize) -> Vec<u8> {
    let mut writer = Writer::new("shard");
    writer.tensor(name, DType::U8, vec![elements as u64]).expect("a small tensor");
    let mut body = writer.begin(Vec::new()).expect("a vector takes all");
    body.write(&vec![1; elements]).expect("a vector takes all");
    body.finish().expect("all is there")
}
