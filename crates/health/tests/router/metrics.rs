//! The metrics text, parsed, and compared with `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};

use convault_core::{Ability, DefaultLock, LockMode, RunOutcome};

use crate::fake::{Rig, at, run, status};

/// A sample: its name, its labels in order, its value.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

#[derive(Debug, Default)]
struct Parsed {
    kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

/// Reads `OpenMetrics` text whose label values have no escapes, strictly.
fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let lines = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
    for line in lines.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(parsed.kinds.insert(name.to_owned(), kind.to_owned()), None, "{name} comes twice");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            parsed.helps.insert(name.to_owned(), help.to_owned());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name.ends_with(unit), "{name} does not end with its unit {unit}");
        } else {
            parsed.samples.push(sample(line));
        }
    }
    parsed
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (name, value) = label.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('"').to_owned())
    });
    Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() }
}

impl Parsed {
    /// The value of the one sample with that name whose labels have all of `labels`.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|v| v == value))
        };
        let found: Vec<_> = self.samples.iter().filter(fits).collect();
        assert!(found.len() <= 1, "{name} {labels:?} is there {} times", found.len());
        found.first().map(|sample| sample.value)
    }
}

#[tokio::test]
async fn a_scrape_is_openmetrics() {
    let answer = Rig::loopback().get("/metrics").await;
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let parsed = parse(&answer.body);
    let nightly = [("job_name", "nightly"), ("deployment", "crm")];
    let expected = [
        ("convault_job_last_success_timestamp_seconds", 1_795_316_520.0),
        ("convault_job_last_attempt_timestamp_seconds", 1_795_316_520.0),
        ("convault_job_last_success_age_seconds", 3600.0),
        ("convault_job_expected_interval_seconds", 86_400.0),
        ("convault_job_next_due_timestamp_seconds", 1_795_402_800.0),
        ("convault_job_running", 1.0),
        ("convault_job_retries_total", 3.0),
        ("convault_job_read_bytes_total", 1000.0),
        ("convault_job_stored_bytes_total", 2000.0),
        ("convault_job_last_success_documents", 12_345.0),
        ("convault_job_last_success_files", 67.0),
        ("convault_job_last_success_read_bytes", 600.0),
        ("convault_job_last_success_stored_bytes", 700.0),
        ("convault_job_last_success_duration_seconds", 120.0),
        ("convault_job_duration_seconds_count", 2.0),
        ("convault_job_duration_seconds_sum", 100_120.0),
    ];
    for (name, value) in expected {
        assert_eq!(parsed.value(name, &nightly), Some(value), "{name}");
    }
    let offsite = [("destination", "offsite")];
    assert_eq!(parsed.value("convault_destination_up", &offsite), Some(1.0));
    assert_eq!(parsed.value("convault_destination_stored_bytes", &[offsite[0], nightly[1]]), Some(4096.0));
    for (state, count) in [("good", 5.0), ("suspect", 1.0), ("damaged", 0.0), ("fenced-off", 0.0)] {
        let labels = [offsite[0], ("state", state)];
        assert_eq!(parsed.value("convault_destination_snapshots", &labels), Some(count));
    }
    let held = [
        ("convault_destination_newest_good_timestamp_seconds", 1_795_316_401.0),
        ("convault_destination_oldest_read_timestamp_seconds", 1_793_509_200.0),
        ("convault_destination_verified_timestamp_seconds", 1_795_237_320.0),
        ("convault_destination_pruning_frozen", 0.0),
        ("convault_destination_prune_held_back", 0.0),
        ("convault_verify_last_attempt_timestamp_seconds", 1_795_316_520.0),
        ("convault_verify_expected_interval_seconds", 86_400.0),
        ("convault_verify_next_due_timestamp_seconds", 1_795_323_600.0),
        ("convault_verify_read_all_within_seconds", 2_592_000.0),
    ];
    for (name, value) in held {
        assert_eq!(parsed.value(name, &[offsite[0], nightly[1]]), Some(value), "{name}");
    }
    for (name, value) in [("leases_held", 1.0), ("lease_lost_total", 0.0), ("runs_left_to_others_total", 4.0)]
    {
        assert_eq!(parsed.value(&format!("convault_{name}"), &offsite), Some(value), "{name}");
    }
    assert_eq!(parsed.value("convault_build_info", &[("version", "1.2.3")]), Some(1.0));
}

#[test]
fn what_never_happened_is_zero_and_has_no_age() {
    let parsed = parse(&convault_health::render_metrics(&status()).unwrap());
    let fresh = [("job_name", "fresh")];
    for name in
        ["last_success_timestamp_seconds", "last_attempt_timestamp_seconds", "next_due_timestamp_seconds"]
    {
        assert_eq!(parsed.value(&format!("convault_job_{name}"), &fresh), Some(0.0), "{name}");
    }
    assert_eq!(parsed.value("convault_job_last_success_age_seconds", &fresh), None);
    assert_eq!(parsed.value("convault_destination_up", &[("destination", "unused")]), None);
    for outcome in RunOutcome::ALL {
        let labels = [fresh[0], ("outcome", outcome.as_str())];
        assert_eq!(parsed.value("convault_job_runs_total", &labels), Some(0.0));
        assert_eq!(parsed.value("convault_job_last_outcome", &labels), Some(0.0));
    }
}

