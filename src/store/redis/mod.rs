//! Records in Redis or Valkey.

mod connection;
mod error;
mod row;
mod script;
mod server_checks;

use std::sync::Arc;
use std::time::Duration;

use redis::{Client, FromRedisValue, RedisResult, TlsCertificates, Value, cmd};

use self::connection::{ConnectionManager, with_resp3};
use self::error::RedisFailure;
use self::script::{DELETE, DELETE_EXPIRED, SWAP};
use super::{Change, Key, Record, Store, StoreError, StoreFuture, Stored, Tag, Version};
use crate::clock::{Random, Timestamp};
use crate::secret::opaque;

/// How many expired rows one step of [`Store::delete_expired`] deletes: a millisecond of the server's time.
const STEP: usize = 100;

/// A store in Redis or Valkey, shared by every process that names the same server and prefix. Clones share one
/// connection.
///
/// It connects when it is first used, and again whenever the connection is lost: an application starts while the
/// server is away, answers 503 meanwhile, and recovers by itself.
///
/// ```
/// use tower_oidc::store::RedisStore;
///
/// let store = RedisStore::connect_lazy("rediss://app:p%40ssword@redis.example.test/0")?; // asks nobody yet
/// # Ok::<(), tower_oidc::store::StoreError>(())
/// ```
///
/// # What lies there
///
/// Four names, `tower-oidc` being the [prefix](RedisStore::prefix). Its braces keep all of them in one slot.
///
/// | name | type | content |
/// |---|---|---|
/// | `{tower-oidc}:` and the 32 bytes of the [`Key`] | string | version (8 bytes), expiry (8 bytes, milliseconds), number of tags (1 byte), the tags, the sealed bytes |
/// | `{tower-oidc}/tags` | sorted set | tag and key, for [`Store::find`] |
/// | `{tower-oidc}/expiry` | sorted set | key by expiry, for [`Store::delete_expired`] |
/// | `{tower-oidc}/changed` | channel | the key of every row that was written or deleted, for [`Store::wait`] and [`Store::subscribe`] |
///
/// A version is 64 random bits that the writer draws: no counter can fall back when a server restarts without its
/// last writes or a replica takes over.
///
/// No row has a time to live. [`Store::delete_expired`] empties the store (the layer calls it now and then, from every
/// replica; each call works in small steps, and deletes nothing that has not expired by the server's clock), and what has no time to live is out of reach of the `volatile-*`
/// eviction policies, which managed services like to start with.
///
/// # What it promises
///
/// - *While the server is away* each call fails, at once where connections are refused and within five seconds
///   otherwise, and works again as soon as it is back.
/// - *A connection that hangs* is given up together with its answer, which is waited for for 2.75 seconds: the next call
///   makes a new one, in at most two seconds. Whoever listens asks every three seconds whether it still answers.
/// - *An answer that is lost* with its connection is asked for again, once: of a look-up, and of a write that expects a
///   version. Such a write finds its own version in the row if it was done, and is `OutcomeUnknown` if the row is another
///   by then. A creation, and a deletion that expects no version, are never sent twice, because another process may have
///   deleted or written the row since: they are `OutcomeUnknown`, as is every write that had no answer in time.
///
/// # What the server must promise
///
/// - **No eviction.** With `maxmemory` set, `maxmemory-policy` must be `noeviction` or `volatile-*`. A server that
///   may evict any key is refused, by an error that names the setting: it would sign people out and lose their
///   grants to make room.
/// - **Persistence.** `appendonly yes`. With `appendfsync everysec` (its default) the end of the server's process
///   loses nothing while its disk keeps up, and up to two seconds of writes where a sync of the log is still under way
///   (they wait for it); the end of its machine loses about as much. `appendfsync always` closes both. A refresh
///   token that was rotated in a lost second is spent: its person is asked to grant again. Without
///   `appendonly` the store works and warns, once, under the code `store.not_persistent`.
/// - **One writer.** Redis replicates after it has answered: a failover may lose the last writes, as above. Redis
///   Cluster is not followed through its redirections; a proxy in front of one is fine, all names being in one slot.
/// - **Redis 6 or later**, or Valkey: the connection speaks RESP3, so that notifications arrive on it.
///
/// These are looked at whenever a connection is made, with `INFO`. A user of an access control list needs
/// `~{tower-oidc}* &{tower-oidc}* +@connection +@read +@write +@scripting +@pubsub +info +time`. Without the channel,
/// waiting polls and nothing is listened to; without `INFO`, nothing is checked and a warning says so, under the code `store.unchecked`.
#[derive(Clone)]
pub struct RedisStore {
    names: Arc<Names>,
    link: Arc<ConnectionManager>,
    random: Random,
}

