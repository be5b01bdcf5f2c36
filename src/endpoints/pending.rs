//! Logins and logouts under way: each in a sealed cookie of its own, so that tabs do not disturb each other.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::context::EndpointContext;
use crate::clock::Timestamp;
use crate::cookie::{self, SameSitePolicy};
use crate::events::EventCode;
use crate::protocol::ResponseMode;
use crate::records::{AssociatedData, KeyRing, Purpose, encode};
use crate::sessions::{SessionId, SessionPayload};
use crate::state::Runtime;

/// At most so many logins are under way in one browser; the oldest goes.
const MOST: usize = 8;
/// At most so many bytes do their pages' addresses have together...
const MOST_ADDRESSES: usize = 4 * 1024;
/// ...and so many their cookies, with what else the browser carries for us. Proxies and servers take 8 KiB of one header.
const MOST_SENT: usize = 7 * 1024;
/// The bytes for the cookies of all pending logins, without their addresses, beyond the limit for sessions and grants.
const ROOM: usize = 1536;

/// The largest cookie that is set: some browsers keep none above 4 KiB, and some proxies pass no header above that.
const LARGEST: usize = 3584;
/// What a response sets has at most so many bytes together: 4 KiB, less the other headers of the largest page.
const MOST_SET: usize = 3648;
/// The attributes of a `Set-Cookie` line have about so many bytes.
const ATTRIBUTES: usize = 100;
/// So many characters of the state are in the cookie's name.
const ID: usize = 8;

/// A login under way. Everything that its callback is checked against travels with the browser that started it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingLogin {
    /// Of it the state, the nonce, the code verifier and the session's id are made: eight cookies have room for no more.
    pub(crate) seed: [u8; 32],
    pub(crate) return_to: String,
    /// The registration that it was started for: issuer, client and redirect URI.
    pub(crate) registration: [u8; 16],
    pub(crate) silent: bool,
    /// With `prompt=consent`.
    pub(crate) prompted: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) acr_values: Vec<String>,
    /// The parameters that the login adds to the authorization request.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) started_at: Timestamp,
    pub(crate) intent: Intent,
    /// The application itself, or its user, began it.
    pub(crate) own: bool,
    /// It was begun in the place of one that the provider gave up.
    pub(crate) is_again: bool,
}

impl PendingLogin {
    pub(crate) fn state(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.derived("state"))
    }

    pub(crate) fn nonce(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.derived("nonce"))
    }

    pub(crate) fn code_verifier(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.derived("code_verifier"))
    }

    /// The session that it begins.
    pub(crate) fn session(&self) -> SessionId {
        SessionId::new(self.derived("session"))
    }

    /// 256 bits, of which no other's can be told.
    fn derived(&self, what: &str) -> [u8; 32] {
        Sha256::digest(encode(&[what.as_bytes(), &self.seed])).into()
    }
}

/// What the tokens are for. Sessions are named by their ids, because the callback may come without the session's
/// cookie (`form_post`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Intent {
    /// Somebody signs in, in a browser that had this session, where the callback comes without its cookie.
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
    /// A visitor grants a connection without a login. The browser gets the name `visitor` with the grant; until then it has
    /// the name `before`, if any.
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

fn is_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
}

/// The cookies of one kind of what is under way.
#[derive(Clone, Copy)]
pub(crate) struct PendingCookies<'r> {
    runtime: &'r Runtime,
    name: &'static str,
    purpose: Purpose,
}

impl<'r> PendingCookies<'r> {
    pub(crate) fn logins(runtime: &'r Runtime) -> Self {
        Self { runtime, name: "login", purpose: Purpose::PendingLogin }
    }

    pub(crate) fn logouts(runtime: &'r Runtime) -> Self {
        Self { runtime, name: "logout", purpose: Purpose::PendingLogout }
    }

    /// The cookie's name, from the beginning of the state that the provider sends back.
    fn cookie(self, state: &str) -> Option<String> {
        let id = state.get(..ID).filter(|id| id.bytes().all(is_id))?;
        Some(self.prefix() + id)
    }

