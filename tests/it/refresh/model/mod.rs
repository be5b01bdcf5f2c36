//! The protocol of `tower_oidc::docs::refresh_protocol`, checked: every order in which two or three processes, the store, the
//! provider, the person and everything that fails can act, with the very transitions that the crate runs, and its very
//! functions for what a refusal, a lost response and a failed identification mean.
//!
//! The test command explores small clusters. `TOWER_OIDC_MODEL=all cargo test --release --all-features --test it
//! refresh::model::every -- --nocapture` explores larger ones too, and prints what it saw of each; that takes long.

#[path = "../../../../src/tokens/refresh_protocol.rs"]
mod refresh_protocol;
#[path = "../../../../src/protocol/refusal.rs"]
mod refusal;

mod calm;
mod edges;
mod removed;
mod world;

use std::collections::BTreeSet;

use stateright::{Checker, Model, Property};

use self::calm::Calm;
use self::refresh_protocol::{
    Action, EndReason, Input, LEASE, LeaseView, NextRow, ProviderReply, ReadContext, RefreshMachine, RefreshState,
    RowView, SpentToken, Usability,
};
// Where the protocol finds it in the crate, too: one module above.
use self::refusal::RefusalRemedy;
use self::world::{Faults, Rule, Rules, Step, World};

const ONCE: &str = "no refresh token is spent twice unless what befell this very token excuses it";
const NEWEST: &str = "no newer generation is overwritten by an older one";
const ENDED: &str = "no grant is ended because of a stale answer";
const WRITTEN: &str = "no token is used before it is written";
const DELETED: &str = "nothing that was taken away comes back";
const TRUE: &str = "nobody is told what is not so";
const KNOWING: &str = "nobody asks the provider who knows that another holds the lease";
const KEPT: &str = "the refresh token of a good grant is never lost";
const BESIDE: &str = "what a consent brought never ends with an older refresh token";
const UNREVOKED: &str = "no refresh token of a good grant is revoked";
const WELL: &str = "after the faults everybody gets a token or a true error";

/// A cluster and what may happen to it.
struct Cluster {
    name: &'static str,
    /// A process for each, by how many ticks of its clock it is ahead.
    skews: &'static [i8],
    /// How many requests come to each.
    requests: u8,
    faults: Faults,
    rules: Rules,
    calm: Calm,
}

impl Cluster {
    fn new(name: &'static str, skews: &'static [i8], requests: u8, faults: Faults) -> Self {
        let rules = Rules { without: None, detection: true, slow: 2, resources: 1, endpoint: false };
        Self { name, skews, requests, faults, rules, calm: Calm::default() }
    }

    fn slow(mut self, ticks: u8) -> Self {
        self.rules.slow = ticks;
        self
    }

    fn resources(mut self, resources: u8) -> Self {
        self.rules.resources = resources;
        self
    }

    fn endpoint(mut self) -> Self {
        self.rules.endpoint = true;
        self
    }

    fn forgiving(mut self) -> Self {
        self.rules.detection = false;
        self
    }

    fn without(mut self, rule: Rule) -> Self {
        self.rules.without = Some(rule);
        self
    }
}

impl Model for Cluster {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.skews, self.requests, self.faults, self.rules)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.steps(self.rules, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        Some(world.after(step, self.rules))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONCE, |_, world: &World| !world.broken.spent_twice),
            Property::always(NEWEST, |_, world: &World| !world.broken.overwritten),
            Property::always(ENDED, |_, world: &World| !world.broken.ended),
            Property::always(WRITTEN, |_, world: &World| !world.broken.unwritten),
            Property::always(DELETED, |_, world: &World| !world.broken.resurrected),
            Property::always(KNOWING, |_, world: &World| !world.broken.knowing),
            Property::always(KEPT, |_, world: &World| !world.has_lost_token()),
            Property::always(UNREVOKED, |_, world: &World| !world.has_revoked_token()),
            Property::always(BESIDE, |_, world: &World| !world.broken.dropped),
            Property::always(TRUE, |_, world: &World| !world.broken.untrue),
            Property::always(WELL, |cluster: &Self, world| cluster.calm.ends_well(world, cluster.rules)),
        ];
        properties.extend(situations());
        properties
    }
}

