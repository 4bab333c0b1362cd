//! The bytes of a snapshot: reads Convex's ZIP forward only as it streams ([`Reader`]), proves what can be proven
//! of it ([`Findings`]), writes its index while it passes, and reads single entries and documents at random. Signs what
//! is said of a snapshot, and tells who signed it ([`signature`]). Encrypts, and opens what is encrypted ([`encryption`]).
//! Writes the ZIP of content that leaves otherwise than it is stored ([`ZipWriter`]).
//!
//! Deliberately absent: input and output, tasks, and any change to a ZIP that is read. Its bytes are stored as they
//! came; no document passes through a JSON library on its way. Where the export's format is described:
//! `docs/format.md`.

mod book;
pub mod encryption;
mod entry;
mod entry_decoder;
mod error;
mod findings;
mod frames;
mod index;
mod inflate;
mod json;
mod ledger;
mod line;
mod line_cutter;
mod lines;
mod name;
mod names_key;
mod options;
mod packed;
mod random;
mod ranged;
mod reader;
mod record;
mod sealed;
pub mod signature;
mod taker;
mod zip_entry;
mod zip_record;
mod zip_writer;

pub use entry_decoder::EntryDecoder;
pub use error::{ArchiveError, Cause, NameProblem};
pub use findings::{Damage, ExportFormat, Findings, LineProblem, SchemaFormat, TableFindings, Warning};
pub use frames::{Frame, FrameKind};
pub use ledger::{Culprit, CulpritKind, Culprits, Suspects};
pub use line::Line;
pub use line_cutter::{LineCutter, LineTooLong};
pub use names_key::{NamesKey, NamesKeyError};
pub use options::Options;
pub use packed::{LinePacker, LineUnpacker, PackedError};
pub use random::{EntryContent, Index, RandomError};
pub use ranged::{RangedError, RangedReader};
pub use reader::{Finished, Reader};
pub use zip_entry::{ZipEntryError, read_zip_entry};
pub use zip_writer::{Packing, RawEntry, ZipEntry, ZipTail, ZipWriteError, ZipWriter};
