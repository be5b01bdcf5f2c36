//! What is modelled around the protocol: processes that run it, a store, a provider, time, and everything that fails.
//!
//! Processes run the very [`RefreshMachine`] of the crate, and what fails on the wire becomes its [`Input`] by the
//! crate's own functions: [`ProviderRefusal::remedy`], [`ProviderReply::without_tokens`], [`EndReason::of_unverified`],
//! [`RefreshMachine::must_write`] and [`RefreshMachine::renewed`]. What the crate still does for itself is to tell a
//! refusal from a response that cannot be read, to compare owners, and to count for how long a grant is left alone. One
//! tick stands for [`RENEW`]; whatever must happen before time goes on is said in [`World::is_urgent`]. What takes effect
//! at one moment (a swap, a token request) is one step; what a process then does with the answer is another, and anything
//! may happen between the two.

use std::time::Duration;

use super::refresh_protocol::{
    Action, Conclusion, EndReason, Input, LEASE, LeaseView, NextRow, ProviderReply, RENEW, ReadContext, RefreshMachine,
    RefreshState, RowView, SpentToken, Usability, WATCHES,
};
use super::refusal::{ProviderRefusal, RefusalRemedy};

/// The longest that a call to the provider takes: ten seconds and a bit.
const CALL: u8 = 3;
/// No call and no wait takes more ticks, and no verification either.
const LONGEST: u8 = 8;
/// How far a clock steps, in ticks: sixteen seconds, twice a lease.
const STEP: i8 = 4;
/// Tokens of one family stand together.
const FAMILY: u8 = 16;

/// How a provider refuses a token that is dead...
const INVALID_GRANT: (u16, &str) = (400, "invalid_grant");
/// ...and ones that are not: because of the registration, for a while, and for a reason that nobody knows.
const REFUSALS: [(u16, &str); 3] = [(401, "invalid_client"), (503, ""), UNCLEAR];
const UNCLEAR: (u16, &str) = (403, "");

pub(super) type Version = u8;
pub(super) type Token = u8;

/// What may still fail, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    pub(super) crashes: u8,
    /// Requests to the provider that are lost, or whose answers are.
    pub(super) lost: u8,
    /// Requests to the provider that arrive after they were given up.
    pub(super) late: u8,
    /// The provider refuses, or its answer does not hold, or its identity endpoint fails.
    pub(super) failures: u8,
    /// Calls to the store that fail, or are reported as failed, or take effect after that, or are refused for good.
    pub(super) store: u8,
    /// Times in which the store is away for everybody.
    pub(super) outages: u8,
    /// Times in which it is away for one process alone.
    pub(super) cuts: u8,
    /// The person takes the grant away.
    pub(super) deletions: u8,
    /// The person grants anew.
    pub(super) consents: u8,
    /// The same, and the provider sends no refresh token.
    pub(super) reconsents: u8,
    /// The access tokens end (once more).
    pub(super) expiries: u8,
    /// A process stands still, and goes on later where it stood.
    pub(super) freezes: u8,
    /// A clock steps, by four ticks, one way or the other.
    pub(super) clock_steps: u8,
    /// The store loses the last write that it had acknowledged, as one does whose replica takes over.
    pub(super) failovers: u8,
}

/// A rule of the protocol that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// Somebody's lease keeps others away.
    Lease,
    /// A lease is renewed.
    Renewal,
    /// A lease whose deadline is past is watched before it is stolen.
    Grace,
    /// It is read all that time, and not at the end only.
    Watch,
    /// A row is read again after a wait, or when something was lost.
    ReRead,
    /// Generations are compared before a grant is ended.
    Generations,
    /// A grant is not ended while somebody else holds the lease.
    OwnLease,
    /// A token is written before it is used.
    WriteFirst,
    /// A write names the version that it replaces.
    CompareAndSwap,
    /// A consent without a refresh token counts as no refresh of the one that stays.
    Refreshes,
    /// It leaves the lease under which that one is spent.
    LeaseStays,
    /// What it brought outlives a refresh token that is refused.
    Strips,
    /// A write that is reported as failed has nothing revoked: it may be done.
    Keeps,
    /// A refusal ends a grant only where the person can help.
    Remedies,
    /// A rotated refresh token is written before an identity endpoint is asked.
    Rotates,
    /// What the store refuses for good is given up.
    GivesUp,
}

/// The row of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    pub(super) version: Version,
    pub(super) generation: u64,
    pub(super) token: Token,
    /// Of which resources the access token has ended, a bit for each.
    pub(super) stale: u8,
    /// A tombstone.
    pub(super) over: bool,
    /// The provider refused for a reason that nobody knows, and is left alone until the next request.
    pub(super) held: bool,
    /// How many generations consents made without a refresh token.
    pub(super) consents: u64,
    /// Its access token is of a newer consent than its refresh token.
    pub(super) outlives: bool,
    pub(super) lease: Option<Lease>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) holder: u8,
    /// Ticks to its deadline by a clock that is right.
    pub(super) left: i8,
}

/// Refresh tokens are numbered in the order of their issue; consent begins a family of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Family {
    pub(super) current: Token,
    pub(super) alive: bool,
    /// The person took the grant away.
    pub(super) deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Replica {
    /// By how many ticks its clock is ahead.
    pub(super) skew: i8,
    /// How many requests are still to come. They ask for the resources in turn.
    pub(super) requests: u8,
    /// Whether it stands still.
    pub(super) frozen: bool,
    pub(super) flight: Option<Flying>,
}