/// What some cluster must come to: a promise about what never happens is worth nothing.
fn situations() -> Vec<Property<Cluster>> {
    vec![
        Property::sometimes("a lease is stolen from one that lives", |_, world: &World| {
            world.flights().filter(|f| matches!(f.action, Action::Ask | Action::Verify)).count() > 1
        }),
        Property::sometimes("a lease is stolen from a process that stands still", |_, world: &World| {
            let frozen = world.replicas.iter().filter(|replica| replica.frozen);
            frozen.filter_map(|replica| replica.flight.as_ref()).any(|f| f.has_spent() && world.is_anothers(f))
        }),
        Property::sometimes("somebody finds that the lease is lost", |_, world: &World| {
            world.flights().any(|flight| flight.refresher.lost)
        }),
        Property::sometimes("new tokens come while another holds the lease", |_, world: &World| {
            world.flights().any(|f| f.refresher.state == RefreshState::Writing && world.is_anothers(f))
        }),
        Property::sometimes("invalid_grant comes while another holds the lease", |_, world: &World| {
            let refused = RefreshState::Ending(EndReason::InvalidGrant);
            world.flights().any(|f| f.refresher.state == refused && world.is_anothers(f))
        }),
        Property::sometimes("a lease that is reported as failed is written", |_, world: &World| {
            let doubtful = RefreshState::Reading(ReadContext::Doubtful);
            world.flights().any(|f| f.refresher.state == doubtful && world.is_own(f))
        }),
        Property::sometimes("new tokens come for a grant that was taken away", |_, world: &World| {
            world.row.is_none() && world.flights().any(|flight| flight.got.is_some())
        }),
        Property::sometimes("new tokens come for a grant that was consented to meanwhile", |_, world: &World| {
            world.row.is_some_and(|row| row.outlives) && world.flights().any(|flight| flight.got.is_some())
        }),
        Property::sometimes("a refresh token is refused beside what a consent brought", |_, world: &World| {
            world.row.is_some_and(|row| !row.over && row.token == 0)
        }),
        Property::sometimes("a refresh token is sent once more after its response was lost", |_, world: &World| {
            world.flights().any(|flight| flight.refresher.state == RefreshState::Asking { again: true })
        }),
        Property::sometimes("an identity endpoint fails after the rotated token was written", |_, world: &World| {
            world.flights().any(|f| f.refresher.state == RefreshState::Releasing && f.got.is_some() && !f.has_spent())
        }),
        Property::sometimes("the store refuses a rotated token for good", |_, world: &World| {
            world.flights().any(|flight| flight.unwritable)
        }),
        Property::sometimes("a token is spent twice", |_, world: &World| world.reused),
        Property::sometimes("a grant ends", |_, world: &World| world.row.is_some_and(|row| row.over)),
    ]
}

/// Explores everything, and says which properties do not hold, and what was seen.
fn explore(cluster: Cluster) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let started = std::time::Instant::now();
    let (name, without, processes) = (cluster.name, cluster.rules.without, cluster.skews.len());
    let checker = cluster.checker().threads(2).spawn_bfs().join();
    let (states, steps, seconds) =
        (checker.unique_state_count(), checker.state_count(), started.elapsed().as_secs_f32());
    let without = without.map(|rule| format!(" without {rule:?}")).unwrap_or_default();
    println!("{name}{without}: {processes} processes, {states} states, {steps} steps, {seconds:.1} s");
    let (mut broken, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (property, path) in checker.discoveries() {
        if !checker.model().property(property).expectation.discovery_is_failure() {
            seen.insert(property);
            continue;
        }
        let steps: Vec<_> = path.into_actions().iter().map(|step| format!("{step:?}")).collect();
        println!("  broken: {property}: {}", steps.join(" "));
        broken.insert(property);
    }
    (broken, seen)
}

const NONE: Faults = Faults {
    crashes: 0,
    lost: 0,
    late: 0,
    failures: 0,
    store: 0,
    outages: 0,
    cuts: 0,
    deletions: 0,
    consents: 0,
    reconsents: 0,
    expiries: 0,
    freezes: 0,
    clock_steps: 0,
    failovers: 0,
};

