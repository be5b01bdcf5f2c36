//! The cost of each store: time for a look-up and a write, and bytes for a session and a grant.
//!
//! ```text
//! cargo bench -p tower-oidc-benches --bench stores              100,000 sessions and grants (minutes)
//! cargo bench -p tower-oidc-benches --bench stores -- --quick   5,000
//! ```
//!
//! The benchmark starts and stops the database servers on this machine; each write waits for the disk.
//! Times are ratios to a round trip of the database's own client, and for writes also to its smallest write: they show the
//! part that the crate adds. They are medians over rounds in which each has its turn. Calls run one after the other.
//!
//! # Figures
//!
//! With 100,000 sessions and grants, on one machine:
//!
//! | store | round trip | look-up | smallest write | write | bytes a session | bytes a grant |
//! |---|---|---|---|---|---|---|
//! | memory | – | 1.6 µs | – | 0.7 µs | 1,301 | 2,341 |
//! | SQLite | 21 µs | × 1.80 | 165 µs | × 1.46 | 1,180 | 4,169 |
//! | PostgreSQL | 80 µs | × 1.50 | 243 µs | × 1.50 | 1,171 | 2,975 |
//! | Redis | 75 µs | × 1.08 | 233 µs | × 1.34 | 1,516 | 2,314 |

#![expect(unreachable_pub, reason = "a program of several files")]

#[path = "support/store_subjects.rs"]
mod subjects;

use std::alloc::System;
use std::env;
use std::time::Instant;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tower_oidc::Timestamp;
use tower_oidc::store::{Key, Record, Tag};

use subjects::Subject;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What they take sealed: a session with a few claims and its ID token, a grant with tokens of common sizes.
const SESSION: usize = 700;
const GRANT: usize = 2_000;
/// How often each has its turn.
const ROUNDS: usize = 25;
const READS: usize = 40;
const WRITES: usize = 8;

fn main() {
    let quick = env::args().any(|argument| argument == "--quick");
    let count = if quick { 5_000 } else { 100_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a tokio runtime").block_on(async {
        println!("{count} sessions of {SESSION} bytes and grants of {GRANT} bytes\n");
        println!("| store | round trip | look-up | smallest write | write | bytes a session | bytes a grant |");
        println!("|---|---|---|---|---|---|---|");
        for start in subjects::ALL {
            if let Some(subject) = start(ALLOCATOR).await {
                println!("{}", measured(subject, count).await);
            }
        }
    });
}

async fn measured(subject: Subject, count: u64) -> String {
    let empty = subject.client.bytes().await;
    fill(&subject, Kind::Session, count).await;
    let with_sessions = subject.client.bytes().await;
    fill(&subject, Kind::Grant, count).await;
    let with_grants = subject.client.bytes().await;
    let mut rounds = Rounds::default();
    for round in 0..ROUNDS {
        rounds.run(&subject, count, round as u64).await;
    }
    let each = |bytes: u64| bytes as f64 / count as f64;
    format!(
        "| {} | {} | {} | {:.0} | {:.0} |",
        subject.name,
        against(&rounds.load, &rounds.ask),
        against(&rounds.swap, &rounds.write),
        each(with_sessions.saturating_sub(empty)),
        each(with_grants.saturating_sub(with_sessions)),
    )
}

/// The base and the ratio to it; the time itself where there is nothing to compare with.
fn against(of: &[f64], base: &[f64]) -> String {
    match median(base) {
        nothing if nothing < 1.0 => format!("– | {:.1} µs", median(of)),
        base_time => format!("{base_time:.0} µs | × {:.2}", ratio(of, base)),
    }
}

/// Microseconds of one call, for each round.
#[derive(Default)]
struct Rounds {
    ask: Vec<f64>,
    load: Vec<f64>,
    write: Vec<f64>,
    swap: Vec<f64>,
}

impl Rounds {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    async fn run(&mut self, subject: &Subject, count: u64, round: u64) {
        let (client, store) = (&subject.client, &subject.store);
        let began = Instant::now();
        for _ in 0..READS {
            client.ask().await;
        }
        self.ask.push(each(began, READS));
        let began = Instant::now();
        for read in 0..READS as u64 {
            let found = store.load(key(Kind::Session, spread(round * 1_000 + read) % count)).await;
            assert!(found.expect("the store works").is_some());
        }
        self.load.push(each(began, READS));
        let began = Instant::now();
        for _ in 0..WRITES {
            client.write().await;
        }
        self.write.push(each(began, WRITES));
        let mut rows = Vec::new();
        for write in 0..WRITES as u64 {
            let key = key(Kind::Grant, spread(round * 1_000 + write) % count);
            rows.push((key, store.load(key).await.expect("the store works").expect("it is there")));
        }
        let began = Instant::now();
        for (key, stored) in rows {
            let written = store.swap(key, Some(stored.version), stored.record).await;
            assert!(written.expect("the store works").is_some());
        }
        self.swap.push(each(began, WRITES));
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Session,
    Grant,
}

/// As if hashed.
fn key(kind: Kind, number: u64) -> Key {
    let mut key = [0; 32];
    for (part, bytes) in key.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&spread(number * 8 + part as u64 * 2 + kind as u64).to_be_bytes());
    }
    Key(key)
}

/// A number for a number, far from that of its neighbours (the finaliser of SplitMix64).
fn spread(number: u64) -> u64 {
    let mixed = (number.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

async fn fill(subject: &Subject, kind: Kind, count: u64) {
    for first in (0..count).step_by(1_000) {
        let rows = (first..count.min(first + 1_000)).map(|number| (key(kind, number), record(kind, number)));
        subject.client.fill(rows.collect()).await;
    }
}

fn record(kind: Kind, number: u64) -> Record {
    let (size, tags) = match kind {
        Kind::Session => {
            let tag = |name| Tag(key(Kind::Session, u64::MAX / 16 - name).0);
            (SESSION, vec![tag(number), tag(number + (1 << 40))])
        }
        Kind::Grant => (GRANT, Vec::new()),
    };
    // What is sealed looks like noise.
    let bytes: Vec<u8> = (0..size as u64 / 8 + 1)
        .flat_map(|word| spread(number << 20 | word << 1 | kind as u64).to_be_bytes())
        .take(size)
        .collect();
    Record { bytes: bytes.into(), expires_at: Timestamp::from_secs(4_000_000_000 + number), tags }
}

fn each(began: Instant, calls: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / calls as f64
}

fn ratio(of: &[f64], to: &[f64]) -> f64 {
    median(&of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
