//! The Redis store: the contract, what the server must promise, and what happens when it is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{Client, ClientTlsConfig, IntoConnectionInfo, ProtocolVersion, TlsCertificates, cmd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_oidc::Timestamp;
use tower_oidc::store::{Change, Key, Record, RedisStore, Store, Tag, Version};

use super::said;
use crate::support::folder::Folder;
use crate::support::process::free_port;
use crate::support::redis::{ENCODED_PASSWORD, PASSWORD, Redis, connect};
use crate::support::store_contract;

const LONG: Duration = Duration::from_secs(60);

fn store(url: &str) -> RedisStore {
    RedisStore::connect_lazy(url).expect("a URL of Redis")
}

fn key(name: u8) -> Key {
    Key([name; 32])
}

fn record(contents: &[u8]) -> Record {
    let expires_at = Timestamp::from_secs(4_000_000_000);
    Record { bytes: Bytes::copy_from_slice(contents), expires_at, tags: vec![Tag([9; 32])] }
}

async fn create(store: &RedisStore, name: u8) -> Version {
    store.swap(key(name), None, record(b"sealed")).await.expect("Redis works").expect("a new row")
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let Some(redis) = Redis::shared() else { return };
    store_contract::check(Arc::new(store(&redis.database()))).await;
    let url = redis.database();
    store_contract::check_two(Arc::new(store(&url)), Arc::new(store(&url))).await;
}

#[tokio::test]
async fn collecting_leaves_nothing_and_nobody_behind() {
    let Some(redis) = Redis::shared() else { return };
    super::collecting_leaves_nothing_and_nobody_behind(Arc::new(store(&redis.database()))).await;
}

#[tokio::test]
async fn a_callers_clock_deletes_nothing_that_lasts() {
    let Some(redis) = Redis::shared() else { return };
    super::a_callers_clock_deletes_nothing_that_lasts(store(&redis.database())).await;
}

/// Who listens is told that it may have missed something, and asks again.
#[tokio::test]
async fn whoever_listens_hears_that_the_connection_is_lost() {
    let Some(redis) = Redis::start() else { return };
    let store = store(&redis.url(0));
    let (send, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let listening = tokio::spawn({
        let (store, send) = (store.clone(), send.clone());
        async move {
            store
                .subscribe(&move |change| {
                    let _ = send.send(change);
                })
                .await
        }
    });
    assert_eq!(heard.recv().await, Some(Change::Any));
    create(&store, 1).await;
    while heard.recv().await.expect("the row") == Change::Any {}
    redis.stop();
    listening.await.unwrap().unwrap_err();
    store.subscribe(&|_| panic!("there is nothing to hear")).await.unwrap_err();
    redis.resume();
    let listening = tokio::spawn(async move {
        store
            .subscribe(&move |change| {
                let _ = send.send(change);
            })
            .await
    });
    assert_eq!(heard.recv().await, Some(Change::Any));
    listening.abort();
}

#[tokio::test]
async fn two_processes_share_their_rows_and_other_prefixes_do_not() {
    let Some(redis) = Redis::shared() else { return };
    let url = redis.database();
    let (here, there, elsewhere) = (store(&url), store(&url), store(&url).prefix("another"));
    let version = create(&here, 1).await;
    let found = there.load(key(1)).await.unwrap().expect("the other process sees it");
    assert_eq!((found.version, found.record), (version, record(b"sealed")));
    assert_eq!(there.find(Tag([9; 32])).await.unwrap(), [key(1)]);
    assert_eq!(elsewhere.load(key(1)).await.unwrap(), None);
    assert!(elsewhere.find(Tag([9; 32])).await.unwrap().is_empty());
    assert!(there.delete(key(1), Some(version)).await.unwrap());
    assert_eq!(here.load(key(1)).await.unwrap(), None);
}

/// Both create the same rows at once: each row has one winner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_wins_each_row() {
    let Some(redis) = Redis::shared() else { return };
    let url = redis.database();
    let claim = |store: RedisStore, name: &'static [u8]| async move {
        let mut won = 0;
        for row in 0..100 {
            won += usize::from(store.swap(key(row), None, record(name)).await.unwrap().is_some());
        }
        won
    };
    let (ann, bob) = (tokio::spawn(claim(store(&url), b"ann")), tokio::spawn(claim(store(&url), b"bob")));
    assert_eq!(ann.await.unwrap() + bob.await.unwrap(), 100);
}

