//! What a person sees of each fault: login, refresh, logout, logout at the provider, consent and disconnection, while the
//! store is behind it. Nobody is signed out by a fault, and what was answered "done" is done.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use rusqlite::Connection;
use tokio::time::sleep;
use tower_oidc::store::{SqliteStore, Store};

use super::{Behind, Fault, MARGIN, REST};
use crate::connections::app::{Site, at, connect, disconnect, script, send, state};
use crate::support::app::API;
use crate::support::browser::{Browser, Page};
use crate::support::folder::Folder;

/// The longest that anybody waits for an answer: a request that waits for a refresh, and the rest of its work.
const ANSWER: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3601);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Login,
    Refresh,
    Logout,
    LogoutAtProvider,
    Connect,
    Disconnect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Done,
    /// 503, or a page that says to try again.
    Later,
}

/// One of a person's browsers, in which one flow is tried.
struct Tried {
    flow: Flow,
    browser: Browser,
    sid: String,
    seen: Seen,
    took: Duration,
    recovered: Duration,
}

impl Flow {
    const ALL: [Self; 6] =
        [Self::Login, Self::Refresh, Self::Logout, Self::LogoutAtProvider, Self::Connect, Self::Disconnect];

    /// Somebody signs in, and grants what the flow takes back.
    async fn prepare(self, site: &Site) -> Tried {
        let browser = if self == Self::Login { site.browser() } else { site.signed_in("alice").await };
        if self == Self::Disconnect {
            assert_eq!(connect(&browser, "mail").await.status, 200);
        }
        let sid = site.op.sids_of("alice").last().cloned().unwrap_or_default();
        let (seen, took, recovered) = (Seen::Later, Duration::ZERO, Duration::ZERO);
        Tried { flow: self, browser, sid, seen, took, recovered }
    }
}

impl Tried {
    async fn attempt(&self, site: &Site) -> Seen {
        let (browser, what) = (&self.browser, self.flow);
        let read = |page: Page, is_done: &dyn Fn(&Page) -> bool| match page.status {
            StatusCode::OK if is_done(&page) => Seen::Done,
            StatusCode::SERVICE_UNAVAILABLE => Seen::Later,
            status => panic!("{what:?}: {status} at {}: {}", page.path_and_query(), page.text()),
        };
        match self.flow {
            Flow::Login => {
                let page = browser.visit(&at("/auth/login?return_to=/who")).await;
                read(page, &|page| page.json()["sub"] == "a1")
            }
            Flow::Refresh => {
                let page = script(browser, &format!("/token?u={API}/cal/")).await;
                read(page, &|page| site.op.issued(&page.text()).is_some_and(|issued| issued.live))
            }
            Flow::Logout => {
                let page = send(browser, "/auth/logout?return_to=/who").await;
                read(page, &|page| page.text() == "null")
            }
            Flow::LogoutAtProvider => {
                let client = crate::support::provider::CLIENT_ID;
                let token = site.op.logout_token(client, "alice", Some(&self.sid), |_| ());
                match site.back_channel(&token).await.status().as_u16() {
                    200 => Seen::Done,
                    503 => Seen::Later,
                    status => panic!("{what:?}: {status}"),
                }
            }
            Flow::Connect => read(connect(browser, "files").await, &|page| page.path_and_query() == "/list"),
            Flow::Disconnect => read(disconnect(browser, "mail").await, &|page| page.path_and_query() == "/list"),
        }
    }

    /// What was answered "done" holds, and whoever was signed in still is.
    async fn check(&self, site: &Site, at: &str) {
        let who = site.who(&self.browser).await;
        match self.flow {
            Flow::Logout | Flow::LogoutAtProvider => assert!(who.is_null(), "{at}: {who}"),
            _ => assert_eq!(who, "a1", "{at}"),
        }
        match self.flow {
            Flow::Connect => assert_eq!(state(&self.browser, "files").await, "connected", "{at}"),
            Flow::Disconnect => assert_eq!(state(&self.browser, "mail").await, "not_connected", "{at}"),
            _ => {}
        }
    }
}

