//! The faults that the S3 server can be asked to show, each by its name.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::server::S3ServerError;

/// One line of the table of faults.
#[derive(Debug, Clone, Copy)]
pub struct S3FaultDescription {
    /// Which fault it is.
    pub kind: S3FaultKind,
    /// What it is asked for by.
    pub name: &'static str,
    /// Whether a number may follow the name after `=`: how often it happens (always, where it is left out); for
    /// [`S3FaultKind::Slow`] milliseconds (200); for those of the Nth request which one (1).
    pub takes_number: bool,
    /// What then happens, in a sentence.
    pub sentence: &'static str,
}

macro_rules! faults {
    ($($kind:ident $name:literal $takes_number:literal $sentence:literal;)*) => {
        /// Every fault of the S3 server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum S3FaultKind {
            $(#[doc = $sentence] $kind,)*
        }

        const FAULTS: &[S3FaultDescription] = &[$(S3FaultDescription {
            kind: S3FaultKind::$kind,
            name: $name,
            takes_number: $takes_number,
            sentence: $sentence,
        },)*];
    };
}

faults! {
    Unavailable "s3-503" true
        "A request answers 503 `SlowDown`.";
    Slow "s3-slow" true
        "Every request waits this many milliseconds first.";
    Stall "s3-stall" true
        "An upload of an object or a part never gets an answer, and its connection stays open.";
    IgnoreIfNoneMatch "s3-ignore-if-none-match" false
        "`If-None-Match` is ignored and the object overwritten, as Garage does.";
    IgnoreIfMatch "s3-ignore-if-match" false
        "`If-Match` is ignored and the object overwritten.";
    IgnoreConditionalComplete "s3-ignore-conditional-complete" false
        "Conditions are ignored when an upload is completed, and only then, as Ceph 16 does.";
    RefuseConditions "s3-refuse-conditions" false
        "A conditional write answers 501 `NotImplemented`.";
    NoChecksums "s3-no-checksums" false
        "Checksums are accepted, not checked and not given back, as Ceph 16 does.";
    NoListUploads "s3-no-list-uploads" false
        "Listing unfinished uploads answers 501 `NotImplemented`, as s3s-fs does.";
    LostAnswer "s3-lost-answer" true
        "An object is put or an upload completed, and then the connection breaks instead of an answer.";
    CorruptGet "s3-corrupt-get" true
        "One bit of what a GET sends is not what was stored.";
    Full "s3-full" true
        "Writing answers 507 `XMinioStorageFull`.";
    DenyDelete "s3-deny-delete" false
        "Deleting objects answers 403 `AccessDenied`.";
    DenyGet "s3-deny-get" false
        "Reading objects and their sizes answers 403 `AccessDenied`.";
    DenySettings "s3-deny-settings" false
        "Asking a bucket for its versioning and its locks answers 403 `AccessDenied`.";
    NthError "s3-nth-error" true
        "The Nth request from now answers 500 `InternalError`, and nothing is done.";
    NthTimeout "s3-nth-timeout" true
        "The Nth request from now never gets an answer, and nothing is done.";
    NthCut "s3-nth-cut" true
        "The Nth request from now breaks off: what it reads after a part of the body, what it writes before it is done.";
    NthLost "s3-nth-lost" true
        "The Nth request from now is done, and then the connection breaks instead of an answer.";
    GoneFrom "s3-gone-from" true
        "The Nth request from now and every later one finds the connection broken, and nothing is done.";
}

/// A fault as it is asked for: `s3-503=2`, `s3-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Fault {
    /// Which one.
    pub kind: S3FaultKind,
    /// The number behind the `=`.
    pub number: Option<u64>,
}

impl S3Fault {
    /// Every fault there is, with what it does.
    pub fn all() -> &'static [S3FaultDescription] {
        FAULTS
    }

    /// Whether `text` names a fault of the S3 server rather than of the deployment.
    pub fn is_named_like_one(text: &str) -> bool {
        text.starts_with("s3-")
    }
}

impl FromStr for S3Fault {
    type Err = S3ServerError;

    fn from_str(text: &str) -> Result<Self, S3ServerError> {
        let invalid = |reason: String| S3ServerError::InvalidFault { text: text.to_owned(), reason };
        let (name, number) = text.split_once('=').map_or((text, None), |(name, number)| (name, Some(number)));
        let Some(found) = FAULTS.iter().find(|fault| fault.name == name) else {
            let names: Vec<_> = FAULTS.iter().map(|fault| fault.name).collect();
            return Err(invalid(format!("there is none of this name, but {}", names.join(", "))));
        };
        let number = match number {
            None => None,
            Some(_) if !found.takes_number => return Err(invalid("it takes no number".to_owned())),
            Some(number) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                Some(number.ok_or_else(|| invalid("a whole number from 1 follows the `=`".to_owned()))?)
            }
        };
        Ok(Self { kind: found.kind, number })
    }
}

