//! Logins and logouts under way: each in a sealed cookie of its own, so that tabs do not disturb each other.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::cookie::{self, SameSitePolicy};
use crate::protocol::authorization::ResponseMode;
use crate::records::seal::{AssociatedData, Purpose};
use crate::sessions::identity::SessionPayload;
use crate::state::Runtime;
use crate::stateless;

/// At most so many logins are under way in one browser; the oldest goes.
const MOST: usize = 8;
/// At most so many bytes do their cookies have together...
const MOST_BYTES: usize = 6 * 1024;
/// ...and so many with what else the browser carries for us. Proxies and servers take 8 KiB of one header.
const MOST_SENT: usize = 7 * 1024;
/// What a login under way has beside the most that is carried, in bytes.
const ROOM: usize = 1024;

/// The largest cookie that is set: some browsers keep none above 4 KiB, and some proxies pass no header above that.
const LARGEST: usize = 3584;
/// What a response sets has at most so many bytes together: 4 KiB, less the other headers of the largest page.
const MOST_SET: usize = 3648;
/// So many characters of the state are in the cookie's name.
const ID: usize = 8;

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
    /// With `prompt=consent`.
    pub(crate) prompted: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) acr_values: Vec<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) intent: Intent,
    /// The application itself, or its user, began it.
    pub(crate) own: bool,
}

/// What the tokens are for. Sessions are named by their ids, because the callback may come without the session's
/// cookie (`form_post`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Intent {
    /// Somebody signs in, in a browser that had this session.
    Login { replaces: Option<[u8; 32]> },
    /// The person of this session grants a connection, with these scopes besides those it always asks for.
    Connect {
        session: [u8; 32],
        connection: String,
        more_scopes: Vec<String>,
        usage: KeepFor,
        /// Whose session it is, to find out whether the provider ends it meanwhile.
        signed_in: Box<SessionPayload>,
    },
    /// The same without a person: whoever uses the browser, which gets this name with the grant, and had the one before it.
    Visitor { visitor: [u8; 32], before: Option<[u8; 32]>, connection: String, more_scopes: Vec<String> },
}

/// What becomes of what is granted. The person is told before they grant it, and nothing else becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeepFor {
    /// It is kept, for themselves.
    User,
    /// It is kept, for everybody who uses the application.
    Everyone,
    /// It is handed to one request.
    OneRequest,
}

/// A logout at the provider, from which the browser comes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingLogout {
    pub(crate) state: String,
    pub(crate) return_to: String,
}

/// What a pending cookie turned out to be.
pub(crate) enum PendingLookup<T> {
    Valid(T),
    /// Ours, and its time is over: good for nothing but its destination.
    Expired(T),
    None,
}

fn is_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
}

/// A kind of pending cookie.
#[derive(Clone, Copy)]
pub(crate) struct PendingKind {
    name: &'static str,
    purpose: Purpose,
}

pub(crate) const LOGIN: PendingKind = PendingKind { name: "login", purpose: Purpose::PendingLogin };
pub(crate) const LOGOUT: PendingKind = PendingKind { name: "logout", purpose: Purpose::PendingLogout };

impl PendingKind {
    /// The cookie's name, from the beginning of the state that the provider sends back.
    fn cookie(self, runtime: &Runtime, state: &str) -> Option<String> {
        let id = state.get(..ID).filter(|id| id.bytes().all(is_id))?;
        Some(runtime.settings.cookies.name(&format!("{}-{id}", self.name)))
    }

    fn prefix(self, runtime: &Runtime) -> String {
        runtime.settings.cookies.name(&format!("{}-", self.name))
    }

    /// The `Set-Cookie` of something new under way, which must come back with whatever request `response_mode` makes.
    pub(crate) fn keep<T: Serialize>(
        self,
        runtime: &Runtime,
        response_mode: ResponseMode,
        state: &str,
        value: &T,
    ) -> Option<HeaderValue> {
        let cross_site = match response_mode {
            ResponseMode::FormPost => SameSitePolicy::None,
            ResponseMode::Query => SameSitePolicy::Lax,
        };
        let name = self.cookie(runtime, state)?;
        let contents = postcard::to_allocvec(value).ok()?;
        let expires_at = runtime.now().saturating_add(runtime.settings.login_lifetime);
        let place = AssociatedData::new(self.purpose, name.as_bytes());
        let sealed = runtime.records.keys().seal(place, expires_at, &contents, &runtime.random);
        // The browser keeps it twice as long: a late return still finds its destination.
        let max_age = runtime.settings.login_lifetime.saturating_mul(2);
        let value = URL_SAFE_NO_PAD.encode(sealed);
        Some(runtime.settings.cookies.set(&name, &value, max_age, cross_site))
    }

    /// What the browser has under this state.
    pub(crate) fn find<T: DeserializeOwned>(
        self,
        runtime: &Runtime,
        headers: &HeaderMap,
        state: &str,
    ) -> PendingLookup<T> {
        let Some(name) = self.cookie(runtime, state) else { return PendingLookup::None };
        let Some((expires_at, value)) =
            cookie::find(headers, &name).and_then(|value| self.open(runtime, &name, value))
        else {
            return PendingLookup::None;
        };
        if runtime.now() < expires_at { PendingLookup::Valid(value) } else { PendingLookup::Expired(value) }
    }

