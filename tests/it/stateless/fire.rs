//! Under fire: a hundred browsers, eight requests at once at every expiry, answers in any order, a fifth of the clients
//! hanging up, and a provider that rotates refresh tokens and kills what is spent twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use http::header::SET_COOKIE;

use super::{HOUR, REPLICA, two_processes};
use crate::support::app::{APP, OP, World};
use crate::support::browser::Browser;
use crate::support::fault::Fault;

const BROWSERS: usize = 100;
const EXPIRIES: usize = 4;
const AT_ONCE: usize = 8;

/// How long the provider takes for a refresh.
const SLOW: Duration = Duration::from_millis(30);

/// xorshift: the same in every run.
struct Dice(u64);

impl Dice {
    fn of(browser: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (browser as u64 + 1).wrapping_mul(0x5851_f42d_4c95_7f2d))
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// Somebody, their browser, and where their requests may arrive.
struct Person {
    name: String,
    browser: Browser,
    dice: Dice,
    /// Answers that left a while ago and are still on their way.
    late: Vec<Response<Bytes>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    answers: usize,
    hang_ups: usize,
    foreign: usize,
    refused: Vec<String>,
}

impl Person {
    async fn new(world: &World, number: usize) -> Self {
        let name = format!("person{number}");
        world.op.user(&name, |user| user.sub = format!("sub-{number}"));
        Self { browser: world.signed_in(&name).await, name, dice: Dice::of(number), late: Vec::new() }
    }

    /// The time of an expiry: requests with one cookie, of which some hang up, and what they answer in any order.
    async fn expiry(&mut self, world: Arc<World>, origins: &[&str]) -> Tally {
        let mut tally = Tally::default();
        let asked = (0..AT_ONCE).map(|_| {
            let asking = world.ask(origins[self.dice.roll(origins.len())], &self.browser, "/tok");
            // Whoever hangs up does so before the provider has answered.
            let patience = (self.dice.roll(5) == 0).then(|| SLOW * self.dice.roll(30) as u32 / 30);
            async move {
                match patience {
                    None => Some(asking.await.unwrap()),
                    Some(patience) => tokio::time::timeout(patience, asking).await.ok().map(Result::unwrap),
                }
            }
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Some(answer) => {
                    self.check(&world, &answer, &mut tally);
                    answers.push(answer);
                }
                None => tally.hang_ups += 1,
            }
        }
        self.arrive(&world, origins, answers, &mut tally).await;
        tally
    }

    /// Answers arrive in any order; some never do, and some not yet.
    async fn arrive(&mut self, world: &World, origins: &[&str], mut answers: Vec<Response<Bytes>>, tally: &mut Tally) {
        while !answers.is_empty() {
            let answer = answers.swap_remove(self.dice.roll(answers.len()));
            match self.dice.roll(8) {
                0 => {}
                1..4 => self.late.push(answer),
                _ => self.deliver(&answer),
            }
            // With whatever the browser has in the meantime.
            if self.dice.roll(4) == 0 {
                let asked = world.ask(origins[self.dice.roll(origins.len())], &self.browser, "/tok");
                let answer = asked.await.unwrap();
                self.check(world, &answer, tally);
                self.deliver(&answer);
            }
        }
    }

    /// Half a minute later: what was on its way arrives, around requests with whatever cookies there are.
    async fn afterwards(&mut self, world: Arc<World>, origins: &[&str]) -> Tally {
        let mut tally = Tally::default();
        let late = std::mem::take(&mut self.late);
        self.arrive(&world, origins, late, &mut tally).await;
        self.late.clear();
        tally
    }

    fn check(&self, world: &World, answer: &Response<Bytes>, tally: &mut Tally) {
        tally.answers += 1;
        let text = String::from_utf8_lossy(answer.body());
        if answer.status() != 200 {
            tally.refused.push(format!("{} {} {text}", self.name, answer.status()));
        } else if world.op.owner_of(&text).as_deref() != Some(&self.name) {
            tally.foreign += 1;
        }
    }

    fn deliver(&self, answer: &Response<Bytes>) {
        for header in answer.headers().get_all(SET_COOKIE) {
            self.browser.set_cookie(APP, header.to_str().unwrap());
        }
    }
}

async fn under_fire(world: World, origins: &'static [&'static str]) {
    world.net.fault(OP, "/token", Fault::SlowAnswer(SLOW));
    let world = Arc::new(world);
    let mut people = Vec::new();
    for number in 0..BROWSERS {
        people.push(Person::new(&world, number).await);
    }
    let mut all = Tally::default();
    for round in 0..2 * EXPIRIES {
        let first = round % 2 == 0;
        world.clock.advance(if first { HOUR } else { Duration::from_secs(30) });
        let rounds = people.into_iter().map(|mut person| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let tally = match first {
                    true => person.expiry(world, origins).await,
                    false => person.afterwards(world, origins).await,
                };
                (person, tally)
            })
        });
        let rounds: Vec<_> = rounds.collect();
        people = Vec::new();
        for round in rounds {
            let (person, tally) = round.await.unwrap();
            people.push(person);
            all.answers += tally.answers;
            all.hang_ups += tally.hang_ups;
            all.foreign += tally.foreign;
            all.refused.extend(tally.refused);
        }
    }
    assert_eq!((all.foreign, &all.refused, world.op.reuse_detected()), (0, &Vec::new(), 0));
    // One for each browser and expiry, by whichever process.
    assert_eq!(world.op.refreshes().len(), BROWSERS * EXPIRIES);
    let asked = BROWSERS * EXPIRIES * AT_ONCE;
    assert!(all.answers > asked * 3 / 4 && (asked / 6..asked / 4).contains(&all.hang_ups), "{all:?}");
    for person in &people {
        assert_eq!(world.who(&person.browser).await, format!("sub-{}", person.name.trim_start_matches("person")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_browsers_lose_nothing_in_one_process() {
    under_fire(World::stateless(), &[APP]).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_browsers_lose_nothing_where_two_processes_meet() {
    under_fire(two_processes().0, &[APP, REPLICA]).await;
}
