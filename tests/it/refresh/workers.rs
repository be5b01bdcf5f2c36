//! Workers with a runtime of one thread each.

use std::pin::pin;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

use super::expired_in;
use crate::support::app::{APP, World};

/// The refresh that one worker began ends without it, and those who wait at other workers have their token.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_stands_still_holds_no_refresh() {
    let (world, alice) = expired_in(World::with(|config| config.runtime(Handle::current()))).await;
    let gate = world.gate();
    let asking = world.ask(APP, &alice, "/tok");
    let (asleep, stands_still) = std::sync::mpsc::channel::<()>();
    let (wake, sleeps) = std::sync::mpsc::channel::<()>();
    let at_worker = gate.clone();
    let worker = std::thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut asking = pin!(asking);
            tokio::select! {
                _ = &mut asking => panic!("the provider has not answered"),
                () = at_worker.wait_for_arrivals(1) => {}
            }
            asleep.send(()).unwrap();
            sleeps.recv().unwrap();
            asking.await.unwrap().status()
        })
    });
    stands_still.recv().unwrap();
    gate.open();
    let other = tokio::time::timeout(Duration::from_secs(15), world.tok_at(APP, &alice)).await;
    assert_eq!(other.expect("a token, though the worker stands still").0, 200);
    wake.send(()).unwrap();
    assert_eq!(worker.join().unwrap(), 200);
    assert_eq!(world.op.refreshes().len(), 1);
    tokio::time::timeout(Duration::from_secs(15), world.app.layer.drain()).await.expect("nothing is left");
}
