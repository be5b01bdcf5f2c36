//! What an answer gives the browser to carry.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::grant_cookie::{GrantCookieKey, PendingGrantCookie};
use super::payload::ClaimsPayload;
use super::{CLAIMS, CookieJar, GRANT, JarContents, Stays, sent, tag};
use crate::clock::Timestamp;
use crate::cookie::{self, SameSitePolicy};
use crate::events::EventCode;
use crate::records::{Grant, GrantStatus, LOGIN, Owner, SealedCookie, cookie_chunks};
use crate::secret::Secret;
use crate::sessions::{ProviderSessions, Session, SessionCookie, Visitor, visitor_id};

/// The longest that an answer with a grant may take to leave.
pub(crate) const SETS_WITHIN: Duration = Duration::from_secs(60);
/// At most so many cookies are cleared away in one answer: headers have little room.
const MOST_REMOVED: usize = 8;

#[derive(Default)]
pub(crate) struct ResponseCookies {
    /// The session whose cookie is sealed anew.
    pub(super) renewed: Option<Arc<Session>>,
    /// The session whose claims are sealed anew, if a newer ID token came with this answer.
    pub(super) learned: Option<Arc<Session>>,
    /// What a login begins with.
    pub(super) begun: Vec<SealedCookie>,
    /// What it removes of the session in whose place it comes.
    pub(super) removed: Vec<HeaderValue>,
    pub(super) grants: Vec<PendingGrantCookie>,
    /// What stays, if anything; all others are removed...
    pub(super) clears: Option<Option<Stays>>,
    /// ...but what the browser was granted without anybody signed in, unless there is no room for it.
    pub(super) clears_visitor: bool,
}

impl ResponseCookies {
    /// The browser is given what came for its session since its cookies were sealed.
    pub(super) fn learns(&mut self, session: &Arc<Session>) {
        self.learned = Some(Arc::clone(session));
        if session.provider_sessions().is_some_and(ProviderSessions::is_unsealed) {
            self.renewed = Some(Arc::clone(session));
        }
    }
}

impl CookieJar {
    /// Puts into an answer's head what its browser shall carry from now on. Returns whether there is anything.
    #[inline]
    pub(crate) fn settle(&self, headers: &mut HeaderMap) -> bool {
        self.contents().is_some_and(|jar| Self::put(jar, headers))
    }

    fn put(jar: &JarContents, headers: &mut HeaderMap) -> bool {
        let Some(answer) = jar.answer.lock().take() else { return false };
        let now = jar.runtime.now();
        let begun = answer.begun.into_iter().map(|cookie| cookie.header);
        let mut set: Vec<HeaderValue> = begun.chain(answer.removed).collect();
        if let Some(session) = answer.renewed
            && now.duration_since(jar.came_at) <= SETS_WITHIN
            && !session.has_ended()
        {
            set.extend(jar.renewed(&session, now));
        }
        if let Some(session) = answer.learned.filter(|session| !session.has_ended())
            && let Some(id_token) = session.provider_sessions().and_then(ProviderSessions::take_id_token)
        {
            set.extend(jar.with_hint(&session, &id_token).unwrap_or_default());
        }
        let (mut beside_grant, mut more) = (None, 0);
        let (gone, kept): (Vec<_>, Vec<_>) =
            answer.grants.into_iter().partition(|noted| noted.grant.status == GrantStatus::Revoked);
        // What goes makes room.
        for PendingGrantCookie { key, grant, at } in gone.into_iter().chain(kept) {
            if now.duration_since(at) <= SETS_WITHIN && !key.has_ended() {
                // What a person left behind is not for a visitor to clear away.
                beside_grant = beside_grant.or_else(|| key.stays());
                set.extend(jar.granted(&key, &grant, &mut more));
            }
        }
        if let Some(stays) = answer.clears.or(beside_grant.map(Some)) {
            set.extend(jar.strangers(stays.as_ref(), answer.clears_visitor));
        }
        cookie::append(headers, set)
    }
}

