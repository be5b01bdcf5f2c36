//! The provider's answer: state before exchange, exchange before use, verify before store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use subtle::ConstantTimeEq;

use super::context::{EndpointAnswer, EndpointContext};
use super::login::{self, asked, registration};
use super::login_error::{LoginAnswer, LoginError};
use super::pending::{Intent, KeepFor, PendingCookies, PendingLogin};
use super::sign_in::{Issued, VerifiedTokens, session_cookie};
use super::{connect, urls, visitor};
use crate::config::{Destination, PERSONAL};
use crate::error::redirect;
use crate::events::{EventCode, timed};
use crate::html::is_form;
use crate::protocol::{
    AuthorizationOutcome, AuthorizationResponse, LoginOptions, MalformedResponse, ResponseMode, Target, json,
};
use crate::provider::connection::distinct;
use crate::provider::{Provider, ProviderError, cause};
use crate::records::{LOGIN, Purpose, RecordKey};
use crate::sessions::{Session, Visitor};
use crate::state::Runtime;
use crate::store::{Key, StoreError};
use crate::tokens::disconnect::discard;
use crate::{cookie, page, peer};

/// The longest that a callback may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// `at` is the provider's name, where its redirect URI has one.
pub(crate) async fn finish(context: &Arc<EndpointContext>, at: Option<&str>, body: Bytes) -> EndpointAnswer {
    context.admit(Target::Callback, None, page::nothing)?;
    let provider = context.runtime.providers.at_callback(at).cloned();
    let provider = provider.ok_or_else(|| page::plain(StatusCode::NOT_FOUND, "Not found."))?;
    // In a task of its own: a browser that goes away must not lose what the provider has issued.
    let finished = context.runtime.tasks.spawn(callback(Arc::clone(context), provider, body)).await;
    finished.unwrap_or_else(|_| Err(failed(&context.runtime, &LoginError::Panicked, None)))
}

async fn callback(context: Arc<EndpointContext>, provider: Arc<Provider>, body: Bytes) -> EndpointAnswer {
    let (context, provider) = (&*context, &provider);
    let (runtime, head) = (&context.runtime, &context.head);
    let unknown = |failure| failed(runtime, &failure, None);
    let response = read(provider, head, &body).map_err(|malformed| unknown(malformed.into()))?;
    let found = PendingCookies::logins(runtime).find::<PendingLogin>(&head.headers, &response.state);
    let found = found.filter(|(login, _)| is_of(login, &response, provider));
    let (login, expired) = found.ok_or_else(|| {
        let expected = &runtime.settings.public_url;
        let other = peer::other_host(expected, head).map(|at| LoginError::OtherHost(at.into(), expected.to_string()));
        unknown(other.unwrap_or(LoginError::NotPending))
    })?;
    let destination = runtime.settings.destination(&login.return_to).map_err(|_| unknown(LoginError::NotPending))?;
    let callback = Callback { context, provider, login: &login, destination: &destination };
    let again = callback.address();
    let refused = |failure| failed(runtime, &failure, Some(&again));
    if expired {
        // Whoever is signed in by now only wants to go on.
        return match context.signed_in().await {
            Ok(Some(_)) => Ok(redirect(destination.as_str())),
            Ok(None) | Err(_) => Err(refused(LoginError::Expired)),
        };
    }
    let received = tokio::time::timeout(DEADLINE, callback.receive(response));
    let received = timed(&runtime.clock, "callback", received).await;
    let answer = match received.unwrap_or(Err(LoginError::Deadline)) {
        Ok(answer) => answer,
        Err(failure) => callback.recover(&again, failure).await.map_err(refused)?,
    };
    Ok(cookie::with(answer, PendingCookies::logins(runtime).remove(&login.state())))
}

/// A response, with the login that it ends.
struct Callback<'a> {
    context: &'a EndpointContext,
    provider: &'a Arc<Provider>,
    login: &'a PendingLogin,
    destination: &'a Destination,
}

