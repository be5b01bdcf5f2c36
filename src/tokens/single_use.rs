//! Tokens for one use: handed to one request, and kept nowhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, REFERER};
use http::{Extensions, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::destination::Destination;
use crate::config::mode::Holder;
use crate::config::resource;
use crate::cookie::{self, CookieStyle, CrossSite, Ours};
use crate::endpoints::unkept::{Unkept, discard};
use crate::error::Error;
use crate::extract::request::RequestState;
use crate::extract::user_tokens::AccessToken;
use crate::protocol::token::TokenResponse;
use crate::records::Row;
use crate::records::grant::encode;
use crate::records::seal::Purpose;
use crate::secret::{Secret, sealed, sealed_option};
use crate::state::Runtime;
use crate::store::{Key, StoreError};

/// How long tokens wait for the request that uses them: the browser's way from the provider to the page.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

/// What a person granted for one use, at the address of
/// [`UserTokens::connect_once_url`](crate::UserTokens::connect_once_url).
///
/// An axum extractor, and [`OneShotToken::from_extensions`] for other services: the first request that asks within a
/// minute has it, of the session in which it was granted, and nobody ever again. A page that is loaded once more gets
/// [`ErrorKind::OneShotMissing`](crate::ErrorKind::OneShotMissing), unless something else waits.
///
/// Where several wait, granted in several tabs, a request has the one that was to land at its own address, query
/// included, or at the page that it comes from (`Referer`). Only a request that none was to land at has the oldest of
/// all. At most four wait in a browser, and the next one takes the place of the oldest; with `form_post`, whose callbacks
/// come without these cookies, as many as were granted within the minute.
///
/// Until then the tokens lie sealed in the store; a cookie that names them tells nothing of them. What nobody asked for
/// is handed to nobody after a minute, and the process that laid it there deletes it then. Should that process have
/// ended, or the store be away at that moment, it goes with what else has expired: with a login, or by
/// [`OidcLayer::delete_expired`](crate::OidcLayer::delete_expired). Here they are gone when this value is dropped; at
/// the provider when they expire, or by [`OneShotToken::revoke`].
pub struct OneShotToken {
    runtime: Arc<Runtime>,
    holder: Holder,
    record: OneShotRecord,
    access_token: AccessToken,
}

/// What waits in the store.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OneShotRecord {
    connection: String,
    scopes: Vec<String>,
    #[serde(with = "sealed")]
    access_token: Secret,
    /// To be revoked with.
    #[serde(with = "sealed_option")]
    refresh_token: Option<Secret>,
}

/// What waits for one use in the browser of a request.
pub(crate) struct OneShots {
    /// The oldest first, as browsers send them (RFC 6265 section 5.4).
    waiting: Vec<Waiting>,
    /// The page that a request comes from.
    referer: Option<HeaderValue>,
    /// One request has one of them.
    handed: AtomicBool,
}

struct Waiting {
    id: [u8; 32],
    page: Page,
    /// The cookie names nothing any more: somebody has it, or it is over.
    over: AtomicBool,
    removal: HeaderValue,
}

/// An address, by the beginning of its hash. It keeps tabs apart, and nobody out: that does the session in the row's
/// name.
type Page = [u8; 6];

/// Where a grant for one use lands, in the browser that sent these headers.
pub(crate) struct Arrival<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) headers: &'a HeaderMap,
}

