//! Connections: the person of a session grants more, which is kept for them, or for one use.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::Value;

use super::context::{EndpointAnswer, EndpointContext, OrRefusal};
use super::login::{self, AuthorizationAttempt};
use super::login_error::{LoginAnswer, LoginError};
use super::parameters::EndpointQuery;
use super::pending::{Intent, KeepFor};
use super::sign_in::{Issued, VerifiedTokens};
use super::urls::{self, once_in};
use super::{account, not_allowed, visitor};
use crate::config::Destination;
use crate::error::redirect;
use crate::events::EventCode;
use crate::protocol::{Decision, IdToken, LoginOptions, Target, token};
use crate::provider::ProviderId;
use crate::sessions::{Profile, Session, SessionId, SessionPayload};
use crate::state::Runtime;
use crate::tokens::{NewIdToken, Principal, locate, single_use};
use crate::{cookie, page};

/// For whom the grants of this owner are kept.
fn kept_for(owner: Option<&Principal>) -> KeepFor {
    if let Some(Principal::Account(_)) = owner { KeepFor::Everyone } else { KeepFor::User }
}

/// A request to grant a connection, parsed.
struct ConnectRequest {
    name: String,
    destination: Destination,
    options: LoginOptions,
    /// Scopes besides those of the connection.
    more: Vec<String>,
    once: bool,
    /// For more scopes than always, or for a token that is handed to one page.
    extends: bool,
    /// The address of this request.
    here: String,
}

impl ConnectRequest {
    fn parse(context: &EndpointContext) -> OrRefusal<Self> {
        let runtime = &context.runtime;
        let (given, destination) = EndpointQuery::with_destination(context)?;
        let options = given.options()?;
        let name = given.get("connection").unwrap_or_default().to_owned();
        let more = given.bounded("scope")?.map(token::scopes).unwrap_or_default();
        let by_provider = runtime.providers.logins().map(|provider| provider.relying_party.id);
        let named: Vec<_> = by_provider.filter_map(|id| runtime.settings.connections(id).named(&name)).collect();
        if named.is_empty() {
            return Err(page::bad_request("There is no connection with that name."));
        }
        // A link must not talk people into granting what the application never asks for.
        if !named.iter().any(|connection| more.iter().all(|scope| connection.knows(scope))) {
            return Err(page::bad_request(NO_SUCH_SCOPE));
        }
        let once = given.get("once") == Some("1");
        let extends = once || named.iter().any(|one| one.single_use) || !more.is_empty();
        let here = urls::connect_path_with(runtime, &name, &destination, &more, &options) + once_in(once);
        Ok(Self { name, destination, options, more, once, extends, here })
    }

    /// Another site leads somebody here, who is asked about this alone and no further consent.
    fn ask(&self, runtime: &Runtime, key: Option<&[u8]>) -> Response<Bytes> {
        let linked = runtime.settings.linked(&self.destination, false);
        let here = urls::connect_path_with(runtime, &self.name, &linked, &self.more, &self.options);
        let text = "Another site sent you here. The service will ask you next, unless you have agreed before.";
        let heading = format!("Do you want to give this application access to “{}”?", self.name);
        let here = urls::with_proof(runtime, key, here + once_in(self.once));
        page::page(StatusCode::OK, &heading, text, &[(&here, "Continue")])
    }

    fn try_again(&self) -> Response<Bytes> {
        page::try_again("Access cannot be granted at the moment.", &self.here)
    }

    /// The request to the provider at which this is granted, with this intent.
    fn attempt(self, runtime: &Runtime, at: ProviderId, intent: Intent, own: bool) -> AuthorizationAttempt {
        let Self { destination, options, here: again, .. } = self;
        let provider = Arc::clone(runtime.providers.get(at));
        AuthorizationAttempt { provider, destination, options, intent, own, again }
    }
}

const NO_SUCH_SCOPE: &str = "This access cannot be requested here.";

