//! Takes an import from one state to the next, in the background.

use std::collections::BTreeMap;
use std::time::Duration;

use super::apply::{Application, UploadedFile, Written, check_strays};
use super::archive;
use super::failure::ImportFailure;
use super::parse::parse;
use super::row::{ImportRow, ImportState};
use super::summary::{Checkpoint, checkpoints, confirmation, thousands};
use super::upload::{FilesUpload, Part, TableUpload, Upload};
use crate::document_id::DocumentId;
use crate::faults::FaultKind;
use crate::state::AppState;
use crate::value::{Encoding, Value};

/// How long each step stays visible, so that those who poll and those who are pushed to see it.
const STEP: Duration = Duration::from_millis(20);
/// How long an import stays `uploaded` at least.
const PARSING: Duration = Duration::from_millis(60);

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
    let prepared = prepare(&state, id).map(|(_, checkpoints)| checkpoints);
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
            Err(failure) => ImportState::Failed { message: failure.to_string() },
        };
    });
}

/// Whether [`FaultKind::ImportStaysUploaded`] still waits for polls.
fn is_held_back(state: &AppState) -> bool {
    !matches!(state.faults.number(FaultKind::ImportStaysUploaded), None | Some(Some(0)))
}

/// Performs a confirmed import: from `in_progress` to `completed` or `failed`.
pub(crate) async fn perform(state: AppState, id: DocumentId) {
    let _turn = state.import_turn.lock().await;
    tokio::time::sleep(STEP).await;
    let ended = match run(&state, id).await {
        Ok(rows_written) => ImportState::Completed { timestamp: state.next_timestamp(), rows_written },
        Err(failure) => ImportState::Failed { message: failure.to_string() },
    };
    end(&state, id, ended);
}

/// Reads and performs an import in one go, without asking for a confirmation. Returns the rows written.
pub(crate) async fn run_at_once(state: &AppState, id: DocumentId) -> Result<usize, ImportFailure> {
    let _turn = state.import_turn.lock().await;
    let result = match prepare(state, id) {
        Ok((_, checkpoints)) => {
            update(state, id, |row| {
                row.checkpoints = Some(checkpoints);
                row.state = started();
            });
            run(state, id).await
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

fn prepare(state: &AppState, id: DocumentId) -> Result<(Upload, Vec<Checkpoint>), ImportFailure> {
    let row = row(state, id)?;
    let upload = parse(&row.bytes, &row.arguments)?;
    let checkpoints = state.read(|database| checkpoints(&upload, row.arguments.mode, database))?;
    Ok((upload, checkpoints))
}

fn row(state: &AppState, id: DocumentId) -> Result<ImportRow, ImportFailure> {
    state.imports().get(id).cloned().ok_or_else(|| ImportFailure::hit("the import was removed"))
}

async fn run(state: &AppState, id: DocumentId) -> Result<usize, ImportFailure> {
    let row = row(state, id)?;
    let upload = parse(&row.bytes, &row.arguments)?;
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
            Part::Table(table) => rows_written += import_table(state, id, table, &mut application).await?,
            Part::Files(files) => import_files(state, &row, files, &mut application).await?,
        }
    }
    check_strays(&upload)?;
    check_running(state, id)?;
    let now_ms = state.now_ms();
    state.write(|database| application.finish(database, now_ms));
    Ok(rows_written)
}

async fn import_table(
    state: &AppState,
    id: DocumentId,
    table: &TableUpload,
    application: &mut Application,
) -> Result<usize, ImportFailure> {
    let name = shown_name(&table.name, &table.component);
    report(state, id, format!("Importing {name}")).await;
    let now_ms = state.now_ms();
    let Written { rows, failure } = state.write(|database| application.table(table, database, now_ms));
    set_written(state, id, &table.component, &table.name, rows);
    if let Some(failure) = failure {
        return Err(failure);
    }
    checkpoint(state, id, format!("Imported {name} ({} documents)", thousands(rows))).await;
    Ok(rows)
}

async fn import_files(
    state: &AppState,
    row: &ImportRow,
    upload: &FilesUpload,
    application: &mut Application,
) -> Result<(), ImportFailure> {
    report(state, row.id, format!("Importing {}", shown_name("_file_storage", &upload.component))).await;
    let name = shown_name("_storage", &upload.component);
    let rows = rows_by_id(upload);
    let mut archive = archive::open(&row.bytes)?;
    for (at, (id, position)) in upload.files.iter().enumerate() {
        let content = archive::read_entry(&mut archive, *position)?;
        let file = UploadedFile { id, row: rows.get(id), content };
        let now_ms = state.now_ms();
        state.write(|database| application.file(&upload.component, file, database, now_ms))?;
        set_written(state, row.id, &upload.component, "_storage", at + 1);
        show(
            state,
            row.id,
            format!("Importing {name} ({}/{} files)", thousands(at + 1), thousands(upload.files.len())),
        );
        tokio::task::yield_now().await;
        check_running(state, row.id)?;
    }
    application.files_done(upload);
    checkpoint(state, row.id, format!("Imported {name} ({} files)", thousands(upload.files.len()))).await;
    Ok(())
}

fn rows_by_id(upload: &FilesUpload) -> BTreeMap<String, Value> {
    let rows = upload.rows.iter().filter_map(|text| Value::parse(text, Encoding::Export).ok());
    rows.filter_map(|row| Some((row.get("_id")?.as_str()?.to_owned(), row))).collect()
}

/// A table's name in messages: `"notes" in 'widget/inner'`.
fn shown_name(table: &str, component: &str) -> String {
    if component.is_empty() { format!("\"{table}\"") } else { format!("\"{table}\" in '{component}'") }
}

async fn report(state: &AppState, id: DocumentId, message: String) {
    show(state, id, message);
    tokio::time::sleep(STEP).await;
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
    match row(state, id)?.state {
        ImportState::Failed { message } => Err(ImportFailure::plain(message)),
        _ => Ok(()),
    }
}

async fn checkpoint(state: &AppState, id: DocumentId, message: String) {
    update(state, id, |row| {
        if let ImportState::InProgress { progress_message, checkpoint_messages } = &mut row.state {
            progress_message.clone_from(&message);
            checkpoint_messages.push(message);
        }
    });
    tokio::time::sleep(STEP).await;
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
    });
}

fn update(state: &AppState, id: DocumentId, change: impl FnOnce(&mut ImportRow)) {
    if let Some(row) = state.imports().get_mut(id) {
        change(row);
    }
    state.changed();
}
