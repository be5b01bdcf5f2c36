//! Tokens for one use: handed to one request, and kept nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, REFERER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::locate::Principal;
use crate::config::{Destination, Settings};
use crate::cookie::{self, CookiePolicy, KnownCookies, SameSitePolicy};
use crate::protocol::TokenResponse;
use crate::records::{Purpose, RecordKey, encode};
use crate::secret::{Secret, packed, packed_option};
use crate::state::Runtime;
use crate::store::{Key, StoreError};

/// How long tokens wait for the request that uses them: the browser's way from the provider to the page.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

/// What waits in the store.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SingleUseRecord {
    pub(crate) connection: String,
    pub(crate) scopes: Vec<String>,
    #[serde(with = "packed")]
    pub(crate) access_token: Secret,
    /// To be revoked with.
    #[serde(with = "packed_option")]
    pub(crate) refresh_token: Option<Secret>,
}

/// What waits for one use in the browser of a request.
pub(crate) struct PendingSingleUses {
    /// The oldest first, as browsers send them (RFC 6265 section 5.4).
    waiting: Vec<PendingSingleUse>,
    /// The page that a request comes from.
    referer: Option<HeaderValue>,
    /// One request has one of them.
    handed: AtomicBool,
}

struct PendingSingleUse {
    id: [u8; 32],
    page: PageHash,
    /// The cookie names nothing any more: somebody has it, or it is over.
    over: AtomicBool,
    removal: HeaderValue,
}

/// An address, by the beginning of its hash. It keeps tabs apart, and nobody out: that does the session in the row's
/// name.
type PageHash = [u8; 6];

impl PendingSingleUses {
    /// `found` is what the cookies hold, from after [`NAME`].
    pub(crate) fn read(found: &[&[u8]], headers: &HeaderMap, cookies: &CookiePolicy) -> Option<Arc<Self>> {
        if found.is_empty() {
            return None;
        }
        let waiting = PendingSingleUse::newest(found, cookies);
        let referer = headers.get(REFERER).cloned();
        Some(Arc::new(Self { waiting, referer, handed: AtomicBool::new(false) }))
    }

    /// What this request may have, once: it is deleted and returned at once, so that of two that ask, in whichever
    /// processes, one has it.
    pub(crate) async fn take(
        &self, runtime: &Runtime, principal: &Principal, here: Option<&PathAndQuery>,
    ) -> Result<Option<SingleUseRecord>, StoreError> {
        if self.handed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        for waiting in self.meant_for(here, &runtime.settings) {
            let row = row(runtime, &waiting.id, principal).await?;
            let (found, _) = runtime.records.take::<SingleUseRecord>(&row).await?;
            let record = found.filter(|found| found.expires_at > runtime.now()).map(|found| found.value);
            waiting.over.store(true, Ordering::Relaxed);
            if record.is_some() {
                self.handed.store(true, Ordering::Relaxed);
                return Ok(record);
            }
        }
        Ok(None)
    }

    /// Those that this request may have: another tab's are not among them while there are any of its own.
    fn meant_for(&self, here: Option<&PathAndQuery>, settings: &Settings) -> impl Iterator<Item = &PendingSingleUse> {
        let here = here.map(|here| page(&settings.public_path(here.as_str())));
        let from = || {
            let from = settings.destination(self.referer.as_ref()?.to_str().ok()?).ok()?;
            Some(page(from.as_str()))
        };
        let waits = |page: &PageHash| self.waiting.iter().any(|waiting| waiting.page == *page);
        let own = here.filter(waits).or_else(|| from().filter(waits));
        let fits = move |waiting: &&PendingSingleUse| {
            own.is_none_or(|own| waiting.page == own) && !waiting.over.load(Ordering::Relaxed)
        };
        self.waiting.iter().filter(fits).take(MOST)
    }

    /// What the answer removes: cookies that name nothing any more.
    pub(crate) fn removals(&self) -> impl Iterator<Item = HeaderValue> {
        let over = self.waiting.iter().filter(|waiting| waiting.over.load(Ordering::Relaxed));
        over.map(|waiting| waiting.removal.clone())
    }
}

impl PendingSingleUse {
    /// As many as ever wait: a request can bring any number of others.
    fn newest(found: &[&[u8]], cookies: &CookiePolicy) -> Vec<Self> {
        let newest = found.iter().skip(found.len().saturating_sub(MOST));
        newest.filter_map(|cookie| Self::read(cookie, cookies)).collect()
    }

    fn read(cookie: &[u8], cookies: &CookiePolicy) -> Option<Self> {
        let (name, value) = cookie::pair(cookie)?;
        let name = str::from_utf8(name).ok().filter(|name| name.len() == IN_NAME)?;
        let value = value.strip_prefix(name.as_bytes()).and(Some(value))?;
        let named: [u8; 38] = URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok()?;
        let (id, page) = (named.first_chunk().copied()?, named.last_chunk().copied()?);
        let removal = cookies.remove(&cookies.name(&format!("{NAME}{name}")), SameSitePolicy::Lax);
        Some(Self { id, page, over: AtomicBool::new(false), removal })
    }
}

