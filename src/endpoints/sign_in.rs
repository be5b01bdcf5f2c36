//! A login's end: who may come in, and the session that begins.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, USER_AGENT};
use serde_json::Value;

use super::context::EndpointContext;
use super::end_session::{end_session, revoke};
use super::login_error::{LoginAnswer, LoginError};
use super::pending::PendingLogin;
use super::user_sessions::Ending;
use super::{login, urls};
use crate::clock::Timestamp;
use crate::config::{CheckedConnection, Destination, GrantLifetime, LoginApi, VerifiedLogin};
use crate::cookie::{self, SameSitePolicy};
use crate::error::redirect;
use crate::events::{EventCode, guarded_future};
use crate::peer::PeerAddr;
use crate::protocol::user_info::{about_person, replace};
use crate::protocol::{Claims, IdToken, IdTokenUse, OriginalIdToken, RolesByRule, TokenResponse};
use crate::provider::Provider;
use crate::records::{Consent, FOREVER, Grant, GrantSource, LOGIN, Loaded, TokenSet};
use crate::sessions::{
    ClaimSources, MOST_CLAIMS, Profile, Session, SessionCookie, SessionId, SessionPayload, SessionRecord, bytes_of,
    provider_logout, user_agent,
};
use crate::state::Runtime;
use crate::stateless::JarContents;
use crate::store::StoreError;
use crate::tokens::{GrantRef, Principal, SessionRows, user_claims};

/// The tokens that came for a code, and the login or consent that they belong to.
pub(crate) struct Issued<'a> {
    pub(crate) context: &'a EndpointContext,
    pub(crate) provider: &'a Arc<Provider>,
    pub(crate) login: &'a PendingLogin,
    pub(crate) connection: &'a CheckedConnection,
    /// The scopes that were asked for.
    pub(crate) scopes: Vec<String>,
    pub(crate) tokens: &'a TokenResponse,
    pub(crate) destination: &'a Destination,
    /// The issuer that the authorization response named.
    pub(crate) iss: Option<String>,
    /// The user's name in the authorization response, as Apple sends it.
    pub(crate) name: Option<String>,
}

/// Tokens that came for a code, once it is verified whose they are.
pub(crate) struct VerifiedTokens<'a> {
    pub(crate) issued: &'a Issued<'a>,
    pub(crate) id_token: IdToken,
}

impl Issued<'_> {
    /// The ID token among them, verified: its account is of the organisation that the provider is for.
    pub(crate) async fn id_token(&self) -> Result<IdToken, LoginError> {
        let (nonce, PendingLogin { max_age, acr_values, .. }) = (&self.login.nonce(), self.login);
        let token_use = IdTokenUse::Login { nonce, max_age: *max_age, acr_values };
        let id_token = self.provider.identify(self.tokens, token_use).await?.ok_or(LoginError::NoIdToken)?;
        let domain = self.provider.relying_party.hosted_domain.as_deref();
        if domain.is_some() && id_token.claims.get("hd").and_then(Value::as_str) != domain {
            return Err(LoginError::HostedDomain);
        }
        Ok(id_token)
    }

    /// The grant that these tokens make, with the consent that the user was asked for.
    pub(crate) fn grant(&self, place: &GrantRef, original: Option<OriginalIdToken>) -> Grant {
        let (at, scopes) = (place.runtime.now(), self.scopes.clone());
        let PendingLogin { max_age, acr_values, prompted, .. } = self.login.clone();
        let granted = self.new_grant(place, self.connection, &scopes);
        Grant { original, consent: Some(Consent { at, scopes, acr_values, max_age, prompted }), ..granted }
    }

    /// The tokens as a grant keeps them for a connection; `asked` are the scopes that were asked for.
    fn new_grant(&self, place: &GrantRef, connection: &CheckedConnection, asked: &[String]) -> Grant {
        let indicator = connection.single_indicator().map(str::to_owned);
        Grant {
            refresh_token: self.tokens.refresh_token.clone(),
            // RFC 6749 section 5.1: a response that names no scopes grants those that were asked for.
            scopes: connection.granted(self.tokens.scopes.as_deref().unwrap_or(asked), asked),
            token_sets: vec![TokenSet::new(indicator, self.tokens, place.runtime.now())],
            ..Grant::new(place.owner.clone(), place.client, &connection.name, GrantSource::Consent)
        }
    }
}

