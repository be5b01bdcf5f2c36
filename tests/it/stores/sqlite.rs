//! Records in a file: who may open it, several at once, and what breaks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tower_oidc::store::{Key, Record, SqliteStore, Store, StoreError};
use tower_oidc::{Clock, Timestamp};

use crate::support::folder::Folder;
use crate::support::store_contract;

use super::{collecting_leaves_nothing_and_nobody_behind, create, record, said};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    let folder = Folder::new();
    store_contract::check(Arc::new(SqliteStore::open(folder.file()).unwrap())).await;
}

#[tokio::test]
async fn sqlite_keeps_the_contract_over_two_that_opened_one_file() {
    let folder = Folder::new();
    let open = || Arc::new(SqliteStore::open(folder.file()).unwrap());
    store_contract::check_two(open(), open()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract_with_settings_of_the_application() {
    let settings =
        "PRAGMA cache_size = -8000; PRAGMA mmap_size = 1048576; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 1";
    let folder = Folder::new();
    let open = || Arc::new(SqliteStore::open_with(folder.file(), settings).unwrap());
    store_contract::check(open()).await;
    store_contract::check_two(open(), open()).await;
}

/// The settings write a row for each connection that is made.
#[tokio::test]
async fn settings_of_the_application_run_on_each_connection() {
    let settings = "CREATE TABLE IF NOT EXISTS made (at); INSERT INTO made VALUES (1)";
    let folder = Folder::new();
    let made = || {
        let counting = Connection::open(folder.file()).unwrap();
        counting.query_row("SELECT count(*) FROM made", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    SqliteStore::migrate_with(folder.file(), settings).unwrap();
    assert_eq!(made(), 1);
    let store = SqliteStore::open_migrated_with(folder.file(), settings).unwrap();
    assert_eq!(made(), 2);
    create(&store, Key([1; 32])).await;
    assert_eq!(made(), 3, "the writer");
    assert!(store.load(Key([1; 32])).await.unwrap().is_some());
    assert_eq!(made(), 4, "a reader");
    create(&store, Key([2; 32])).await;
    assert!(store.load(Key([2; 32])).await.unwrap().is_some());
    assert_eq!(made(), 4, "both are there already");
    SqliteStore::open_with(folder.file(), settings).unwrap();
    assert!(made() > 4);
    let before = made();
    create(&SqliteStore::open(folder.file()).unwrap(), Key([3; 32])).await;
    assert_eq!(made(), before, "no settings, no rows");
}

/// A setting that SQLite refuses is an error from the start. Its text, which may be a key, is nowhere.
#[tokio::test]
async fn no_setting_of_the_application_is_said() {
    let folder = Folder::new();
    SqliteStore::migrate(folder.file()).unwrap();
    for settings in [
        "s3cret",
        "PRAGMA cache_size = 's3cret",
        "PRAGMA cache_size = 8; SELECT s3cret",
        "SELECT s3cret('s3cret')",
        "ATTACH '/nowhere/s3cret' AS s3cret",
        "INSERT INTO tower_oidc_state (s3cret) VALUES ('s3cret')",
        "SELECT json('s3cret')",
    ] {
        let path = folder.file();
        let errors = [
            SqliteStore::open_with(&path, settings).expect_err(settings),
            SqliteStore::open_migrated_with(&path, settings).expect_err(settings),
            SqliteStore::migrate_with(&path, settings).expect_err(settings),
        ];
        for error in errors {
            let all = said(&error);
            assert!(all.contains("a setting of the application"), "{settings}: {all}");
            assert!(!all.contains("s3cret"), "{settings}: {all}");
        }
    }
    let store = SqliteStore::open_with(folder.file(), "PRAGMA user_version = 7 -- s3cret").unwrap();
    create(&store, Key([1; 32])).await;
    assert!(!format!("{store:?}").contains("s3cret"), "{store:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_collects_in_batches() {
    let folder = Folder::new();
    collecting_leaves_nothing_and_nobody_behind(Arc::new(SqliteStore::open(folder.file()).unwrap())).await;
}

/// What has expired goes at once where another process wrote within a minute and its clock agrees, and 30 days later
/// where it does not.
#[tokio::test]
async fn a_clock_that_another_process_does_not_share_deletes_nothing() {
    const NOW: u64 = 1_800_000_000;
    const MONTH: u64 = 30 * 24 * 60 * 60;
    for (other_wrote_at, own_writes, deletes) in [
        (Some(NOW), true, true),
        (Some(NOW), false, true),
        (Some(NOW - 60), true, true),
        (Some(NOW + 60), false, true),
        (Some(NOW - 61), true, false),
        (Some(NOW + 61), false, false),
        (Some(NOW - 8 * 24 * 60 * 60), true, false),
        (None, true, false),
    ] {
        let folder = Folder::new();
        let open = |now| {
            let clock = Clock::from_fn(move || Timestamp::from_secs(now));
            SqliteStore::open(folder.file()).unwrap().with_clock(clock)
        };
        let store = open(NOW);
        let expired = Record { expires_at: Timestamp::from_secs(NOW), ..record("old") };
        store.swap(Key([1; 32]), None, expired).await.unwrap().unwrap();
        if let Some(at) = other_wrote_at {
            create(&open(at), Key([2; 32])).await;
        }
        if own_writes {
            // However often this process writes: its own clock is no witness of itself.
            create(&store, Key([3; 32])).await;
            create(&store, Key([4; 32])).await;
        }
        let what = format!("another wrote at {other_wrote_at:?}, own writes after it: {own_writes}");
        let deleted = store.delete_expired(Timestamp::from_secs(NOW)).await.unwrap();
        assert_eq!(deleted, u64::from(deletes), "{what}");
        let deleted = store.delete_expired(Timestamp::from_secs(NOW + MONTH)).await.unwrap();
        assert_eq!(deleted, u64::from(!deletes), "{what}: 30 days later");
    }
}

#[tokio::test]
async fn a_file_outlives_its_process_and_a_version_its_row() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    let first = create(&store, Key([1; 32])).await;
    let second = create(&store, Key([2; 32])).await;
    assert!(store.delete(Key([2; 32]), Some(second)).await.unwrap());
    drop(store);
    let store = SqliteStore::open(folder.file()).unwrap();
    let stored = store.load(Key([1; 32])).await.unwrap().expect("it is still there");
    assert_eq!((stored.version, stored.record), (first, record("new")));
    assert!(create(&store, Key([2; 32])).await > second, "the version was not forgotten with its row");
    assert!(store.is_durable());
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_only() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, Key([1; 32])).await;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    let given = folder.path().join("given.sqlite");
    fs::write(&given, "").unwrap();
    fs::set_permissions(&given, fs::Permissions::from_mode(0o640)).unwrap();
    SqliteStore::open(&given).unwrap();
    assert_eq!(fs::metadata(&given).unwrap().permissions().mode() & 0o777, 0o640, "the operator's stay");
}

#[test]
fn what_is_no_file_of_its_own_is_refused() {
    let folder = Folder::new();
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, "no database, but something that was here before\n".repeat(100)).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for (path, says) in [
        (String::new(), "the path of a file"),
        (":memory:".to_owned(), "MemoryStore"),
        ("file::memory:?cache=shared".to_owned(), "the path of a file"),
        (path(folder.path()), "directory"),
        (path(&folder.path().join("nowhere/records.sqlite")), "cannot be opened"),
        ("/proc/records.sqlite".to_owned(), "cannot be opened"),
        (path(&garbage), "SQLite did not do it"),
    ] {
        let error = SqliteStore::open(&path).expect_err(&path);
        assert!(error.to_string().contains(says), "{path}: {error}");
    }
    assert!(fs::read_to_string(&garbage).unwrap().starts_with("no database"), "it is left alone");
    SqliteStore::open(folder.file()).expect("and a file is a file");
}

#[test]
fn tables_are_made_once_however_many_start() {
    for _ in 0..5 {
        let folder = Folder::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| SqliteStore::open(folder.file()).expect("each of them starts"));
            }
        });
        SqliteStore::open_migrated(folder.file()).expect("and the tables are there");
    }
}

