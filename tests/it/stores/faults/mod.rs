//! Each store, behind each fault of its network, at each operation. Every call ends in time: with the right value, with
//! `Unavailable`, or with `OutcomeUnknown`, which the next read settles. Nothing stays broken.

mod flows;
mod postgres;
mod redis;
mod sqlite;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tower_oidc::Timestamp;
use tower_oidc::store::{
    Change, Key, PostgresStore, Record, RedisStore, Store, StoreError, StoreErrorKind, Tag, Version,
};

use super::{create, record};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Proxy, Wire};
use crate::support::redis::Redis;

/// Within this each call ends, and new work goes on where only what stood is frozen.
const CALL: Duration = Duration::from_secs(5);
/// Within this a store has recovered under traffic, and at rest.
const TRAFFIC: Duration = Duration::from_secs(3);
const REST: Duration = Duration::from_secs(10);
/// What a busy machine may add to each.
const MARGIN: Duration = Duration::from_secs(2);

/// What takes so long does not happen any more.
const NEVER: Duration = Duration::from_secs(30);

/// How long whoever waits for a row waits.
const WAIT: Duration = Duration::from_secs(1);

const TAG: Tag = Tag([99; 32]);

/// Numbers rows that nobody wrote before.
static ROWS: AtomicU64 = AtomicU64::new(0);

/// The message `Execute` of PostgreSQL: the unnamed portal, all rows.
const EXECUTE: &[&str] = &["E\0\0\0\x09\0\0\0\0\0"];
/// What the store of Redis asks, and what it writes.
const COMMANDS: &[&str] = &["EVAL", "GET\r\n", "ZRANGE"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    StandingFrozen,
    AllFrozen,
    Reset,
    Delay,
    AnswersDropped,
    Trickle,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::None,
        Self::StandingFrozen,
        Self::AllFrozen,
        Self::Reset,
        Self::Delay,
        Self::AnswersDropped,
        Self::Trickle,
    ];

    fn begin(self, behind: &Behind) {
        let wire = match self {
            Self::None => Wire::Sound,
            Self::StandingFrozen => return behind.proxy.freeze_standing(),
            Self::AllFrozen => Wire::Frozen,
            Self::Reset => Wire::Reset,
            Self::Delay => Wire::Delayed(Duration::from_millis(50)),
            Self::AnswersDropped => Wire::AnswersDropped(behind.asks),
            Self::Trickle => Wire::Trickling,
        };
        behind.proxy.set(wire);
    }

    /// Nothing fails, however long it takes.
    fn is_harmless(self) -> bool {
        matches!(self, Self::None | Self::Delay)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Load,
    Find,
    Create,
    Change,
    Delete,
    DeleteExpired,
    Wait,
}

impl Operation {
    const ALL: [Self; 7] =
        [Self::Load, Self::Find, Self::Create, Self::Change, Self::Delete, Self::DeleteExpired, Self::Wait];

    fn key(self) -> Key {
        Key([self as u8 + 1; 32])
    }

    fn writes(self) -> bool {
        !matches!(self, Self::Load | Self::Find | Self::Wait)
    }

    /// Puts the row there that the operation is about.
    async fn prepare(self, direct: &dyn Store) -> Version {
        let expires_at = Timestamp::from_secs(if self == Self::DeleteExpired { 1 } else { 4_000_000_000 });
        let tags = if self == Self::Find { vec![TAG] } else { Vec::new() };
        if self == Self::Create {
            return Version(0);
        }
        let record = Record { expires_at, tags, ..record("old") };
        direct.swap(self.key(), None, record).await.expect("it works").expect("a new row")
    }

    /// Whether it answered what is right.
    async fn call(self, store: &dyn Store, version: Version) -> Result<bool, StoreError> {
        let key = self.key();
        Ok(match self {
            Self::Load => store.load(key).await?.is_some_and(|stored| stored.version == version),
            Self::Find => store.find(TAG).await? == [key],
            Self::Create => store.swap(key, None, record("new")).await?.is_some(),
            Self::Change => store.swap(key, Some(version), record("new")).await?.is_some(),
            Self::Delete => store.delete(key, Some(version)).await?,
            // A store without a clock of its own keeps what has expired for 30 days.
            Self::DeleteExpired => store.delete_expired(Timestamp::from_secs(4_000_000)).await? == 1,
            Self::Wait => store.wait(key, Some(version), WAIT).await.map(|()| true)?,
        })
    }

