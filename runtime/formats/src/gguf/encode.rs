//! A header as bytes.

use super::MAGIC;
use super::entries::Entries;
use super::value::{Array, Value};
use crate::limits::MAX_GGUF_HEADER;
use crate::parts::Part;
use crate::{FormatError, Problem, TensorInfo};

/// A file's header; `tensors` come with offsets in the data section and leave with offsets in the file.
pub(super) fn part(
    name: String,
    version: u32,
    alignment: u64,
    entries: &Entries,
    mut tensors: Vec<TensorInfo>,
) -> Result<Part, FormatError> {
    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(version.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((entries.len() as u64).to_le_bytes());
    for (key, value) in entries.iter() {
        put_string(&mut header, key.as_bytes());
        put_value(&mut header, &value);
    }
    for t in &tensors {
        put_string(&mut header, t.name.as_bytes());
        header.extend((t.shape.len() as u32).to_le_bytes());
        for dim in t.shape.iter().rev() {
            header.extend(dim.to_le_bytes());
        }
        header.extend(t.dtype.code().to_le_bytes());
        header.extend(t.offset.to_le_bytes());
    }
    let found = header.len() as u64;
    if found > MAX_GGUF_HEADER {
        let problem = Problem::TooLong { what: "the header", offset: 0, found, limit: MAX_GGUF_HEADER };
        return Err(FormatError::new(name, problem));
    }
    // Also without tensors: then it is harmless, and other readers expect it.
    header.resize(header.len().next_multiple_of(alignment as usize), 0);
    for t in &mut tensors {
        t.offset = t.offset.saturating_add(header.len() as u64);
    }
    Ok(Part { name, header, alignment, tensors })
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn put_value(out: &mut Vec<u8>, value: &Value<'_>) {
    out.extend((value.value_type() as u32).to_le_bytes());
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => put_string(out, v.as_bytes()),
        Value::Array(v) => put_array(out, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend((array.element_type() as u32).to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v.iter()),
        Array::I8(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::U16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::U32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::F32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::U64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::F64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().map(|&x| u8::from(x))),
        Array::String(v) => v.iter().for_each(|s| put_string(out, s)),
    }
}
