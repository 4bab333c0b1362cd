//! The worker that makes exports, one at a time, and walks their rows through the states.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::contents::Contents;
use crate::database::Component;
use crate::document_id::DocumentId;
use crate::export_table::{EXPORTS_TABLE_NUMBER, ExportRow, ExportState, Requestor};
use crate::faults::{FaultKind, FaultSet};
use crate::plan;
use crate::state::AppState;
use crate::value::{Document, Value};

const DAY_NS: i64 = 86_400_000_000_000;
/// An export expires so long after it was asked for.
const EXPIRES_AFTER_NS: i64 = 14 * DAY_NS;
/// The clean-up job leaves an expired export alone for so long.
const KEPT_EXPIRED_NS: i64 = 30 * DAY_NS;
/// How often a worker that is held up looks whether it still is.
const LOOKS_AGAIN: Duration = Duration::from_millis(20);
/// How often the progress message of a slow export changes at most.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// Asks for an export. False where another one holds the slot.
pub(crate) fn start(
    state: &AppState,
    requestor: Requestor,
    include_storage: bool,
    component: Option<String>,
) -> bool {
    let Some(row) = take_slot(state, requestor, include_storage, component) else { return false };
    let state = state.clone();
    state.clone().tracker.spawn(async move {
        tokio::select! {
            () = row.cancel.cancelled() => {}
            () = state.stop.cancelled() => {}
            result = work(&state, &row) => if let Err(error) = result {
                tracing::warn!(%error, id = %row.id, "an export was given up");
            },
        }
    });
    true
}

/// Lets a cloud backup hold the slot, for as long as [`FaultKind::SlotHeld`] says.
pub(crate) fn hold_slot(state: &AppState) {
    let seconds = state.faults.number(FaultKind::SlotHeld).flatten();
    let Some(row) = take_slot(state, Requestor::CloudBackup, true, None) else { return };
    set_in_progress(state, row.id, state.next_timestamp());
    let state = state.clone();
    state.clone().tracker.spawn(async move {
        let held = async {
            match seconds {
                Some(seconds) => sleep(Duration::from_secs(seconds)).await,
                None => while_on(&state, FaultKind::SlotHeld).await,
            }
        };
        tokio::select! {
            () = row.cancel.cancelled() => {}
            () = state.stop.cancelled() => {}
            () = held => {
                cancel(&state, row.id);
            }
        }
    });
}

fn take_slot(
    state: &AppState,
    requestor: Requestor,
    include_storage: bool,
    component: Option<String>,
) -> Option<ExportRow> {
    let creation_time_ms = state.now_ms();
    let row = ExportRow {
        id: state.write(|database| database.new_id(EXPORTS_TABLE_NUMBER, creation_time_ms)),
        creation_time_ms,
        include_storage,
        component,
        requestor,
        expiration_ts: state.next_timestamp() + EXPIRES_AFTER_NS,
        state: ExportState::Requested,
        cancel: state.stop.child_token(),
    };
    let taken = state.exports().request(row.clone());
    state.changed();
    taken.then_some(row)
}

/// Cancels an export. False where there is none with this ID that runs.
pub(crate) fn cancel(state: &AppState, id: DocumentId) -> bool {
    let canceled_ts = state.next_timestamp();
    let mut exports = state.exports();
    let Some(row) = exports.get_mut(id).filter(|row| row.is_running()) else { return false };
    let start_ts = match &row.state {
        ExportState::InProgress { start_ts, .. } => Some(*start_ts),
        _ => None,
    };
    row.state = ExportState::Canceled { start_ts, canceled_ts };
    row.cancel.cancel();
    drop(exports);
    state.changed();
    true
}

/// Removes exports that expired long ago. Returns how many they were.
pub(crate) fn remove_expired(state: &AppState) -> usize {
    let before = state.next_timestamp() - KEPT_EXPIRED_NS;
    let removed = state.exports().remove_expired(before);
    state.changed();
    removed
}

async fn work(state: &AppState, row: &ExportRow) -> io::Result<()> {
    sleep(state.export_time / 10).await;
    set_in_progress(state, row.id, state.next_timestamp());
    sleep(state.export_time / 10).await;
    set_progress(state, row.id, "Beginning backup".to_owned());
    if state.faults.strike(FaultKind::ExportCanceled) {
        sleep(state.export_time / 4).await;
        cancel(state, row.id);
        return Ok(());
    }
    while_on(state, FaultKind::StuckExport).await;
    if row.include_storage {
        lack_a_file(state, row.id).await;
    }
    if state.faults.strike(FaultKind::RestartDuringExport) {
        make(state, row).await?;
    }
    let (start_ts, archive) = make(state, row).await?;
    let zip_object_key = state.write(crate::Database::new_uuid);
    let complete_ts = state.next_timestamp();
    set_state(state, row.id, ExportState::Completed { start_ts, complete_ts, zip_object_key, archive });
    Ok(())
}

