//! Destinations that get equal bytes, and the objects of a snapshot on their way to them.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use convault_archive::encryption::{Encryptor, encrypted_length};
use convault_core::{
    DestinationName, Layout, MIN_PART_BYTES, ObjectRole, PartPlan, PartPlanError, SnapshotId, Store,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Destination, Encryption, JobError,
    fan_out::{FanOut, Sent},
};

/// The destinations with the same recipients; those with none are a group, too.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// Whom its objects are encrypted to.
    pub(crate) encryption: Option<Arc<Encryption>>,
    /// At least one.
    pub(crate) stores: Vec<Arc<dyn Store>>,
}

impl Group {
    /// Puts destinations together by their recipients, in the order in which each set first comes.
    pub(crate) fn of<'a>(destinations: impl IntoIterator<Item = &'a Destination>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for destination in destinations {
            let store = Arc::clone(&destination.store);
            let alike =
                |group: &&mut Self| are_alike(group.encryption.as_ref(), destination.encryption.as_ref());
            match groups.iter_mut().find(alike) {
                Some(group) => group.stores.push(store),
                None => {
                    groups.push(Self { encryption: destination.encryption.clone(), stores: vec![store] });
                }
            }
        }
        groups
    }

    /// Whether its objects are encrypted to the same recipients.
    pub(crate) fn encryption_is(&self, encryption: Option<&Encryption>) -> bool {
        let recipients = |encryption: &Encryption| encryption.recipients.clone();
        self.encryption.as_deref().map(recipients) == encryption.map(recipients)
    }

    /// What an object is called here: `name`, with `.age` behind it where it is encrypted.
    pub(crate) fn object_name(&self, name: &str) -> String {
        stored_name(name, self.encryption.as_deref())
    }
}

/// What an object is called where it is encrypted like this.
pub(crate) fn stored_name(name: &str, encryption: Option<&Encryption>) -> String {
    match encryption {
        Some(_) => format!("{name}{}", Layout::ENCRYPTED_SUFFIX),
        None => name.to_owned(),
    }
}

fn are_alike(one: Option<&Arc<Encryption>>, other: Option<&Arc<Encryption>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.recipients == other.recipients,
        (None, None) => true,
        _ => false,
    }
}

/// What is to be sent, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outline<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) id: &'a SnapshotId,
    /// Its name where it is not encrypted.
    pub(crate) name: &'a str,
    pub(crate) role: ObjectRole,
    /// Its length before encryption; `None` where that is not known, which only suits what is small beside a ZIP.
    pub(crate) length_bytes: Option<u64>,
    /// Memory for its parts, in each group.
    pub(crate) budget_bytes: u64,
    pub(crate) stall_limit: Duration,
}

/// One object on its way to every destination of a group, encrypted where that group is.
pub(crate) struct Sending {
    name: String,
    role: ObjectRole,
    encryptor: Option<Encryptor>,
    sealed: BytesMut,
    fan_out: FanOut,
}

/// An object as it was sent to every destination of a group.
pub(crate) struct SentObject {
    /// As stored, with `.age` where it is encrypted.
    pub(crate) name: String,
    pub(crate) role: ObjectRole,
    /// Length and SHA-256 as stored, and what became of it in each destination, in the group's order.
    pub(crate) sent: Sent,
}

impl Sending {
    /// Begins to send an object.
    pub(crate) fn begin(group: &Group, outline: &Outline<'_>) -> Result<Self, PartPlanError> {
        let key = outline.layout.object(outline.id, &group.object_name(outline.name));
        Self::begin_at(group, &key, outline)
    }

    /// Begins to send an object that does not lie in the folder of a snapshot.
    pub(crate) fn begin_at(group: &Group, key: &str, outline: &Outline<'_>) -> Result<Self, PartPlanError> {
        let name = group.object_name(outline.name);
        let encryptor = group.encryption.as_ref().map(|encryption| Encryptor::new(&encryption.recipients));
        let header = encryptor.as_ref().map(Encryptor::header_length);
        let plan = match outline.length_bytes {
            Some(length) => {
                let stored = header.map_or(length, |header| encrypted_length(header, length));
                PartPlan::new(stored, outline.budget_bytes)?
            }
            None => small_plan(outline.budget_bytes),
        };
        let fan_out = FanOut::begin(&group.stores, key, plan, outline.stall_limit);
        Ok(Self { name, role: outline.role, encryptor, sealed: BytesMut::new(), fan_out })
    }

    /// Sends the next bytes. Waits while every buffer is in use. Fails only when no destination is left.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        let Some(encryptor) = &mut self.encryptor else { return self.fan_out.write(bytes).await };
        encryptor.push(bytes, &mut self.sealed);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), JobError> {
        let written = self.fan_out.write(&self.sealed).await;
        self.sealed.clear();
        written
    }

    /// Sends what encryption still holds back. Nothing may be written after it.
    pub(crate) async fn end(&mut self) -> Result<(), JobError> {
        let Some(encryptor) = self.encryptor.take() else { return Ok(()) };
        encryptor.finish(&mut self.sealed);
        self.flush().await
    }

    /// Whether everything so far fits into one part.
    pub(crate) fn is_small(&self) -> bool {
        self.fan_out.is_small()
    }

    /// After [`Sending::end`]: as [`FanOut::close`].
    pub(crate) async fn close(self, at_once: bool, stop: &CancellationToken) -> SentObject {
        debug_assert!(self.encryptor.is_none(), "the object was ended");
        let sent = self.fan_out.close(at_once, stop).await;
        SentObject { name: self.name, role: self.role, sent }
    }

    /// As [`FanOut::abort`].
    pub(crate) async fn abort(self) -> Vec<(DestinationName, String)> {
        self.fan_out.abort().await
    }
}

/// Parts of the smallest size, one being filled while another is sent.
fn small_plan(budget_bytes: u64) -> PartPlan {
    let parts = usize::try_from(budget_bytes / MIN_PART_BYTES).unwrap_or(usize::MAX);
    PartPlan { part_bytes: MIN_PART_BYTES, parts_in_memory: parts.max(2) }
}

/// Everything of one snapshot that was sent to one group, in the order in which it becomes visible.
pub(crate) struct Delivery {
    pub(crate) group: Group,
    /// The ZIP first, the index last: what has an index counts as having been whole.
    pub(crate) objects: Vec<SentObject>,
}

impl Delivery {
    /// Adds one more object of the snapshot, which must be there before the index is.
    pub(crate) fn add(&mut self, object: SentObject) {
        let index = self.objects.iter().position(|object| object.role == ObjectRole::Index);
        self.objects.insert(index.unwrap_or(self.objects.len()), object);
    }
}
