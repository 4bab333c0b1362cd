//! Identifiers of runs and snapshots: the UTC time, then a short random part, so that listing is sorting.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_CHARACTERS: usize = 6;

/// A text that is not an identifier of the form `20261122T030056Z-4k9x2m`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a run or snapshot id: expected a form like 20261122T030056Z-4k9x2m")]
pub struct ParseRunIdError {
    /// What was written.
    pub text: String,
}

/// The identifier of one run: `YYYYMMDDThhmmssZ-xxxxxx` (UTC; six characters of Crockford base32, lower case).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// The identifier of a snapshot: that of the run which made it.
pub type SnapshotId = RunId;

impl RunId {
    /// The identifier of a run that starts at `now`; of `random` the low 30 bits are used.
    pub fn new(now: Timestamp, random: u32) -> Self {
        let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
        let tail: String = (0..RANDOM_CHARACTERS)
            .map(|place| char::from(ALPHABET[(random >> (place * 5)) as usize & 31]))
            .collect();
        Self(format!("{time}-{tail}"))
    }

    /// Reads an identifier; anything that [`RunId::new`] could not have made is refused.
    pub fn parse(text: &str) -> Result<Self, ParseRunIdError> {
        let error = || ParseRunIdError { text: text.to_owned() };
        let (time, tail) = text.split_once('-').ok_or_else(error)?;
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let time_is_good = time.len() == 16
            && digits(&time[..8])
            && &time[8..9] == "T"
            && digits(&time[9..15])
            && &time[15..] == "Z";
        let tail_is_good = tail.len() == RANDOM_CHARACTERS && tail.bytes().all(|b| ALPHABET.contains(&b));
        let id = Self(text.to_owned());
        if text.is_ascii() && time_is_good && tail_is_good && id.time_checked().is_some() {
            Ok(id)
        } else {
            Err(error())
        }
    }

    fn time_checked(&self) -> Option<Timestamp> {
        let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &self.0[..16]).ok()?;
        civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    }

    /// When the run began, to the second.
    pub fn time(&self) -> Timestamp {
        self.time_checked().expect("every constructor checked that the time parses")
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for RunId {
    type Err = ParseRunIdError;
    fn from_str(text: &str) -> Result<Self, ParseRunIdError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for RunId {
    type Error = ParseRunIdError;
    fn try_from(text: String) -> Result<Self, ParseRunIdError> {
        Self::parse(&text)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_time_and_sorts_by_it() {
        let early = RunId::new("2026-11-22T03:00:56Z".parse().unwrap(), 7);
        let late = RunId::new("2026-11-22T03:00:57Z".parse().unwrap(), 0);
        assert_eq!(early.as_str(), "20261122T030056Z-700000");
        assert_eq!(early.time(), "2026-11-22T03:00:56Z".parse::<Timestamp>().unwrap());
        assert!(early < late);
        assert_eq!(RunId::parse(early.as_str()).unwrap(), early);
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for bad in [
            "",
            "..",
            "20261122T030056Z",
            "20261322T030056Z-700000",
            "20261122T030056Z-70000u",
            "20261122T030056Z-7000000",
        ] {
            assert!(RunId::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
