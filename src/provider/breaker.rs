//! Whether a provider is asked to refresh tokens, or left alone because it is away: a pure decision.

use std::time::Duration;

/// When the refreshes of so many grants fail...
const GRANTS: usize = 3;
/// ...within this time, and nothing succeeds between them, the provider is away.
const WITHIN: Duration = Duration::from_secs(10);
/// Then one grant at a time asks, so long after the one before...
const PAUSE: Duration = Duration::from_secs(2);
/// ...and a little longer after each, up to four times...
const LONGER: Duration = Duration::from_millis(50);
/// ...or as long as the provider says. What it says to a few is no reason to keep everybody away for longer than this.
const LONGEST: Duration = Duration::from_secs(60);
/// So long one that has asked in this round leaves its turn to others.
const TURN: Duration = Duration::from_millis(200);
/// The most grants of a round that are remembered.
const ROUND: usize = 64;
/// A grant that asks for longer than this stands still, and another one asks.
const LOST: Duration = Duration::from_secs(30);

/// A circuit breaker for the refreshes at one provider. Moments are readings of a monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Breaker<K> {
    /// The grants whose refreshes have failed since the last success, and when.
    Closed(Vec<(K, Duration)>),
    /// The provider is away.
    Open {
        /// When it may be asked again.
        until: Duration,
        /// How often it was asked since.
        times: u32,
        /// Who asks at this moment, and since when.
        probe: Option<(K, Duration)>,
        /// Who has asked in this round.
        round: Vec<K>,
    },
}

impl<K: Copy + PartialEq> Breaker<K> {
    pub(crate) const fn new() -> Self {
        Self::Closed(Vec::new())
    }

    /// Whether this grant may be refreshed now; otherwise for how long not.
    pub(crate) fn admit(&mut self, grant: K, now: Duration) -> Result<(), Duration> {
        let Self::Open { until, probe, round, .. } = self else { return Ok(()) };
        if probe.is_some_and(|(_, since)| now < since + LOST) {
            return Err(PAUSE);
        }
        let has_asked = round.contains(&grant);
        let from = if has_asked { *until + TURN } else { *until };
        if now < from {
            return Err(from - now);
        }
        if has_asked || round.len() == ROUND {
            round.clear();
        }
        round.push(grant);
        *probe = Some((grant, now));
        Ok(())
    }

