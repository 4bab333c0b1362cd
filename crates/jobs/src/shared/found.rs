//! The objects by which a snapshot folder names its shared files, where there is no manifest to tell.

use convault_core::{Layout, ObjectInfo, ObjectRole, ReadBack, Sha256Stream, Store, StoredObject};

use crate::{JobError, read::ObjectReader, shared::refs::RefsReader};

/// The listing and the refs among the objects of a folder, as a manifest names them, each read to its end.
pub(crate) async fn objects_of_files(
    store: &dyn Store,
    folder: &[ObjectInfo],
) -> Result<Vec<StoredObject>, JobError> {
    let mut objects = Vec::new();
    for info in folder {
        let name = info.key.rsplit('/').next().unwrap_or_default();
        let bare = name.strip_suffix(Layout::ENCRYPTED_SUFFIX).unwrap_or(name);
        let role = if bare == Layout::FILES_NAME {
            ObjectRole::Files
        } else if RefsReader::is_refs(&info.key) {
            ObjectRole::Refs
        } else {
            continue;
        };
        let mut reader = ObjectReader::new(store, info.key.clone(), info.size_bytes);
        let mut sha256 = Sha256Stream::new();
        while let Some(piece) = reader.next().await? {
            sha256.update(&piece);
        }
        reader.check_length()?;
        objects.push(StoredObject {
            name: name.to_owned(),
            role,
            size_bytes: info.size_bytes,
            sha256: sha256.finish(),
            read_back: ReadBack::Data,
            store_tag: info.etag.clone(),
        });
    }
    Ok(objects)
}