/// A fault of a store, from its beginning to its end.
struct Trial<B, H> {
    store: &'static str,
    busy: Arc<dyn Store>,
    fault: String,
    /// Nothing fails, however long it takes.
    is_harmless: bool,
    begin: B,
    heal: H,
}

/// Tries each flow during a fault, checks what was done, and tries the others again until they are done.
async fn tried(trial: Trial<impl FnOnce(), impl FnOnce()>) -> String {
    let Trial { store, busy, fault, is_harmless, begin, heal } = trial;
    let mut site = Site::new();
    site.behind(busy);
    site.ticking(&site.clock);
    let mut all = Vec::new();
    for flow in Flow::ALL {
        all.push(flow.prepare(&site).await);
    }
    site.clock.advance(HOUR);
    begin();
    let site = &site;
    join_all(all.iter_mut().map(async |one| {
        let began = Instant::now();
        one.seen = one.attempt(site).await;
        one.took = began.elapsed();
    }))
    .await;
    heal();
    let healed = Instant::now();
    let name = |one: &Tried| format!("{store}, {fault}, {:?}", one.flow);
    for one in &all {
        assert!(one.took < ANSWER + MARGIN, "{}: {:?}", name(one), one.took);
        assert!(one.seen == Seen::Done || !is_harmless, "{}", name(one));
    }
    join_all(all.iter_mut().map(async |one| {
        while one.seen == Seen::Later && one.attempt(site).await == Seen::Later {
            assert!(healed.elapsed() < ANSWER + MARGIN, "{store}, {fault}, {:?}: it stays broken", one.flow);
            sleep(Duration::from_millis(100)).await;
        }
        one.recovered = healed.elapsed();
    }))
    .await;
    for one in &all {
        one.check(site, &name(one)).await;
        let limit = if one.flow == Flow::Refresh { ANSWER } else { REST };
        assert!(one.recovered < limit + MARGIN, "{}: {:?}", name(one), one.recovered);
    }
    assert_eq!(site.op.reuse_detected(), 0, "{store}, {fault}: no refresh token is spent twice");
    all.iter().fold(format!("| {store} | {fault} |"), |mut row, one| {
        let [took, recovered] = [one.took, one.recovered].map(|time| time.as_secs_f32());
        let _ = write!(row, " {:?}, {took:.1}, {recovered:.1} |", one.seen);
        row
    })
}

/// Prints the table: what was seen, after how many seconds, and after how many more it was done.
async fn each_fault<F: Future<Output = Option<Behind>>>(store: &'static str, open: impl Fn() -> F) {
    let rows = Fault::ALL.map(async |fault| {
        let behind = open().await?;
        let trial = Trial {
            store,
            busy: behind.busy.clone(),
            fault: format!("{fault:?}"),
            is_harmless: fault.is_harmless(),
            begin: || fault.begin(&behind),
            heal: || behind.proxy.heal(),
        };
        Some(tried(trial).await)
    });
    let Some(rows) = join_all(rows).await.into_iter().collect::<Option<Vec<_>>>() else { return };
    print(&rows);
}

fn print(rows: &[String]) {
    let flows = Flow::ALL.map(|flow| format!(" {flow:?} |")).concat();
    println!("| store | fault |{flows}\n{}", rows.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_signed_out_by_a_fault_before_postgresql() {
    each_fault("PostgreSQL", Behind::postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_signed_out_by_a_fault_before_redis() {
    each_fault("Redis", Behind::redis).await;
}

/// Another process writes to the file for longer than anybody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_signed_out_by_another_writer_of_the_file() {
    let folder = Folder::new();
    let busy = Arc::new(SqliteStore::open(folder.file()).unwrap());
    let other = Connection::open(folder.file()).unwrap();
    let row = tried(Trial {
        store: "SQLite",
        busy,
        fault: "Busy".to_owned(),
        is_harmless: false,
        begin: || other.execute_batch("BEGIN IMMEDIATE").unwrap(),
        heal: || other.execute_batch("ROLLBACK").unwrap(),
    });
    print(&[row.await]);
}
