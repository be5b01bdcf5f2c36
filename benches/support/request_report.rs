//! The limits, and the table of what was measured beside them.

use super::request_app::Kind;

/// What a subject may add to the bare router.
struct Budget {
    ratio: (f64, f64),
    instructions: (f64, f64),
    allocations: f64,
    store_reads: f64,
}

const ANONYMOUS: Budget =
    Budget { ratio: (1.25, 1.4), instructions: (1400.0, 1800.0), allocations: 2.0, store_reads: 0.0 };
const KNOWN: Budget =
    Budget { ratio: (1.7, 2.0), instructions: (3300.0, 4200.0), allocations: 5.0, store_reads: 0.0 };

/// The most bytes of a session besides its tokens.
const BYTES: f64 = 700.0;

fn budget(kind: Kind) -> Option<Budget> {
    match kind {
        Kind::Anonymous | Kind::AroundAnonymous => Some(ANONYMOUS),
        Kind::Known(_) | Kind::AroundKnown(_) => Some(KNOWN),
        // Beside them for comparison; the store's answer is what a first sight waits for.
        Kind::Bare | Kind::NoOp | Kind::Extension | Kind::Junk | Kind::Stale | Kind::FirstSight => None,
    }
}

/// What one request of a subject costs.
pub struct Measured {
    pub kind: Kind,
    pub nanoseconds: Vec<f64>,
    pub allocations: f64,
    pub store_reads: f64,
    pub instructions: Option<f64>,
}

impl Measured {
    pub fn new(kind: Kind) -> Self {
        Self { kind, nanoseconds: Vec::new(), allocations: 0.0, store_reads: 0.0, instructions: None }
    }
}

/// Prints the table. True where every limit holds.
pub fn report(measured: &[Measured], bytes: f64) -> bool {
    let Some(bare) = measured.iter().find(|subject| subject.kind == Kind::Bare) else { return false };
    let mut exceeded = Vec::new();
    let bare_instructions = bare.instructions.map_or("?".into(), |count| format!("{count:.0}"));
    println!(
        "the bare router: {:.0} ns, {bare_instructions} instructions, {:.0} allocations; what is added to it:\n",
        median(bare.nanoseconds.clone()),
        bare.allocations
    );
    println!("| | × bare (goal / limit) | instructions (goal / limit) | allocations (limit) | store reads |");
    println!("|---|---|---|---|---|");
    for subject in measured {
        let name = subject.kind.name();
        let rounds = subject.nanoseconds.iter().zip(&bare.nanoseconds);
        let ratio = median(rounds.map(|(own, bare)| own / bare).collect());
        let instructions = subject.instructions.zip(bare.instructions).map(|(own, bare)| own - bare);
        let allocations = subject.allocations - bare.allocations;
        let shown = instructions.map_or("?".into(), |count| format!("{count:+.0}"));
        let Some(budget) = budget(subject.kind) else {
            println!("| {name} | {ratio:.2} | {shown} | {allocations:+.2} | {:.2} |", subject.store_reads);
            continue;
        };
        println!(
            "| {name} | {ratio:.2} ({} / {}) | {shown} ({} / {}) | {allocations:+.2} ({}) | {:.2} |",
            budget.ratio.0,
            budget.ratio.1,
            budget.instructions.0,
            budget.instructions.1,
            budget.allocations,
            subject.store_reads,
        );
        let mut check = |what: &str, value: f64, limit: f64| {
            if value > limit {
                exceeded.push(format!("{name}: {value:.0} {what}, the limit is {limit:.0}"));
            }
        };
        check("more instructions", instructions.unwrap_or(0.0), budget.instructions.1);
        check("more allocations", allocations, budget.allocations);
        check("store reads", subject.store_reads, budget.store_reads);
    }
    println!("\na session: {bytes:.0} bytes besides its tokens (limit {BYTES:.0})");
    if bytes > BYTES {
        exceeded.push(format!("a session: {bytes:.0} bytes"));
    }
    if bare.instructions.is_none() {
        println!("instructions were not counted: that takes valgrind (apt-get install valgrind)");
    }
    for excess in &exceeded {
        println!("EXCEEDED: {excess}");
    }
    exceeded.is_empty()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
