//! `convault accept ID`: a person looked at a suspect snapshot; it counts as good from now on.

use convault_core::MarkKind;

use super::{
    Surroundings,
    mark::{Word, mark},
};
use crate::{arguments::Accept, exit::Exit};

pub(crate) async fn accept(surroundings: &Surroundings, accept: Accept) -> anyhow::Result<Exit> {
    let word = Word { kind: MarkKind::Accept, names: accept.damaged, until: None };
    mark(surroundings, accept.marked, word).await
}
