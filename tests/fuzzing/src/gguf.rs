//! GGUF: whatever the bytes are, the reader ends in a header that holds together or in an error, within its memory.

use std::sync::Arc;

use tern_formats::gguf::{self, GgmlType, Header, ReadOptions, SPLIT_COUNT_KEY, ValueType, Writer, ggml_type};
use tern_formats::{BytesSource, DType};

use crate::bytes::Choices;
use crate::watch::{Budget, within};

/// The read window and what a message takes.
const CONSTANT: usize = 64 << 10;

/// One case.
pub fn case(data: &[u8]) {
    let (file, valid) = match crate::raw(data) {
        Some(file) => (file.to_vec(), false),
        None => File::choose(&mut Choices::new(data)),
    };
    check(file, valid);
}

fn check(file: Vec<u8>, valid: bool) {
    let len = file.len();
    let source = BytesSource::new("fuzz.gguf", file.clone());
    let budget = Budget::new(2 * len + CONSTANT, len);
    let header = match within(budget, "reading a header", || Header::read(&source)) {
        Ok(header) => header,
        Err(error) => {
            assert!(!valid, "refused a valid file: {error}");
            // It may quote a key, which may be long.
            assert!(error.to_string().len() < len + (4 << 10), "an error of {} bytes", error.to_string().len());
            let _ = Header::read_with(&source, ReadOptions { allow_trailing: true, ..ReadOptions::default() });
            return;
        }
    };
    for t in &header.tensors {
        let end = t.offset.checked_add(t.bytes).expect("an extent that fits");
        assert!(t.offset >= header.data_start && end <= len as u64, "{} outside of the file", t.name);
    }
    for (key, _) in header.metadata.entries() {
        let m = &header.metadata;
        let _ = (m.u32(key), m.f64(key), m.str(key), m.bool(key), m.u32_per_layer(key, 3));
    }
    let opened = match gguf::open(Arc::new(source)) {
        Ok(opened) => opened,
        // A part of a split model, or a file that says something untrue about being one.
        Err(_) if header.metadata.contains(SPLIT_COUNT_KEY) => return,
        Err(error) => panic!("what was read does not open: {error}"),
    };
    for t in opened.checkpoint.tensors() {
        let bytes = opened.checkpoint.read(t).expect("tensors within the file can be read");
        assert_eq!(bytes.len() as u64, t.bytes);
    }
    // Written again, padding changes, and with it what tells other ids' meanings apart.
    if !opened.checkpoint.tensors().iter().all(|t| certain(&t.dtype)) {
        return;
    }
    let again = written_again(&opened);
    assert_eq!(
        again,
        written_again(&gguf::open(Arc::new(BytesSource::new("again", again.clone()))).expect("ours opens"))
    );
    if valid {
        assert_eq!(again, file, "a valid file written again has the same bytes");
    }
}

/// Whether the dtype's id means it and nothing else.
fn certain(dtype: &DType) -> bool {
    dtype.ggml_code().is_some_and(|code| ggml_type(code) == GgmlType::Known(*dtype))
}

fn written_again(file: &gguf::Gguf) -> Vec<u8> {
    let mut writer = Writer::new("again");
    for (key, value) in file.metadata.entries() {
        writer.key(key, value).expect("a key that was read");
    }
    // Data lies in the order of offsets, which need not be that of the infos.
    for t in file.checkpoint.tensors() {
        writer.tensor(&*t.name, t.dtype, t.shape.clone()).expect("a tensor that was read");
    }
    let mut body = writer.begin(Vec::new()).expect("a vector takes all");
    for t in file.checkpoint.tensors() {
        body.write(&file.checkpoint.read(t).expect("within the file")).expect("a vector takes all");
    }
    body.finish().expect("all tensors are there")
}

/// A file by its parts, so that parts can be wrong.
#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    broken: bool,
}