    fn prefix(self) -> String {
        self.runtime.settings.cookies.name(&format!("{}-", self.name))
    }

    /// The `Set-Cookie` of something under way until then.
    pub(crate) fn sealed<T: Serialize>(
        self, cross_site: SameSitePolicy, (state, expires_at): (&str, Timestamp), value: &T,
    ) -> Option<HeaderValue> {
        let (runtime, name) = (self.runtime, self.cookie(state)?);
        let contents = postcard::to_allocvec(value).ok()?;
        let place = AssociatedData::new(self.purpose, name.as_bytes());
        let sealed = &runtime.records.keys.seal(place, expires_at, &contents, &runtime.random);
        // The browser keeps it twice as long: a late return still finds its destination.
        let max_age = runtime.settings.login_lifetime.saturating_mul(2);
        let value = URL_SAFE_NO_PAD.encode(sealed);
        Some(runtime.settings.cookies.set(&name, &value, max_age, cross_site))
    }

    /// Finds what is pending in this browser under a state, and says whether it has expired. Of what has expired only the
    /// destination is used.
    pub(crate) fn find<T: DeserializeOwned>(self, headers: &HeaderMap, state: &str) -> Option<(T, bool)> {
        let name = self.cookie(state)?;
        let (expires_at, value) = self.open(&name, cookie::find(headers, &name)?)?;
        Some((value, self.runtime.now() >= expires_at))
    }

    /// All that the browser has of this kind.
    pub(crate) fn under_way<T: DeserializeOwned>(self, headers: &HeaderMap) -> impl Iterator<Item = T> {
        self.all(headers).filter_map(move |(name, value)| Some(self.open(name, value)?.1))
    }

    pub(crate) fn remove(self, state: &str) -> Option<HeaderValue> {
        Some(self.runtime.settings.cookies.remove(&self.cookie(state)?, removal(self.runtime)))
    }

    /// The request's cookies that are named like ours of this kind; not all of more than browsers ever have of them.
    pub(crate) fn all(self, headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
        let prefix = self.prefix();
        let found = cookie::all(headers).filter_map(move |(name, value)| {
            let name = std::str::from_utf8(name).ok()?;
            let id = name.strip_prefix(&prefix)?;
            (id.len() == ID && id.bytes().all(is_id)).then_some((name, value))
        });
        found.take(4 * MOST)
    }

    /// The removals of these cookies that fit: a request can bring any number of them, and an answer has room for few.
    pub(crate) fn remove_all<'h>(self, names: impl Iterator<Item = &'h str>, size: usize) -> Vec<HeaderValue> {
        let cross_site = removal(self.runtime);
        let removals = names.map(|name| self.runtime.settings.cookies.remove(name, cross_site));
        as_fit(removals.take(MOST), size)
    }

    fn open<T: DeserializeOwned>(self, name: &str, value: &[u8]) -> Option<(Timestamp, T)> {
        let (place, sealed) = (AssociatedData::new(self.purpose, name.as_bytes()), URL_SAFE_NO_PAD.decode(value).ok()?);
        let opened = self.runtime.records.keys.open(place, &sealed).ok()?;
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
    let modes = runtime.settings.relying_parties.iter().map(|registered| registered.response_mode);
    modes.map(comes_back).find(|policy| *policy == SameSitePolicy::None).unwrap_or(SameSitePolicy::Lax)
}

/// The `SameSite` attribute with which the cookie comes back with the response, by the response mode.
fn comes_back(response_mode: ResponseMode) -> SameSitePolicy {
    match response_mode {
        ResponseMode::FormPost => SameSitePolicy::None,
        ResponseMode::Query => SameSitePolicy::Lax,
    }
}

/// A login under way, by the name of its cookie, and whether that is to be set.
struct UnderWay<'a> {
    name: &'a str,
    login: PendingLogin,
    expires_at: Timestamp,
    changed: bool,
}

