//! The faults that a simulated deployment can be asked to show, each by its name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use crate::error::SimulatorError;

/// What the value behind the `=` of a fault means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultValue {
    /// No value is taken.
    None,
    /// How often it happens; always where it is left out.
    Times,
    /// How many seconds it lasts; for ever where it is left out.
    Seconds,
    /// A size in bytes, and the one taken where it is left out.
    Bytes(u64),
    /// Names of operations joined by commas, as in `allowedOps`; must be given.
    Operations,
}

/// One line of the table of faults.
#[derive(Debug, Clone, Copy)]
pub struct FaultDescription {
    /// Which fault it is.
    pub kind: FaultKind,
    /// What it is asked for by.
    pub name: &'static str,
    /// What its value means.
    pub value: FaultValue,
    /// What then happens, in a sentence.
    pub sentence: &'static str,
}

macro_rules! faults {
    ($($kind:ident $name:literal $value:expr, $sentence:literal;)*) => {
        /// Every fault there is. [`Fault::all`] says what each one does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind {
            $(#[doc = $sentence] $kind,)*
        }

        const FAULTS: &[FaultDescription] = &[
            $(FaultDescription { kind: FaultKind::$kind, name: $name, value: $value, sentence: $sentence },)*
        ];
    };
}

faults! {
    StuckExport "stuck-export" FaultValue::None,
        "An export stays in progress for ever and holds the slot.";
    SlowExport "slow-export" FaultValue::Seconds,
        "An export takes this many seconds, and its progress message goes on changing.";
    ExportCanceled "export-canceled" FaultValue::Times,
        "Somebody cancels the export while it is in progress.";
    SlotHeld "slot-held" FaultValue::Seconds,
        "A cloud backup, which `getLatest` does not show, holds the only slot for this many seconds.";
    CancelConflict "cancel-conflict" FaultValue::Times,
        "Cancelling an export answers 503 `OptimisticConcurrencyControlFailure`.";
    TruncatedDownload "truncated-download" FaultValue::Times,
        "A download's connection is closed halfway, before the announced length.";
    WrongLength "wrong-length" FaultValue::Times,
        "A download announces and sends 100 bytes less than the export's row says.";
    CorruptDownload "corrupt-download" FaultValue::Times,
        "One bit of a download flips in transit.";
    StalledDownload "stalled-download" FaultValue::Times,
        "A download stops halfway and keeps its connection open.";
    Request503 "request-503" FaultValue::Times,
        "Asking for an export answers 503.";
    Poll503 "poll-503" FaultValue::Times,
        "A system query answers 503.";
    Download503 "download-503" FaultValue::Times,
        "A download answers 503.";
    Timeout408 "timeout-408" FaultValue::Times,
        "Asking for an export answers 408 with an empty body, although the export was accepted.";
    DamagedFile "damaged-file" FaultValue::None,
        "One stored file is not what its row's digest says; the ZIP's own checksums are right.";
    MissingFileHang "missing-file-hang" FaultValue::None,
        "One stored file cannot be read, so that an export with files tries again for ever.";
    RowWithoutFile "row-without-file" FaultValue::None,
        "One row of `_storage` has no file in the ZIP.";
    FileWithoutRow "file-without-row" FaultValue::None,
        "One file in the ZIP has no row in `_storage`.";
    MissingTable "missing-table" FaultValue::None,
        "One table is listed in `_tables` and has no entries in the ZIP.";
    UnlistedTable "unlisted-table" FaultValue::None,
        "One table has entries in the ZIP and is not listed in `_tables`.";
    DuplicateEntry "duplicate-entry" FaultValue::None,
        "One table's documents are in the ZIP twice, under the same name.";
    PathTrick "path-trick" FaultValue::None,
        "The ZIP holds an entry named `../evil`.";
    AbsolutePath "absolute-path" FaultValue::None,
        "The ZIP holds an entry named `/tmp/evil`.";
    ZipBomb "zip-bomb" FaultValue::Bytes(1 << 30),
        "One stored file, whose row says 20 bytes, inflates to this many bytes of zeros.";
    TrailingGarbage "trailing-garbage" FaultValue::None,
        "Bytes that belong to nothing follow the end of the ZIP.";
    BadCrc "bad-crc" FaultValue::None,
        "One entry's CRC is wrong, in its descriptor and in the central directory.";
    SwappedEntries "swapped-entries" FaultValue::None,
        "The central directory has the names of two entries exchanged.";
    BadLine "bad-line" FaultValue::None,
        "One line of a table is valid JSON and not an object.";
    NoId "no-id" FaultValue::None,
        "One document has no `_id`.";
    LongLine "long-line" FaultValue::None,
        "One table ends with a valid document whose line is 6.3 MB long, the longest that a deployment can write.";
    HugeLine "huge-line" FaultValue::None,
        "One table ends with a line of 17 MiB, longer than any deployment can write.";
    LegacyFormat "legacy-format" FaultValue::None,
        "Exports are written as servers before 2026-03-11 did: lossy documents, and shapes beside them.";
    OldServer "old-server" FaultValue::None,
        "The server is too old to know `/api/v1/*`, and cancelling or expiring an export: 404.";
    LimitedKey "limited-key" FaultValue::Operations,
        "The key may do only these operations: 403 on routes, HTTP 200 with an error from system functions.";
    ReadOnlyKey "read-only-key" FaultValue::None,
        "The key is a read-only one, which cannot ask for an export.";
    BadKey "bad-key" FaultValue::None,
        "Every key is refused with 401 `BadAdminKey`, as after a change of the instance's secret.";
    ExpiryDenied "expiry-denied" FaultValue::None,
        "The key may do everything but set an export's expiry.";
    Paused "paused" FaultValue::None,
        "The deployment is paused: files are not served by URL, exports still work.";
    FileNotFound "file-not-found" FaultValue::None,
        "One stored file that is listed is not found by its URL.";
    File503 "file-503" FaultValue::Times,
        "Fetching a stored file by its URL answers 503.";
    TruncatedFile "truncated-file" FaultValue::Times,
        "The connection that serves a stored file by its URL is closed halfway.";
    ShortPages "short-pages" FaultValue::None,
        "Paginated queries give short and empty pages before the last one.";
    RestartDuringExport "restart-during-export" FaultValue::Times,
        "The server restarts midway: the same export begins again, with a new snapshot.";
    WritesDuringExport "writes-during-export" FaultValue::None,
        "Documents are written while an export runs; its snapshot must not show them.";
    ImportStaysUploaded "import-stays-uploaded" FaultValue::Times,
        "An import stays `uploaded` for this many polls, and confirming it meanwhile does nothing.";
    ImportFails "import-fails" FaultValue::Times,
        "A confirmed import ends as `failed`, without a change.";
    UploadPart503 "upload-part-503" FaultValue::Times,
        "A part of an upload is kept and answered with 503, so that sending it again makes it twice.";
    FinishUploadLostAnswer "finish-upload-lost-answer" FaultValue::Times,
        "An upload becomes an import, and the connection is closed before the answer says so.";
    ImportLosesTable "import-loses-table" FaultValue::None,
        "An import ends as `completed` without its largest table.";
    ImportLosesFile "import-loses-file" FaultValue::None,
        "An import ends as `completed` without one of its stored files.";
    ImportChangesNumber "import-changes-number" FaultValue::None,
        "An import ends as `completed` with one integer of one document become a float, or the other way round.";
    ImportDropsSchema "import-drops-schema" FaultValue::None,
        "An import ends as `completed`, and later exports lack the `generated_schema.jsonl` of its largest table.";
    ImportRefusesRow "import-refuses-row" FaultValue::None,
        "A confirmed import ends as `failed` because a document does not match the schema, without a change.";
    ImportAsOldFormat "import-as-old-format" FaultValue::None,
        "An import passes over the markers that say how numbers are to be read, as if there were none.";
    CountsUnavailable "counts-unavailable" FaultValue::Times,
        "Counting answers 503 `TableSummariesUnavailable`, as while the server starts.";
    FunctionFails "function-fails" FaultValue::Times,
        "A function of the deployment's own code throws.";
    CreateDeployment500 "create-deployment-500" FaultValue::Times,
        "The platform answers 500 to the wish for a deployment, and makes none.";
    CreateDeploymentLostAnswer "create-deployment-lost-answer" FaultValue::Times,
        "The platform makes a deployment, and the connection is closed before the answer says so.";
    CreateDeployKeyLostAnswer "create-deploy-key-lost-answer" FaultValue::Times,
        "The platform makes a deploy key, and the connection is closed before the answer has it.";
    DeleteDeployment500 "delete-deployment-500" FaultValue::Times,
        "The platform answers 500 to the wish to delete a deployment, and does not delete it.";
}

