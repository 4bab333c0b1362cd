//! Stored files as an export has them: their lines in `_storage/documents.jsonl` and the names of their entries.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use convault_core::FileRow;

/// The file's line of `_storage/documents.jsonl`, without line feed, byte for byte as an export has it: keys in the order
/// of the backend's struct, the size an integer, no type as `null`.
pub(crate) fn document(row: &FileRow) -> String {
    let text = |text: &str| serde_json::to_string(text).expect("a text is always JSON");
    format!(
        "{{\"_id\":{},\"_creationTime\":{},\"sha256\":\"{}\",\"size\":{},\"contentType\":{},\"internalId\":{}}}",
        text(&row.id),
        row.creation_time,
        STANDARD.encode(row.sha256.0),
        row.size_bytes,
        row.content_type.as_deref().map_or_else(|| "null".to_owned(), text),
        text(row.internal_id.expose()),
    )
}

/// The folder of a component's entries: `_components/<name>/` for each level of its path.
pub(crate) fn component_prefix(path: &str) -> String {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.map(|name| ["_components/", name, "/"].concat()).collect()
}

/// The name of a stored file's entry. The extension is guessed from the type as the backend guesses it, with the same
/// table; it means nothing, and an import strips it.
pub(crate) fn entry_name(component: &str, id: &str, content_type: Option<&str>) -> String {
    let extension = content_type.and_then(mime2ext::mime2ext);
    let (dot, extension) = extension.map_or(("", ""), |extension| (".", extension));
    format!("{}_storage/{id}{dot}{extension}", component_prefix(component))
}

#[cfg(test)]
mod tests {
    use super::*;
    use convault_core::{Secret, Sha256};

    #[test]
    fn a_line_is_written_as_a_real_backend_writes_it() {
        let row = FileRow {
            component: String::new(),
            component_id: None,
            id: "kg2000820c20a1g7104gm2rc1m70y674".into(),
            creation_time: "1700000000000.0".into(),
            sha256: Sha256::of(b""),
            size_bytes: 0,
            content_type: Some("text/plain".into()),
            internal_id: Secret::new("8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"),
        };
        assert_eq!(
            document(&row),
            r#"{"_id":"kg2000820c20a1g7104gm2rc1m70y674","_creationTime":1700000000000.0,"sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","size":0,"contentType":"text/plain","internalId":"8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"}"#
        );
        let odd = FileRow { content_type: None, ..row };
        assert!(document(&odd).contains(r#""contentType":null,"#));
    }

    #[test]
    fn entries_are_named_as_a_real_backend_names_them() {
        for (content_type, expected) in [
            (Some("image/png"), "_storage/kg2.png"),
            (Some("image/jpeg"), "_storage/kg2.jpeg"),
            (Some("text/plain; charset=utf-8"), "_storage/kg2.txt"),
            (Some("application/octet-stream"), "_storage/kg2.bin"),
            (Some("audio/mpeg"), "_storage/kg2.mpga"),
            (Some("video/quicktime"), "_storage/kg2.qt"),
            (Some("text/javascript"), "_storage/kg2"),
            (Some("IMAGE/PNG"), "_storage/kg2"),
            (Some("application/x-totally-unknown"), "_storage/kg2"),
            (None, "_storage/kg2"),
        ] {
            assert_eq!(entry_name("", "kg2", content_type), expected, "{content_type:?}");
        }
        assert_eq!(entry_name("outer/inner", "a", None), "_components/outer/_components/inner/_storage/a");
    }
}