    /// All that the browser has of this kind.
    pub(crate) fn under_way<T: DeserializeOwned>(
        self,
        runtime: &Runtime,
        headers: &HeaderMap,
    ) -> impl Iterator<Item = T> {
        self.all(runtime, headers).filter_map(move |(name, value)| Some(self.open(runtime, name, value)?.1))
    }

    pub(crate) fn remove(self, runtime: &Runtime, state: &str) -> Option<HeaderValue> {
        let name = self.cookie(runtime, state)?;
        Some(runtime.settings.cookies.remove(&name, removal(runtime)))
    }

    /// The request's cookies that are named like ours of this kind; not all of more than browsers ever have of them.
    fn all<'a>(
        self,
        runtime: &Runtime,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let prefix = self.prefix(runtime);
        let found = cookie::all(headers).filter_map(move |(name, value)| {
            let name = std::str::from_utf8(name).ok()?;
            let id = name.strip_prefix(&prefix)?;
            (id.len() == ID && id.bytes().all(is_id)).then_some((name, value))
        });
        found.take(4 * MOST)
    }

    /// The removals of these cookies that fit: a request can bring any number of them, and an answer has room for few.
    fn remove_all(self, runtime: &Runtime, names: Vec<&str>, size: usize) -> Vec<HeaderValue> {
        let cross_site = removal(runtime);
        let removals = names.into_iter().map(|name| runtime.settings.cookies.remove(name, cross_site));
        as_fit(removals.take(MOST), size)
    }

    fn open<T: DeserializeOwned>(
        self,
        runtime: &Runtime,
        name: &str,
        value: &[u8],
    ) -> Option<(Timestamp, T)> {
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let opened =
            runtime.records.keys().open(AssociatedData::new(self.purpose, name.as_bytes()), &sealed).ok()?;
        Some((opened.expires_at, postcard::from_bytes(&opened.contents).ok()?))
    }
}

/// As many removals as fit into an answer beside a cookie of `size` bytes.
fn as_fit(removals: impl Iterator<Item = HeaderValue>, size: usize) -> Vec<HeaderValue> {
    let mut room = MOST_SET.saturating_sub(size);
    let fits = |removal: &HeaderValue| {
        let left = room.checked_sub(removal.len() + cookie::LINE);
        room = left.unwrap_or_default();
        left.is_some()
    };
    removals.take_while(fits).collect()
}

/// A cookie that came with a cross-site POST must be removable in its answer.
fn removal(runtime: &Runtime) -> SameSitePolicy {
    let mut modes = runtime.settings.relying_parties.iter().map(|registered| registered.response_mode);
    if modes.any(|mode| mode == ResponseMode::FormPost) { SameSitePolicy::None } else { SameSitePolicy::Lax }
}

/// Whether a browser would have to send more than others take, with a new cookie of `size` bytes.
pub(crate) fn is_too_much(runtime: &Runtime, headers: &HeaderMap, size: usize) -> bool {
    size > LARGEST || size + stateless::bytes(runtime, headers) > most_sent(runtime)
}

/// Where more may be carried, proxies take more.
fn most_sent(runtime: &Runtime) -> usize {
    MOST_SENT.max(runtime.most_carried() + ROOM)
}

/// The `Set-Cookie`s that make room for a cookie of `size` bytes: what does not open goes first, then the oldest, and
/// then what sessions have left behind.
///
/// A login that is over stays while there is room: its late callback still lands where it was going.
pub(crate) fn make_room(runtime: &Arc<Runtime>, headers: &HeaderMap, size: usize) -> Vec<HeaderValue> {
    let mut kept: Vec<(Timestamp, usize, &str)> = Vec::new();
    let mut removed = Vec::new();
    for (name, value) in LOGIN.all(runtime, headers) {
        match LOGIN.open::<PendingLogin>(runtime, name, value) {
            Some((_, login)) => kept.push((login.started_at, name.len() + value.len(), name)),
            None => removed.push(name),
        }
    }
    kept.sort();
    let mut bytes = size + kept.iter().map(|(_, size, _)| size).sum::<usize>();
    let most = MOST_BYTES.min(most_sent(runtime).saturating_sub(stateless::bytes(runtime, headers)));
    let mut oldest = kept.iter();
    while (bytes > most || oldest.len() >= MOST)
        && let Some((_, size, name)) = oldest.next()
    {
        bytes -= size;
        removed.push(name);
    }
    let mut removals = LOGIN.remove_all(runtime, removed, size);
    let size = size + removals.iter().map(|removal| removal.len() + cookie::LINE).sum::<usize>();
    removals.extend(as_fit(stateless::left_behind(runtime, headers).into_iter(), size));
    removals
}

/// The `Set-Cookie`s that clear away earlier logouts from which the browser never came back.
pub(crate) fn only_this_logout(runtime: &Runtime, headers: &HeaderMap, size: usize) -> Vec<HeaderValue> {
    let others = LOGOUT.all(runtime, headers).map(|(name, _)| name).collect();
    LOGOUT.remove_all(runtime, others, size)
}