impl Callback<'_> {
    async fn receive(&self, response: AuthorizationResponse) -> LoginAnswer {
        let Self { context, provider, login, destination } = *self;
        let runtime = &context.runtime;
        // RFC 9207, before anything is sent anywhere.
        let metadata = provider.metadata().await?;
        response.check_issuer(&provider.relying_party.response_issuer, metadata.sends_iss)?;
        let name = response.name(&provider.relying_party.name_in_response);
        let code = match response.outcome {
            AuthorizationOutcome::Code(code) => code,
            AuthorizationOutcome::Error(code) if login.silent && needs_a_person(&code) => {
                return Ok(cookie::with(redirect(destination.as_str()), [login::silence(runtime)]));
            }
            AuthorizationOutcome::Error(code) => return Err(LoginError::Denied(json::printable(&code))),
        };
        let (connection, scopes) = asked(runtime, provider, &login.intent).ok_or(LoginError::NotPending)?;
        // Before the code is worth anything: is it still the same person's?
        let session = connect::session(context, &login.intent).await?;
        if !self.spend().await? {
            // The same callback again: what it was good for has happened, or failed and was answered. Where the answer was
            // lost, its session was never shown, and the browser gets it now.
            let id = login.session();
            let unshown = runtime.sessions.unshown(id, runtime.now()).await?;
            let shown = unshown.map(|ends_at| session_cookie(runtime, id, ends_at));
            return Ok(cookie::with(redirect(destination.as_str()), shown));
        }
        let api = (connection.single_indicator(), &connection.of_code(&scopes)[..]);
        let exchanged = provider.exchange(&code, &login.code_verifier(), api).await;
        if exchanged.as_ref().is_err_and(ProviderError::has_spent_nothing) {
            // A code that the provider does not know, or did not look at, leaves nothing behind: anybody can bring any
            // number of them.
            let _ = runtime.records.delete(self.spent().await?.key, None).await;
        }
        let tokens = &exchanged?;
        // The pseudo-issuer is ours, and no response names it.
        let iss = response.iss.filter(|_| provider.relying_party.issuer.issues_id_tokens());
        let issued = Issued { context, provider, login, connection, scopes, tokens, destination, iss, name };
        let kept = issued.keep(session).await;
        if let Err(failure) = &kept {
            discard(runtime, provider, tokens, None, failure.unkept()).await;
        }
        kept
    }

    /// True once for each login, in all processes that share the store.
    async fn spend(&self) -> Result<bool, StoreError> {
        let runtime = &self.context.runtime;
        // Before anything is written under a name: a store that was emptied may have got other names since.
        runtime.records.agree_on_index().await?;
        let (row, now) = (self.spent().await?, runtime.now());
        let expires_at = now.saturating_add(runtime.settings.login_lifetime.saturating_mul(2));
        let is_first = runtime.records.swap(&row, None, &(), expires_at, Vec::new()).await?.is_some();
        if is_first && let Some(oldest) = runtime.received_callbacks.note(row.key, now) {
            // A store that is away is told of elsewhere. Whoever sweeps finds it.
            let _ = runtime.records.delete(oldest, None).await;
        }
        Ok(is_first)
    }

    /// Where it is noted that a login's callback was received.
    async fn spent(&self) -> Result<RecordKey, StoreError> {
        let index = self.context.runtime.records.index().await?;
        let name = index.hash(&[b"spent login", self.login.state().as_bytes()]);
        Ok(RecordKey::new(Purpose::PendingLogin, Key(name)))
    }

    /// The answer to a callback that failed where the person need not know: they go on, or begin anew at the address `again`.
    async fn recover(&self, again: &str, failure: LoginError) -> LoginAnswer {
        let Self { context, login, destination, .. } = self;
        let runtime = &context.runtime;
        // Nobody asked for it: the page that the person is on works without.
        let silent = login.silent && matches!(login.intent, Intent::Login { .. });
        let address = match &failure {
            _ if silent => destination.as_str().to_owned(),
            LoginError::EndedByProvider => runtime.settings.login_path(destination),
            // Once.
            LoginError::Denied(code) if !login.is_again && is_given_up(login, code) => {
                format!("{again}{}", urls::AGAIN)
            }
            LoginError::NoRefreshToken if !login.is_again => format!("{again}&prompt=consent{}", urls::AGAIN),
            // Whoever has signed in since in another tab only wants to go on.
            _ if failure.is_of_this_try() && self.signed_in_since().await => destination.as_str().to_owned(),
            _ => return Err(failure),
        };
        runtime.events().emit(EventCode::LoginRefused, None, cause(&failure));
        Ok(cookie::with(redirect(&address), silent.then(|| login::silence(runtime))))
    }

    /// Whether the session of this browser began after a login that is under way in it.
    async fn signed_in_since(&self) -> bool {
        let Intent::Login { .. } = self.login.intent else { return false };
        let session = self.context.signed_in().await.ok().flatten();
        session.is_some_and(|session| session.stored_at > self.login.started_at)
    }

    /// The address that starts the same once more: nothing that something here needs is left out of it.
    fn address(&self) -> String {
        let Self { context, provider, login, destination } = self;
        let runtime = &context.runtime;
        let destination = &runtime.settings.linked(destination, login.own);
        let PendingLogin { max_age, acr_values, parameters, .. } = (*login).clone();
        let options = LoginOptions { max_age, acr_values, parameters, ..LoginOptions::default() };
        match &login.intent {
            Intent::Login { .. } => urls::path(runtime, Some(provider), destination, &options),
            Intent::Visitor { connection, more_scopes, .. } | Intent::Connect { connection, more_scopes, .. } => {
                let once = matches!(login.intent, Intent::Connect { usage: KeepFor::OneRequest, .. });
                urls::connect_path_with(runtime, connection, destination, more_scopes, &options) + urls::once_in(once)
            }
        }
    }
}