/// What things are called in the server.
struct Names {
    rows: Vec<u8>,
    tags: Vec<u8>,
    expiry: Vec<u8>,
    channel: Vec<u8>,
}

impl Names {
    fn under(prefix: &str) -> Self {
        let name = |rest: &str| format!("{{{prefix}}}{rest}").into_bytes();
        Self { rows: name(":"), tags: name("/tags"), expiry: name("/expiry"), channel: name("/changed") }
    }

    fn row(&self, key: Key) -> Vec<u8> {
        [&self.rows[..], &key.0].concat()
    }
}

impl RedisStore {
    /// The store at `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS with certificates that
    /// the Mozilla roots vouch for, or `redis+unix:///path`.
    ///
    /// Nothing is connected yet. TLS takes the process's default provider of rustls, and makes ring that where the
    /// application has chosen none.
    ///
    /// # Errors
    ///
    /// When the URL is none of these. The error does not repeat it, because it may hold a password.
    pub fn connect_lazy(url: &str) -> Result<Self, StoreError> {
        Self::over(Client::open(url))
    }

    /// The same for a server whose certificate these roots (PEM) vouch for, and no others.
    ///
    /// # Errors
    ///
    /// When the URL is not one of `rediss://`, or the roots are not certificates.
    pub fn connect_lazy_with_roots(url: &str, roots: &[u8]) -> Result<Self, StoreError> {
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(roots.to_vec()) };
        Self::over(Client::build_with_tls(url, certificates))
    }

    /// A store on a client that the application made: with a certificate of its own, with other settings of TLS or TCP, or
    /// with credentials that are in no URL.
    ///
    /// ```
    /// use redis::{Client, ClientTlsConfig, TlsCertificates};
    /// use tower_oidc::store::RedisStore;
    ///
    /// /// A server that wants a certificate of its clients (PEM).
    /// fn store(client_cert: Vec<u8>, client_key: Vec<u8>) -> Result<RedisStore, Box<dyn std::error::Error>> {
    ///     let client_tls = Some(ClientTlsConfig { client_cert, client_key });
    ///     let certificates = TlsCertificates { client_tls, root_cert: None };
    ///     let client = Client::build_with_tls("rediss://redis.example.test/0", certificates)?;
    ///     Ok(RedisStore::from_client(client)?)
    /// }
    /// ```
    ///
    /// The store makes a connection of its own with the settings of the client. It speaks RESP3, also where they say RESP2,
    /// and how long it waits to connect and for an answer is the store's affair. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the crate `redis` makes no client of these settings with RESP3 in them. Certificates and credentials that the
    /// server refuses, and a server without RESP3, are the error of each later call.
    pub fn from_client(client: Client) -> Result<Self, StoreError> {
        Self::over(Ok(client))
    }

    fn over(client: RedisResult<Client>) -> Result<Self, StoreError> {
        let names = Arc::new(Names::under("tower-oidc"));
        let client = client.and_then(|client| with_resp3(&client));
        let client = client.map_err(|error| RedisFailure::while_connecting(&error))?;
        let link = Arc::new(ConnectionManager::with(client, &names.channel));
        Ok(Self { link, names, random: Random::system() })
    }

    /// Names everything under another prefix than `tower-oidc`: applications that share a server have one each.
    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        let names = Arc::new(Names::under(prefix));
        let link = Arc::new(ConnectionManager::with(self.link.client.clone(), &names.channel));
        Self { names, link, ..self }
    }

    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        let answer: Value = self.link.ask(command).await?;
        redis::from_redis_value(answer).map_err(|_| StoreError::from(RedisFailure::STRANGE).of_a_read())
    }
}