/// Without word it would be looked at after a second.
#[tokio::test]
async fn a_write_of_another_process_wakes_who_waits() {
    let Some(redis) = Redis::shared() else { return };
    let url = redis.database();
    let (here, there) = (store(&url), store(&url));
    let mut version = create(&here, 1).await;
    let mut quickest = LONG;
    for _ in 0..5 {
        let waiting = tokio::spawn({
            let here = here.clone();
            async move { here.wait(key(1), Some(version), LONG).await }
        });
        tokio::task::yield_now().await;
        let written_at = Instant::now();
        version = there.swap(key(1), Some(version), record(b"next")).await.unwrap().expect("in turn");
        waiting.await.unwrap().unwrap();
        quickest = quickest.min(written_at.elapsed());
    }
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
}

/// A version is not drawn again when the server forgot which were used.
#[tokio::test]
async fn a_server_that_comes_back_empty_repeats_no_version() {
    let Some(redis) = Redis::shared() else { return };
    let url = redis.database();
    let store = store(&url);
    let before = create(&store, 1).await;
    let () = cmd("FLUSHDB").query_async(&mut connect(&url).await).await.unwrap();
    assert_eq!(store.swap(key(1), Some(before), record(b"late")).await.unwrap(), None, "the row is gone");
    assert_ne!(create(&store, 1).await, before);
}