/// A fault that is asked for, with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    number: Option<u64>,
    operations: Vec<String>,
}

impl Fault {
    /// The table of all faults, in the order in which they are documented.
    pub fn all() -> &'static [FaultDescription] {
        FAULTS
    }

    /// This fault without a value: always, for ever, or with the size that its table entry says.
    ///
    /// [`FaultKind::LimitedKey`] without operations is a key that may do nothing.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, number: None, operations: Vec::new() }
    }

    /// This fault so many times, for so many seconds, or of so many bytes, as its table entry says.
    pub fn with(kind: FaultKind, number: u64) -> Self {
        Self { kind, number: Some(number), operations: Vec::new() }
    }

    /// Which fault it is.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    fn description(&self) -> &'static FaultDescription {
        FAULTS.iter().find(|known| known.kind == self.kind).expect("every kind is in the table")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description().name)?;
        match (self.number, self.operations.is_empty()) {
            (Some(number), _) => write!(f, "={number}"),
            (None, false) => write!(f, "={}", self.operations.join(",")),
            (None, true) => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = SimulatorError;

    fn from_str(text: &str) -> Result<Self, SimulatorError> {
        let invalid =
            |reason: &str| SimulatorError::InvalidFault { text: text.to_owned(), reason: reason.to_owned() };
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let Some(description) = FAULTS.iter().find(|known| known.name == name) else {
            let names: Vec<&str> = FAULTS.iter().map(|known| known.name).collect();
            return Err(invalid(&format!("there is no such fault, but {}", names.join(", "))));
        };
        let fault = Self::new(description.kind);
        match (description.value, value) {
            (FaultValue::None, Some(_)) => Err(invalid("it takes no value")),
            (FaultValue::Operations, None) => {
                Err(invalid("it needs names of operations, such as ViewBackups,DownloadBackups"))
            }
            (FaultValue::Operations, Some(value)) => Ok(Self {
                operations: value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
                ..fault
            }),
            (_, Some(value)) => {
                let number = value.parse().map_err(|_| invalid("its value must be a whole number"))?;
                Ok(Self { number: Some(number), ..fault })
            }
            (_, None) => Ok(fault),
        }
    }
}

