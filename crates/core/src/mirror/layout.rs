//! [`MirrorLayout`]: the keys of one mirror, relative to a destination's prefix.

use crate::{MirrorName, RunId};

use super::{EntryName, MirrorVerdict};

/// The folder of all mirrors. No deployment may be called so where there are mirrors.
pub const MIRRORS_FOLDER: &str = "media";

/// The keys of one mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorLayout {
    mirror: MirrorName,
}

impl MirrorLayout {
    /// The keys of `mirror`.
    pub fn new(mirror: MirrorName) -> Self {
        Self { mirror }
    }

    /// The mirror.
    pub fn mirror(&self) -> &MirrorName {
        &self.mirror
    }

    /// The prefix of everything of this mirror, ending in a slash.
    pub fn prefix(&self) -> String {
        format!("{MIRRORS_FOLDER}/{}/", self.mirror)
    }

    /// The prefix of stored objects, ending in a slash.
    fn objects_prefix(&self) -> String {
        format!("{}objects/", self.prefix())
    }

    /// The prefix of the objects whose names begin with this byte, ending in a slash.
    pub fn shard_prefix(&self, shard: u8) -> String {
        format!("{}{shard:02x}/", self.objects_prefix())
    }

    /// The object that `run` stored of the source key with this name.
    pub fn object(&self, name: EntryName, run: &RunId) -> String {
        format!("{}{name}-{run}", self.shard_prefix(name.shard()))
    }

    /// Reads the key of a stored object: anything that [`MirrorLayout::object`] could not have made is none.
    pub fn parse_object(&self, key: &str) -> Option<(EntryName, RunId)> {
        let file = key.rsplit('/').next()?;
        let (name, run) = file.split_once('-')?;
        let parsed = (name.parse().ok()?, RunId::parse(run).ok()?);
        (self.object(parsed.0, &parsed.1) == key).then_some(parsed)
    }

    /// The prefix of run records, ending in a slash.
    pub fn runs_prefix(&self) -> String {
        format!("{}runs/", self.prefix())
    }

    /// The record of a run: with it the run exists.
    pub fn run(&self, run: &RunId, verdict: MirrorVerdict) -> String {
        format!("{}{run}-{}.json", self.runs_prefix(), verdict.as_str())
    }

    /// Reads the key of a run record.
    pub fn parse_run(&self, key: &str) -> Option<(RunId, MirrorVerdict)> {
        let name = key.strip_prefix(&self.runs_prefix())?.strip_suffix(".json")?;
        let (run, verdict) = name.rsplit_once('-')?;
        Some((RunId::parse(run).ok()?, MirrorVerdict::from_word(verdict)?))
    }

    /// The prefix of listings, ending in a slash.
    pub fn listings_prefix(&self) -> String {
        format!("{}listings/", self.prefix())
    }

    /// The listing of a run.
    pub fn listing(&self, run: &RunId) -> String {
        format!("{}{run}.jsonl.zst", self.listings_prefix())
    }

    /// Reads the key of a listing.
    pub fn parse_listing(&self, key: &str) -> Option<RunId> {
        let name = key.strip_prefix(&self.listings_prefix())?.strip_suffix(".jsonl.zst")?;
        RunId::parse(name).ok()
    }

    /// The prefix below which each run that goes on or was cut off has a folder with what it has stored so far.
    pub fn progress_prefix(&self) -> String {
        format!("{}progress/", self.prefix())
    }

    /// A piece of what a run has stored so far, from 0.
    pub fn progress(&self, run: &RunId, number: u32) -> String {
        format!("{}{run}/{number:08}.jsonl.zst", self.progress_prefix())
    }

    /// The prefix below which each run that stored something encrypted has a folder with what only those may read who
    /// have a private key.
    pub fn details_prefix(&self) -> String {
        format!("{}details/", self.prefix())
    }

    /// A piece of the details of what a run has stored, from 0.
    pub fn details(&self, run: &RunId, number: u32) -> String {
        format!("{}{run}/{number:08}.jsonl.zst.age", self.details_prefix())
    }

    /// The prefix of lists of objects that are to go, ending in a slash.
    pub fn condemned_prefix(&self) -> String {
        format!("{}condemned/", self.prefix())
    }

    /// A list of objects that are to go.
    pub fn condemned(&self, run: &RunId) -> String {
        format!("{}{run}.jsonl.zst", self.condemned_prefix())
    }

    /// Reads the key of a list of objects that are to go.
    pub fn parse_condemned(&self, key: &str) -> Option<RunId> {
        let name = key.strip_prefix(&self.condemned_prefix())?.strip_suffix(".jsonl.zst")?;
        RunId::parse(name).ok()
    }

    /// Where a restore puts what goes back into a destination, ending in a slash.
    pub fn restored_prefix(&self, run: &RunId) -> String {
        format!("{}restored/{run}/", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_made() {
        let layout = MirrorLayout::new(MirrorName::new("courses").unwrap());
        let run = RunId::parse("20261122T030056Z-700000").unwrap();
        let name = EntryName::of_key("a.jpg");
        let key = layout.object(name, &run);
        assert!(key.starts_with(&format!("media/courses/objects/{:02x}/{name}-2026", name.shard())));
        assert_eq!(layout.parse_object(&key), Some((name, run.clone())));
        assert_eq!(layout.parse_object(&key.replace("objects/", "objects/0")), None);
        for verdict in MirrorVerdict::ALL {
            assert_eq!(layout.parse_run(&layout.run(&run, verdict)), Some((run.clone(), verdict)));
        }
        assert_eq!(layout.parse_listing(&layout.listing(&run)), Some(run.clone()));
        assert_eq!(layout.parse_condemned(&layout.condemned(&run)), Some(run));
    }
}
