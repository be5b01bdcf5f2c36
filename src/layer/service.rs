//! The service of the layer: it routes a request, loads its session, and calls the inner service.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tower::{BoxError, Service};

use super::bearer::{self, BearerRequest};
use super::future::{Finish, ResponseFuture, keep_private};
use super::revalidation::{self, Revalidation, revalidation};
use super::session_endpoint;
use crate::clock::Timestamp;
use crate::cookie::AppCookies;
use crate::endpoints::{self, logout};
use crate::error::Error;
use crate::events::EventCode;
use crate::extract::request::{Head, RequestState};
use crate::protocol::{Decision, Facts, Target};
use crate::secret::opaque;
use crate::sessions::{Session, SessionLookup};
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::{page, peer};

/// The largest body of a request to one of the layer's endpoints, in bytes.
const MOST_BODY: usize = 64 * 1024;

/// What another machine is told, and whoever comes under another name.
const LOOPBACK_ONLY: &str = "This application is for the machine that it runs on: open it at its loopback address, such \
                             as localhost.";

/// The service of [`OidcLayer`](crate::OidcLayer).
#[derive(Clone)]
pub struct Oidc<S> {
    pub(super) inner: S,
    pub(super) runtime: Arc<Runtime>,
}

opaque!(Oidc<S>);

impl<S, B, R> Service<Request<B>> for Oidc<S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send + 'static> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    R: From<Bytes> + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let runtime = &self.runtime;
        if let Some(local) = &runtime.settings.local
            && let Some((status, why)) = peer::refusal(&request, local)
        {
            runtime.events().emit(EventCode::NotLoopback, None, why);
            return ResponseFuture::answered(page::plain(status, LOOPBACK_ONLY));
        }
        let path = request.uri().path();
        if let Some(endpoint) = runtime.settings.endpoint(path) {
            return own(Arc::clone(runtime), endpoint.to_owned(), request);
        }
        if runtime.settings.is_shared(path) {
            return ResponseFuture::passed(self.inner.call(request));
        }
        if request.uri().query().is_some()
            && let Some(answer) = logout::returned(runtime, request.uri(), request.headers())
        {
            return ResponseFuture::answered(answer);
        }
        if let Some(api) = &runtime.settings.api
            && let Some(bearer) = bearer::read(runtime, api, &request)
        {
            return self.call_with_token(request, bearer);
        }
        let mut own = CookieJar::room(runtime);
        let (method, cookies) = (request.method(), &runtime.settings.cookies);
        let (head, cookie) = Head::read(method, request.headers(), cookies, own.as_mut());
        // Before the session is looked for: what is forged does not even learn whether there is one.
        let shows_owner = head.session_cookie || head.visitor().is_some();
        if runtime.acts_for_an_owner(shows_owner)
            && let Some(refusal) = forged(runtime, &request, &head)
        {
            return ResponseFuture::answered(refusal);
        }
        let peeked = cookie.map(|cookie| {
            let now = runtime.now();
            (runtime.sessions.peek(cookie, now), now)
        });
        let (session, now) = match peeked {
            None => (None, None),
            Some((SessionLookup::Ended, now)) => (None, Some(now)),
            Some((SessionLookup::Hit(session), now))
                if revalidation(runtime, &session, now) != Revalidation::Overdue =>
            {
                (Some(session), Some(now))
            }
            Some((asked, now)) => {
                let asked = ask_first(Arc::clone(runtime), request, (head, own), (asked, now));
                return ResponseFuture::after(&mut self.inner, asked);
            }
        };
        let jar = jar(runtime, session.as_ref(), own, &head, now);
        let session = session.filter(|session| jar.shows_claims(session));
        let finish = Finish::of(runtime, session.as_ref(), &jar, &head);
        RequestState::insert(Arc::clone(runtime), session, jar, head, &mut request);
        ResponseFuture::finished(self.inner.call(request), finish)
    }
}

impl<S> Oidc<S> {
    /// Calls the inner service for the user of an access token, in place of any session's.
    #[inline(never)]
    fn call_with_token<B, R>(
        &mut self, mut request: Request<B>, bearer: BearerRequest,
    ) -> ResponseFuture<S::Future, R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>, Future: Send + 'static> + Clone + Send + 'static,
        B: Send + 'static,
        R: From<Bytes> + 'static,
    {
        let runtime = &self.runtime;
        let (head, _) = Head::read(request.method(), request.headers(), &runtime.settings.cookies, None);
        // Without a cookie there is nothing that another site could use.
        if (head.session_cookie || head.visitor().is_some())
            && let Some(refusal) = forged(runtime, &request, &head)
        {
            return ResponseFuture::answered(refusal);
        }
        match bearer {
            BearerRequest::Answer(answer) => ResponseFuture::answered(answer),
            BearerRequest::Known(session) => {
                RequestState::insert_bearer(Arc::clone(runtime), session, &mut request);
                ResponseFuture::finished(self.inner.call(request), Finish::of_token())
            }
            BearerRequest::Unknown(token) => {
                let runtime = Arc::clone(runtime);
                ResponseFuture::after(&mut self.inner, async move {
                    let session = bearer::accept(&runtime, &token).await.map_err(Error::into_response)?;
                    RequestState::insert_bearer(runtime, session, &mut request);
                    Ok((request, Some(Finish::of_token())))
                })
            }
        }
    }
}