/// A process's one flight for the grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flying {
    pub(super) refresher: RefreshMachine<Version, Token>,
    /// The bit of the resource that it is for.
    pub(super) resource: u8,
    /// What is under way, and for how many ticks.
    pub(super) action: Action<Version>,
    pub(super) elapsed: u8,
    /// Ticks since the lease was written.
    pub(super) unrenewed: u8,
    /// Whether the store answered when it was asked last.
    pub(super) reached: Reached,
    pub(super) holder: u8,
    /// What was read or written last.
    pub(super) found: Option<Kept>,
    /// The refresh token that came.
    pub(super) got: Option<Token>,
    /// Something failed, and it was told.
    pub(super) trouble: bool,
    /// The provider is to be left alone.
    pub(super) held: bool,
    /// What came must not be used.
    pub(super) refused: bool,
    /// The store refuses what came.
    pub(super) unwritable: bool,
}

/// How the last call to the store went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reached {
    Yes,
    /// The store was away, and is.
    No,
    /// It was away, and is back, and was not asked since: a renewal comes as soon as that, a write after a pause.
    NotSince,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Broken {
    /// A newer generation was overwritten by an older one.
    pub(super) overwritten: bool,
    /// A grant was ended whose refresh token, or its successor in the hands of the lease's holder, is good.
    pub(super) ended: bool,
    /// A token was used before it was written.
    pub(super) unwritten: bool,
    /// A grant that was taken away came back.
    pub(super) resurrected: bool,
    /// A token was spent after it had been rotated, and nothing had befallen that token which excuses it.
    pub(super) spent_twice: bool,
    /// What a consent had brought was ended with an older refresh token, though no other owner appeared.
    pub(super) dropped: bool,
    /// Somebody was told what is not so.
    pub(super) untrue: bool,
    /// Somebody asked the provider who knew that another holds the lease.
    pub(super) knowing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) row: Option<Kept>,
    pub(super) families: Vec<Family>,
    pub(super) replicas: Vec<Replica>,
    /// Writes and token requests that were given up and are still on their way.
    pub(super) late_swaps: Vec<(Version, Kept)>,
    pub(super) late_asks: Vec<Token>,
    pub(super) outage: bool,
    pub(super) cut: Option<u8>,
    pub(super) faults: Faults,
    /// The tokens that were ever in the row.
    pub(super) written: u64,
    /// The tokens that this application has had revoked, at a provider where that reaches those tokens alone.
    pub(super) revoked: u64,
    /// The tokens that came with another owner's access token: they are nobody's, wherever they are written.
    pub(super) foreign: u64,
    /// The tokens that may be spent twice: who spent them crashed, was cut off or stood still before the successor was
    /// written, or the answer was lost, or the write.
    pub(super) excused: u64,
    /// Whether a token was spent after it had been rotated, while its family was alive.
    pub(super) reused: bool,
    /// The row before the last write, where that may be lost.
    pub(super) before: Option<Kept>,
    pub(super) broken: Broken,
}

