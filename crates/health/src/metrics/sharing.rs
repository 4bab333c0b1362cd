//! What is known of the sharing of work with other daemons. A daemon that shares none says nothing here.

use std::fmt::Error;

use convault_core::{CoordinationStatus, Status};

use super::{Labels, Out, number};

pub(super) fn write(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let shared = status.coordination.as_ref();
    let help = "Leases that this daemon holds; absent where it shares no work.";
    let leases = shared.map(|shared| (labels(shared), number(shared.held.len() as u64)));
    out.gauges("leases_held", None, help, leases)?;
    let help = "Leases lost since the daemon started; absent where it shares no work.";
    out.counters("lease_lost", None, help, shared.map(|shared| (labels(shared), shared.lost)))?;
    let help = "Runs left to another daemon since this one started; absent where it shares no work.";
    out.counters(
        "runs_left_to_others",
        None,
        help,
        shared.map(|shared| (labels(shared), shared.left_to_others)),
    )
}

fn labels(shared: &CoordinationStatus) -> Labels<'_> {
    vec![("destination", shared.destination.as_str())]
}