impl JarContents {
    /// The session's cookie with a later expiry, and with what was learned of it since. Where a secret had sealed it that
    /// will be taken away, everything else is sealed anew with it.
    fn renewed(&self, session: &Arc<Session>, now: Timestamp) -> Vec<HeaderValue> {
        let settings = &self.runtime.settings;
        let place = self.runtime.session_cookies();
        let Some(opened) = self.opened(&place) else { return Vec::new() };
        let expires_at = now.saturating_add(settings.idle_lifetime).min(session.ends_at);
        let Ok(mut held) = postcard::from_bytes::<SessionCookie>(&opened.contents) else { return Vec::new() };
        held.identity.sids = session.provider_sessions().map(ProviderSessions::sids).unwrap_or_default();
        let seal = |held: &SessionCookie| self.seal(&place, expires_at, held);
        let mut set = seal(&held).unwrap_or_default();
        // A session is one cookie: the oldest of the provider's sessions go where all have no room.
        while set.len() > 1 && !held.identity.sids.is_empty() {
            held.identity.sids.remove(0);
            set = seal(&held).unwrap_or_default();
        }
        if !opened.by_first_secret {
            set.extend(self.resealed(session));
        }
        set.into_iter().map(|cookie| cookie.header).collect()
    }

    /// The claims' cookies with a newer ID token, where that has room.
    fn with_hint(&self, session: &Session, id_token: &Secret) -> Option<Vec<HeaderValue>> {
        let place = self.runtime.claims_cookies(&session.id.bytes(), &session.owner());
        let claims = ClaimsPayload::new(&self.claims(session)?.claims()?, id_token);
        let set = self.seal(&place, session.ends_at, &claims).ok()?;
        let others = self.brought(|cookie| cookie_chunks::chunk(&place.name, cookie).is_none());
        let fits = others + sent(&set) <= self.runtime.most_carried();
        let surplus = self.surplus(&place.name, set.len());
        fits.then(|| set.into_iter().map(|cookie| cookie.header).chain(surplus).collect())
    }

    /// Removals of cookies in which a text went on that needs no more than so many now.
    pub(super) fn surplus(&self, name: &str, kept: usize) -> Vec<HeaderValue> {
        let positions = self.cookies.iter().filter_map(|cookie| Some(cookie_chunks::chunk(name, cookie)?.0));
        let surplus = positions.filter(|position| *position >= kept);
        surplus.filter_map(|position| self.removal(cookie_chunks::name(name, position).as_bytes())).collect()
    }

    /// What belongs to the session, where only an older secret opens it.
    fn resealed(&self, session: &Arc<Session>) -> Vec<SealedCookie> {
        let runtime = &self.runtime;
        let (id, home, owner) = (session.id.bytes(), session.home_of(session.id).bytes(), session.owner());
        let provider = runtime.signed_in_at(session);
        let connections = provider.map(|provider| runtime.settings.connections(provider.relying_party.id));
        let grants = connections.map_or(&[][..], |granted| &granted.all).iter().map(|connection| {
            let client = &runtime.providers.get(connection.provider).relying_party.client;
            runtime.grant_cookies(&home, &connection.name, &owner, client)
        });
        let mut set = Vec::new();
        for place in grants.chain([runtime.claims_cookies(&id, &owner)]) {
            if let Some(opened) = self.opened(&place).filter(|opened| !opened.by_first_secret) {
                set.extend(self.sealed(&place, opened.expires_at, &opened.contents).unwrap_or_default());
            }
        }
        set
    }

