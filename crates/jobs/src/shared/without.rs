//! The list of stored files and the refs of a snapshot that is written anew, without some of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use convault_archive::{LinePacker, LineUnpacker};
use convault_core::{Layout, ObjectRole, Sha256, StoredObject};
use serde::Deserialize;

use crate::{
    Access, JobError,
    access::ObjectContent,
    anew::Anew,
    error::chain,
    group::{Group, Sending, SentObject},
    shared::{
        listing::{ListedFile, ListingTotals},
        refs::RefsReader,
    },
};

/// As many refs are packed at once.
const LINES: usize = 1000;

/// What was written.
pub(crate) struct Without {
    /// The list, and the refs.
    pub(crate) sent: [SentObject; 2],
    pub(crate) totals: Totals,
    /// Files that were left out, by component.
    pub(crate) left_out: BTreeMap<String, u64>,
}

/// Sums over what is still listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) file_bytes: u64,
}

/// A line of the list.
#[derive(Debug)]
enum Line {
    File { file: ListedFile, id: String, size_bytes: u64 },
    Uncertain(Vec<u32>),
    Totals(ListingTotals),
    Other,
}

/// Writes the list and the refs of the old snapshot again, without the files of `left_out` (component path and id). An
/// object that another file still needs, since it has the same content, is still needed.
pub(crate) async fn without_files(
    anew: &Anew<'_>,
    group: &Group,
    left_out: &BTreeSet<(String, String)>,
) -> Result<Without, JobError> {
    let mut found = Found::default();
    each_line(anew, async |line, _| {
        found.look_at(&line, left_out);
        Ok(())
    })
    .await?;
    let layout = anew.layout();
    let outline = anew.small(&layout, Layout::FILES_NAME, ObjectRole::Files);
    let mut sending = Sending::begin(group, &outline)?;
    let totals = match write_list(anew, &mut sending, &mut found, left_out).await {
        Ok(totals) => totals,
        Err(error) => {
            sending.abort().await;
            return Err(error);
        }
    };
    let list = sending.close(true, &anew.context.stop).await;
    // Refs are for whoever has no key.
    let plain = Group { encryption: None, stores: vec![Arc::clone(&anew.destination.store)] };
    let mut sending = Sending::begin(&plain, &anew.small(&layout, Layout::REFS_NAME, ObjectRole::Refs))?;
    if let Err(error) = write_refs(anew, &mut sending, &found.objects).await {
        sending.abort().await;
        return Err(error);
    }
    let refs = sending.close(true, &anew.context.stop).await;
    Ok(Without { sent: [list, refs], totals, left_out: found.left_out })
}

/// What is known once the list was gone through.
#[derive(Debug, Default)]
struct Found {
    /// The places of files that are left out, ascending.
    places: Vec<u32>,
    /// Their objects, without those that others need.
    objects: BTreeSet<Sha256>,
    left_out: BTreeMap<String, u64>,
    next: u32,
}

impl Found {
    fn look_at(&mut self, line: &Line, left_out: &BTreeSet<(String, String)>) {
        let Line::File { file, id, .. } = line else { return };
        if left_out.contains(&(file.component.clone(), id.clone())) {
            self.places.push(self.next);
            self.objects.extend(file.object);
            *self.left_out.entry(file.component.clone()).or_default() += 1;
        }
        self.next += 1;
    }

    /// The place of a file once those before it are left out; `None` where it is left out itself.
    fn moved(&self, place: u32) -> Option<u32> {
        match self.places.binary_search(&place) {
            Ok(_) => None,
            Err(before) => Some(place - u32::try_from(before).unwrap_or(place)),
        }
    }
}

