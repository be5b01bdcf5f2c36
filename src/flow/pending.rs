//! Logins and logouts under way: each in a sealed cookie of its own, so that tabs do not disturb each other.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ambient::Timestamp;
use crate::cookie::{self, CrossSite};
use crate::runtime::Runtime;
use crate::seal::{Place, Purpose};

/// At most so many logins are under way in one browser; the oldest goes.
const MOST: usize = 8;
/// At most so many bytes do their cookies have together.
const MOST_BYTES: usize = 6 * 1024;

/// A login under way. Everything that its callback is checked against travels with the browser that started it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingLogin {
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) code_verifier: String,
    pub(crate) return_to: String,
    /// The registration that it was started for: issuer, client and redirect URI.
    pub(crate) registration: [u8; 32],
    pub(crate) silent: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) acr_values: Vec<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) intent: Intent,
}

/// What the tokens are for. Sessions are named by their ids, because the callback may come without the session's
/// cookie (`form_post`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Intent {
    /// Somebody signs in, in a browser that had this session.
    Login { replaces: Option<[u8; 32]> },
    /// The person of this session grants a connection, with these scopes besides those it always asks for.
    Connect { session: [u8; 32], connection: String, more_scopes: Vec<String> },
}

/// A logout at the provider, from which the browser comes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingLogout {
    pub(crate) state: String,
    pub(crate) return_to: String,
}

/// What a pending cookie turned out to be.
pub(crate) enum Pending<T> {
    Valid(T),
    /// Ours, and its time is over: good for nothing but its destination.
    Expired(T),
    None,
}

/// A kind of pending cookie.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    name: &'static str,
    purpose: Purpose,
}

pub(crate) const LOGIN: Kind = Kind { name: "login", purpose: Purpose::PendingLogin };
pub(crate) const LOGOUT: Kind = Kind { name: "logout", purpose: Purpose::PendingLogout };

impl Kind {
    /// The cookie's name, from the beginning of the state that the provider sends back.
    fn cookie(self, runtime: &Runtime, state: &str) -> Option<String> {
        let id = state
            .get(..8)
            .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))?;
        Some(runtime.settings.cookies.name(&format!("{}-{id}", self.name)))
    }

    fn prefix(self, runtime: &Runtime) -> String {
        runtime.settings.cookies.name(&format!("{}-", self.name))
    }

    /// A login's cookie must come back with whatever request the response mode makes.
    pub(crate) fn cross_site(self, runtime: &Runtime) -> CrossSite {
        use crate::protocol::authorization::ResponseMode::{FormPost, Query};
        match (self.purpose, runtime.settings.relying_party.response_mode) {
            (Purpose::PendingLogin, FormPost) => CrossSite::None,
            (_, FormPost | Query) => CrossSite::Lax,
        }
    }

    /// The `Set-Cookie` of something new under way.
    pub(crate) fn keep<T: Serialize>(self, runtime: &Runtime, state: &str, value: &T) -> Option<HeaderValue> {
        let name = self.cookie(runtime, state)?;
        let contents = postcard::to_allocvec(value).ok()?;
        let expires_at = runtime.now().plus(runtime.settings.login_lifetime);
        let place = Place::new(self.purpose, name.as_bytes());
        let sealed = runtime.records.keys().seal(place, expires_at, &contents, &runtime.random);
        // The browser keeps it twice as long: a late return still finds its destination.
        let max_age = runtime.settings.login_lifetime.saturating_mul(2);
        let value = URL_SAFE_NO_PAD.encode(sealed);
        Some(runtime.settings.cookies.set(&name, &value, max_age, self.cross_site(runtime)))
    }

    /// What the browser has under this state.
    pub(crate) fn find<T: DeserializeOwned>(
        self,
        runtime: &Runtime,
        headers: &HeaderMap,
        state: &str,
    ) -> Pending<T> {
        let Some(name) = self.cookie(runtime, state) else { return Pending::None };
        let Some((expires_at, value)) =
            cookie::find(headers, &name).and_then(|value| self.open(runtime, &name, value))
        else {
            return Pending::None;
        };
        if runtime.now() < expires_at { Pending::Valid(value) } else { Pending::Expired(value) }
    }

    pub(crate) fn remove(self, runtime: &Runtime, state: &str) -> Option<HeaderValue> {
        let name = self.cookie(runtime, state)?;
        Some(runtime.settings.cookies.remove(&name, self.cross_site(runtime)))
    }

    fn open<T: DeserializeOwned>(
        self,
        runtime: &Runtime,
        name: &str,
        value: &[u8],
    ) -> Option<(Timestamp, T)> {
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let opened = runtime.records.keys().open(Place::new(self.purpose, name.as_bytes()), &sealed).ok()?;
        Some((opened.expires_at, postcard::from_bytes(&opened.contents).ok()?))
    }
}

/// The `Set-Cookie`s that make room for a cookie of `size` bytes: what does not open or is over goes first, then
/// the oldest.
pub(crate) fn make_room(runtime: &Runtime, headers: &HeaderMap, size: usize) -> Vec<HeaderValue> {
    let prefix = LOGIN.prefix(runtime);
    let now = runtime.now();
    let mut kept: Vec<(Timestamp, usize, &str)> = Vec::new();
    let mut removed = Vec::new();
    for (name, value) in cookie::all(headers).filter(|(name, _)| name.starts_with(prefix.as_bytes())) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        match LOGIN.open::<PendingLogin>(runtime, name, value) {
            Some((expires_at, login)) if now < expires_at => {
                kept.push((login.started_at, name.len() + value.len(), name));
            }
            _ => removed.push(name),
        }
    }
    kept.sort();
    let mut bytes = size + kept.iter().map(|(_, size, _)| size).sum::<usize>();
    let mut oldest = kept.iter();
    while (bytes > MOST_BYTES || oldest.len() >= MOST)
        && let Some((_, size, name)) = oldest.next()
    {
        bytes -= size;
        removed.push(name);
    }
    // A request can bring any number of cookies; an answer has room for few.
    let cross_site = LOGIN.cross_site(runtime);
    removed.into_iter().take(MOST).map(|name| runtime.settings.cookies.remove(name, cross_site)).collect()
}
