//! What browsers carry: sessions and grants that no server keeps, sealed into the cookies of the person they belong to.
//!
//! ```text
//! …-session                    who the person is, opened at every request
//! …-claims.{tag}               everything known of them, and the ID token: for `claims()` and logout
//! …-grant.{tag}.{connection}   what they granted, opened where a token is asked for
//! ```
//!
//! 1. The tag is the session's, and session and owner are bound into the seals: what comes late for one person neither
//!    opens beside another's cookies nor overwrites them.
//! 2. A cookie is a copy. Where the store that processes meet at, the *rendezvous*, holds a newer generation of a grant,
//!    that one counts, and the answer of whoever noticed carries it to the browser. What was read there is believed for
//!    a while, unless something is heard of it.
//! 3. Cookies leave within a minute of the moment at which their grant was the newest. Two minutes after a grant was made
//!    the browser has what it keeps: when it shows the newest then, the rendezvous keeps that for ten minutes more, for
//!    requests that are under way. An answer that is overtaken does no harm.

pub(crate) mod grant_cookie;
pub(crate) mod payload;
pub(crate) mod response_cookies;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use self::grant_cookie::GrantCookieKey;
use self::payload::{ClaimsPayload, GrantPayload};
use self::response_cookies::ResponseCookies;
use crate::clock::Timestamp;
use crate::cookie::{self, AppCookies};
use crate::events::EventCode;
use crate::records::{CookieBinding, Grant, LOGIN, Opened, Owner, Purpose, SealedCookie, cookie_chunks, encode};
use crate::secret::opaque;
use crate::sessions::session::{Session, SessionCookie, SessionRecord, claims_hash};
use crate::sessions::session_id::SessionId;
use crate::sessions::{COOKIE, Visitor};
use crate::state::Runtime;

/// How long the rendezvous keeps a grant that its browser has shown: requests with older cookies may be under way.
pub(crate) const GRACE: Duration = Duration::from_secs(10 * 60);

/// What the browser of one request carries, and what its answer gives it to carry. Where the server keeps everything it
/// is empty, and does nothing.
#[derive(Clone, Default)]
pub(crate) struct CookieJar(Option<Arc<JarContents>>);

/// The cookies of a browser that carries what is its person's.
pub(crate) struct JarContents {
    runtime: Arc<Runtime>,
    cookies: AppCookies,
    came_at: Timestamp,
    /// Nothing changes with nearly every answer.
    answer: Mutex<Option<Box<ResponseCookies>>>,
}

/// The tags of the cookies of one session.
#[derive(Clone)]
struct Stays {
    claims: String,
    grants: String,
}

/// What would be more cookies than browsers and proxies take, and by how much.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TooLarge(String);

impl CookieJar {
    pub(crate) fn of(runtime: &Arc<Runtime>, headers: &HeaderMap, now: Timestamp) -> Self {
        let cookies = || AppCookies::of(headers, &runtime.settings.cookies);
        Self::new(runtime, runtime.mode.is_stateless().then(cookies), now)
    }

    /// Room for this application's cookies, where browsers carry anything.
    #[inline]
    pub(crate) fn room(runtime: &Runtime) -> Option<AppCookies> {
        runtime.mode.is_stateless().then(AppCookies::default)
    }

    /// `cookies` are this application's, where browsers carry anything.
    pub(crate) fn new(runtime: &Arc<Runtime>, cookies: Option<AppCookies>, now: Timestamp) -> Self {
        let runtime = || Arc::clone(runtime);
        Self(cookies.map(|cookies| {
            Arc::new(JarContents { cookies, came_at: now, answer: Mutex::default(), runtime: runtime() })
        }))
    }

    /// `None` where the server keeps everything.
    pub(crate) fn contents(&self) -> Option<&Arc<JarContents>> {
        self.0.as_ref()
    }

    /// What is known of the person, from the cookie for it.
    pub(crate) fn claims(&self, session: &Session) -> Option<ClaimsPayload> {
        self.0.as_ref()?.claims(session)
    }

    /// Whether the browser shows the claims with which its session began: a request without them, or with others, is nobody's.
    pub(crate) fn shows_claims(&self, session: &Session) -> bool {
        let Some(jar) = &self.0 else { return true };
        let Some(expected) = &session.shown_claims else { return true };
        let opened = &jar.runtime.opened_claims;
        let name = expected.name.get_or_init(|| jar.runtime.claims_name(&session.id.bytes()).into());
        let Some(text) = cookie_chunks::find(name, jar.cookies.iter()) else { return false };
        if opened.get(text.parts()).is_some_and(|of| of == session.id) {
            return true;
        }
        let claims = jar.claims(session).and_then(ClaimsPayload::claims);
        let shows = claims.is_some_and(|claims| claims_hash(&claims) == expected.hash);
        if shows {
            opened.put(text.parts(), session.id);
        }
        shows
    }

