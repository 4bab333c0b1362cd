//! Stored files that are made up from a seed as they are asked for, and never held; some can be replaced by others.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convault_core::{Sha256, Sha256Stream};

use crate::database::uuid_text;
use crate::document_id::{DocumentId, STORAGE_TABLE_NUMBER};
use crate::generator::{FIRST_CREATION_MS, GeneratorConfig, mix, ordered_id};

const CONTENT_TYPES: [Option<&str>; 4] =
    [Some("image/png"), Some("application/pdf"), None, Some("text/plain")];
const PER_CENT: u64 = 100;
const DAY_MS: u64 = 86_400_000;

/// The stored files: as many places as the configuration says, each with one file.
#[derive(Debug, Clone)]
pub(crate) struct GeneratedFiles {
    config: GeneratorConfig,
    /// Each time some were replaced.
    changes: Vec<Change>,
    /// What was hashed once, by place and by how many changes there had been when its file came.
    digests: Arc<Mutex<HashMap<(u64, usize), Sha256>>>,
    order: OnceLock<Vec<u64>>,
    by_uuid: OnceLock<HashMap<u128, u64>>,
}

/// Some files were deleted, and as many others stored.
#[derive(Debug, Clone, Copy)]
struct Change {
    percent: u64,
    at_ms: u64,
}

impl GeneratedFiles {
    pub(crate) fn new(config: GeneratorConfig) -> Self {
        Self {
            config,
            changes: Vec::new(),
            digests: Arc::default(),
            order: OnceLock::new(),
            by_uuid: OnceLock::new(),
        }
    }

    /// The same files, but about so many of a hundred replaced by new ones a day later.
    pub(crate) fn changed(&self, percent: u64) -> Self {
        let mut changes = self.changes.clone();
        let at_ms = FIRST_CREATION_MS + (changes.len() as u64 + 1) * DAY_MS;
        changes.push(Change { percent, at_ms });
        Self { changes, digests: Arc::clone(&self.digests), ..Self::new(self.config.clone()) }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.config.files
    }

    /// Which change brought the file in this place: 0 is there from the start.
    fn generation(&self, index: u64) -> usize {
        let brought = |(at, change): &(usize, &Change)| {
            mix(self.config.seed ^ mix(index) ^ mix(*at as u64 + 1)) % PER_CENT < change.percent
        };
        self.changes.iter().enumerate().rev().find(brought).map_or(0, |(at, _)| at + 1)
    }

    fn salt(&self, index: u64) -> u64 {
        match self.generation(index) {
            0 => 0,
            generation => mix(generation as u64),
        }
    }

    /// The ID of a file.
    pub(crate) fn id(&self, index: u64) -> DocumentId {
        let seed = mix(self.config.seed) ^ self.salt(index);
        ordered_id(STORAGE_TABLE_NUMBER, seed, index, self.config.files)
    }