    /// Whether it has been done, as the next read tells.
    async fn is_done(self, store: &dyn Store) -> bool {
        let stored = store.load(self.key()).await.expect("it has recovered");
        match self {
            Self::Create | Self::Change => stored.is_some_and(|stored| stored.record == record("new")),
            Self::Delete | Self::DeleteExpired => stored.is_none(),
            Self::Load | Self::Find | Self::Wait => true,
        }
    }
}

/// A database, and stores that reach it through a proxy and directly.
struct Behind {
    proxy: Proxy,
    asks: &'static [&'static str],
    busy: Arc<dyn Store>,
    /// Nothing is asked of this one while the fault lasts.
    resting: Arc<dyn Store>,
    /// Nothing is asked of this one; it only listens.
    listening: Arc<dyn Store>,
    direct: Arc<dyn Store>,
}

impl Behind {
    async fn postgres() -> Option<Self> {
        let server = Postgres::shared()?;
        let url = server.database().await;
        let proxy = Proxy::before(server.port()).await;
        let led = proxy.url(&url, server.port());
        let open = |url: &str| Arc::new(PostgresStore::connect_lazy(url).expect("a URL")) as Arc<dyn Store>;
        let [busy, resting, listening] = [(); 3].map(|()| open(&led));
        Some(Self { asks: EXECUTE, busy, resting, listening, direct: open(&url), proxy })
    }

    async fn redis() -> Option<Self> {
        let server = Redis::shared()?;
        let url = server.database();
        let proxy = Proxy::before(server.port()).await;
        let led = proxy.url(&url, server.port());
        let open = |url: &str| Arc::new(RedisStore::connect_lazy(url).expect("a URL")) as Arc<dyn Store>;
        let [busy, resting, listening] = [(); 3].map(|()| open(&led));
        Some(Self { asks: COMMANDS, busy, resting, listening, direct: open(&url), proxy })
    }

    /// As many connections stand as there can be.
    async fn warm(&self) {
        warm(&self.busy).await;
        self.resting.load(Key([0; 32])).await.expect("it works");
    }
}

async fn warm(store: &Arc<dyn Store>) {
    let loads = (0..40).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.load(Key([0; 32])).await.expect("it works") })
    });
    for load in loads.collect::<Vec<_>>() {
        load.await.expect("no panic");
    }
}

struct Cell {
    operation: Operation,
    ended: Result<bool, StoreErrorKind>,
    took: Duration,
    /// Whether the write was done, as the next read told.
    done: bool,
}

/// What one store shows at one fault.
struct Shown {
    store: &'static str,
    fault: Fault,
    cells: Vec<Cell>,
    under_traffic: Duration,
    listening_again: Duration,
    at_rest: Duration,
}

async fn show(name: &'static str, behind: Behind, fault: Fault) -> Shown {
    let mut calls = Vec::new();
    for operation in Operation::ALL {
        calls.push((operation, operation.prepare(&*behind.direct).await));
    }
    behind.warm().await;
    let mut heard = listen(Arc::clone(&behind.listening));
    assert!(hears(&behind.direct, &mut heard).await < NEVER, "{name}: it hears");

    fault.begin(&behind);
    let call = async |(operation, version): (Operation, Version)| {
        let began = Instant::now();
        let ended = operation.call(&*behind.busy, version).await.map_err(|error| error.kind());
        (operation, ended, began.elapsed())
    };
    let going_on = async {
        if fault == Fault::StandingFrozen {
            let took = works_again(&*behind.busy, Key([50; 32])).await;
            assert!(took < CALL + MARGIN, "{name}: new work went on after {took:?}");
        }
    };
    let ended = match fault {
        // One after the other: their connection may be the same.
        Fault::AnswersDropped => {
            let mut ended = Vec::new();
            for each in calls {
                ended.push(call(each).await);
            }
            ended
        }
        _ => tokio::join!(join_all(calls.into_iter().map(call)), going_on).0,
    };
    behind.proxy.heal();

    let traffic = works_again(&*behind.busy, Key([51; 32]));
    let resting = async {
        // The first call comes a while after the end of the fault.
        sleep(Duration::from_secs(1)).await;
        works_again(&*behind.resting, Key([52; 32])).await + Duration::from_secs(1)
    };
    let (under_traffic, listening_again, at_rest) = tokio::join!(traffic, hears(&behind.direct, &mut heard), resting);
    let mut cells = Vec::new();
    for (operation, ended, took) in ended {
        let done = operation.is_done(&*behind.busy).await;
        cells.push(Cell { operation, ended, took, done });
    }
    let works = join_all((0..20).map(|_| behind.busy.load(Key([51; 32])))).await.iter().all(Result::is_ok);
    assert!(works, "{name} {fault:?}: it goes on working");
    Shown { store: name, fault, cells, under_traffic, listening_again, at_rest }
}