pub(crate) async fn start(context: &EndpointContext) -> EndpointAnswer {
    let runtime = &context.runtime;
    let usage = kept_for(Principal::shared(&runtime.mode).as_ref());
    // An admin confirms by a form what is for everybody.
    if usage == KeepFor::User && context.head.method == Method::POST {
        return Err(not_allowed("GET, HEAD"));
    }
    let mut request = ConnectRequest::parse(context)?;
    let signed_in = context.signed_in().await;
    let session = signed_in.as_ref().ok().and_then(|session| session.as_deref());
    let key = urls::proof_key(session, context.visitor());
    // What connects an account for everybody is asked for below.
    let target = Target::Connect { extends: request.extends };
    let proof = context.is_proven(key.as_deref());
    let decision = match context.decide(target, key.is_some(), proof) {
        // A page of ours is no answer where nobody shall see a question.
        Decision::Ask if request.extends && request.options.is_silent() => Decision::Refuse,
        decision => decision,
    };
    if usage == KeepFor::User {
        context.admit_by(target, decision, || request.ask(runtime, key.as_deref()))?;
    }
    let own = context.is_own(proof);
    let visitors = login::of_visitors(runtime, &request.name).filter(|_| !request.once);
    Ok(match (signed_in, visitors) {
        (Ok(Some(session)), _) => start_for(context, request, &session, own).await?,
        (Ok(None), Some(connection)) => {
            let intent = visitor::intent(context, connection, &mut request.options, &request.more).await;
            let intent = intent.map_err(|_| request.try_again())?;
            request.attempt(runtime, connection.provider, intent, own).begin(context).await
        }
        // First the person, then what they grant.
        (Ok(None), None) => match runtime.settings.destination(&request.here) {
            Ok(here) => redirect(&runtime.settings.login_path(&here)),
            Err(_) => page::bad_request("The return address is too long."),
        },
        (Err(_), _) => request.try_again(),
    })
}

/// Sends a person who is signed in to the provider; `Err` with the answer where they are not sent.
async fn start_for(
    context: &EndpointContext, mut request: ConnectRequest, session: &Arc<Session>, own: bool,
) -> EndpointAnswer {
    let (runtime, more) = (&context.runtime, &request.more);
    let principal = Principal::granted_by(session, &runtime.mode);
    let connection = runtime.connection_of(&principal, &request.name);
    let connection = connection.filter(|connection| more.iter().all(|scope| connection.knows(scope)));
    let connection = connection.ok_or_else(|| page::bad_request(NO_SUCH_SCOPE))?;
    let (once, usage) = (request.once || connection.single_use, kept_for(Some(&principal)));
    if once && usage == KeepFor::Everyone {
        return Err(page::bad_request("One-time access is not available here."));
    }
    account::admit(runtime, session)?;
    account::confirm(context, &principal, connection)?;
    let granted = context.granted(&principal, connection).await.map_err(|_| request.try_again())?;
    // What is for one use does not add to what is kept.
    let granted = granted.filter(|_| !once);
    let (granted, options) = (granted.as_deref(), &mut request.options);
    let more_scopes = login::scopes_besides(runtime, connection, granted, (&connection.scopes, more), options);
    let usage = if once { KeepFor::OneRequest } else { usage };
    let begun = runtime.sessions.identity(session.id, runtime.now()).await.map_err(|_| request.try_again())?;
    let sids = begun.map(|begun| begun.sids).unwrap_or_default();
    let signed_in =
        Box::new(SessionPayload { sids, acr: None, roles: Box::default(), ..SessionPayload::clone(session) });
    let (session, name) = (session.id.bytes(), connection.name.clone());
    let intent = Intent::Connect { session, connection: name, more_scopes, usage, signed_in };
    Ok(request.attempt(runtime, connection.provider, intent, own).begin(context).await)
}

