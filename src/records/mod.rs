//! Sealed records over a store: what goes in is typed, what lies there is opaque.

pub(crate) mod cookie_chunks;
pub(crate) mod ended_grant;
pub(crate) mod grant;
pub(crate) mod grant_key;
pub(crate) mod invalidation;
pub(crate) mod opened_cache;
pub(crate) mod refresh_hold;
pub(crate) mod seal;
pub(crate) mod sealed_cookie;
mod timed_store;

pub(crate) use self::cookie_chunks::ChunkedValue;
pub(crate) use self::grant::{
    Consent, Earlier, Freshness, Grant, GrantSource, GrantStatus, LOGIN, Lease, Owner, TokenSet, encode,
};
pub(crate) use self::grant_key::{GrantKey, GrantKeyCache, NewestGeneration, Observed, ObservedAt};
pub(crate) use self::invalidation::{Invalidations, Slot};
pub(crate) use self::opened_cache::OpenedCache;
pub(crate) use self::refresh_hold::RefreshHold;
pub(crate) use self::seal::{AssociatedData, KeyRing, MIN_SECRET, Opened, Purpose, SealError};
pub(crate) use self::sealed_cookie::{CookieBinding, SealedCookie};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use self::invalidation::Listener;
use crate::clock::{Clock, ClockReading, Random, Timestamp};
use crate::events::{EventCode, Events};
use crate::store::{Change, Key, Record, Store, StoreError, StoreErrorKind, StoreFuture, Stored, Tag, Version};

/// The last moment that databases with signed integers can hold.
pub(crate) const FOREVER: Timestamp = Timestamp::from_millis(i64::MAX as u64);

/// How long an index key is believed to be the store's: whoever must be sure agrees on it anew.
const INDEX_BELIEVED: Duration = Duration::from_secs(2);

/// What the index key's row is named after.
const INDEX_KEY: &str = "tower-oidc index key";
/// What the row is named after that is written to find out whether writes work.
const WRITE_PROBE: &str = "tower-oidc write probe";

/// Reads and writes records.
pub(crate) struct Records {
    store: Arc<dyn Store>,
    /// How the last write ended, whichever caller asked for it.
    write_failed: AtomicBool,
    pub(crate) keys: KeyRing,
    /// Of a store that keeps none.
    own_index: Option<BlindIndexKey>,
    /// The store's, and when it was read.
    index: RwLock<Option<(BlindIndexKey, ClockReading)>>,
    pub(crate) clock: Clock,
    /// Both readings of the clock when this began.
    started: (Timestamp, Duration),
    pub(crate) random: Random,
    events: Events,
    /// What was heard of rows that changed.
    pub(crate) invalidations: Arc<Invalidations>,
    listener: Listener,
}

/// The key under which rows of owners and tags are named. It is random, made once for a store, and kept in it:
/// rotating secrets renames nothing.
#[derive(Clone)]
pub(crate) struct BlindIndexKey(Arc<Keyed>);

/// A key, and what HMAC makes of it before it sees anything else.
struct Keyed {
    key: [u8; 32],
    mac: Hmac<Sha256>,
}

/// What a row holds for us.
pub(crate) enum Loaded<T> {
    /// Elsewhere: nothing is found more often, and what is found is large to move.
    Found(Box<Found<T>>),
    /// Nothing that counts. What lies there may be replaced at this version.
    Absent(Option<Version>),
    /// Sealed with a secret or in a format that this process does not have. It is not ours to touch.
    Unreadable,
}

pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) version: Version,
    pub(crate) expires_at: Timestamp,
    /// Sealed by a secret that only opens: write it again, before that secret is taken away.
    pub(crate) outdated_seal: bool,
    pub(crate) tags: Vec<Tag>,
}

/// A row's name and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordKey {
    pub(crate) purpose: Purpose,
    pub(crate) key: Key,
    pub(crate) owner: Vec<u8>,
}

