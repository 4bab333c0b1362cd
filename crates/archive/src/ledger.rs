//! Compares the rows of `_storage` with the stored files, in memory that does not grow with their number.
//!
//! Each row and each file is hashed with a key of this run over (component, id, SHA-256, size). Rows are added to
//! and files subtracted from one of 65,536 sums, chosen by a keyed hash of (component, id) alone, so that a row and
//! its file meet in the same sum. All sums are zero exactly when every row has its one file (a chance of 2^-128
//! apart). A sum that is not zero narrows the search to one in 65,536 of the files; a second reading of the same
//! ZIP holds those few and names the culprits.

use std::collections::{BTreeMap, HashSet};

use convault_core::Sha256;
use sha2::Digest as _;

use crate::findings::MAX_LISTED;

const BUCKETS: usize = 1 << 16;

/// The most rows and files a naming reading holds, about 200 bytes each.
const MAX_WATCHED: usize = 20_000;

/// The most buckets a naming reading looks into; more culprits than [`MAX_LISTED`] are not listed anyway.
const MAX_BUCKETS: usize = 4 * MAX_LISTED;

/// Which stored files to look at in a second reading of the same ZIP: give it to [`crate::Options::suspects`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspects {
    key: [u8; 32],
    buckets: Vec<u16>,
    /// Whether further buckets differ, which found no room.
    more: bool,
}

/// What is wrong with one stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CulpritKind {
    /// The row of `_storage` has no file. An import would drop it without a word.
    RowWithoutFile,
    /// The file has no row of `_storage`. An import would give it a new address.
    FileWithoutRow,
    /// The file's content is not what its row announces.
    Differs {
        /// SHA-256 in the row.
        row_sha256: Sha256,
        /// Size in the row, bytes.
        row_bytes: u64,
        /// SHA-256 of the file.
        file_sha256: Sha256,
        /// Size of the file, bytes.
        file_bytes: u64,
    },
    /// Several rows or several files have this id.
    Several {
        /// Rows with this id.
        rows: u32,
        /// Files with this id.
        files: u32,
    },
}

/// A stored file that is not what the deployment says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// Component path; empty for the root.
    pub component: String,
    /// The storage id.
    pub id: String,
    /// What is wrong.
    pub kind: CulpritKind,
}

/// The stored files that a naming reading found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprits {
    /// Sorted by component and id, at most 100.
    pub listed: Vec<Culprit>,
    /// Whether there are, or may be, more than are listed.
    pub more: bool,
}

#[derive(Debug, Default)]
struct Sighting {
    rows: u32,
    files: u32,
    row: Option<(Sha256, u64)>,
    file: Option<(Sha256, u64)>,
}

#[derive(Debug)]
struct Watch {
    buckets: Vec<u16>,
    seen: BTreeMap<(String, String), Sighting>,
    more: bool,
}

/// The comparison in progress.
#[derive(Debug)]
pub(crate) struct Ledger {
    key: [u8; 32],
    sums: Vec<u128>,
    watch: Option<Watch>,
    pub(crate) rows: u64,
    pub(crate) files: u64,
    pub(crate) row_bytes: u64,
    pub(crate) file_bytes: u64,
}

impl Ledger {
    /// With a new random key; or, to name culprits, with the key and the buckets of an earlier reading.
    pub(crate) fn new(suspects: Option<Suspects>) -> Self {
        let key = suspects.as_ref().map_or_else(rand::random, |suspects| suspects.key);
        let watch = suspects.map(|s| Watch { buckets: s.buckets, seen: BTreeMap::new(), more: s.more });
        Self { key, sums: vec![0; BUCKETS], watch, rows: 0, files: 0, row_bytes: 0, file_bytes: 0 }
    }

    /// Takes in a row of `_storage`.
    pub(crate) fn row(&mut self, component: &str, id: &str, sha256: Sha256, bytes: u64) {
        self.rows += 1;
        self.row_bytes = self.row_bytes.saturating_add(bytes);
        let (bucket, hash) = self.hash(component, id, sha256, bytes);
        let sum = &mut self.sums[usize::from(bucket)];
        *sum = sum.wrapping_add(hash);
        if let Some(sighting) = self.watch.as_mut().and_then(|watch| watch.sighting(bucket, component, id)) {
            sighting.rows += 1;
            sighting.row = Some((sha256, bytes));
        }
    }

