//! Makes the surroundings of a job out of settings, and what puts them back.

use std::sync::Arc;

use convault_convex_client::ConnectionSettings;
use convault_core::{Environment, Surrounding, SurroundingName};
use convault_exporter::{
    Code, CommandOutput, CommandSettings, EnvironmentVariables, Files, ProjectDefaults,
    ProjectDefaultsSettings, Repository, RepositorySettings, RetrySettings, ScheduledFunctions,
    VercelSettings, VercelVariables,
};
use convault_restorer::{DeploymentEnvironment, TargetSettings};
use convault_settings::{
    DeploymentSettings, JobSettings, JobSurrounding, RepositoryPlace, Settings, SurroundingSettings,
    SurroundingSource,
};

use super::source_settings;

/// The surroundings of `job`, in the order of its settings. Connects to nothing and starts nothing.
pub(crate) fn surroundings(settings: &Settings, job: &JobSettings) -> Vec<Arc<dyn Surrounding>> {
    let deployment = settings.deployment(&job.deployment).expect("a job's deployment is always there");
    let has_repository = job.surroundings.iter().any(|surrounding| match surrounding {
        JobSurrounding::Named(name) => {
            matches!(named(settings, name).source, SurroundingSource::Repository { .. })
        }
        _ => false,
    });
    let make = |surrounding: &JobSurrounding| -> Arc<dyn Surrounding> {
        let source = source_settings(deployment);
        match surrounding {
            JobSurrounding::Environment => {
                Arc::new(EnvironmentVariables::new(built_in("environment"), source))
            }
            JobSurrounding::ScheduledFunctions => {
                Arc::new(ScheduledFunctions::new(built_in("scheduled-functions"), source))
            }
            JobSurrounding::Code => Arc::new(Code::new(built_in("code"), source, has_repository)),
            JobSurrounding::Named(name) => of_table(named(settings, name), deployment),
        }
    };
    job.surroundings.iter().map(make).collect()
}

/// The environment variables of `deployment`, to be read and put back.
pub(crate) fn environment(deployment: &DeploymentSettings) -> Arc<dyn Environment> {
    Arc::new(DeploymentEnvironment::new(target_settings(deployment)))
}

/// How `deployment` is reached where it is written to.
pub(crate) fn target_settings(deployment: &DeploymentSettings) -> TargetSettings {
    TargetSettings {
        deployment: deployment.name.clone(),
        url: deployment.url.clone(),
        key: deployment.restore_key.as_ref().unwrap_or(&deployment.key).clone(),
        provision_url: deployment.provision_url.clone(),
        connection: ConnectionSettings {
            ca_file: deployment.ca_file.clone(),
            ..ConnectionSettings::default()
        },
    }
}

fn named<'s>(settings: &'s Settings, name: &SurroundingName) -> &'s SurroundingSettings {
    settings.surrounding(name).expect("a surrounding that a job names is always there")
}

fn built_in(name: &str) -> SurroundingName {
    SurroundingName::new(name).expect("the names that every deployment has are names")
}

fn of_table(settings: &SurroundingSettings, deployment: &DeploymentSettings) -> Arc<dyn Surrounding> {
    let (name, required) = (settings.name.clone(), settings.required);
    match settings.source.clone() {
        SurroundingSource::Files(patterns) => Arc::new(Files::new(name, required, patterns)),
        SurroundingSource::Command { command, time_out, max_bytes } => {
            let settings = CommandSettings { command, time_out, max_bytes };
            Arc::new(CommandOutput::new(name, required, settings))
        }
        SurroundingSource::Repository { place, reference, time_out, max_bytes } => {
            let place = match place {
                RepositoryPlace::Path(path) => convault_exporter::RepositoryPlace::Path(path),
                RepositoryPlace::Url(url) => convault_exporter::RepositoryPlace::Url(url),
            };
            let settings = RepositorySettings { place, reference, time_out, max_bytes };
            Arc::new(Repository::new(name, required, settings))
        }
        SurroundingSource::Vercel { project, team, token, targets, url } => {
            let settings = VercelSettings {
                project,
                team,
                token,
                targets,
                url,
                connection: ConnectionSettings::default(),
                retry: RetrySettings::default(),
            };
            Arc::new(VercelVariables::new(name, required, settings))
        }
        SurroundingSource::ProjectDefaults { token, project, url } => {
            let settings = ProjectDefaultsSettings { token, project: project.map(u64::from), url };
            Arc::new(ProjectDefaults::new(name, required, settings, source_settings(deployment)))
        }
    }
}
