//! A session lasts as long as its provider says so: the grant of the login is refreshed now and then.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock::{Timestamp, millis};
use crate::endpoints::end_session::end_session;
use crate::events::EventCode;
use crate::sessions::Session;
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::tokens::{Principal, TokenRequest, TokenUnavailable, access_token};

/// How long a request waits for the provider. What it began goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts at a provider that does not answer.
const RETRY: Duration = Duration::from_secs(60);

/// Whether the provider must be asked about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Revalidation {
    NotDue,
    /// The request goes on meanwhile.
    Due,
    /// The request waits: nobody was here for long, or only its answer can bring what comes of it to the browser.
    Overdue,
}

pub(super) fn revalidation(runtime: &Runtime, session: &Session, now: Timestamp) -> Revalidation {
    let Some(every) = runtime.settings.revalidate_every else { return Revalidation::NotDue };
    let unvalidated = session.liveness.unvalidated_for(now);
    if unvalidated < every || session.liveness.is_unanswered(now, RETRY.min(every)) {
        Revalidation::NotDue
    } else if unvalidated >= every.saturating_mul(2) || session.is_kept_by_browser() {
        Revalidation::Overdue
    } else {
        Revalidation::Due
    }
}

/// Asks in a task of its own: a client that hangs up ends nothing by half.
#[cold]
pub(super) fn begin(runtime: &Arc<Runtime>, session: &Arc<Session>, jar: &CookieJar) -> JoinHandle<()> {
    let (asked, session, jar) = (Arc::clone(runtime), Arc::clone(session), jar.clone());
    runtime.tasks.spawn(async move { revalidate(&asked, &session, &jar).await })
}

/// Asks before the request goes on, and returns the session if it lasts.
pub(super) async fn wait(
    runtime: &Arc<Runtime>, session: Option<Arc<Session>>, jar: &CookieJar, now: Timestamp,
) -> Option<Arc<Session>> {
    let session = session?;
    if revalidation(runtime, &session, now) != Revalidation::Overdue {
        return Some(session);
    }
    // Who does not answer in time ends nothing.
    let _ = timeout(PATIENCE, begin(runtime, &session, jar)).await;
    session.liveness.doubt();
    let found = runtime.sessions.find(session.id, now).await;
    found.unwrap_or(Some(session)).filter(|session| !session.has_ended())
}

async fn revalidate(runtime: &Arc<Runtime>, session: &Arc<Session>, jar: &CookieJar) {
    match confirmation(runtime, session, jar).await {
        Ok(at) => session.liveness.validated(Some(at), runtime.now()),
        Err(TokenUnavailable::Consent) if end_session(runtime, session.id, Some(session), jar).await.is_ok() => {
            session.liveness.end();
            let detail = "the provider did not renew the grant of the login";
            runtime.events().emit(EventCode::LoggedOut, Some(session.user()), detail);
        }
        // A store that is away is told of elsewhere.
        Err(_) => session.liveness.validated(None, runtime.now()),
    }
}

/// When the provider last issued a token of the login's own grant: not longer ago than `revalidate_every`.
async fn confirmation(
    runtime: &Arc<Runtime>, session: &Arc<Session>, jar: &CookieJar,
) -> Result<Timestamp, TokenUnavailable> {
    let now = runtime.now();
    let principal = Principal::Session(Arc::clone(session));
    let Some(login) = runtime.connections_of(&principal).and_then(|all| all.sign_in.as_ref()) else { return Ok(now) };
    let every = runtime.settings.revalidate_every.unwrap_or_default();
    // What was issued exactly so long ago is not new enough.
    let issued_since = Timestamp::from_millis((now.as_millis() + 1).saturating_sub(millis(every)));
    let indicator = login.single_indicator().map(str::to_owned);
    let request = TokenRequest { issued_since, ..TokenRequest::new(indicator, Vec::new()) };
    let place = runtime.place_of(&principal, login, jar).await?;
    access_token(&place, &request).await.map(|set| set.issued_at)
}
