//! The limits, and the table of what was measured beside them.

use super::request_app::Kind;

/// What a subject may add: goal and limit.
struct Budget {
    ratio: (f64, f64),
    instructions: (f64, f64),
    allocations: f64,
}

/// About 1,000 of them are the one extension that tells extractors that the layer is there.
const ANONYMOUS: Budget = Budget { ratio: (1.25, 1.4), instructions: (1400.0, 2000.0), allocations: 2.0 };
const KNOWN: Budget = Budget { ratio: (1.7, 2.0), instructions: (3300.0, 4200.0), allocations: 5.0 };

/// A token of some 700 bytes, compared whole.
const BEARER: Budget = Budget { ratio: (2.0, 2.4), instructions: (4000.0, 4500.0), allocations: 6.0 };

const SINGLE_USER: Budget = Budget { ratio: (1.6, 1.8), instructions: (1900.0, 2500.0), allocations: 4.0 };

const TOKEN: Budget = Budget { ratio: (3.0, 3.5), instructions: (7000.0, 9000.0), allocations: 12.0 };
const STATELESS: Budget = Budget { ratio: (2.3, 2.7), instructions: (6000.0, 7500.0), allocations: 7.0 };
/// What a page adds that asks for 2 KiB of tokens. The goal is that of a prototype, which looked neither whether the
/// session had ended nor where the token may go.
const TOKENS: Budget = Budget { ratio: (1.7, 2.7), instructions: (3100.0, 4100.0), allocations: 1.0 };
/// The same where they are opened. Instructions count SHA-256 at its dearest: callgrind's processor has none of its own.
const TOKENS_FIRST: Budget = Budget { ratio: (3.8, 22.0), instructions: (17_000.0, 84_000.0), allocations: 46.0 };

/// Callgrind's counts hold to 2 % from one build and machine to the next.
const TOLERANCE: f64 = 1.02;
/// A session besides its tokens.
const BYTES: f64 = 700.0;

/// What is budgeted, and on top of what: inside the router axum takes its part for any layer.
fn budget(kind: Kind) -> Option<(Kind, Budget)> {
    match kind {
        Kind::Anonymous => Some((Kind::Bare, ANONYMOUS)),
        Kind::Known(_) => Some((Kind::Bare, KNOWN)),
        Kind::Token => Some((Kind::Bare, TOKEN)),
        Kind::Bearer => Some((Kind::Bare, BEARER)),
        Kind::SingleUser => Some((Kind::Bare, SINGLE_USER)),
        Kind::Stateless => Some((Kind::Bare, STATELESS)),
        Kind::StatelessToken => Some((Kind::Stateless, TOKENS)),
        Kind::StatelessTokenFirst => Some((Kind::StatelessFirst, TOKENS_FIRST)),
        Kind::InsideAnonymous => Some((Kind::NoOp, ANONYMOUS)),
        Kind::InsideKnown(_) => Some((Kind::NoOp, KNOWN)),
        // For comparison, and what no limit is set for: a read of the store costs what the store takes.
        Kind::Bare | Kind::NoOp | Kind::Extension | Kind::Junk | Kind::Stale | Kind::FirstSight => None,
        // An opening and a look where processes meet, once for each browser and process.
        Kind::StatelessFirst => None,
    }
}

/// What one request of a subject costs.
pub struct Measured {
    pub kind: Kind,
    /// Of each round.
    pub nanoseconds: Vec<f64>,
    pub allocations: f64,
    pub store_reads: f64,
    pub instructions: Option<f64>,
}

impl Measured {
    pub fn new(kind: Kind) -> Self {
        Self { kind, nanoseconds: Vec::new(), allocations: 0.0, store_reads: 0.0, instructions: None }
    }

    /// Compared within each round: the machine is as fast for both.
    fn ratio(&self, base: &Self) -> f64 {
        let rounds = self.nanoseconds.iter().zip(&base.nanoseconds);
        median(rounds.map(|(own, base)| own / base).collect())
    }

    fn instructions_above(&self, base: &Self) -> Option<f64> {
        Some(self.instructions? - base.instructions?)
    }
}

/// Prints the table. True where every limit holds.
pub fn report(measured: &[Measured], (bytes, in_store): (f64, f64)) -> bool {
    let of = |kind| measured.iter().find(|subject| subject.kind == kind);
    let Some(bare) = of(Kind::Bare) else { return false };
    let mut exceeded = Vec::new();
    println!(
        "\nThe bare router: {:.0} ns, {} instructions, {:.0} allocations. Beside it, in brackets goal / limit:\n",
        median(bare.nanoseconds.clone()),
        bare.instructions.map_or("?".into(), |count| format!("{count:.0}")),
        bare.allocations
    );
    println!("| request | × bare | instructions | allocations | store reads |\n|---|---|---|---|---|");
    for subject in measured {
        let (mut ratios, mut instructions, mut allocations) = (String::new(), String::new(), String::new());
        let name = subject.kind.name();
        if let Some((base, budget)) = budget(subject.kind)
            && let Some(base) = of(base)
        {
            let above = |goal: f64| goal + base.instructions_above(bare).unwrap_or(0.0);
            let (goal, limit) = (above(budget.instructions.0), above(budget.instructions.1));
            let most = base.allocations - bare.allocations + budget.allocations;
            let ratio = base.ratio(bare) - 1.0;
            ratios = format!(" ({:.2} / {:.2})", budget.ratio.0 + ratio, budget.ratio.1 + ratio);
            instructions = format!(" ({goal:+.0} / {limit:+.0})");
            allocations = format!(" ({most:+.0})");
            let allowed = bare.instructions.map(|count| (count + limit) * TOLERANCE);
            if subject.instructions.zip(allowed).is_some_and(|(count, allowed)| count > allowed) {
                exceeded.push(format!("{name}: instructions"));
            }
            // A table that grows once in many requests is no allocation of each.
            if subject.allocations - bare.allocations > most + 0.01 {
                exceeded.push(format!("{name}: allocations"));
            }
            if subject.store_reads > 0.0 {
                exceeded.push(format!("{name}: store reads"));
            }
        }
        println!(
            "| {name} | {:.2}{ratios} | {}{instructions} | {:+.0}{allocations} | {:.0} |",
            subject.ratio(bare),
            subject.instructions_above(bare).map_or("?".into(), |count| format!("{count:+.0}")),
            subject.allocations - bare.allocations,
            subject.store_reads,
        );
    }
    let in_process = bytes - in_store;
    println!(
        "\nA session besides its tokens (goal {BYTES:.0}): {bytes:.0} bytes, {in_store:.0} of them in the memory store \
         and {in_process:.0} in what the process remembers."
    );
    if bare.instructions.is_none() {
        println!("Instructions were not counted: that takes valgrind (apt-get install valgrind).");
    }
    for what in &exceeded {
        println!("EXCEEDED: {what}");
    }
    exceeded.is_empty()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
