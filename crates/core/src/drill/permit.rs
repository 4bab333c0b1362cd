//! Which deployment a drill may write to. Told by who it says it is and what it holds, never by its address: two
//! addresses may lead to one deployment.

use serde::{Deserialize, Serialize};

use crate::{DeploymentName, RunId, TargetContents, TargetIdentity, drill::SCRATCH_VARIABLE};

/// Why a drill may write to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillRight {
    /// This drill has made it.
    Made,
    /// It is wholly empty.
    Empty,
    /// It is marked as a scratch deployment of this repository.
    Marked,
}

/// What is known of the deployment that a drill would write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchFacts {
    /// Who it says it is.
    pub identity: TargetIdentity,
    /// Whether this drill has made it.
    pub made: bool,
    /// What it holds.
    pub contents: TargetContents,
    /// The value of [`SCRATCH_VARIABLE`] there; `None` where there is none, or it could not be read.
    pub mark: Option<String>,
}

/// A deployment of the settings, which no drill may write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSource {
    /// Its name in the settings.
    pub name: DeploymentName,
    /// What is known of it.
    pub identity: SourceIdentity,
}

/// What is known of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceIdentity {
    /// It was asked, with its own key, just now.
    Asked {
        /// Who it says it is.
        identity: TargetIdentity,
        /// The value of [`SCRATCH_VARIABLE`] there; `Err` where its key may not read it.
        mark: Result<Option<String>, ()>,
        /// Whether it holds nothing; `None` where that could not be asked.
        is_empty: Option<bool>,
    },
    /// It could not be asked: what the newest manifest calls it.
    Recorded {
        /// The name it gave itself then.
        instance: String,
    },
    /// It could not be asked, and nothing is stored of it.
    Unknown {
        /// Why it could not be asked.
        why: String,
    },
}

/// Why a deployment is not written to. `Display` says what is the matter and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MayNotDrill {
    /// It is a source.
    #[error(
        "{target} is the deployment {source_name} of the settings, under whatever address: nothing is ever restored over a \
         source by a drill. Nothing was touched; give `into` a deployment of its own"
    )]
    IsSource {
        /// What it calls itself.
        target: String,
        /// Which source.
        source_name: DeploymentName,
    },
    /// It may be a source.
    #[error(
        "{target} may be the deployment {source_name} of the settings: both call themselves `{target}`, and {why}. Nothing \
         was touched. Give the scratch deployment another name (INSTANCE_NAME, where it is self-hosted); or, while it is \
         empty, mark it: `convault drill NAME --prepare`"
    )]
    MayBeSource {
        /// What it calls itself.
        target: String,
        /// Which source.
        source_name: DeploymentName,
        /// Why they cannot be told apart.
        why: &'static str,
    },
    /// A source cannot be told from it, since nobody knows what the source calls itself.
    #[error(
        "what the deployment {source_name} of the settings calls itself is not known ({why}), so that {target} could be \
         it. Nothing was touched; try again when {source_name} answers, or has a snapshot"
    )]
    UnknownSource {
        /// What the target calls itself.
        target: String,
        /// Which source.
        source_name: DeploymentName,
        /// Why it could not be asked.
        why: String,
    },
    /// It holds something, and is not marked.
    #[error(
        "{target} holds {holds} and does not carry {SCRATCH_VARIABLE}={repository}{found}. Nothing was touched. If all of \
         that may be lost, mark it: `convault drill NAME --prepare --replace {target}`"
    )]
    NotEmpty {
        /// What it calls itself.
        target: String,
        /// What it holds.
        holds: String,
        /// The mark that it should carry.
        repository: RunId,
        /// Another mark that it carries, in words.
        found: String,
    },
}

/// Why a drill may write to a deployment, or why it may not. `repository` is that of the snapshot.
pub fn may_drill_into(
    scratch: &ScratchFacts,
    repository: &RunId,
    sources: &[KnownSource],
) -> Result<DrillRight, MayNotDrill> {
    let is_marked = scratch.mark.as_deref() == Some(repository.as_str());
    for source in sources {
        tell_apart(scratch, source, |mark, _| match mark {
            _ if !is_marked => Err("the mark that would tell them apart is not there"),
            Err(()) => Err("the source's own key may not read whether the source carries the same mark"),
            Ok(Some(mark)) if Some(mark) == scratch.mark.as_ref() => {
                Err("the source carries the same mark, so that they are one")
            }
            Ok(_) => Ok(()),
        })?;
    }
    let is_empty = scratch.contents.is_empty();
    match (scratch.made, is_marked, is_empty) {
        (true, _, true) => Ok(DrillRight::Made),
        (_, true, _) => Ok(DrillRight::Marked),
        (_, _, true) => Ok(DrillRight::Empty),
        _ => Err(not_empty(scratch, repository)),
    }
}