#[tokio::test]
async fn what_expired_is_collected_in_steps_and_counted() {
    let Some(redis) = Redis::shared() else { return };
    let url = redis.database();
    let store = store(&url);
    for row in 0..=250 {
        let expires_at = Timestamp::from_secs(1_000 + u64::from(row));
        store.swap(key(row), None, Record { expires_at, ..record(b"x") }).await.unwrap();
    }
    let forever = Record { expires_at: Timestamp::from_millis(i64::MAX as u64), ..record(b"forever") };
    store.swap(key(255), None, forever.clone()).await.unwrap();
    // Written again meanwhile: not due any more.
    let first = store.load(key(0)).await.unwrap().unwrap().version;
    store.swap(key(0), Some(first), record(b"longer")).await.unwrap().expect("in turn");
    assert_eq!(store.delete_expired(Timestamp::from_secs(1_240)).await.unwrap(), 240);
    assert_eq!(store.delete_expired(Timestamp::from_secs(1_240)).await.unwrap(), 0);
    assert_eq!(store.delete_expired(Timestamp::from_secs(2_000)).await.unwrap(), 10);
    let mut left = store.find(Tag([9; 32])).await.unwrap();
    left.sort();
    assert_eq!(left, [key(0), key(255)]);
    assert_eq!(store.load(key(255)).await.unwrap().unwrap().record, forever);
    // Nothing is left over: two rows and the two indexes.
    let names: Vec<Vec<u8>> = cmd("KEYS").arg("*").query_async(&mut connect(&url).await).await.unwrap();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[tokio::test]
async fn a_row_that_no_store_wrote_is_absent_and_written_over() {
    let Some(redis) = Redis::shared() else { return };
    let url = redis.database();
    let store = store(&url);
    let name = [b"{tower-oidc}:", &key(1).0[..]].concat();
    let mut own = connect(&url).await;
    let cut = [&[7; 16][..], &[2], &[7; 63]].concat();
    for foreign in [&b"short"[..], &cut] {
        let () = cmd("SET").arg(&name).arg(foreign).query_async(&mut own).await.unwrap();
        assert_eq!(store.load(key(1)).await.unwrap(), None);
        assert!(!store.delete(key(1), None).await.unwrap());
        let version = create(&store, 1).await;
        assert!(store.delete(key(1), Some(version)).await.unwrap());
    }
}

#[tokio::test]
async fn it_starts_without_its_server_and_recovers_by_itself() {
    let Some(redis) = Redis::start() else { return };
    redis.stop();
    let store = store(&redis.url(0));
    for _ in 0..3 {
        let asked_at = Instant::now();
        let away = store.load(key(1)).await.unwrap_err();
        assert!(asked_at.elapsed() < Duration::from_secs(2), "{:?}", asked_at.elapsed());
        assert!(away.to_string().contains("away"), "{away}");
    }
    redis.resume();
    let version = create(&store, 1).await;
    redis.stop();
    assert!(store.swap(key(1), Some(version), record(b"lost")).await.is_err());
    assert!(store.wait(key(1), Some(version), LONG).await.is_err(), "waiting says so too");
    redis.resume();
    assert_eq!(store.load(key(1)).await.unwrap().expect("nothing is lost").version, version);
}

/// What was acknowledged is there, and nothing by halves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing_that_it_acknowledged() {
    // On a disk that is busy it may hold a write back for as long as the last one is being synchronised.
    let folder = Folder::new();
    let Some(redis) = Redis::with(&["--dir", folder.path().to_str().expect("text")]) else { return };
    let redis = Arc::new(redis);
    let store = store(&redis.url(0));
    for round in 0..5_u8 {
        let mut acknowledged = create(&store, round).await;
        let (busy, is_busy) = std::sync::mpsc::channel();
        let crash = tokio::task::spawn_blocking({
            let redis = Arc::clone(&redis);
            move || {
                let _ = is_busy.recv();
                std::thread::sleep(Duration::from_millis(20 + 17 * u64::from(round)));
                redis.crash();
            }
        });
        let mut count = 0_u32;
        while let Ok(version) = store.swap(key(round), Some(acknowledged), record(&[round; 4000])).await {
            acknowledged = version.expect("nobody else writes");
            count += 1;
            let _ = busy.send(());
        }
        drop(busy);
        crash.await.unwrap();
        redis.resume();
        let stored = store.load(key(round)).await.unwrap().expect("the row is there");
        assert!(count > 0, "it was busy");
        // The write that was under way may have been done or not.
        let under_way = stored.version != acknowledged;
        assert!(under_way || stored.record == record(&[round; 4000]));
        assert!(store.find(Tag([9; 32])).await.unwrap().contains(&key(round)));
        assert!(store.swap(key(round), Some(stored.version), record(b"on")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_costs_nobody_anything() {
    let Some(redis) = Redis::start() else { return };
    let store = store(&redis.url(0));
    let mut own = connect(&redis.url(0)).await;
    let mut version = create(&store, 1).await;
    for _ in 0..5 {
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.wait(key(1), Some(version), LONG).await }
        });
        let cut: i64 = cmd("CLIENT").arg("KILL").arg("SKIPME").arg("yes").query_async(&mut own).await.unwrap();
        assert!(cut > 0);
        version = store.swap(key(1), Some(version), record(b"on")).await.expect("heals").expect("in turn");
        waiting.await.unwrap().unwrap();
    }
}

/// The server did what it was asked, and the connection broke before it could say so.
#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let Some(redis) = Redis::shared() else { return };
    let url = redis.database();
    let direct = store(&url);
    let first = create(&direct, 1).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = proxy.local_addr().unwrap().port();
    let behind = store(&url.replace(&format!(":{}/", redis.port()), &format!(":{at}/")));
    let port = redis.port();
    let cuts = tokio::spawn(async move {
        let mut cuts = 0;
        loop {
            let (mut outside, _) = proxy.accept().await.unwrap();
            let mut inside = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut from_outside, mut from_inside) = ([0; 8192], [0; 8192]);
            let mut cut = false;
            loop {
                tokio::select! {
                    read = outside.read(&mut from_outside) => {
                        let Ok(count @ 1..) = read else { break };
                        let asked = &from_outside[..count];
                        cut = cuts == 0 && asked.windows(7).any(|window| window == b"EVALSHA");
                        inside.write_all(asked).await.unwrap();
                    }
                    read = inside.read(&mut from_inside) => {
                        let Ok(count @ 1..) = read else { break };
                        if cut {
                            cuts += 1;
                            break;
                        }
                        outside.write_all(&from_inside[..count]).await.unwrap();
                    }
                }
            }
            if cuts == 1 && !cut {
                return cuts;
            }
        }
    });
    let second = behind.swap(key(1), Some(first), record(b"second")).await.unwrap().expect("it was written");
    assert_eq!(direct.load(key(1)).await.unwrap().unwrap().version, second);
    drop(behind);
    assert_eq!(cuts.await.unwrap(), 1, "one answer was lost");
}

#[tokio::test]
async fn a_server_that_may_evict_live_records_is_refused_until_it_may_not() {
    let Some(redis) = Redis::with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]) else {
        return;
    };
    let store = store(&redis.url(0));
    let refused = store.load(key(1)).await.unwrap_err();
    assert!(refused.to_string().contains("maxmemory-policy"), "{refused}");
    assert!(store.swap(key(1), None, record(b"x")).await.is_err());
    let mut own = connect(&redis.url(0)).await;
    for (name, value) in [("maxmemory", "0"), ("maxmemory-policy", "noeviction")] {
        let () = cmd("CONFIG").arg("SET").arg(name).arg(value).query_async(&mut own).await.unwrap();
    }
    create(&store, 1).await;
}