impl File {
    fn choose(c: &mut Choices<'_>) -> (Vec<u8>, bool) {
        let breaks = !c.once_in(4);
        let mut file = Self::default();
        let (keys, tensors) = (c.below(8), c.below(6));
        let magic = if file.breaks(c, breaks) { b"GGUE" } else { &gguf::MAGIC };
        file.bytes.extend(magic);
        file.number32(c, breaks, 3);
        file.number(c, breaks, tensors as u64);
        file.number(c, breaks, keys as u64);
        let mut alignment = 32;
        for i in 0..keys {
            if i == 0 && c.once_in(4) {
                alignment = 8 << c.below(4);
                file.string(c, breaks, gguf::ALIGNMENT_KEY);
                file.number32(c, breaks, 4);
                file.number32(c, breaks, alignment as u32);
                continue;
            }
            let name = c.text(12);
            file.string(c, breaks, &format!("{i}{name}"));
            file.value(c, breaks);
        }
        let mut end = 0u64;
        for i in 0..tensors {
            let name = c.text(12);
            file.string(c, breaks, &format!("t{i}{name}"));
            end = end.next_multiple_of(alignment) + file.tensor(c, breaks, end.next_multiple_of(alignment));
        }
        // Without tensors there is padding too: other writers do it, and so does ours.
        let data = file.bytes.len().next_multiple_of(alignment as usize) + end as usize;
        file.bytes.resize(data.next_multiple_of(alignment as usize), 0);
        if breaks && c.once_in(8) {
            let keep = c.below(file.bytes.len() + 1);
            file.bytes.truncate(keep);
            file.broken = true;
        }
        (file.bytes, !file.broken)
    }

    /// Whether to break what comes next.
    fn breaks(&mut self, c: &mut Choices<'_>, may: bool) -> bool {
        let breaks = may && c.once_in(24);
        self.broken |= breaks;
        breaks
    }

    fn number(&mut self, c: &mut Choices<'_>, may: bool, right: u64) {
        let number = if self.breaks(c, may) { c.extreme() } else { right };
        self.bytes.extend(number.to_le_bytes());
    }

    fn number32(&mut self, c: &mut Choices<'_>, may: bool, right: u32) {
        let number = if self.breaks(c, may) { c.extreme() as u32 } else { right };
        self.bytes.extend(number.to_le_bytes());
    }

    fn string(&mut self, c: &mut Choices<'_>, may: bool, text: &str) {
        self.number(c, may, text.len() as u64);
        let at = self.bytes.len();
        self.bytes.extend(text.as_bytes());
        if !text.is_empty() && self.breaks(c, may) {
            self.bytes[at] = c.number();
        }
    }

    fn value(&mut self, c: &mut Choices<'_>, may: bool) {
        let kind = c.below(13) as u32;
        self.number32(c, may, kind);
        match kind {
            9 => {
                let kind = *c.pick(&[0u32, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]);
                let n = c.below(9);
                self.number32(c, may, kind);
                self.number(c, may, n as u64);
                (0..n).for_each(|_| self.scalar(c, may, kind));
            }
            kind => self.scalar(c, may, kind),
        }
    }

    fn scalar(&mut self, c: &mut Choices<'_>, may: bool, kind: u32) {
        let bytes = match ValueType::from_code(kind) {
            Some(ValueType::String) => {
                let text = c.text(16);
                return self.string(c, may, &text);
            }
            Some(ValueType::Bool) => {
                let byte = if self.breaks(c, may) { c.number::<u8>() } else { c.below(2) as u8 };
                return self.bytes.push(byte);
            }
            Some(ValueType::U8 | ValueType::I8) => 1,
            Some(ValueType::U16 | ValueType::I16) => 2,
            Some(ValueType::U32 | ValueType::I32 | ValueType::F32) => 4,
            _ => 8,
        };
        let bytes = c.bytes(bytes);
        self.bytes.extend(bytes);
    }

    /// A tensor info at an offset; gives the bytes of its data.
    fn tensor(&mut self, c: &mut Choices<'_>, may: bool, offset: u64) -> u64 {
        // Ids that have had several meanings are read only with further evidence.
        let dtypes: Vec<DType> = DType::ALL.iter().copied().filter(certain).collect();
        let dtype = *c.pick(&dtypes);
        let dims = 1 + c.below(3);
        self.number32(c, may, dims as u32);
        let mut elements = 1;
        for i in 0..dims {
            let dim = (1 + c.below(3) as u64) * if i == 0 { dtype.block_len() as u64 } else { 1 };
            elements *= dim;
            self.number(c, may, dim);
        }
        self.number32(c, may, dtype.ggml_code().unwrap_or(0));
        self.number(c, may, offset);
        elements / dtype.block_len() as u64 * dtype.block_bytes() as u64
    }
}