impl Store for RedisStore {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        Box::pin(async move {
            let packed: Option<Vec<u8>> = self.ask(cmd("GET").arg(self.names.row(key))).await?;
            Ok(packed.and_then(row::unpack))
        })
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        Box::pin(async move {
            let version = Version(u64::from_be_bytes(self.random.bytes()));
            let Names { tags, expiry, channel, .. } = &*self.names;
            record.check()?;
            let packed = row::pack(version, &record)?;
            let keys: [&[u8]; 3] = [&self.names.row(key), tags, expiry];
            let expires_at = record.expires_at.as_millis().to_string();
            let arguments: [&[u8]; 5] = [&key.0, &row::expected(expected), &packed, expires_at.as_bytes(), channel];
            let written = self.link.run(&SWAP, &keys, &arguments, expected.is_some()).await?;
            Ok((written == 1).then_some(version))
        })
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let Names { tags, expiry, channel, .. } = &*self.names;
            let keys: [&[u8]; 3] = [&self.names.row(key), tags, expiry];
            let arguments: [&[u8]; 3] = [&key.0, &row::expected(expected), channel];
            let deleted = self.link.run(&DELETE, &keys, &arguments, expected.is_some()).await?;
            Ok(deleted == 1)
        })
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        Box::pin(async move {
            let first = [b"[", &tag.0[..]].concat();
            let last = [b"[", &tag.0[..], &[u8::MAX; 32]].concat();
            let found: Vec<Vec<u8>> = self.ask(cmd("ZRANGEBYLEX").arg(&self.names.tags).arg(first).arg(last)).await?;
            Ok(found.iter().filter_map(|member| member.get(32..)?.try_into().ok()).map(Key).collect())
        })
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            // A caller's clock may be wrong: what has not expired by the server's stays.
            let (seconds, micros): (u64, u64) = self.ask(&cmd("TIME")).await?;
            let server = Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000));
            let now = older_than.min(server).as_millis().to_string();
            let Names { tags, expiry, channel, .. } = &*self.names;
            let mut total = 0;
            loop {
                let mut due = cmd("ZRANGEBYSCORE");
                due.arg(expiry).arg("-inf").arg(&now).arg("LIMIT").arg(0).arg(STEP);
                let due: Vec<Vec<u8>> = self.ask(&due).await?;
                let rows: Vec<_> = due.iter().map(|key| [&self.names.rows[..], key].concat()).collect();
                let keys: Vec<_> = [&tags[..], expiry].into_iter().chain(rows.iter().map(Vec::as_slice)).collect();
                let arguments: Vec<_> =
                    [now.as_bytes(), channel].into_iter().chain(due.iter().map(Vec::as_slice)).collect();
                let deleted = self.link.run(&DELETE_EXPIRED, &keys, &arguments, false).await?;
                total += u64::try_from(deleted).unwrap_or_default();
                if due.len() < STEP {
                    return Ok(total);
                }
            }
        })
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> StoreFuture<'_, ()> {
        // Between words it looks by itself: one may be lost with its connection.
        let patience = || tokio::time::sleep(self.link.patience());
        Box::pin(self.link.state.changes.wait(self, key, after, within, patience))
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
        let lost = self.link.state.lost.notified();
        Box::pin(async move {
            if !self.link.ready().await? {
                return Ok(());
            }
            tokio::select! {
                ended = self.link.state.changes.relay(heard) => ended,
                () = lost => Err(RedisFailure::AWAY.into()),
                error = self.link.beat() => Err(error),
            }
        })
    }
}

opaque!(RedisStore, |store| rows = String::from_utf8_lossy(&store.names.rows));