/// Clocks that differ by a tick, four seconds, in either direction; and by sixteen, twice a lease.
const APART: &[i8] = &[0, 1];
const BEHIND: &[i8] = &[0, -1];
const FAR: &[i8] = &[0, 4];

/// What is explored in the test command.
fn small() -> Vec<Cluster> {
    let one = |name, faults| Cluster::new(name, APART, 1, faults);
    vec![
        Cluster::new("no faults", APART, 2, Faults { expiries: 1, ..NONE }).slow(6),
        Cluster::new("clocks far apart", FAR, 2, NONE).slow(6),
        Cluster::new("clocks far apart, and a store that errs", FAR, 1, Faults { store: 1, ..NONE }),
        Cluster::new("three processes", &[0, 1, -1], 1, NONE),
        Cluster::new("crashes", BEHIND, 1, Faults { crashes: 2, ..NONE }),
        Cluster::new("a crash", BEHIND, 2, Faults { crashes: 1, ..NONE }),
        one("a crash and answers lost", Faults { crashes: 1, lost: 2, ..NONE }),
        one("answers lost and late", Faults { lost: 2, late: 1, failures: 1, ..NONE }),
        one("a store that errs", Faults { store: 2, ..NONE }),
        one("a store that errs, and a crash", Faults { store: 1, crashes: 1, ..NONE }),
        one("an outage", Faults { outages: 1, lost: 1, ..NONE }),
        Cluster::new("an outage, and clocks far apart", FAR, 1, Faults { outages: 1, ..NONE }),
        one("an outage and a crash", Faults { outages: 1, crashes: 1, ..NONE }),
        one("cut off", Faults { cuts: 1, lost: 1, ..NONE }).forgiving(),
        one("cut off, where reuse is detected", Faults { cuts: 1, lost: 1, ..NONE }),
        one("taken away", Faults { deletions: 1, consents: 1, store: 1, ..NONE }),
        one("taken away, and a crash", Faults { deletions: 1, consents: 1, crashes: 1, ..NONE }),
        one("consent without a refresh token", Faults { reconsents: 1, expiries: 1, ..NONE }),
        one("the same, and answers lost", Faults { reconsents: 1, lost: 1, failures: 1, ..NONE }),
        one("the same, and a store that errs", Faults { reconsents: 1, store: 1, ..NONE }),
        one("the same, and a crash", Faults { reconsents: 1, crashes: 1, ..NONE }),
        one("what does not hold", Faults { failures: 2, store: 1, ..NONE }),
        one("an identity endpoint that fails, and a store that errs", Faults { failures: 1, store: 1, ..NONE })
            .endpoint(),
        one("an identity endpoint that fails, and a crash", Faults { failures: 1, crashes: 1, ..NONE }).endpoint(),
        one("a process that stands still", Faults { freezes: 1, ..NONE }),
        one("the same, where reuse is forgiven", Faults { freezes: 1, lost: 1, ..NONE }).forgiving(),
        one("a process that stands still, and an outage", Faults { freezes: 1, outages: 1, ..NONE }),
        one("a clock that steps", Faults { clock_steps: 1, ..NONE }),
        one("a clock that steps, and a store that errs", Faults { clock_steps: 1, store: 1, ..NONE }),
        one("a write that is lost after it was acknowledged", Faults { failovers: 1, ..NONE }),
        one("the same, where reuse is forgiven", Faults { failovers: 1, lost: 1, ..NONE }).forgiving(),
        Cluster::new("two resources", APART, 2, NONE).resources(2),
        Cluster::new("two resources, and an answer lost", APART, 2, Faults { lost: 1, ..NONE }).resources(2),
        Cluster::new("two resources, and a consent", APART, 2, Faults { consents: 1, ..NONE }).resources(2),
        Cluster::new("two resources, a consent without a refresh token", APART, 2, Faults { reconsents: 1, ..NONE })
            .resources(2),
    ]
}

