//! What can go wrong between two machines, and gates that let a test order concurrent calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// What happens to the calls it is set for.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is refused; the server sees nothing.
    Refuse,
    /// The call reaches the server this much later.
    Slow(Duration),
    /// The server works at once; its answer arrives this much later.
    SlowAnswer(Duration),
    /// The server sees nothing and the caller hears nothing, ever.
    Hang,
    /// The server does its work and the answer is lost: the caller gets an error.
    DropAnswer,
    /// Something before the server answers with this status and a page.
    Status(u16),
    /// Something before the server answers 200 with bytes that are no protocol at all.
    Garbage,
    /// Something before the server redirects (302).
    Redirect(String),
    /// The call waits at the gate, then reaches the server.
    Gate(Gate),
    /// The server works at once; its answer waits at the gate.
    GateAnswer(Gate),
    /// The fault for the next `n` calls; then as if it had never been set.
    Times(usize, Box<Fault>),
}

impl Fault {
    /// This fault for the next `n` calls only.
    pub fn times(self, n: usize) -> Self {
        Self::Times(n, Box::new(self))
    }

    /// This fault for the next call only.
    pub fn once(self) -> Self {
        self.times(1)
    }
}

/// Holds calls until the test lets them go. Clones are the same gate; it starts closed.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<GateState>>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    /// How many may pass although it is closed.
    passes: usize,
    /// How many have come, whether they passed or wait.
    arrived: usize,
    waiting: usize,
}

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(GateState::default())))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    pub fn close(&self) {
        self.0.send_modify(|state| state.open = false);
    }

    /// Lets one call through, waiting already or the next to come.
    pub fn pass_one(&self) {
        self.0.send_modify(|state| state.passes += 1);
    }

    /// How many calls have come so far.
    pub fn arrived(&self) -> usize {
        self.0.borrow().arrived
    }

    /// How many calls stand before the gate.
    pub fn waiting(&self) -> usize {
        self.0.borrow().waiting
    }

    /// Returns once `n` calls have come in all.
    ///
    /// # Panics
    ///
    /// Where they do not come within a minute.
    pub async fn wait_for_arrivals(&self, n: usize) {
        let mut states = self.0.subscribe();
        let minute = std::time::Duration::from_secs(60);
        let came = tokio::time::timeout(minute, states.wait_for(|state| state.arrived >= n)).await;
        let came = came.map(|state| drop(state.expect("the gate outlives its waiters")));
        assert!(came.is_ok(), "{} of {n} came to the gate", self.arrived());
    }

    /// Returns once the gate stands open.
    pub async fn wait_until_open(&self) {
        let mut states = self.0.subscribe();
        states.wait_for(|state| state.open).await.expect("the gate outlives its waiters");
    }

    /// Where a call waits. A caller that hangs up stops waiting.
    pub async fn wait(&self) {
        self.0.send_modify(|state| {
            state.arrived += 1;
            state.waiting += 1;
        });
        let _leaving = Leaving(self);
        let mut states = self.0.subscribe();
        loop {
            let mut through = false;
            self.0.send_if_modified(|state| {
                through = state.open || state.passes > 0;
                if through && !state.open {
                    state.passes -= 1;
                }
                false
            });
            if through {
                return;
            }
            states.changed().await.expect("the gate outlives its waiters");
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

struct Leaving<'a>(&'a Gate);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.waiting -= 1);
    }
}
