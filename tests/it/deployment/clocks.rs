//! One process whose clock steps, while those of the others go on.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cluster::Cluster;
use super::crowd::Crowd;
use super::dice::Dice;
use super::{Shared, outcome, people, seconds, with_each_store};
use crate::support::folder::Folder;
use crate::support::process::missing;

/// How far a clock is off at the most, in seconds, either way. Two clocks may differ by sixteen.
const FAR: i64 = 7;
const DAY: i64 = 24 * 60 * 60;

/// A clock for one process, from libfaketime. Its timers go on as they do everywhere.
struct SteppingClock {
    library: String,
    folder: Folder,
}

impl SteppingClock {
    /// A right one; `None` where libfaketime is not installed.
    fn new() -> Option<Self> {
        let library = |machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1");
        let mut libraries = ["x86_64", "aarch64"].map(library).into_iter();
        let library = libraries.find(|path| Path::new(path).is_file()).or_else(|| missing("libfaketime"))?;
        let clock = Self { library, folder: Folder::new() };
        clock.step(0);
        Some(clock)
    }

    /// So many seconds ahead, within a second from now.
    fn step(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{seconds:+}")).expect("it writes");
        std::fs::rename(new, self.folder.file()).expect("it renames");
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.folder.file().display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

/// Nobody gets anything of anybody else or is signed out, and each refresh token is spent once, however a clock steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_one_process_steps_and_nobody_is_signed_out() {
    with_each_store(|store: Shared| async move {
        let Some(clock) = SteppingClock::new() else { return };
        let (what, time) = (format!("{}, a stepping clock", store.kind()), seconds(8));
        let mut cluster = Cluster::start(&store.url, 3, 2).await;
        cluster.restart_first_with(clock.environment()).await;
        let mut dice = Dice::new(&what);
        let crowd = Crowd::signed_in(&cluster, people(24)).await;
        let working = crowd.work(time);
        let began = Instant::now();
        clock.step(FAR);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        // The header follows a clock that steps ahead at once, and one that steps back later.
        let right = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let ahead = (cluster.time_at_first().await - right.cast_signed()).rem_euclid(DAY);
        assert!((FAR - 2..=FAR + 2).contains(&ahead), "{what}: {ahead}");
        while began.elapsed() + Duration::from_secs(2) < time {
            clock.step([-FAR, 0, FAR][dice.roll(3)]);
            tokio::time::sleep(dice.millis(1500, 3000)).await;
        }
        clock.step(0);
        let (crowd, tally) = working.done().await;
        crowd.recovers().await;
        let outcome = outcome(cluster, &tally, &what).await;
        assert_eq!((outcome.reuse, outcome.lost), (0, 0), "{what}");
    })
    .await;
}
