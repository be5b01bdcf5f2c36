//! What the layer adds to a request: time, allocations, instructions, store reads, and bytes for each session.
//!
//! ```text
//! cargo bench -p tower-oidc-benches --bench request              everything (minutes: a million sessions, and valgrind)
//! cargo bench -p tower-oidc-benches --bench request -- --quick   up to 10,000 sessions (a minute)
//! ```
//!
//! One GET with 3 cookies and 5 other headers goes through `Service::call` of an axum router, in process and without
//! a socket; building the request is not counted. Times are ratios to the bare router, medians over rounds in which
//! every subject has its turn. Allocations are counted exactly. Instructions are counted by callgrind
//! (`apt-get install valgrind`): the program runs itself under it, once for each subject.
//!
//! It fails where allocations, instructions or store reads exceed their limit, never because of time. To see where a subject
//! spends its instructions:
//!
//! ```text
//! CARGO_PROFILE_BENCH_DEBUG=1 cargo bench -p tower-oidc-benches --bench request --no-run
//! valgrind --tool=callgrind --toggle-collect='*measured*' <the program> --only known:10000
//! callgrind_annotate --inclusive=yes callgrind.out.<pid>
//! ```
//!
//! # Figures
//!
//! axum 0.8, release. The bare router takes about 680 ns, 5,764 instructions and 11 allocations. The table has what each
//! subject adds to that, in one run; the limits are in parentheses. Instructions differ by up to 2 % of the whole from one
//! build to the next.
//!
//! | | × bare | instructions | allocations | store reads |
//! |---|---|---|---|---|
//! | any layer that does nothing | 1.17 | +852 | +2 | 0 |
//! | one extension and its extractor | 1.38 | +1,836 | +4 | 0 |
//! | **anonymous** | 1.46 | +2,104 (2,000) | +2 (2) | 0 |
//! | **signed in**, 100 sessions | 2.04 | +3,929 (4,200) | +3 (5) | 0 |
//! | signed in, 10,000 sessions | 2.31 | +4,307 (4,200) | +3 (5) | 0 |
//! | the same, and the handler asks for a token that the process knows | 3.37 | +7,785 (9,000) | +3 (12) | 0 |
//! | first request of a session in this process | 7.6 | +31,965 | +17 | 1 |
//! | single-user, a visitor | 1.62 | +2,566 (2,500) | +2 (4) | 0 |
//! | stateless: session and 2 KiB of tokens in the cookies | 2.86 | +7,191 (7,500) | +7 (7) | 0 |
//! | the same cookies, and the handler asks for the token | 4.33 | +11,487 (11,291) | +7 (8) | 0 |
//! | the first request with these cookies: both are opened | 33 | +171,816 (170,348) | +111 (119) | 0 |
//!
//! Instructions do not grow with the number of sessions, up to a million. Time grows by cache misses, because each request
//! of this benchmark belongs to another session than the one before. In stateless mode, a process opens each cookie once and
//! computes the names of the rows where a revocation or refresh of it would be noted: 14 µs here (callgrind counts SHA-256
//! without the processor's own instructions for it). Around the router, `auth.layer(app)`, the layer takes about 850 instructions
//! less than as `app.layer(auth)`.
//!
//! What a request is spent on, in instructions, from `callgrind_annotate --inclusive=yes`; each part contains what it calls, and
//! some overlap:
//!
//! | | anonymous | signed in |
//! |---|---|---|
//! | what any layer pays that inserts one extension for an extractor: the map of extensions, which grows, is moved and dropped | 1,861 | 1,861 |
//! | the session in the extensions, and the drop of it | – | 534 |
//! | method, `Sec-Fetch-*`, `Accept` and the names of the cookies | 447 | 649 |
//! | the session by its cookie, whether it lasts, and the clock for that | – | 785 |
//! | `Cache-Control: private, no-store` and `Vary: Cookie` in the response | – | 546 |
//!
//! An anonymous request thus costs 220 instructions more than the extension that tells extractors that the layer is there.
//! A signed-in one would cost 3,300 without the last two lines: without asking the clock whether the session lasts, and without
//! keeping its response out of shared caches.
//!
//! A session takes about 1,590 bytes besides its tokens while this process holds a copy: 730 in the store (its sealed row, its
//! key, and the tags by which a logout finds it), and 860 for the copy that avoids store reads. Copies are bounded, so that with
//! ten million sessions in memory each takes 759 (benchmark `scale`).