impl RecordKey {
    /// The row of this name, which has no owner.
    pub(crate) fn new(purpose: Purpose, key: Key) -> Self {
        Self { purpose, key, owner: Vec::new() }
    }

    fn place(&self) -> AssociatedData<'_> {
        AssociatedData { purpose: self.purpose, name: &self.key.0, owner: &self.owner }
    }
}

impl Records {
    pub(crate) fn new(
        store: Arc<dyn Store>, keys: KeyRing, own_index: Option<[u8; 32]>, clock: Clock, random: Random, events: Events,
    ) -> Self {
        Self {
            store,
            write_failed: AtomicBool::new(false),
            keys,
            own_index: own_index.map(BlindIndexKey::new),
            index: RwLock::default(),
            started: (clock.now(), clock.monotonic()),
            clock,
            random,
            events,
            invalidations: Arc::default(),
            listener: Listener::default(),
        }
    }

    /// Whether records outlive this process.
    pub(crate) fn is_durable(&self) -> bool {
        self.store.is_durable()
    }

    pub(crate) async fn load<T: DeserializeOwned>(&self, row: &RecordKey) -> Result<Loaded<T>, StoreError> {
        Ok(match self.load_expired_too(row).await? {
            Loaded::Found(found) if found.expires_at <= self.clock.now() => Loaded::Absent(Some(found.version)),
            loaded => loaded,
        })
    }

    /// The same for who ends what lies there, or adds to it: where this clock is wrong, it still counts for others.
    pub(crate) async fn load_expired_too<T: DeserializeOwned>(&self, row: &RecordKey) -> Result<Loaded<T>, StoreError> {
        let Some(Stored { version, record }) = self.stored(row.key).await? else {
            return Ok(Loaded::Absent(None));
        };
        let opened = match self.keys.open(row.place(), &record.bytes) {
            Ok(opened) => opened,
            Err(SealError::Broken) => {
                let detail = "a record does not open in its place; it counts as missing";
                self.events.emit(EventCode::Tampered, None, detail);
                return Ok(Loaded::Absent(Some(version)));
            }
            Err(SealError::UnknownKey | SealError::NewerFormat) => {
                let detail = "a record needs a secret or a version that is not here";
                self.events.emit(EventCode::UnknownKey, None, detail);
                return Ok(Loaded::Unreadable);
            }
        };
        // Sealed by us in this format, and not what is kept here: as good as broken.
        let Ok(value) = postcard::from_bytes(&opened.contents) else { return Ok(Loaded::Absent(Some(version))) };
        // The sealed expiry decides: the one beside it is the database's to change.
        let (expires_at, outdated_seal) = (opened.expires_at, !opened.by_first_secret);
        Ok(Loaded::Found(Box::new(Found { value, version, expires_at, outdated_seal, tags: record.tags })))
    }

    /// Writes at the expected version; `None` when somebody else was first.
    pub(crate) async fn swap<T: Serialize>(
        &self, row: &RecordKey, expected: Option<Version>, value: &T, expires_at: Timestamp, tags: Vec<Tag>,
    ) -> Result<Option<Version>, StoreError> {
        let contents = postcard::to_allocvec(value);
        let contents = contents.map_err(|error| StoreError::refused_by("a record cannot be encoded", error))?;
        let bytes = self.keys.seal(row.place(), expires_at, &contents, &self.random).into();
        let written = self.swap_stored(row.key, expected, Record { bytes, expires_at, tags }).await;
        if row.purpose == Purpose::Grant {
            // Before whoever writes goes on: the store may tell of it a moment later, or not at all. Who was not the first
            // was overtaken, and what failed may be written all the same.
            self.invalidations.hear(Change::Row(row.key));
        }
        written
    }

    /// The version of what lies in a row, whether it can be read or not.
    pub(crate) async fn version(&self, key: Key) -> Result<Option<Version>, StoreError> {
        Ok(self.stored(key).await?.map(|stored| stored.version))
    }

