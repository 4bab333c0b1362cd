//! What a command prints.

use async_trait::async_trait;
use convault_core::{
    Collect, EntryDetails, NotCovered, Sha256Stream, Surrounding, SurroundingError, SurroundingKind,
    SurroundingName,
};

use super::child::{Child, Limits, command};
use super::errors::Errors;
use super::variables::put_digest;

/// What a command prints on its standard output, as the entry `output`. Its standard error goes into the error of a
/// failure, its output never does.
pub struct CommandOutput {
    command: Vec<String>,
    limits: Limits,
    required: bool,
    errors: Errors,
}

/// A command, and what it may take.
#[derive(Clone)]
pub struct CommandSettings {
    /// The program, then its arguments. It is started with this process's environment, without a shell.
    pub command: Vec<String>,
    /// How long it may take before it and all that it started are killed.
    pub time_out: std::time::Duration,
    /// How many bytes it may print.
    pub max_bytes: u64,
}

impl CommandOutput {
    /// The output of a command, called `name`. Nothing is started.
    pub fn new(name: SurroundingName, required: bool, settings: CommandSettings) -> Self {
        let limits = Limits { time_out: settings.time_out, max_bytes: Some(settings.max_bytes) };
        Self { command: settings.command, limits, required, errors: Errors::new(name) }
    }
}

impl std::fmt::Debug for CommandSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandSettings").field("program", &self.command.first()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CommandOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.command.first();
        f.debug_struct("CommandOutput").field("program", &program).finish_non_exhaustive()
    }
}

#[async_trait]
impl Surrounding for CommandOutput {
    fn name(&self) -> &SurroundingName {
        self.errors.surrounding()
    }

    fn kind(&self) -> SurroundingKind {
        SurroundingKind::Secrets
    }

    fn is_required(&self) -> bool {
        self.required
    }

    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError> {
        let (program, arguments) = self.command.split_first().expect("settings have at least the program");
        let mut child = Child::start(program, command(program, arguments), self.limits, &self.errors)?;
        taker.begin("output", EntryDetails::default()).await?;
        let mut digest = Sha256Stream::new();
        while let Some(bytes) = child.read().await? {
            digest.update(&bytes);
            taker.write(&bytes).await?;
        }
        child.finish().await?;
        put_digest(taker, "output", digest).await?;
        Ok(Vec::new())
    }
}