    /// Takes in a stored file.
    pub(crate) fn file(&mut self, component: &str, id: &str, sha256: Sha256, bytes: u64) {
        self.files += 1;
        self.file_bytes = self.file_bytes.saturating_add(bytes);
        let (bucket, hash) = self.hash(component, id, sha256, bytes);
        let sum = &mut self.sums[usize::from(bucket)];
        *sum = sum.wrapping_sub(hash);
        if let Some(sighting) = self.watch.as_mut().and_then(|watch| watch.sighting(bucket, component, id)) {
            sighting.files += 1;
            sighting.file = Some((sha256, bytes));
        }
    }

    /// Whether every row has its one file and every file its one row.
    pub(crate) fn agrees(&self) -> bool {
        self.sums.iter().all(|sum| *sum == 0)
    }

    /// Where to look in a second reading; nothing where all agrees.
    pub(crate) fn suspects(&self) -> Option<Suspects> {
        let mut differing = (0..=u16::MAX).filter(|bucket| self.sums[usize::from(*bucket)] != 0);
        let room = self.buckets_within(MAX_WATCHED / 2);
        let buckets: Vec<u16> = differing.by_ref().take(room).collect();
        let more = differing.next().is_some();
        (!buckets.is_empty()).then_some(Suspects { key: self.key, buckets, more })
    }

    /// How many buckets may be looked into so that they hold about `items` rows and files at most.
    fn buckets_within(&self, items: usize) -> usize {
        let per_bucket = (self.rows + self.files) / BUCKETS as u64 + 1;
        usize::try_from(items as u64 / per_bucket).unwrap_or(usize::MAX).clamp(1, MAX_BUCKETS)
    }

    /// The culprits, where this reading was to name them.
    pub(crate) fn culprits(&self) -> Option<Culprits> {
        let watch = self.watch.as_ref()?;
        let mut found = watch.seen.iter().filter_map(|((component, id), sighting)| {
            let kind = sighting.problem()?;
            Some(Culprit { component: component.clone(), id: id.clone(), kind })
        });
        let listed: Vec<Culprit> = found.by_ref().take(MAX_LISTED).collect();
        let more = watch.more || found.next().is_some();
        Some(Culprits { listed, more })
    }

    /// A look-out for file names that come twice in the directory, where the sums give reason for one.
    pub(crate) fn twins(&self) -> Option<Twins> {
        let suspects = self.suspects()?;
        Some(Twins { key: suspects.key, buckets: suspects.buckets, seen: HashSet::new() })
    }

    fn hash(&self, component: &str, id: &str, sha256: Sha256, bytes: u64) -> (u16, u128) {
        let (bucket, subject) = hash_subject(&self.key, component, id);
        let mut hasher = sha2::Sha256::new();
        hasher.update(subject);
        hasher.update(sha256.0);
        hasher.update(bytes.to_le_bytes());
        let hash: [u8; 32] = hasher.finalize().into();
        (bucket, u128::from_le_bytes(hash[..16].try_into().expect("16 of 32 bytes")))
    }
}

fn hash_subject(key: &[u8; 32], component: &str, id: &str) -> (u16, [u8; 32]) {
    let mut hasher = sha2::Sha256::new();
    hasher.update(key);
    hasher.update((component.len() as u64).to_le_bytes());
    hasher.update(component);
    hasher.update(id);
    let hash: [u8; 32] = hasher.finalize().into();
    (u16::from_le_bytes([hash[0], hash[1]]), hash)
}

impl Watch {
    fn sighting(&mut self, bucket: u16, component: &str, id: &str) -> Option<&mut Sighting> {
        self.buckets.binary_search(&bucket).ok()?;
        let key = (component.to_owned(), id.to_owned());
        if self.seen.len() >= MAX_WATCHED && !self.seen.contains_key(&key) {
            self.more = true;
            return None;
        }
        Some(self.seen.entry(key).or_default())
    }
}

impl Sighting {
    fn problem(&self) -> Option<CulpritKind> {
        match (self.rows, self.files, self.row, self.file) {
            (1, 1, Some(row), Some(file)) if row == file => None,
            (1, 1, Some((row_sha256, row_bytes)), Some((file_sha256, file_bytes))) => {
                Some(CulpritKind::Differs { row_sha256, row_bytes, file_sha256, file_bytes })
            }
            (1, 0, ..) => Some(CulpritKind::RowWithoutFile),
            (0, 1, ..) => Some(CulpritKind::FileWithoutRow),
            (rows, files, ..) => Some(CulpritKind::Several { rows, files }),
        }
    }
}

