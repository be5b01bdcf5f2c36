//! People who use the application all the time, and what happens to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::cluster::{Cluster, sign_in};
use crate::support::http::Client;

/// People with a browser each, signed in.
pub(super) struct Crowd {
    people: Vec<(String, Client)>,
    api: String,
    url: String,
}

/// What they were answered.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) good: AtomicU64,
    /// A token of somebody else came to the API.
    pub(super) foreign: AtomicU64,
    /// 401: the session is gone.
    pub(super) signed_out: AtomicU64,
    /// 403: the grant is gone, and the person granted anew.
    pub(super) granted_anew: AtomicU64,
    /// 503: something is away.
    pub(super) unavailable: AtomicU64,
    /// The connection broke: the process died.
    pub(super) broken: AtomicU64,
    /// Anything else.
    pub(super) other: AtomicU64,
}

impl Tally {
    pub(super) fn of(&self, what: &AtomicU64) -> u64 {
        what.load(Ordering::SeqCst)
    }
}

impl Crowd {
    pub(super) async fn signed_in(cluster: &Cluster, count: u64) -> Self {
        let mut people = Vec::new();
        for person in 0..count {
            let name = format!("u{person}");
            let browser = cluster.signed_in(&name).await;
            people.push((name, browser));
        }
        Self { people, api: cluster.at("/api"), url: cluster.at("") }
    }

    /// They ask for something of their own again and again, one in ten of them for four things at once.
    pub(super) fn work(self, time: Duration) -> Working {
        let tally = Arc::new(Tally::default());
        let until = Instant::now() + time;
        let mut at_work = JoinSet::new();
        for (index, (name, browser)) in self.people.into_iter().enumerate() {
            let (tally, api, url) = (Arc::clone(&tally), self.api.clone(), self.url.clone());
            at_work.spawn(async move {
                let mut person = Person { name, browser, api, url, tally };
                let at_once = if index % 10 == 0 { 4 } else { 1 };
                let mut pause = 300 + (index as u64 * 37) % 500;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                while Instant::now() < until {
                    person.ask(at_once).await;
                    // Each a little later than before: at every moment of a token's life somebody asks.
                    pause = 300 + (pause * 31 + 17) % 500;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            });
        }
        Working { at_work, tally }
    }
}

/// A crowd at work.
pub(super) struct Working {
    at_work: JoinSet<()>,
    pub(super) tally: Arc<Tally>,
}

impl Working {
    pub(super) async fn done(mut self) -> Arc<Tally> {
        while let Some(done) = self.at_work.join_next().await {
            done.expect("nobody panics");
        }
        self.tally
    }
}

struct Person {
    name: String,
    browser: Client,
    api: String,
    url: String,
    tally: Arc<Tally>,
}

impl Person {
    async fn ask(&mut self, at_once: usize) {
        let mut asked = JoinSet::new();
        for _ in 0..at_once {
            let (mut browser, api) = (self.browser.clone(), self.api.clone());
            asked.spawn(
                async move { browser.try_get(&api).await.map(|page| (page.status.as_u16(), page.body)) },
            );
        }
        let mut again = false;
        while let Some(answer) = asked.join_next().await {
            let tally = &self.tally;
            let (counted, lost) = match answer.expect("no panic") {
                Ok((200, body)) if body.contains(&format!("\"owner\":\"{}\"", self.name)) => {
                    (&tally.good, false)
                }
                Ok((200, body)) => {
                    eprintln!("{}: {body}", self.name);
                    (&tally.foreign, false)
                }
                Ok((401, _)) => (&tally.signed_out, true),
                Ok((403, _)) => (&tally.granted_anew, true),
                Ok((503, _)) => (&tally.unavailable, false),
                Ok((status, body)) => {
                    eprintln!("{}: {status} {body}", self.name);
                    (&tally.other, false)
                }
                Err(_) => (&tally.broken, false),
            };
            // Several answers of one moment tell of one loss.
            if !(lost && again) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            again |= lost;
        }
        if again {
            sign_in(&mut self.browser, &self.url, &self.name).await;
        }
    }
}
