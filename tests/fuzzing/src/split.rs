//! GGUF in several files: whatever the parts are, opening any of them ends in one model or in an error that names a part, and
//! asks for no file but the parts'.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

use tern_formats::gguf::{
    self, ALIGNMENT_KEY, Gguf, Header, ReadOptions, SPLIT_COUNT_KEY, SPLIT_NO_KEY, SPLIT_TENSORS_KEY, Value, Writer,
};
use tern_formats::{BytesSource, DType, FormatError, PartLimit, Source};

use crate::bytes::Choices;
use crate::watch::{Budget, within};

/// A read window, names of parts, and what a message takes.
const CONSTANT: usize = 64 << 10;

const PREFIX: &str = "model";

/// Files by name, in memory before anything is counted.
type Files = BTreeMap<String, Arc<[u8]>>;

/// One case.
pub fn case(data: &[u8]) {
    if let Some(file) = crate::raw(data) {
        // The same bytes under both names: at most one of them can be the part that it says.
        let files = [0, 1].map(|no| (gguf::part_name(PREFIX, no, 2), Arc::from(file))).into();
        return broken(&files, &gguf::part_name(PREFIX, 0, 2));
    }
    let mut c = Choices::new(data);
    let model = Model::choose(&mut c);
    let mut files = model.split(model.limit);
    let names: Vec<String> = files.keys().cloned().collect();
    let given = c.pick(&names).clone();
    if c.once_in(4) {
        return valid(&model, &files, &given);
    }
    for _ in 0..=c.below(2) {
        break_something(&mut c, &mut files);
    }
    // The part that was given may be gone; then there is nothing to open.
    if files.contains_key(&given) {
        broken(&files, &given);
    }
}

/// Opens the model of a part, within its memory, and checks which files were asked for.
fn open(files: &Files, given: &str) -> Result<Gguf, FormatError> {
    let asked = RefCell::new(HashSet::new());
    let len = files.values().map(|f| f.len()).sum::<usize>();
    let budget = Budget::new(2 * len + CONSTANT, len);
    let opened = within(budget, "opening parts", || {
        let opener = |name: &str| -> io::Result<Box<dyn Source>> {
            assert!(asked.borrow_mut().insert(name.to_owned()), "{name} is opened twice");
            let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(BytesSource::new(name, Arc::clone(file))))
        };
        let source = Arc::new(BytesSource::new(given, Arc::clone(&files[given])));
        gguf::open_split(source, given, &opener, ReadOptions::default())
    });
    for name in asked.borrow().iter() {
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        assert!(name.starts_with(PREFIX) && name.ends_with(".gguf") && digits.len() >= 10, "{name} is no part's name");
        assert!(!name.contains(['/', '\\']) && name != given, "{name} was opened");
    }
    opened
}

fn valid(model: &Model<'_>, files: &Files, given: &str) {
    let opened = open(files, given).unwrap_or_else(|error| panic!("refused a valid model: {error}"));
    let found = opened.checkpoint.tensors();
    assert_eq!(found.len(), model.tensors.len());
    for (t, (name, dtype, shape, data)) in found.iter().zip(&model.tensors) {
        assert_eq!((&*t.name, t.dtype, &*t.shape), (name.as_str(), *dtype, shape.as_slice()));
        assert_eq!(*opened.checkpoint.read(t).expect("within its part"), **data, "{name}");
    }
    // The keys of splitting are gone, unless all is in one file; the others are the model's.
    let kept = opened.metadata.entries().filter(|(key, _)| !key.starts_with("split."));
    let keys: Vec<_> = kept.map(|(key, value)| (key.to_owned(), value)).collect();
    // As text, since NaN is not equal to itself.
    assert_eq!(format!("{keys:?}"), format!("{:?}", model.keys));
    let again = Model { keys, tensors: model.tensors.clone(), limit: model.limit };
    assert_eq!(again.split(model.limit), *files, "split again");
}

fn broken(files: &Files, given: &str) {
    let opened = match open(files, given) {
        Ok(opened) => opened,
        Err(error) => {
            let text = error.to_string();
            let longest = files.values().map(|f| f.len()).max().unwrap_or(0);
            assert!(text.len() < longest + (4 << 10), "an error of {} bytes", text.len());
            return;
        }
    };
    let mut names = HashSet::new();
    for t in opened.checkpoint.tensors() {
        assert!(names.insert(&t.name), "{} is there twice", t.name);
        let bytes = opened.checkpoint.read(t).expect("tensors within the parts can be read");
        assert_eq!(bytes.len() as u64, t.bytes);
    }
    for key in [SPLIT_NO_KEY, SPLIT_COUNT_KEY] {
        // A count of 0 or 1 is of a whole file, whose keys are left as they are.
        assert!(opened.checkpoint.sources().len() == 1 || !opened.metadata.contains(key), "{key} of a whole model");
    }
}