#[tokio::test]
async fn tables_of_another_version_are_refused_by_name() {
    let folder = Folder::new();
    let says = |opened: Result<SqliteStore, StoreError>| opened.expect_err("refused").to_string();
    assert!(SqliteStore::open_migrated(folder.file()).is_err(), "no file");
    fs::write(folder.file(), "").unwrap();
    assert!(says(SqliteStore::open_migrated(folder.file())).contains("run `SqliteStore::migrate`"));
    SqliteStore::migrate(folder.file()).unwrap();
    SqliteStore::migrate(folder.file()).expect("twice is once");
    let store = SqliteStore::open_migrated(folder.file()).unwrap();
    let version = create(&store, Key([1; 32])).await;

    let tables = Connection::open(folder.file()).unwrap();
    tables.execute_batch("UPDATE tower_oidc_state SET schema_version = 0").unwrap();
    assert!(says(SqliteStore::open_migrated(folder.file())).contains("older"));
    let store = SqliteStore::open(folder.file()).expect("what is older is brought up");
    assert_eq!(store.load(Key([1; 32])).await.unwrap().unwrap().version, version, "with its rows");
    SqliteStore::open_migrated(folder.file()).unwrap();

    tables.execute_batch("UPDATE tower_oidc_state SET schema_version = 2").unwrap();
    for refused in [SqliteStore::open(folder.file()), SqliteStore::open_migrated(folder.file())] {
        assert!(says(refused).contains("newer"));
    }
    assert!(SqliteStore::migrate(folder.file()).unwrap_err().to_string().contains("newer"));
}

