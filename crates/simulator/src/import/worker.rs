//! Takes an import from one state to the next, in the background.

use std::io::Read as _;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use convault_core::Sha256Stream;

use super::apply::{Application, UploadedFile, Written, check_strays};
use super::archive;
use super::failure::ImportFailure;
use super::generated;
use super::parse::parse;
use super::row::{ImportRow, ImportState};
use super::spoil;
use super::summary::{Checkpoint, checkpoints, confirmation, thousands};
use super::upload::{FilesUpload, Part, TableUpload, Upload};
use crate::document_id::DocumentId;
use crate::faults::FaultKind;
use crate::spool::{FileContent, Spool};
use crate::state::AppState;

/// How long each step stays visible, so that those who poll and those who are pushed to see it.
const STEP: Duration = Duration::from_millis(20);
/// How long an import stays `uploaded` at least.
const PARSING: Duration = Duration::from_millis(60);
/// Progress of stored files is shown once for so many.
const SHOWN_FILES: usize = 100;

/// Reads the uploaded bytes: from `uploaded` to `waiting_for_confirmation` or `failed`.
pub(crate) async fn parse_upload(state: AppState, id: DocumentId) {
    if state.stop.run_until_cancelled(tokio::time::sleep(PARSING)).await.is_none() {
        return;
    }
    while is_held_back(&state) {
        state.changed();
        if state.stop.run_until_cancelled(tokio::time::sleep(STEP)).await.is_none() {
            return;
        }
    }
    let _turn = state.import_turn.lock().await;
    let prepared = aside(&state, id, prepare).await;
    update(&state, id, |row| {
        if row.state != ImportState::Uploaded {
            return;
        }
        row.state = match prepared {
            Ok(checkpoints) => {
                let (message, manual) = confirmation(&checkpoints);
                row.checkpoints = Some(checkpoints);
                ImportState::WaitingForConfirmation { message, manual }
            }
            Err(failure) => {
                row.bytes = None;
                ImportState::Failed { message: failure.to_string() }
            }
        };
    });
}

/// Does work that takes long on a thread of its own.
async fn aside<T: Send + 'static>(
    state: &AppState,
    id: DocumentId,
    work: impl FnOnce(&AppState, DocumentId) -> Result<T, ImportFailure> + Send + 'static,
) -> Result<T, ImportFailure> {
    let handle = state.clone();
    let done = state.tracker.spawn_blocking(move || work(&handle, id)).await;
    done.unwrap_or_else(|_| Err(ImportFailure::hit("the server ended the import")))
}

/// Whether [`FaultKind::ImportStaysUploaded`] still waits for polls.
fn is_held_back(state: &AppState) -> bool {
    !matches!(state.faults.number(FaultKind::ImportStaysUploaded), None | Some(Some(0)))
}

/// Performs a confirmed import: from `in_progress` to `completed` or `failed`.
pub(crate) async fn perform(state: AppState, id: DocumentId) {
    let _turn = state.import_turn.lock().await;
    tokio::time::sleep(STEP).await;
    let ended = match aside(&state, id, run).await {
        Ok(rows_written) => ImportState::Completed { timestamp: state.next_timestamp(), rows_written },
        Err(failure) => ImportState::Failed { message: failure.to_string() },
    };
    end(&state, id, ended);
}

/// Reads and performs an import in one go, without asking for a confirmation. Returns the rows written.
pub(crate) async fn run_at_once(state: &AppState, id: DocumentId) -> Result<usize, ImportFailure> {
    let _turn = state.import_turn.lock().await;
    let result = match aside(state, id, prepare).await {
        Ok(checkpoints) => {
            update(state, id, |row| {
                row.checkpoints = Some(checkpoints);
                row.state = started();
            });
            aside(state, id, run).await
        }
        Err(failure) => Err(failure),
    };
    let ended = match &result {
        Ok(rows_written) => {
            ImportState::Completed { timestamp: state.next_timestamp(), rows_written: *rows_written }
        }
        Err(failure) => ImportState::Failed { message: failure.to_string() },
    };
    end(state, id, ended);
    result
}

