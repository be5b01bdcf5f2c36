//! What comes when nothing fails any more.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use super::world::{Faults, Rules, Step, World};

/// More steps than any continuation has.
const MOST: usize = 400;

/// Worlds without faults that are known to end well.
#[derive(Default)]
pub(super) struct Calm {
    known: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Calm {
    /// Nothing fails from here on, and one more request comes to every process: each gets a token or is told truly why
    /// not, in whichever order the processes are scheduled.
    pub(super) fn ends_well(&self, world: &World, rules: Rules) -> bool {
        let mut calm = world.clone();
        calm.faults = Faults::default();
        calm.store_is_back();
        calm.late_swaps.clear();
        calm.late_asks.clear();
        calm.replicas.iter_mut().for_each(|replica| (replica.requests, replica.frozen) = (1, false));
        [false, true].into_iter().all(|reversed| self.goes_well(calm.clone(), rules, reversed))
    }

    fn goes_well(&self, mut world: World, rules: Rules, reversed: bool) -> bool {
        let untrue = world.broken.untrue;
        let mut seen = Vec::new();
        for _ in 0..MOST {
            let id = self.hasher.hash_one((&world, reversed));
            if self.known.lock().unwrap().contains(&id) {
                break;
            }
            seen.push(id);
            let mut steps = Vec::new();
            world.steps(rules, &mut steps);
            let mut of_processes = steps.iter().filter(|step| **step != Step::Tick);
            let step = if reversed { of_processes.next_back() } else { of_processes.next() };
            let Some(step) = step.or(steps.last()) else {
                // Everybody has landed.
                let served = world.row.is_none_or(|row| row.over || row.stale & 1 == 0 || row.token == 0);
                if !served || world.flights().next().is_some() {
                    return false;
                }
                break;
            };
            world = world.after(*step, rules);
            if world.broken.untrue && !untrue {
                return false;
            }
        }
        let ends = seen.len() < MOST;
        if ends {
            self.known.lock().unwrap().extend(seen);
        }
        ends
    }
}
