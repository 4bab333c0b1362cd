//! What can go wrong in a verb.

use convault_archive::{ArchiveError, RangedError};
use convault_core::{
    DeploymentName, DestinationName, ManifestError, MirrorName, PartPlanError, SnapshotId, SourceError,
    SourceErrorKind, StoreError, StoreErrorKind, SurroundingError, SurroundingErrorKind, TableRef,
    TargetError, TargetErrorKind,
};

/// A failure of a verb. The chain of causes is printed once, where the run ends.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The deployment.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A destination.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the deployment sent is not a whole, consistent export.
    #[error(
        "the export that arrived cannot be trusted, so no snapshot was made of it; if this comes again, look at the deployment and at what stands between it and here"
    )]
    Archive(#[from] ArchiveError),
    /// The export is too large for the memory that uploads may use.
    #[error(transparent)]
    Parts(#[from] PartPlanError),
    /// A manifest.
    #[error("{place}")]
    Manifest {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// `convault.json` is not what it should be.
    #[error("{place}: {what}")]
    Repository {
        /// Where it lies.
        place: String,
        /// What is wrong, and the remedy.
        what: String,
    },
    /// What is stored is not what the manifest says.
    #[error("{place}: {what}")]
    Damaged {
        /// Which object.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// What is stored is encrypted, and nobody is here who can open it.
    #[error(
        "{place} is encrypted to {recipients}, and cannot be opened here: {why}; give an identity of one of them \
         (--identity FILE, or the setting encryption.identity)"
    )]
    Encrypted {
        /// Which object.
        place: String,
        /// What is missing.
        why: String,
        /// Who can open it.
        recipients: String,
    },
    /// A piece of a stored object could not be read.
    #[error("{place}: {what}")]
    Unread {
        /// Which object.
        place: String,
        /// Which piece.
        what: String,
        /// The store's error.
        #[source]
        source: RangedError,
    },
    /// A snapshot has no such entry.
    #[error(
        "{place} has no entry `{name}`; expected the name of a table (`contacts`, or `component/contacts`), the id of a \
         stored file, or the full name of an entry (`contacts/documents.jsonl`)"
    )]
    NoSuchEntry {
        /// What was asked for.
        name: String,
        /// The snapshot.
        place: String,
    },
    /// Lines that are not in the order of their ids.
    #[error(
        "{place}: the document {id} does not come in the order of ids, so that two states cannot be compared as they are \
         read; `convault export` gives both in full"
    )]
    Disordered {
        /// Which table of which snapshot.
        place: String,
        /// The first document out of order.
        id: String,
    },
    /// A table whose documents have very many different fields.
    #[error(
        "the documents of {table} have more than {most} different fields, too many for columns; export it as JSON Lines"
    )]
    TooManyColumns {
        /// Which table.
        table: String,
        /// How many there may be.
        most: usize,
    },
    /// More documents were chosen one by one than are held.
    #[error(
        "more than {most_bytes} bytes of documents of {table} are chosen; ask for fewer, or for the whole table"
    )]
    TooMuchChosen {
        /// The table.
        table: String,
        /// How much there may be.
        most_bytes: usize,
    },
    /// Something that cannot be brought back in the way that was asked for.
    #[error("{place}: {what}")]
    NotRecovered {
        /// Which snapshot or table.
        place: String,
        /// Why, and what would help.
        what: String,
    },
    /// A table that is to be masked and cannot be.
    #[error(
        "{table} cannot be masked: {why}; take its masks out of the settings, or choose a newer snapshot"
    )]
    NotMasked {
        /// Which table.
        table: TableRef,
        /// Why not.
        why: String,
    },
    /// What is stored may not be believed.
    #[error(
        "{place}: {what}; nothing of it is used or touched (which keys are trusted: setting signing.trusted_keys)"
    )]
    Untrusted {
        /// Which object.
        place: String,
        /// Why not.
        what: String,
    },
    /// A snapshot that cannot be accepted.
    #[error("{id} cannot be accepted: {why}")]
    NotAcceptable {
        /// Which snapshot.
        id: SnapshotId,
        /// Why.
        why: String,
    },
    /// A snapshot cannot be written anew to other recipients.
    #[error("{id} cannot be re-encrypted: {why}")]
    NotReencrypted {
        /// Which snapshot.
        id: SnapshotId,
        /// Why, and what would help.
        why: String,
    },
    /// Who is to be forgotten cannot be told, so that nothing of the content may be read.
    #[error(
        "the erasure ledger of {deployment} is not whole, so that nothing of its content is read: {what}; {remedy}"
    )]
    LedgerNotWhole {
        /// The deployment.
        deployment: DeploymentName,
        /// What is missing or wrong, and where.
        what: String,
        /// What would help.
        remedy: String,
    },
    /// An entry of the erasure ledger could be written nowhere.
    #[error("the entry of the erasure ledger was not written: {what}")]
    LedgerNotWritten {
        /// Why, of each destination.
        what: String,
    },
    /// More are to be forgotten at once than an entry of the erasure ledger can name.
    #[error(
        "{subjects} are too many to be forgotten by one entry of the erasure ledger; nothing was written: name at most \
         {most} of them, and the others by further calls"
    )]
    TooManySubjects {
        /// How many there are.
        subjects: u64,
        /// How many such as these there may be.
        most: u64,
    },
    /// Without it nobody can be named in the erasure ledger.
    #[error(
        "the settings have no names key, under which those who are erased are hashed: make one with `convault keygen \
         names`, keep a copy of it elsewhere, and name it in encryption.names_key"
    )]
    NoNamesKey,
    /// More would be erased of one snapshot than may be held.
    #[error(
        "more than {limit} documents and files of one snapshot would be erased: see whether a cascade reaches too far, or \
         raise the setting erasure.max_erased_ids"
    )]
    TooManyErased {
        /// How many may be.
        limit: usize,
    },
    /// A snapshot cannot be written anew without what is erased.
    #[error("{id} cannot be written anew: {why}")]
    NotRewritten {
        /// Which snapshot.
        id: SnapshotId,
        /// Why, and what would help.
        why: String,
    },
    /// A certificate does not hold.
    #[error("the certificate does not hold: {what}")]
    CertificateFails {
        /// What is wrong.
        what: String,
    },
    /// Files that a new snapshot needs are about to be swept away.
    #[error(
        "{destination}: {number} stored file(s) that the snapshot needs were condemned by a sweep meanwhile; the next run \
         stores them anew"
    )]
    Condemned {
        /// Where.
        destination: DestinationName,
        /// How many files.
        number: usize,
    },
    /// A snapshot cannot be made whole again.
    #[error("{id} in {destination} cannot be repaired: {why}")]
    NotRepairable {
        /// Which snapshot.
        id: SnapshotId,
        /// Where.
        destination: String,
        /// Why, and what would help.
        why: String,
    },
    /// No snapshot of that identifier.
    #[error(
        "there is no snapshot {id} of {deployment} in {destination}; `convault list` shows what is there"
    )]
    NoSuchSnapshot {
        /// What was asked for.
        id: SnapshotId,
        /// The deployment.
        deployment: String,
        /// Where it was looked for.
        destination: String,
    },
    /// Surroundings would be stored where somebody without a key can read them.
    #[error(
        "surroundings hold secrets and are stored encrypted only, but {destination} has no recipients: give it `encrypt_to`, \
         or take `surroundings` out of the job"
    )]
    NoRecipients {
        /// Where.
        destination: DestinationName,
    },
    /// What belongs to a deployment beside its data.
    #[error(transparent)]
    Surrounding(#[from] SurroundingError),
    /// Secrets that had been read a moment before were not there when they were to be stored.
    #[error("the secrets could not be read a second time, to be stored; the next look tries again")]
    SecretsUnread,
    /// Variables that were written and read back otherwise.
    #[error("{deployment} does not have these variables as they were written: {names}; look at them there")]
    SecretsDiffer {
        /// Where they were written.
        deployment: DeploymentName,
        /// Their names.
        names: String,
    },
    /// Every destination failed; each has said why.
    #[error("no destination has a snapshot of this run: {0}")]
    AllDestinationsFailed(String),
    /// A file on this machine.
    #[error("{path}: {what}")]
    File {
        /// Which file.
        path: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A destination took no data for as long as the settings allow.
    #[error("it took no data for longer than the setting daemon.stall_limit")]
    Stalled,
    /// Somebody asked the run to stop.
    #[error("the run was stopped before it was done; nothing half done is left")]
    Stopped,
    /// A lease, or the store it should lie in.
    #[error("{place}: {what}")]
    Lease {
        /// Where it lies, or the store.
        place: String,
        /// What is wrong, and the remedy.
        what: String,
    },
    /// The lease was lost while the run went on.
    #[error(
        "the lease of {deployment} was lost: it could not be renewed in time, or another daemon took over; nothing of this run counts, and whoever holds the lease does the work"
    )]
    LeaseLost {
        /// The deployment.
        deployment: DeploymentName,
    },
    /// A mirror has no state of that time or run.
    #[error("mirror {mirror}: {what}")]
    NoSuchState {
        /// Which mirror.
        mirror: MirrorName,
        /// What was asked for, and the remedy.
        what: String,
    },
    /// A mirror as a whole.
    #[error("mirror {mirror}: {what}")]
    Mirror {
        /// Which mirror.
        mirror: MirrorName,
        /// What is wrong.
        what: String,
    },
    /// A deployment that is written to.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// An import came to nothing.
    #[error("the import into {target} failed: {what}")]
    Import {
        /// What people call the deployment.
        target: String,
        /// Why, in the server's words or ours.
        what: String,
    },
    /// An import that was told to go on, and of which nobody says what became.
    #[error(
        "the import {import} into {target} was confirmed, and whether it took place is not known: {what}; look among the \
         deployment's imports, and at what it holds, before anything else is done there"
    )]
    Unsettled {
        /// What people call the deployment.
        target: String,
        /// The deployment's identifier of the import.
        import: String,
        /// Why nobody knows.
        what: String,
    },
    /// What was to be done must not be done there.
    #[error("{target}: {why}; nothing was touched")]
    Refused {
        /// What people call the deployment.
        target: String,
        /// Why, and the remedy.
        why: String,
    },
    /// A drill must not write there.
    #[error("{why}")]
    MayNotDrill {
        /// Why not, and the remedy.
        why: String,
    },
    /// There is nothing to drill with.
    #[error(
        "there is no good snapshot of {deployment} to practise with; `convault list {deployment}` shows what is there"
    )]
    NoGoodSnapshot {
        /// The deployment.
        deployment: DeploymentName,
    },
    /// A scratch deployment could not be had.
    #[error("there is no scratch deployment to restore into: {what}")]
    Scratch {
        /// Why, and the remedy.
        what: String,
        /// Whether the same is worth trying again.
        is_transient: bool,
    },
    /// A task of the run ended in a panic: a bug.
    #[error("a part of the run ended unexpectedly; please report this: {0}")]
    Bug(String),
}

impl JobError {
    /// Whether doing the same again, a little later, can succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Source(error) => matches!(
                error.kind,
                SourceErrorKind::Transient
                    | SourceErrorKind::Transit
                    | SourceErrorKind::Busy
                    | SourceErrorKind::ExportLost
            ),
            Self::Store(error) => error.kind == StoreErrorKind::Transient,
            Self::Surrounding(error) => error.kind == SurroundingErrorKind::Transient,
            Self::Target(error) => error.kind == TargetErrorKind::Transient,
            Self::Scratch { is_transient, .. } => *is_transient,
            Self::Archive(_) | Self::AllDestinationsFailed(_) | Self::Stalled | Self::LeaseLost { .. } => {
                true
            }
            _ => false,
        }
    }
}

/// The error with all its causes, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
