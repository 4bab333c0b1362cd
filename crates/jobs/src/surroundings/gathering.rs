//! [`Gathering`]: takes what surroundings hand out, into a ZIP or only into keyed hashes.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use convault_archive::{NamesKey, ZipEntry};
use convault_core::{
    Collect, DeploymentName, EntryDetails, NotCovered, Secret, SecretsRecord, Sha256, Sha256Stream,
    Surrounding, SurroundingError, SurroundingErrorKind, SurroundingKind, SurroundingName,
};

use super::{
    Sent, ZipSink,
    contents::{CONTENTS_NAME, Contents, Entry, Part, VALUES_NAME},
    name_hash,
};
use crate::{JobError, RunContext, error::chain};

/// For what names are sealed.
pub(crate) const SEALED_NAMES: &str = "secret-names";
/// Named values are held until the ZIP's last entries are written, and more of them than this is refused.
const MOST_VALUE_BYTES: usize = 16 << 20;
const CONTENTS_FORMAT: u32 = 1;
/// The mode of entries that have none of their own: what is in them is nobody else's business.
const MODE: u32 = 0o600;
/// Shorter names would also blot out ordinary words.
const LEAST_HIDDEN: usize = 4;

/// What becomes of what is collected.
#[derive(Debug)]
pub(crate) enum Values {
    /// It is stored.
    Stored(Box<ZipSink>),
    /// Named values are hashed, and everything else is dropped.
    Hashed,
}

/// Why a part was not collected to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Its own failure.
    Surrounding(SurroundingError),
    /// The run was told to stop.
    Stopped,
}

/// A part that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// For the manifest: ``surroundings `vercel` ``.
    pub(crate) what: String,
    /// For the manifest. Names no secret.
    pub(crate) why: String,
    pub(crate) is_required: bool,
    pub(crate) is_transient: bool,
}

/// What was gathered.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// Every part that was asked for.
    pub(crate) attempted: Vec<SurroundingName>,
    pub(crate) failed: Vec<Failed>,
    /// What could not be read of the rest. Names no secret.
    pub(crate) not_covered: Vec<NotCovered>,
    /// For people.
    pub(crate) warnings: Vec<String>,
    /// `None` where no part with secrets was collected to its end.
    pub(crate) record: Option<SecretsRecord>,
    /// The run was told to stop, or no destination was left: nothing of this is to be believed.
    pub(crate) is_broken: bool,
}

/// Takes what one surrounding after the other hands out.
pub(crate) struct Gathering<'a> {
    names: &'a NamesKey,
    deployment: &'a DeploymentName,
    values: Values,
    parts: Vec<Part>,
    /// The part being collected.
    open: Option<Open>,
    hashes: BTreeMap<SurroundingName, BTreeMap<Sha256, Sha256>>,
    known: BTreeMap<SurroundingName, BTreeSet<String>>,
    held: Vec<(SurroundingName, String, Secret)>,
    held_bytes: usize,
    failed: Vec<Failed>,
    warnings: Vec<String>,
    not_covered: Vec<NotCovered>,
    is_broken: bool,
}

struct Open {
    part: Part,
    paths: BTreeSet<String>,
    entry: Option<(Entry, Sha256Stream)>,
    hashes: BTreeMap<Sha256, Sha256>,
    names: BTreeSet<String>,
    /// Names whose values could not be had.
    unread: BTreeSet<String>,
}

impl<'a> Gathering<'a> {
    /// Nothing yet.
    pub(crate) fn new(names: &'a NamesKey, deployment: &'a DeploymentName, values: Values) -> Self {
        Self {
            names,
            deployment,
            values,
            parts: Vec::new(),
            open: None,
            hashes: BTreeMap::new(),
            known: BTreeMap::new(),
            held: Vec::new(),
            held_bytes: 0,
            failed: Vec::new(),
            warnings: Vec::new(),
            not_covered: Vec::new(),
            is_broken: false,
        }
    }

    /// Begins to collect a part.
    pub(super) fn enter(&mut self, surrounding: &dyn Surrounding) {
        let part = Part {
            name: surrounding.name().clone(),
            kind: surrounding.kind(),
            required: surrounding.is_required(),
            complete: false,
            error: None,
            entries: Vec::new(),
            not_covered: Vec::new(),
        };
        self.open = Some(Open {
            part,
            paths: BTreeSet::new(),
            entry: None,
            hashes: BTreeMap::new(),
            names: BTreeSet::new(),
            unread: BTreeSet::new(),
        });
    }

