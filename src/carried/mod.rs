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
//!    that one counts, and the answer of whoever noticed carries it to the browser.
//! 3. Cookies leave within [`SETS_WITHIN`] of the moment at which their grant was the newest. The rendezvous keeps a
//!    grant for [`GRACE`] after its browser has shown it: an answer that is overtaken does no harm.

mod chunks;
pub(crate) mod contents;
mod packed;
mod place;
mod recall;
pub(crate) mod sessions;
mod texts;

pub(crate) use place::{CarriedPlace, Unreadable};

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use self::contents::{CarriedGrant, Claims, Identity};
use self::place::Home;
use self::recall::Recall;
use self::texts::{SetText, TextPlace};
use crate::ambient::Timestamp;
use crate::config::Config;
use crate::connection::Retention;
use crate::cookie::{self, CrossSite};
use crate::events::EventCode;
use crate::grant::{Grant, LOGIN, Owner, Standing, encode};
use crate::protocol::authorization::ResponseMode;
use crate::runtime::Runtime;
use crate::seal::Purpose;
use crate::session::{Profile, Session, SessionRecord};
use crate::store::Key;

/// The longest that an answer with a grant may take to leave.
const SETS_WITHIN: Duration = Duration::from_secs(60);
/// How long the rendezvous keeps a grant that its browser has shown: requests with older cookies may be under way.
pub(crate) const GRACE: Duration = Duration::from_secs(10 * 60);
/// So many grants need not be opened again.
const RECALLED: u64 = 20_000;
/// At most so many cookies are cleared away in one answer: headers have little room.
const MOST_REMOVED: usize = 8;

/// What cannot be carried, each with its remedy.
pub(crate) fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let mut kept = |what: &str| {
        problems.push(format!(
            "{what} keeps its grant until it is taken back, and in stateless mode nothing is kept once a person has \
             signed out: use Retention::Session, or OidcLayer::per_user with a store"
        ));
    };
    if config.login_retention == Retention::User {
        kept("login_retention");
    }
    for connection in config.connections.iter().filter(|one| one.retention == Retention::User) {
        kept(&format!("connection {:?}", connection.name));
    }
    let mut modes =
        config.providers.iter().map(|provider| provider.response_mode).chain([config.response_mode]);
    if modes.any(|mode| mode == ResponseMode::FormPost) && !config.connections.is_empty() {
        problems.push(
            "response_mode is form_post, and in stateless mode connections need what the browser carries, which it \
             does not send with another site's form: use ResponseMode::Query"
                .to_owned(),
        );
    }
    problems
}

/// What this process remembers of what browsers carry.
pub(crate) struct Carrying {
    grants: Recall<(Key, Arc<Grant>)>,
    /// The most bytes of our cookies in one request.
    most: usize,
}

impl Carrying {
    pub(crate) fn new(most: usize) -> Self {
        Self { grants: Recall::new(RECALLED), most }
    }
}

/// What the browser of one request carries, and what its answer gives it to carry.
pub(crate) struct Carried {
    runtime: Arc<Runtime>,
    cookies: Vec<HeaderValue>,
    came_at: Timestamp,
    answer: Mutex<Answer>,
}

#[derive(Default)]
struct Answer {
    /// The session whose cookie is sealed anew.
    renewed: Option<Arc<Session>>,
    /// What a login begins with.
    begun: Vec<SetText>,
    grants: Vec<Noted>,
    /// The tag whose cookies stay; all others are removed.
    clears: Option<Box<str>>,
}

/// A grant that the browser shall carry from now on.
struct Noted {
    home: Arc<Home>,
    grant: Arc<Grant>,
    at: Timestamp,
}