/// One thing that happens, to a process by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Request(u8),
    /// What the process has under way is done.
    Done(u8),
    /// The row that it waits for has changed.
    Woken(u8),
    Renewed(u8),
    Tick,
    Expiry,
    Crash(u8),
    StoreFails(u8),
    /// It is done and reported as failed.
    StoreLies(u8),
    /// It is reported as failed and done later.
    StoreLate(u8),
    /// The row of what came is refused, now and always.
    StoreRefuses(u8),
    LateSwap,
    RenewalFails(u8),
    RenewalLies(u8),
    RenewalRefused(u8),
    RequestLost(u8),
    AnswerLost(u8),
    RequestLate(u8),
    LateAsk,
    /// The provider's keys cannot be read.
    NoKeys(u8),
    /// The provider refuses a token that may be good, by status and error code.
    Refused(u8, (u16, &'static str)),
    /// The token is dead, and the provider has not said so clearly for as long as that is waited for.
    RefusedForLong(u8),
    /// What came names another owner; or it does not hold, or an identity endpoint fails.
    NotVerified(u8, Owner),
    Outage,
    Freeze(u8),
    Thaw(u8),
    Adjust(u8, i8),
    Failover,
    Cut(u8),
    StoreBack,
    Deletion,
    Consent,
    Reconsent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Another,
    Unknown,
}

fn ticks(time: Duration) -> u8 {
    u8::try_from(time.as_secs() / RENEW.as_secs()).unwrap()
}

impl World {
    pub(super) fn new(skews: &[i8], requests: u8, faults: Faults, rules: Rules) -> Self {
        let replica = |skew: &i8| Replica { skew: *skew, requests, frozen: false, flight: None };
        let replicas = skews.iter().map(replica).collect();
        let row = Kept {
            version: 0,
            generation: 1,
            token: 1,
            stale: rules.all_resources(),
            over: false,
            held: false,
            consents: 0,
            outlives: false,
            lease: None,
        };
        Self {
            row: Some(row),
            families: vec![Family { current: 1, alive: true, deleted: false }],
            replicas,
            late_swaps: Vec::new(),
            late_asks: Vec::new(),
            outage: false,
            cut: None,
            faults,
            written: 1 << 1,
            revoked: 0,
            foreign: 0,
            excused: 0,
            reused: false,
            before: None,
            broken: Broken::default(),
        }
    }

    /// Everything that can happen now.
    pub(super) fn steps(&self, rules: Rules, steps: &mut Vec<Step>) {
        for r in self.numbers() {
            self.steps_of(r, rules, steps);
        }
        let any = self.flights().next().is_some();
        if any && !self.is_urgent(rules) {
            steps.push(Step::Tick);
        }
        let faults = &self.faults;
        let mut may = |possible: bool, step| {
            if possible {
                steps.push(step);
            }
        };
        let good = self.row.is_some_and(|row| !row.over);
        may(faults.expiries > 0 && self.row.is_some_and(|row| row.stale == 0 && !row.over), Step::Expiry);
        may(!self.late_swaps.is_empty() && !self.outage, Step::LateSwap);
        may(!self.late_asks.is_empty(), Step::LateAsk);
        may(faults.outages > 0 && any && !self.outage, Step::Outage);
        may(self.outage || self.cut.is_some(), Step::StoreBack);
        may(faults.failovers > 0 && any && self.row.is_some() && self.before.is_some(), Step::Failover);
        may(faults.deletions > 0 && good && any, Step::Deletion);
        may(faults.consents > 0 && any, Step::Consent);
        may(faults.reconsents > 0 && any && self.row.is_some_and(|row| row.token != 0), Step::Reconsent);
    }

    fn steps_of(&self, r: u8, rules: Rules, steps: &mut Vec<Step>) {
        let replica = self.replica(r);
        let Some(flight) = &replica.flight else {
            if replica.requests > 0 {
                steps.push(Step::Request(r));
            }
            return;
        };
        let faults = &self.faults;
        let away = self.is_away(r);
        let mut may = |possible: bool, step| {
            if possible {
                steps.push(step);
            }
        };
        may(faults.crashes > 0, Step::Crash(r));
        if replica.frozen {
            steps.push(Step::Thaw(r));
            return;
        }
        may(faults.freezes > 0, Step::Freeze(r));
        may(faults.clock_steps > 0, Step::Adjust(r, STEP));
        may(faults.clock_steps > 0, Step::Adjust(r, -STEP));
        match flight.action {
            Action::Wait { version, within } => {
                may(flight.elapsed >= ticks(within), Step::Done(r));
                may(!away && self.row.map(|row| row.version) != Some(version), Step::Woken(r));
                may(away, Step::StoreFails(r));
            }
            Action::Read | Action::Swap { .. } if away => may(true, Step::StoreFails(r)),
            Action::Read => {
                may(true, Step::Done(r));
                may(faults.store > 0, Step::StoreFails(r));
            }
            Action::Swap { to: NextRow::Refreshed, .. } if flight.unwritable => may(true, Step::StoreRefuses(r)),
            Action::Swap { to, .. } => {
                may(true, Step::Done(r));
                may(faults.store > 0 && to == NextRow::Refreshed, Step::StoreRefuses(r));
                may(faults.store > 0, Step::StoreFails(r));
                may(faults.store > 0, Step::StoreLies(r));
                may(faults.store > 0, Step::StoreLate(r));
            }
            Action::Ask => {
                may(true, Step::Done(r));
                may(faults.lost > 0, Step::RequestLost(r));
                may(faults.lost > 0, Step::AnswerLost(r));
                may(faults.late > 0, Step::RequestLate(r));
                REFUSALS.into_iter().for_each(|refusal| may(faults.failures > 0, Step::Refused(r, refusal)));
                may(faults.failures > 0, Step::RefusedForLong(r));
            }
            Action::Ready => {
                may(true, Step::Done(r));
                may(faults.failures > 0, Step::NoKeys(r));
            }
            Action::Verify if flight.must_write(rules) => {}
            Action::Verify => {
                may(true, Step::Done(r));
                may(faults.failures > 0, Step::NotVerified(r, Owner::Unknown));
                may(faults.failures > 0, Step::NotVerified(r, Owner::Another));
            }
            Action::Pause | Action::Finish(_) => may(true, Step::Done(r)),
        }
        if self.renewal_is_due(flight, rules) {
            may(!away && !flight.unwritable, Step::Renewed(r));
            may(away || faults.store > 0, Step::RenewalFails(r));
            may(!away && faults.store > 0 && !flight.unwritable, Step::RenewalLies(r));
            may(!away && (flight.unwritable || faults.store > 0 && flight.must_write(rules)), Step::RenewalRefused(r));
        }
        may(faults.cuts > 0 && self.cut.is_none() && !self.outage, Step::Cut(r));
    }

    fn renewal_is_due(&self, flight: &Flying, rules: Rules) -> bool {
        matches!(flight.action, Action::Ask | Action::Verify)
            && flight.unrenewed >= ticks(RENEW)
            && flight.reached != Reached::No
            && flight.refresher.renew().is_some()
            && rules.hold(Rule::Renewal)
    }

    /// Whether something happens before the next tick: processes are quick, the store answers within a tick or fails,
    /// and the provider's calls have a deadline.
    pub(super) fn is_urgent(&self, rules: Rules) -> bool {
        let awake = self.replicas.iter().filter(|replica| !replica.frozen);
        awake.filter_map(|replica| replica.flight.as_ref()).any(|flight| {
            let limit = match flight.action {
                Action::Read | Action::Ready | Action::Swap { .. } | Action::Finish(_) => 0,
                Action::Wait { within, .. } => ticks(within),
                Action::Ask => CALL,
                // Until the store has what came.
                Action::Verify if flight.must_write(rules) => u8::MAX,
                // Keys that cannot be read.
                Action::Verify => rules.slow,
                Action::Pause => 1,
            };
            flight.elapsed >= limit || self.renewal_is_due(flight, rules)
        })
    }

    fn numbers(&self) -> std::ops::Range<u8> {
        0..u8::try_from(self.replicas.len()).unwrap()
    }

    fn replica(&self, r: u8) -> &Replica {
        &self.replicas[usize::from(r)]
    }

    pub(super) fn is_away(&self, r: u8) -> bool {
        self.outage || self.cut == Some(r)
    }

    /// The world after this step.
    pub(super) fn after(&self, step: Step, rules: Rules) -> Self {
        let mut next = self.clone();
        next.take(step, rules);
        next.excuse();
        next.renumber();
        next
    }

    fn take(&mut self, step: Step, rules: Rules) {
        match step {
            Step::Request(r) => self.request(r, rules),
            Step::Done(r) => self.done(r, rules),
            Step::Woken(r) => self.tell(r, Input::Waited { whole: false }, rules),
            Step::Renewed(r) => self.renew(r, rules),
            Step::Tick => self.tick(),
            Step::Expiry => {
                self.faults.expiries -= 1;
                let all = rules.all_resources();
                self.row.iter_mut().for_each(|row| (row.stale, row.outlives) = (all, false));
            }
            Step::Crash(r) => self.crash(r, rules),
            Step::StoreFails(r) => {
                self.faults.store -= u8::from(!self.is_away(r));
                self.asks_the_store(r);
                self.fails(r, rules);
            }
            Step::StoreLies(r) => {
                self.faults.store -= 1;
                self.swap(r, rules);
                self.fails(r, rules);
            }
            Step::StoreLate(r) => {
                self.faults.store -= 1;
                let swap = self.swapped(r, rules);
                self.late_swaps.extend(swap);
                self.fails(r, rules);
            }
            Step::StoreRefuses(r) => {
                self.refuse_row(r);
                let event = if rules.hold(Rule::GivesUp) { Input::StoreRefused } else { Input::StoreFailed };
                self.tell(r, event, rules);
            }
            Step::LateSwap => {
                let (expected, kept) = self.late_swaps.remove(0);
                self.put(expected, kept, None, rules);
            }
            Step::RenewalFails(r) | Step::RenewalLies(r) => {
                self.faults.store -= u8::from(!self.is_away(r));
                if matches!(step, Step::RenewalLies(_)) {
                    let (expected, kept) = self.renewal(r, rules);
                    self.put(expected, kept, Some(r), rules);
                }
                self.renewal_fails(r, Input::StoreFailed);
            }
            Step::RenewalRefused(r) => {
                self.refuse_row(r);
                self.renewal_fails(r, Input::StoreRefused);
                self.flight(r).unrenewed = 0;
            }
            Step::RequestLost(r) | Step::AnswerLost(r) | Step::RequestLate(r) => self.lose(step, r, rules),
            Step::LateAsk => {
                let token = self.late_asks.remove(0);
                self.spend(token, rules);
            }
            Step::NoKeys(r) => self.provider_fails(r, Input::Ready(false), rules),
            Step::Refused(r, refusal) => {
                let event = self.refused(r, refusal, false, rules);
                self.provider_fails(r, event, rules);
            }
            Step::RefusedForLong(r) => {
                let token = self.flight(r).spent_token();
                self.families[family(token)].alive = false;
                let event = self.refused(r, UNCLEAR, true, rules);
                self.provider_fails(r, event, rules);
            }
            Step::NotVerified(r, owner) => {
                let end = EndReason::of_unverified(owner == Owner::Another, rules.endpoint);
                if end.is_some() && self.flight(r).has_spent() {
                    // What came is thrown away: where the tombstone cannot be written, the old one is spent again.
                    self.excuse_spent(r);
                }
                let (flight, is_another) = (self.flight(r), owner == Owner::Another);
                flight.refused = end.is_some();
                self.foreign |= flight.got.filter(|_| is_another).map_or(0, |got| 1 << got);
                self.provider_fails(r, Input::Verified(Err(end)), rules);
                let ending = RefreshState::Ending(EndReason::AnotherOwner);
                self.broken.untrue |= (self.flight(r).refresher.state == ending) != is_another;
            }
            Step::Outage => (self.outage, self.faults.outages) = (true, self.faults.outages - 1),
            Step::Cut(r) => {
                (self.cut, self.faults.cuts) = (Some(r), self.faults.cuts - 1);
            }
            Step::Freeze(r) => {
                self.faults.freezes -= 1;
                self.replicas[usize::from(r)].frozen = true;
            }
            Step::Thaw(r) => self.replicas[usize::from(r)].frozen = false,
            Step::Adjust(r, ticks) => {
                self.faults.clock_steps -= 1;
                self.replicas[usize::from(r)].skew += ticks;
            }
            Step::Failover => self.fail_over(),
            Step::StoreBack => self.store_is_back(),
            Step::Deletion => {
                self.faults.deletions -= 1;
                self.families.iter_mut().for_each(|family| family.deleted = true);
                self.row = None;
            }
            Step::Consent => self.consent(),
            Step::Reconsent => self.reconsent(rules),
        }
    }

    /// The flights, by what they do.
    pub(super) fn flights(&self) -> impl Iterator<Item = &Flying> {
        self.replicas.iter().filter_map(|replica| replica.flight.as_ref())
    }

    /// Whether this flight holds the lease...
    pub(super) fn is_own(&self, flight: &Flying) -> bool {
        self.row.and_then(|row| row.lease).is_some_and(|lease| lease.holder == flight.holder)
    }

    /// ...or somebody else.
    pub(super) fn is_anothers(&self, flight: &Flying) -> bool {
        self.row.and_then(|row| row.lease).is_some_and(|lease| lease.holder != flight.holder)
    }

    fn flight(&mut self, r: u8) -> &mut Flying {
        self.replicas[usize::from(r)].flight.as_mut().expect("a flight")
    }

    fn request(&mut self, r: u8, rules: Rules) {
        let late = self.late_swaps.iter().map(|(_, kept)| kept);
        let leases = self.row.iter().chain(late).filter_map(|kept| kept.lease);
        let flights = self.flights().map(|flight| flight.holder);
        let taken: Vec<_> = leases.map(|lease| lease.holder).chain(flights).collect();
        let holder = (0..).find(|holder| !taken.contains(holder)).unwrap();
        let (refresher, action) = RefreshMachine::start();
        let replica = &mut self.replicas[usize::from(r)];
        replica.requests -= 1;
        let resource = 1 << (replica.requests % rules.resources);
        if let Some(row) = &mut self.row {
            row.held = false;
        }
        replica.flight = Some(Flying {
            refresher,
            resource,
            action,
            elapsed: 0,
            unrenewed: 0,
            reached: Reached::Yes,
            holder,
            found: None,
            got: None,
            trouble: false,
            held: false,
            refused: false,
            unwritable: false,
        });
    }

    /// What it had sent is on its way all the same.
    fn crash(&mut self, r: u8, rules: Rules) {
        self.faults.crashes -= 1;
        let flight = self.flight(r).clone();
        match (flight.action, flight.refresher.spent) {
            (Action::Swap { .. }, _) => {
                let swap = self.swapped(r, rules);
                self.late_swaps.extend(swap);
            }
            (Action::Ask, Some(spent)) => self.late_asks.push(spent.refresh_token),
            _ => {}
        }
        if flight.has_spent() {
            self.excuse_spent(r);
        }
        let replica = &mut self.replicas[usize::from(r)];
        (replica.flight, replica.frozen) = (None, false);
    }

    /// The token that this process has spent, or is about to, may be spent again by another.
    fn excuse_spent(&mut self, r: u8) {
        self.excused |= 1 << self.flight(r).spent_token();
    }

    /// Whoever cannot reach the store, or stands still, cannot write the successor of the token that it has spent. Two outages
    /// between which others were answered cut off whoever had not asked in between.
    fn excuse(&mut self) {
        let flight = |r: &u8| self.replica(*r).flight.as_ref();
        let is_cut_again = |r: &u8| self.outage && flight(r).is_some_and(|flight| flight.reached == Reached::NotSince);
        let unable = |r: &u8| self.cut == Some(*r) || self.replica(*r).frozen || is_cut_again(r);
        let spending = |r: &u8| self.replica(*r).flight.as_ref().is_some_and(Flying::has_spent);
        let excused: Vec<u8> = self.numbers().filter(|r| unable(r) && spending(r)).collect();
        excused.into_iter().for_each(|r| self.excuse_spent(r));
    }

    /// The last write was acknowledged, and is gone: the lease, or the successor of the token that is in the row again.
    fn fail_over(&mut self) {
        self.faults.failovers -= 1;
        let Some(row) = self.before.take() else { return };
        self.excused |= 1 << row.token;
        self.row = Some(row);
    }

    fn done(&mut self, r: u8, rules: Rules) {
        let event = match self.flight(r).action {
            Action::Read => self.read(r, rules),
            Action::Wait { .. } => Input::Waited { whole: true },
            Action::Ready => Input::Ready(true),
            Action::Swap { .. } => self.swap(r, rules),
            Action::Ask => {
                let token = self.flight(r).spent_token();
                match self.spend(token, rules) {
                    Some(next) => {
                        let flight = self.flight(r);
                        flight.got = Some(next);
                        if rules.endpoint {
                            // It is written at once.
                            flight.unrenewed = ticks(RENEW);
                        }
                        Input::Answered(ProviderReply::Tokens)
                    }
                    None => self.refused(r, INVALID_GRANT, false, rules),
                }
            }
            Action::Verify => {
                if !rules.hold(Rule::WriteFirst) {
                    self.uses(r);
                }
                Input::Verified(Ok(()))
            }
            Action::Pause => Input::Paused,
            Action::Finish(_) => unreachable!("it has landed"),
        };
        self.tell(r, event, rules);
    }

    /// What the process finds in the row; a rule that does not hold shows in what it believes to find.
    fn read(&mut self, r: u8, rules: Rules) -> Input<Version, Token> {
        self.asks_the_store(r);
        let (row, skew) = (self.row, self.replica(r).skew);
        let flight = self.flight(r);
        let Some(mut kept) = row else { return Input::Read(None) };
        let lease = kept.lease.take();
        let version = kept.version;
        if let (Some(before), false) = (flight.found, rules.hold(Rule::ReRead)) {
            kept = Kept { version, ..before };
        }
        let mut lease = lease.map(|lease| {
            let left = u32::try_from(lease.left - skew).unwrap_or(0);
            LeaseView { mine: lease.holder == flight.holder, left: RENEW * left }
        });
        let others = lease.is_some_and(|lease| !lease.mine);
        let ending = matches!(flight.refresher.state, RefreshState::Ending(_));
        let blind = (ending && !rules.hold(Rule::OwnLease))
            || !rules.hold(Rule::Lease)
            || (flight.found.is_some() && !rules.hold(Rule::ReRead));
        if others && blind {
            lease = None;
        }
        let resource = flight.resource;
        let mut spent_token = kept.spent_token(rules);
        if let (true, false, Some(spent)) = (ending, rules.hold(Rule::Generations), flight.refresher.spent) {
            spent_token = spent;
        }
        let usability = match kept {
            Kept { over: true, .. } => Usability::Over,
            Kept { stale, .. } if stale & resource == 0 => Usability::Good,
            Kept { token: 0, .. } => Usability::Over,
            Kept { held: true, .. } => Usability::Held,
            _ => Usability::Stale,
        };
        flight.trouble |= usability == Usability::Held;
        flight.found = Some(kept);
        let outlives = kept.outlives && rules.hold(Rule::Strips);
        Input::Read(Some(RowView { version, spent_token, lease, usability, outlives }))
    }

    /// What the process makes of a refusal.
    fn refused(&mut self, r: u8, (status, code): (u16, &str), is_over: bool, rules: Rules) -> Input<Version, Token> {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        let remedy = ProviderRefusal::new(String::new(), status, code, None).remedy();
        let remedy = if rules.hold(Rule::Remedies) { remedy } else { RefusalRemedy::Person };
        let flight = self.flight(r);
        flight.held = remedy == RefusalRemedy::Unclear;
        Input::Answered(ProviderReply::without_tokens(Some(remedy), flight.spent_token() != 0, is_over))
    }

    /// What the process wants the row to be.
    fn swapped(&mut self, r: u8, rules: Rules) -> Option<(Version, Kept)> {
        let skew = self.replica(r).skew;
        let flight = self.flight(r);
        let Action::Swap { expected, to } = flight.action else { return None };
        let found = Kept { lease: None, ..flight.found.expect("what was read") };
        let lease = Lease { holder: flight.holder, left: i8::try_from(ticks(LEASE)).unwrap() + skew };
        let next = match to {
            NextRow::Leased => {
                let token = flight.rotated_unverified(rules).unwrap_or(found.token);
                let generation = found.generation + u64::from(token != found.token);
                Kept { lease: Some(lease), token, generation, ..found }
            }
            NextRow::Released => Kept { held: flight.held || found.held, ..found },
            NextRow::Refreshed => Kept {
                generation: found.generation + 1,
                token: flight.got.expect("a token"),
                stale: found.stale & !flight.resource,
                held: false,
                ..found
            },
            NextRow::Stripped => Kept { generation: found.generation + 1, token: 0, ..found },
            NextRow::Ended(_) => Kept { generation: found.generation + 1, token: 0, over: true, ..found },
        };
        Some((expected, next))
    }

    fn swap(&mut self, r: u8, rules: Rules) -> Input<Version, Token> {
        let (expected, next) = self.swapped(r, rules).expect("a swap");
        self.asks_the_store(r);
        let swapped = self.put(expected, next, Some(r), rules);
        if swapped.is_some() {
            let flight = self.flight(r);
            (flight.found, flight.unrenewed) = (Some(Kept { lease: None, ..next }), 0);
        }
        Input::Swapped(swapped)
    }

    /// The store's compare-and-swap, and what must never be written.
    fn put(&mut self, expected: Version, next: Kept, by: Option<u8>, rules: Rules) -> Option<Version> {
        let matches = self.row.map(|row| row.version) == Some(expected);
        if !matches && rules.hold(Rule::CompareAndSwap) {
            return None;
        }
        let deleted = |token| self.families[family(token)].deleted;
        let before = by.and_then(|r| self.replica(r).flight.as_ref()?.found).map_or(next.token, |b| b.token);
        self.broken.resurrected |= deleted(if next.over || next.token == 0 { before } else { next.token });
        if let Some(row) = self.row {
            let newer = row.generation > next.generation
                || (row.generation == next.generation && (row.token, row.over) != (next.token, next.over));
            self.broken.overwritten |= newer;
            self.broken.dropped |= row.outlives && next.over && !self.ends_by_another_owner(by);
            let refused = next.over && !row.over && self.ends_by_refusal(by);
            self.broken.ended |= refused && self.is_good(&row, by);
        }
        let version = self.fresh_version();
        self.before = self.row.filter(|_| self.faults.failovers > 0);
        if !next.over {
            self.written |= 1 << next.token;
        }
        self.row = Some(Kept { version, ..next });
        Some(version)
    }

    fn ends_by_refusal(&self, by: Option<u8>) -> bool {
        self.ends_by(by, EndReason::InvalidGrant)
    }

    /// What is used no more in any case.
    fn ends_by_another_owner(&self, by: Option<u8>) -> bool {
        self.ends_by(by, EndReason::AnotherOwner)
    }

    /// A write that comes late may be for any end.
    fn ends_by(&self, by: Option<u8>, end: EndReason) -> bool {
        by.is_none_or(|r| {
            let flight = self.replica(r).flight.as_ref();
            flight.is_some_and(|flight| flight.refresher.state == RefreshState::Ending(end))
        })
    }

    /// Whether the provider would take the row's refresh token, or its holder has the successor.
    fn is_good(&self, row: &Kept, by: Option<u8>) -> bool {
        let family = &self.families[family(row.token)];
        let holder = row.lease.map(|lease| lease.holder);
        let mut others = self.numbers().filter(|r| Some(*r) != by).filter_map(|r| self.replica(r).flight.as_ref());
        family.alive
            && self.foreign & 1 << row.token == 0
            && (family.current == row.token
                || others.any(|flight| Some(flight.holder) == holder && flight.got == Some(family.current)))
    }

    fn fresh_version(&self) -> Version {
        let mut highest = 0;
        let mut copy = self.clone();
        copy.each_version(&mut |version| highest = highest.max(*version));
        highest + 1
    }

    /// The provider: a token that is the newest of its family is rotated; one that was rotated before is reuse.
    fn spend(&mut self, token: Token, rules: Rules) -> Option<Token> {
        let family = &mut self.families[family(token)];
        if !family.alive {
            return None;
        }
        if family.current == token {
            family.current += 1;
            return Some(family.current);
        }
        family.alive = !rules.detection;
        self.reused = true;
        self.broken.spent_twice |= self.excused & 1 << token == 0;
        None
    }

    fn lose(&mut self, step: Step, r: u8, rules: Rules) {
        let token = self.flight(r).spent_token();
        match step {
            Step::AnswerLost(_) => {
                self.faults.lost -= 1;
                self.spend(token, rules);
                self.excused |= 1 << token;
            }
            Step::RequestLate(_) => {
                self.faults.late -= 1;
                self.excused |= 1 << token;
                self.late_asks.push(token);
            }
            _ => self.faults.lost -= 1,
        }
        self.flight(r).trouble = true;
        self.tell(r, Input::Answered(ProviderReply::without_tokens(None, token != 0, false)), rules);
    }

    fn provider_fails(&mut self, r: u8, event: Input<Version, Token>, rules: Rules) {
        self.faults.failures -= 1;
        self.flight(r).trouble = true;
        self.tell(r, event, rules);
    }

    fn consent(&mut self) {
        self.faults.consents -= 1;
        let first = u8::try_from(self.families.len()).unwrap() * FAMILY + 1;
        self.families.push(Family { current: first, alive: true, deleted: false });
        let generation = self.row.map_or(1, |row| row.generation + 1);
        let version = self.fresh_version();
        let row = Kept {
            version,
            generation,
            token: first,
            stale: 0,
            over: false,
            held: false,
            consents: 0,
            outlives: false,
            lease: None,
        };
        self.written |= 1 << first;
        self.row = Some(row);
    }

    /// As [`consented_again`](../../../../src/grant.rs) has it: the refresh token and its lease stay.
    fn reconsent(&mut self, rules: Rules) {
        self.faults.reconsents -= 1;
        let version = self.fresh_version();
        let Some(row) = &mut self.row else { return };
        (row.version, row.generation, row.consents) = (version, row.generation + 1, row.consents + 1);
        (row.stale, row.outlives) = (0, true);
        row.lease = row.lease.filter(|_| rules.hold(Rule::LeaseStays));
    }

    /// Whether the newest refresh token of a good grant is in the hands of nobody, and nothing failed that excuses it.
    pub(super) fn has_lost_token(&self) -> bool {
        let Some(row) = self.row.filter(|row| !row.over && row.token != 0) else { return false };
        let family = &self.families[family(row.token)];
        let held = self.flights().any(|flight| flight.got == Some(family.current));
        let excused = self.excused & 1 << row.token != 0;
        family.alive && !family.deleted && family.current != row.token && !held && !excused
    }

    fn renewal(&mut self, r: u8, rules: Rules) -> (Version, Kept) {
        let action = self.flight(r).refresher.renew().expect("a lease");
        let doing = std::mem::replace(&mut self.flight(r).action, action);
        let swap = self.swapped(r, rules).expect("a swap");
        self.flight(r).action = doing;
        swap
    }

    /// It is tried again after a moment, until the store is back.
    fn renewal_fails(&mut self, r: u8, event: Input<Version, Token>) {
        self.asks_the_store(r);
        let again = self.flight(r).refresher.renewed(&event, None);
        assert_eq!(again, None);
    }

    fn asks_the_store(&mut self, r: u8) {
        self.flight(r).reached = if self.is_away(r) { Reached::No } else { Reached::Yes };
    }

    pub(super) fn store_is_back(&mut self) {
        (self.outage, self.cut) = (false, None);
        let flights = self.replicas.iter_mut().filter_map(|replica| replica.flight.as_mut());
        flights.filter(|flight| flight.reached == Reached::No).for_each(|flight| flight.reached = Reached::NotSince);
    }

    /// The store refuses the row of what came, which nobody has then.
    fn refuse_row(&mut self, r: u8) {
        if !std::mem::replace(&mut self.flight(r).unwritable, true) {
            self.faults.store -= 1;
        }
        self.flight(r).trouble = true;
        if self.flight(r).has_spent() {
            self.excuse_spent(r);
        }
    }

    /// The renewal and, where it is lost, the look at why.
    fn renew(&mut self, r: u8, rules: Rules) {
        self.asks_the_store(r);
        let mut action = self.flight(r).refresher.renew();
        let writes = self.flight(r).must_write(rules);
        while let Some(doing) = action {
            let event = match doing {
                Action::Swap { .. } => {
                    let (expected, kept) = self.renewal(r, rules);
                    let swapped = self.put(expected, kept, Some(r), rules);
                    if swapped.is_some() {
                        self.flight(r).found = Some(Kept { lease: None, ..kept });
                    }
                    Input::Swapped(swapped)
                }
                _ => self.read(r, rules),
            };
            let flight = self.flight(r);
            let has = flight.found.map(|found| found.spent_token(rules));
            action = flight.refresher.renewed(&event, has);
        }
        let flight = self.flight(r);
        flight.unrenewed = 0;
        if writes && !flight.must_write(rules) {
            // Now the identity endpoint is asked.
            flight.elapsed = 0;
        }
    }

    fn fails(&mut self, r: u8, rules: Rules) {
        if !rules.hold(Rule::Keeps) {
            self.revoke(r);
        }
        self.flight(r).trouble = true;
        self.tell(r, Input::StoreFailed, rules);
    }

    fn tell(&mut self, r: u8, event: Input<Version, Token>, rules: Rules) {
        let flight = self.flight(r);
        let mut action = flight.refresher.next(event);
        if let RefreshState::Waiting { version, watched: Some(0) } = flight.refresher.state {
            if !rules.hold(Rule::Grace) {
                // As if it had been watched long enough.
                flight.refresher.state = RefreshState::Reading(ReadContext::Watched { version, times: WATCHES });
                action = Action::Read;
            } else if !rules.hold(Rule::Watch) {
                flight.refresher.state = RefreshState::Waiting { version, watched: Some(WATCHES - 1) };
                action = Action::Wait { version, within: RENEW * u32::from(WATCHES) };
            }
        }
        let knowing = action == Action::Ask && flight.refresher.lost;
        (flight.action, flight.elapsed) = (action, 0);
        self.broken.knowing |= knowing;
        if let Action::Finish(conclusion) = action {
            self.land(r, conclusion);
        }
    }

    fn land(&mut self, r: u8, conclusion: Conclusion) {
        let over = self.row.is_none_or(|row| row.over || row.stale != 0 && row.token == 0);
        let Flying { trouble, refused, .. } = *self.flight(r);
        match conclusion {
            Conclusion::Written => self.uses(r),
            Conclusion::Found => {}
            Conclusion::Gone | Conclusion::Ended(_) => self.broken.untrue |= !over,
            Conclusion::Unavailable => self.broken.untrue |= !trouble,
        }
        if refused || conclusion == Conclusion::Gone {
            self.revoke(r);
        }
        self.replicas[usize::from(r)].flight = None;
    }

    /// What came is refused, or for nobody any more.
    fn revoke(&mut self, r: u8) {
        self.revoked |= self.flight(r).got.map_or(0, |token| 1 << token);
    }

    /// Whether the refresh token of a good grant was revoked.
    pub(super) fn has_revoked_token(&self) -> bool {
        let revoked = self.revoked & !self.foreign;
        self.row.is_some_and(|row| !row.over && row.token != 0 && revoked & 1 << row.token != 0)
    }

    /// Somebody gets what came.
    fn uses(&mut self, r: u8) {
        let got = self.flight(r).got;
        self.broken.unwritten |= got.is_none_or(|token| self.written & 1 << token == 0);
    }

    fn tick(&mut self) {
        // Past every clock's deadline, how long ago no longer matters.
        let floor = self.replicas.iter().map(|replica| replica.skew).min().unwrap_or(0).min(0);
        let floor = if self.faults.clock_steps > 0 { floor - STEP } else { floor };
        let late = self.late_swaps.iter_mut().map(|(_, kept)| kept);
        for lease in self.row.iter_mut().chain(late).filter_map(|kept| kept.lease.as_mut()) {
            lease.left = (lease.left - 1).max(floor);
        }
        for flight in self.replicas.iter_mut().filter_map(|replica| replica.flight.as_mut()) {
            // Past every deadline, how long ago no longer matters.
            flight.elapsed = (flight.elapsed + 1).min(LONGEST);
            if matches!(flight.action, Action::Ask | Action::Verify) {
                flight.unrenewed = (flight.unrenewed + 1).min(ticks(RENEW));
            }
        }
    }

    /// Versions matter only by whether they are the same: worlds that differ in nothing else are one.
    fn renumber(&mut self) {
        let mut versions = Vec::new();
        self.each_version(&mut |version| versions.push(*version));
        versions.sort_unstable();
        versions.dedup();
        self.each_version(&mut |version| {
            *version = u8::try_from(versions.binary_search(version).unwrap()).unwrap();
        });
    }

    fn each_version(&mut self, f: &mut impl FnMut(&mut Version)) {
        self.row.iter_mut().chain(&mut self.before).for_each(|row| f(&mut row.version));
        for (expected, kept) in &mut self.late_swaps {
            f(expected);
            kept.version = 0;
        }
        for flight in self.replicas.iter_mut().filter_map(|replica| replica.flight.as_mut()) {
            flight.found.iter_mut().for_each(|found| found.version = 0);
            flight.refresher.version.iter_mut().for_each(&mut *f);
            match &mut flight.refresher.state {
                RefreshState::Reading(ReadContext::Watched { version, .. }) | RefreshState::Waiting { version, .. } => {
                    f(version)
                }
                _ => {}
            }
            match &mut flight.action {
                Action::Wait { version, .. } | Action::Swap { expected: version, .. } => f(version),
                _ => {}
            }
        }
    }
}

fn family(token: Token) -> usize {
    usize::from(token / FAMILY)
}

/// How this world works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) without: Option<Rule>,
    /// Whether the provider ends a family whose token is spent again.
    pub(super) detection: bool,
    /// The most ticks that a verification takes.
    pub(super) slow: u8,
    /// Of how many resources access tokens are asked for, each by a refresh of its own.
    pub(super) resources: u8,
    /// Whether the provider has no ID tokens, and an identity endpoint says whose an access token is.
    pub(super) endpoint: bool,
}

impl Kept {
    fn spent_token(&self, rules: Rules) -> SpentToken<Token> {
        let consents = if rules.hold(Rule::Refreshes) { self.consents } else { 0 };
        SpentToken { refreshes: self.generation - consents, refresh_token: self.token }
    }
}

impl Flying {
    /// Whether the refresh token may be spent and its successor is not written.
    pub(super) fn has_spent(&self) -> bool {
        self.action == Action::Ask || self.got.is_some_and(|got| got != self.spent_token())
    }

    fn spent_token(&self) -> Token {
        self.refresher.spent.expect("the token that is spent").refresh_token
    }

    /// The refresh token that came, where the identity endpoint is still to say whose it is.
    fn rotated_unverified(&self, rules: Rules) -> Option<Token> {
        self.got.filter(|_| rules.endpoint && rules.hold(Rule::Rotates))
    }

    /// Whether it is written first; one that the store refuses is not.
    fn must_write(&self, rules: Rules) -> bool {
        !self.unwritable && self.rotated_unverified(rules).is_some_and(|got| self.refresher.must_write(&got))
    }
}

impl Rules {
    pub(super) fn all_resources(self) -> u8 {
        (1 << self.resources) - 1
    }

    fn hold(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}