    /// Whether nothing has come of the part yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.paths.is_empty() && open.names.is_empty())
    }

    /// Ends the part; `false` where nothing more can be taken.
    pub(super) fn leave(&mut self, collected: Result<Vec<NotCovered>, Failure>) -> bool {
        let mut open = self.open.take().expect("a part is entered before it is left");
        open.end_entry();
        let Open { mut part, hashes, names, unread, .. } = open;
        let all_names = names.union(&unread).cloned().collect();
        match collected {
            Ok(not_covered) => {
                part.complete = true;
                if part.kind == SurroundingKind::Secrets {
                    self.hashes.insert(part.name.clone(), hashes);
                    self.known.insert(part.name.clone(), names.clone());
                }
                for one in &not_covered {
                    self.warnings.push(format!("surroundings `{}`: {}: {}", part.name, one.what, one.why));
                    let hidden = |text: &str| hide(text, &all_names);
                    self.not_covered.push(NotCovered { what: hidden(&one.what), why: hidden(&one.why) });
                }
                part.not_covered = not_covered;
            }
            Err(Failure::Stopped) => self.is_broken = true,
            Err(Failure::Surrounding(error)) => {
                self.is_broken |= error.kind == SurroundingErrorKind::Taker;
                self.warnings.push(chain(&error));
                self.failed.push(Failed {
                    what: format!("surroundings `{}`", part.name),
                    why: hide(&error.message, &all_names),
                    is_required: part.required,
                    is_transient: error.kind == SurroundingErrorKind::Transient,
                });
                part.error = Some(error.message);
            }
        }
        self.parts.push(part);
        !self.is_broken
    }

    /// Ends the ZIP, where there is one.
    pub(super) async fn close(mut self, context: &RunContext) -> Sent {
        let record = self.record();
        if !self.is_broken && self.put_last(context).await.is_err() {
            self.is_broken = true;
        }
        let sent = match self.values {
            Values::Hashed => Vec::new(),
            Values::Stored(sink) if context.stop.is_cancelled() => {
                sink.abort().await;
                Vec::new()
            }
            Values::Stored(sink) => sink.close(context).await.unwrap_or_default(),
        };
        let gathered = Gathered {
            attempted: self.parts.into_iter().map(|part| part.name).collect(),
            failed: self.failed,
            not_covered: self.not_covered,
            warnings: self.warnings,
            record,
            is_broken: self.is_broken,
        };
        Sent { gathered, sent }
    }

    fn record(&self) -> Option<SecretsRecord> {
        if self.hashes.is_empty() {
            return None;
        }
        let known = serde_json::to_vec(&self.known).expect("it is made of texts");
        let sealed = self.names.seal(SEALED_NAMES, self.deployment.as_str().as_bytes(), &known);
        Some(SecretsRecord {
            names_key: self.names.id(),
            names: STANDARD.encode(sealed),
            hashes: self.hashes.clone(),
        })
    }

    /// Writes the entries that only now can be written.
    async fn put_last(&mut self, context: &RunContext) -> Result<(), JobError> {
        let Values::Stored(sink) = &mut self.values else { return Ok(()) };
        if !self.held.is_empty() {
            begin_own(sink, VALUES_NAME);
            for (surrounding, name, value) in &self.held {
                let line =
                    serde_json::json!({ "surrounding": surrounding, "name": name, "value": value.expose() });
                sink.write(format!("{line}\n").as_bytes()).await?;
            }
        }
        let contents = Contents {
            format: CONTENTS_FORMAT,
            deployment: self.deployment,
            at: context.clock.now(),
            surroundings: &self.parts,
        };
        let mut bytes = serde_json::to_vec_pretty(&contents).expect("contents have only string keys");
        bytes.push(b'\n');
        begin_own(sink, CONTENTS_NAME);
        sink.write(&bytes).await
    }

    fn open(&mut self) -> &mut Open {
        self.open.as_mut().expect("a part is entered before it is collected")
    }
}

fn begin_own(sink: &mut ZipSink, name: &str) {
    let entry = ZipEntry { mode: Some(MODE), ..ZipEntry::named(name) };
    sink.begin(&entry).expect("the names of our own entries are short");
}

impl Open {
    fn error(&self, kind: SurroundingErrorKind, message: impl Into<String>) -> SurroundingError {
        SurroundingError { kind, surrounding: self.part.name.clone(), message: message.into(), source: None }
    }

    fn taker(&self, error: JobError) -> SurroundingError {
        let message = "what was collected could not be stored".to_owned();
        SurroundingError { source: Some(Box::new(error)), ..self.error(SurroundingErrorKind::Taker, message) }
    }

    fn end_entry(&mut self) {
        if let Some((entry, sha256)) = self.entry.take() {
            self.part.entries.push(Entry { sha256: sha256.finish(), ..entry });
        }
    }

