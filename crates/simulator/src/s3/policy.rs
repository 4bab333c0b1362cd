//! What a pair of keys may do.

use std::{collections::BTreeMap, sync::Arc};

use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

use super::state::State;

/// What the holder of a pair of keys may do, as a bucket policy would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum S3Policy {
    /// Everything.
    Full,
    /// Everything but deleting objects and versions, and lifting locks.
    AppendOnly,
    /// The same, and of the objects that hold data (`.zip`, `.zst`, `.age`) not even the size can be read.
    WriteOnly,
    /// Reading and listing, older versions too.
    ReadOnly,
}

/// The ends of the keys of objects that hold data.
const DATA: [&str; 3] = [".zip", ".zst", ".age"];

impl S3Policy {
    fn allows(self, operation: &str, key: Option<&str>) -> bool {
        let deletes = matches!(operation, "DeleteObject" | "DeleteObjects");
        let reads = matches!(operation, "GetObject" | "HeadObject");
        let is_data = key.is_some_and(|key| DATA.iter().any(|end| key.ends_with(end)));
        match self {
            Self::Full => true,
            Self::AppendOnly => !deletes,
            Self::WriteOnly => !(deletes || reads && is_data),
            Self::ReadOnly => {
                ["Get", "Head", "List"].iter().any(|beginning| operation.starts_with(beginning))
            }
        }
    }
}

/// Decides about each request before it is looked at.
pub(super) struct Access {
    pub(super) policies: BTreeMap<String, S3Policy>,
    pub(super) state: Arc<State>,
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = cx.credentials() else {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        };
        let policy = self.policies.get(&credentials.access_key).copied().unwrap_or(S3Policy::Full);
        let key = cx.s3_path().as_object().map(|(_, key)| key);
        let bypasses = cx.headers().contains_key("x-amz-bypass-governance-retention");
        if (policy == S3Policy::Full || !bypasses) && policy.allows(cx.s3_op().name(), key) {
            return Ok(());
        }
        self.state.counters.count_denied();
        Err(s3_error!(AccessDenied, "the policy of these keys does not allow this"))
    }
}