#![expect(unreachable_pub, reason = "a program of several files")]

#[path = "support/request_app.rs"]
mod request_app;
#[path = "support/request_report.rs"]
mod request_report;

use std::alloc::System;
use std::collections::HashMap;
use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use request_app::{Batch, Kind, Population, Subject};
use request_report::{Measured, report};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests of a subject before it is measured.
const WARM_UP: usize = 200;
/// Requests of a subject in one round.
const BATCH: usize = 500;
const ROUNDS: usize = 80;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a tokio runtime");
    // Everything is answered at the first poll; the layer's deadlines want a timer to be there all the same.
    let _entered = runtime.enter();
    if let Some(at) = arguments.iter().position(|argument| argument == "--only") {
        let kind = arguments.get(at + 1).and_then(|name| Kind::parse(name));
        once(kind.expect("--only takes the name of a subject, such as known:100"));
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let most = if quick { 10_000 } else { 1_000_000 };
    let kinds: Vec<Kind> = Kind::all().into_iter().filter(|kind| kind.sessions(0) <= most).collect();
    let bytes = bytes_per_session(most);
    let mut measured = in_process(&kinds);
    for subject in &mut measured {
        subject.instructions = instructions(subject.kind);
    }
    if report(&measured, bytes) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What callgrind counts: this function, and what it calls.
#[inline(never)]
fn measured(subject: &mut Subject, requests: Batch) {
    subject.serve(requests);
}

/// One subject, to be run under callgrind.
fn once(kind: Kind) {
    let requests = WARM_UP + BATCH;
    let population = Population::of(kind.sessions(requests));
    let mut subject = Subject::new(kind, &population, requests);
    // One by one, so that the allocator is left as a server leaves it.
    for _ in 0..WARM_UP {
        let request = subject.requests(1);
        subject.serve(request);
    }
    for _ in 0..BATCH {
        let request = subject.requests(1);
        measured(&mut subject, request);
    }
}

/// Time, allocations and store reads.
fn in_process(kinds: &[Kind]) -> Vec<Measured> {
    let requests = WARM_UP + BATCH * (ROUNDS + 1);
    let mut populations: HashMap<usize, Population> = HashMap::new();
    let mut subjects: Vec<Subject> = Vec::new();
    for kind in kinds {
        let count = kind.sessions(requests);
        let population = populations.entry(count).or_insert_with(|| Population::of(count));
        subjects.push(Subject::new(*kind, population, requests));
    }
    let mut results: Vec<Measured> = kinds.iter().map(|kind| Measured::new(*kind)).collect();
    for (subject, result) in subjects.iter_mut().zip(&mut results) {
        let warm_up = subject.requests(WARM_UP);
        subject.serve(warm_up);
        let requests = subject.requests(BATCH);
        let reads = subject.store_reads();
        let region = Region::new(ALLOCATOR);
        measured(subject, requests);
        let change = region.change();
        result.allocations = (change.allocations + change.reallocations) as f64 / BATCH as f64;
        result.store_reads = (subject.store_reads() - reads) as f64 / BATCH as f64;
    }
    for _ in 0..ROUNDS {
        for (subject, result) in subjects.iter_mut().zip(&mut results) {
            let requests = subject.requests(BATCH);
            #[expect(clippy::disallowed_methods, reason = "what is measured is the time")]
            let start = Instant::now();
            measured(subject, requests);
            result.nanoseconds.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
        }
    }
    results
}

/// What one session occupies as the allocator sees it: altogether, and its row in the store.
fn bytes_per_session(count: usize) -> (f64, f64) {
    let region = Region::new(ALLOCATOR);
    let live = || {
        let change = region.change();
        (change.bytes_allocated as f64 - change.bytes_deallocated as f64) / count as f64
    };
    let population = Population::of(count);
    let altogether = live();
    let _store = population.into_store();
    (altogether, live())
}

/// Instructions of one request; `None` where callgrind cannot say.
fn instructions(kind: Kind) -> Option<f64> {
    let out = env::temp_dir().join(format!("tower-oidc-callgrind-{}", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=*measured*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().ok()?)
        .args(["--only", &kind.name()])
        .status();
    let profile = std::fs::read_to_string(&out);
    let _ = std::fs::remove_file(&out);
    if !status.ok()?.success() {
        return None;
    }
    let total = profile.ok()?.lines().find_map(|line| line.strip_prefix("totals: ")?.parse::<f64>().ok());
    Some(total? / BATCH as f64)
}