/// Hears what the store tells, and listens again whenever it cannot.
fn listen(store: Arc<dyn Store>) -> mpsc::UnboundedReceiver<Change> {
    let (send, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while !send.is_closed() {
            let tell = |change| {
                let _ = send.send(change);
            };
            let ended = store.subscribe(&tell).await.map_err(|error| error.kind());
            assert_eq!(ended, Err(StoreErrorKind::Unavailable));
            sleep(Duration::from_millis(100)).await;
        }
    });
    heard
}

/// How long it takes until one who listens is told of a row that another process writes.
async fn hears(writer: &Arc<dyn Store>, heard: &mut mpsc::UnboundedReceiver<Change>) -> Duration {
    let began = Instant::now();
    loop {
        let mut key = [200; 32];
        key[..8].copy_from_slice(&ROWS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        create(writer, Key(key)).await;
        let told = async { while heard.recv().await.expect("it goes on") != Change::Row(Key(key)) {} };
        if timeout(Duration::from_millis(200), told).await.is_ok() || began.elapsed() > NEVER {
            break;
        }
    }
    began.elapsed()
}

/// How long it takes until a row is read and another one written.
async fn works_again(store: &dyn Store, key: Key) -> Duration {
    let began = Instant::now();
    let works = async || store.load(key).await.is_ok() && store.swap(key, None, record("again")).await.is_ok();
    while !works().await && began.elapsed() < NEVER {
        sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

impl Shown {
    fn row(&self) -> String {
        let mut row = format!("| {} | {:?} |", self.store, self.fault);
        for cell in &self.cells {
            let ended = match (cell.ended, cell.done) {
                (Ok(_), _) => "right",
                (Err(StoreErrorKind::OutcomeUnknown), true) => "unknown: done",
                (Err(StoreErrorKind::OutcomeUnknown), false) => "unknown: not done",
                (Err(StoreErrorKind::Unavailable), _) => "unavailable",
                (Err(StoreErrorKind::Refused), _) => "refused",
            };
            let _ = write!(row, " {ended}, {:.1} |", cell.took.as_secs_f32());
        }
        let [traffic, listening, rest] =
            [self.under_traffic, self.listening_again, self.at_rest].map(|took| took.as_secs_f32());
        let _ = write!(row, " {traffic:.1} | {listening:.1} | {rest:.1} |");
        row
    }

    fn check(&self) {
        for cell in &self.cells {
            let at = format!("{} {:?} {:?}: {}", self.store, self.fault, cell.operation, self.row());
            assert!(cell.took < CALL + MARGIN, "{at}");
            match cell.ended {
                Ok(right) => assert!(right && cell.done, "{at}"),
                Err(StoreErrorKind::Unavailable) => assert!(!(cell.operation.writes() && cell.done), "{at}"),
                Err(StoreErrorKind::OutcomeUnknown) => assert!(cell.operation.writes(), "{at}"),
                Err(StoreErrorKind::Refused) => panic!("{at}"),
            }
            assert!(cell.ended.is_ok() || !self.fault.is_harmless(), "{at}");
            // Where the answer alone is lost nothing else is said.
            if self.fault == Fault::AnswersDropped && matches!(cell.operation, Operation::Create | Operation::Delete) {
                assert_eq!((cell.ended, cell.done), (Err(StoreErrorKind::OutcomeUnknown), true), "{at}");
            }
        }
        assert!(self.under_traffic < TRAFFIC + MARGIN, "{}", self.row());
        assert!(self.listening_again < REST + MARGIN && self.at_rest < REST + MARGIN, "{}", self.row());
    }
}

fn print(shown: &[Shown]) {
    let mut table = String::from("| store | fault |");
    for operation in Operation::ALL {
        let _ = write!(table, " {operation:?}, s |");
    }
    table += " works again, s | hears again, s | works again at rest, s |\n";
    for shown in shown {
        table += &(shown.row() + "\n");
    }
    println!("{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_to_postgresql_ends_and_nothing_stays_broken() {
    let shown = Fault::ALL.map(async |fault| Some(show("PostgreSQL", Behind::postgres().await?, fault).await));
    let Some(shown) = join_all(shown).await.into_iter().collect::<Option<Vec<_>>>() else { return };
    print(&shown);
    shown.iter().for_each(Shown::check);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_to_redis_ends_and_nothing_stays_broken() {
    let shown = Fault::ALL.map(async |fault| Some(show("Redis", Behind::redis().await?, fault).await));
    let Some(shown) = join_all(shown).await.into_iter().collect::<Option<Vec<_>>>() else { return };
    print(&shown);
    shown.iter().for_each(Shown::check);
}
