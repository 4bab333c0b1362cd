//! Stored files, as a deployment lists them and hands them out.

use std::fmt;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{Secret, Sha256, SourceError};

/// One stored file, as the deployment's listing has it.
#[derive(Debug, Clone)]
pub struct FileRow {
    /// The path of its component; empty for the root.
    pub component: String,
    /// The deployment's identifier of that component, where the file's address needs it.
    pub component_id: Option<String>,
    /// The `_storage` id.
    pub id: String,
    /// When it was stored: milliseconds since the Unix epoch, as the number stands in an export.
    pub creation_time: String,
    /// SHA-256 of its content, as the deployment recorded it.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The type given when it was stored.
    pub content_type: Option<String>,
    /// The UUID in its address. A secret: whoever has it can download the file.
    pub internal_id: Secret,
}

impl FileRow {
    /// When it was stored, microseconds since the Unix epoch; `None` where the text is no such number.
    #[expect(clippy::cast_possible_truncation, reason = "a time of these ages fits, and a cast saturates")]
    pub fn created_us(&self) -> Option<i64> {
        let ms: f64 = self.creation_time.parse().ok()?;
        ms.is_finite().then_some((ms * 1e3).round() as i64)
    }

    /// What tells it from every other file of the deployment, for people.
    pub fn shown_id(&self) -> String {
        let slash = if self.component.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.component, self.id)
    }
}

/// A stored file's bytes, as they arrive.
pub struct FileStream {
    /// The announced length in bytes. A stream that ends earlier or later fails with
    /// [`crate::SourceErrorKind::Transit`].
    pub length_bytes: u64,
    /// The bytes; an error ends the stream.
    pub bytes: BoxStream<'static, Result<Bytes, SourceError>>,
}

impl fmt::Debug for FileStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStream").field("length_bytes", &self.length_bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> FileRow {
        FileRow {
            component: "outer/inner".into(),
            component_id: None,
            id: "kg2000820c20a1g7104gm2rc1m70y674".into(),
            creation_time: "1795000000000.5".into(),
            sha256: Sha256::of(b""),
            size_bytes: 0,
            content_type: None,
            internal_id: Secret::new("8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"),
        }
    }

    #[test]
    fn a_row_prints_without_what_downloads_the_file() {
        assert!(!format!("{:?}", row()).contains("8c2d5a4e"), "{:?}", row());
        assert_eq!(row().shown_id(), "outer/inner/kg2000820c20a1g7104gm2rc1m70y674");
    }

    #[test]
    fn the_time_is_in_microseconds() {
        assert_eq!(row().created_us(), Some(1_795_000_000_000_500));
        assert_eq!(FileRow { creation_time: "soon".into(), ..row() }.created_us(), None);
    }
}
