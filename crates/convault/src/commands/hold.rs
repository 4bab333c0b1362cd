//! `convault hold ID`: a snapshot stays whatever retention says, until it is released.

use convault_core::MarkKind;

use super::{
    Surroundings,
    mark::{Word, mark},
};
use crate::{arguments::Hold, exit::Exit};

pub(crate) async fn hold(surroundings: &Surroundings, hold: Hold) -> anyhow::Result<Exit> {
    let kind = if hold.release { MarkKind::Release } else { MarkKind::Hold };
    mark(surroundings, hold.marked, Word { kind, names: Vec::new(), until: hold.until }).await
}
