//! Data that is made up from a seed as it is exported, and never held.

use std::collections::BTreeSet;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::document_id::{DocumentId, FIRST_USER_TABLE_NUMBER, MAX_TEXT_BYTES};
use crate::generated_files::GeneratedFiles;

/// How much data is made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorConfig {
    /// Decides every byte.
    pub seed: u64,
    /// User tables of the root and of each component.
    pub tables: u32,
    /// Documents of each table.
    pub documents: u64,
    /// Bytes of each document's line, about; some 110 is the least there can be.
    pub document_bytes: u64,
    /// Stored files of the root.
    pub files: u64,
    /// Bytes of each stored file, which do not compress.
    pub file_bytes: u64,
    /// Components beside the root.
    pub components: u32,
}

/// A prose from which documents take their texts; what is taken twice compresses, as real texts do.
const PROSE: &str = "The invoice of last month was paid in full, and the customer asked whether the next delivery could \
    come a week earlier than planned. We agreed to send half of the order by rail and the rest by lorry as soon as the \
    warehouse in Gdynia has counted its stock. Please confirm the address, the name of the person who receives it, and \
    a number where the driver can ring. Kind regards, and thank you for the photographs of the damaged boxes; the \
    claim has been filed and an answer is expected on Thursday. Żółta łódź, naïve café, 東京 — notes in other scripts \
    are kept as they were typed. ";
/// One document in so many holds a value of every type.
const EVERY_TYPE: u64 = 8;
const DAY: [u8; 2] = 20_770_u16.to_be_bytes();
pub(crate) const FIRST_CREATION_MS: u64 = 1_795_000_000_000;

/// Makes up the data.
#[derive(Debug)]
pub(crate) struct Generator {
    config: GeneratorConfig,
    /// IDs of documents that are not there any more.
    deleted: BTreeSet<String>,
    pub(crate) files: GeneratedFiles,
}

impl Generator {
    pub(crate) fn new(config: GeneratorConfig) -> Self {
        let files = GeneratedFiles::new(config.clone());
        Self { config, deleted: BTreeSet::new(), files }
    }

    /// The same data, but about so many of a hundred stored files replaced by new ones.
    pub(crate) fn with_changed_files(self, percent: u64) -> Self {
        Self { files: self.files.changed(percent), ..self }
    }

    /// The same data without the documents of these IDs.
    pub(crate) fn without_documents(self, deleted: BTreeSet<String>) -> Self {
        Self { deleted, ..self }
    }

    /// The paths of all components, the root first.
    pub(crate) fn component_paths(&self) -> Vec<String> {
        let others = (1..=self.config.components).map(|number| format!("component{number}"));
        std::iter::once(String::new()).chain(others).collect()
    }

    /// The user tables of every component, with their numbers.
    pub(crate) fn tables(&self) -> Vec<(String, u32)> {
        (0..self.config.tables)
            .map(|index| (format!("table{}", index + 1), FIRST_USER_TABLE_NUMBER + index))
            .collect()
    }

    /// How many documents a table has; `None` where there is no such table.
    pub(crate) fn documents_of(&self, path: &str, table: &str) -> Option<u64> {
        let has_component = self.component_paths().iter().any(|known| known == path);
        let has_table = self.tables().iter().any(|(name, _)| name == table);
        (has_component && has_table).then_some(self.config.documents)
    }

    /// Writes the lines of a table, in ascending order of IDs.
    pub(crate) fn write_documents(
        &self,
        component: u32,
        table_number: u32,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut line = Vec::with_capacity(4096);
        let mut flushed = Vec::with_capacity(64 * 1024);
        let table_seed = mix(self.config.seed ^ (u64::from(component) << 32) ^ u64::from(table_number));
        for index in 0..self.config.documents {
            line.clear();
            self.document(table_seed, table_number, index, &mut line);
            if self.is_deleted(&line) {
                continue;
            }
            flushed.extend_from_slice(&line);
            if flushed.len() > 48 * 1024 {
                out.write_all(&flushed)?;
                flushed.clear();
            }
        }
        out.write_all(&flushed)
    }

    /// Whether the line, which begins with creation time and ID, is of a document that was deleted.
    fn is_deleted(&self, line: &[u8]) -> bool {
        if self.deleted.is_empty() {
            return false;
        }
        let text = String::from_utf8_lossy(line);
        text.split('"').nth(5).is_some_and(|id| self.deleted.contains(id))
    }