/// The state of an import that has just been confirmed.
pub(crate) fn started() -> ImportState {
    ImportState::InProgress { progress_message: "Importing".to_owned(), checkpoint_messages: Vec::new() }
}

fn prepare(state: &AppState, id: DocumentId) -> Result<Vec<Checkpoint>, ImportFailure> {
    let row = row(state, id)?;
    let as_old = state.faults.is_on(FaultKind::ImportAsOldFormat);
    let upload = Arc::new(parse(&spool(&row)?, &row.arguments, as_old)?);
    let mut checkpoints = state.read(|database| checkpoints(&upload, row.arguments.mode, database))?;
    if let Some(generator) = state.generator() {
        generated::check(&generator, &upload, row.arguments.mode)?;
        generated::add_deleted(&generator, &mut checkpoints);
    }
    update(state, id, |row| row.upload = Some(Arc::clone(&upload)));
    Ok(checkpoints)
}

fn row(state: &AppState, id: DocumentId) -> Result<ImportRow, ImportFailure> {
    state.imports().get(id).cloned().ok_or_else(removed)
}

fn removed() -> ImportFailure {
    ImportFailure::hit("the import was removed")
}

fn spool(row: &ImportRow) -> Result<Arc<Spool>, ImportFailure> {
    row.bytes.clone().ok_or_else(removed)
}

fn run(state: &AppState, id: DocumentId) -> Result<usize, ImportFailure> {
    let row = row(state, id)?;
    let spool = spool(&row)?;
    let upload = row.upload.clone().ok_or_else(removed)?;
    state.read(|database| checkpoints(&upload, row.arguments.mode, database))?;
    let mut application = Application::new(row.arguments.mode, &upload);
    hide_tables(state, id, &upload, &application);
    if state.faults.strike(FaultKind::ImportFails) {
        return Err(ImportFailure::hit("the simulator was asked to fail this import"));
    }
    let mut rows_written = 0;
    for part in &upload.parts {
        check_running(state, id)?;
        match part {
            Part::Table(table) => rows_written += import_table(state, id, &spool, table, &mut application)?,
            Part::Files(files) => import_files(state, id, &spool, files, &mut application)?,
        }
    }
    check_strays(&upload)?;
    check_running(state, id)?;
    spoil::refuse_row(&application, &state.faults)?;
    spoil::lose(&mut application, &state.faults);
    let now_ms = state.now_ms();
    state.write(|database| application.finish(database, now_ms));
    state.end_generator();
    Ok(rows_written)
}

fn import_table(
    state: &AppState,
    id: DocumentId,
    spool: &Arc<Spool>,
    table: &TableUpload,
    application: &mut Application,
) -> Result<usize, ImportFailure> {
    let name = shown_name(&table.name, &table.component);
    show(state, id, format!("Importing {name}"));
    sleep(STEP);
    let Written { rows, failure } = application.table(table, spool, state, state.now_ms());
    set_written(state, id, &table.component, &table.name, rows);
    if let Some(failure) = failure {
        return Err(failure);
    }
    checkpoint(state, id, format!("Imported {name} ({} documents)", thousands(rows)));
    Ok(rows)
}

fn import_files(
    state: &AppState,
    id: DocumentId,
    spool: &Arc<Spool>,
    upload: &FilesUpload,
    application: &mut Application,
) -> Result<(), ImportFailure> {
    show(state, id, format!("Importing {}", shown_name("_file_storage", &upload.component)));
    sleep(STEP);
    let name = shown_name("_storage", &upload.component);
    let mut archive = archive::open(spool)?;
    let kept = Arc::new(Spool::new().map_err(ImportFailure::hit)?);
    for (at, (file_id, position)) in upload.files.iter().enumerate() {
        let (content, sha256) = keep(&mut archive, *position, &kept)?;
        let file = UploadedFile { id: file_id, row: upload.rows.get(file_id), content, sha256 };
        let now_ms = state.now_ms();
        state.write(|database| application.file(&upload.component, file, database, now_ms))?;
        if at.is_multiple_of(SHOWN_FILES) || at + 1 == upload.files.len() {
            set_written(state, id, &upload.component, "_storage", at + 1);
            let (done, all) = (thousands(at + 1), thousands(upload.files.len()));
            show(state, id, format!("Importing {name} ({done}/{all} files)"));
            check_running(state, id)?;
        }
    }
    application.files_done(upload);
    checkpoint(state, id, format!("Imported {name} ({} files)", thousands(upload.files.len())));
    Ok(())
}