    /// The type of a file.
    #[expect(clippy::unused_self, reason = "a file's type is the generator's to say")]
    pub(crate) fn content_type(&self, index: u64) -> Option<&'static str> {
        CONTENT_TYPES[(index % 4) as usize]
    }

    /// The bytes of every file.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.config.file_bytes
    }

    /// When it was stored, half a millisecond before the next one: milliseconds since the Unix epoch.
    #[expect(clippy::cast_precision_loss, reason = "Convex keeps this time in a double as well")]
    pub(crate) fn creation_time_ms(&self, index: u64) -> f64 {
        let base = match self.generation(index) {
            0 => FIRST_CREATION_MS + index,
            generation => self.changes[generation - 1].at_ms,
        };
        base as f64 + 0.5
    }

    fn uuid_bits(&self, index: u64) -> u128 {
        let high = mix(self.config.seed ^ !index ^ self.salt(index));
        u128::from(high) << 64 | u128::from(mix(high))
    }

    /// The UUID in a file's address.
    pub(crate) fn uuid(&self, index: u64) -> String {
        uuid_text(self.uuid_bits(index).to_be_bytes())
    }

    /// The file with this UUID.
    pub(crate) fn by_uuid(&self, uuid: &str) -> Option<u64> {
        let bits = u128::from_str_radix(&uuid.replace('-', ""), 16).ok()?;
        let all = || (0..self.count()).map(|index| (self.uuid_bits(index), index)).collect();
        self.by_uuid.get_or_init(all).get(&bits).copied()
    }

    /// All files, the oldest first.
    pub(crate) fn by_creation(&self) -> &[u64] {
        self.order.get_or_init(|| {
            let mut order: Vec<u64> = (0..self.count()).collect();
            order.sort_by_cached_key(|index| (self.generation(*index), *index));
            order
        })
    }

    /// The digest of a file.
    pub(crate) fn sha256(&self, index: u64) -> Sha256 {
        let key = (index, self.generation(index));
        let known = || self.digests.lock().expect("no holder of this lock panics");
        if let Some(digest) = known().get(&key) {
            return *digest;
        }
        let mut digest = Sha256Stream::new();
        let hashed = self.pieces(index, |piece| {
            digest.update(piece);
            Ok(())
        });
        hashed.expect("hashing does not fail");
        let digest = digest.finish();
        known().insert(key, digest);
        digest
    }

    /// Writes the bytes of a file. `damaged` inverts the first one.
    pub(crate) fn write(&self, index: u64, damaged: bool, out: &mut dyn Write) -> io::Result<()> {
        let mut damage = u8::from(damaged) * 0xff;
        self.pieces(index, |piece| {
            piece[0] ^= damage;
            damage = 0;
            out.write_all(piece)
        })
    }

    fn pieces(&self, index: u64, mut take: impl FnMut(&mut [u8]) -> io::Result<()>) -> io::Result<()> {
        let mut state = mix(self.config.seed ^ mix(index) ^ self.salt(index));
        let mut piece = [0_u8; 16 * 1024];
        let mut left = self.config.file_bytes;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            for bytes in piece[..length].chunks_mut(8) {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                bytes.copy_from_slice(&mix(state).to_le_bytes()[..bytes.len()]);
            }
            take(&mut piece[..length])?;
            left -= length as u64;
        }
        Ok(())
    }

    /// Writes the rows of `_storage`, in ascending order of IDs, but not that of the file `without`.
    pub(crate) fn write_rows(&self, without: Option<u64>, out: &mut dyn Write) -> io::Result<()> {
        for index in (0..self.count()).filter(|index| Some(*index) != without) {
            let content_type =
                self.content_type(index).map_or("null".to_owned(), |text| format!("\"{text}\""));
            writeln!(
                out,
                "{{\"_id\":\"{}\",\"_creationTime\":{:.1},\"sha256\":\"{}\",\"size\":{},\"contentType\":\
                 {content_type},\"internalId\":\"{}\"}}",
                self.id(index),
                self.creation_time_ms(index),
                STANDARD.encode(self.sha256(index).0),
                self.config.file_bytes,
                self.uuid(index),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use convault_core::Sha256;

    use super::GeneratedFiles;
    use crate::generator::GeneratorConfig;

    fn files(count: u64) -> GeneratedFiles {
        GeneratedFiles::new(GeneratorConfig {
            seed: 3,
            tables: 1,
            documents: 0,
            document_bytes: 0,
            files: count,
            file_bytes: 1_000,
            components: 0,
        })
    }

    #[test]
    fn damage_changes_one_byte_of_a_file() {
        let files = files(5);
        let (mut sound, mut damaged) = (Vec::new(), Vec::new());
        files.write(2, false, &mut sound).unwrap();
        files.write(2, true, &mut damaged).unwrap();
        assert_eq!(sound.len(), 1_000);
        assert_eq!(sound.iter().zip(&damaged).filter(|(one, other)| one != other).count(), 1);
        assert_eq!(files.sha256(2), Sha256::of(&sound));
    }

    #[test]
    fn a_change_replaces_about_as_many_as_asked_for() {
        let before = files(10_000);
        let after = before.changed(1);
        let ids = |files: &GeneratedFiles| -> BTreeSet<String> {
            (0..10_000).map(|index| files.id(index).to_string()).collect()
        };
        let (old, new) = (ids(&before), ids(&after));
        let gone = old.difference(&new).count();
        assert_eq!((old.len(), new.len()), (10_000, 10_000));
        assert!((50..200).contains(&gone), "{gone}");
        assert!((0..10_000).map(|index| after.id(index).to_string()).is_sorted());
        let times = after.by_creation().iter().map(|index| after.creation_time_ms(*index));
        assert!(times.is_sorted());
        for index in 0..10_000 {
            let same = before.id(index) == after.id(index);
            assert_eq!(before.uuid(index) == after.uuid(index), same);
            assert_eq!(after.by_uuid(&after.uuid(index)), Some(index));
        }
    }
}