    fn document(&self, table_seed: u64, table_number: u32, index: u64, line: &mut Vec<u8>) {
        let random = mix(table_seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let id = ordered_id(table_number, table_seed, index, self.config.documents);
        let mut id_text = [0; MAX_TEXT_BYTES];
        let created_ms = FIRST_CREATION_MS + index;
        let fraction = ["25", "5", "75", "125"][(random & 3) as usize];
        put(
            line,
            format_args!(
                "{{\"_creationTime\":{created_ms}.{fraction},\"_id\":\"{}\"",
                id.encode(&mut id_text)
            ),
        );
        if index.is_multiple_of(EVERY_TYPE) {
            every_type(random, line);
        }
        line.extend_from_slice(b",\"body\":\"");
        let end_bytes = 24;
        let body_bytes = usize::try_from(self.config.document_bytes).unwrap_or(usize::MAX);
        prose(random, body_bytes.saturating_sub(line.len() + end_bytes), line);
        put(line, format_args!("\",\"n\":{}}}\n", random >> 20));
    }
}

/// The ID of row `index` of `count`: ascending with the index, and random as far as that allows.
pub(crate) fn ordered_id(table_number: u32, seed: u64, index: u64, count: u64) -> DocumentId {
    let stride = u64::MAX / count.max(1);
    let random = mix(seed.wrapping_add(index));
    let mut internal = [0; 16];
    internal[..8].copy_from_slice(&(index * stride + random % stride).to_be_bytes());
    internal[8..14].copy_from_slice(&mix(random).to_be_bytes()[..6]);
    internal[14..].copy_from_slice(&DAY);
    DocumentId { table_number, internal }
}

/// Fields of every type, which sort between `_id` and `body`.
fn every_type(random: u64, line: &mut Vec<u8>) {
    let special = ["-0.0", "{\"$float\":\"AAAAAAAA+H8=\"}", "{\"$float\":\"AAAAAAAA8H8=\"}", "1e21"];
    let active = random & 1 == 0;
    put(
        line,
        format_args!(",\"active\":{active},\"address\":{{\"city\":\"Łódź\",\"zip\":{}}}", random % 99_999),
    );
    put(line, format_args!(",\"amount\":{}.5,\"attachments\":[null,1,2.5,\"x\",[],{{}}]", random % 10_000));
    put(line, format_args!(",\"balance\":{}", special[(random >> 8 & 3) as usize]));
    put(
        line,
        format_args!(
            ",\"big\":9223372036854775807,\"blob\":{{\"$bytes\":\"{}\"}}",
            STANDARD.encode(random.to_le_bytes())
        ),
    );
}

/// Appends about `length` bytes of text, in pieces of the prose.
fn prose(random: u64, mut length: usize, line: &mut Vec<u8>) {
    let mut state = random;
    while length > 0 {
        state = mix(state);
        let mut start = usize::try_from(state % 600).unwrap_or(0);
        let mut end = start + length.min(24 + usize::try_from(state >> 40 & 63).unwrap_or(0));
        start = PROSE.floor_char_boundary(start);
        end = PROSE.ceil_char_boundary(end);
        line.extend_from_slice(&PROSE.as_bytes()[start..end]);
        length = length.saturating_sub(end - start);
    }
}

fn put(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("memory takes whatever is written");
}

/// A good mixture of 64 bits (the finisher of `SplitMix64`).
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Generator, GeneratorConfig};
    use crate::value::{Encoding, Value};

    fn generator(documents: u64, document_bytes: u64) -> Generator {
        Generator::new(GeneratorConfig {
            seed: 3,
            tables: 1,
            documents,
            document_bytes,
            files: 5,
            file_bytes: 1_000,
            components: 0,
        })
    }

    #[test]
    fn documents_are_valid_and_ascend_by_id() {
        for document_bytes in [0, 300, 5_000] {
            let mut lines = Vec::new();
            generator(500, document_bytes).write_documents(0, 10_001, &mut lines).unwrap();
            let text = String::from_utf8(lines).unwrap();
            let mut last = String::new();
            for line in text.lines() {
                let value = Value::parse(line.as_bytes(), Encoding::Export).unwrap();
                assert_eq!(value.to_json(Encoding::Export), line);
                let id = value.get("_id").and_then(Value::as_str).unwrap().to_owned();
                assert!(id > last);
                id.parse::<crate::DocumentId>().unwrap();
                last = id;
            }
            assert_eq!(text.lines().count(), 500);
        }
    }

    #[test]
    fn documents_that_were_deleted_are_left_out_and_all_others_stay() {
        let mut lines = Vec::new();
        generator(50, 300).write_documents(0, 10_001, &mut lines).unwrap();
        let all = String::from_utf8(lines).unwrap();
        let value = Value::parse(all.lines().nth(20).unwrap().as_bytes(), Encoding::Export).unwrap();
        let id = value.get("_id").and_then(Value::as_str).unwrap().to_owned();
        let mut lines = Vec::new();
        let without = generator(50, 300).without_documents([id.clone()].into());
        without.write_documents(0, 10_001, &mut lines).unwrap();
        let expected: Vec<&str> = all.lines().filter(|line| !line.contains(&id)).collect();
        assert_eq!(expected.len(), 49);
        assert_eq!(String::from_utf8(lines).unwrap().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn documents_are_about_as_long_as_asked_for() {
        let mut lines = Vec::new();
        generator(1_000, 700).write_documents(0, 10_001, &mut lines).unwrap();
        let mean = lines.len() / 1_000;
        assert!((690..720).contains(&mean), "{mean}");
    }
}