/// Copies a stored file out of a ZIP to where imported files are kept, and gives its digest.
fn keep(
    archive: &mut archive::UploadedZip,
    position: usize,
    kept: &Arc<Spool>,
) -> Result<(FileContent, convault_core::Sha256), ImportFailure> {
    let mut entry = archive::entry(archive, position)?;
    let mut piece = vec![0; 256 << 10];
    let (at, mut length, mut digest) = (kept.len(), 0, Sha256Stream::default());
    loop {
        let read = entry.read(&mut piece).map_err(|_| archive::invalid_zip())?;
        if read == 0 {
            break;
        }
        digest.update(&piece[..read]);
        kept.append(&piece[..read]).map_err(ImportFailure::hit)?;
        length += read as u64;
    }
    Ok((FileContent::spooled(Arc::clone(kept), at, length), digest.finish()))
}

/// A table's name in messages: `"notes" in 'widget/inner'`.
fn shown_name(table: &str, component: &str) -> String {
    if component.is_empty() { format!("\"{table}\"") } else { format!("\"{table}\" in '{component}'") }
}

fn show(state: &AppState, id: DocumentId, message: String) {
    update(state, id, |row| {
        if let ImportState::InProgress { progress_message, .. } = &mut row.state {
            *progress_message = message;
        }
    });
}

/// Fails where somebody cancelled the import in the meantime.
fn check_running(state: &AppState, id: DocumentId) -> Result<(), ImportFailure> {
    if state.stop.is_cancelled() {
        return Err(ImportFailure::hit("the server stops"));
    }
    match row(state, id)?.state {
        ImportState::Failed { message } => Err(ImportFailure::plain(message)),
        _ => Ok(()),
    }
}

fn checkpoint(state: &AppState, id: DocumentId, message: String) {
    update(state, id, |row| {
        if let ImportState::InProgress { progress_message, checkpoint_messages } = &mut row.state {
            progress_message.clone_from(&message);
            checkpoint_messages.push(message);
        }
    });
    sleep(STEP);
}

fn set_written(state: &AppState, id: DocumentId, component: &str, table: &str, rows: usize) {
    update(state, id, |row| {
        let mut checkpoints = row.checkpoints.iter_mut().flatten();
        let found =
            checkpoints.find(|checkpoint| checkpoint.component == component && checkpoint.table == table);
        if let Some(checkpoint) = found {
            checkpoint.written = rows;
        }
    });
}

/// Names the hidden tables that rows go into first.
fn hide_tables(state: &AppState, id: DocumentId, upload: &Upload, application: &Application) {
    let hidden: Vec<&Part> = state.read(|database| {
        upload.parts.iter().filter(|part| !application.is_visible(part, database)).collect()
    });
    update(state, id, |row| {
        for checkpoint in row.checkpoints.iter_mut().flatten() {
            let is_hidden = hidden.iter().any(|part| {
                part.component() == checkpoint.component && part.display_name() == checkpoint.table
            });
            checkpoint.tablet = is_hidden.then(tablet_name);
        }
    });
}

/// Sixteen random bytes, as the backend names its tablets.
fn tablet_name() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())
}

/// Ends an import, unless somebody cancelled it first.
fn end(state: &AppState, id: DocumentId, ended: ImportState) {
    update(state, id, |row| {
        if !row.has_ended() {
            row.state = ended;
        }
        // What it was made of is not needed any more, and may be large.
        (row.bytes, row.upload) = (None, None);
    });
}

fn update(state: &AppState, id: DocumentId, change: impl FnOnce(&mut ImportRow)) {
    if let Some(row) = state.imports().get_mut(id) {
        change(row);
    }
    state.changed();
}
