//! What is known of a user: the claims of the ID token and of UserInfo, at a login and later.

use serde_json::{Map, Value};

use super::locate::GrantRef;
use crate::protocol::id_token::IdToken;
use crate::protocol::user_info::{FetchUserInfo, LOGIN_CLAIMS, VERIFIED, about_person, replace};
use crate::provider::Provider;
use crate::provider::error::ProviderError;
use crate::records::seal::Purpose;
use crate::records::{Loaded, RecordKey};
use crate::secret::Secret;
use crate::sessions::session::{MOST_CLAIMS, Session, SessionRecord};
use crate::sessions::session_row;
use crate::state::Runtime;
use crate::store::Key;
use crate::tokens::Arc;

type Claims = Map<String, Value>;

/// UserInfo's claims for a login that asks for `scopes`; `None` where they are not asked for, or are not needed and cannot
/// be had.
pub(crate) async fn user_info(
    runtime: &Runtime,
    provider: &Arc<Provider>,
    scopes: &[String],
    (id_token, access_token): (&IdToken, &Secret),
) -> Result<Option<Claims>, ProviderError> {
    let metadata = provider.metadata().await?;
    let Some(endpoint) = &metadata.userinfo_endpoint else { return Ok(None) };
    let has = |claim: &str| id_token.claims.contains_key(claim);
    let lacks = |scope: &str, claim: &str| scopes.iter().any(|asked| asked == scope) && !has(claim);
    let relying_party = &provider.relying_party;
    // Somebody is let in by what it says, or is an admin.
    let is_needed = relying_party.fetch_user_info == FetchUserInfo::Always
        || runtime.hooks.login.is_some()
        || !relying_party.decisive.iter().all(|claim| has(claim));
    let asked = match relying_party.fetch_user_info {
        FetchUserInfo::Never => false,
        FetchUserInfo::WhenNeeded => lacks("email", "email") || lacks("profile", "name"),
        FetchUserInfo::Always => true,
    };
    if !asked {
        return Ok(None);
    }
    match provider.user_info(endpoint, access_token, &id_token.facts.subject).await {
        // The ID token is good, and nothing is decided by what is missing. Claims of somebody else are another matter.
        Err(error) if !is_needed && !error.is_about_somebody_else() => {
            provider.tell(&error);
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

/// Replaces the claims of a session that is kept by those that came with a refresh. A claim that is gone from where it came
/// from is gone; those of the login hook stay. `None`: nothing came, or not all that is needed.
pub(crate) async fn renew(
    runtime: &Runtime,
    provider: &Arc<Provider>,
    session: Key,
    (id_token, access_token): (Option<Claims>, &Secret),
) -> Option<bool> {
    let row = RecordKey { purpose: Purpose::Session, key: session, owner: Vec::new() };
    let Ok(Loaded::Found(found)) = runtime.records.load::<SessionRecord>(&row).await else { return None };
    let mut user_info = None;
    if !found.value.sources.as_ref()?.user_info.is_empty()
        && let Some(endpoint) = &provider.metadata().await.ok()?.userinfo_endpoint
    {
        let asked = provider.user_info(endpoint, access_token, &found.value.subject).await;
        // What cannot be had now withdraws nothing.
        user_info = Some(asked.inspect_err(|error| provider.tell(error)).ok()?);
    }
    if id_token.is_none() && user_info.is_none() {
        return None;
    }
    let renewed = session_row::rewrite(&row, &runtime.records, |found| {
        let record = &mut found.value;
        let Some(sources) = &mut record.sources else { return false };
        let known: Claims = serde_json::from_str(&record.claims).unwrap_or_default();
        // What is said of the login stays.
        let verified_by_hook = |name: &str| {
            VERIFIED.iter().any(|(claim, verified)| name == *claim && sources.hook.contains(*verified))
        };
        let stays = |name: &String| {
            LOGIN_CLAIMS.contains(&name.as_str()) || sources.hook.contains(name) || verified_by_hook(name)
        };
        let (kept, others): (Claims, Claims) = known.into_iter().partition(|(name, _)| stays(name));
        let of_id_token =
            || others.into_iter().filter(|(name, _)| !sources.user_info.contains(name)).collect();
        let mut provided = about_person(id_token.clone().unwrap_or_else(of_id_token), user_info.clone());
        provided.retain(|name, _| !LOGIN_CLAIMS.contains(&name.as_str()));
        let claims = Value::Object(replace(provided, kept)).to_string();
        sources.user_info.extend(user_info.iter().flat_map(Claims::keys).cloned());
        let fits = claims.len() + record.id_token.expose_secret().len() <= MOST_CLAIMS;
        let is_new = fits && record.claims != claims;
        if is_new {
            record.claims = claims;
        }
        is_new
    });
    // A store that is away is told of elsewhere.
    renewed.await.ok()
}

/// Whether a refreshed ID token has another value of a claim by which somebody is an admin than the session, which its
/// browser keeps. What a login hook has set is compared with nothing.
pub(crate) fn decide_otherwise(place: &GrantRef, session: &Session, id_token: &Claims) -> bool {
    let known = session.all_claims_or(|| place.jar.as_ref()?.claims());
    // Some providers spell booleans as strings.
    let spelled = |claim: &Value| claim.to_string().trim_matches('"').to_owned();
    let differs = |name: &String| {
        let (new, before) = (id_token.get(name), known.and_then(|known| known.get(name)));
        new.is_some() && new.map(spelled) != before.map(spelled)
    };
    place.runtime.hooks.login.is_none() && place.provider().relying_party.decisive.iter().any(differs)
}
