//! A daemon that says what a test wants.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use convault_core::{
    Abilities, Ability, Control, ControlError, CoordinationStatus, DefaultLock, DeploymentName,
    DestinationName, DestinationResult, DestinationStatus, DrillName, DrillStatus, DurationHistogram,
    HoldingStatus, JobName, JobStatus, LockMode, MarkWish, MirrorName, MirrorStatus, RunEvent, RunId,
    RunOutcome, RunRecord, Secret, StartRequest, Status, Verb, VerifyStatus, WatchStatus,
};
use convault_health::{Access, router};
use futures::{StreamExt as _, stream::BoxStream};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) const TOKEN: &str = "a-token-of-some-length";
pub(crate) const RUN: &str = "20261122T030000Z-000007";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[derive(Debug)]
pub(crate) struct FakeControl {
    pub(crate) status: Mutex<Status>,
    pub(crate) started: Mutex<Vec<StartRequest>>,
    pub(crate) cancelled: Mutex<Vec<RunId>>,
}

#[async_trait]
impl Control for FakeControl {
    fn status(&self) -> Status {
        self.status.lock().unwrap().clone()
    }

    async fn runs(&self, limit: usize) -> Result<Vec<RunRecord>, ControlError> {
        Ok([run(RunOutcome::Failed), run(RunOutcome::Good)].into_iter().take(limit).collect())
    }

    async fn start(&self, request: StartRequest) -> Result<RunId, ControlError> {
        if request.job.as_str() != "nightly" {
            return Err(ControlError::NoSuchJob(request.job));
        }
        self.started.lock().unwrap().push(request);
        Ok(RunId::parse(RUN).unwrap())
    }

    async fn mark(&self, _: MarkWish) -> Result<Vec<DestinationResult>, ControlError> {
        Err(ControlError::Other("nothing is marked over HTTP".to_owned()))
    }

    async fn cancel(&self, run: &RunId) -> Result<(), ControlError> {
        self.cancelled.lock().unwrap().push(run.clone());
        Ok(())
    }

    fn watch(&self, run: &RunId, after: u64) -> Result<BoxStream<'static, (u64, RunEvent)>, ControlError> {
        if run.as_str() != RUN {
            return Err(ControlError::NoSuchRun(run.clone()));
        }
        let told = |number| RunEvent::Transferred { done_bytes: number, total_bytes: None };
        let events = (after..3).map(move |number| (number, told(number)));
        // It goes on after three events, until somebody ends it.
        Ok(futures::stream::iter(events).chain(futures::stream::pending()).boxed())
    }
}

pub(crate) fn run(outcome: RunOutcome) -> RunRecord {
    let destination = DestinationName::new("offsite").unwrap();
    RunRecord {
        id: RunId::parse(RUN).unwrap(),
        job: JobName::new("nightly").unwrap(),
        deployment: DeploymentName::new("crm").unwrap(),
        verb: Verb::Backup,
        scheduled: true,
        due: Some(at("2026-11-22T03:00:00Z")),
        started: at("2026-11-22T03:00:00Z"),
        finished: Some(at("2026-11-22T03:02:00Z")),
        outcome: Some(outcome),
        message: "<script>alert('x')</script> & \"more\"".to_owned(),
        snapshot: Some(RunId::parse(RUN).unwrap()),
        snapshot_time: Some(at("2026-11-22T03:00:01Z")),
        destinations: vec![DestinationResult { destination, stored_bytes: 700, problem: None }],
        read_bytes: 600,
        documents: 12_345,
        files: 67,
        warnings: vec!["<b>warned</b>".to_owned()],
        retryable: false,
        refused: false,
    }
}

fn mirror() -> MirrorStatus {
    MirrorStatus {
        mirror: MirrorName::new("courses").unwrap(),
        from: "s3://media/ in eu-central-1".to_owned(),
        destination: DestinationName::new("offsite").unwrap(),
        schedule: Some("@hourly".to_owned()),
        next_due: Some(at("2026-11-22T05:00:00Z")),
        expected_interval_seconds: Some(3600.0),
        running: None,
        last_attempt: Some(RunRecord { verb: Verb::Mirror, ..run(RunOutcome::Good) }),
        last_success: Some(at("2026-11-22T03:10:00Z")),
        objects: 1_000_000,
        bytes: 5 << 40,
        states: 42,
        braked_since: None,
        braked_why: None,
        held_back: Vec::new(),
    }
}