/// Whether a deployment may be marked as a scratch deployment. What it holds is lost in the first drill, so that whoever
/// marks one that holds something says its name: `replace`.
pub fn may_prepare(
    scratch: &ScratchFacts,
    repository: &RunId,
    sources: &[KnownSource],
    replace: Option<&str>,
) -> Result<(), MayNotDrill> {
    let is_empty = scratch.contents.is_empty();
    for source in sources {
        // What holds nothing is not what holds something.
        tell_apart(scratch, source, |_, source_is_empty| match source_is_empty {
            _ if !is_empty => Err("it is not empty"),
            Some(false) => Ok(()),
            Some(true) => Err("both are empty"),
            None => Err("whether the source is empty could not be asked"),
        })?;
    }
    let is_named = replace == Some(scratch.identity.instance.as_str());
    if is_empty || is_named { Ok(()) } else { Err(not_empty(scratch, repository)) }
}

/// Makes sure that the scratch deployment is not `source`. Where both have one name and not both have a number,
/// `differs` decides, by the source's mark and by whether it is empty.
fn tell_apart(
    scratch: &ScratchFacts,
    source: &KnownSource,
    differs: impl Fn(Result<Option<&String>, ()>, Option<bool>) -> Result<(), &'static str>,
) -> Result<(), MayNotDrill> {
    let target = scratch.identity.instance.clone();
    let source_name = source.name.clone();
    let may_be =
        |why| MayNotDrill::MayBeSource { target: target.clone(), source_name: source_name.clone(), why };
    match &source.identity {
        SourceIdentity::Unknown { why } => {
            Err(MayNotDrill::UnknownSource { target, source_name, why: why.clone() })
        }
        SourceIdentity::Recorded { instance } if *instance == target => {
            Err(may_be("the source does not answer, so that it cannot be asked"))
        }
        SourceIdentity::Recorded { .. } => Ok(()),
        SourceIdentity::Asked { identity, .. } if !scratch.identity.may_be(identity) => Ok(()),
        SourceIdentity::Asked { identity, .. }
            if identity.number.is_some() && identity.number == scratch.identity.number =>
        {
            Err(MayNotDrill::IsSource { target, source_name })
        }
        SourceIdentity::Asked { mark, is_empty, .. } => {
            let mark = match mark {
                Ok(mark) => Ok(mark.as_ref()),
                Err(()) => Err(()),
            };
            differs(mark, *is_empty).map_err(may_be)
        }
    }
}

