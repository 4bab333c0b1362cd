//! The front end's side: the environment variables of a project at Vercel, over its REST API.

use convault_core::Secret;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ClientError;
use crate::http::{ConnectionSettings, Http, Service};

const LIST: &str = "list project variables";
const GET: &str = "get project variable";

/// An environment variable of a project, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VercelVariable {
    /// Its id. Several variables may have one name, for different targets.
    pub id: String,
    /// Its name.
    pub key: String,
    /// `encrypted`, `plain`, `system`, `secret`, or `sensitive`, whose value is shown to nobody.
    #[serde(rename = "type")]
    pub kind: String,
    /// `production`, `preview`, `development`.
    #[serde(default, deserialize_with = "one_or_several")]
    pub target: Vec<String>,
    /// The branch that it is for; previews only.
    #[serde(default)]
    pub git_branch: Option<String>,
    /// The ids of the custom environments that it is for.
    #[serde(default)]
    pub custom_environment_ids: Vec<String>,
    /// What somebody noted.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A page of a project's variables.
#[derive(Debug)]
pub struct VercelPage {
    /// Its variables.
    pub variables: Vec<VercelVariable>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// One project at Vercel.
#[derive(Debug, Clone)]
pub struct Vercel {
    http: Http,
    project: String,
    team: Option<String>,
}

impl Vercel {
    /// Prepares to talk to Vercel's API at `url` about `project` (id or name) of `team` (id or slug; `None` for a
    /// personal account). Nothing is sent.
    pub fn new(
        url: Url,
        token: &Secret,
        project: &str,
        team: Option<&str>,
        settings: &ConnectionSettings,
    ) -> Result<Self, ClientError> {
        let http = Http::new(url, Service::Vercel, token, settings)?;
        Ok(Self { http, project: project.to_owned(), team: team.map(str::to_owned) })
    }

    /// A page of the project's variables, those of all targets.
    pub async fn variables(&self, from: Option<&str>) -> Result<VercelPage, ClientError> {
        let mut url = self.url("v10", None);
        if let Some(from) = from {
            url.query_pairs_mut().append_pair("until", from);
        }
        let list: List = self.http.json(LIST, self.http.request(Method::GET, url)).await?;
        let next = list.pagination.and_then(|pagination| pagination.next);
        let next = next.map(|next| next.get().trim_matches('"').to_owned());
        Ok(VercelPage { variables: list.envs, next: next.filter(|next| next != "null") })
    }

    /// The value of a variable; `None` where Vercel does not decrypt it.
    pub async fn value(&self, id: &str) -> Result<Option<Secret>, ClientError> {
        let request = self.http.request(Method::GET, self.url("v1", Some(id)));
        let found: Found = self.http.json(GET, request).await?;
        Ok(found.value.filter(|_| found.decrypted).map(Secret::new))
    }

    fn url(&self, version: &str, variable: Option<&str>) -> Url {
        let mut url = self.http.url(&[version, "projects", &self.project, "env"]);
        if let (Some(variable), Ok(mut path)) = (variable, url.path_segments_mut()) {
            path.push(variable);
        }
        if let Some(team) = &self.team {
            let parameter = if team.starts_with("team_") { "teamId" } else { "slug" };
            url.query_pairs_mut().append_pair(parameter, team);
        }
        url
    }
}

#[derive(Deserialize)]
struct List {
    envs: Vec<VercelVariable>,
    #[serde(default)]
    pagination: Option<Pagination>,
}

/// `next` is a time, a number that goes back as it came.
#[derive(Deserialize)]
struct Pagination {
    #[serde(default)]
    next: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    decrypted: bool,
    #[serde(default)]
    value: Option<String>,
}

/// A target alone, several in a list, or none.
fn one_or_several<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Targets {
        One(String),
        Several(Vec<String>),
        None(()),
    }
    Ok(match Targets::deserialize(deserializer)? {
        Targets::One(target) => vec![target],
        Targets::Several(targets) => targets,
        Targets::None(()) => Vec::new(),
    })
}