impl VerifiedTokens<'_> {
    /// Begins the session, in the place of the one that the browser had, and goes on to the login's destination.
    pub(crate) async fn sign_in(&self, replaces: Option<[u8; 32]>) -> LoginAnswer {
        let Self { issued, id_token } = self;
        let Issued { context, provider, .. } = issued;
        let runtime = &context.runtime;
        let login = runtime.settings.connections(provider.relying_party.id).sign_in.as_ref();
        let login = login.ok_or(LoginError::NotPending)?;
        let replaced = context.session_id().or(replaces.map(SessionId::new));
        let sign_in = SignIn { issued, id_token, login, replaced };
        let mut record = sign_in.record(sign_in.admit().await?).await?;
        // Where the browser shows it, whether it still lasts.
        let shown = context.signed_in().await.ok().flatten();
        let cookie = sign_in.store(&mut record).await?;
        runtime.sweep_in_time();
        let user = Some(record.user());
        runtime.events().emit(EventCode::LoginSucceeded, user, "a new session");
        let profile = Profile::of(&record.claims);
        let unverified = profile.email.filter(|_| !profile.email_verified);
        if unverified.is_some_and(|email| runtime.settings.admins.name(&record.issuer, &email)) {
            provider.tell_once(EventCode::AdminUnverified, user, NOT_ADMIN);
        }
        // The new session stands already: what is left of the old one expires by itself if this fails.
        match replaced {
            // The person goes on in the new one, and so does what they granted.
            Some(replaced) if record.home.is_some() => {
                let _ = runtime.sessions.end(replaced, record.ends_at).await;
            }
            Some(replaced) => {
                let shown = shown.filter(|session| session.id == replaced);
                let _ = end_session(runtime, replaced, shown.as_ref(), context.jar()).await;
            }
            None => {}
        }
        if let Some(most) = runtime.settings.max_sessions_per_user {
            let surplus = Ending::Surplus(most, runtime.session_row(issued.login.session()));
            // The next login ends what a store that is away keeps.
            let _ = runtime.end_sessions_of(record.user(), surplus, "max_sessions_per_user").await;
        }
        let key = issued.login.own.then_some(&record.logout_token[..]);
        let answer = redirect(&urls::onwards(runtime, key, issued.destination));
        let was_silent = login::was_silent(runtime, &context.head.headers);
        Ok(cookie::with(answer, cookie.into_iter().chain(was_silent.then(|| login::end_silence(runtime)))))
    }
}

const NOT_ADMIN: &str = "an address in ADMINS counts for nothing: email_verified is not true; use admin_subjects";

const OFFLINE_ACCESS: &str = "no refresh token came with a login, and users must grant access again whenever a token expires: \
                              add offline_access to the scopes (OIDC_SCOPES)";

/// A login that ends with a session.
struct SignIn<'a> {
    issued: &'a Issued<'a>,
    id_token: &'a IdToken,
    /// The scopes and resources that a login at this provider asks for.
    login: &'a CheckedConnection,
    /// The session that the browser had.
    replaced: Option<SessionId>,
}

/// A user's claims with their sources, their roles, and how long they may stay.
type Admitted = (Claims, ClaimSources, RolesByRule, Duration);