    pub(crate) async fn delete(&self, key: Key, expected: Option<Version>) -> Result<bool, StoreError> {
        let deleted = self.write(self.store.delete(key, expected)).await;
        // What failed may be deleted all the same.
        self.invalidations.hear(Change::Row(key));
        deleted
    }

    /// Deletes a row and returns what it held, expired or not, at its last writing: what somebody writes meanwhile is
    /// taken too. The second says whether anything lay there.
    pub(crate) async fn take<T: DeserializeOwned>(
        &self, row: &RecordKey,
    ) -> Result<(Option<Box<Found<T>>>, bool), StoreError> {
        let mut perhaps_taken = None;
        loop {
            match self.load_expired_too::<T>(row).await? {
                Loaded::Found(found) => match self.delete(row.key, Some(found.version)).await {
                    Ok(true) => return Ok((Some(found), true)),
                    Ok(false) => {}
                    Err(error) if error.kind() == StoreErrorKind::OutcomeUnknown && perhaps_taken.is_none() => {
                        perhaps_taken = Some(found);
                    }
                    Err(error) => return Err(error),
                },
                // It is gone, by this deletion or by another: what it held is in our hands.
                Loaded::Absent(None) if perhaps_taken.is_some() => return Ok((perhaps_taken, true)),
                Loaded::Absent(_) | Loaded::Unreadable => {
                    return Ok((None, self.delete(row.key, None).await?));
                }
            }
        }
    }