/// What has no time to live is never chosen.
#[tokio::test]
async fn a_full_server_takes_nothing_and_drops_nothing() {
    for policy in ["noeviction", "volatile-lru", "volatile-ttl"] {
        let Some(redis) = Redis::with(&["--maxmemory", "8mb", "--maxmemory-policy", policy]) else { return };
        let store = store(&redis.url(0));
        let mut rows = 0_u64;
        let full = loop {
            let name: [u8; 32] = std::array::from_fn(|at| rows.to_be_bytes()[at % 8]);
            match store.swap(Key(name), None, record(&[7; 60_000])).await {
                Ok(written) => assert!(written.is_some()),
                Err(full) => break full,
            }
            rows += 1;
            assert!(rows < 1_000, "{policy}");
        };
        assert!(full.to_string().contains("full"), "{policy}: {full}");
        assert_eq!(store.find(Tag([9; 32])).await.unwrap().len() as u64, rows, "{policy}");
        for row in 0..rows {
            let name: [u8; 32] = std::array::from_fn(|at| row.to_be_bytes()[at % 8]);
            assert!(store.load(Key(name)).await.unwrap().is_some(), "{policy}: row {row} of {rows}");
        }
        // Making room works.
        assert!(store.delete(Key(std::array::from_fn(|_| 0)), None).await.unwrap());
        create(&store, 1).await;
    }
}

#[tokio::test]
async fn no_secret_of_a_url_is_said() {
    let Some(redis) = Redis::shared() else { return };
    let port = redis.port();
    let nobody = free_port();
    let wrong = "wr0ng-s3cret";
    let urls = [
        format!("redis://:{wrong}@127.0.0.1:{port}/0"),
        format!("redis://{wrong}:{wrong}@127.0.0.1:{port}/0"),
        format!("redis://:{wrong}@127.0.0.1:{nobody}/0"),
        format!("redis://:{wrong}@no-such-host.invalid/0"),
        format!("rediss://:{wrong}@127.0.0.1:{port}/0"),
        format!("redis://:{wrong}@127.0.0.1:{port}/{wrong}"),
        format!("redis://:{wrong}@127.0.0.1:99999/0"),
        format!("redis://:{wrong}@127.0.0.1/0?protocol={wrong}"),
        format!("https://:{wrong}@127.0.0.1/0"),
        format!(":{wrong}@"),
        wrong.to_owned(),
    ];
    for url in urls {
        let (error, debug) = match RedisStore::connect_lazy(&url) {
            Err(error) => (error, String::new()),
            Ok(store) => (store.load(key(1)).await.expect_err(&url), format!("{store:?}")),
        };
        let said = said(&error);
        assert!(!said.contains(wrong) && !debug.contains(wrong), "{url}: {said} {debug}");
    }
    let right = store(&redis.database());
    assert_eq!(right.load(key(1)).await.unwrap(), None);
    let debug = format!("{right:?}");
    assert!(!debug.contains(PASSWORD) && !debug.contains(ENCODED_PASSWORD), "{debug}");
    assert!(debug.contains("tower-oidc"), "{debug}");
}

/// A user of an access control list, as the documentation grants it; and one who may not be told of changes.
#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let Some(redis) = Redis::start() else { return };
    let mut own = connect(&redis.url(0)).await;
    let rights = "+@connection +@read +@write +@scripting +@pubsub +info +time";
    for (user, channel) in [("told", "&{tower-oidc}*"), ("untold", "resetchannels")] {
        let mut rule = cmd("ACL");
        rule.arg("SETUSER").arg(user).arg("on").arg(">pass word").arg("~{tower-oidc}*").arg(channel);
        rights.split(' ').for_each(|right| {
            rule.arg(right);
        });
        let () = rule.query_async(&mut own).await.unwrap();
        let url = format!("redis://{user}:pass%20word@127.0.0.1:{}/0", redis.port());
        store_contract::check(Arc::new(store(&url))).await;
        let () = cmd("FLUSHDB").query_async(&mut own).await.unwrap();
        let elsewhere = store(&url).prefix("another");
        let refused = elsewhere.load(key(1)).await.unwrap_err();
        assert!(refused.to_string().contains("does not let this user"), "{refused}");
    }
}