impl SignIn<'_> {
    /// Decides whether the user may sign in.
    async fn admit(&self) -> Result<Admitted, LoginError> {
        let Self { issued, id_token, login, .. } = self;
        let runtime = &issued.context.runtime;
        let came = (*id_token, &issued.tokens.access_token);
        let user_info = user_claims::user_info(runtime, issued.provider, &login.scopes, came).await?;
        let came = (Some(&id_token.claims), user_info.as_ref(), came.1);
        let roles = user_claims::roles(issued.provider, &id_token.facts.subject, came, &RolesByRule::default()).await?;
        let of_user_info = user_info.iter().flat_map(Claims::keys).cloned().collect();
        let mut sources = ClaimSources { user_info: of_user_info, ..ClaimSources::default() };
        let mut claims = about_person(id_token.claims.clone(), user_info);
        if let Some(name) = issued.name.clone().filter(|_| !claims.contains_key("name")) {
            claims.insert("name".to_owned(), name.into());
            sources.hook.insert("name".to_owned());
        }
        let Some(hook) = &runtime.hooks.login else { return Ok((claims, sources, roles, Duration::MAX)) };
        let asked = self.asked(&claims);
        let decided = guarded_future("the login hook", || hook(asked)).await;
        let (more, lifetime) = decided.ok_or(LoginError::Panicked)?.granted().map_err(LoginError::Vetoed)?;
        sources.hook.extend(more.keys().cloned());
        let roles = issued.provider.roles([None, None, None, Some(&more)], &roles);
        Ok((replace(claims, more), sources, roles, lifetime))
    }

    /// The login, as the hook sees it.
    fn asked(&self, claims: &Claims) -> VerifiedLogin {
        let Self { issued, id_token: IdToken { facts, acr, .. }, login, .. } = self;
        let Issued { context, provider, tokens, .. } = issued;
        let (runtime, relying_party) = (&context.runtime, &provider.relying_party);
        let mut headers = context.head.headers.clone();
        let _ = [COOKIE, AUTHORIZATION, PROXY_AUTHORIZATION].map(|name| headers.remove(name));
        let api = || LoginApi {
            access_token: tokens.access_token.clone(),
            indicator: login.single_indicator().map(str::to_owned),
            resources: runtime.settings.connections(relying_party.id).resources.clone(),
            outbound: runtime.outbound.clone(),
        };
        let granted = (acr.as_deref(), &tokens.scopes.as_ref().unwrap_or(&issued.scopes)[..]);
        VerifiedLogin {
            peer: context.head.extensions.get().map(|PeerAddr(peer)| *peer),
            headers,
            api: login.has_resources.then(|| Arc::new(api())),
            ..VerifiedLogin::new(&relying_party.name, (&facts.issuer, &facts.subject), granted, claims)
        }
    }

    /// The session that begins. In the place of another one of the same person it has the grants of that one, and the
    /// provider's sessions that it was known by.
    async fn record(&self, (claims, sources, roles, lifetime): Admitted) -> Result<SessionRecord, LoginError> {
        let Self { issued, id_token, replaced, .. } = self;
        let (runtime, now) = (&issued.context.runtime, issued.context.runtime.now());
        let facts = &id_token.facts;
        let before = match replaced {
            Some(replaced) => runtime.sessions.identity(*replaced, now).await?,
            None => None,
        };
        let before = before.filter(|before| before.user() == (&*facts.issuer, &*facts.subject));
        let home = before.as_ref().zip(*replaced).map(|(before, replaced)| before.home_of(replaced).bytes());
        let mut sids = before.map(|before| before.sids).unwrap_or_default();
        id_token.sid.iter().for_each(|sid| provider_logout::add_sid(&mut sids, sid));
        let identity = SessionPayload {
            sids,
            stored_at: now,
            algorithms: id_token.algorithm.into_iter().collect(),
            logout_token: runtime.random.bytes(),
            ends_at: now.saturating_add(runtime.settings.absolute_lifetime.min(lifetime)),
            home,
            roles,
            ..SessionPayload::of(id_token, issued.login.started_at)
        };
        let claims = Value::Object(claims).to_string();
        let room = MOST_CLAIMS.checked_sub(claims.len() + bytes_of(&identity.roles));
        let room = room.ok_or(LoginError::TooLarge)?;
        let hint = issued.tokens.id_token.clone().filter(|hint| hint.expose_secret().len() <= room);
        let id_token = hint.filter(|_| issued.provider.takes_logout_hint()).unwrap_or_default();
        let sources = Some(sources).filter(|_| runtime.settings.revalidate_every.is_some());
        let header = issued.context.head.headers.get(USER_AGENT).and_then(|header| header.to_str().ok());
        let user_agent = user_agent::family(header.unwrap_or_default());
        Ok(SessionRecord { identity, claims, id_token, sources, user_agent })
    }

    /// Grant first, session last: a session that exists is complete. Returns the cookie that names it.
    async fn store(&self, record: &mut SessionRecord) -> Result<Option<HeaderValue>, LoginError> {
        let Self { issued, login, .. } = self;
        let Issued { context, provider, tokens, .. } = issued;
        let (runtime, id) = (&context.runtime, issued.login.session());
        let revalidates = runtime.settings.revalidate_every.is_some();
        // For the person to use, or to ask the provider about them again. Otherwise they are dropped and not revoked: some
        // providers would take the account's along, where the person is the one who granted it.
        if runtime.mode.account().is_none() || revalidates {
            let is_short = tokens.refresh_token.is_none() && tokens.expires_in.is_some();
            if login.has_resources && is_short && provider.lacks_offline_access(&login.scopes) {
                provider.tell_once(EventCode::NoRefreshToken, None, OFFLINE_ACCESS);
            }
            if let Some(jar) = context.jar().contents() {
                // Nobody can have anything of this session yet: the answer is the only place that it is in.
                record.identity.stored_at = record.identity.after_notes(&runtime.records).await?;
                self.carry(jar, record).await?;
                // What the browser carries it is given by whoever answers.
                return Ok(None);
            }
            let rows = runtime.session_rows(id, record);
            let place = runtime.grant_place(record.owner(), login, Some(rows)).await?;
            let former = if record.home.is_some() { place.newest().await?.0 } else { None };
            let until = login.grant_lifetime.kept_until(record.ends_at);
            let kept = place.keep(self.new_grant(&place), until).await?;
            if revalidates && kept.refresh_token.is_none() {
                return Err(LoginError::NoRefreshToken);
            }
            self.revoke_former(&place, former.as_deref());
            self.keep_longer(rows, record).await?;
        }
        // Whatever is noted by then came before.
        let begun = SessionPayload { stored_at: FOREVER, ..record.identity.clone() };
        runtime.sessions.start(id, record.clone(), record.stored_at).await?;
        // Only now: whoever signs them out from here on finds the session.
        if begun.is_signed_out(&runtime.records).await? {
            end_session(runtime, id, None, context.jar()).await?;
            return Err(LoginError::SignedOut);
        }
        Ok(Some(session_cookie(runtime, id, record.ends_at)))
    }

    fn new_grant(&self, place: &GrantRef) -> Grant {
        let original = Some(self.id_token.facts.clone());
        Grant { original, ..self.issued.new_grant(place, self.login, &self.login.scopes) }
    }

    /// Gives the browser the session and its grant to carry. Where the grants of the session before it have no room, they end
    /// with that one.
    async fn carry(&self, jar: &JarContents, record: &mut SessionRecord) -> Result<(), LoginError> {
        let (context, id) = (self.issued.context, self.issued.login.session());
        let runtime = &context.runtime;
        loop {
            let cookie = SessionCookie::new(id.bytes(), record);
            let session = Arc::new(Session::carried(cookie, runtime.session_row(id), runtime.now()));
            let place = runtime.place_of(&Principal::Session(session), self.login, context.jar()).await?;
            let grant = self.new_grant(&place);
            let (former, version) = if record.home.is_some() { place.newest().await? } else { (None, None) };
            let grant = grant.consented_again(former.as_deref());
            if runtime.settings.revalidate_every.is_some() && grant.refresh_token.is_none() {
                return Err(LoginError::NoRefreshToken);
            }
            match jar.begun(id, record, Some(&grant), self.replaced) {
                Err(_) if record.home.is_some() => record.identity.home = None,
                Err(too_large) => return Err(LoginError::TooLargeToCarry(too_large)),
                Ok(begun) => {
                    // A refresh of the grant before it may be under way. But nobody can have anything of a new session.
                    let until = self.login.grant_lifetime.kept_until(record.ends_at);
                    let kept = async || runtime.records.swap(&place.row, version, &grant, until, Vec::new()).await;
                    if record.home.is_none() || kept().await?.is_some() {
                        jar.begin(begun);
                        self.revoke_former(&place, former.as_deref());
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Where this login brought a refresh token, the one of the login before it is not kept.
    fn revoke_former(&self, place: &GrantRef, former: Option<&Grant>) {
        let former = former.and_then(|former| former.refresh_token.clone());
        let new = self.issued.tokens.refresh_token.as_ref();
        revoke(place, former.filter(|former| new.is_some_and(|new| new != former)));
    }

    /// The other grants of the session before it last as long as this one.
    async fn keep_longer(&self, rows: SessionRows, record: &SessionRecord) -> Result<(), StoreError> {
        let runtime = &self.issued.context.runtime;
        let connections = runtime.settings.connections(self.issued.provider.relying_party.id).all.iter();
        let own = |one: &&CheckedConnection| one.grant_lifetime == GrantLifetime::Session && one.name != LOGIN;
        for connection in connections.filter(own).filter(|_| record.home.is_some()) {
            let place = runtime.grant_place(record.owner(), connection, Some(rows)).await?;
            while let Loaded::Found(found) = runtime.records.load::<Grant>(&place.row).await? {
                let (version, until) = (Some(found.version), record.ends_at.max(found.expires_at));
                let kept = runtime.records.swap(&place.row, version, &found.value, until, Vec::new()).await?;
                if kept.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The cookie that names a session which is kept in the store.
pub(crate) fn session_cookie(runtime: &Runtime, id: SessionId, ends_at: Timestamp) -> HeaderValue {
    let settings = &runtime.settings;
    let (name, lifetime) = (&settings.session_cookie, ends_at.duration_since(runtime.now()));
    settings.cookies.set(name, &id.to_cookie(), lifetime, SameSitePolicy::Lax)
}