impl OneShotToken {
    /// For services without axum: from the extensions of a request that came through the layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OneShotMissing`](crate::ErrorKind::OneShotMissing) when there is nothing, or no longer;
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated) when nobody is signed in whose it could be;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the store is away, which takes nothing;
    /// [`ErrorKind::LayerMissing`](crate::ErrorKind::LayerMissing) when the request did not come through the layer.
    pub async fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::take(RequestState::of(extensions)?).await
    }

    pub(crate) async fn take(state: &RequestState) -> Result<Self, Error> {
        let holder = state.runtime.ownership.holder(state)?;
        let runtime = Arc::clone(&state.runtime);
        let one_shots =
            state.one_shots.as_ref().filter(|one_shots| !one_shots.handed.load(Ordering::Relaxed));
        for waiting in one_shots.into_iter().flat_map(|one_shots| one_shots.meant_for(state)) {
            let row = row(&runtime, &waiting.id, &holder).await?;
            // Deleted and returned at once: of two that ask, in whichever processes, one has it.
            let (found, _) = runtime.records.take::<OneShotRecord>(&row).await?;
            let record = found.filter(|found| found.expires_at > runtime.now()).map(|found| found.value);
            waiting.over.store(true, Ordering::Relaxed);
            if let (Some(record), Some(one_shots)) = (record, one_shots) {
                one_shots.handed.store(true, Ordering::Relaxed);
                let access_token = AccessToken::new(record.access_token.clone());
                return Ok(Self { runtime, holder, record, access_token });
            }
        }
        Err(state.one_shot_missing())
    }

    /// The connection that was granted.
    pub fn connection(&self) -> &str {
        &self.record.connection
    }

    /// What was granted, which may be less than was asked for.
    pub fn scopes(&self) -> &[String] {
        &self.record.scopes
    }

    /// The token, for a URL that a resource of its connection covers. Whoever takes it out answers for where it goes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoTokenForUrl`](crate::ErrorKind::NoTokenForUrl) for any other.
    pub fn for_url(&self, url: &str) -> Result<&AccessToken, Error> {
        let connections = self.runtime.connections_of(&self.holder);
        let covering = |url| connections?.resources().covering(&url);
        let covering = resource::parse(url).and_then(covering);
        if covering.is_some_and(|source| source.connection == self.connection()) {
            Ok(&self.access_token)
        } else {
            Err(Error::no_token_for_url())
        }
    }

    /// Has the provider end it (RFC 7009), where it offers that. Best effort: what is not revoked expires.
    pub async fn revoke(self) {
        let Self { runtime, holder, record, .. } = self;
        let connections = runtime.connections_of(&holder);
        let Some(connection) = connections.and_then(|all| all.named(&record.connection)) else { return };
        let provider = Arc::clone(runtime.providers.get(connection.provider));
        let tokens = TokenResponse {
            access_token: record.access_token,
            refresh_token: record.refresh_token,
            expires_in: None,
            id_token: None,
            scopes: None,
        };
        let revoking = {
            let runtime = Arc::clone(&runtime);
            async move { discard(&runtime, &provider, &tokens, None, Unkept::TakenBack).await }
        };
        // In a task of its own: a browser that goes away does not keep it alive.
        let _ = runtime.tasks.spawn(revoking).await;
    }
}

impl fmt::Debug for OneShotToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShotToken").field("connection", &self.connection()).finish_non_exhaustive()
    }
}

impl OneShots {
    /// `found` is what the cookies hold, from after [`NAME`].
    pub(crate) fn read(found: &[&[u8]], headers: &HeaderMap, cookies: &CookieStyle) -> Option<Arc<Self>> {
        if found.is_empty() {
            return None;
        }
        let waiting: Vec<_> = found.iter().filter_map(|cookie| Waiting::read(cookie, cookies)).collect();
        let referer = headers.get(REFERER).cloned();
        Some(Arc::new(Self { waiting, referer, handed: AtomicBool::new(false) }))
    }