    /// A refresh that was admitted is over. `failed`: the provider is away for this grant, and asks to be left alone for
    /// so long. `spread` moves the pauses of processes apart.
    pub(crate) fn ended(&mut self, grant: K, failed: Option<Duration>, now: Duration, spread: u8) {
        let own = PAUSE + Duration::from_millis(spread.into());
        let asked = failed.unwrap_or_default().min(LONGEST);
        match self {
            Self::Closed(grants) if failed.is_some() => {
                grants.retain(|(other, at)| *other != grant && now.saturating_sub(*at) <= WITHIN);
                grants.push((grant, now));
                if grants.len() == GRANTS {
                    *self = Self::Open { until: now + own.max(asked), times: 0, probe: None, round: Vec::new() };
                }
            }
            Self::Open { until, times, probe, .. } if probe.is_some_and(|(probe, _)| probe == grant) => {
                *until = now + (own + LONGER * (*times).min(4)).max(asked);
                (*times, *probe) = (times.saturating_add(1), None);
            }
            Self::Closed(_) | Self::Open { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const SECOND: Duration = Duration::from_secs(1);
    /// Longer than any pause, so that one that should be over is.
    const STEP: Duration = Duration::from_secs(3);

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A refresh of this grant begins, if it may.
        Begin(u8),
        /// It ends: it fails, nothing comes of it, or it works.
        Fail(u8),
        GiveUp(u8),
        Succeed(u8),
        Pass,
    }

    /// The same rules, told in another way.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    struct World {
        now: Duration,
        running: Vec<u8>,
        /// Every failure since the last success, within ten seconds.
        failures: Vec<(u8, Duration)>,
        /// Since when the provider is away, or the last who asked has heard nothing good.
        away: Option<Duration>,
        asking: Option<(u8, Duration)>,
    }

    impl World {
        fn begin(&mut self, grant: u8, breaker: &mut Breaker<u8>) {
            let admitted = breaker.admit(grant, self.now).is_ok();
            let asking = self.asking.filter(|(_, since)| self.now < *since + 10 * STEP);
            // One at a time, not at once, and whoever comes within three seconds.
            let expected = self.away.is_none_or(|since| self.now >= since + STEP && asking.is_none());
            assert_eq!(admitted, expected, "{grant} in {self:?}");
            if admitted {
                self.running.push(grant);
                self.running.sort_unstable();
                self.asking = self.away.map(|_| (grant, self.now));
            }
        }

        fn end(&mut self, grant: u8, failed: bool, breaker: &mut Breaker<u8>) {
            breaker.ended(grant, failed.then_some(Duration::ZERO), self.now, 255);
            if self.asking.is_some_and(|(asking, _)| asking == grant) {
                (self.asking, self.away) = (None, Some(self.now));
            } else if failed && self.away.is_none() {
                self.failures.push((grant, self.now));
                self.failures.retain(|(_, at)| self.now - *at <= WITHIN);
                let grants: HashSet<u8> = self.failures.iter().map(|(grant, _)| *grant).collect();
                self.away = (grants.len() >= 3).then_some(self.now);
            }
            let is_open = matches!(breaker, Breaker::Open { .. });
            assert_eq!(is_open, self.away.is_some(), "{grant} in {self:?}");
        }

        fn run(&mut self, breaker: &mut Breaker<u8>, step: Step) {
            match step {
                Step::Pass => self.now += STEP,
                Step::Begin(grant) => self.begin(grant, breaker),
                Step::Fail(grant) | Step::GiveUp(grant) | Step::Succeed(grant) => {
                    self.running.retain(|other| *other != grant);
                    if matches!(step, Step::Succeed(_)) {
                        *breaker = Breaker::new();
                        (self.failures, self.away, self.asking) = (Vec::new(), None, None);
                    }
                    self.end(grant, matches!(step, Step::Fail(_)), breaker);
                }
            }
        }
    }

    /// Every way in which the refreshes of four grants can go, as far as the provider's going away, being asked again and
    /// coming back.
    #[test]
    fn every_sequence_keeps_the_rules() {
        let all_running = World { now: STEP, running: vec![0, 1, 2, 3], ..World::default() };
        let mut states = HashSet::from([(all_running, Breaker::new())]);
        let (mut seen, mut away, mut back) = (0, 0, 0);
        for _ in 0..8 {
            let mut next = HashSet::new();
            for (world, breaker) in &states {
                let begins = (0..4).filter(|grant| !world.running.contains(grant)).map(Step::Begin);
                let ends = world.running.iter().copied();
                let ends = ends.flat_map(|grant| [Step::Fail(grant), Step::GiveUp(grant), Step::Succeed(grant)]);
                for step in begins.chain(ends).chain([Step::Pass]) {
                    let (mut later, mut breaker) = (world.clone(), breaker.clone());
                    later.run(&mut breaker, step);
                    away += usize::from(later.asking.is_some());
                    back += usize::from(world.asking.is_some() && later.away.is_none());
                    next.insert((later, breaker));
                }
            }
            seen += next.len();
            states = next;
        }
        assert!(seen > 10_000 && away > 100 && back > 10, "{seen}, {away} asked, {back} came back");
    }

    /// It is away: three grants have failed at the second 100.
    fn away(asked: Duration) -> Breaker<u8> {
        let mut breaker = Breaker::new();
        for (grant, opens) in [(7, false), (7, false), (8, false), (9, true)] {
            breaker.ended(grant, Some(asked), 100 * SECOND, 0);
            assert_eq!(matches!(breaker, Breaker::Open { .. }), opens, "{grant}");
        }
        breaker
    }

    #[test]
    fn grants_take_turns_and_pauses_grow() {
        let mut breaker = away(Duration::ZERO);
        let mut now = 102 * SECOND;
        assert_eq!(breaker.admit(1, now - SECOND), Err(SECOND));
        for (grant, others, pause) in [(1, [2, 3], 2000), (2, [1, 3], 2050), (3, [1, 2], 2100)] {
            assert_eq!(breaker.admit(grant, now), Ok(()), "{grant}");
            assert!(others.into_iter().all(|other| breaker.admit(other, now).is_err()), "one at a time");
            breaker.ended(grant, Some(Duration::ZERO), now, 0);
            now += Duration::from_millis(pause);
            assert_eq!(breaker.admit(grant, now), Err(TURN), "{grant} had its turn");
        }
        // Everybody had: whoever comes first begins the next round.
        assert_eq!(breaker.admit(2, now + TURN), Ok(()));
    }

    #[test]
    fn spread_and_retry_after_lengthen_a_pause_and_not_for_ever() {
        for (asked, spread, pause) in [(0, 255, 2255), (1, 0, 2000), (30, 0, 30_000), (3600, 0, 60_000)] {
            let mut breaker = away(SECOND * asked);
            assert_eq!(breaker.admit(1, 200 * SECOND), Ok(()));
            breaker.ended(1, Some(SECOND * asked), 200 * SECOND, spread);
            let left = breaker.admit(2, 200 * SECOND);
            assert_eq!(left, Err(Duration::from_millis(pause)), "{asked} {spread}");
        }
    }

    /// Whose runtime stands still keeps nobody from asking.
    #[test]
    fn a_grant_that_never_ends_is_passed_over() {
        let mut breaker = away(Duration::ZERO);
        assert_eq!(breaker.admit(1, 110 * SECOND), Ok(()));
        assert_eq!(breaker.admit(2, 110 * SECOND + LOST - SECOND), Err(PAUSE));
        assert_eq!(breaker.admit(2, 110 * SECOND + LOST), Ok(()));
        // What it says at last is said for nobody.
        breaker.ended(1, Some(Duration::ZERO), 141 * SECOND, 0);
        assert_eq!(breaker.admit(3, 141 * SECOND), Err(PAUSE), "another one asks");
    }
}
