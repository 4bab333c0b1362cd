//! The WebSocket through which clients follow queries (protocol notes, "WebSocket").

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::api_error::ApiError;
use crate::auth::Admin;
use crate::http;
use crate::state::AppState;
use crate::system_functions;
use crate::value::{Document, Encoding};

/// Frames that keep the connection open, to which the client's WebSocket answers by itself.
const FRAME_PING_EVERY: Duration = Duration::from_secs(5);
/// Messages of the protocol that say that the server is there, one with every so many frames.
const PING_EVERY_FRAMES: u32 = 3;
/// A client that says nothing for so long is dropped.
const SILENCE: Duration = Duration::from_mins(2);

/// The routes of the WebSocket.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/sync", get(upgrade)).route("/api/{version}/sync", get(upgrade))
}

async fn upgrade(State(state): State<AppState>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| async move { Session::new(state).serve(socket).await })
}

/// What a client sends; other messages, and fields that do not matter here, are passed over.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum ClientMessage {
    Authenticate {
        base_version: u64,
        token_type: String,
        value: Option<String>,
    },
    ModifyQuerySet {
        new_version: u64,
        modifications: Vec<Modification>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum Modification {
    Add { query_id: u64, udf_path: String, args: serde_json::Value, component_path: Option<String> },
    Remove { query_id: u64 },
}

/// A query that a client follows.
#[derive(Debug)]
struct Query {
    path: String,
    component: String,
    arguments: Document,
    /// The modification that was last pushed for it.
    pushed: Option<String>,
}

/// The version of what a client has seen.
#[derive(Debug, Clone, Copy, Default)]
struct Version {
    query_set: u64,
    identity: u64,
    timestamp: i64,
}

/// One connected client.
#[derive(Debug)]
struct Session {
    state: AppState,
    admin: Option<Admin>,
    queries: BTreeMap<u64, Query>,
    version: Version,
}

impl Session {
    fn new(state: AppState) -> Self {
        Self { state, admin: None, queries: BTreeMap::new(), version: Version::default() }
    }

    /// Answers messages and pushes changes until either side ends.
    async fn serve(mut self, mut socket: WebSocket) {
        let mut changes = self.state.changes();
        let stop = self.state.stop.clone();
        let mut frames = tokio::time::interval(FRAME_PING_EVERY);
        let mut sent_frames = 0;
        let mut heard = tokio::time::Instant::now();
        loop {
            let answers = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(heard + SILENCE) => return,
                received = socket.recv() => {
                    heard = tokio::time::Instant::now();
                    match self.received(received) {
                        ControlFlow::Continue(answers) => answers,
                        ControlFlow::Break(last) => return close(socket, last).await,
                    }
                }
                Ok(()) = changes.changed() => self.push(),
                _ = frames.tick() => {
                    sent_frames += 1;
                    let mut messages = vec![Message::Ping(Bytes::new())];
                    if sent_frames % PING_EVERY_FRAMES == 0 {
                        messages.push(text(json!({ "type": "Ping" }).to_string()));
                    }
                    messages
                }
            };
            for message in answers {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What to answer to whatever came, or with what to close the connection.
    fn received(
        &mut self,
        received: Option<Result<Message, axum::Error>>,
    ) -> ControlFlow<Option<Message>, Vec<Message>> {
        match received {
            Some(Ok(Message::Text(message))) => match self.receive(message.as_str()) {
                ControlFlow::Continue(answers) => {
                    ControlFlow::Continue(answers.into_iter().map(text).collect())
                }
                ControlFlow::Break(last) => ControlFlow::Break(Some(text(last))),
            },
            Some(Ok(Message::Close(_)) | Err(_)) | None => ControlFlow::Break(None),
            Some(Ok(_)) => ControlFlow::Continue(Vec::new()),
        }
    }

    /// The answers to one message, or the last one before the connection is closed.
    fn receive(&mut self, text: &str) -> ControlFlow<String, Vec<String>> {
        match serde_json::from_str(text) {
            Ok(ClientMessage::Authenticate { base_version, token_type, value }) => {
                self.authenticate(base_version, &token_type, value.as_deref())
            }
            Ok(ClientMessage::ModifyQuerySet { new_version, modifications }) => {
                self.modify(new_version, modifications)
            }
            Ok(ClientMessage::Other) => ControlFlow::Continue(Vec::new()),
            Err(error) => ControlFlow::Break(fatal(&format!("the message cannot be read: {error}"))),
        }
    }

    fn authenticate(
        &mut self,
        base_version: u64,
        token_type: &str,
        key: Option<&str>,
    ) -> ControlFlow<String, Vec<String>> {
        self.admin = match (token_type, key) {
            ("Admin", Some(key)) => match Admin::from_key(&self.state, key) {
                Ok(admin) => Some(admin),
                Err(error) => return ControlFlow::Break(auth_error(&error.message, base_version)),
            },
            ("None", _) => None,
            _ => return ControlFlow::Break(auth_error("only admin keys are known here", base_version)),
        };
        let next = Version { identity: base_version + 1, ..self.version };
        ControlFlow::Continue(self.transition(next, &[]))
    }

    fn modify(
        &mut self,
        new_version: u64,
        modifications: Vec<Modification>,
    ) -> ControlFlow<String, Vec<String>> {
        for modification in modifications {
            match modification {
                Modification::Add { query_id, udf_path, args, component_path } => match read_arguments(&args)
                {
                    Ok(arguments) => {
                        let component = component_path.unwrap_or_default();
                        self.queries
                            .insert(query_id, Query { path: udf_path, component, arguments, pushed: None });
                    }
                    Err(error) => return ControlFlow::Break(fatal(&error.message)),
                },
                Modification::Remove { query_id } => {
                    self.queries.remove(&query_id);
                }
            }
        }
        let next = Version { query_set: new_version, ..self.version };
        let changed = self.changed_results();
        ControlFlow::Continue(self.transition(next, &changed))
    }

    /// A transition with every result that is different now; nothing where all are the same.
    fn push(&mut self) -> Vec<Message> {
        let changed = self.changed_results();
        if changed.is_empty() {
            return Vec::new();
        }
        self.transition(self.version, &changed).into_iter().map(text).collect()
    }

    fn changed_results(&mut self) -> Vec<String> {
        let (state, admin) = (&self.state, self.admin.as_ref());
        let mut changed = Vec::new();
        for (id, query) in &mut self.queries {
            let result =
                system_functions::run_in(state, admin, &query.component, &query.path, &query.arguments);
            let modification = modification(*id, result);
            // An error has a new request ID each time, which is no news.
            let is_news = query.pushed.as_ref().is_none_or(|pushed| {
                *pushed != modification && !(is_failure(pushed) && is_failure(&modification))
            });
            if is_news {
                query.pushed = Some(modification.clone());
                changed.push(modification);
            }
        }
        changed
    }

    fn transition(&mut self, mut next: Version, modifications: &[String]) -> Vec<String> {
        next.timestamp = self.state.next_timestamp();
        let (start, end) = (version_json(self.version), version_json(next));
        self.version = next;
        let modifications = modifications.join(",");
        vec![format!(
            r#"{{"type":"Transition","startVersion":{start},"endVersion":{end},"modifications":[{modifications}]}}"#
        )]
    }
}

/// Says why, and closes the connection.
async fn close(mut socket: WebSocket, last: Option<Message>) {
    let Some(last) = last else { return };
    if let Err(error) = socket.send(last).await {
        tracing::debug!(%error, "a client left before it was told why it is refused");
    }
}

fn text(message: String) -> Message {
    Message::Text(message.into())
}

fn version_json(version: Version) -> serde_json::Value {
    json!({
        "querySet": version.query_set,
        "identity": version.identity,
        "ts": STANDARD.encode(version.timestamp.to_le_bytes()),
    })
}

/// The arguments of a query. Messages are told apart by a field, which leaves no raw text to read them from.
fn read_arguments(arguments: &serde_json::Value) -> Result<Document, ApiError> {
    let raw =
        to_raw_value(arguments).map_err(|error| ApiError::bad_request("BadJsonBody", error.to_string()))?;
    http::arguments(&raw)
}

/// What a transition says about one query. The value is written by hand, since its numbers must stay as they are.
fn modification(id: u64, result: Result<crate::value::Value, String>) -> String {
    match result {
        Ok(value) => {
            let value = value.to_json(Encoding::Encoded);
            format!(
                r#"{{"type":"QueryUpdated","queryId":{id},"value":{value},"logLines":[],"journal":null}}"#
            )
        }
        Err(message) => json!({
            "type": "QueryFailed",
            "queryId": id,
            "errorMessage": message,
            "logLines": [],
            "journal": null,
        })
        .to_string(),
    }
}

fn is_failure(modification: &str) -> bool {
    modification.contains(r#""type":"QueryFailed""#)
}

fn auth_error(message: &str, base_version: u64) -> String {
    json!({ "type": "AuthError", "error": message, "baseVersion": base_version, "authUpdateAttempted": true })
        .to_string()
}

fn fatal(message: &str) -> String {
    json!({ "type": "FatalError", "error": message }).to_string()
}
