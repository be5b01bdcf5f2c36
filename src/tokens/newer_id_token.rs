//! The ID tokens that come for a session after its login, with a refresh or a consent.

use super::locate::GrantRef;
use super::user_claims;
use crate::clock::Timestamp;
use crate::protocol::id_token::IdToken;
use crate::protocol::jws::Algorithm;
use crate::protocol::token::TokenResponse;
use crate::records::seal::Purpose;
use crate::records::{FOREVER, RecordKey};
use crate::secret::Secret;
use crate::sessions::identity::SessionPayload;
use crate::sessions::provider_logout::add_sid;
use crate::sessions::session::{MOST_CLAIMS, Session};
use crate::sessions::session_row;
use crate::state::Runtime;
use crate::stateless::grant_cookie::GrantCookie;
use crate::store::{Key, StoreError};
use crate::tokens::Arc;

/// The session whose login alone yielded a grant makes what came with its refresh its own.
pub(crate) async fn adopt_refreshed(
    place: &GrantRef,
    id_token: Option<&IdToken>,
    response: &Arc<TokenResponse>,
    asked_at: Timestamp,
) {
    let Some(row) = place.session else { return };
    // Without a signature it is what an identity endpoint said, and no ID token.
    let signed = id_token.filter(|id_token| id_token.algorithm.is_some());
    let newer = signed.map(|id_token| NewIdToken::new(id_token, response, asked_at));
    let runtime = Arc::clone(&place.runtime);
    let revalidates = runtime.settings.revalidate_every.is_some();
    let claims = id_token.map(|id_token| id_token.claims.clone()).filter(|_| revalidates);
    if let Some(session) = place.jar.as_ref().and_then(GrantCookie::session) {
        newer.iter().for_each(|newer| newer.seal_into(session));
        if claims.is_some_and(|claims| user_claims::decide_otherwise(place, session, &claims)) {
            // A store that is away is told of elsewhere.
            let _ = runtime.sessions.end(session.id, session.ends_at).await;
        }
        return;
    }
    let (provider, response) = (Arc::clone(place.provider()), Arc::clone(response));
    let adopted = async move {
        if revalidates {
            let _ = user_claims::renew(&runtime, &provider, row, (claims, &response.access_token)).await;
        }
        if let Some(newer) = newer {
            let _ = newer.write_into(&runtime, row).await;
        }
    };
    // A request may wait for the claims, and for nothing else. A store that is away was reported.
    match revalidates {
        true => adopted.await,
        false => drop(place.runtime.tasks.spawn(adopted)),
    }
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
        let row = RecordKey { purpose: Purpose::Session, key: session, owner: Vec::new() };
        let written = session_row::rewrite(&row, &runtime.records, |found| {
            let record = &mut found.value;
            if record.user() != self.named.user() {
                return false;
            }
            self.named.sids.iter().for_each(|sid| add_sid(&mut record.identity.sids, sid));
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
