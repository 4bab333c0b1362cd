//! Collects the shared files of a stored snapshot once more, for the present recipients of its destination.

use std::sync::Arc;

use convault_core::StoredObject;

use crate::{
    JobError,
    anew::Anew,
    prepare::Ready,
    shared::{
        book::Collected,
        collect::{Collection, Pace},
        kept::KeptFiles,
        lock::FileLock,
    },
    survey::survey,
};

/// Stores each file of the old snapshot under the name that it has for the present recipients, unless it is there
/// already, with the list and the refs of the new one. Gives those.
pub(crate) async fn collect_again(anew: &Anew<'_>) -> Result<Vec<StoredObject>, JobError> {
    let (destination, context) = (anew.destination, anew.context);
    let old = anew.old();
    let source = KeptFiles::of(Arc::clone(&destination.store), old, anew.identities);
    let ready = Ready {
        destination: destination.clone(),
        repository: old.repository.clone(),
        survey: survey(destination, &old.deployment, &[], context.clock.now()).await?,
        plan: None,
    };
    let lock = anew.lock().await?;
    let lock = lock.and_then(|lock| FileLock::until(lock, destination, context.clock.now()));
    let pace =
        Pace { upload_memory_bytes: anew.rules.upload_memory_bytes, stall_limit: anew.rules.stall_limit };
    let mut files = Collection::begin(pace, &source, vec![(&ready, lock)], context).await?;
    let through = async {
        files.before_export().await?;
        files.after_export(old.snapshot_ts_ns).await?;
        match files.failed().pop() {
            Some((_, why)) => Err(JobError::AllDestinationsFailed(why)),
            None => Ok(()),
        }
    };
    if let Err(error) = through.await {
        files.abort().await;
        return Err(error);
    }
    let mut collected = files.close().await?;
    let listings = std::mem::take(&mut collected.listings);
    let mut objects = Vec::new();
    for (_, listing) in listings {
        objects.push(anew.finish(listing).await?);
    }
    objects.extend(collected.refs_of(&ready));
    is_whole(anew, &collected)?;
    for why in collected.not_locked() {
        context.warning(why.clone());
    }
    collected.check_not_condemned().await?;
    Ok(objects)
}

/// What the old snapshot has, the new one has: a file that was lost since is no file that was never there.
fn is_whole(anew: &Anew<'_>, collected: &Collected) -> Result<(), JobError> {
    let (old, totals) = (anew.old(), &collected.counts.totals);
    let has = (totals.files - totals.missing, totals.file_bytes);
    if has == (old.totals.files, old.totals.file_bytes) {
        return Ok(());
    }
    let place = format!("{} {} {}", anew.destination.store.location(), old.deployment, old.id);
    let lost: Vec<String> =
        collected.counts.missing.iter().map(|file| format!("{} ({})", file.id, file.why)).collect();
    let what = format!(
        "{} of its {} shared files can be read; these cannot: {}; `convault repair` it first",
        has.0,
        old.totals.files,
        lost.join(", ")
    );
    Err(JobError::Damaged { place, what })
}