/// What takes longer.
fn large() -> Vec<Cluster> {
    let two = |name, faults| Cluster::new(name, APART, 2, faults);
    vec![
        Cluster::new("three processes, twice", &[0, 1, -1], 2, NONE),
        Cluster::new("three processes and a crash", &[0, 1, -1], 1, Faults { crashes: 1, ..NONE }),
        Cluster::new("three processes and an answer lost", &[0, 1, -1], 1, Faults { lost: 1, ..NONE }),
        Cluster::new("three processes and an outage", &[0, 1, -1], 1, Faults { outages: 1, ..NONE }),
        Cluster::new("three processes and a store that errs", &[0, 1, -1], 1, Faults { store: 1, ..NONE }),
        two("crashes", Faults { crashes: 2, ..NONE }),
        two("crashes and answers lost", Faults { crashes: 1, lost: 2, late: 1, ..NONE }),
        two("a store that errs", Faults { store: 2, ..NONE }),
        two("a store that errs, and a crash", Faults { store: 2, crashes: 1, ..NONE }),
        two("an outage and a crash", Faults { outages: 1, crashes: 1, store: 1, ..NONE }),
        two("outages", Faults { outages: 2, lost: 1, ..NONE }),
        two("cut off", Faults { cuts: 1, lost: 1, ..NONE }).forgiving(),
        two("cut off twice", Faults { cuts: 2, lost: 1, ..NONE }),
        two("taken away", Faults { deletions: 1, consents: 1, crashes: 1, lost: 1, ..NONE }),
        two("refusals, and a store that errs", Faults { failures: 2, store: 1, ..NONE }),
        two("an identity endpoint that fails, and a crash", Faults { failures: 1, store: 1, crashes: 1, ..NONE })
            .endpoint(),
        two("processes that stand still", Faults { freezes: 2, ..NONE }),
        two("a process that stands still, and a crash", Faults { freezes: 1, crashes: 1, ..NONE }),
        two("clocks that step", Faults { clock_steps: 2, outages: 1, ..NONE }),
        two("a write that is lost, and a crash", Faults { failovers: 1, crashes: 1, ..NONE }),
        Cluster::new("two resources, and a crash", APART, 2, Faults { crashes: 1, ..NONE }).resources(2),
        Cluster::new("two resources, and an outage", APART, 2, Faults { outages: 1, ..NONE }).resources(2),
        two("everything once", Faults { crashes: 1, lost: 1, store: 1, outages: 1, ..NONE }),
    ]
}

#[test]
fn every_order_of_events_keeps_every_promise() {
    let everything = std::env::var("TOWER_OIDC_MODEL").is_ok_and(|which| which == "all");
    let mut clusters = small();
    clusters.extend(large().into_iter().filter(|_| everything));
    let mut unseen: BTreeSet<_> = situations().into_iter().map(|situation| situation.name).collect();
    for cluster in clusters {
        let name = cluster.name;
        let (broken, seen) = explore(cluster);
        assert_eq!(broken, BTreeSet::new(), "{name}");
        unseen.retain(|situation| !seen.contains(situation));
    }
    assert_eq!(unseen, BTreeSet::new(), "no cluster came to this");
}

/// A write of one's own that was reported as failed is found in the row, and is nobody else's.
#[test]
fn a_rotated_token_that_was_written_after_all_is_found() {
    let row = |version, refresh_token, mine: bool| RowView {
        version,
        spent_token: SpentToken { refreshes: 0, refresh_token },
        lease: mine.then_some(LeaseView { mine, left: LEASE }),
        usability: Usability::Stale,
        outlives: false,
    };
    for mine in [true, false] {
        let (mut machine, _) = RefreshMachine::<u8, u8>::start();
        for event in [
            Input::Read(Some(row(1, 1, false))),
            Input::Ready(true),
            Input::Swapped(Some(2)),
            Input::Answered(ProviderReply::Tokens),
        ] {
            machine.next(event);
        }
        assert!(machine.must_write(&2));
        assert_eq!(machine.renewed(&Input::StoreFailed, None), None);
        assert_eq!(machine.renewed(&Input::Swapped(None), None), Some(Action::Read));
        let again = machine.renewed(&Input::Read(Some(row(3, 2, mine))), None);
        assert_eq!(again, mine.then_some(Action::Swap { expected: 3, to: NextRow::Leased }));
        assert_eq!((machine.lost, machine.must_write(&2)), (!mine, false));
    }
}
