//! Random steps, from printed seeds.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use futures::FutureExt as _;
use rand::rngs::StdRng;

use crate::world::{Steps, in_buckets, in_memory, live};

/// After so many failures nobody reads on.
const MOST_FAILURES: usize = 3;

/// The number in an environment variable, so that a nightly test can ask for more and a person for one seed again.
#[expect(clippy::disallowed_methods, reason = "how much is tested is no setting of the program")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Memory,
    Buckets,
}

/// Lives one seed. Gives how many snapshots were downloaded, or what does not hold.
fn live_through(seed: u64, place: Where) -> Result<usize, String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(place == Where::Memory).build().unwrap();
    let steps = Steps::default();
    let ground = async |random: &mut StdRng| match place {
        Where::Memory => in_memory(random),
        Where::Buckets => in_buckets(random).await,
    };
    let lived = live(seed, ground, Arc::clone(&steps));
    let lived = runtime.block_on(AssertUnwindSafe(lived).catch_unwind());
    runtime.shutdown_background();
    let why = match lived {
        Ok(Ok(downloaded)) => return Ok(downloaded),
        Ok(Err(broken)) => broken.0,
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panicked".to_owned()),
    };
    Err(format!("seed {seed}: {why}\n  {}", steps.lock().unwrap().join("\n  ")))
}

/// Lives so many seeds, on all processors. Gives how many snapshots were downloaded.
fn live_through_all(first: u64, seeds: u64, place: Where) -> usize {
    let next = AtomicU64::new(first);
    let downloads = AtomicUsize::new(0);
    let work = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || failures.len() >= MOST_FAILURES {
                return failures;
            }
            match live_through(seed, place) {
                Ok(number) => {
                    downloads.fetch_add(number, Ordering::Relaxed);
                }
                Err(failure) => failures.push(failure),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{place:?}\n{}", failures.join("\n"));
    downloads.into_inner()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure of `tests/shows/never-lost-chaos`")]
fn whatever_happens_in_memory_a_good_copy_is_never_lost() {
    let (first, seeds) = (number("CONVAULT_CHAOS_FIRST_SEED", 1), number("CONVAULT_CHAOS_SEEDS", 60));
    let downloads = live_through_all(first, seeds, Where::Memory);
    println!("figure: {seeds} seeds from {first} in memory, {downloads} downloads compared");
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure of `tests/shows/never-lost-chaos`")]
fn whatever_happens_in_buckets_a_good_copy_is_never_lost() {
    let (first, seeds) = (number("CONVAULT_CHAOS_FIRST_SEED", 1), number("CONVAULT_CHAOS_S3_SEEDS", 2));
    let downloads = live_through_all(first, seeds, Where::Buckets);
    println!("figure: {seeds} seeds from {first} in buckets, {downloads} downloads compared");
}