    /// Until the row is not at this version any more, or the time is over.
    pub(crate) fn wait(&self, key: Key, version: Option<Version>, within: Duration) -> StoreFuture<'_, ()> {
        self.store.wait(key, version, within)
    }

    /// The rows that carry a tag. They may be gone when they are looked at.
    pub(crate) async fn find(&self, tag: Tag) -> Result<Vec<Key>, StoreError> {
        self.read(self.store.find(tag)).await
    }

    /// Notes what other processes change, from now on.
    pub(crate) fn listen(&self) {
        self.listener.begin(&self.store, &self.invalidations, &self.events);
    }

    /// Deletes what has expired by the wall clock, and by the time that has passed since the start: a clock that is set
    /// forward does not make records old.
    pub(crate) async fn delete_expired(&self) -> Result<u64, StoreError> {
        let (wall, monotonic) = self.started;
        let passed = self.clock.monotonic().saturating_sub(monotonic);
        self.store.delete_expired(self.clock.now().min(wall.saturating_add(passed))).await
    }

    /// The index key, which is read again once in a while: a store may have come back empty.
    pub(crate) async fn index(&self) -> Result<BlindIndexKey, StoreError> {
        let (own, now) = (&self.own_index, self.clock.reading());
        let read = self.index.read().clone().filter(|(_, at)| now.believes(*at, INDEX_BELIEVED));
        match own.clone().or(read.map(|(index, _)| index)) {
            Some(index) => Ok(index),
            None => Box::pin(self.agree_on_index()).await,
        }
    }

    /// Looks which index key the store holds: the one that this process knows, unless the store has come back empty.
    /// Then the first process says how rows are named from now on, and all others go by it. Asked wherever something is
    /// done that must hold at once: logouts, logins, sessions that are written.
    pub(crate) async fn agree_on_index(&self) -> Result<BlindIndexKey, StoreError> {
        if let Some(own) = &self.own_index {
            return Ok(own.clone());
        }
        let row = self.own_row(INDEX_KEY);
        // A process that loses a write reads what the winner wrote: a store that never has it keeps no contract.
        for _ in 0..8 {
            let (known, now) = (self.known_index(), self.clock.reading());
            match (self.load::<[u8; 32]>(&row).await?, known) {
                (Loaded::Found(found), _) => {
                    if found.outdated_seal {
                        // Whoever loses this has nothing to do: somebody else sealed it anew.
                        self.swap(&row, Some(found.version), &found.value, FOREVER, Vec::new()).await?;
                    }
                    let index = BlindIndexKey::new(found.value);
                    *self.index.write() = Some((index.clone(), now));
                    return Ok(index);
                }
                (Loaded::Absent(version), known) => {
                    let made = known.map_or_else(|| self.random.bytes(), |known| known.0.key);
                    // Whoever loses reads what the winner wrote.
                    self.swap(&row, version, &made, FOREVER, Vec::new()).await?;
                }
                // By the one that is known, nothing is found that others write.
                (Loaded::Unreadable, _) => {
                    return Err(StoreError::refused(
                        "its index key is sealed with a session secret that is not configured: add that secret; if it is lost, \
                         see OidcLayer::reset_keys",
                    ));
                }
            }
        }
        Err(StoreError::refused("it does not return what it has written, against the contract of tower_oidc::store"))
    }

    /// Begins anew where the index key cannot be read: what was named by it is never found again. Says whether it did so.
    pub(crate) async fn reset_index(&self) -> Result<bool, StoreError> {
        let row = self.own_row(INDEX_KEY);
        // Before the look: what is written meanwhile stays.
        let version = self.version(row.key).await?;
        let is_lost = self.own_index.is_none() && matches!(self.load::<[u8; 32]>(&row).await?, Loaded::Unreadable);
        let is_reset = is_lost && self.delete(row.key, version).await?;
        self.agree_on_index().await?;
        Ok(is_reset)
    }

    /// A row that each application of a store has one of.
    fn own_row(&self, of: &str) -> RecordKey {
        RecordKey::new(Purpose::BlindIndexKey, Key(self.keys.name(of.as_bytes())))
    }

    /// Whether the store answers, the secrets open what it holds, and it takes writes: where the last one failed, one
    /// more is made, so that a process to which no request comes finds out that they work again.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        self.index().await?;
        self.version(self.own_row(INDEX_KEY).key).await?;
        if self.write_failed.load(Ordering::Relaxed) {
            let row = self.own_row(WRITE_PROBE);
            let version = self.version(row.key).await?;
            self.swap(&row, version, &(), self.clock.now(), Vec::new()).await?;
        }
        Ok(())
    }

    /// Writes a row of its own, reads it, writes it again at its version, fails to do so at the version before, and deletes it.
    /// False where one of these has another outcome.
    pub(crate) async fn try_out(&self) -> Result<bool, StoreError> {
        self.index().await?;
        let row = self.own_row(&self.random.token());
        let until = self.clock.now().saturating_add(Duration::from_secs(60));
        let first = self.swap(&row, None, &1_u8, until, Vec::new()).await?;
        let is_read = match self.load::<u8>(&row).await? {
            Loaded::Found(found) => found.value == 1 && first == Some(found.version),
            Loaded::Absent(_) | Loaded::Unreadable => false,
        };
        let second = self.swap(&row, first, &2_u8, until, Vec::new()).await?;
        let over = self.swap(&row, first, &3_u8, until, Vec::new()).await?;
        let is_deleted = self.delete(row.key, None).await?;
        Ok(is_read && second.is_some() && over.is_none() && is_deleted)
    }

    /// The index key, where [`Records::index`] was asked before. A session that is known was found under it.
    pub(crate) fn known_index(&self) -> Option<BlindIndexKey> {
        let agreed = || self.index.read().clone();
        self.own_index.clone().or_else(|| agreed().map(|(index, _)| index))
    }
}

impl BlindIndexKey {
    fn new(key: [u8; 32]) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        Self(Arc::new(Keyed { key, mac }))
    }

    /// A keyed hash of parts, for names and ids that must not be recomputed by who knows the parts.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.mac.clone();
        mac.update(&encode(parts));
        mac.finalize().into_bytes().into()
    }
}

impl PartialEq for BlindIndexKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.key.ct_eq(&other.0.key).into()
    }
}