#[tokio::test]
async fn tls_checks_the_certificate() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key_pem) = (own.cert.pem(), own.signing_key.serialize_pem());
    let Some(redis) = Redis::with_tls(&certificate, &key_pem) else { return };
    let url = redis.url(0).replace("redis://", "rediss://").replace("127.0.0.1", "localhost");
    let trusting = RedisStore::connect_lazy_with_roots(&url, certificate.as_bytes()).unwrap();
    create(&trusting, 1).await;
    let strict = store(&url);
    assert!(strict.load(key(1)).await.is_err(), "a certificate that nobody vouches for");
    let other_name = url.replace("localhost", "127.0.0.1");
    let elsewhere = RedisStore::connect_lazy_with_roots(&other_name, certificate.as_bytes()).unwrap();
    assert!(elsewhere.load(key(1)).await.is_err(), "a certificate of another name");
    let plain = store(&redis.url(0));
    assert!(plain.load(key(1)).await.is_err(), "no TLS where TLS is spoken");
    assert!(RedisStore::connect_lazy_with_roots(&redis.url(0), certificate.as_bytes()).is_err());
}

/// A client of the application's own, whichever protocol its own connections speak. Its credentials are in no URL.
#[tokio::test]
async fn a_store_on_the_applications_client_keeps_the_contract() {
    let Some(redis) = Redis::shared() else { return };
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        let url = redis.database();
        let info = url.replace(&format!(":{ENCODED_PASSWORD}@"), "").into_connection_info().unwrap();
        let settings = info.redis_settings().clone().set_protocol(protocol);
        let client = |settings| Client::open(info.clone().set_redis_settings(settings)).unwrap();
        let own = RedisStore::from_client(client(settings.clone().set_password(PASSWORD))).unwrap();
        store_contract::check(Arc::new(own.clone())).await;
        store_contract::check_two(Arc::new(own.clone()), Arc::new(store(&url))).await;
        create(&own, 1).await;
        assert_eq!(own.prefix("another").load(key(1)).await.unwrap(), None, "its prefix changes, not its server");
        let refused = RedisStore::from_client(client(settings)).unwrap().load(key(1)).await.unwrap_err();
        assert!(refused.to_string().contains("refuses the user or password"), "{refused}");
    }
}

/// A server that wants a certificate of its clients.
#[tokio::test]
async fn a_store_on_the_applications_client_shows_its_certificate() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key_pem) = (own.cert.pem(), own.signing_key.serialize_pem());
    let Some(redis) = Redis::with_client_certificate(&certificate, &key_pem) else { return };
    let url = redis.url(0).replace("redis://", "rediss://").replace("127.0.0.1", "localhost");
    let roots = certificate.as_bytes();
    let client_tls = Some(ClientTlsConfig { client_cert: roots.to_vec(), client_key: key_pem.into_bytes() });
    let certificates = TlsCertificates { client_tls, root_cert: Some(roots.to_vec()) };
    let client = Client::build_with_tls(&*url, certificates).unwrap();
    create(&RedisStore::from_client(client).unwrap(), 1).await;
    let nameless = RedisStore::connect_lazy_with_roots(&url, roots).unwrap();
    assert!(nameless.load(key(1)).await.is_err(), "it shows none");
}

/// What was ended at its master may count at a replica for as long as they are apart.
#[tokio::test]
async fn a_replica_is_refused_until_it_is_a_master() {
    let (Some(master), Some(replica)) = (Redis::start(), Redis::start()) else { return };
    let mut own = connect(&replica.url(0)).await;
    let port = master.port().to_string();
    let () = cmd("REPLICAOF").arg("127.0.0.1").arg(&port).query_async(&mut own).await.unwrap();
    let store = store(&replica.url(0));
    let refused = store.load(key(1)).await.unwrap_err();
    assert!(refused.to_string().contains("replica"), "{refused}");
    let () = cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut own).await.unwrap();
    create(&store, 1).await;
}

/// An operator learns of it where they learn of everything else, once.
#[tokio::test]
async fn a_server_that_does_not_persist_is_an_event() {
    use crate::support::app::{APP, App, World, routes};
    use tower_oidc::EventCode;
    for (persistent, told) in [("no", 1), ("yes", 0)] {
        let Some(redis) = Redis::with(&["--appendonly", persistent]) else { return };
        let world = World::new();
        let store = RedisStore::connect_lazy(&redis.url(0)).unwrap();
        let app = App::over(&world.net, &world.clock, store, world.app.store.clone(), |config| config);
        world.net.serve_service(APP, app.layer.clone().layer(routes()));
        for _ in 0..2 {
            world.signed_in("alice").await;
        }
        assert_eq!(app.events.count(EventCode::StoreNotPersistent), told, "appendonly {persistent}");
    }
}