/// What is split.
struct Model<'v> {
    keys: Vec<(String, Value<'v>)>,
    tensors: Vec<(String, DType, Vec<u64>, Vec<u8>)>,
    limit: PartLimit,
}

impl Model<'_> {
    fn choose(c: &mut Choices<'_>) -> Self {
        let mut keys = vec![("general.architecture".to_owned(), c.text(8).into())];
        if c.once_in(4) {
            keys.push((ALIGNMENT_KEY.to_owned(), Value::U32(8 << c.below(4))));
        }
        for i in 0..c.below(4) {
            keys.push((format!("{i}{}", c.text(8)), value(c)));
        }
        let tensor = |c: &mut Choices<'_>, i| {
            let dtype = *c.pick(&[DType::F32, DType::F16, DType::Q4_0, DType::I8]);
            let shape = vec![1 + c.below(3) as u64, (1 + c.below(2) as u64) * dtype.block_len() as u64];
            let bytes = dtype.tensor_bytes(shape.iter().product()).expect("small") as usize;
            // A name of its own, and data that tells it from its neighbours.
            (format!("t{i}{}", c.text(6)), dtype, shape, (0..bytes).map(|at| (at + 7 * i) as u8).collect())
        };
        let tensors = (0..2 + c.below(6)).map(|i| tensor(c, i)).collect();
        let limit = if c.below(2) == 0 {
            PartLimit::tensors(1 + c.below(3) as u64)
        } else {
            PartLimit::bytes(1 + c.below(256) as u64)
        };
        Self { keys, tensors, limit }
    }

    fn split(&self, limit: PartLimit) -> Files {
        let mut w = Writer::new("fuzz");
        for (key, value) in &self.keys {
            w.key(key, value.clone()).expect("a key of its own");
        }
        for (name, dtype, shape, _) in &self.tensors {
            w.tensor(name, *dtype, shape.clone()).expect("a name of its own");
        }
        let mut names = Vec::new();
        let mut create = |name: &str| {
            names.push(name.to_owned());
            Ok(Vec::new())
        };
        let mut parts = w.begin_split(PREFIX, limit, &mut create).expect("few parts");
        for (.., data) in &self.tensors {
            parts.write(data).expect("a vector takes all");
        }
        let files = parts.finish().expect("all tensors are there");
        names.into_iter().zip(files.into_iter().map(Arc::from)).collect()
    }
}

fn value(c: &mut Choices<'_>) -> Value<'static> {
    match c.below(6) {
        0 => Value::U8(c.number()),
        1 => Value::U16(c.number()),
        2 => Value::U32(c.extreme() as u32),
        3 => Value::I64(c.extreme().cast_signed()),
        4 => Value::F32(f32::from_bits(c.number())),
        _ => c.text(12).into(),
    }
}

fn break_something(c: &mut Choices<'_>, files: &mut Files) {
    let names: Vec<String> = files.keys().cloned().collect();
    let Some(name) = names.get(c.below(names.len())) else { return };
    let mut bytes = files[name].to_vec();
    match c.below(8) {
        0 => drop(files.remove(name)),
        1 => {
            let other = Arc::clone(&files[c.pick(&names)]);
            files.insert(name.clone(), other);
        }
        2 => {
            bytes.truncate(c.below(bytes.len() + 1));
            files.insert(name.clone(), bytes.into());
        }
        3 if !bytes.is_empty() => {
            let at = c.below(bytes.len());
            bytes[at] = c.number();
            files.insert(name.clone(), bytes.into());
        }
        // What it says about the whole, or about another part.
        _ => {
            if let Some(bytes) = rewritten(c, &bytes) {
                files.insert(name.clone(), bytes.into());
            }
        }
    }
}

/// A part with other keys or one more tensor; `None` where it no longer reads, or the writer refuses.
fn rewritten(c: &mut Choices<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::read(&BytesSource::new("part", bytes)).ok()?;
    let mut keys: Vec<_> = header.metadata.entries().collect();
    let split = [SPLIT_NO_KEY, SPLIT_COUNT_KEY, SPLIT_TENSORS_KEY, "general.architecture", ALIGNMENT_KEY];
    let key = c.word(&split);
    let other = if c.once_in(2) { value(c) } else { Value::U16(c.below(5) as u16) };
    match keys.iter().position(|(k, _)| *k == key) {
        Some(at) if c.once_in(6) => drop(keys.remove(at)),
        Some(at) => keys[at].1 = other,
        None => keys.push((key, other)),
    }
    let mut w = Writer::new("rewritten");
    for (key, value) in keys {
        w.key(key, value).ok()?;
    }
    for t in &header.tensors {
        w.tensor(&*t.name, t.dtype, t.shape.clone()).ok()?;
    }
    if c.once_in(3) {
        w.tensor(format!("t{}", c.below(4)), DType::F32, vec![1]).ok()?;
    }
    let mut body = w.begin(Vec::new()).ok()?;
    let data: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    body.write(&vec![1; data as usize]).ok()?;
    body.finish().ok()
}
