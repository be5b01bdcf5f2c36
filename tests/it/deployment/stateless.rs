//! Stateless mode on two processes that meet at a store: browsers whose answers come in any order, or never.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cluster::Cluster;
use super::crowd::Said;
use super::dice::Dice;
use super::{Shared, people, seconds, with_each_store};
use crate::support::fault::Fault;
use crate::support::http::{Client, Page};

const AT_ONCE: usize = 8;
/// How long a token lives; a browser asks when it is over.
const LIFE: u64 = 2;

#[derive(Debug, Default)]
struct Tally {
    good: AtomicU64,
    hang_ups: AtomicU64,
    bad: AtomicU64,
}

struct Person {
    name: String,
    browser: Client,
    dice: Dice,
    url: String,
    tally: Arc<Tally>,
}

impl Person {
    /// Eight requests with the same cookies, of which one in five hangs up. Of the answers some never arrive, and the
    /// others in any order.
    async fn expiry(&mut self) {
        let mut asked = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (mut tab, url) = (self.browser.clone(), format!("{}/api", self.url));
            let patience = (self.dice.roll(5) == 0).then(|| self.dice.millis(0, 150));
            asked.spawn(async move {
                match patience {
                    Some(patience) => timeout(patience, tab.try_get(&url)).await.ok(),
                    None => Some(tab.try_get(&url).await),
                }
            });
        }
        let mut answers = Vec::new();
        for answer in asked.join_all().await {
            match answer {
                Some(answer) => {
                    let page = answer.unwrap_or_else(|error| panic!("{}: {error}", self.name));
                    self.check(&page, Said::Good);
                    answers.push(page);
                }
                None => drop(self.tally.hang_ups.fetch_add(1, Ordering::SeqCst)),
            }
        }
        while !answers.is_empty() {
            let answer = answers.swap_remove(self.dice.roll(answers.len()));
            if self.dice.roll(8) > 0 {
                self.browser.receive(&answer);
            }
            // In between, with whatever cookies there are.
            if self.dice.roll(4) == 0 {
                self.get("/api", Said::Good).await;
            }
        }
    }

    async fn get(&mut self, path: &str, expected: Said) {
        let page = self.browser.get(&format!("{}{path}", self.url)).await;
        self.check(&page, expected);
    }

    fn check(&self, page: &Page, expected: Said) {
        let said = Said::of(page, &self.name);
        let counted = if said == expected { &self.tally.good } else { &self.tally.bad };
        counted.fetch_add(1, Ordering::SeqCst);
        if said != expected {
            eprintln!("{}: {said:?} {} {}", self.name, page.status, page.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_under_fire_lose_nothing_where_two_processes_meet() {
    with_each_store(|store: Shared| async move {
        let what = format!("{}, stateless", store.kind());
        let cluster = Cluster::in_mode("stateless", &store.url, 2, LIFE).await;
        let rounds = seconds(8).as_secs() / (LIFE + 1);
        let (tally, dice) = (Arc::new(Tally::default()), Dice::new(&what));
        let mut people_of_it = Vec::new();
        for number in 0..people(20) {
            let name = format!("u{number}");
            let browser = cluster.signed_in(&name).await;
            let (url, tally) = (cluster.at(""), Arc::clone(&tally));
            people_of_it.push(Person { name, browser, dice: dice.another(number), url, tally });
        }
        cluster.net.fault(cluster.op.issuer(), "/token", Fault::SlowAnswer(Duration::from_millis(100)));
        let count = people_of_it.len() as u64;
        let mut firing = JoinSet::new();
        for mut person in people_of_it {
            firing.spawn(async move {
                sleep(person.dice.millis(0, 1000)).await;
                for _ in 0..rounds {
                    sleep(Duration::from_secs(LIFE)).await;
                    person.expiry().await;
                }
                person.get("/who", Said::Known).await;
                person.get("/api", Said::Good).await;
            });
        }
        firing.join_all().await;
        let op = cluster.op.clone();
        let spending = cluster.spending().await;
        let refreshes = op.refreshes().len() as u64;
        println!("{what}: {tally:?}; {refreshes} refreshes, reuse {}", op.reuse_detected());
        assert_eq!((tally.bad.load(Ordering::SeqCst), op.reuse_detected()), (0, 0), "{what}");
        assert!(refreshes >= rounds * count && tally.hang_ups.load(Ordering::SeqCst) > rounds * count / 2, "{what}");
        for (name, spent) in spending {
            assert_eq!((spent.again, spent.lost()), (0, 0), "{what}: {name}: {spent:?}");
        }
    })
    .await;
}
