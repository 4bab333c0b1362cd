//! Log lines: readable on a terminal, with priorities for journald, or JSON.

use std::{fmt, io::IsTerminal as _};

use convault_settings::LogFormat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt as _,
    registry::{LookupSpan, Scope},
    reload,
    util::SubscriberInitExt as _,
};

/// Changes what is logged while the program runs.
#[derive(Clone)]
pub(crate) struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Takes a new level, or list of `target=level`.
    pub(crate) fn set(&self, level: &str) -> anyhow::Result<()> {
        Ok(self.0.reload(filter(level)?)?)
    }
}

/// Begins to log to standard error. `level` is a level, or a list of `target=level`; `journal` says whether standard
/// error goes to the journal.
pub(crate) fn start(format: LogFormat, level: &str, journal: bool) -> anyhow::Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let format = match format {
        LogFormat::Auto if terminal => LogFormat::Text,
        LogFormat::Auto if journal => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    let layer = match format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed()
        }
        LogFormat::Journald => layer.with_ansi(false).event_format(Journald).boxed(),
        LogFormat::Auto | LogFormat::Text => layer.with_ansi(terminal).with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer).try_init()?;
    Ok(LevelHandle(handle))
}

/// What is said of a level of ours; the ticker's library says things at `info` that concern nobody.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    Ok(EnvFilter::try_new(format!("{}=warn,{level}", convault_scheduler::TICKER_LOG_TARGET))?)
}

/// One line per event: `<4>run{id=… job=nightly}: text`. Journald takes the priority off and adds its own time.
struct Journald;

impl<S, N> FormatEvent<S, N> for Journald
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            write!(writer, "{}", span.name())?;
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<tracing_subscriber::fmt::FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, "{{{fields}}}")?;
            }
            write!(writer, ": ")?;
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
