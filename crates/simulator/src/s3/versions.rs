//! Versions: what was overwritten or deleted, and the deletions themselves.

use std::collections::BTreeMap;

use s3s::{
    S3Response, S3Result,
    dto::{
        DeleteMarkerEntry, ETag, ListObjectVersionsInput, ListObjectVersionsOutput, ObjectVersion,
        ObjectVersionStorageClass,
    },
    s3_error,
};

use super::{
    listing::{LARGEST_PAGE, Spelling},
    service::Service,
    state::{Held, Object, State, etag, signed, timestamp},
};

/// The name of a version that was written without versioning.
const NULL_VERSION: &str = "null";

/// What is no longer, or never was, the object that a plain read finds.
#[derive(Debug, Clone)]
pub(super) enum Past {
    /// A version that was overwritten or deleted.
    Object(Object),
    /// A deletion: its identifier, and when it was. Seconds since 1970.
    Deletion { version: String, modified: u64 },
}

impl Past {
    fn version(&self) -> &str {
        match self {
            Self::Object(object) => object.version_id(),
            Self::Deletion { version, .. } => version,
        }
    }
}

/// The past of each key of a bucket, the newest last.
pub(super) type History = BTreeMap<String, Vec<Past>>;

impl Object {
    /// What it is called among the versions of its key.
    pub(super) fn version_id(&self) -> &str {
        if self.version.is_empty() { NULL_VERSION } else { &self.version }
    }
}