/// Finds file names that come twice, among those whose sums differ: a name that came twice makes its sum differ.
#[derive(Debug)]
pub(crate) struct Twins {
    key: [u8; 32],
    buckets: Vec<u16>,
    seen: HashSet<String>,
}

impl Twins {
    /// Whether this name has come before.
    pub(crate) fn came_before(&mut self, component: &str, id: &str, name: &str) -> bool {
        let (bucket, _) = hash_subject(&self.key, component, id);
        if self.buckets.binary_search(&bucket).is_err() || self.seen.len() >= MAX_WATCHED {
            return false;
        }
        !self.seen.insert(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(text: &str) -> Sha256 {
        Sha256::of(text.as_bytes())
    }

    fn read(rows: &[(&str, &str)], files: &[(&str, &str)], suspects: Option<Suspects>) -> Ledger {
        let mut ledger = Ledger::new(suspects);
        for (id, text) in rows {
            ledger.row("", id, sha(text), text.len() as u64);
        }
        for (id, text) in files {
            ledger.file("", id, sha(text), text.len() as u64);
        }
        ledger
    }

    #[test]
    fn rows_and_files_agree_in_any_order() {
        assert!(read(&[("a", "1"), ("b", "2")], &[("b", "2"), ("a", "1")], None).agrees());
        assert!(read(&[], &[], None).suspects().is_none());
    }

    #[test]
    fn a_second_reading_names_each_kind_of_culprit() {
        let rows = [("same", "0"), ("lost", "1"), ("changed", "2")];
        let files = [("same", "0"), ("changed", "3"), ("found", "4"), ("twice", "5"), ("twice", "5")];
        let first = read(&rows, &files, None);
        assert!(!first.agrees());
        let culprits = read(&rows, &files, first.suspects()).culprits().unwrap();
        assert!(!culprits.more);
        let differs =
            CulpritKind::Differs { row_sha256: sha("2"), row_bytes: 1, file_sha256: sha("3"), file_bytes: 1 };
        let found: Vec<_> = culprits.listed.iter().map(|c| (c.id.as_str(), c.kind)).collect();
        assert_eq!(
            found,
            [
                ("changed", differs),
                ("found", CulpritKind::FileWithoutRow),
                ("lost", CulpritKind::RowWithoutFile),
                ("twice", CulpritKind::Several { rows: 0, files: 2 }),
            ]
        );
    }

    #[test]
    fn the_same_id_in_two_components_is_two_files() {
        let mut ledger = Ledger::new(None);
        ledger.row("a", "x", sha("1"), 1);
        ledger.file("b", "x", sha("1"), 1);
        assert!(!ledger.agrees());
    }

    #[test]
    fn few_culprits_among_very_many_files_are_named_in_little_memory() {
        let (count, lost) = (200_000, ["id7", "id77777", "id199999"]);
        let pass = |suspects| {
            let mut ledger = Ledger::new(suspects);
            for number in 0..count {
                let id = format!("id{number}");
                ledger.row("", &id, sha("x"), 1);
                if !lost.contains(&id.as_str()) {
                    ledger.file("", &id, sha("x"), 1);
                }
            }
            ledger
        };
        let second = pass(pass(None).suspects());
        assert!(second.watch.as_ref().unwrap().seen.len() < 100);
        let mut expected = lost;
        expected.sort_unstable();
        let culprits = second.culprits().unwrap();
        assert_eq!(culprits.listed.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn very_many_culprits_are_listed_up_to_a_bound_and_said_to_be_more() {
        let pass = |suspects| {
            let mut ledger = Ledger::new(suspects);
            (0..100_000).for_each(|n| ledger.row("", &format!("id{n}"), sha("x"), 1));
            ledger
        };
        let second = pass(pass(None).suspects());
        assert!(second.watch.as_ref().unwrap().seen.len() <= MAX_WATCHED);
        let culprits = second.culprits().unwrap();
        assert_eq!(culprits.listed.len(), MAX_LISTED);
        assert!(culprits.more);
    }
}
