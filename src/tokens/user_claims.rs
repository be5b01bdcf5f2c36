//! What is known of a user: the claims of the ID token and of UserInfo, at a login and later, and the ID tokens that come for a
//! session after its login, with a refresh or a consent.

use serde_json::Value;

use super::locate::GrantRef;
use crate::clock::Timestamp;
use crate::events::EventCode;
use crate::protocol::user_info::{about_person, replace};
use crate::protocol::{
    Algorithm, ClaimSource, Claims, FetchUserInfo, IdToken, LOGIN_CLAIMS, RolesByRule, TokenResponse, UserInfoError,
    VERIFIED,
};
use crate::provider::{Provider, ProviderError};
use crate::records::{FOREVER, Loaded, Purpose, RecordKey};
use crate::secret::Secret;
use crate::sessions::{MOST_CLAIMS, Session, SessionPayload, SessionRecord, bytes_of, provider_logout, session_row};
use crate::state::Runtime;
use crate::store::{Key, StoreError};
use crate::tokens::Arc;

/// UserInfo's claims for a login that asks for `scopes`; `None` where they are not asked for, or are not needed and cannot
/// be had.
pub(crate) async fn user_info(
    runtime: &Runtime, provider: &Arc<Provider>, scopes: &[String], (id_token, access_token): (&IdToken, &Secret),
) -> Result<Option<Claims>, ProviderError> {
    let metadata = provider.metadata().await?;
    let Some(endpoint) = &metadata.userinfo_endpoint else { return Ok(None) };
    let has = |claim: &str| id_token.claims.contains_key(claim);
    let lacks = |scope: &str, claim: &str| scopes.iter().any(|asked| asked == scope) && !has(claim);
    let relying_party = &provider.relying_party;
    // Somebody is let in by what it says, or is an admin.
    let has_roles = relying_party.takes_roles_from(ClaimSource::UserInfo);
    let is_needed = relying_party.fetch_user_info == FetchUserInfo::Always
        || has_roles
        || runtime.hooks.login.is_some()
        || !relying_party.decisive.iter().all(|claim| has(claim));
    let asked = match relying_party.fetch_user_info {
        FetchUserInfo::Never => false,
        FetchUserInfo::WhenNeeded => has_roles || lacks("email", "email") || lacks("profile", "name"),
        FetchUserInfo::Always => true,
    };
    if !asked {
        return Ok(None);
    }
    let user = (&*id_token.facts.issuer, &*id_token.facts.subject);
    match provider.user_info(endpoint, access_token, user).await {
        // The ID token is good, and nothing is decided by what is missing. Claims of somebody else are another matter.
        Err(error) if !is_needed && !matches!(error, ProviderError::FetchUserInfo(UserInfoError::AnotherSubject)) => {
            provider.tell(&error);
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

/// The roles of a user by what came at a login, or with a refresh.
pub(crate) async fn roles(
    provider: &Arc<Provider>, subject: &str,
    (id_token, user_info, access_token): (Option<&Claims>, Option<&Claims>, &Secret), before: &RolesByRule,
) -> Result<RolesByRule, ProviderError> {
    let written = &provider.relying_party.written;
    // An identity endpoint's answer stands for an ID token elsewhere.
    if written.oauth2.is_some() {
        return Ok(provider.roles([None, id_token, None, None], before));
    }
    let audience = written.access_token_audience.as_ref();
    let mut of_access_token = None;
    if let Some(audience) = audience.filter(|_| written.takes_roles_from(ClaimSource::AccessToken)) {
        let verified = provider.verify_access_token(access_token.expose_secret(), audience).await;
        // What does not hold names no roles, not even those of before.
        of_access_token = Some(match verified {
            Ok(token) if token.subject.as_deref() == Some(subject) => token.claims,
            Err(error) if !matches!(error, ProviderError::Statement(..)) => return Err(error),
            other => {
                let why = other.err().map_or("its sub is not the ID token's".to_owned(), |error| error.to_string());
                provider.tell_once(EventCode::RolesUnreadable, None, &format!("an access token: {why}"));
                Claims::new()
            }
        });
    }
    Ok(provider.roles([id_token, user_info, of_access_token.as_ref(), None], before))
}

/// UserInfo's claims about a known user as they are now, where claims or roles need them, and the roles as they are now. `None`:
/// something cannot be had now, which withdraws nothing.
async fn by_now(
    provider: &Arc<Provider>, known: &SessionPayload, (id_token, access_token): (Option<&Claims>, &Secret), asks: bool,
) -> Option<(Option<Claims>, RolesByRule)> {
    let mut user_info = None;
    if (asks || provider.relying_party.takes_roles_from(ClaimSource::UserInfo))
        && let Some(endpoint) = &provider.metadata().await.ok()?.userinfo_endpoint
    {
        let asked = provider.user_info(endpoint, access_token, known.user()).await;
        user_info = Some(asked.inspect_err(|error| provider.tell(error)).ok()?);
    }
    let came = (id_token, user_info.as_ref(), access_token);
    let roles = roles(provider, &known.subject, came, &known.roles).await.ok()?;
    Some((user_info, roles))
}

/// Replaces the claims of a session that is kept by those that came with a refresh. A claim that is gone from where it came
/// from is gone; those of the login hook stay. `None`: nothing came, or not all that is needed.
async fn renew(
    runtime: &Runtime, provider: &Arc<Provider>, session: Key, (id_token, access_token): (Option<Claims>, &Secret),
) -> Option<bool> {
    let row = RecordKey::new(Purpose::Session, session);
    let Ok(Loaded::Found(found)) = runtime.records.load::<SessionRecord>(&row).await else { return None };
    let asks = !found.value.sources.as_ref()?.user_info.is_empty();
    let came = (id_token.as_ref(), access_token);
    let (user_info, roles) = by_now(provider, &found.value.identity, came, asks).await?;
    if id_token.is_none() && user_info.is_none() && roles == found.value.roles {
        return None;
    }
    let renewed = session_row::rewrite(&row, &runtime.records, |found| {
        let record = &mut found.value;
        let Some(sources) = &mut record.sources else { return false };
        let known: Claims = serde_json::from_str(&record.claims).unwrap_or_default();
        // What is said of the login stays.
        let verified_by_hook =
            |name: &str| VERIFIED.iter().any(|(claim, verified)| name == *claim && sources.hook.contains(*verified));
        let stays = |name: &String| {
            LOGIN_CLAIMS.contains(&name.as_str()) || sources.hook.contains(name) || verified_by_hook(name)
        };
        let (kept, others): (Claims, Claims) = known.into_iter().partition(|(name, _)| stays(name));
        let of_id_token = || others.into_iter().filter(|(name, _)| !sources.user_info.contains(name)).collect();
        let mut provided = about_person(id_token.clone().unwrap_or_else(of_id_token), user_info.clone());
        provided.retain(|name, _| !LOGIN_CLAIMS.contains(&name.as_str()));
        let claims = Value::Object(replace(provided, kept)).to_string();
        sources.user_info.extend(user_info.iter().flat_map(Claims::keys).cloned());
        let fits = claims.len() + bytes_of(&roles) + record.id_token.expose_secret().len() <= MOST_CLAIMS;
        let is_new = fits && (record.claims != claims || record.identity.roles != roles);
        if is_new {
            (record.claims, record.identity.roles) = (claims, roles.clone());
        }
        is_new
    });
    // A store that is away is told of elsewhere.
    renewed.await.ok()
}

/// Whether a refreshed ID token has another value of a claim by which somebody is an admin than the session, which its
/// browser keeps. What a login hook has set is compared with nothing.
fn decide_otherwise(place: &GrantRef, session: &Session, id_token: &Claims) -> bool {
    let known = session.all_claims_or(|| place.shown_claims());
    // Some providers spell booleans as strings.
    let spelled = |claim: &Value| claim.to_string().trim_matches('"').to_owned();
    let differs = |name: &String| {
        let (new, before) = (id_token.get(name), known.and_then(|known| known.get(name)));
        new.is_some() && new.map(spelled) != before.map(spelled)
    };
    place.runtime.hooks.login.is_none() && place.provider().relying_party.decisive.iter().any(differs)
}

/// The session whose login alone yielded a grant makes what came with its refresh its own.
pub(crate) async fn adopt_refreshed(
    place: &GrantRef, id_token: Option<&IdToken>, response: &Arc<TokenResponse>, asked_at: Timestamp,
) {
    let Some(row) = place.session else { return };
    // Without a signature it is what an identity endpoint said, and no ID token.
    let signed = id_token.filter(|id_token| id_token.algorithm.is_some());
    let newer = signed.map(|id_token| NewIdToken::new(id_token, response, asked_at));
    let runtime = Arc::clone(&place.runtime);
    let revalidates = runtime.settings.revalidate_every.is_some();
    let claims = id_token.map(|id_token| id_token.claims.clone()).filter(|_| revalidates);
    if let Some(session) = place.shown_session() {
        newer.iter().for_each(|newer| newer.seal_into(session));
        let now = by_now(place.provider(), session, (claims.as_ref(), &response.access_token), false);
        let has_other_roles = revalidates && now.await.is_some_and(|(_, roles)| roles != session.roles);
        if has_other_roles || claims.as_ref().is_some_and(|claims| decide_otherwise(place, session, claims)) {
            // A store that is away is told of elsewhere.
            let _ = runtime.sessions.end(session.id, session.ends_at).await;
        }
        return;
    }
    let (provider, response) = (Arc::clone(place.provider()), Arc::clone(response));
    let adopted = async move {
        if revalidates {
            let _ = renew(&runtime, &provider, row, (claims, &response.access_token)).await;
        }
        if let Some(newer) = newer {
            let _ = newer.write_into(&runtime, row).await;
        }
    };
    // A request may wait for the claims, and for nothing else. A store that is away was reported.
    if revalidates { adopted.await } else { drop(place.runtime.tasks.spawn(adopted)) }
}

/// An ID token that came after the login: a logout may name its `sid`, and it is the hint of our own.
pub(crate) struct NewIdToken {
    /// The provider's session that it names, as if it began when the ID token was asked for.
    named: SessionPayload,
    algorithm: Option<Algorithm>,
    text: Secret,
}

impl NewIdToken {
    pub(crate) fn new(id_token: &IdToken, response: &TokenResponse, asked_at: Timestamp) -> Self {
        let named = SessionPayload { stored_at: FOREVER, ..SessionPayload::of(id_token, asked_at) };
        let text = response.id_token.clone().unwrap_or_default();
        Self { named, algorithm: id_token.algorithm, text }
    }

    /// Makes it the session's, if it is of the same person at the provider of the login. Where the provider has signed
    /// them out since, the session is over afterwards.
    pub(crate) async fn adopt(self, runtime: &Runtime, session: &Arc<Session>) -> Result<(), StoreError> {
        if session.is_kept_by_browser() {
            self.seal_into(session);
            return Ok(());
        }
        self.write_into(runtime, runtime.session_row(session.id)).await
    }

    /// Where the browser keeps the session.
    pub(crate) fn seal_into(&self, session: &Session) {
        if session.user() == self.named.user() {
            session.learn(self.named.sids.first().map(String::as_str), &self.text);
        }
    }

    /// Where the store keeps it.
    pub(crate) async fn write_into(&self, runtime: &Runtime, session: Key) -> Result<(), StoreError> {
        let row = RecordKey::new(Purpose::Session, session);
        let written = session_row::rewrite(&row, &runtime.records, |found| {
            let record = &mut found.value;
            if record.user() != self.named.user() {
                return false;
            }
            self.named.sids.iter().for_each(|sid| provider_logout::add_sid(&mut record.identity.sids, sid));
            if let Some(new) = self.algorithm.filter(|new| !record.identity.algorithms.contains(new)) {
                record.identity.algorithms.push(new);
            }
            let is_kept = !record.id_token.expose_secret().is_empty();
            if is_kept && record.claims.len() + self.text.expose_secret().len() <= MOST_CLAIMS {
                record.id_token = self.text.clone();
            }
            true
        });
        // Only now: a provider that signs them out from here on finds the session. See the same at a login.
        if written.await? && self.named.is_signed_out(&runtime.records).await? {
            runtime.records.delete(session, None).await?;
        }
        Ok(())
    }
}
