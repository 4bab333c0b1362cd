//! Hands documents over to whoever has no Convault: as JSON Lines, as CSV, or as anything else that is a [`Receiver`].

mod columns;
mod csv;
mod json_lines;
mod outlet;
mod receiver;

pub use self::{
    columns::{Column, Columns},
    csv::{Csv, RULES as CSV_RULES},
    json_lines::JsonLines,
    outlet::Outlet,
    receiver::{Made, Receiver},
};
