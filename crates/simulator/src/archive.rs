//! A completed export: what its ZIP holds and how long it is, ready to be written out any number of times.

use std::io::{self, Write};

use tokio_util::sync::CancellationToken;

use crate::contents::Contents;
use crate::zip_writer::{EntryRecord, ZipWriter};

/// A completed export. Its bytes are made anew, and the same, each time it is written.
#[derive(Debug)]
pub(crate) struct Archive {
    contents: Contents,
    /// One for each entry: some 24 bytes, whatever the entry's size.
    records: Vec<EntryRecord>,
    size_bytes: u64,
}

impl Archive {
    /// Writes the ZIP to nowhere, to learn its length and what its directory says. Takes as long as a download;
    /// `stop` ends it early, with an error.
    pub(crate) fn measure(contents: Contents, stop: CancellationToken) -> io::Result<Self> {
        let mut archive = Self { contents, records: Vec::new(), size_bytes: 0 };
        let mut records = Vec::with_capacity(usize::try_from(archive.contents.entry_count()).unwrap_or(0));
        let mut zip = ZipWriter::new(Nowhere { stop });
        archive.write_entries(&mut zip, |record| records.push(record))?;
        archive.records = records;
        archive.write_directory(&mut zip)?;
        archive.size_bytes =
            zip.written() + ZipWriter::<Nowhere>::END_BYTES + archive.contents.trailing.len() as u64;
        Ok(archive)
    }

    /// The length of the ZIP.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Writes the ZIP.
    pub(crate) fn write(&self, out: impl Write) -> io::Result<()> {
        let mut zip = ZipWriter::new(out);
        self.write_entries(&mut zip, |_| ())?;
        self.write_directory(&mut zip)?;
        let mut out = zip.finish()?;
        out.write_all(self.contents.trailing)?;
        out.flush()
    }

    fn write_entries<W: Write>(
        &self,
        zip: &mut ZipWriter<W>,
        mut written: impl FnMut(EntryRecord),
    ) -> io::Result<()> {
        self.contents.visit(|entry| {
            let record =
                zip.entry(&entry.name, entry.packing, entry.crc_error, |out| entry.content.write(out))?;
            written(record);
            Ok(())
        })
    }

    fn write_directory<W: Write>(&self, zip: &mut ZipWriter<W>) -> io::Result<()> {
        zip.begin_directory();
        let mut records = self.records.iter();
        self.contents.visit_names(|name, header_name| {
            let record = records.next().expect("every entry was measured");
            zip.directory_line(name, header_name.len() as u64, record)
        })
    }
}

struct Nowhere {
    stop: CancellationToken,
}

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("the export was cancelled"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::Archive;
    use crate::faults::FaultSet;
    use crate::generator::{Generator, GeneratorConfig};
    use crate::plan;

    #[test]
    fn a_measured_archive_is_as_long_as_announced_and_readable() {
        let generator = Arc::new(Generator::new(GeneratorConfig {
            seed: 1,
            tables: 2,
            documents: 300,
            document_bytes: 400,
            files: 12,
            file_bytes: 70_000,
            components: 1,
        }));
        let contents = plan::of_generator(&generator, true, &FaultSet::default());
        let archive = Archive::measure(contents, CancellationToken::new()).unwrap();
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, archive.size_bytes());
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(zip.len(), 1 + 2 + 8 + 2 + 12);
        for index in 0..zip.len() {
            let mut content = Vec::new();
            zip.by_index(index).unwrap().read_to_end(&mut content).unwrap();
        }
    }

    #[test]
    fn a_cancelled_export_stops_being_measured() {
        let stop = CancellationToken::new();
        stop.cancel();
        let database = crate::Database::new(1);
        let contents = plan::of_database(&database, true, &FaultSet::default());
        assert!(Archive::measure(contents, stop).is_err());
    }
}
