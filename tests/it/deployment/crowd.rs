//! People who use the application all the time, and what happens to them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;

use super::PATIENCE;
use super::cluster::{Cluster, sign_in};
use crate::support::http::{Client, Page};
use crate::support::process::eventually;

/// People with a browser each, signed in.
pub(super) struct Crowd {
    people: Vec<Person>,
}

/// What they were answered.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The API answered with something of their own.
    pub(super) good: AtomicU64,
    /// The application knew who they are.
    pub(super) known: AtomicU64,
    /// A token of somebody else came to the API, or somebody was taken for somebody else.
    pub(super) foreign: AtomicU64,
    /// 401, or nobody: the session is gone.
    pub(super) signed_out: AtomicU64,
    /// 403: the grant is gone, and the person granted anew.
    pub(super) granted_anew: AtomicU64,
    /// 503: something is away.
    pub(super) unavailable: AtomicU64,
    /// The connection broke: the process died. Or nginx says so of all of them, one after the other.
    pub(super) broken: AtomicU64,
    /// The answer took longer than the client waits, which is longer than any request waits for a token.
    pub(super) late: AtomicU64,
    /// Anything else.
    pub(super) other: AtomicU64,
}

impl Tally {
    pub(super) fn of(&self, what: &AtomicU64) -> u64 {
        what.load(Ordering::SeqCst)
    }
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Good,
    Known,
    Foreign,
    SignedOut,
    Ungranted,
    Unavailable,
    Broken,
    Late,
    Other,
}

impl Said {
    /// Of `/api` and `/who`, to this person.
    pub(super) fn of(page: &Page, name: &str) -> Self {
        let whose = if page.url.path() == "/who" { "sub" } else { "owner" };
        let of_theirs = page.body.contains(&format!("\"{whose}\":\"{name}\""));
        match page.status.as_u16() {
            200 if page.url.path() == "/who" && of_theirs => Self::Known,
            200 if page.url.path() == "/who" && page.body == "null" => Self::SignedOut,
            200 if of_theirs => Self::Good,
            401 => Self::SignedOut,
            403 => {
                eprintln!("{name}: 403 {}", page.body);
                Self::Ungranted
            }
            503 => Self::Unavailable,
            502 if page.body.contains("nginx") => Self::Broken,
            status => {
                eprintln!("{name}: {status} {}", page.body);
                if status == 200 { Self::Foreign } else { Self::Other }
            }
        }
    }

    fn in_the(self, tally: &Tally) -> &AtomicU64 {
        match self {
            Self::Good => &tally.good,
            Self::Known => &tally.known,
            Self::Foreign => &tally.foreign,
            Self::SignedOut => &tally.signed_out,
            Self::Ungranted => &tally.granted_anew,
            Self::Unavailable => &tally.unavailable,
            Self::Broken => &tally.broken,
            Self::Late => &tally.late,
            Self::Other => &tally.other,
        }
    }
}

impl Crowd {
    pub(super) async fn signed_in(cluster: &Cluster, count: u64) -> Self {
        let url = cluster.at("");
        let arriving = stream::iter(0..count).map(|number| {
            let url = url.clone();
            async move {
                let name = format!("u{number}");
                let browser = cluster.signed_in(&name).await;
                Person { number, name, browser, url, tally: Arc::default() }
            }
        });
        Self { people: arriving.buffered(8).collect().await }
    }

    /// They ask for something of their own again and again, one in ten of them for four things at once.
    pub(super) fn work(self, time: Duration) -> Working {
        let tally = Arc::new(Tally::default());
        let until = Instant::now() + time;
        let mut at_work = JoinSet::new();
        for mut person in self.people {
            person.tally = Arc::clone(&tally);
            at_work.spawn(async move {
                let at_once = if person.number % 10 == 0 { 4 } else { 1 };
                let mut pause = 300 + (person.number * 37) % 500;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                while Instant::now() < until {
                    person.ask(at_once).await;
                    // Each a little later than before: at every moment of a token's life somebody asks.
                    pause = 300 + (pause * 31 + 17) % 500;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                person
            });
        }
        Working { at_work, tally }
    }

    /// Now that nothing fails any more: everybody is who they were, and has their tokens, at most after a question for
    /// consent.
    pub(super) async fn recovers(self) -> Self {
        let asking = self.people.into_iter().map(|mut person| async move {
            eventually(&format!("{} has an answer", person.name), PATIENCE, async || {
                (person.ask(1).await == Said::Good).then_some(())
            })
            .await;
            let who = person.browser.get(&format!("{}/who", person.url)).await;
            assert_eq!(Said::of(&who, &person.name), Said::Known, "{who:?}");
            person
        });
        Self { people: join_all(asking).await }
    }
}

/// A crowd at work.
pub(super) struct Working {
    at_work: JoinSet<Person>,
    tally: Arc<Tally>,
}

impl Working {
    /// Also what [`Crowd::recovers`] finds is counted.
    pub(super) async fn done(self) -> (Crowd, Arc<Tally>) {
        (Crowd { people: self.at_work.join_all().await }, self.tally)
    }
}

struct Person {
    number: u64,
    name: String,
    browser: Client,
    url: String,
    tally: Arc<Tally>,
}

impl Person {
    /// Who they are, and so many things of their own at once. Returns what was said of one of these.
    async fn ask(&mut self, at_once: usize) -> Said {
        let mut asked = JoinSet::new();
        for path in std::iter::once("/who").chain(std::iter::repeat_n("/api", at_once)) {
            let (mut browser, url) = (self.browser.clone(), format!("{}{path}", self.url));
            asked.spawn(async move { (path, browser.try_get(&url).await) });
        }
        let (mut last, mut lost) = (Said::Broken, false);
        for (path, answer) in asked.join_all().await {
            let broken = |error: io::Error| match error.kind() {
                ErrorKind::TimedOut => Said::Late,
                _ => Said::Broken,
            };
            let said = answer.map_or_else(broken, |page| Said::of(&page, &self.name));
            let is_lost = matches!(said, Said::SignedOut | Said::Ungranted);
            // Several answers of one moment tell of one loss.
            if !(is_lost && lost) {
                said.in_the(&self.tally).fetch_add(1, Ordering::SeqCst);
            }
            lost |= is_lost;
            if path == "/api" {
                last = said;
            }
        }
        if lost {
            sign_in(&mut self.browser, &self.url, &self.name).await;
        }
        last
    }
}
