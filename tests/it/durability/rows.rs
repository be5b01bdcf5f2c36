//! What somebody finds who reads the database, and what they achieve who change it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tower_oidc::EventCode;
use tower_oidc::store::{Key, Record, Store};

use crate::connections::app::{Site, connect, token};
use crate::leaks::{Secrets, a_busy_day};
use crate::support::app::{App, World, session_of};
use crate::support::database::{Database, Kind};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::redis::{Redis, connect as connect_to_redis};
use crate::support::test_store::TestStore;

/// With the database's own means each of alice's rows is copied over each of bob's.
#[tokio::test]
async fn a_row_copied_over_another_is_missing_and_reported() {
    for kind in Kind::ALL {
        let Some(database) = kind.database() else { continue };
        let store = TestStore::on(database);
        let database = store.database();
        let world = World::on(store.clone(), |config| config);
        let mut known = BTreeSet::new();
        let mut rows = Vec::new();
        let mut sessions = Vec::new();
        for name in ["alice", "bob"] {
            let browser = world.signed_in(name).await;
            assert_eq!(world.op.owner_of(&world.tok(&browser).await.1).as_deref(), Some(name));
            let now = database.keys();
            // (The first one's rows hold the index key, which is nobody's.)
            rows.push(now.difference(&known).copied().collect::<Vec<_>>());
            sessions.push(session_of(&browser));
            known = now;
        }
        let [alice, bob] = rows.try_into().expect("two people");
        assert!(alice.len() >= 3 && bob.len() >= 3, "{kind:?}: a spent login, a session, a grant");
        let spare = Key([0xaa; 32]);
        let cookie = format!("__Host-tower-oidc-session={}", sessions[1]);
        let mut reported = 0;
        for from in &alice {
            for to in &bob {
                database.copy(*to, spare);
                database.copy(*from, *to);
                // A process that remembers nothing.
                let app = App::start(&world.net, &world.clock, store.reopened(), |config| config);
                let who = world.with_cookie("/who", cookie.as_bytes()).await;
                assert_eq!(who.status(), 200, "{kind:?}");
                let subject = &serde_json::from_slice::<Value>(who.body()).unwrap()["sub"];
                assert!(subject.is_null() || *subject == "b1", "{kind:?}: bob is {subject}");
                let tok = world.with_cookie("/tok", cookie.as_bytes()).await;
                let owner = world.op.owner_of(&String::from_utf8_lossy(tok.body()));
                let missing = tok.status() == 401 || tok.status() == 403;
                assert!(missing || owner.as_deref() == Some("bob"), "{kind:?}: {tok:?}");
                let tampered = app.events.has(EventCode::Tampered);
                assert_eq!(tampered, missing || subject.is_null(), "{kind:?}: {:?}", app.events.all());
                reported += usize::from(tampered);
                database.copy(spare, *to);
            }
        }
        // His session and his grant, by whatever of hers.
        assert_eq!(reported, 2 * alice.len(), "{kind:?}");
        App::start(&world.net, &world.clock, store.reopened(), |config| config);
        let tok = world.with_cookie("/tok", cookie.as_bytes()).await;
        let owner = world.op.owner_of(&String::from_utf8_lossy(tok.body()));
        assert_eq!(owner.as_deref(), Some("bob"), "{kind:?}: the control: put back, it opens");
    }
}