/// These cookies would be more than browsers and proxies take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Carried {
    /// `None` where the server keeps everything.
    pub(crate) fn of(runtime: &Arc<Runtime>, headers: &HeaderMap) -> Option<Arc<Self>> {
        runtime.carrying.as_ref()?;
        Some(Arc::new(Self {
            cookies: headers.get_all(COOKIE).iter().cloned().collect(),
            came_at: runtime.now(),
            answer: Mutex::default(),
            runtime: Arc::clone(runtime),
        }))
    }

    fn cookies(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.cookies.iter().flat_map(|header| cookie::pairs(header.as_bytes()))
    }

    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the person, from the cookie for it.
    pub(crate) fn claims(&self, session: &Session) -> Option<Claims> {
        let id = session.id.bytes();
        let name = self.runtime.claims_name(&id);
        let owner = bound(&id, &session.owner());
        let place = TextPlace { purpose: Purpose::CarriedClaims, name: &name, owner: &owner };
        let (count, text) = place.find(self.cookies())?;
        let opened = place.open(self.runtime.records.keys(), count, &text).ok()?;
        postcard::from_bytes(&opened.contents).ok()
    }

    /// A login's session, claims and grant, if they fit.
    pub(crate) fn begin(&self, id: [u8; 32], record: &SessionRecord, grant: &Grant) -> Result<(), TooLarge> {
        let runtime = &self.runtime;
        let settings = &runtime.settings;
        let identity = Identity::new(id, record, &Profile::of(&record.claims));
        let bound = bound(&id, &grant.owner);
        let bound_grant = bound_grant(&id, &grant.owner, &record.issuer);
        let idle_end = runtime.now().plus(settings.idle_lifetime).min(record.ends_at);
        let session =
            self.seal(Purpose::CarriedSession, &settings.session_cookie, &[], idle_end, &identity)?;
        let claims = Claims::new(&record.claims, &record.id_token);
        let claims =
            self.seal(Purpose::CarriedClaims, &runtime.claims_name(&id), &bound, record.ends_at, &claims)?;
        let grant_name = runtime.grant_name(&id, LOGIN);
        let grant = CarriedGrant::new(grant);
        let grant = self.seal(Purpose::CarriedGrant, &grant_name, &bound_grant, record.ends_at, &grant)?;
        // A session is one cookie: it is opened before anything else is looked for.
        let fits = session.len() == 1;
        let begun: Vec<SetText> = session.into_iter().chain(claims).chain(grant).collect();
        if !fits || begun.iter().map(|cookie| cookie.sent).sum::<usize>() > runtime.most_carried() {
            return Err(TooLarge);
        }
        let mut answer = self.answer();
        answer.begun = begun;
        answer.clears = Some(tag(&id).into());
        Ok(())
    }

    /// The session's cookie is sealed anew, so that it does not expire.
    pub(crate) fn renew(&self, session: &Arc<Session>) {
        self.answer().renewed = Some(Arc::clone(session));
    }

    /// The browser carries nothing any more.
    pub(crate) fn leave(&self) {
        let mut answer = self.answer();
        answer.grants.clear();
        answer.renewed = None;
        answer.clears = Some("".into());
    }

    /// A grant's cookies, if they fit beside what the browser has besides.
    fn sealed_grant(&self, home: &Home, grant: &Grant) -> Result<Vec<SetText>, TooLarge> {
        let runtime = &self.runtime;
        let (name, prefix) = (home.name(runtime), runtime.settings.cookies.name(""));
        let grant = CarriedGrant::new(grant);
        let sealed = self.seal(Purpose::CarriedGrant, &name, &home.bound(), home.until, &grant)?;
        let others = self.cookies().filter(|(other, _)| {
            other.starts_with(prefix.as_bytes()) && chunks::position(&name, other).is_none()
        });
        let others: usize = others.map(|(name, value)| name.len() + value.len() + "=; ".len()).sum();
        let size = others + sealed.iter().map(|cookie| cookie.sent).sum::<usize>();
        if size <= runtime.most_carried() { Ok(sealed) } else { Err(TooLarge) }
    }

    /// Puts into an answer's head what its browser shall carry from now on.
    pub(crate) fn settle(&self, headers: &mut HeaderMap) {
        let answer = std::mem::take(&mut *self.answer());
        let now = self.runtime.now();
        let mut set: Vec<HeaderValue> = answer.begun.into_iter().map(|cookie| cookie.header).collect();
        if let Some(session) = answer.renewed
            && now.since(self.came_at) <= SETS_WITHIN
            && !session.has_ended()
        {
            set.extend(self.renewed(&session, now));
        }
        let mut tag_of_grant = None;
        for Noted { home, grant, at } in answer.grants {
            if now.since(at) <= SETS_WITHIN && !home.has_ended() {
                tag_of_grant = Some(tag(&home.id).into());
                set.extend(self.granted(&home, &grant));
            }
        }
        if let Some(stays) = answer.clears.or(tag_of_grant) {
            set.extend(self.strangers(&stays));
        }
        for cookie in set {
            cookie::append(headers, cookie);
        }
    }

    /// The session's cookie with a later expiry. What it holds is not looked at.
    fn renewed(&self, session: &Session, now: Timestamp) -> Option<HeaderValue> {
        let settings = &self.runtime.settings;
        let name = &settings.session_cookie;
        let place = TextPlace { purpose: Purpose::CarriedSession, name, owner: &[] };
        let (count, text) = place.find(self.cookies())?;
        let opened = place.open(self.runtime.records.keys(), count, &text).ok()?;
        let expires_at = now.plus(settings.idle_lifetime).min(session.ends_at);
        let sealed = self.sealed(place, expires_at, &opened.contents)?;
        sealed.into_iter().map(|cookie| cookie.header).next()
    }

    /// The cookies of a grant, and the removal of those that it needs no more.
    fn granted(&self, home: &Home, grant: &Grant) -> Vec<HeaderValue> {
        let base = home.name(&self.runtime);
        let set = match grant.standing {
            // Nothing of it is left to be carried.
            Standing::Ended => Vec::new(),
            _ => match self.sealed_grant(home, grant) {
                Ok(set) => set,
                Err(TooLarge) => {
                    let detail = "a refreshed grant is more than cookies may hold; the rendezvous keeps it";
                    self.runtime.events().emit(EventCode::CookiesTooLarge, home.owner.user(), detail);
                    return Vec::new();
                }
            },
        };
        let surplus = self
            .cookies()
            .filter(|(name, _)| chunks::position(&base, name).is_some_and(|position| position >= set.len()));
        let surplus: Vec<HeaderValue> = surplus.filter_map(|(name, _)| self.removal(name)).collect();
        set.into_iter().map(|cookie| cookie.header).chain(surplus).collect()
    }

    /// Removals of what is tagged with another tag than this.
    fn strangers(&self, stays: &str) -> Vec<HeaderValue> {
        let cookies = &self.runtime.settings.cookies;
        let kinds = [CLAIMS, GRANT].map(|kind| cookies.name(kind));
        let strange = self.cookies().filter(|(name, _)| {
            let tagged = kinds.iter().find_map(|kind| name.strip_prefix(kind.as_bytes()));
            tagged
                .and_then(|name| name.strip_prefix(b"."))
                .is_some_and(|name| stays.is_empty() || !name.starts_with(stays.as_bytes()))
        });
        strange.filter_map(|(name, _)| self.removal(name)).take(MOST_REMOVED).collect()
    }

    fn removal(&self, name: &[u8]) -> Option<HeaderValue> {
        Some(self.runtime.settings.cookies.remove(std::str::from_utf8(name).ok()?, CrossSite::Lax))
    }

    fn seal<T: serde::Serialize>(
        &self,
        purpose: Purpose,
        name: &str,
        owner: &[u8],
        expires_at: Timestamp,
        contents: &T,
    ) -> Result<Vec<SetText>, TooLarge> {
        let contents = postcard::to_allocvec(contents).map_err(|_| TooLarge)?;
        self.sealed(TextPlace { purpose, name, owner }, expires_at, &contents).ok_or(TooLarge)
    }

    fn sealed(&self, place: TextPlace<'_>, expires_at: Timestamp, contents: &[u8]) -> Option<Vec<SetText>> {
        let runtime = &self.runtime;
        let times = (runtime.now(), expires_at);
        place.seal(runtime.records.keys(), &runtime.settings.cookies, &runtime.random, times, contents)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carried")
    }
}

const CLAIMS: &str = "claims";
const GRANT: &str = "grant";

/// A few characters of a session's id, in the names of its cookies.
fn tag(id: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(&id[..4])
}

/// What seals are bound to besides their name: the session, and whose it is.
fn bound(id: &[u8; 32], owner: &Owner) -> Vec<u8> {
    encode(&[b"carried", id, &owner.encoded()])
}

/// The same for a grant of the provider of this issuer: what one has granted is nothing at another.
fn bound_grant(id: &[u8; 32], owner: &Owner, issuer: &str) -> Vec<u8> {
    encode(&[b"carried", id, &owner.encoded(), issuer.as_bytes()])
}

impl Runtime {
    fn claims_name(&self, id: &[u8; 32]) -> String {
        self.settings.cookies.name(&format!("{CLAIMS}.{}", tag(id)))
    }

    fn grant_name(&self, id: &[u8; 32], connection: &str) -> String {
        self.settings.cookies.name(&format!("{GRANT}.{}.{connection}", tag(id)))
    }

    fn most_carried(&self) -> usize {
        self.carrying.as_ref().map_or(0, |carrying| carrying.most)
    }
}
