//! Searches a folder of texts by meaning.

mod index;
mod passages;

pub use index::{FILE, Hit, Index, Passage};
