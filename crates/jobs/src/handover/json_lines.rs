//! Tables as JSON Lines: their own bytes.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
};

use bytes::Bytes;
use convault_core::TableRef;

use super::{Columns, Made, Outlet, Receiver, outlet::failed, receiver::file_name};
use crate::JobError;

/// Writes tables as JSON Lines, byte for byte as they were exported: one file, or one a table in a folder.
#[derive(Debug)]
pub struct JsonLines {
    outlet: Outlet,
    file: Option<BufWriter<File>>,
}

impl JsonLines {
    /// Into that place; where it is a file, there may be one table only.
    pub fn new(outlet: Outlet) -> Self {
        Self { outlet, file: None }
    }
}

impl Receiver for JsonLines {
    fn flattens(&self) -> Option<bool> {
        None
    }

    fn begin(&mut self, table: &TableRef, _columns: Option<Columns>) -> Result<(), JobError> {
        let name = if self.outlet.is_folder() { file_name(table, "jsonl") } else { String::new() };
        self.file = Some(BufWriter::new(self.outlet.create(&name)?.0));
        Ok(())
    }

    fn take(&mut self, lines: &[Bytes]) -> Result<(), JobError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        for line in lines {
            let written = file.write_all(line).and_then(|()| file.write_all(b"\n"));
            written.map_err(failed(self.outlet.target(), "cannot write"))?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), JobError> {
        close(self.file.take(), &self.outlet)
    }

    fn finish(self: Box<Self>) -> Result<Made, JobError> {
        let notes = vec![
            "an import of JSON Lines by itself reads every number as a Float64; `convault recover` and `restore` keep \
             Int64s as they are"
                .to_owned(),
        ];
        Ok(Made { path: self.outlet.publish()?, notes })
    }
}

/// Sees to it that a file is on its disk.
pub(crate) fn close(file: Option<BufWriter<File>>, outlet: &Outlet) -> Result<(), JobError> {
    let Some(mut file) = file else { return Ok(()) };
    let closed = file.flush().and_then(|()| file.get_ref().sync_all());
    closed.map_err(failed(outlet.target(), "cannot write"))
}
