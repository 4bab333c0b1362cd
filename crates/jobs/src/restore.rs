//! Brings stored content into a deployment: an import is prepared, which changes nothing, and then performed.

mod lines;
mod prepared;
mod progress;
mod upload;

pub use self::{
    lines::{LineOutput, LineSource, SentLines, import_lines},
    prepared::{Imported, Prepared},
};