fn not_empty(scratch: &ScratchFacts, repository: &RunId) -> MayNotDrill {
    let components = scratch.contents.components.values();
    let (mut documents, mut files) = (0, 0);
    for component in components {
        documents += component.tables.values().sum::<u64>();
        files += component.files;
    }
    let found = scratch.mark.as_ref().map_or(String::new(), |_| " (it is marked for another one)".to_owned());
    MayNotDrill::NotEmpty {
        target: scratch.identity.instance.clone(),
        holds: format!("{documents} documents and {files} stored files"),
        repository: repository.clone(),
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ComponentContents;

    fn repository() -> RunId {
        RunId::parse("20261122T030056Z-700000").unwrap()
    }

    fn identity(instance: &str, number: Option<u64>, url: &str) -> TargetIdentity {
        TargetIdentity {
            instance: instance.to_owned(),
            number,
            deployment_type: None,
            url: url.to_owned(),
            server_version: "1".to_owned(),
        }
    }

    fn full() -> TargetContents {
        let root = ComponentContents { tables: [("t".to_owned(), 3)].into(), files: 1 };
        TargetContents { components: [(String::new(), root)].into() }
    }

    fn scratch(instance: &str, contents: TargetContents, mark: Option<&str>) -> ScratchFacts {
        let identity = identity(instance, None, "http://scratch");
        ScratchFacts { identity, made: false, contents, mark: mark.map(str::to_owned) }
    }

    fn source(identity: SourceIdentity) -> Vec<KnownSource> {
        vec![KnownSource { name: DeploymentName::new("crm").unwrap(), identity }]
    }

    fn asked(instance: &str, mark: Result<Option<String>, ()>, is_empty: Option<bool>) -> Vec<KnownSource> {
        let identity = identity(instance, None, "http://source");
        source(SourceIdentity::Asked { identity, mark, is_empty })
    }

    #[test]
    fn an_empty_or_marked_deployment_of_another_name_may_be_drilled_into() {
        let others = asked("production", Ok(None), Some(false));
        let empty = scratch("drill", TargetContents::default(), None);
        assert_eq!(may_drill_into(&empty, &repository(), &others), Ok(DrillRight::Empty));
        let marked = scratch("drill", full(), Some("20261122T030056Z-700000"));
        assert_eq!(may_drill_into(&marked, &repository(), &others), Ok(DrillRight::Marked));
        let made = ScratchFacts { made: true, ..empty };
        assert_eq!(may_drill_into(&made, &repository(), &others), Ok(DrillRight::Made));
    }

    #[test]
    fn what_holds_something_and_carries_no_mark_of_this_repository_is_refused() {
        let others = asked("production", Ok(None), Some(false));
        for mark in [None, Some("20250101T000000Z-000000"), Some("")] {
            let foreign = scratch("drill", full(), mark);
            let refused = may_drill_into(&foreign, &repository(), &others).unwrap_err();
            assert!(matches!(refused, MayNotDrill::NotEmpty { .. }), "{refused}");
            assert!(refused.to_string().contains("3 documents and 1 stored files"), "{refused}");
        }
        let made_and_full = ScratchFacts { made: true, ..scratch("drill", full(), None) };
        assert!(may_drill_into(&made_and_full, &repository(), &others).is_err());
    }

    #[test]
    fn an_alias_of_a_source_is_refused_whatever_it_carries() {
        let one = |url: &str| identity("happy-animal-123", Some(7), url);
        let sources = source(SourceIdentity::Asked {
            identity: one("https://happy-animal-123.convex.cloud"),
            mark: Ok(None),
            is_empty: Some(false),
        });
        let facts = ScratchFacts {
            identity: one("https://data.example.com"),
            made: true,
            contents: TargetContents::default(),
            mark: Some("20261122T030056Z-700000".to_owned()),
        };
        let refused = may_drill_into(&facts, &repository(), &sources).unwrap_err();
        assert!(matches!(refused, MayNotDrill::IsSource { .. }), "{refused}");
        assert!(may_prepare(&facts, &repository(), &sources, None).is_err());
    }

    #[test]
    fn two_of_one_name_are_told_apart_by_a_mark_that_only_the_scratch_one_carries() {
        let repository = repository();
        let mark = Some("20261122T030056Z-700000");
        let marked = scratch("convex-self-hosted", full(), mark);
        let without = asked("convex-self-hosted", Ok(None), Some(false));
        assert_eq!(may_drill_into(&marked, &repository, &without), Ok(DrillRight::Marked));
        let same = asked("convex-self-hosted", Ok(mark.map(str::to_owned)), Some(false));
        assert!(may_drill_into(&marked, &repository, &same).is_err(), "it is the source itself");
        let silent = asked("convex-self-hosted", Err(()), Some(false));
        assert!(may_drill_into(&marked, &repository, &silent).is_err());
        let empty = scratch("convex-self-hosted", TargetContents::default(), None);
        let refused = may_drill_into(&empty, &repository, &without).unwrap_err();
        assert!(refused.to_string().contains("INSTANCE_NAME"), "{refused}");
        assert!(refused.to_string().contains("--prepare"), "{refused}");
    }

    #[test]
    fn a_source_that_does_not_answer_is_known_by_its_newest_manifest() {
        let recorded = |instance: &str| source(SourceIdentity::Recorded { instance: instance.to_owned() });
        let empty = scratch("drill", TargetContents::default(), None);
        assert_eq!(may_drill_into(&empty, &repository(), &recorded("production")), Ok(DrillRight::Empty));
        assert!(may_drill_into(&empty, &repository(), &recorded("drill")).is_err());
        let unknown = source(SourceIdentity::Unknown { why: "it does not answer".to_owned() });
        assert!(may_drill_into(&empty, &repository(), &unknown).is_err());
    }

    #[test]
    fn only_what_cannot_be_a_source_is_marked() {
        let repository = repository();
        let others = asked("production", Ok(None), Some(false));
        let full_one = scratch("drill", full(), None);
        assert!(may_prepare(&full_one, &repository, &others, None).is_err());
        assert!(may_prepare(&full_one, &repository, &others, Some("production")).is_err());
        assert_eq!(may_prepare(&full_one, &repository, &others, Some("drill")), Ok(()));
        // Of two with one name, the one that holds nothing is not the one that holds something.
        let empty = scratch("production", TargetContents::default(), None);
        assert_eq!(may_prepare(&empty, &repository, &others, None), Ok(()));
        for is_empty in [Some(true), None] {
            let sources = asked("production", Ok(None), is_empty);
            assert!(may_prepare(&empty, &repository, &sources, None).is_err());
        }
        let same = scratch("production", full(), None);
        assert!(may_prepare(&same, &repository, &others, Some("production")).is_err());
    }
}
