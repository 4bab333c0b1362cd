//! Every stored file of a snapshot, as files in a folder.

use tokio::io::AsyncWriteExt as _;

use super::outlet::failed;
use crate::{Content, JobError, Outlet, RunContext, StoredFile, Written, recover::file_place};

/// Writes every stored file into a folder that appears once it is whole: `_storage/<id>.<ending>`, of a component
/// `<component>._storage/…`. One that could not be fetched when the snapshot was made is left out, and told.
pub async fn files_to_folder(
    content: &Content<'_>,
    mut outlet: Outlet,
    context: &RunContext,
) -> Result<Written, JobError> {
    let (mut files, mut missing) = (0, 0_u64);
    content
        .each_file(async |component, file| {
            if file.is_missing() {
                missing += 1;
                return Ok(());
            }
            files += 1;
            write_file(component, file, &mut outlet, context).await
        })
        .await?;
    if missing > 0 {
        context.warning(format!("{missing} stored file(s) could not be fetched when the snapshot was made"));
    }
    Ok(Written { path: outlet.publish()?, documents: 0, files })
}

/// Writes one stored file under the name that it has in an export.
pub(crate) async fn write_file(
    component: &str,
    mut file: StoredFile<'_>,
    outlet: &mut Outlet,
    context: &RunContext,
) -> Result<(), JobError> {
    let name = file.name.rsplit('/').next().unwrap_or_default();
    let (made, path) = outlet.create(&file_place(component, name))?;
    let mut made = tokio::fs::File::from_std(made);
    while let Some(piece) = context.or_stop(file.next()).await?? {
        made.write_all(&piece).await.map_err(failed(&path, "cannot write"))?;
    }
    made.flush().await.map_err(failed(&path, "cannot write"))?;
    made.sync_all().await.map_err(failed(&path, "cannot write"))
}