    /// The cookies of a grant, and the removal of those that it needs no more.
    fn granted(&self, key: &GrantCookieKey, grant: &Grant, more: &mut isize) -> Vec<HeaderValue> {
        let base = &key.cookies(&self.runtime).name;
        let set = match grant.status {
            // Nothing of it is left to be carried.
            GrantStatus::Revoked => Vec::new(),
            _ => match self.sealed_grant(key, grant, *more) {
                Ok(set) => set,
                Err(too_large) => {
                    let detail = format_args!("the coordination store keeps a refreshed grant: {too_large}");
                    let user = key.grant_key.owner.user();
                    self.runtime.events().emit(EventCode::CookiesTooLarge, user, detail);
                    return Vec::new();
                }
            },
        };
        *more += sent(&set).cast_signed() - self.has_of(key).cast_signed();
        let surplus = self.surplus(base, set.len());
        set.into_iter().map(|cookie| cookie.header).chain(surplus).collect()
    }

    /// Removals of a session's cookies that this request did not bring, and its browser may have: another site's form
    /// (`response_mode=form_post`) brings none of them.
    pub(super) fn unseen(&self, session: &[u8; 32]) -> Vec<HeaderValue> {
        let runtime = &self.runtime;
        let names = [runtime.claims_name(session), runtime.grant_name(session, LOGIN)];
        if names.iter().any(|name| self.cookies().any(|(cookie, _)| cookie.starts_with(name.as_bytes()))) {
            return Vec::new();
        }
        let chunks = runtime.most_carried() / cookie_chunks::LARGEST + 1;
        let names = names.iter().flat_map(|name| (0..chunks).map(|position| cookie_chunks::name(name, position)));
        names.filter_map(|name| self.removal(name.as_bytes())).collect()
    }

    /// How many bytes of what the browser was granted without anybody signed in a request brings.
    pub(super) fn of_visitor(&self) -> usize {
        let Some(tag) = self.visitor_tag() else { return 0 };
        let grants = format!("{}.{tag}.", self.runtime.settings.cookies.name(GRANT));
        self.brought(|cookie| cookie.starts_with(grants.as_bytes()))
    }

    /// How many bytes of a session's grants besides the login's a request brings.
    pub(super) fn of_grants(&self, home: &[u8; 32]) -> usize {
        let [grants, login] = ["", LOGIN].map(|name| self.runtime.grant_name(home, name));
        let is_login = |cookie: &[u8]| cookie_chunks::chunk(&login, cookie).is_some();
        self.brought(|cookie| cookie.starts_with(grants.as_bytes()) && !is_login(cookie))
    }

    /// Removals of what is tagged with other tags than these, and, with `visitors`, of what is the browser's own as a
    /// visitor.
    pub(super) fn strangers(&self, stays: Option<&Stays>, visitors: bool) -> Vec<HeaderValue> {
        let cookies = &self.runtime.settings.cookies;
        let (claims, grants) = stays.map_or(("", ""), |stays| (stays.claims.as_str(), stays.grants.as_str()));
        let kinds = [(CLAIMS, claims), (GRANT, grants)].map(|(kind, tag)| (format!("{}.", cookies.name(kind)), tag));
        let visitors = self.visitor_tag().filter(|_| !visitors).unwrap_or_default();
        let is = |name: &[u8], tag: &str| !tag.is_empty() && name.starts_with(tag.as_bytes());
        let strange = self.cookies().filter(|(name, _)| {
            kinds.iter().any(|(kind, stays)| {
                let tagged = name.strip_prefix(kind.as_bytes());
                tagged.is_some_and(|name| !is(name, stays) && !is(name, &visitors))
            })
        });
        strange.filter_map(|(name, _)| self.removal(name)).take(MOST_REMOVED).collect()
    }

    /// The tag of what the browser was granted without anybody signed in.
    fn visitor_tag(&self) -> Option<String> {
        let cookie = self.runtime.settings.cookies.name(visitor_id::COOKIE);
        let (_, value) = self.cookies().find(|(name, _)| *name == cookie.as_bytes())?;
        let Owner::Visitor { id } = Visitor::from_cookie(value)?.owner() else { return None };
        Some(tag(&id))
    }

    fn removal(&self, name: &[u8]) -> Option<HeaderValue> {
        Some(self.runtime.settings.cookies.remove(std::str::from_utf8(name).ok()?, SameSitePolicy::Lax))
    }
}
