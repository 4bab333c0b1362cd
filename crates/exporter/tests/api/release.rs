//! Letting an export expire.

use convault_core::{Clock as _, Export, Release, Source as _, SystemClock};

use crate::fake::{Answer, Fake, OURS, denied, error, ok, source};

fn export(adopted: bool) -> Export {
    Export { id: OURS.to_owned(), snapshot_ts_ns: 0, size_bytes: None, include_files: true, adopted }
}

#[tokio::test]
async fn our_export_expires_31_days_ago() {
    let fake = Fake::start(|call| if call.nth == 0 { error(503, "Busy") } else { ok() }).await;
    let before = SystemClock.now().as_nanosecond();
    assert_eq!(fake.source().release(&export(false)).await, Release::ExpirySet);
    let body: serde_json::Value = serde_json::from_str(&fake.bodies("expire gg2ours")[1]).unwrap();
    let expires = i128::from(body["expirationTsNs"].as_u64().unwrap());
    let days = (before - expires) / 86_400_000_000_000;
    assert!((30..=31).contains(&days), "{days}");
}

#[tokio::test]
async fn the_expiry_of_somebody_elses_export_is_left_alone() {
    let fake = Fake::start(|_| ok()).await;
    assert_eq!(fake.source().release(&export(true)).await, Release::Kept("somebody else asked for it"));
    let mut settings = fake.settings();
    settings.expire_exports = false;
    assert!(matches!(source(settings).release(&export(false)).await, Release::Kept(_)));
    assert!(fake.names().is_empty());
}

#[tokio::test]
async fn a_refusal_says_why_and_what_to_do() {
    let cases: [(Answer, &str); 3] = [
        (|| denied("deployment:backups:delete"), "lacks the permission `deployment:backups:delete`"),
        (|| error(404, ""), "older than 2025-05-12"),
        (|| error(500, "InternalServerError"), "HTTP 500"),
    ];
    for (answer, words) in cases {
        let fake = Fake::start(move |_| answer()).await;
        let Release::Refused(reason) = fake.source().release(&export(false)).await else {
            panic!("not refused")
        };
        assert!(reason.contains(words) && reason.contains(OURS), "{reason}");
    }
}
