//! A file that another process keeps busy.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use tower_oidc::store::{Key, SqliteStore, Store, StoreErrorKind};

use super::{CALL, MARGIN, Operation, works_again};
use crate::stores::{create, record};
use crate::support::folder::Folder;

/// Each call ends in time, however many wait; reads go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_to_a_busy_file_ends_and_nothing_stays_broken() {
    let folder = Folder::new();
    let store = Arc::new(SqliteStore::open(folder.file()).unwrap());
    let mut calls = Vec::new();
    for operation in Operation::ALL {
        calls.push((operation, operation.prepare(&*store).await));
    }
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting: Vec<_> = (100..120)
        .map(|row| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let began = Instant::now();
                let written = store.swap(Key([row; 32]), None, record("x")).await;
                (written.map_err(|error| error.kind()), began.elapsed())
            })
        })
        .collect();
    for (operation, version) in &calls {
        let began = Instant::now();
        let ended = operation.call(&*store, *version).await.map_err(|error| error.kind());
        let right = if operation.writes() { Err(StoreErrorKind::Unavailable) } else { Ok(true) };
        println!("| SQLite | busy | {operation:?} | {ended:?} | {:.1} s |", began.elapsed().as_secs_f32());
        assert_eq!(ended, right, "{operation:?}");
        assert!(began.elapsed() < CALL + MARGIN, "{operation:?} {:?}", began.elapsed());
    }
    for each in waiting {
        let (written, took) = each.await.unwrap();
        assert_eq!(written, Err(StoreErrorKind::Unavailable));
        assert!(took < CALL + MARGIN, "{took:?}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    let took = works_again(&*store, Key([200; 32])).await;
    assert!(took < CALL + MARGIN, "{took:?}");
    for row in 100..120 {
        create(&store, Key([row; 32])).await;
    }
    for (operation, version) in calls {
        assert_eq!(operation.call(&*store, version).await.map_err(|error| error.kind()), Ok(true), "{operation:?}");
    }
}
