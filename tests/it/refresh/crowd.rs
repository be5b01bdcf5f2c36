//! Everything at once for a simulated minute: logins, calls, logouts, switches of user, and tokens of two seconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{APP, World};
use crate::support::app::API;
use crate::support::browser::Browser;
use crate::support::fault::Fault;

const BROWSERS: usize = 200;
const MINUTE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(400);

/// xorshift: the same minute in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[derive(Default)]
struct Tally {
    calls: AtomicUsize,
    logins: AtomicUsize,
    logouts: AtomicUsize,
    errors: Mutex<BTreeMap<String, usize>>,
}

#[tokio::test(start_paused = true)]
async fn two_hundred_browsers_for_a_minute() {
    let world = Arc::new(World::new());
    world.op.set(|op| op.access_token_lifetime = 2);
    world.net.fault(crate::support::app::OP, "/token", Fault::SlowAnswer(Duration::from_millis(20)));
    let tally = Arc::new(Tally::default());
    let clock = world.clock.clone();
    // The world's clock and tokio's go together.
    let ticking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            clock.advance(Duration::from_millis(10));
        }
    });
    let people: Vec<_> = (0..BROWSERS).map(|n| tokio::spawn(person(world.clone(), tally.clone(), n))).collect();
    for person in people {
        person.await.unwrap();
    }
    ticking.abort();
    world.app.layer.drain().await;

    let errors = tally.errors.lock().unwrap().clone();
    let (calls, logins) = (tally.calls.load(Ordering::SeqCst), tally.logins.load(Ordering::SeqCst));
    let refreshes = world.op.refreshes();
    assert_eq!((errors, world.op.reuse_detected()), (BTreeMap::new(), 0), "of {calls} calls, {logins} logins");
    assert!(calls > 7_000 && logins > 500 && refreshes.len() > 2_500, "{calls} {logins} {}", refreshes.len());
    // Each refresh token was spent once: refreshes are expiries that somebody met.
    let spent: std::collections::HashSet<_> = refreshes.iter().map(|r| r.refresh_token.clone()).collect();
    assert_eq!(spent.len(), refreshes.len());
    assert!(refreshes.iter().all(|refresh| refresh.outcome.is_ok()));
}

async fn person(world: Arc<World>, tally: Arc<Tally>, n: usize) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (n as u64 + 1).wrapping_mul(0x5851_f42d_4c95_7f2d));
    let browser = world.browser();
    let mut name = "nobody";
    let end = tokio::time::Instant::now() + MINUTE;
    while tokio::time::Instant::now() < end {
        match dice.roll(100) {
            _ if name == "nobody" => name = sign_in(&world, &tally, &browser, dice.roll(2)).await,
            // Somebody else, in the same browser, over the session that is there.
            0..3 => name = sign_in(&world, &tally, &browser, dice.roll(2)).await,
            3..6 => {
                sign_out(&world, &browser).await;
                tally.logouts.fetch_add(1, Ordering::SeqCst);
                name = "nobody";
            }
            // A handful of scripts at once, the last of which is given up.
            6..16 => {
                let asked: Vec<_> = (0..5).map(|_| tokio::spawn(world.ask(APP, &browser, "/tok"))).collect();
                asked[4].abort();
                for answer in asked.into_iter().take(4) {
                    let answer = answer.await.unwrap().unwrap();
                    check(&world, &tally, name, answer.status().as_u16(), answer.body());
                }
            }
            _ => {
                let page = browser.navigate(&format!("{APP}/fetch?u={API}/cal/{n}")).await;
                let owner = page.json()["owner"].as_str().map(str::to_owned);
                if (page.status.as_u16(), owner.as_deref()) != (200, Some(name)) {
                    error(&tally, format!("{name} fetched {} {}", page.status, page.text()));
                }
                tally.calls.fetch_add(1, Ordering::SeqCst);
            }
        }
        tokio::time::sleep(STEP + Duration::from_millis(dice.roll(1200))).await;
    }
}

fn check(world: &World, tally: &Tally, name: &str, status: u16, body: &[u8]) {
    let token = String::from_utf8_lossy(body);
    tally.calls.fetch_add(1, Ordering::SeqCst);
    if status != 200 || world.op.owner_of(&token).as_deref() != Some(name) {
        error(tally, format!("{name} got {status} {token}"));
    }
}

fn error(tally: &Tally, what: String) {
    *tally.errors.lock().unwrap().entry(what).or_default() += 1;
}

async fn sign_in(world: &World, tally: &Tally, browser: &Browser, side: u64) -> &'static str {
    let name = ["alice", "bob"][usize::try_from(side).unwrap()];
    // Two people at one provider: who it is, its own cookie says.
    world.op.sign_in_nobody();
    browser.navigate(&format!("{}/signin?user={name}", crate::support::app::OP)).await;
    let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    if page.status != 200 || page.json()["sub"] != format!("{}1", &name[..1]) {
        error(tally, format!("{name} signs in: {} {}", page.status, page.text()));
    }
    tally.logins.fetch_add(1, Ordering::SeqCst);
    name
}

async fn sign_out(world: &World, browser: &Browser) {
    let links = browser.navigate(&format!("{APP}/links?to=/")).await.json();
    browser.navigate(&format!("{APP}{}", links["logout"]["ok"].as_str().unwrap())).await;
    assert_eq!(browser.navigate(&format!("{APP}/who")).await.text(), "null");
    let _ = world;
}
