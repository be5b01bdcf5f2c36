//! The process is killed in the middle of its writes.

use std::time::Duration;

use super::{Load, PATIENCE, SECRET, Tally, Town};
use crate::support::database::Kind;
use crate::support::process::eventually;

const PEOPLE: usize = 12;
const KILLS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_and_a_process_that_is_killed_while_it_writes() {
    killed_while_it_writes(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_and_a_process_that_is_killed_while_it_writes() {
    killed_while_it_writes(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_and_a_process_that_is_killed_while_it_writes() {
    killed_while_it_writes(Kind::Redis).await;
}

/// Tokens that last a second, under load, and SIGKILL at five moments. Afterwards everybody has a token again, or was
/// caught between the provider's answer and the write, which the provider takes for a theft and which ends in one
/// truthful question for consent. Nobody is signed out, and every row opens.
async fn killed_while_it_writes(kind: Kind) {
    let Some(database) = kind.database() else { return };
    let town = Town::new(database).await;
    town.op.set(|op| op.access_token_lifetime = 1);
    let mut demo = town.demo(SECRET, &[]).await;
    let mut people = town.people(&demo, PEOPLE).await;
    let mut total = Tally::new();
    for kill in 0..KILLS {
        let load = Load::of(people, &[&demo]);
        let before = town.op.refreshes().len();
        let spent = || (town.op.refreshes().len() > before + 3).then_some(());
        eventually("it refreshes", PATIENCE, async || spent()).await;
        tokio::time::sleep(Duration::from_millis(37 * kill)).await;
        demo.stop().await;
        let said;
        (people, said) = load.end().await;
        for (said, count) in said {
            *total.entry(said).or_default() += count;
        }
        demo = town.demo(SECRET, &[]).await;
    }
    // A lease of the dead holds for 45 s at most.
    let mut lost = 0;
    for person in &mut people {
        assert_eq!(person.who(demo.at("")).await, "known", "{kind:?}");
        let said = eventually("an answer", PATIENCE, async || {
            let said = person.api(demo.at("")).await;
            (said != "away").then_some(said)
        });
        match said.await.as_str() {
            "fetched" => {}
            "\"consent_required\"" => {
                lost += 1;
                person.client.visit(&demo.at("/auth/login?return_to=/who")).await;
                assert_eq!(person.api(demo.at("")).await, "fetched", "{kind:?}: one login mends it");
            }
            other => panic!("{kind:?}: {other}"),
        }
    }
    // One for each refresh token that the provider saw twice, and no other.
    assert!(lost <= town.op.reuse_detected(), "{kind:?}: {lost} of {}", town.op.reuse_detected());
    let log = demo.output();
    assert!(!log.contains("seal.tampered") && !log.contains("seal.unknown_key"), "{kind:?}: {log}");
    let bad: Vec<_> = total.keys().filter(|said| !EXPECTED.contains(&said.as_str())).collect();
    assert_eq!(bad, [] as [&String; 0], "{kind:?}: {total:?}");
    println!(
        "{kind:?}: {KILLS} kills, {} refreshes, {lost} caught in their spend window; {total:?}",
        town.op.refreshes().len()
    );
}

/// What people may be told while processes are killed: never that they are nobody.
const EXPECTED: [&str; 5] = ["known", "fetched", "away", "no process", "\"consent_required\""];