    /// Whether the browser shows what this visitor was granted, where it carries that.
    pub(crate) fn shows_visitor(&self, visitor: Visitor) -> bool {
        let Some(jar) = &self.0 else { return true };
        let name = jar.runtime.settings.cookies.name(COOKIE);
        let shown = jar.cookies().find(|(shown, _)| *shown == name.as_bytes());
        shown.is_some_and(|(_, value)| Visitor::from_cookie(value) == Some(visitor))
    }

    /// The session's cookie is sealed anew, so that it does not expire. False where there is none to seal.
    pub(crate) fn renew(&self, session: &Arc<Session>) -> bool {
        let Some(jar) = &self.0 else { return false };
        jar.answer.lock().get_or_insert_default().renewed = Some(Arc::clone(session));
        true
    }

    /// The browser is given what came for the session.
    pub(crate) fn learned(&self, session: &Arc<Session>) {
        self.0.iter().for_each(|jar| jar.answer.lock().get_or_insert_default().learns(session));
    }

    /// What the browser has to send of what it carries, in bytes.
    pub(crate) fn size(&self) -> usize {
        let Some(jar) = &self.0 else { return 0 };
        let kinds = ["session=", &format!("{CLAIMS}."), &format!("{GRANT}.")];
        let kinds = kinds.map(|kind| jar.runtime.settings.cookies.name(kind));
        jar.brought(|cookie| kinds.iter().any(|kind| cookie.starts_with(kind.as_bytes())))
    }

    /// The removals of what a session has left behind that is over: its own cookie goes earlier than the others.
    pub(crate) fn left_behind(&self) -> Vec<HeaderValue> {
        let Some(jar) = &self.0 else { return Vec::new() };
        // Whatever the session's cookie holds, there is one: another process may be able to read it.
        let session = jar.runtime.settings.session_cookie.as_bytes();
        let over = !jar.cookies().any(|(name, _)| name == session);
        if over { jar.strangers(None, false) } else { Vec::new() }
    }

    /// The browser carries nothing any more. Returns how many bytes an answer takes to say so.
    pub(crate) fn leave(&self) -> usize {
        let Some(jar) = &self.0 else { return 0 };
        *jar.answer.lock() = Some(Box::new(ResponseCookies { clears: Some(None), ..ResponseCookies::default() }));
        jar.strangers(None, false).iter().map(|removal| removal.len() + cookie::LINE).sum()
    }
}

impl JarContents {
    /// This application's, name and value.
    fn cookies(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.cookies.iter().filter_map(cookie::pair)
    }

    /// What such cookies of ours add to the request that brought them, in bytes.
    fn brought(&self, is_such: impl Fn(&[u8]) -> bool) -> usize {
        let such = self.cookies.iter().filter(|cookie| is_such(cookie));
        such.map(|cookie| cookie.len() + "; ".len()).sum()
    }

    fn claims(&self, session: &Session) -> Option<ClaimsPayload> {
        let place = self.runtime.claims_cookies(&session.id.bytes(), &session.owner());
        postcard::from_bytes(&self.opened(&place)?.contents).ok()
    }

    /// A login's session, claims and grant, if they fit beside the grants that the session has of the one before it. They
    /// come in the place of those of the session `replaced`.
    pub(crate) fn begun(
        &self, id: SessionId, record: &SessionRecord, grant: Option<&Grant>, replaced: Option<SessionId>,
    ) -> Result<ResponseCookies, TooLarge> {
        let runtime = &self.runtime;
        let settings = &runtime.settings;
        let (home, id) = (record.home_of(id).bytes(), id.bytes());
        let (cookie, owner) = (SessionCookie::new(id, record), record.owner());
        let idle_end = runtime.now().saturating_add(settings.idle_lifetime).min(record.ends_at);
        let session = self.seal(&runtime.session_cookies(), idle_end, &cookie)?;
        let claims = ClaimsPayload::new(&record.claims, &record.id_token);
        let claims = self.seal(&runtime.claims_cookies(&id, &owner), record.ends_at, &claims)?;
        let carried = |grant: &Grant| {
            let place = runtime.grant_cookies(&home, LOGIN, &owner, &grant.client);
            self.seal(&place, record.ends_at, &GrantPayload::new(grant))
        };
        let grant = grant.map(carried).transpose()?.unwrap_or_default();
        let [of_session, of_claims, of_grant] = [&session, &claims, &grant].map(|set| sent(set));
        let inherited = if record.home.is_some() { self.of_grants(&home) } else { 0 };
        let (sum, most) = (of_session + of_claims + of_grant + inherited, runtime.most_carried());
        // A session is one cookie: it is opened before anything else is looked for.
        if session.len() > 1 || sum > most {
            return Err(TooLarge(format!(
                "the session takes {of_session} bytes, the claims {of_claims} and the tokens {of_grant}, together {sum} of \
                 {most}"
            )));
        }
        // Two may not be more than one may: whoever signs in can be granted again what they were granted without.
        let clears_visitor = sum + self.of_visitor() > most;
        if clears_visitor {
            let detail = "what was granted before the login has no room beside it";
            runtime.events().emit(EventCode::CookiesTooLarge, owner.user(), detail);
        }
        let mut removed = self.surplus(&runtime.grant_name(&home, LOGIN), grant.len());
        removed.extend(replaced.into_iter().flat_map(|replaced| self.unseen(&replaced.bytes())));
        let begun: Vec<_> = session.into_iter().chain(claims).chain(grant).collect();
        // The grant of the session before it may have had the same name.
        let name = |set: &HeaderValue| set.as_bytes().split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
        removed.retain(|removal| begun.iter().all(|cookie| name(&cookie.header) != name(removal)));
        let clears = Some(Some(Stays { claims: tag(&id), grants: tag(&home) }));
        Ok(ResponseCookies { begun, removed, clears, clears_visitor, ..ResponseCookies::default() })
    }