    /// Begins an entry; gives its name in the ZIP.
    fn begin_entry(&mut self, path: &str, details: &EntryDetails) -> Result<String, SurroundingError> {
        self.end_entry();
        if !is_plain_path(path) {
            let message = "it gave an entry whose path would lead out of its folder; please report this";
            return Err(self.error(SurroundingErrorKind::Other, message));
        }
        if !self.paths.insert(path.to_owned()) {
            let message = "it gave two entries of one path; please report this";
            return Err(self.error(SurroundingErrorKind::Other, message));
        }
        let full = format!("{}/{path}", self.part.name);
        let entry = Entry {
            path: full.clone(),
            size_bytes: 0,
            sha256: Sha256([0; 32]),
            mode: details.mode.map(|mode| format!("{:o}", mode & 0o7777)),
            owner: details.owner,
            modified: details.modified,
        };
        self.entry = Some((entry, Sha256Stream::new()));
        Ok(full)
    }
}

#[async_trait]
impl Collect for Gathering<'_> {
    async fn begin(&mut self, path: &str, details: EntryDetails) -> Result<(), SurroundingError> {
        let full = self.open().begin_entry(path, &details)?;
        let Values::Stored(sink) = &mut self.values else { return Ok(()) };
        let entry = ZipEntry {
            name: &full,
            mode: Some(details.mode.unwrap_or(MODE)),
            owner: details.owner,
            modified: details.modified,
        };
        let begun = sink.begin(&entry);
        begun.map_err(|error| self.open().error(SurroundingErrorKind::Other, error.to_string()))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SurroundingError> {
        let Some((entry, sha256)) = &mut self.open().entry else {
            let message = "it gave content before an entry; please report this";
            return Err(self.open().error(SurroundingErrorKind::Other, message));
        };
        entry.size_bytes += bytes.len() as u64;
        sha256.update(bytes);
        let Values::Stored(sink) = &mut self.values else { return Ok(()) };
        let written = sink.write(bytes).await;
        written.map_err(|error| self.open().taker(error))
    }

    async fn value(&mut self, name: &str, value: &Secret) -> Result<(), SurroundingError> {
        let names = self.names;
        let open = self.open();
        let surrounding = open.part.name.clone();
        let name_hash = name_hash(names, &surrounding, name);
        let parts = [surrounding.as_str().as_bytes(), name.as_bytes(), value.expose().as_bytes()];
        open.hashes.insert(name_hash, names.hash("secret-value", &parts));
        if !open.names.insert(name.to_owned()) {
            let message = "it gave one name two values; please report this";
            return Err(open.error(SurroundingErrorKind::Other, message));
        }
        if let Values::Stored(_) = &self.values {
            self.held_bytes += name.len() + value.expose().len();
            if self.held_bytes > MOST_VALUE_BYTES {
                let message = format!("there are more than {} MiB of named values", MOST_VALUE_BYTES >> 20);
                return Err(self.open().error(SurroundingErrorKind::Limit, message));
            }
            self.held.push((surrounding, name.to_owned(), value.clone()));
        }
        Ok(())
    }

    fn unread(&mut self, name: &str) {
        self.open().unread.insert(name.to_owned());
    }
}

/// Whether a path stays below its folder, on every system.
fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(['\\', '\0'])
        && !path.chars().any(char::is_control)
}

/// The text without the names in it, for manifests, which everybody can read.
fn hide(text: &str, names: &BTreeSet<String>) -> String {
    let mut parts: Vec<&str> =
        names.iter().flat_map(|name| [name.as_str()].into_iter().chain(name.rsplit('/').next())).collect();
    // The longest first: what a short one leaves of a long one would still be told.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let hidden = parts.into_iter().filter(|part| part.len() >= LEAST_HIDDEN);
    hidden.fold(text.to_owned(), |text, part| text.replace(part, "…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_told_where_everybody_can_read() {
        let names = BTreeSet::from(["production/STRIPE_KEY".to_owned(), "STRIPE".to_owned(), "A".to_owned()]);
        assert_eq!(
            hide("STRIPE_KEY of production/STRIPE_KEY: A key may not read it", &names),
            "… of …: A key may not read it"
        );
    }

    #[test]
    fn a_path_cannot_leave_its_folder() {
        for bad in ["", "/etc", "a//b", "../a", "a/..", "a\\b", "a\nb", "."] {
            assert!(!is_plain_path(bad), "{bad}");
        }
        for good in ["a", ".env", "größe/.env.local", "a/b..c"] {
            assert!(is_plain_path(good), "{good}");
        }
    }
}
