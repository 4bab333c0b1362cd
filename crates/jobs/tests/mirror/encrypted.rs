//! A mirror that only those can read who have a private key.

use std::sync::Arc;

use convault_archive::{
    NamesKey,
    encryption::{Identities, Recipients, generate},
};
use convault_core::MirrorVerdict;
use convault_jobs::{Encryption, JobError, MirrorState};
use convault_uploader::MemoryOperation;

use crate::bench::Bench;

fn encrypted() -> Bench {
    let mut bench = Bench::new();
    let (public, secret) = generate();
    let recipients = Recipients::parse([public]).unwrap();
    bench.mirror.destination.encryption =
        Some(Arc::new(Encryption { recipients, names: NamesKey::generate() }));
    bench.identities = Some(Identities::parse(&secret).unwrap());
    bench
}

#[tokio::test]
async fn without_a_key_nothing_is_told_and_with_one_all_comes_back() {
    let mut bench = encrypted();
    bench.put_many(40).await;
    bench.put("secret-lesson.mp4", vec![1_u8; (11 << 20) + 5]).await;
    let first = bench.objects();
    bench.run().await;
    let then = convault_core::Clock::now(&bench.clock);
    bench.clock.advance_hours(1);
    bench.put("courses/00003.jpg", "a changed picture").await;
    let gets = bench.source.calls(MemoryOperation::Get);
    assert_eq!(bench.run().await.run.verdict, MirrorVerdict::Complete);
    assert_eq!(bench.source.calls(MemoryOperation::Get) - gets, 1, "no key is needed to go on");
    assert!(bench.restored(Some(then)).await == first);
    assert!(bench.restored(None).await == bench.objects());
    for key in bench.destination.keys() {
        let body = bench.destination.contents(&key).unwrap();
        let tells = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
        assert!(!key.contains("lesson") && !key.contains("courses"), "{key}");
        assert!(!tells(b"picture") && !tells(b"lesson") && !tells(b"courses"), "{key}");
    }
}

#[tokio::test]
async fn without_an_identity_a_state_is_not_opened() {
    let mut bench = encrypted();
    bench.put_many(3).await;
    bench.run().await;
    let state = MirrorState::as_of(&bench.mirror.destination, &bench.mirror.name, None, None).await;
    assert!(matches!(state, Err(JobError::Encrypted { .. })));
}

#[tokio::test]
async fn other_recipients_get_everything_anew() {
    let mut bench = encrypted();
    bench.put_many(20).await;
    bench.run().await;
    let before = bench.stored("objects/").len();
    let other = encrypted();
    bench.mirror.destination.encryption = other.mirror.destination.encryption.clone();
    bench.identities = other.identities;
    let done = bench.run().await;
    assert_eq!((done.run.tally.added, done.warnings.len()), (20, 1));
    assert_eq!(bench.stored("objects/").len(), before * 2);
    assert!(bench.restored(None).await == bench.objects());
}