impl fmt::Display for S3Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FAULTS.iter().find(|fault| fault.kind == self.kind).map_or("", |fault| fault.name);
        f.write_str(name)?;
        self.number.map_or(Ok(()), |number| write!(f, "={number}"))
    }
}

/// The faults in force, with how often each is still to happen.
#[derive(Debug, Default)]
pub(super) struct ActiveFaults {
    active: Mutex<BTreeMap<S3FaultKind, Option<u64>>>,
    /// How many requests came since the faults were set.
    requests: AtomicU64,
}

const OF_THE_NTH: [S3FaultKind; 4] =
    [S3FaultKind::NthError, S3FaultKind::NthTimeout, S3FaultKind::NthCut, S3FaultKind::NthLost];

impl ActiveFaults {
    pub(super) fn new(faults: &[S3Fault]) -> Self {
        let active = Self::default();
        active.set(faults);
        active
    }

    /// Puts these in the place of those in force.
    pub(super) fn set(&self, faults: &[S3Fault]) {
        let mut active = self.lock();
        *active = faults.iter().map(|fault| (fault.kind, fault.number)).collect();
        self.requests.store(0, Ordering::Relaxed);
    }

    /// Counts a request, and gives the fault that it was chosen for by its number.
    pub(super) fn of_this_request(&self) -> Option<S3FaultKind> {
        let active = self.lock();
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let chosen = |kind: S3FaultKind| active.get(&kind).map(|chosen| chosen.unwrap_or(1));
        if chosen(S3FaultKind::GoneFrom).is_some_and(|first| number >= first) {
            return Some(S3FaultKind::GoneFrom);
        }
        OF_THE_NTH.into_iter().find(|kind| chosen(*kind) == Some(number))
    }

    /// Whether the fault happens now; where it was asked for a number of times, one of them is used up.
    pub(super) fn strikes(&self, kind: S3FaultKind) -> bool {
        let mut active = self.lock();
        match active.get_mut(&kind) {
            None | Some(Some(0)) => false,
            Some(None) => true,
            Some(Some(left)) => {
                *left -= 1;
                true
            }
        }
    }

    /// The number a fault in force was given, or `default` where it was given none; `None` where it is not in
    /// force.
    pub(super) fn number(&self, kind: S3FaultKind, default: u64) -> Option<u64> {
        self.lock().get(&kind).map(|number| number.unwrap_or(default))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<S3FaultKind, Option<u64>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_by_its_name_and_printed_alike() {
        for fault in S3Fault::all() {
            assert_eq!(fault.name.parse::<S3Fault>().unwrap().kind, fault.kind);
            assert!(S3Fault::is_named_like_one(fault.name));
            let numbered = format!("{}=3", fault.name);
            assert_eq!(numbered.parse::<S3Fault>().is_ok(), fault.takes_number, "{numbered}");
        }
        assert_eq!("s3-503=2".parse::<S3Fault>().unwrap().to_string(), "s3-503=2");
        for bad in ["s3-none", "s3-503=0", "s3-503=x", "s3-503="] {
            assert!(bad.parse::<S3Fault>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fault_with_a_number_happens_that_often() {
        let active = ActiveFaults::new(&["s3-503=2".parse().unwrap(), "s3-full".parse().unwrap()]);
        let strikes: Vec<bool> = (0..3).map(|_| active.strikes(S3FaultKind::Unavailable)).collect();
        assert_eq!(strikes, [true, true, false]);
        assert!((0..9).all(|_| active.strikes(S3FaultKind::Full)));
        assert!(!active.strikes(S3FaultKind::Stall));
    }

    #[test]
    fn a_fault_of_the_nth_request_is_counted_from_when_it_was_set() {
        let active = ActiveFaults::default();
        assert_eq!(active.of_this_request(), None);
        active.set(&["s3-nth-lost=2".parse().unwrap(), "s3-gone-from=4".parse().unwrap()]);
        let met: Vec<_> = (0..5).map(|_| active.of_this_request()).collect();
        let (lost, gone) = (Some(S3FaultKind::NthLost), Some(S3FaultKind::GoneFrom));
        assert_eq!(met, [None, lost, None, gone, gone]);
    }
}