/// The cookie's name, after the prefix, goes on with so many characters of its value: each has one of its own.
const NAME: &str = "once-";
const IN_NAME: usize = 8;
/// At most so many wait in one browser: they are gone within a minute, and until then travel with every request.
const MOST: usize = 4;

fn page(address: &str) -> PageHash {
    let (address, _) = address.split_once('#').unwrap_or((address, ""));
    let [a, b, c, d, e, f, ..] = <[u8; 32]>::from(Sha256::digest(address));
    [a, b, c, d, e, f]
}

/// Lays down what was granted for one use, which lands there in the browser that sent these headers. Returns the cookie that
/// names it, with those that make room for it.
pub(crate) async fn lay_down(
    runtime: &Arc<Runtime>, connection: &str, principal: &Principal, asked: &[String], tokens: &TokenResponse,
    (destination, headers): (&Destination, &HeaderMap),
) -> Result<Vec<HeaderValue>, StoreError> {
    let id = runtime.random.bytes::<32>();
    let row = row(runtime, &id, principal).await?;
    let record = SingleUseRecord {
        connection: connection.to_owned(),
        scopes: tokens.scopes.clone().unwrap_or_else(|| asked.to_vec()),
        access_token: tokens.access_token.clone(),
        refresh_token: tokens.refresh_token.clone(),
    };
    let expires_at = runtime.now().saturating_add(LIFETIME);
    runtime.records.swap(&row, None, &record, expires_at, Vec::new()).await?;
    delete_in_time(runtime, row.key);
    let cookies = &runtime.settings.cookies;
    let value = URL_SAFE_NO_PAD.encode([&id[..], &page(destination.as_str())].concat());
    let name = cookies.name(&format!("{NAME}{}", &value[..IN_NAME]));
    // The oldest of too many make room.
    let mut ours = KnownCookies::default();
    headers.get_all(COOKIE).iter().for_each(|header| cookies.read(header, &mut ours, None));
    let waiting = PendingSingleUse::newest(&ours.once, cookies);
    let too_many = (waiting.len() + 1).saturating_sub(MOST);
    let mut set: Vec<_> = waiting.into_iter().take(too_many).map(|waiting| waiting.removal).collect();
    set.push(cookies.set(&name, &value, LIFETIME, SameSitePolicy::Lax));
    Ok(set)
}

/// Nobody may ask for it, and nobody sign in: it does not lie there until somebody does.
fn delete_in_time(runtime: &Arc<Runtime>, key: Key) {
    let runtime = Arc::downgrade(runtime);
    // None of those that a process waits for before it ends: that would take a minute.
    tokio::spawn(async move {
        tokio::time::sleep(LIFETIME).await;
        if let Some(runtime) = runtime.upgrade() {
            // A store that is away is told of elsewhere. Whoever sweeps finds it.
            let _ = runtime.records.delete(key, None).await;
        }
    });
}

/// Another session, and an application that is registered as another client anywhere, finds no row at all.
async fn row(runtime: &Runtime, id: &[u8; 32], principal: &Principal) -> Result<RecordKey, StoreError> {
    let session = principal.session().map(|session| session.id.row(&runtime.records.keys).key.0);
    let clients: Vec<_> = runtime.settings.relying_parties.iter().flat_map(|one| one.client).collect();
    let session = session.as_ref().map_or(&[][..], |key| &key[..]);
    let owner = encode(&[&principal.owner().encoded(), session, &clients]);
    let key = Key(runtime.records.index().await?.hash(&[b"one shot", id, &owner]));
    Ok(RecordKey { purpose: Purpose::SingleUse, key, owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request can bring thousands, and each that is read is a removal made and a row looked for.
    #[test]
    fn no_more_are_read_than_ever_wait() {
        let cookies: Vec<String> = (0..4000_u16)
            .map(|number| {
                let value = URL_SAFE_NO_PAD.encode([&number.to_le_bytes()[..], &[7; 36]].concat());
                format!("{}={value}", &value[..IN_NAME])
            })
            .collect();
        let found: Vec<_> = cookies.iter().map(String::as_bytes).collect();
        let policy = CookiePolicy::new("app", true);
        let read = PendingSingleUses::read(&found, &HeaderMap::new(), &policy).unwrap();
        let numbers: Vec<_> = read.waiting.iter().map(|one| u16::from_le_bytes([one.id[0], one.id[1]])).collect();
        assert_eq!(numbers, [3996, 3997, 3998, 3999], "the newest");
        let few = PendingSingleUses::read(&found[..2], &HeaderMap::new(), &policy).unwrap();
        assert_eq!(few.waiting.len(), 2);
    }

    #[test]
    fn a_cookie_is_named_after_the_beginning_of_its_value() {
        let value = URL_SAFE_NO_PAD.encode([7; 38]);
        let policy = CookiePolicy::new("app", true);
        for (name, is_read) in [(&value[..8], true), (&value[..7], false), ("", false), ("AAAAAAAA", false)] {
            let cookie = format!("{name}={value}");
            assert_eq!(PendingSingleUse::read(cookie.as_bytes(), &policy).is_some(), is_read, "{name}");
        }
    }
}