async fn write_list(
    anew: &Anew<'_>,
    sending: &mut Sending,
    found: &mut Found,
    left_out: &BTreeSet<(String, String)>,
) -> Result<Totals, JobError> {
    let mut packer = LinePacker::new();
    let mut gone = ListingTotals::default();
    let mut totals = None;
    each_line(anew, async |line, text| {
        match line {
            Line::File { file, id, size_bytes } => {
                if left_out.contains(&(file.component.clone(), id)) {
                    gone.files += 1;
                    gone.missing += u64::from(file.object.is_none());
                    gone.file_bytes += if file.object.is_some() { size_bytes } else { 0 };
                    return Ok(());
                }
                if let Some(object) = file.object {
                    found.objects.remove(&object);
                }
                packer.push_text(&[text, b"\n"].concat());
            }
            Line::Uncertain(numbers) => {
                let kept: Vec<u32> = numbers.iter().filter_map(|place| found.moved(*place)).collect();
                gone.uncertain += (numbers.len() - kept.len()) as u64;
                packer.push(&serde_json::json!({ "line": "uncertain", "numbers": kept }));
            }
            Line::Totals(old) => {
                let kept = ListingTotals {
                    files: old.files - gone.files.min(old.files),
                    file_bytes: old.file_bytes - gone.file_bytes.min(old.file_bytes),
                    missing: old.missing - gone.missing.min(old.missing),
                    uncertain: old.uncertain - gone.uncertain.min(old.uncertain),
                };
                totals = Some(Totals { files: kept.files, file_bytes: kept.file_bytes });
                packer.push(&serde_json::json!({
                    "line": "totals", "files": kept.files, "file_bytes": kept.file_bytes,
                    "missing": kept.missing, "uncertain": kept.uncertain,
                }));
            }
            Line::Other => packer.push_text(&[text, b"\n"].concat()),
        }
        let ready = packer.take();
        if ready.is_empty() { Ok(()) } else { anew.context.or_stop(sending.write(&ready)).await? }
    })
    .await?;
    let rest = packer.finish();
    sending.write(&rest).await?;
    sending.end().await?;
    totals.ok_or_else(|| damaged(anew, "its list of files: it is not whole"))
}

async fn write_refs(anew: &Anew<'_>, sending: &mut Sending, gone: &BTreeSet<Sha256>) -> Result<(), JobError> {
    let mut refs = RefsReader::open(anew.destination.store.as_ref(), anew.old());
    let (mut packer, mut lines, mut held) = (LinePacker::new(), Vec::new(), 0);
    while let Some(one) = anew.context.or_stop(refs.next()).await?? {
        if gone.contains(&one.name) {
            continue;
        }
        one.write(&mut lines);
        held += 1;
        if held == LINES {
            packer.push_text(&std::mem::take(&mut lines));
            held = 0;
            sending.write(&packer.take()).await?;
        }
    }
    packer.push_text(&lines);
    sending.write(&packer.finish()).await?;
    sending.end().await
}

/// Goes through the list of the old snapshot, which is checked to its last byte.
async fn each_line(
    anew: &Anew<'_>,
    mut take: impl AsyncFnMut(Line, &[u8]) -> Result<(), JobError>,
) -> Result<(), JobError> {
    let old = anew.old();
    let object: &StoredObject =
        old.object(ObjectRole::Files).ok_or_else(|| damaged(anew, "its manifest names no list of files"))?;
    let store = anew.destination.store.as_ref();
    let mut content = ObjectContent::open(store, old, object, Access::Opened(anew.identities))?;
    let mut unpacker = LineUnpacker::new();
    let wrong = |what: String| damaged(anew, &format!("its list of files: {what}"));
    while let Some(bytes) = anew.context.or_stop(content.next()).await?? {
        unpacker.push(&bytes);
        while let Some(text) = unpacker.next_text().map_err(|error| wrong(chain(&error)))? {
            let line = parse(text).map_err(|error| wrong(error.to_string()))?;
            take(line, text).await?;
        }
    }
    unpacker.finish().map_err(|error| wrong(chain(&error)))?;
    content.check()
}

fn parse(text: &[u8]) -> Result<Line, serde_json::Error> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        line: &'a str,
    }
    #[derive(Deserialize)]
    struct Uncertain {
        numbers: Vec<u32>,
    }
    #[derive(Deserialize)]
    struct Row {
        #[serde(rename = "_id")]
        id: String,
        size: u64,
    }
    let Kind { line } = serde_json::from_slice(text)?;
    Ok(match line {
        "file" => {
            let file: ListedFile = serde_json::from_slice(text)?;
            let Row { id, size } = serde_json::from_str(file.row.get())?;
            Line::File { file, id, size_bytes: size }
        }
        "uncertain" => Line::Uncertain(serde_json::from_slice::<Uncertain>(text)?.numbers),
        "totals" => Line::Totals(serde_json::from_slice(text)?),
        _ => Line::Other,
    })
}

fn damaged(anew: &Anew<'_>, what: &str) -> JobError {
    let place = format!("{} {}", anew.destination.store.location(), anew.old().id);
    JobError::Damaged { place, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_move_up_by_what_is_left_out_before_them() {
        let found = Found { places: vec![0, 3], ..Found::default() };
        let moved: Vec<_> = (0..6).map(|place| found.moved(place)).collect();
        assert_eq!(moved, [None, Some(0), Some(1), None, Some(2), Some(3)]);
    }
}