pub(crate) fn drill(deployment: &DeploymentName) -> DrillStatus {
    DrillStatus {
        drill: DrillName::new("weekly").unwrap(),
        deployment: deployment.clone(),
        schedule: Some("0 5 * * 0".to_owned()),
        next_due: Some(at("2026-11-29T05:00:00Z")),
        max_age_seconds: Some(691_200.0),
        running: None,
        last_attempt: Some(RunRecord { verb: Verb::Drill, ..run(RunOutcome::Good) }),
        last_passed: Some(at("2026-11-22T03:10:00Z")),
        restore_seconds: Some(41.5),
        data_age_seconds: Some(7200.0),
        phases: BTreeMap::from([("import".to_owned(), 12.5)]),
        failures: 0,
    }
}

fn watch(deployment: &DeploymentName) -> WatchStatus {
    WatchStatus {
        job: JobName::new("nightly").unwrap(),
        deployment: deployment.clone(),
        schedule: "*/15 * * * *".to_owned(),
        next_due: Some(at("2026-11-22T05:00:00Z")),
        expected_interval_seconds: Some(900.0),
        last_attempt: Some(RunRecord { verb: Verb::Watch, ..run(RunOutcome::Good) }),
        last_success: Some(at("2026-11-22T03:10:00Z")),
        secrets: 42,
        changed: Some(at("2026-11-20T03:10:00Z")),
    }
}

pub(crate) fn status() -> Status {
    let mut durations = DurationHistogram::default();
    durations.observe(120.0);
    durations.observe(100_000.0);
    let deployment = DeploymentName::new("crm").unwrap();
    Status {
        version: "1.2.3".to_owned(),
        started: at("2026-11-20T00:00:00Z"),
        now: at("2026-11-22T04:02:00Z"),
        not_ready: vec![],
        jobs: vec![
            JobStatus {
                job: JobName::new("nightly").unwrap(),
                deployment: deployment.clone(),
                destinations: vec![DestinationName::new("offsite").unwrap()],
                schedule: Some("0 3 * * *".to_owned()),
                time_zone: "Europe/London".to_owned(),
                next_due: Some(at("2026-11-23T03:00:00Z")),
                expected_interval_seconds: Some(86_400.0),
                running: Some(RunId::parse(RUN).unwrap()),
                last_attempt: Some(run(RunOutcome::Good)),
                last_success: Some(run(RunOutcome::Good)),
                runs: BTreeMap::from([("good".to_owned(), 4), ("failed".to_owned(), 2)]),
                retries: 3,
                read_bytes: 1000,
                stored_bytes: 2000,
                durations,
            },
            JobStatus {
                job: JobName::new("fresh").unwrap(),
                deployment: deployment.clone(),
                destinations: vec![],
                schedule: None,
                time_zone: "UTC".to_owned(),
                next_due: None,
                expected_interval_seconds: None,
                running: None,
                last_attempt: None,
                last_success: None,
                runs: BTreeMap::new(),
                retries: 0,
                read_bytes: 0,
                stored_bytes: 0,
                durations: DurationHistogram::default(),
            },
        ],
        destinations: vec![
            DestinationStatus {
                destination: DestinationName::new("offsite").unwrap(),
                location: "s3://acme<backups>".to_owned(),
                up: Some(true),
                problem: None,
                checked: Some(at("2026-11-22T03:02:00Z")),
                abilities: Some(abilities()),
                holdings: BTreeMap::from([(deployment.clone(), holding())]),
            },
            DestinationStatus {
                destination: DestinationName::new("unused").unwrap(),
                location: "/srv".to_owned(),
                up: None,
                problem: None,
                checked: None,
                abilities: None,
                holdings: BTreeMap::new(),
            },
        ],
        verifying: vec![VerifyStatus {
            destination: DestinationName::new("offsite").unwrap(),
            deployment: deployment.clone(),
            schedule: "0 5 * * *".to_owned(),
            next_due: Some(at("2026-11-22T05:00:00Z")),
            read_all_within_seconds: 2_592_000.0,
            last_attempt: Some(RunRecord { verb: Verb::Verify, ..run(RunOutcome::Good) }),
        }],
        mirrors: vec![mirror()],
        watching: vec![watch(&deployment)],
        drills: vec![drill(&deployment)],
        coordination: Some(CoordinationStatus {
            destination: DestinationName::new("offsite").unwrap(),
            instance: "backup-1".to_owned(),
            held: BTreeMap::from([(deployment, 17)]),
            left_to_others: 4,
            lost: 0,
        }),
    }
}

