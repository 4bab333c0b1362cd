//! SHA-256 as S3 writes it: base64, and for an object made of parts the digest of the parts' digests.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use convault_core::{Sha256, Sha256Stream};

/// The value of `x-amz-checksum-sha256` for these bytes' digest.
pub(super) fn encode(sha256: &Sha256) -> String {
    BASE64_STANDARD.encode(sha256.0)
}

/// The checksum of an object made of parts with these digests: `base64-count`.
pub(super) fn composite<'a>(parts: impl ExactSizeIterator<Item = &'a Sha256>) -> String {
    let count = parts.len();
    let mut digest = Sha256Stream::new();
    parts.for_each(|part| digest.update(&part.0));
    format!("{}-{count}", encode(&digest.finish()))
}

/// What is known of the parts sent so far, by number.
pub(super) type SentParts = BTreeMap<u32, SentPart>;

#[derive(Debug, Clone)]
pub(super) struct SentPart {
    pub(super) size_bytes: u64,
    pub(super) sha256: Sha256,
    pub(super) etag: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composite_is_the_digest_of_digests_with_the_number_of_parts() {
        let (a, b) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let of_both = Sha256::of(&[a.0, b.0].concat());
        assert_eq!(composite([a, b].iter()), format!("{}-2", encode(&of_both)));
        assert_eq!(encode(&Sha256::of(b"")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