#[test]
fn what_a_store_can_do_is_said_only_once_it_is_known() {
    let mut status = status();
    let seen = status.destinations[0].abilities.as_mut().unwrap();
    seen.put_if_absent = Ability::Ignored;
    seen.default_lock = Some(DefaultLock { mode: LockMode::Governance, days: 30 });
    let parsed = parse(&convault_health::render_metrics(&status).unwrap());
    let ability = |name, result| {
        let labels = [("destination", "offsite"), ("ability", name), ("result", result)];
        parsed.value("convault_destination_ability", &labels)
    };
    assert_eq!(ability("put-if-absent", "ignored"), Some(1.0));
    assert_eq!(ability("put-if-absent", "works"), None);
    assert_eq!(ability("replace-if-match", "works"), Some(1.0));
    let locks =
        |destination| parsed.value("convault_destination_locks_by_default", &[("destination", destination)]);
    assert_eq!((locks("offsite"), locks("unused")), (Some(1.0), None));
}

#[test]
fn frozen_and_held_back_pruning_is_told() {
    let mut status = status();
    let holding = status.destinations[0].holdings.values_mut().next().unwrap();
    holding.frozen_since = Some(at("2026-11-22T03:00:01Z"));
    holding.held_back = vec!["one".to_owned(), "two".to_owned()];
    let parsed = parse(&convault_health::render_metrics(&status).unwrap());
    let offsite = [("destination", "offsite")];
    assert_eq!(parsed.value("convault_destination_pruning_frozen", &offsite), Some(1.0));
    assert_eq!(parsed.value("convault_destination_prune_held_back", &offsite), Some(2.0));
}

#[test]
fn a_daemon_that_shares_no_work_says_nothing_of_leases() {
    let mut status = status();
    status.coordination = None;
    let text = convault_health::render_metrics(&status).unwrap();
    let parsed = parse(&text);
    assert_eq!(parsed.value("convault_leases_held", &[]), None);
    assert_eq!(parsed.value("convault_lease_lost_total", &[]), None);
}

#[test]
fn exactly_one_outcome_is_the_last_one() {
    let mut status = status();
    status.jobs[0].last_attempt = Some(run(RunOutcome::Suspect));
    let parsed = parse(&convault_health::render_metrics(&status).unwrap());
    for outcome in RunOutcome::ALL {
        let labels = [("job_name", "nightly"), ("outcome", outcome.as_str())];
        let expected = f64::from(u8::from(outcome == RunOutcome::Suspect));
        assert_eq!(parsed.value("convault_job_last_outcome", &labels), Some(expected));
    }
}

#[test]
fn the_buckets_of_the_histogram_grow_and_end_with_the_count() {
    let parsed = parse(&convault_health::render_metrics(&status()).unwrap());
    let buckets: Vec<_> = parsed
        .samples
        .iter()
        .filter(|sample| sample.name.ends_with("_bucket") && sample.labels["job_name"] == "nightly")
        .map(|sample| (sample.labels["le"].as_str(), sample.value))
        .collect();
    assert_eq!(buckets.len(), 11);
    assert!(buckets.is_sorted_by(|one, other| one.1 <= other.1));
    assert_eq!(buckets[3], ("60.0", 0.0));
    assert_eq!(buckets[4], ("300.0", 1.0));
    assert_eq!(buckets[10], ("+Inf", 2.0));
}

#[test]
fn the_documented_table_and_the_metrics_agree() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md")).unwrap();
    let documented: BTreeSet<[String; 4]> = page
        .lines()
        .filter(|line| line.starts_with("| `convault_"))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            [cells[0].trim_matches('`'), cells[1], cells[2], cells[3]].map(str::to_owned)
        })
        .collect();
    let parsed = parse(&convault_health::render_metrics(&status()).unwrap());
    let written: BTreeSet<[String; 4]> =
        parsed.kinds.iter().map(|(family, kind)| row(&parsed, family, kind)).collect();
    assert_eq!(written, documented);
}

#[test]
fn the_alert_rules_name_only_metrics_that_there_are() {
    let rules = include_str!("../../../../deploy/prometheus/convault.rules.yml");
    let parsed = parse(&convault_health::render_metrics(&status()).unwrap());
    let there: BTreeSet<&str> = parsed.samples.iter().map(|sample| sample.name.as_str()).collect();
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let named: BTreeSet<&str> =
        rules.split(|character| !is_name(character)).filter(|word| word.starts_with("convault_")).collect();
    assert!(named.len() > 10, "{named:?}");
    assert!(named.is_subset(&there), "{:?} do not exist", named.difference(&there));
}

/// A metric family as a row of the documented table.
fn row(parsed: &Parsed, family: &str, kind: &str) -> [String; 4] {
    let suffix = match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let name = format!("{family}{suffix}");
    let sampled = if kind == "histogram" { format!("{name}_count") } else { name.clone() };
    let sample = parsed.samples.iter().find(|sample| sample.name == sampled).unwrap();
    // The table lists the job before the deployment, and what it is about before a detail of it.
    let order = [
        "mirror",
        "drill",
        "destination",
        "job_name",
        "deployment",
        "outcome",
        "phase",
        "state",
        "ability",
        "result",
        "version",
    ];
    let labels: Vec<_> = order.into_iter().filter(|label| sample.labels.contains_key(*label)).collect();
    assert_eq!(labels.len(), sample.labels.len(), "{name} has a label that no table row could have");
    let help = parsed.helps[family].clone();
    [name, kind.to_owned(), labels.join(", "), help]
}