/// A status in which everything went wrong with what `offsite` holds.
pub(crate) fn alarming() -> Status {
    let mut status = status();
    status.jobs[0].last_attempt = Some(RunRecord {
        message: "stored, but suspect: table orders has 40 % fewer documents".to_owned(),
        ..run(RunOutcome::Suspect)
    });
    let place = &mut status.destinations[0];
    let seen = place.abilities.as_mut().unwrap();
    seen.finish_if_absent = Ability::Ignored;
    seen.versions = Ability::Refused;
    seen.default_lock = Some(DefaultLock { mode: LockMode::Governance, days: 30 });
    let folders = [
        ("good", 0),
        ("suspect", 1),
        ("damaged", 2),
        ("headless", 1),
        ("unreadable", 1),
        ("untrusted", 3),
        ("interrupted", 1),
    ];
    let holding = place.holdings.values_mut().next().unwrap();
    *holding = HoldingStatus {
        states: folders.map(|(state, number)| (state.to_owned(), number)).into(),
        stored_bytes: 7_300_000_000,
        newest_good: None,
        frozen_since: Some(at("2026-11-22T03:00:01Z")),
        oldest_read: Some(at("2026-10-01T05:00:00Z")),
        last_verified: Some(at("2026-11-12T05:02:00Z")),
        held_back: ["first reason", "second reason", "third reason", "fourth reason"]
            .map(str::to_owned)
            .into(),
    };
    status.verifying[0].last_attempt = Some(RunRecord {
        verb: Verb::Verify,
        message: "2 snapshots are damaged".to_owned(),
        ..run(RunOutcome::Failed)
    });
    status.coordination.as_mut().unwrap().lost = 3;
    status
}

/// What a store that can do everything was seen to do.
pub(crate) fn abilities() -> Abilities {
    Abilities {
        put_if_absent: Ability::Works,
        finish_if_absent: Ability::Works,
        replace_if_match: Ability::Works,
        checksums: Ability::Works,
        list_uploads: Ability::Works,
        versions: Ability::Works,
        locks: Ability::Works,
        default_lock: None,
    }
}

/// Five good snapshots and an old suspect one, all read and verified of late.
pub(crate) fn holding() -> HoldingStatus {
    HoldingStatus {
        states: BTreeMap::from([("good".to_owned(), 5), ("suspect".to_owned(), 1)]),
        stored_bytes: 4096,
        newest_good: Some(at("2026-11-22T03:00:01Z")),
        frozen_since: None,
        oldest_read: Some(at("2026-11-01T05:00:00Z")),
        last_verified: Some(at("2026-11-21T05:02:00Z")),
        held_back: vec![],
    }
}

pub(crate) struct Rig {
    pub(crate) control: Arc<FakeControl>,
    pub(crate) stop: CancellationToken,
    router: Router,
}

impl Rig {
    pub(crate) fn new(listen: &str, token: Option<&str>) -> Self {
        let control = Arc::new(FakeControl {
            status: Mutex::new(status()),
            started: Mutex::default(),
            cancelled: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let access = Access::new(listen.parse().unwrap(), token.map(Secret::new));
        let shared: Arc<dyn Control> = Arc::<FakeControl>::clone(&control);
        Self { router: router(shared, access, stop.clone()), control, stop }
    }

    pub(crate) fn loopback() -> Self {
        Self::new("127.0.0.1:9640", Some(TOKEN))
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
