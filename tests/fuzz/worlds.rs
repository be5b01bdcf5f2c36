//! A world for each target, and the rules that hold for every input.

use std::cell::RefCell;
use std::panic;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::targets::{TARGETS, Target};
use crate::world::World;

/// Longer than this is a way to stop a server.
const MOMENT: Duration = Duration::from_secs(5);
/// Inputs after which everything begins anew.
const WORN: usize = 40;

/// What came of the inputs of one target.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) inputs: usize,
    /// Those after which alice was signed in, or a token came: the others were refused.
    pub(crate) accepted: usize,
    pub(crate) slowest: Duration,
}

/// A world for each target, renewed from time to time.
pub(crate) struct Worlds {
    runtime: tokio::runtime::Runtime,
    worlds: Vec<Option<(World, usize)>>,
    pub(crate) tallies: Vec<Tally>,
}

thread_local!(static PANIC: RefCell<Option<String>> = const { RefCell::new(None) });

impl Worlds {
    pub(crate) fn new() -> Self {
        // Deadlines of the layer pass at once.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let before = panic::take_hook();
        // A task of the layer that panics is heard of here alone.
        panic::set_hook(Box::new(move |info| {
            PANIC.set(Some(info.to_string()));
            before(info);
        }));
        let (worlds, tallies) = TARGETS.iter().map(|_| (None, Tally::default())).unzip();
        Self { runtime: runtime.expect("a runtime"), worlds, tallies }
    }

    /// Runs one input.
    ///
    /// # Panics
    ///
    /// Where something is not as it must be.
    pub(crate) fn run(&mut self, target: &'static Target, mut dice: Dice) {
        PANIC.take();
        let at = TARGETS.iter().position(|one| one.name == target.name).expect("one of them");
        let (mut world, used) = match self.worlds[at].take() {
            Some((world, used)) if used < WORN => (world, used),
            _ => (self.runtime.block_on(World::new(target.mode)), 0),
        };
        let start = Instant::now();
        let accepted = self.runtime.block_on((target.run)(&mut world, &mut dice));
        let took = start.elapsed();
        if let Some(panic) = PANIC.take() {
            panic!("something panicked: {panic}");
        }
        assert!(took < MOMENT, "it took {took:?}");
        let tally = &mut self.tallies[at];
        tally.inputs += 1;
        tally.accepted += usize::from(accepted);
        tally.slowest = tally.slowest.max(took);
        self.worlds[at] = Some((world, used + 1));
    }
}