/// A full run: logins, refreshes, failures, logouts and connections of several people. Then everything that the
/// server wrote to disk since it was made, its logs of writes included, and every row as it is now, searched for
/// every secret and every identity.
#[tokio::test]
async fn a_dump_of_the_database_says_nothing() {
    let redis = Redis::start();
    let postgres = Postgres::start();
    for kind in Kind::ALL {
        let folder = Folder::new();
        let (url, files) = match kind {
            Kind::Sqlite => (format!("sqlite:{}", folder.file().display()), folder.path().to_owned()),
            Kind::Redis => {
                let Some(redis) = &redis else { continue };
                let mut own = connect_to_redis(&redis.url(0)).await;
                // While the disk is busy, every other policy puts a write off that was acknowledged.
                let always = ["SET", "appendfsync", "always"];
                redis::cmd("CONFIG").arg(&always).exec_async(&mut own).await.unwrap();
                let dir: Vec<String> = redis::cmd("CONFIG").arg("GET").arg("dir").query_async(&mut own).await.unwrap();
                (redis.url(0), PathBuf::from(&dir[1]).join("appendonlydir"))
            }
            Kind::Postgres => {
                let Some(postgres) = &postgres else { continue };
                let url = postgres.database().await;
                let files = Database::at(kind, url.clone()).data_directory();
                (url, files)
            }
        };
        let store = TestStore::on(Database::at(kind, url));
        let world = World::on(store.clone(), |mut config| {
            config.provider.revoke_at_logout = true;
            config
        });
        a_busy_day(&world).await;
        let site = Site::on(store.reopened());
        site.op.user("carol", |user| user.sub = "subject-of-carol".into());
        for name in ["alice", "bob", "carol"] {
            let browser = site.signed_in(name).await;
            connect(&browser, "mail").await;
            token(&browser, "mail").await.expect("granted");
        }
        let mut secrets = Secrets::of(&world.net, &world.op);
        secrets.extend(Secrets::of(&site.net, &site.op));
        secrets.add([
            "alice@example.com",
            "bob@example.com",
            "carol@example.com",
            "subject-of-carol",
            "https://op.test",
        ]);
        secrets.decode();

        let dump = Folder::new();
        write_rows(&store, &dump).await;
        let count = secrets.count();
        assert!(count > 100, "{kind:?}: {count} things to look for");
        let found = [found_in(&files, &secrets), found_in(dump.path(), &secrets)];
        assert_eq!(found, [Vec::<String>::new(), Vec::new()], "{kind:?}");

        // The control: what is there is found, on disk and in the dump.
        let tokens = world.op.secrets().into_iter().filter(|secret| secret.len() > 20);
        let planted = tokens.min_by_key(String::len).expect("a token");
        let record = Record {
            // Twice: in PostgreSQL's log of writes the head of a page may stand in the middle of one.
            bytes: format!("{{\"token\":\"{planted}\",\"again\":\"{planted}\"}}").into(),
            expires_at: tower_oidc::Timestamp::from_secs(4_000_000_000),
            tags: Vec::new(),
        };
        store.swap(Key([0xbb; 32]), None, record).await.unwrap().unwrap();
        write_rows(&store, &dump).await;
        assert!(!found_in(&files, &secrets).is_empty(), "{kind:?}: on disk");
        assert!(!found_in(dump.path(), &secrets).is_empty(), "{kind:?}: in the dump");
        println!("{kind:?}: {count} secrets and identities, in {} rows and every file", store.len());
    }
}

/// Every row, as bytes.
async fn write_rows(store: &TestStore, folder: &Folder) {
    let mut bytes = Vec::new();
    for key in store.database().keys() {
        let Some(stored) = store.load(key).await.unwrap() else { continue };
        bytes.extend(key.0);
        stored.record.tags.iter().for_each(|tag| bytes.extend(tag.0));
        bytes.extend(&stored.record.bytes);
    }
    fs::write(folder.path().join("rows"), bytes).unwrap();
}

/// The files below a folder that hold one of them.
fn found_in(folder: &Path, secrets: &Secrets) -> Vec<String> {
    let needles = Folder::new();
    let list = needles.path().join("needles");
    fs::write(&list, secrets.lines()).unwrap();
    let grep = Command::new("grep")
        .args(["-r", "-a", "-F", "-l", "-f"])
        .args([&list, folder])
        .env("LC_ALL", "C")
        .output()
        .expect("grep is there");
    assert!(grep.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&grep.stderr));
    assert!(folder.read_dir().unwrap().next().is_some(), "there is something to search");
    String::from_utf8_lossy(&grep.stdout).lines().map(str::to_owned).collect()
}