/// The faults that are on. They can be changed while a deployment runs.
#[derive(Debug, Default)]
pub struct FaultSet(Mutex<BTreeMap<FaultKind, Fault>>);

impl FaultSet {
    /// These faults are on.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        let set = Self::default();
        faults.into_iter().for_each(|fault| set.set(fault));
        set
    }

    /// Turns a fault on, in the place of one of the same kind.
    pub fn set(&self, fault: Fault) {
        self.lock().insert(fault.kind, fault);
    }

    /// Turns a fault off.
    pub fn clear(&self, kind: FaultKind) {
        self.lock().remove(&kind);
    }

    /// Turns all faults off.
    pub fn clear_all(&self) {
        self.lock().clear();
    }

    /// Whether a fault is on.
    pub fn is_on(&self, kind: FaultKind) -> bool {
        self.lock().contains_key(&kind)
    }

    /// Whether a fault is to happen now. One that has a number of times uses one of them up.
    pub(crate) fn strike(&self, kind: FaultKind) -> bool {
        let mut faults = self.lock();
        match faults.get_mut(&kind).map(|fault| &mut fault.number) {
            None | Some(Some(0)) => false,
            Some(None) => true,
            Some(Some(left)) => {
                *left -= 1;
                true
            }
        }
    }

    /// The number of a fault that is on: the outer `None` is off, the inner one is "none given".
    #[expect(clippy::option_option, reason = "off and without a number are different answers")]
    pub(crate) fn number(&self, kind: FaultKind) -> Option<Option<u64>> {
        self.lock().get(&kind).map(|fault| fault.number)
    }

    /// The operations that a key may do under [`FaultKind::LimitedKey`].
    pub(crate) fn allowed_operations(&self) -> Option<Vec<String>> {
        self.lock().get(&FaultKind::LimitedKey).map(|fault| fault.operations.clone())
    }

    /// The faults that are on and change what an export's ZIP holds, as a text that is equal where they are.
    pub(crate) fn of_contents(&self) -> String {
        let faults = self.lock();
        let contents = faults.range(FaultKind::DamagedFile..=FaultKind::LegacyFormat);
        contents.map(|(_, fault)| fault.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<FaultKind, Fault>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Fault, FaultKind, FaultSet, FaultValue};

    #[test]
    fn every_fault_is_read_back_from_its_text() {
        for known in Fault::all() {
            let text = match known.value {
                FaultValue::None => known.name.to_owned(),
                FaultValue::Operations => format!("{}=ViewBackups,DownloadBackups", known.name),
                FaultValue::Times | FaultValue::Seconds | FaultValue::Bytes(_) => format!("{}=3", known.name),
            };
            let fault: Fault = text.parse().unwrap();
            assert_eq!((fault.kind(), fault.to_string()), (known.kind, text));
        }
    }

    #[test]
    fn every_fault_has_a_name_of_its_own_and_a_sentence() {
        let names: BTreeSet<&str> = Fault::all().iter().map(|known| known.name).collect();
        assert_eq!(names.len(), Fault::all().len());
        assert!(Fault::all().iter().all(|known| known.sentence.ends_with('.')));
    }

    #[test]
    fn a_wrong_value_or_name_is_refused_with_what_is_expected() {
        for (text, expected) in [
            ("stuck-exports", "stuck-export, slow-export"),
            ("stuck-export=1", "takes no value"),
            ("request-503=often", "whole number"),
            ("limited-key", "names of operations"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_counted_fault_happens_so_often_and_no_more() {
        let set = FaultSet::new([Fault::with(FaultKind::Request503, 2), Fault::new(FaultKind::Poll503)]);
        let strikes = |kind| (0..4).filter(|_| set.strike(kind)).count();
        assert_eq!(strikes(FaultKind::Request503), 2);
        assert_eq!(strikes(FaultKind::Poll503), 4);
        assert_eq!(strikes(FaultKind::Download503), 0);
    }
}