    /// Those that this request may have: another tab's are not among them while there are any of its own.
    fn meant_for(&self, state: &RequestState) -> impl Iterator<Item = &Waiting> {
        let settings = &state.runtime.settings;
        let here = state.here.as_ref().map(|here| page(&settings.public_path(here.as_str())));
        let from = || {
            let from = settings.destination(self.referer.as_ref()?.to_str().ok()?).ok()?;
            Some(page(from.as_str()))
        };
        let waits = |page: &Page| self.waiting.iter().any(|waiting| waiting.page == *page);
        let own = here.filter(waits).or_else(|| from().filter(waits));
        let fits = move |waiting: &&Waiting| {
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

impl Waiting {
    fn read(cookie: &[u8], cookies: &CookieStyle) -> Option<Self> {
        let (name, value) = cookie::pair(cookie)?;
        let name = str::from_utf8(name).ok().filter(|name| name.len() == IN_NAME)?;
        let value = value.strip_prefix(name.as_bytes()).and(Some(value))?;
        let named: [u8; 38] = URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok()?;
        let (id, page) = (named.first_chunk().copied()?, named.last_chunk().copied()?);
        let removal = cookies.remove(&cookies.name(&format!("{NAME}{name}")), CrossSite::Lax);
        Some(Self { id, page, over: AtomicBool::new(false), removal })
    }
}

/// The cookie's name, after the prefix, goes on with so many characters of its value: each has one of its own.
const NAME: &str = "once-";
const IN_NAME: usize = 8;
/// At most so many wait in one browser: they are gone within a minute, and until then travel with every request.
const MOST: usize = 4;

fn page(address: &str) -> Page {
    let (address, _) = address.split_once('#').unwrap_or((address, ""));
    let [a, b, c, d, e, f, ..] = <[u8; 32]>::from(Sha256::digest(address));
    [a, b, c, d, e, f]
}

/// Lays down what was granted for one use, and returns the cookie that names it, with those that make room for it.
pub(crate) async fn lay_down(
    runtime: &Arc<Runtime>,
    connection: &str,
    holder: &Holder,
    asked: &[String],
    tokens: &TokenResponse,
    arrival: Arrival<'_>,
) -> Result<Vec<HeaderValue>, StoreError> {
    let id = runtime.random.bytes::<32>();
    let row = row(runtime, &id, holder).await?;
    let record = OneShotRecord {
        connection: connection.to_owned(),
        scopes: tokens.scopes.clone().unwrap_or_else(|| asked.to_vec()),
        access_token: tokens.access_token.clone(),
        refresh_token: tokens.refresh_token.clone(),
    };
    let expires_at = runtime.now().plus(LIFETIME);
    runtime.records.swap(&row, None, &record, expires_at, Vec::new()).await?;
    delete_in_time(runtime, row.key);
    let cookies = &runtime.settings.cookies;
    let value = URL_SAFE_NO_PAD.encode([&id[..], &page(arrival.destination.as_str())].concat());
    let name = cookies.name(&format!("{NAME}{}", &value[..IN_NAME]));
    let mut set = make_room(arrival.headers, cookies);
    set.push(cookies.set(&name, &value, LIFETIME, CrossSite::Lax));
    Ok(set)
}

/// Removes the oldest where as many wait as may.
fn make_room(headers: &HeaderMap, cookies: &CookieStyle) -> Vec<HeaderValue> {
    let mut ours = Ours::default();
    headers.get_all(COOKIE).iter().for_each(|header| cookies.read(header, &mut ours, None));
    let waiting: Vec<_> = ours.once.iter().filter_map(|cookie| Waiting::read(cookie, cookies)).collect();
    let too_many = (waiting.len() + 1).saturating_sub(MOST);
    waiting.into_iter().take(too_many.min(MOST)).map(|waiting| waiting.removal).collect()
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
async fn row(runtime: &Runtime, id: &[u8; 32], holder: &Holder) -> Result<Row, StoreError> {
    let session = holder.session().map(|session| session.id.row(runtime.records.keys()).key.0);
    let clients: Vec<_> = runtime.settings.relying_parties.iter().flat_map(|one| one.client).collect();
    let session = session.as_ref().map_or(&[][..], |key| &key[..]);
    let owner = encode(&[&holder.owner().encoded(), session, &clients]);
    let key = Key(runtime.records.index().await?.hash(&[b"one shot", id, &owner]));
    Ok(Row { purpose: Purpose::OneShot, key, owner })
}