impl Issued<'_> {
    /// Verifies what came, and keeps it for whom it is. Where this fails the tokens are nowhere but in the caller's hands.
    async fn keep(&self, session: Option<Arc<Session>>) -> LoginAnswer {
        let Issued { context, login, destination, connection, scopes, .. } = self;
        let granted = connection.granted(self.tokens.scopes.as_ref().unwrap_or(scopes), scopes);
        let is_missing = |scope: &&String| !PERSONAL.contains(&scope.as_str()) && !granted.contains(scope);
        let missing = distinct(scopes.iter().filter(is_missing)).join(" ");
        if !missing.is_empty() {
            let events = context.runtime.events();
            events.emit(EventCode::ScopesNotGranted, None, format_args!("{}: {missing}", connection.name));
        }
        if let Intent::Visitor { visitor, before, .. } = login.intent {
            return visitor::finish(self, visitor, before.map(Visitor::new)).await;
        }
        let verified = VerifiedTokens { issued: self, id_token: self.id_token().await? };
        // RFC 9207 section 2.4: of several tenants, the one whose person came back.
        if self.iss.as_ref().is_some_and(|iss| *iss != verified.id_token.facts.issuer) {
            return Err(MalformedResponse("iss is another tenant's than the ID token's").into());
        }
        match (&login.intent, session) {
            (Intent::Connect { usage: KeepFor::Everyone, .. }, session) => {
                verified.keep_for_everybody(session.as_ref()).await?;
                Ok(redirect(destination.as_str()))
            }
            (Intent::Connect { signed_in, .. }, Some(session)) => match connect::keep(&verified, &session).await {
                Err(LoginError::SessionOver) if signed_in.is_signed_out(&context.runtime.records).await? => {
                    verified.sign_in_again().await
                }
                kept => kept,
            },
            (Intent::Connect { .. }, None) => verified.sign_in_again().await,
            (Intent::Visitor { .. }, _) => Err(LoginError::SessionOver),
            (Intent::Login { replaces }, _) => verified.sign_in(*replaces).await,
        }
    }
}

impl VerifiedTokens<'_> {
    /// The provider ended the session while its person was there: what they granted with the login's own connection is a
    /// login, with all of its checks. Anything else is begun again with a login.
    async fn sign_in_again(&self) -> LoginAnswer {
        let facts = &self.id_token.facts;
        match &self.issued.login.intent {
            Intent::Connect { session, usage: KeepFor::User, signed_in, .. }
                if self.issued.connection.name == LOGIN && signed_in.user() == (&facts.issuer, &facts.subject) =>
            {
                self.sign_in(Some(*session)).await
            }
            _ => Err(LoginError::EndedByProvider),
        }
    }
}

/// Whether the provider ended a login that nobody refused: its page was open for too long, or it wants what only a new
/// request brings (OpenID Connect Core 1.0 section 3.1.2.6).
fn is_given_up(login: &PendingLogin, code: &str) -> bool {
    let given_up = matches!(code, "authentication_expired" | "interaction_required" | "login_required");
    given_up && !login.silent && matches!(login.intent, Intent::Login { .. })
}

/// The response, from where the response mode puts it and from nowhere else.
fn read(provider: &Provider, head: &Parts, body: &[u8]) -> Result<AuthorizationResponse, MalformedResponse> {
    match (provider.relying_party.response_mode, &head.method) {
        (ResponseMode::Query, &Method::GET) => {
            AuthorizationResponse::parse(head.uri.query().unwrap_or_default().as_bytes())
        }
        (ResponseMode::FormPost, &Method::POST) if is_form(&head.headers) => AuthorizationResponse::parse(body),
        _ => Err(MalformedResponse("another response mode than was asked for")),
    }
}

/// Whether a response is that of a login, and came to the redirect URI of the provider at which it was started: what
/// was started elsewhere is not its end, and its code goes nowhere (RFC 9700 section 4.4.2.2).
fn is_of(login: &PendingLogin, response: &AuthorizationResponse, provider: &Provider) -> bool {
    let state = bool::from(login.state().as_bytes().ct_eq(response.state.as_bytes()));
    state && login.registration == registration(&provider.relying_party)
}

/// OpenID Connect Core 1.0 section 3.1.2.6: a login without a person needs one.
fn needs_a_person(code: &str) -> bool {
    matches!(code, "login_required" | "interaction_required" | "consent_required" | "account_selection_required")
}

/// The page for what ended without a session or a grant; `again` is the address that tries once more, where it is known.
fn failed(runtime: &Runtime, failure: &LoginError, again: Option<&str>) -> Response<Bytes> {
    runtime.events().emit(EventCode::LoginRefused, None, cause(failure));
    let home = || runtime.settings.login_path(&runtime.settings.home);
    failure.page(&again.map_or_else(home, str::to_owned))
}
