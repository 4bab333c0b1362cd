//! The environment variables of a project at Vercel.

use std::collections::BTreeMap;

use async_trait::async_trait;
use convault_convex_client::{ClientError, ConnectionSettings, Url, Vercel, VercelVariable};
use convault_core::{
    Collect, NotCovered, Secret, Surrounding, SurroundingError, SurroundingErrorKind, SurroundingKind,
    SurroundingName,
};
use serde::Serialize;

use super::errors::{Errors, kind};
use super::gaps::Gaps;
use super::project_defaults::plain;
use super::variables::{pretty, put, put_variables};
use crate::backoff::retrying;
use crate::settings::RetrySettings;

/// A page that leads nowhere new must not be followed for ever.
const MAX_PAGES: usize = 1_000;
/// What nobody can read, not even Vercel's own dashboard.
const SENSITIVE: &str = "sensitive";

/// The environment variables of a project at Vercel: below each target (`production`, `preview`, `development`,
/// `environments/<id>` for custom ones, `branches/<name>` for those of a branch's previews) `variables.env` and
/// `variables.json`, and in `project.json` every variable with its type and targets, for setting them again.
#[derive(Debug)]
pub struct VercelVariables {
    settings: VercelSettings,
    required: bool,
    errors: Errors,
}

/// Which project, and how it is reached.
#[derive(Debug, Clone)]
pub struct VercelSettings {
    /// The project's id or name.
    pub project: String,
    /// The team's id (`team_…`) or slug; `None` for a personal account.
    pub team: Option<String>,
    /// An access token.
    pub token: Secret,
    /// `production`, `preview`, `development` or ids of custom environments; `None` for all.
    pub targets: Option<Vec<String>>,
    /// Where Vercel's API is.
    pub url: Url,
    /// Time limits and certificates.
    pub connection: ConnectionSettings,
    /// How failed requests are repeated.
    pub retry: RetrySettings,
}

/// A variable as `project.json` has it.
#[derive(Serialize)]
struct Described<'a> {
    key: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    target: &'a [String],
    #[serde(rename = "gitBranch", skip_serializing_if = "Option::is_none")]
    git_branch: Option<&'a str>,
    #[serde(rename = "customEnvironmentIds", skip_serializing_if = "<[_]>::is_empty")]
    custom_environment_ids: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
}

type Valued = (VercelVariable, Option<Secret>);

impl VercelVariables {
    /// Those of a project, called `name`. Nothing is sent.
    pub fn new(name: SurroundingName, required: bool, settings: VercelSettings) -> Self {
        Self { settings, required, errors: Errors::new(name) }
    }

    fn failed(&self, undone: &str, error: ClientError) -> SurroundingError {
        let kind = kind(&error);
        let remedy = match kind {
            SurroundingErrorKind::Permission => {
                "the token is refused; give one that may read this project and has not expired or been revoked"
            }
            SurroundingErrorKind::NotFound => {
                "there is no such project for this token; check `project` and `team`"
            }
            SurroundingErrorKind::Transient => "it did not answer as it should; try again later",
            _ => "it refuses this",
        };
        self.errors.caused(kind, format!("{undone}: {remedy}"), error)
    }

    async fn listed(&self, vercel: &Vercel) -> Result<Vec<VercelVariable>, SurroundingError> {
        let undone = "cannot list the project's variables";
        let mut listed = Vec::new();
        let mut from: Option<String> = None;
        for _page in 0..MAX_PAGES {
            let page = retrying(&self.settings.retry, || vercel.variables(from.as_deref()));
            let page = page.await.map_err(|error| self.failed(undone, error))?;
            listed.extend(page.variables);
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(listed),
            }
        }
        Err(self.errors.error(SurroundingErrorKind::Limit, format!("{undone}: the pages do not end")))
    }

    fn is_wanted(&self, variable: &VercelVariable) -> bool {
        let mut own = variable.target.iter().chain(&variable.custom_environment_ids);
        self.settings.targets.as_ref().is_none_or(|wanted| own.any(|target| wanted.contains(target)))
    }

    /// The value of one variable, or a line about why there is none.
    async fn value(
        &self,
        vercel: &Vercel,
        variable: &VercelVariable,
        taker: &mut dyn Collect,
        gaps: &mut Gaps,
    ) -> Result<Option<Secret>, SurroundingError> {
        let what = format!("{} variable {} ({})", self.name(), variable.key, folders(variable).join(", "));
        let shown_to_nobody =
            "Vercel shows the value of a sensitive variable to nobody; keep it elsewhere too";
        let answer = match variable.kind.as_str() {
            SENSITIVE => Ok(None),
            _ => retrying(&self.settings.retry, || vercel.value(&variable.id)).await,
        };
        match answer {
            Ok(Some(value)) => return Ok(Some(value)),
            // It was removed since the list was read.
            Err(error) if error.status() == Some(404) => return Ok(None),
            Ok(None) => gaps.inherent(what, shown_to_nobody),
            Err(error) => {
                taker.unread(&variable.key);
                gaps.missed(what, self.failed("cannot read the value", error))?;
            }
        }
        taker.unread(&variable.key);
        Ok(None)
    }
}

#[async_trait]
impl Surrounding for VercelVariables {
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
        let VercelSettings { project, team, token, url, connection, .. } = &self.settings;
        let vercel = Vercel::new(url.clone(), token, project, team.as_deref(), connection)
            .map_err(|error| self.failed("cannot set up the connection", error))?;
        let mut gaps = Gaps::new(self.required);
        let mut variables: Vec<Valued> = Vec::new();
        for variable in self.listed(&vercel).await?.into_iter().filter(|one| self.is_wanted(one)) {
            let value = self.value(&vercel, &variable, taker, &mut gaps).await?;
            variables.push((variable, value));
        }
        variables.sort_by(|(a, _), (b, _)| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        put(taker, "project.json", &pretty(&described(&variables))).await?;
        for (folder, set) in by_folder(&variables) {
            put_variables(taker, &format!("{folder}/"), &set).await?;
        }
        Ok(gaps.into_noted())
    }
}

fn described(variables: &[Valued]) -> Vec<Described<'_>> {
    let describe = |(variable, value)| {
        let (variable, value): (&VercelVariable, &Option<Secret>) = (variable, value);
        Described {
            key: &variable.key,
            kind: &variable.kind,
            target: &variable.target,
            git_branch: variable.git_branch.as_deref(),
            custom_environment_ids: &variable.custom_environment_ids,
            comment: variable.comment.as_deref(),
            value: value.as_ref().map(Secret::expose),
        }
    };
    variables.iter().map(|(variable, value)| describe((variable, value))).collect()
}

fn by_folder(variables: &[Valued]) -> BTreeMap<String, BTreeMap<String, Secret>> {
    let mut sets: BTreeMap<String, BTreeMap<String, Secret>> = BTreeMap::new();
    for (variable, value) in variables {
        let Some(value) = value else { continue };
        for folder in folders(variable) {
            sets.entry(folder).or_default().insert(variable.key.clone(), value.clone());
        }
    }
    sets
}

/// The folders that a variable goes to. One for a branch's previews is not one for all previews.
fn folders(variable: &VercelVariable) -> Vec<String> {
    let of_target = |target: &String| match &variable.git_branch {
        Some(branch) => format!("branches/{}", plain(branch)),
        None => plain(target),
    };
    let custom = variable.custom_environment_ids.iter().map(|id| format!("environments/{}", plain(id)));
    variable.target.iter().map(of_target).chain(custom).collect()
}
