//! The deployments of a project, and what was made and deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use convault_core::Secret;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::requests::CreateDeployment;
use crate::api_error::ApiError;
use crate::faults::Fault;
use crate::keys::DeployKey;
use crate::server::{RunningSimulator, SimulatorConfig};

const ADJECTIVES: [&str; 8] = ["happy", "rainy", "quiet", "brave", "fuzzy", "polite", "tidy", "wary"];
const ANIMALS: [&str; 8] = ["otter", "heron", "badger", "lynx", "marten", "newt", "puffin", "stoat"];

/// What a deployment says of itself in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudIdentity {
    /// Its number.
    pub id: u64,
    /// The number of the project that it is in.
    pub project: u64,
    /// `prod`, `dev`, `preview` or `custom`.
    pub deployment_type: String,
    /// What it is found by.
    pub reference: Option<String>,
}

/// What was asked of a platform so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlatformCounters {
    /// Deployments that were made.
    pub created: u64,
    /// Deployments that were deleted because somebody asked for it.
    pub deleted: u64,
    /// Deployments that were deleted because they had expired.
    pub expired: u64,
    /// Deploy keys that were made.
    pub keys: u64,
}

#[derive(Debug)]
pub(super) struct Project {
    pub(super) id: u64,
    /// Those of deployments that are made.
    pub(super) faults: Vec<Fault>,
    pub(super) counters: PlatformCounters,
    export_time: Duration,
    deployments: BTreeMap<String, (Deployment, RunningSimulator)>,
}

#[derive(Debug, Clone)]
pub(super) struct Deployment {
    name: String,
    identity: CloudIdentity,
    region: String,
    class: String,
    is_default: bool,
    created: Timestamp,
    expires: Option<Timestamp>,
}

/// A deployment that is about to be made.
pub(super) struct Begun {
    pub(super) deployment: Deployment,
    pub(super) simulator: SimulatorConfig,
}

/// A deploy key that is wanted.
pub(super) struct NewKey {
    pub(super) name: String,
    pub(super) operations: Vec<String>,
    pub(super) expires: Option<Timestamp>,
}

impl Project {
    pub(super) fn new(id: u64, faults: Vec<Fault>, export_time: Duration) -> Self {
        let (counters, deployments) = (PlatformCounters::default(), BTreeMap::new());
        Self { id, faults, counters, export_time, deployments }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.deployments.keys().cloned().collect()
    }

    pub(super) fn simulator(&self, name: &str) -> Option<&RunningSimulator> {
        self.deployments.get(name).map(|(_, simulator)| simulator)
    }

    /// Decides what a new deployment is. References are unique within a project.
    pub(super) fn begin(&self, wanted: &CreateDeployment, now: Timestamp) -> Result<Begun, ApiError> {
        let mut others = self.deployments.values();
        let is_taken = wanted.reference.is_some()
            && others.any(|(other, _)| other.identity.reference == wanted.reference);
        if is_taken {
            let message = "A deployment with this reference already exists in the project";
            return Err(ApiError::bad_request("DeploymentReferenceTaken", message));
        }
        let name = self.free_name();
        let deployment_type = wanted.deployment_type.clone();
        let is_default = wanted.is_default.unwrap_or(
            // Without a reference it becomes what people of the project work with.
            wanted.reference.is_none() && matches!(&*deployment_type, "dev" | "prod"),
        );
        let identity = CloudIdentity {
            id: 1000 + self.counters.created,
            project: self.id,
            deployment_type,
            reference: wanted.reference.clone(),
        };
        let key = Secret::new(format!("{}:{name}|{}", identity.deployment_type, secret()));
        let simulator = SimulatorConfig {
            faults: self.faults.clone(),
            export_time: self.export_time,
            cloud: Some(identity.clone()),
            ..SimulatorConfig::new(key)
        };
        let deployment = Deployment {
            name,
            identity,
            region: wanted.region.clone().unwrap_or_else(|| "aws-us-east-1".to_owned()),
            class: wanted.class.clone().unwrap_or_else(|| "s16".to_owned()),
            is_default,
            created: now,
            expires: wanted.expires(now)?,
        };
        Ok(Begun { deployment, simulator })
    }

    fn free_name(&self) -> String {
        loop {
            let of = |words: [&'static str; 8]| words[usize::from(rand::random::<u8>() % 8)];
            let name = format!("{}-{}-{}", of(ADJECTIVES), of(ANIMALS), 100 + rand::random::<u16>() % 900);
            if !self.deployments.contains_key(&name) {
                return name;
            }
        }
    }

    pub(super) fn add(&mut self, deployment: Deployment, simulator: RunningSimulator) -> Value {
        self.counters.created += 1;
        let row = deployment.row(&simulator);
        self.deployments.insert(deployment.name.clone(), (deployment, simulator));
        row
    }

    pub(super) fn rows(&self) -> Vec<Value> {
        self.deployments.values().map(|(deployment, simulator)| deployment.row(simulator)).collect()
    }

    pub(super) fn delete(&mut self, name: &str) -> Option<RunningSimulator> {
        let (_, simulator) = self.deployments.remove(name)?;
        self.counters.deleted += 1;
        Some(simulator)
    }

    /// Takes out what has expired.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Vec<RunningSimulator> {
        let is_over = |_: &String, (deployment, _): &mut (Deployment, RunningSimulator)| {
            deployment.expires.is_some_and(|expires| expires <= now)
        };
        let expired: Vec<_> =
            self.deployments.extract_if(.., is_over).map(|(_, (_, simulator))| simulator).collect();
        self.counters.expired += expired.len() as u64;
        expired
    }

    pub(super) fn take_all(&mut self) -> Vec<RunningSimulator> {
        std::mem::take(&mut self.deployments).into_values().map(|(_, simulator)| simulator).collect()
    }

    pub(super) fn create_key(&mut self, name: &str, wanted: NewKey, now: Timestamp) -> Option<Secret> {
        let (deployment, simulator) = self.deployments.get(name)?;
        let kind = &deployment.identity.deployment_type;
        let key = Secret::new(format!("{kind}:{name}|{}", secret()));
        simulator.deploy_keys().add(DeployKey {
            name: wanted.name,
            key: key.clone(),
            operations: wanted.operations,
            created: now,
            expires: wanted.expires,
        });
        self.counters.keys += 1;
        Some(key)
    }

    pub(super) fn key_rows(&self, name: &str) -> Option<Vec<Value>> {
        let row = |key: DeployKey| {
            json!({
                "id": key.name,
                "name": key.name,
                "creationTime": key.created.as_millisecond(),
                "expiresAt": key.expires.map(Timestamp::as_millisecond),
                "allowedActions": key.operations,
            })
        };
        Some(self.simulator(name)?.deploy_keys().all().into_iter().map(row).collect())
    }
}

impl Deployment {
    fn row(&self, simulator: &RunningSimulator) -> Value {
        json!({
            "kind": "cloud",
            "id": self.identity.id,
            "name": self.name,
            "createTime": self.created.as_millisecond(),
            "deploymentType": self.identity.deployment_type,
            "projectId": self.identity.project,
            "region": self.region,
            "class": self.class,
            "isDefault": self.is_default,
            "reference": self.identity.reference,
            "deploymentUrl": simulator.url(),
            "expiresAt": self.expires.map(Timestamp::as_millisecond),
        })
    }
}

/// The part of a key that nobody else knows.
fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}
