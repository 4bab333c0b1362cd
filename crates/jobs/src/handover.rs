//! Hands documents over to whoever has no Convault: as JSON Lines, as CSV, or as anything else that is a [`Receiver`].

mod columns;
mod csv;
mod files;
mod hand_over;
mod json_lines;
mod outlet;
mod receiver;

pub(crate) use self::files::write_file;
pub use self::{
    columns::{Column, Columns},
    csv::{Csv, RULES as CSV_RULES},
    files::files_to_folder,
    hand_over::{HandedOver, hand_over},
    json_lines::JsonLines,
    outlet::Outlet,
    receiver::{Made, Receiver},
};