    /// The answer gives the browser what a login begins with.
    pub(crate) fn begin(&self, begun: ResponseCookies) {
        let mut answer = self.answer.lock();
        let answer = answer.get_or_insert_default();
        let ResponseCookies { renewed, learned, grants, .. } = std::mem::take(&mut **answer);
        **answer = ResponseCookies { renewed, learned, grants, ..begun };
    }

    /// How many bytes of a grant's cookies the browser has.
    fn has_of(&self, key: &GrantCookieKey) -> usize {
        let name = &key.cookies(&self.runtime).name;
        self.brought(|cookie| cookie_chunks::chunk(name, cookie).is_some())
    }

    /// A grant's cookies, if they fit beside what the browser has besides, which the answer makes so many bytes `more`.
    fn sealed_grant(&self, key: &GrantCookieKey, grant: &Grant, more: isize) -> Result<Vec<SealedCookie>, TooLarge> {
        let runtime = &self.runtime;
        let place = key.cookies(runtime);
        let until = key.until(grant, runtime.settings.visitor_lifetime);
        let sealed = self.seal(place, until, &GrantPayload::new(grant))?;
        let others = self.brought(|cookie| cookie_chunks::chunk(&place.name, cookie).is_none());
        let others = others.saturating_add_signed(more);
        let (size, most) = (sent(&sealed), runtime.most_carried());
        if others + size <= most {
            return Ok(sealed);
        }
        Err(TooLarge(format!("the tokens take {size} bytes beside {others} of others, together more than {most}")))
    }

    fn opened(&self, place: &CookieBinding) -> Option<Opened> {
        place.open(&self.runtime.records.keys, &cookie_chunks::find(&place.name, self.cookies.iter())?).ok()
    }

    fn seal<T: serde::Serialize>(
        &self, place: &CookieBinding, expires_at: Timestamp, contents: &T,
    ) -> Result<Vec<SealedCookie>, TooLarge> {
        let contents = postcard::to_allocvec(contents).map_err(|error| TooLarge(error.to_string()))?;
        let sealed = self.sealed(place, expires_at, &contents);
        sealed.ok_or_else(|| TooLarge(format!("{} bytes are more than cookies can be", contents.len())))
    }

    fn sealed(&self, place: &CookieBinding, expires_at: Timestamp, contents: &[u8]) -> Option<Vec<SealedCookie>> {
        let runtime = &self.runtime;
        let times = (runtime.now(), expires_at);
        place.seal(&runtime.records.keys, &runtime.settings.cookies, &runtime.random, times, contents)
    }
}

opaque!(CookieJar);

/// What cookies add to each request, in bytes.
fn sent(cookies: &[SealedCookie]) -> usize {
    cookies.iter().map(|cookie| cookie.sent).sum()
}

const CLAIMS: &str = "claims";
const GRANT: &str = "grant";

/// A few characters of a session's id, in the names of its cookies.
fn tag(id: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(&id[..4])
}

impl Runtime {
    fn session_cookies(&self) -> CookieBinding {
        let name = self.settings.session_cookie.clone();
        CookieBinding { purpose: Purpose::CarriedSession, name, owner: Vec::new() }
    }

    /// The seal of the claims is bound to the session, and whose it is.
    fn claims_cookies(&self, id: &[u8; 32], owner: &Owner) -> CookieBinding {
        let (name, owner) = (self.claims_name(id), encode(&[b"carried", id, &owner.encoded()]));
        CookieBinding { purpose: Purpose::CarriedClaims, name, owner }
    }

    /// The seal of a grant is bound to its session, owner and client: a grant to one client is nothing at another.
    fn grant_cookies(&self, id: &[u8; 32], connection: &str, owner: &Owner, client: &[u8; 32]) -> CookieBinding {
        let (name, owner) = (self.grant_name(id, connection), encode(&[b"carried", id, &owner.encoded(), client]));
        CookieBinding { purpose: Purpose::GrantPayload, name, owner }
    }

    fn claims_name(&self, id: &[u8; 32]) -> String {
        self.settings.cookies.name(&format!("{CLAIMS}.{}", tag(id)))
    }

    fn grant_name(&self, id: &[u8; 32], connection: &str) -> String {
        self.settings.cookies.name(&format!("{GRANT}.{}.{connection}", tag(id)))
    }

    /// The most bytes of what is carried; 0 where the server keeps everything.
    pub(crate) fn most_carried(&self) -> usize {
        if self.mode.is_stateless() { self.settings.max_cookie_bytes } else { 0 }
    }
}