impl UnderWay<'_> {
    /// The bytes that the cookie of this login adds to each request.
    fn sent(&self, runtime: &Runtime) -> usize {
        let contents = postcard::to_allocvec(&self.login).map_or(LARGEST, |contents| contents.len());
        let name = PendingCookies::logins(runtime).prefix().len() + ID + "=; ".len();
        name + (KeyRing::sealed_length(contents) * 4).div_ceil(3)
    }

    fn cookie(&self, runtime: &Runtime, cross_site: SameSitePolicy) -> Option<HeaderValue> {
        let value = (&*self.login.state(), self.expires_at);
        PendingCookies::logins(runtime).sealed(cross_site, value, &self.login)
    }
}

/// The `Set-Cookie`s with which a login is under way, `None` where it cannot be. What does not open goes, and the oldest
/// where there are too many; then what sessions have left behind. Where their addresses have no room, the longest is
/// given up: that login ends at home.
///
/// A login that is over stays while there is room: its late callback still lands where it was going.
pub(crate) fn begin(context: &EndpointContext, mode: ResponseMode, login: PendingLogin) -> Option<Vec<HeaderValue>> {
    let (runtime, jar) = (&*context.runtime, context.jar());
    let logins = PendingCookies::logins(runtime);
    let (mut under_way, mut removed) = (Vec::new(), Vec::new());
    for (name, value) in logins.all(&context.head.headers) {
        match logins.open::<PendingLogin>(name, value) {
            Some((expires_at, login)) => under_way.push(UnderWay { name, login, expires_at, changed: false }),
            None => removed.push(name),
        }
    }
    under_way.sort_by_key(|one| one.login.started_at);
    let expires_at = runtime.now().saturating_add(runtime.settings.login_lifetime);
    under_way.push(UnderWay { name: "", login, expires_at, changed: true });
    // Where more may be carried, proxies take more.
    let room = MOST_SENT.max(runtime.most_carried() + ROOM).saturating_sub(jar.size());
    removed.extend(make_room(runtime, &mut under_way, room));
    let new = under_way.pop()?.cookie(runtime, comes_back(mode))?;
    let changed = under_way.iter().filter(|one| one.changed);
    let mut cookies: Vec<_> = changed.filter_map(|one| one.cookie(runtime, removal(runtime))).collect();
    let size = |cookies: &[HeaderValue]| -> usize {
        new.len() + cookies.iter().map(|cookie| cookie.len() + cookie::LINE).sum::<usize>()
    };
    cookies.extend(logins.remove_all(removed.into_iter(), size(&cookies)));
    cookies.extend(as_fit(jar.left_behind().into_iter(), size(&cookies)));
    cookies.push(new);
    Some(cookies)
}

/// Gives up addresses, and then the oldest logins, until all fit; returns the names of those that go. The last is new.
fn make_room<'a>(runtime: &Runtime, under_way: &mut Vec<UnderWay<'a>>, room: usize) -> Vec<&'a str> {
    let too_many = under_way.len().saturating_sub(MOST);
    let mut gone: Vec<_> = under_way.drain(..too_many).map(|one| one.name).collect();
    while !fits(runtime, under_way, room) {
        // Of two that are as long the newest, which is set anyway.
        let addressed = under_way.iter_mut().filter(|one| !one.login.return_to.is_empty());
        if let Some(longest) = addressed.max_by_key(|one| one.login.return_to.len()) {
            longest.login.return_to.clear();
            longest.changed = true;
            let detail = "the address of a login under way has no room beside others: it ends at home";
            runtime.events().emit(EventCode::CookiesTooLarge, None, detail);
        } else if under_way.len() > 1 {
            gone.push(under_way.remove(0).name);
        } else {
            break;
        }
    }
    gone
}

/// Whether logins can be under way together, the last of which is new: in this browser, and in this answer.
fn fits(runtime: &Runtime, under_way: &[UnderWay<'_>], room: usize) -> bool {
    let addresses: usize = under_way.iter().map(|one| one.login.return_to.len()).sum();
    let sent: usize = under_way.iter().map(|one| one.sent(runtime)).sum();
    let changed = under_way.iter().filter(|one| one.changed);
    let set: usize = changed.map(|one| one.sent(runtime) + ATTRIBUTES).sum();
    addresses <= MOST_ADDRESSES && sent <= room && set <= LARGEST
}
