//! Deployed code and configuration.

use async_trait::async_trait;
use convault_convex_client::{ClientError, ComponentRow, Deployment};
use convault_core::{
    Collect, EntryDetails, NotCovered, Surrounding, SurroundingError, SurroundingErrorKind, SurroundingKind,
    SurroundingName,
};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::component::{folder, id};
use super::config_stream::{ConfigStream, Event};
use super::errors::Errors;
use super::gaps::Gaps;
use super::variables::{pretty, put};
use crate::backoff::retrying;
use crate::settings::DeploymentSettings;

/// A deployment's code and configuration, as its server has them.
///
/// For the whole deployment: `components.json`, `auth.json`, `urls.json`, `version.json`; the bundled modules of the
/// root component in `modules/`, each with its source map beside it (`.map`), what they are in `modules.json`, their
/// hashes in `hashes.json` and the configuration in `config.json`. For each component, below `_components/<name>/` as
/// in an export: `schema.json`, `indexes.json`, `functions.json`.
#[derive(Debug)]
pub struct Code {
    settings: DeploymentSettings,
    has_repository: bool,
    errors: Errors,
}

/// The entry of a module, for `modules.json`.
#[derive(Debug, Serialize)]
struct ModuleEntry {
    path: String,
    environment: Option<String>,
    /// Where its source is; its source map, where it has one, is there too with `.map` behind.
    entry: String,
}

impl Code {
    /// That of the deployment that `settings` reach, called `name`. `has_repository`: whether the source itself is
    /// stored too, so that a loss can be made good. Nothing is sent.
    pub fn new(name: SurroundingName, settings: DeploymentSettings, has_repository: bool) -> Self {
        Self { settings, has_repository, errors: Errors::new(name) }
    }

    /// Stores the answer to `call` as `path`, or says in `gaps` why there is none.
    async fn answer<F>(
        &self,
        taker: &mut dyn Collect,
        gaps: &mut Gaps,
        path: &str,
        call: impl FnMut() -> F + Send,
    ) -> Result<(), SurroundingError>
    where
        F: Future<Output = Result<Box<RawValue>, ClientError>> + Send,
    {
        match retrying(&self.settings.retry, call).await {
            Ok(json) => put(taker, path, json.get().as_bytes()).await,
            Err(error) => {
                let error = self.errors.failed("it cannot be read", error);
                gaps.missed(format!("code: {path}"), error)
            }
        }
    }

    /// What the dashboard shows to everybody who may view data.
    async fn shown(
        &self,
        deployment: &Deployment,
        taker: &mut dyn Collect,
        gaps: &mut Gaps,
    ) -> Result<(), SurroundingError> {
        let components = retrying(&self.settings.retry, || deployment.components()).await;
        let components =
            components.map_err(|error| self.errors.failed("cannot list the components", error))?;
        self.answer(taker, gaps, "components.json", || deployment.component_list()).await?;
        self.answer(taker, gaps, "auth.json", || deployment.auth_providers()).await?;
        self.answer(taker, gaps, "urls.json", || deployment.canonical_urls()).await?;
        self.answer(taker, gaps, "version.json", || deployment.pushed_with()).await?;
        for component in &components {
            let below = folder(component);
            let id = id(component);
            self.schemas(deployment, component, taker, gaps).await?;
            let path = format!("{below}indexes.json");
            self.answer(taker, gaps, &path, || deployment.indexes(id)).await?;
            let path = format!("{below}functions.json");
            self.answer(taker, gaps, &path, || deployment.functions(id)).await?;
        }
        if !self.has_repository && components.len() > 1 {
            gaps.inherent("code of components", "the server gives the modules of the root component only");
        }
        Ok(())
    }

    /// The schema as it is, and one that is being checked beside it: each is JSON within a string.
    async fn schemas(
        &self,
        deployment: &Deployment,
        component: &ComponentRow,
        taker: &mut dyn Collect,
        gaps: &mut Gaps,
    ) -> Result<(), SurroundingError> {
        let below = folder(component);
        let answer = retrying(&self.settings.retry, || deployment.schemas(id(component))).await;
        let schemas =
            answer.map_err(|error| self.errors.failed("it cannot be read", error)).and_then(|json| {
                serde_json::from_str::<Schemas>(json.get()).map_err(|_| {
                    self.errors.error(SurroundingErrorKind::Other, "the answer is not that of a schema")
                })
            });
        let schemas = match schemas {
            Ok(schemas) => schemas,
            Err(error) => return gaps.missed(format!("code: {below}schema.json"), error),
        };
        for (path, schema) in
            [("schema.json", schemas.active), ("schema-in-progress.json", schemas.in_progress)]
        {
            if let Some(schema) = schema {
                put(taker, &format!("{below}{path}"), schema.as_bytes()).await?;
            }
        }
        Ok(())
    }