impl Held {
    /// What a read finds: the newest version, or the one that is named.
    pub(super) fn object(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<&Object> {
        let newest = self.buckets.get(bucket).and_then(|objects| objects.get(key));
        let Some(version) = version else {
            return newest.ok_or_else(|| s3_error!(NoSuchKey, "there is no such object"));
        };
        if let Some(object) = newest.filter(|object| object.version_id() == version) {
            return Ok(object);
        }
        let past = self.history.get(bucket).and_then(|history| history.get(key));
        match past.and_then(|past| past.iter().find(|past| past.version() == version)) {
            Some(Past::Object(object)) => Ok(object),
            Some(Past::Deletion { .. }) => {
                Err(s3_error!(MethodNotAllowed, "this version is a delete marker"))
            }
            None => Err(s3_error!(NoSuchVersion, "there is no such version")),
        }
    }

    /// The same, to change it.
    pub(super) fn object_mut(
        &mut self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<&mut Object> {
        self.object(bucket, key, version)?;
        let gone = || s3_error!(NoSuchVersion, "there is no such version");
        let newest = self.buckets.get_mut(bucket).and_then(|objects| objects.get_mut(key));
        if let Some(object) = newest.filter(|object| version.is_none_or(|it| object.version_id() == it)) {
            return Ok(object);
        }
        let past = self.history.get_mut(bucket).and_then(|history| history.get_mut(key)).ok_or_else(gone)?;
        let found = past.iter_mut().find_map(|past| match past {
            Past::Object(object) if version == Some(object.version_id()) => Some(object),
            _ => None,
        });
        found.ok_or_else(gone)
    }

    pub(super) fn bury(&mut self, bucket: &str, key: &str, past: Past) {
        let history = self.history.entry(bucket.to_owned()).or_default();
        history.entry(key.to_owned()).or_default().push(past);
    }
}

impl State {
    /// Deletes an object: for good without versions, otherwise under a deletion, whose identifier is given.
    pub(super) fn remove(&self, bucket: &str, key: &str) -> Option<String> {
        let mut held = self.held();
        let removed = held.buckets.get_mut(bucket).and_then(|objects| objects.remove(key));
        if !self.keeping.versions {
            if let Some(object) = removed {
                self.forget(&object);
            }
            return None;
        }
        if let Some(object) = removed {
            held.bury(bucket, key, Past::Object(object));
        }
        let version = new_version();
        held.bury(bucket, key, Past::Deletion { version: version.clone(), modified: self.now() });
        Some(version)
    }

    /// Deletes one version for good, unless it is locked; says whether it was a deletion. The version before the
    /// newest takes its place.
    pub(super) fn remove_version(
        &self,
        bucket: &str,
        key: &str,
        version: &str,
        bypass: bool,
    ) -> S3Result<bool> {
        let mut held = self.held();
        if let Some(retention) =
            held.object(bucket, key, Some(version)).ok().and_then(|object| object.retention.as_ref())
        {
            retention.check(&self.timestamp_now(), bypass)?;
        }
        let is_newest = held.object(bucket, key, None).is_ok_and(|object| object.version_id() == version);
        if is_newest {
            let removed = held.buckets.get_mut(bucket).and_then(|objects| objects.remove(key));
            if let Some(object) = removed {
                self.forget(&object);
            }
        }
        let Held { buckets, history, .. } = &mut *held;
        let Some(history) = history.get_mut(bucket) else { return Ok(false) };
        let Some(past) = history.get_mut(key) else { return Ok(false) };
        let mut deletion = false;
        if let Some(place) = past.iter().position(|past| past.version() == version) {
            match past.remove(place) {
                Past::Object(object) => self.forget(&object),
                Past::Deletion { .. } => deletion = true,
            }
        }
        let objects = buckets.entry(bucket.to_owned()).or_default();
        if !objects.contains_key(key)
            && let Some(Past::Object(object)) = past.pop_if(|past| matches!(past, Past::Object(_)))
        {
            objects.insert(key.to_owned(), object);
        }
        if past.is_empty() {
            history.remove(key);
        }
        Ok(deletion)
    }
}

pub(super) fn new_version() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A line of the listing.
struct Line {
    key: String,
    version: String,
    latest: bool,
    modified: u64,
    /// Entity tag and size; none for a deletion.
    object: Option<(ETag, u64)>,
}

impl Service {
    pub(super) async fn list_versions(
        &self,
        input: ListObjectVersionsInput,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        self.state.enter("ListObjectVersions").await?;
        if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(s3_error!(NotImplemented, "versions are listed without a delimiter"));
        }
        let prefix = input.prefix.clone().unwrap_or_default();
        let most = input.max_keys.unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
        let spell = Spelling::of(input.encoding_type.as_ref());
        let mut lines = self.lines(&input.bucket, &prefix);
        if let Some(key_marker) = &input.key_marker {
            lines = after(lines, key_marker, input.version_id_marker.as_deref())?;
        }
        let most_lines = usize::try_from(most).unwrap_or_default();
        let more = lines.len() > most_lines;
        lines.truncate(most_lines);
        let last =
            lines.last().filter(|_| more).map(|line| (spell.write(line.key.clone()), line.version.clone()));
        let (next_key_marker, next_version_id_marker) = last.unzip();
        let (mut versions, mut delete_markers) = (Vec::new(), Vec::new());
        for line in lines {
            let (key, version_id) = (Some(spell.write(line.key)), Some(line.version));
            let (is_latest, last_modified) = (Some(line.latest), Some(timestamp(line.modified)));
            match line.object {
                Some((e_tag, size)) => versions.push(ObjectVersion {
                    e_tag: Some(e_tag),
                    is_latest,
                    key,
                    last_modified,
                    size: signed(size),
                    storage_class: Some(ObjectVersionStorageClass::from_static(
                        ObjectVersionStorageClass::STANDARD,
                    )),
                    version_id,
                    ..ObjectVersion::default()
                }),
                None => delete_markers.push(DeleteMarkerEntry {
                    is_latest,
                    key,
                    last_modified,
                    version_id,
                    ..DeleteMarkerEntry::default()
                }),
            }
        }
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(spell.write(prefix)),
            key_marker: input.key_marker.map(|it| spell.write(it)),
            version_id_marker: input.version_id_marker,
            max_keys: Some(most),
            is_truncated: Some(more),
            next_key_marker,
            next_version_id_marker,
            encoding_type: input.encoding_type,
            versions: Some(versions),
            delete_markers: Some(delete_markers),
            ..ListObjectVersionsOutput::default()
        }))
    }

    /// Every version below a prefix, by key, the newest of a key first.
    fn lines(&self, bucket: &str, prefix: &str) -> Vec<Line> {
        let held = self.state.held();
        let mut lines: BTreeMap<&String, Vec<Line>> = BTreeMap::new();
        let below = |key: &&String| key.starts_with(prefix);
        let newest = held.buckets.get(bucket).into_iter().flatten();
        for (key, object) in newest.filter(|(key, _)| below(key)) {
            lines.entry(key).or_default().push(object_line(key, object, true));
        }
        let past = held.history.get(bucket).into_iter().flatten();
        for (key, past) in past.filter(|(key, _)| below(key)) {
            let of_key = lines.entry(key).or_default();
            for one in past.iter().rev() {
                let latest = of_key.is_empty();
                of_key.push(past_line(key, one, latest));
            }
        }
        lines.into_values().flatten().collect()
    }
}

fn object_line(key: &str, object: &Object, latest: bool) -> Line {
    Line {
        key: key.to_owned(),
        version: object.version_id().to_owned(),
        latest,
        modified: object.modified,
        object: Some((etag(&object.etag), object.size)),
    }
}

fn past_line(key: &str, past: &Past, latest: bool) -> Line {
    match past {
        Past::Object(object) => object_line(key, object, latest),
        Past::Deletion { version, modified } => {
            Line { key: key.to_owned(), version: version.clone(), latest, modified: *modified, object: None }
        }
    }
}

/// The lines behind a version of a key, or behind all versions of it.
fn after(lines: Vec<Line>, key_marker: &str, version_marker: Option<&str>) -> S3Result<Vec<Line>> {
    let place = match version_marker {
        None => lines.iter().position(|line| line.key.as_str() > key_marker).unwrap_or(lines.len()),
        Some(version) => {
            let found = lines.iter().position(|line| line.key == key_marker && line.version == version);
            found.ok_or_else(|| s3_error!(InvalidArgument, "Invalid version id specified"))? + 1
        }
    };
    Ok(lines.into_iter().skip(place).collect())
}