/// One attempt, from taking the snapshot to knowing the ZIP's length.
async fn make(state: &AppState, row: &ExportRow) -> io::Result<(i64, Arc<Archive>)> {
    let start_ts = state.next_timestamp();
    let snapshot = state.snapshot();
    let generator = state.generator();
    let contents = match &generator {
        Some(generator) => plan::of_generator(generator, row.include_storage, &state.faults),
        None => plan::of_database(&snapshot, row.include_storage, &state.faults),
    };
    let key = generator.as_ref().map(|_| archive_key(row.include_storage, &state.faults));
    let messages = messages(&contents);
    let measuring = measure(state, key, contents, row.cancel.clone());
    let (archive, ()) = tokio::join!(measuring, show_progress(state, row.id, messages));
    Ok((start_ts, archive?))
}

/// What the ZIP of generated data depends on besides the generator.
fn archive_key(include_storage: bool, faults: &FaultSet) -> String {
    format!("{include_storage} {}", faults.of_contents())
}

/// Measures an archive, unless it is known: data that is made up is the same each time.
async fn measure(
    state: &AppState,
    key: Option<String>,
    contents: Contents,
    stop: CancellationToken,
) -> io::Result<Arc<Archive>> {
    if let Some(archive) = key.as_ref().and_then(|key| state.exports().known_archive(key)) {
        return Ok(archive);
    }
    let measuring = state.tracker.spawn_blocking(move || Archive::measure(contents, stop));
    let archive = Arc::new(measuring.await.map_err(io::Error::other)??);
    if let Some(key) = key {
        state.exports().remember_archive(key, Arc::clone(&archive));
    }
    Ok(archive)
}

/// What the progress messages say, in order.
fn messages(contents: &Contents) -> Vec<String> {
    let mut messages = Vec::new();
    for folder in contents.folders() {
        let (components, table) = folder.rsplit_once('/').unwrap_or(("", folder));
        let path: Vec<&str> =
            components.split('/').filter(|name| *name != "_components" && !name.is_empty()).collect();
        let place = if path.is_empty() { String::new() } else { format!(" in '{}'", path.join("/")) };
        messages.push(format!("Backing up {table}{place}"));
    }
    messages
}

/// Shows the messages over the time that an export takes. A slow one goes through them again and again.
async fn show_progress(state: &AppState, id: DocumentId, messages: Vec<String>) {
    let slow = state.faults.number(FaultKind::SlowExport);
    let seconds = slow.flatten().map(Duration::from_secs);
    if slow.is_some() && seconds.is_none() {
        return slow_for_ever(state, id, &messages).await;
    }
    let time = seconds.unwrap_or(state.export_time);
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX).max(1);
    let step = (time / count).min(LONGEST_STEP);
    let steps = if step.is_zero() { u128::from(count) } else { time.as_nanos().div_ceil(step.as_nanos()) };
    for (number, message) in (0..steps).zip(messages.iter().cycle()) {
        let round = number / u128::from(count);
        let suffix =
            if round > 0 { format!(": {round} / {}", steps / u128::from(count)) } else { String::new() };
        set_progress(state, id, format!("{message}{suffix}"));
        if number == steps / 2 && state.faults.is_on(FaultKind::WritesDuringExport) {
            write_meanwhile(state);
        }
        sleep(step).await;
    }
}

async fn slow_for_ever(state: &AppState, id: DocumentId, messages: &[String]) {
    for (number, message) in messages.iter().cycle().enumerate() {
        if !state.faults.is_on(FaultKind::SlowExport) {
            return;
        }
        set_progress(state, id, format!("{message}: {number} documents"));
        sleep(state.export_time.min(LONGEST_STEP).max(LOOKS_AGAIN)).await;
    }
}

/// Adds a document to every table of the root in one transaction, as a busy deployment does.
fn write_meanwhile(state: &AppState) {
    let now_ms = state.now_ms();
    state.write(|database| {
        let tables: Vec<String> = database
            .component("")
            .into_iter()
            .flat_map(Component::tables)
            .map(|(name, _)| name.to_owned())
            .collect();
        for table in tables {
            let fields = Document::from([("writtenDuringExport".to_owned(), Value::Boolean(true))]);
            database.insert("", &table, fields, now_ms);
        }
    });
}

/// Tries again and again while a stored file cannot be read, as the real worker does.
async fn lack_a_file(state: &AppState, id: DocumentId) {
    let mut messages = ["Beginning backup", "Backing up _tables", "Backing up _storage"].into_iter().cycle();
    while state.faults.is_on(FaultKind::MissingFileHang) {
        set_progress(state, id, messages.next().unwrap_or_default().to_owned());
        sleep(LOOKS_AGAIN.max(state.export_time / 3)).await;
    }
}

async fn while_on(state: &AppState, kind: FaultKind) {
    while state.faults.is_on(kind) {
        sleep(LOOKS_AGAIN).await;
    }
}

fn set_in_progress(state: &AppState, id: DocumentId, start_ts: i64) {
    set_state(state, id, ExportState::InProgress { start_ts, progress_message: None });
}

fn set_progress(state: &AppState, id: DocumentId, message: String) {
    if let Some(ExportState::InProgress { progress_message, .. }) =
        state.exports().get_mut(id).map(|row| &mut row.state)
    {
        *progress_message = Some(message);
    }
    state.changed();
}

/// Sets the state of an export that is still running; one that was cancelled meanwhile stays so.
fn set_state(state: &AppState, id: DocumentId, next: ExportState) {
    if let Some(row) = state.exports().get_mut(id).filter(|row| row.is_running()) {
        row.state = next;
    }
    state.changed();
}
