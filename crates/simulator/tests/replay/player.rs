//! Sends recorded requests to a simulator, with its own key, ids and tokens in the places of the recorded ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::compare::differences;
use crate::transcript::{Body, Exchange};
use crate::wire::{self, Received, percent_encode};

const POLLS: usize = 3000;
const BETWEEN_POLLS: Duration = Duration::from_millis(10);

/// A deployment under test and what is known by now of how its names relate to the recorded ones.
pub(crate) struct Player {
    address: SocketAddr,
    names: BTreeMap<String, String>,
    bodies: BTreeMap<String, Vec<u8>>,
    skipped: BTreeSet<String>,
    found: Vec<String>,
    played: usize,
}

impl Player {
    /// `key` is the admin key of the deployment that listens at `address`: `<instance name>|<secret>`.
    pub(crate) fn new(address: SocketAddr, key: &str) -> Self {
        let secret = key.split_once('|').unwrap().1;
        let tampered = format!("{}0", &key[..key.len() - 1]);
        let names = [
            ("<admin-key>", key),
            ("<admin-key-without-name>", secret),
            ("<key-part>", secret),
            ("<tampered-admin-key>", tampered.as_str()),
        ];
        Self {
            address,
            names: names.into_iter().map(|(recorded, ours)| (recorded.to_owned(), ours.to_owned())).collect(),
            bodies: BTreeMap::new(),
            skipped: BTreeSet::new(),
            found: Vec::new(),
            played: 0,
        }
    }

    /// What to send where the recording only describes the body of the request titled `title`.
    pub(crate) fn send_as(mut self, title: &str, body: impl Into<Vec<u8>>) -> Self {
        self.bodies.insert(title.to_owned(), body.into());
        self
    }

    /// Leaves out every exchange titled `title`, because the simulator does not do what `reason` says.
    pub(crate) fn not_covered(mut self, title: &str, reason: &str) -> Self {
        assert!(!reason.is_empty());
        self.skipped.insert(title.to_owned());
        self
    }

    /// Makes the recorded `name` stand for `ours` in everything sent from now on.
    pub(crate) fn bind(&mut self, name: &str, ours: &str) {
        self.names.insert(name.to_owned(), ours.to_owned());
    }

    pub(crate) async fn play_all(&mut self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            self.play(exchange).await;
        }
    }

    /// Plays one exchange; a poll is repeated until the simulator has come to the recorded state.
    pub(crate) async fn play(&mut self, exchange: &Exchange) {
        if self.skipped.contains(&exchange.title) {
            return;
        }
        let recorded = recorded_json(exchange);
        let wanted = recorded.as_ref().and_then(state_of).map(ToOwned::to_owned);
        let mut received = self.send(exchange).await;
        for _ in 0..POLLS {
            let reached =
                wanted.is_none() || received.status != 200 || state_of(&received.json()) == wanted.as_deref();
            if reached {
                break;
            }
            tokio::time::sleep(BETWEEN_POLLS).await;
            received = self.send(exchange).await;
        }
        self.played += 1;
        let different = differences(&exchange.answer, &received);
        self.found.extend(different.into_iter().map(|words| format!("{}: {words}", exchange.title)));
        if let (Some(recorded), Ok(ours)) = (recorded, serde_json::from_slice(&received.body)) {
            self.learn(&recorded, &ours);
        }
    }

    /// Sends the request of `exchange` once.
    pub(crate) async fn send(&self, exchange: &Exchange) -> Received {
        let request = &exchange.request;
        let body = match &request.body {
            Body::Text(text) => self.translate(text, escape_json).into_bytes(),
            Body::Described { bytes, .. } => self.bodies.get(&exchange.title).cloned().unwrap_or_else(|| {
                panic!("{}: no body of {bytes} bytes given with `send_as`", exchange.title)
            }),
        };
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .filter(|(name, _)| name != "host" && name != "content-length")
            .map(|(name, value)| (name.clone(), self.translate(value, str::to_owned)))
            .collect();
        let target = self.translate(&request.target, percent_encode);
        wire::send(self.address, &request.method, &target, &headers, &body).await
    }

    /// Fails with every difference there was.
    pub(crate) fn finish(self) {
        assert!(self.played > 0, "nothing was played");
        assert!(self.found.is_empty(), "{} differences:\n{}", self.found.len(), self.found.join("\n"));
    }

    fn translate(&self, text: &str, encode: fn(&str) -> String) -> String {
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(recorded, _)| std::cmp::Reverse(recorded.len()));
        names.into_iter().fold(text.to_owned(), |text, (recorded, ours)| {
            text.replace(&encode(recorded), &encode(ours)).replace(recorded.as_str(), &encode(ours))
        })
    }

    fn learn(&mut self, recorded: &Value, ours: &Value) {
        match (recorded, ours) {
            (Value::Object(recorded), Value::Object(ours)) => {
                for (name, value) in recorded {
                    self.learn(value, ours.get(name).unwrap_or(&Value::Null));
                }
            }
            (Value::Array(recorded), Value::Array(ours)) => {
                recorded.iter().zip(ours).for_each(|(recorded, ours)| self.learn(recorded, ours));
            }
            (Value::String(recorded), Value::String(ours)) if recorded.len() >= 13 && recorded != ours => {
                self.bind(recorded, ours);
            }
            (Value::Number(recorded), Value::Number(ours)) if recorded.to_string().len() >= 13 => {
                self.bind(&recorded.to_string(), &ours.to_string());
            }
            _ => {}
        }
    }
}

fn recorded_json(exchange: &Exchange) -> Option<Value> {
    match &exchange.answer.body {
        Body::Text(text) => serde_json::from_str(text).ok(),
        Body::Described { .. } => None,
    }
}

/// The state that the row in an answer of a system function is in.
fn state_of(answer: &Value) -> Option<&str> {
    let state = &answer["value"]["state"];
    state.as_str().or_else(|| state["state"].as_str())
}

fn escape_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
