//! What a drill restores to, as it needs it.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{Environment, RunId, ScratchKind, Secret, Source, Target};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::JobError;

/// A deployment that is reached with one key, from every side.
#[derive(Debug, Clone)]
pub struct Reached {
    /// To write to.
    pub target: Arc<dyn Target>,
    /// To export again.
    pub source: Arc<dyn Source>,
    /// Its environment variables.
    pub environment: Arc<dyn Environment>,
}

/// Makes what reaches a deployment out of its address and a key. Connects to nothing. The error is a sentence without
/// the key.
pub type Connect = Arc<dyn Fn(&str, &Secret) -> Result<Reached, String> + Send + Sync>;

/// Where scratch deployments come from.
#[async_trait]
pub trait Scratch: Send + Sync + fmt::Debug {
    /// How.
    fn kind(&self) -> ScratchKind;

    /// Makes or reaches one for the drill of this run. What earlier runs (`dead`, or gone long enough) have left behind is
    /// removed first, and `warn` is told of it. Where `stop` comes while one is being made, nothing of it stays.
    async fn begin(
        &self,
        run: &RunId,
        dead: &[RunId],
        now: Timestamp,
        warn: &(dyn Fn(String) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<Box<dyn ScratchDeployment>, JobError>;
}

/// A scratch deployment, until it is given back.
#[async_trait]
pub trait ScratchDeployment: Send + Sync + fmt::Debug {
    /// What reaches it.
    fn reached(&self) -> &Reached;

    /// Whether it was made for this drill.
    fn is_made(&self) -> bool;

    /// Gives it back: what was made for the drill is deleted or stopped. The error is a sentence with the remedy.
    async fn end(self: Box<Self>) -> Result<(), String>;
}

/// Fetches pages.
#[async_trait]
pub trait Pages: Send + Sync + fmt::Debug {
    /// Status and first MiB of a page. No redirect is followed. The error is a sentence.
    async fn get(&self, url: &str) -> Result<(u16, Bytes), String>;
}
