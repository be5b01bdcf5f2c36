//! Chance that can be had again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// xorshift.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Of `TOWER_OIDC_SEED`, or another in each run; it is printed.
    pub(super) fn new(what: &str) -> Self {
        let given = std::env::var("TOWER_OIDC_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_micros();
        let seed = given.unwrap_or_else(|| u64::try_from(now()).expect("not for ages"));
        println!("{what}: TOWER_OIDC_SEED={seed}");
        Self(seed).another(0)
    }

    /// Others of the same seed.
    pub(super) fn another(&self, number: u64) -> Self {
        // Never zero, where xorshift stands still.
        Self((self.0 ^ 0x9e37_79b9_7f4a_7c15).wrapping_add(number).wrapping_mul(0x5851_f42d_4c95_7f2d) | 1)
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % sides as u64).expect("below its sides")
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.roll(usize::try_from(to - from).expect("small")) as u64)
    }
}
