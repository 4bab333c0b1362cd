//! `convault simulate`: a simulated deployment as a server, and an S3 server beside it.

use std::{sync::Arc, time::Duration};

use convault_core::{DefaultLock, LockMode, Secret, SystemClock};
use convault_settings::Environment;
use convault_simulator::{
    Counters, Data, Fault, GeneratorConfig, PlatformConfig, PlatformServer, RunningPlatform, Simulator,
    SimulatorConfig,
    s3::{RunningS3, S3Fault, S3Server, S3ServerConfig},
};

use super::Surroundings;
use crate::{arguments::Simulate, exit::Exit, print};

/// The number of the only project of the platform.
const PROJECT: u64 = 1;
const EXPORT_TIME: Duration = Duration::from_millis(200);
/// When what is planted was made: milliseconds since the Unix epoch.
const PLANTED_MS: f64 = 1_700_000_000_000.0;

pub(crate) async fn simulate(surroundings: &Surroundings, simulate: Simulate) -> anyhow::Result<Exit> {
    if simulate.faults.iter().any(|fault| fault == "list") {
        list_faults();
        return Ok(Exit::Done);
    }
    let (s3_faults, faults): (Vec<_>, Vec<_>) =
        simulate.faults.iter().partition(|text| S3Fault::is_named_like_one(text));
    let faults = faults.iter().map(|text| text.parse()).collect::<Result<Vec<Fault>, _>>()?;
    let s3_faults = s3_faults.iter().map(|text| text.parse()).collect::<Result<Vec<S3Fault>, _>>()?;
    let config = SimulatorConfig {
        listen: simulate.listen,
        data: data(&simulate),
        changed_files_percent: simulate.changed_files,
        deleted_documents: simulate.deleted_documents.iter().cloned().collect(),
        faults: faults.clone(),
        export_time: EXPORT_TIME,
        clock: Arc::new(SystemClock),
        ..SimulatorConfig::new(Secret::new(simulate.key.clone()))
    };
    let deployment = Simulator::start(config).await?;
    if let Some(text) = &simulate.plant {
        deployment.change(|database| database.plant(text, PLANTED_MS));
    }
    print::line(&format!("deployment {}", deployment.url()));
    let platform = start_platform(&simulate, faults).await?;
    let s3 = start_s3(&simulate, s3_faults, &surroundings.environment).await?;
    surroundings.stop.cancelled().await;
    let mut counts = serde_json::json!({ "deployment": deployment_counts(&deployment.counters()) });
    if let Some(platform) = platform {
        let counters = platform.counters();
        counts["platform"] = serde_json::json!({
            "created": counters.created,
            "deleted": counters.deleted,
            "expired": counters.expired,
            "keys": counters.keys,
            "left": platform.deployments().len(),
        });
        platform.stop().await;
    }
    if let Some(s3) = s3 {
        let counters = s3.counters();
        counts["s3"] = serde_json::json!({
            "calls": counters.calls, "bytes_in": counters.bytes_in, "bytes_out": counters.bytes_out,
        });
        s3.stop().await;
    }
    deployment.stop().await;
    print::line(&format!("counts {counts}"));
    Ok(Exit::Done)
}

/// What was asked of the deployment, for whoever started it.
fn deployment_counts(counters: &Counters) -> serde_json::Value {
    serde_json::json!({
        "requests": counters.requests,
        "download_bytes": counters.download_bytes,
        "files": counters.files,
        "file_bytes": counters.file_bytes,
        "writes": {
            "imports": counters.writes.imports,
            "mutations": counters.writes.mutations,
            "environment": counters.writes.environment,
            "pauses": counters.writes.pauses,
            "total": counters.writes.total(),
        },
    })
}

fn data(simulate: &Simulate) -> Data {
    let nothing = simulate.tables.is_none()
        && simulate.documents.is_none()
        && simulate.document_bytes.is_none()
        && simulate.files.is_none()
        && simulate.file_bytes.is_none()
        && simulate.components.is_none();
    if nothing {
        return Data::Empty;
    }
    Data::Generated(GeneratorConfig {
        seed: simulate.seed,
        tables: simulate.tables.unwrap_or(3),
        documents: simulate.documents.unwrap_or(1000),
        document_bytes: simulate.document_bytes.unwrap_or(400).into(),
        files: simulate.files.unwrap_or(0),
        file_bytes: simulate.file_bytes.unwrap_or(10_000),
        components: simulate.components.unwrap_or(0),
    })
}

async fn start_platform(simulate: &Simulate, faults: Vec<Fault>) -> anyhow::Result<Option<RunningPlatform>> {
    let Some(listen) = simulate.platform_listen else { return Ok(None) };
    let token = Secret::new(simulate.platform_token.clone());
    let config =
        PlatformConfig { listen, faults, export_time: EXPORT_TIME, ..PlatformConfig::new(token, PROJECT) };
    let platform = PlatformServer::start(config).await?;
    print::line(&format!("platform {} project {PROJECT} token {}", platform.url(), simulate.platform_token));
    Ok(Some(platform))
}

async fn start_s3(
    simulate: &Simulate,
    faults: Vec<S3Fault>,
    environment: &Environment,
) -> anyhow::Result<Option<RunningS3>> {
    let Some(listen) = simulate.s3_listen else { return Ok(None) };
    let pair = environment.aws_key_pair();
    let given = pair.is_some();
    let (access_key, secret_key) =
        pair.unwrap_or_else(|| ("convault".to_owned(), Secret::new("convault-secret")));
    let s3 = S3Server::new(S3ServerConfig {
        listen,
        root: simulate.s3_root.clone(),
        access_key: access_key.clone(),
        secret_key,
        faults,
    });
    let s3 = keeping(s3, simulate).start().await?;
    let keys =
        if given { "from the environment".to_owned() } else { format!("{access_key} convault-secret") };
    print::line(&format!("s3 {} keys {keys}", s3.endpoint()));
    Ok(Some(s3))
}

/// What its buckets keep of what is overwritten and deleted.
fn keeping(s3: S3Server, simulate: &Simulate) -> S3Server {
    if simulate.s3_lock {
        let default = |days| DefaultLock { mode: LockMode::Governance, days };
        return s3.with_locks(simulate.s3_default_lock.map(default));
    }
    if simulate.s3_versions { s3.with_versions() } else { s3 }
}

fn list_faults() {
    let deployment = Fault::all().iter().map(|fault| vec![fault.name.to_owned(), fault.sentence.to_owned()]);
    let s3 = S3Fault::all().iter().map(|fault| vec![fault.name.to_owned(), fault.sentence.to_owned()]);
    print::table(&["FAULT", "WHAT IT DOES"], &deployment.chain(s3).collect::<Vec<_>>());
}
