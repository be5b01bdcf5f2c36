//! Secrets change in a rolling deploy, and nobody notices.

use super::{Load, Tally, Town, retire};
use crate::support::database::Kind;
use crate::support::process::{Demo, free_port};

const A: &str = "the sealing secret A of the tests of 32 bytes and more";
const B: &str = "the sealing secret B of the tests of 32 bytes and more";

/// Two processes, restarted one after the other at each step: B opens, B seals, A goes. Both generations are asked
/// at every moment, under load, with tokens that last two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_rotate_in_a_rolling_deploy_and_nobody_notices() {
    for kind in Kind::ALL {
        let Some(database) = kind.database() else { continue };
        let town = Town::new(database).await;
        town.op.set(|op| op.access_token_lifetime = 2);
        let other = free_port();
        let mut processes = [town.demo(A, &[]).await, town.demo_at(other, A, &[]).await];
        let people = town.people(&processes[0], 8).await;
        let mut sleeper = town.sign_in(&processes[0], "sleeper").await;
        let load = Load::of(people, &[&processes[0], &processes[1]]);
        town.refreshes(8).await;
        let (a_and_b, b_and_a) = (format!("{A},{B}"), format!("{B},{A}"));
        for secrets in [a_and_b.as_str(), &b_and_a, B] {
            for (number, port) in [town.public_port, other].into_iter().enumerate() {
                processes = restarted(&town, processes, number, port, secrets).await;
                // Mixed replicas: everybody's grant is refreshed by either.
                town.refreshes(16).await;
            }
        }
        let (mut people, said) = load.end().await;
        assert_nobody_noticed(&said, kind);
        for person in &mut people {
            for process in &processes {
                assert_eq!(person.who(process.at("")).await, "known", "{kind:?}");
                assert_eq!(person.api(process.at("")).await, "fetched", "{kind:?}");
            }
        }
        assert_eq!((town.op.authorizations().len(), town.op.reuse_detected()), (9, 0), "{kind:?}: {said:?}");
        // The control: what nobody used while B sealed is sealed with A, and A is gone.
        assert_eq!(sleeper.who(processes[0].at("")).await, "nobody", "{kind:?}");
        println!("{kind:?}: {said:?}, {} refreshes", town.op.refreshes().len());
    }
}

async fn restarted(town: &Town, processes: [Demo; 2], number: usize, port: u16, secrets: &str) -> [Demo; 2] {
    let [first, second] = processes;
    let (old, stays) = if number == 0 { (first, second) } else { (second, first) };
    retire(old).await;
    let new = town.demo_at(port, secrets, &[]).await;
    if number == 0 { [new, stays] } else { [stays, new] }
}

fn assert_nobody_noticed(said: &Tally, kind: Kind) {
    let bad: Tally = said
        .iter()
        .filter(|(said, _)| !["known", "fetched", "no process"].contains(&said.as_str()))
        .map(|(said, count)| (said.clone(), *count))
        .collect();
    assert_eq!(bad, Tally::new(), "{kind:?}: of {said:?}");
    assert!(said["known"] > 100 && said["fetched"] > 100, "{kind:?}: {said:?}");
}