/// The session in which a connection was started, if it still is the browser's; `None` for a login, for the account of
/// everybody where the session is over, and where the provider's own logout has ended it.
pub(crate) async fn session(context: &EndpointContext, intent: &Intent) -> Result<Option<Arc<Session>>, LoginError> {
    let Intent::Connect { session, usage, signed_in, .. } = intent else { return Ok(None) };
    let id = SessionId::new(*session);
    let found = match context.session_cookie() {
        Some(_) => context.signed_in().await?,
        // A cross-site POST comes without the cookie; one that comes must be the same.
        None => context.runtime.sessions.find(id, context.runtime.now()).await?,
    };
    match found {
        Some(session) if session.id == id => Ok(Some(session)),
        // Whoever becomes another account at the provider is signed out of the first one there, and a provider with
        // back-channel logout says so at once. The admin has meant it in this browser, and nobody else has signed in.
        None if *usage == KeepFor::Everyone => Ok(None),
        // The provider ended it while the person was there, perhaps because they signed in there again.
        None if signed_in.is_signed_out(&context.runtime.records).await? => Ok(None),
        _ => Err(LoginError::SessionOver),
    }
}

/// Keeps what the person granted, if it was that person; what is for one use waits for the one request that uses it.
pub(crate) async fn keep(verified: &VerifiedTokens<'_>, session: &Arc<Session>) -> LoginAnswer {
    let VerifiedTokens { issued, id_token } = verified;
    let Issued { context, connection, tokens, login, .. } = issued;
    let (runtime, user) = (&context.runtime, Some(session.user()));
    // The application may be configured otherwise since the person was sent away: what they granted for themselves is
    // not for everybody.
    let principal = Principal::granted_by(session, &runtime.mode);
    if kept_for(Some(&principal)) == KeepFor::Everyone {
        return Err(LoginError::NotPending);
    }
    if locate::is_another(user, issued.provider, &id_token.facts) {
        return Err(account_mismatch(verified, session));
    }
    NewIdToken::new(id_token, tokens, login.started_at).adopt(runtime, session).await?;
    context.jar().learned(session);
    // The exchange took time: whoever signed out meanwhile gets nothing kept.
    if !runtime.sessions.lasts(session, runtime.now()).await? {
        return Err(LoginError::SessionOver);
    }
    let mut cookies = Vec::new();
    if matches!(login.intent, Intent::Connect { usage: KeepFor::OneRequest, .. }) {
        let lands = (issued.destination, &context.head.headers);
        cookies = single_use::lay_down(runtime, &connection.name, &principal, &issued.scopes, tokens, lands).await?;
        let detail = format_args!("{}, for one use", connection.name);
        runtime.events().emit(EventCode::Connected, user, detail);
    } else {
        verified.keep_for(&principal, session.ends_at).await?;
        runtime.events().emit(EventCode::Connected, user, &connection.name);
    }
    let key = urls::proof_key(Some(session), None).filter(|_| login.own);
    Ok(cookie::with(redirect(&urls::onwards(runtime, key.as_deref(), issued.destination)), cookies))
}

/// The refusal of what another user than the session's granted. Either may be wrong: the person goes back, or becomes the other
/// by a login of its own.
fn account_mismatch(verified: &VerifiedTokens<'_>, session: &Session) -> LoginError {
    let Issued { context, provider, login, destination, .. } = verified.issued;
    let shown = |profile: &Profile, subject: &str| {
        let Profile { email, name, nickname, .. } = profile;
        [email, name, nickname].into_iter().flatten().next().map_or(subject, |shown| shown).to_owned()
    };
    let IdToken { facts, claims, .. } = &verified.id_token;
    let other = shown(&Profile::of(&Value::Object(claims.clone()).to_string()), &facts.subject);
    let back = context.runtime.settings.linked(destination, login.own);
    let login = urls::path(&context.runtime, Some(provider), &back, &LoginOptions::default());
    let user = shown(session.profile(), &session.subject);
    LoginError::AccountMismatch { user, other, back: back.as_str().to_owned(), login }
}

/// `GET /auth/granted?return_to=…`: where a form that needed more access comes back to.
pub(crate) fn resumed(context: &EndpointContext) -> EndpointAnswer {
    let (_, destination) = EndpointQuery::with_destination(context)?;
    let text = "The form that you sent was not processed before this. Please go back and send it again.";
    let back = context.runtime.settings.linked(&destination, false);
    Ok(page::page(StatusCode::OK, "You can go on now", text, &[(back.as_str(), "Go back")]))
}