    /// What only a key that may deploy can read.
    async fn bundled(
        &self,
        deployment: &Deployment,
        taker: &mut dyn Collect,
    ) -> Result<(), SurroundingError> {
        let hashes = retrying(&self.settings.retry, || deployment.config_hashes()).await;
        let hashes = hashes.map_err(|error| self.errors.failed("cannot read the modules", error))?;
        put(taker, "hashes.json", hashes.get().as_bytes()).await?;
        let answer = retrying(&self.settings.retry, || deployment.config()).await;
        let mut answer = answer.map_err(|error| self.errors.failed("cannot read the modules", error))?;
        let mut stream = ConfigStream::new();
        let mut modules = Vec::new();
        let odd = |problem| {
            let message = format!("the modules are not what a server sends: {problem}; check its version");
            self.errors.error(SurroundingErrorKind::Other, message)
        };
        while let Some(bytes) = answer.next().await {
            let bytes = bytes.map_err(|error| self.errors.failed("the modules broke off", error))?;
            for event in stream.feed(&bytes).map_err(odd)? {
                take(event, &mut modules, taker).await?;
            }
        }
        put(taker, "config.json", &stream.finish().map_err(odd)?).await?;
        put(taker, "modules.json", &pretty(&modules)).await
    }
}

#[async_trait]
impl Surrounding for Code {
    fn name(&self) -> &SurroundingName {
        self.errors.surrounding()
    }

    fn kind(&self) -> SurroundingKind {
        SurroundingKind::State
    }

    fn is_required(&self) -> bool {
        false
    }

    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError> {
        let deployment = self.errors.connected(&self.settings).await?;
        let mut gaps = Gaps::new(false);
        let shown = self.shown(&deployment, taker, &mut gaps).await;
        if shown.as_ref().is_err_and(|error| error.kind == SurroundingErrorKind::Taker) {
            return shown.map(|()| Vec::new());
        }
        let bundled = self.bundled(&deployment, taker).await;
        outcome(shown, bundled, &mut gaps)?;
        if !self.has_repository {
            gaps.inherent("code", "only bundled output; cannot be pushed back");
        }
        Ok(gaps.into_noted())
    }
}

/// The errors of both halves: one is a gap, two are a failure.
fn outcome(
    shown: Result<(), SurroundingError>,
    bundled: Result<(), SurroundingError>,
    gaps: &mut Gaps,
) -> Result<(), SurroundingError> {
    let what_shown = "code: schemas, indexes, functions, authentication, components and addresses";
    let what_bundled = "code: modules with source maps, configuration and hashes";
    match (shown, bundled) {
        (Ok(()), Ok(())) => Ok(()),
        (_, Err(error)) if error.kind == SurroundingErrorKind::Taker => Err(error),
        (Err(error), Err(_)) => Err(error),
        (Err(error), Ok(())) => gaps.missed(what_shown, error),
        (Ok(()), Err(error)) => gaps.missed(what_bundled, error),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schemas {
    #[serde(default)]
    active: Option<String>,
    #[serde(default)]
    in_progress: Option<String>,
}

async fn take(
    event: Event,
    modules: &mut Vec<ModuleEntry>,
    taker: &mut dyn Collect,
) -> Result<(), SurroundingError> {
    match event {
        Event::Source(path) => taker.begin(&entry_of(&path, modules.len()), EntryDetails::default()).await,
        Event::Map(path) => {
            let entry = format!("{}.map", entry_of(&path, modules.len()));
            taker.begin(&entry, EntryDetails::default()).await
        }
        Event::Bytes(bytes) => taker.write(&bytes).await,
        Event::Module { path, environment } => {
            let entry = entry_of(&path, modules.len());
            modules.push(ModuleEntry { path, environment, entry });
            Ok(())
        }
    }
}

/// Where the source of a module goes. A path that could lead out of the folder gets a number instead.
fn entry_of(path: &str, number: usize) -> String {
    let plain = |name: &str| !matches!(name, "" | "." | "..");
    let strange = path.contains('\\') || path.chars().any(char::is_control);
    if !strange && path.split('/').all(plain) {
        format!("modules/{path}")
    } else {
        format!("modules/unnamed-{number}")
    }
}

#[cfg(test)]
mod tests {
    use super::entry_of;

    #[test]
    fn no_module_leaves_its_folder() {
        assert_eq!(entry_of("a/b.js", 3), "modules/a/b.js");
        for path in ["../a.js", "/a.js", "a//b.js", "", "a\\b.js"] {
            assert_eq!(entry_of(path, 3), "modules/unnamed-3");
        }
    }
}
