//! The metrics, in `OpenMetrics` text. `docs/metrics.md` has the same list, and a test compares the two.

mod destinations;
mod drills;
mod mirrors;
mod sharing;
mod verifying;
mod watching;

use std::fmt::Error;

use convault_core::{DURATION_BUCKETS_SECONDS, JobStatus, RunOutcome, RunRecord, Status};
use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

/// What [`render`] makes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a status, as `OpenMetrics` text.
pub fn render(status: &Status) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("convault");
    registry.register_collector(Box::new(Snapshot(status.clone())));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// A status at one moment: all numbers of one scrape belong together.
#[derive(Debug)]
struct Snapshot(Status);

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut out = Out(encoder);
        daemon(&mut out, &self.0)?;
        job_times(&mut out, &self.0)?;
        job_counts(&mut out, &self.0)?;
        last_success(&mut out, &self.0)?;
        destinations::write(&mut out, &self.0)?;
        verifying::write(&mut out, &self.0)?;
        mirrors::write(&mut out, &self.0)?;
        drills::write(&mut out, &self.0)?;
        watching::write(&mut out, &self.0)?;
        sharing::write(&mut out, &self.0)
    }
}

/// Writes whole metric families.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauges<'l>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        samples
            .into_iter()
            .try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        samples.into_iter().try_for_each(|(labels, value)| {
            let no_exemplar: Option<&Exemplar<NoLabelSet, u64>> = None;
            family.encode_family(&labels)?.encode_counter(&value, no_exemplar)
        })
    }
}

fn daemon(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let version = [("version", status.version.as_str())];
    let mut build =
        out.0.encode_descriptor("build", "The running version; always 1.", None, MetricType::Info)?;
    build.encode_info(&version)?;
    let help = "When the daemon started, as a Unix time.";
    let started = seconds_of(Some(status.started));
    out.gauges("start_timestamp", Some(&Unit::Seconds), help, [(vec![], started)])?;
    let ready = truth(status.not_ready.is_empty());
    out.gauges("ready", None, "Whether the daemon is ready: 1 or 0.", [(vec![], ready)])
}

fn job_times(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let seconds = Some(&Unit::Seconds);
    let each = |value: fn(&JobStatus) -> f64| status.jobs.iter().map(move |job| (labels(job), value(job)));
    let help = "When the newest run that stored a good snapshot ended, as a Unix time; 0 for never.";
    out.gauges("job_last_success_timestamp", seconds, help, each(|job| ended(job.last_success.as_ref())))?;
    let help = "When the newest run ended, however it went, as a Unix time; 0 for never.";
    out.gauges("job_last_attempt_timestamp", seconds, help, each(|job| ended(job.last_attempt.as_ref())))?;
    let help = "The time since the newest good snapshot was stored; absent until there is one.";
    let ages = status.jobs.iter().filter_map(|job| {
        let finished = job.last_success.as_ref()?.finished?;
        Some((labels(job), status.now.duration_since(finished).as_secs_f64().max(0.0)))
    });
    out.gauges("job_last_success_age", seconds, help, ages)?;
    let help = "The longest time between two due times; 0 for a job that runs only on request.";
    out.gauges(
        "job_expected_interval",
        seconds,
        help,
        each(|job| job.expected_interval_seconds.unwrap_or(0.0)),
    )?;
    let help = "When the job is due next, as a Unix time; 0 for a job that runs only on request.";
    out.gauges("job_next_due_timestamp", seconds, help, each(|job| seconds_of(job.next_due)))?;
    let help = "Whether a run of the job goes on: 1 or 0.";
    out.gauges("job_running", None, help, each(|job| truth(job.running.is_some())))
}

fn job_counts(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let help = "How the newest run ended: 1 for that outcome, 0 for the others.";
    let outcomes = status.jobs.iter().flat_map(|job| {
        let last = job.last_attempt.as_ref().and_then(|run| run.outcome);
        RunOutcome::ALL
            .into_iter()
            .map(move |outcome| (with_outcome(job, outcome), truth(last == Some(outcome))))
    });
    out.gauges("job_last_outcome", None, help, outcomes)?;
    let runs = status.jobs.iter().flat_map(|job| {
        RunOutcome::ALL.into_iter().map(|outcome| (with_outcome(job, outcome), job.runs_with(outcome)))
    });
    out.counters("job_runs", None, "Runs ended since the daemon started.", runs)?;
    let each = |value: fn(&JobStatus) -> u64| status.jobs.iter().map(move |job| (labels(job), value(job)));
    let help = "Further attempts made after a failure since the daemon started.";
    out.counters("job_retries", None, help, each(|job| job.retries))?;
    let help = "Bytes read from the deployment since the daemon started.";
    out.counters("job_read", Some(&Unit::Bytes), help, each(|job| job.read_bytes))?;
    let help = "Bytes stored since the daemon started, all destinations together.";
    out.counters("job_stored", Some(&Unit::Bytes), help, each(|job| job.stored_bytes))?;
    durations(out, status)
}

fn durations(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let help = "How long runs took that ended since the daemon started.";
    let mut family =
        out.0.encode_descriptor("job_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for job in &status.jobs {
        let counts = job.durations.counts;
        let bounds = DURATION_BUCKETS_SECONDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let (sum, count) = (job.durations.sum_seconds, counts.iter().sum());
        family.encode_family(&labels(job))?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn last_success(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let each = |value: fn(&RunRecord) -> f64| {
        status.jobs.iter().map(move |job| (labels(job), job.last_success.as_ref().map_or(0.0, value)))
    };
    let help = "Documents in the newest good snapshot; 0 for none.";
    out.gauges("job_last_success_documents", None, help, each(|run| number(run.documents)))?;
    let help = "Stored files in the newest good snapshot; 0 for none.";
    out.gauges("job_last_success_files", None, help, each(|run| number(run.files)))?;
    let help = "Bytes read from the deployment for the newest good snapshot; 0 for none.";
    out.gauges("job_last_success_read", Some(&Unit::Bytes), help, each(|run| number(run.read_bytes)))?;
    let help = "Bytes stored for the newest good snapshot, all destinations together; 0 for none.";
    out.gauges("job_last_success_stored", Some(&Unit::Bytes), help, each(|run| number(run.stored_bytes())))?;
    let help = "How long the run took that stored the newest good snapshot; 0 for none.";
    let elapsed = each(|run| run.elapsed_seconds().unwrap_or(0.0));
    out.gauges("job_last_success_duration", Some(&Unit::Seconds), help, elapsed)
}

/// Not `job`, which Prometheus itself gives to every series.
fn labels(job: &JobStatus) -> Labels<'_> {
    vec![("job_name", job.job.as_str()), ("deployment", job.deployment.as_str())]
}

fn with_outcome(job: &JobStatus, outcome: RunOutcome) -> Labels<'_> {
    let mut labels = labels(job);
    labels.push(("outcome", outcome.as_str()));
    labels
}

fn ended(run: Option<&RunRecord>) -> f64 {
    seconds_of(run.and_then(|run| run.finished))
}

fn seconds_of(time: Option<Timestamp>) -> f64 {
    time.map_or(0.0, |time| time.as_duration().as_secs_f64())
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// Exact up to 2^53: nine petabytes.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point in the format itself")]
fn number(value: u64) -> f64 {
    value as f64
}