#[tokio::test]
async fn a_write_waits_for_another_process_and_not_for_ever() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    let version = create(&store, Key([1; 32])).await;
    let other = Connection::open(folder.file()).unwrap();

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let error = store.swap(Key([1; 32]), Some(version), record("x")).await.expect_err("it is locked");
    assert!(began.elapsed() < Duration::from_millis(4_800), "before the caller gives up: {error}");
    assert_eq!(store.load(Key([1; 32])).await.unwrap().unwrap().version, version, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        other.execute_batch("ROLLBACK").unwrap();
    });
    let written = store.swap(Key([1; 32]), Some(version), record("x")).await;
    assert!(written.expect("it waits").is_some());
    release.join().unwrap();
}

/// What another hand did to the file is an error, no panic and no row.
#[tokio::test]
async fn damage_is_an_error() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, Key([1; 32])).await;
    let other = Connection::open(folder.file()).unwrap();
    for damage in ["tag1 = x'0102'", "version = -5", "expires_at = -1"] {
        other.execute_batch(&format!("UPDATE tower_oidc_records SET {damage}")).unwrap();
        store.load(Key([1; 32])).await.expect_err(damage);
        other.execute_batch("UPDATE tower_oidc_records SET tag1 = NULL, version = 9, expires_at = 9").unwrap();
        assert!(store.load(Key([1; 32])).await.unwrap().is_some());
    }
    other.execute_batch("DROP TABLE tower_oidc_records").unwrap();
    store.load(Key([1; 32])).await.expect_err("there is no table");
    store.swap(Key([1; 32]), None, record("x")).await.expect_err("there is no table");
    store.delete(Key([1; 32]), None).await.expect_err("there is no table");
    store.wait(Key([1; 32]), None, Duration::from_secs(60)).await.expect_err("there is no table");
}

#[tokio::test]
async fn a_file_that_can_only_be_read_is_refused() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, Key([1; 32])).await;
    // Permissions do not stop root; this flag in the file's header stops everybody: "written by a newer SQLite".
    drop(store);
    let mut bytes = fs::read(folder.file()).unwrap();
    bytes[18] = 3;
    fs::write(folder.file(), bytes).unwrap();
    let error = SqliteStore::open(folder.file()).expect_err("it cannot be written");
    assert!(error.to_string().contains("only be read"), "{error}");
}

/// What is written to a file that another one took the place of is lost with its last connection: it is noticed.
#[tokio::test]
async fn a_file_that_is_replaced_is_opened_anew() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file()).unwrap();
    create(&store, Key([1; 32])).await;
    let other = Folder::new();
    drop(SqliteStore::open(other.file()).unwrap());
    // As a backup is restored: the log of the former file goes with it.
    for log in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{log}", folder.file().display()));
    }
    fs::rename(other.file(), folder.file()).unwrap();
    assert_eq!(store.load(Key([1; 32])).await.unwrap(), None, "it is another file");
    create(&store, Key([2; 32])).await;
    let again = SqliteStore::open(folder.file()).unwrap();
    assert!(again.load(Key([2; 32])).await.unwrap().is_some(), "what was written since is there");
    // A file that is gone is an error, and no place to write to.
    fs::remove_file(folder.file()).unwrap();
    assert!(store.swap(Key([3; 32]), None, record("x")).await.is_err());
}