/// Asks the store for the session, for the request that then reaches the inner service.
async fn ask_first<B, R: From<Bytes>>(
    runtime: Arc<Runtime>, mut request: Request<B>, (head, own): (Head, Option<AppCookies>),
    (asked, now): (SessionLookup, Timestamp),
) -> Result<(Request<B>, Option<Finish>), Response<R>> {
    let settled = runtime.sessions.settled(asked, now).await;
    let session = settled.map_err(|error| {
        let mut answer = Error::from(error).into_response();
        if head.shows {
            page::show_error(&mut answer, runtime.settings.home.as_str());
        }
        answer
    })?;
    let jar = jar(&runtime, session.as_ref(), own, &head, Some(now));
    let session = revalidation::wait(&runtime, session, &jar, now).await;
    let session = session.filter(|session| jar.shows_claims(session));
    let finish = Finish::of(&runtime, session.as_ref(), &jar, &head);
    RequestState::insert(runtime, session, jar, head, &mut request);
    Ok((request, Some(finish)))
}

/// The refusal of a request that may change something, or opens a WebSocket, and comes from a page that may not.
fn forged<B>(runtime: &Runtime, request: &Request<B>, head: &Head) -> Option<Response<Bytes>> {
    let is_safe = head.is_safe && !head.opens_websocket;
    let browser = head.session_cookie || head.visitor().is_some() || head.was_silent;
    let target = Target::Application { browser };
    let facts = Facts { is_safe, ..Facts::default() };
    let headers = request.headers();
    if runtime.settings.decide(target, facts, headers) == Decision::Act {
        return None;
    }
    let reason = runtime.settings.reason(headers);
    runtime.events().emit(EventCode::CrossSiteRefused, None, format_args!("{}: {reason}", request.method()));
    Some(page::cross_site(headers, reason, runtime.settings.home.as_str()))
}

/// What the browser carries: for the person, whose session is kept from ending, or as a visitor.
#[inline(always)]
fn jar(
    runtime: &Arc<Runtime>, session: Option<&Arc<Session>>, own: Option<AppCookies>, head: &Head,
    now: Option<Timestamp>,
) -> CookieJar {
    let is_nobody = session.is_none() && head.visitor().is_none();
    if is_nobody { CookieJar::default() } else { jar_of(runtime, session, own, now) }
}

fn jar_of(
    runtime: &Arc<Runtime>, session: Option<&Arc<Session>>, own: Option<AppCookies>, now: Option<Timestamp>,
) -> CookieJar {
    let now = now.unwrap_or_else(|| runtime.now());
    let jar = CookieJar::new(runtime, own, now);
    if let Some(session) = session {
        extend_in_time(runtime, session, &jar, now);
        // Once at a time.
        if revalidation(runtime, session, now) == Revalidation::Due && session.liveness.validates() {
            revalidation::begin(runtime, session, &jar);
        }
    }
    jar
}

/// Keeps a session from ending unused, where it is kept.
fn extend_in_time(runtime: &Arc<Runtime>, session: &Arc<Session>, jar: &CookieJar, now: Timestamp) {
    let is_aging = session.is_aging(runtime.settings.idle_lifetime, now);
    if is_aging && !jar.renew(session) && session.liveness.extends() {
        let (runtime, session) = (Arc::clone(runtime), Arc::clone(session));
        let tasks = runtime.tasks.clone();
        tasks.spawn(async move { runtime.sessions.extend(&session, now).await });
    }
}

/// One of the layer's own endpoints.
#[inline(never)]
fn own<B, F, R, E>(runtime: Arc<Runtime>, endpoint: String, request: Request<B>) -> ResponseFuture<F, R, E>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    R: From<Bytes>,
{
    ResponseFuture::boxed(async move {
        let (parts, body) = request.into_parts();
        let mut answer = match Limited::new(body, MOST_BODY).collect().await {
            Ok(_) if endpoint == "session" && matches!(parts.method, Method::GET | Method::HEAD) => {
                session_endpoint::show(&runtime, parts).await.unwrap_or_else(|refusal| refusal)
            }
            Ok(body) => endpoints::endpoint(&runtime, &endpoint, parts, body.to_bytes()).await,
            Err(_) => page::plain(StatusCode::PAYLOAD_TOO_LARGE, "This is more than can be read."),
        };
        // The end of a login sets the session: a cache that kept it would sign the next person in as this one.
        keep_private(answer.headers_mut());
        Ok(answer.map(R::from))
    })
}
