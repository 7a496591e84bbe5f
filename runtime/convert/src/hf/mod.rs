use crate::error::ConvertError;
use crate::input::Input;
use std::path::Path;

pub fn open(path: &Path) -> Result<Input, ConvertError> {
    Err(ConvertError::Unsupported { what: format!("{}: a folder", path.display()) })
}
