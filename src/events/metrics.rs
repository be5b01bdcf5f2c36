//! Counters, durations and levels for operators, through the facade `metrics` (feature `metrics`). No label names a person or
//! a URL.

use std::future::Future;

use metrics::{counter, gauge, histogram};

use crate::clock::Clock;

/// One more event of this kind, also where its report is left out.
pub(crate) fn count(code: &'static str) {
    counter!("tower_oidc_events_total", "code" => code).increment(1);
}

/// Awaits something, and records how many seconds it took.
pub(crate) async fn timed<F: Future>(clock: &Clock, call: &'static str, work: F) -> F::Output {
    let began = clock.monotonic();
    let done = work.await;
    let took = clock.monotonic().saturating_sub(began);
    histogram!("tower_oidc_call_seconds", "call" => call).record(took);
    done
}

/// How many there are now.
pub(crate) fn level(name: &'static str, value: impl FnOnce() -> usize) {
    gauge!(name).set(value() as f64);
}
