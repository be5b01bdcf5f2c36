//! The response future of the layer's services, and the headers that it adds.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, Entry, HeaderName, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use crate::cookie;
use crate::extract::request::Head;
use crate::page::show_error;
use crate::secret::opaque;
use crate::sessions::Session;
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::BoxFuture;
use crate::tokens::PendingSingleUses;

pin_project! {
    /// The future of [`Oidc`](crate::Oidc) and [`Require`](crate::Require). It is the inner service's future, without a box,
    /// if nothing has to be awaited first.
    pub struct ResponseFuture<F, R, E> {
        #[pin]
        way: Way<F, R, E>,
    }
}

pin_project! {
    #[project = Projected]
    enum Way<F, R, E> {
        /// The inner service was called.
        Passed {
            #[pin]
            inner: F,
            finish: Option<Finish>,
        },
        /// Something is awaited first, or instead.
        Boxed { future: BoxFuture<'static, Result<Response<R>, E>> },
        /// The layer answered by itself.
        Answered { answer: Option<Response<Bytes>> },
    }
}

/// What the inner service's answer gets: our cookies, and what keeps it from others.
pub(super) struct Finish {
    session: Option<Arc<Session>>,
    request: u64,
    jar: CookieJar,
    private: bool,
    /// Where a person's browser shows the answer.
    shown: Option<Arc<Runtime>>,
    single_uses: Option<Arc<PendingSingleUses>>,
}

impl<F, R, E> ResponseFuture<F, R, E> {
    pub(super) fn passed(inner: F) -> Self {
        Self { way: Way::Passed { inner, finish: None } }
    }

    pub(super) fn finished(inner: F, finish: Finish) -> Self {
        Self { way: Way::Passed { inner, finish: Some(finish) } }
    }

    pub(super) fn boxed(future: impl Future<Output = Result<Response<R>, E>> + Send + 'static) -> Self {
        Self { way: Way::Boxed { future: Box::pin(future) } }
    }

    pub(super) fn answered(answer: Response<Bytes>) -> Self {
        Self { way: Way::Answered { answer: Some(answer) } }
    }

    /// Calls the inner service with the request that is prepared first, or answers in its place. It is kept out of what every
    /// request runs.
    #[inline(never)]
    pub(super) fn after<S, B>(
        inner: &mut S,
        prepared: impl Future<Output = Result<(Request<B>, Option<Finish>), Response<R>>> + Send + 'static,
    ) -> Self
    where
        S: Service<Request<B>, Response = Response<R>, Error = E, Future = F> + Clone + Send + 'static,
        F: Future<Output = Result<Response<R>, E>> + Send + 'static,
        B: Send + 'static,
        R: From<Bytes> + 'static,
    {
        // The service that was polled ready is the one to call.
        let ready = inner.clone();
        let mut ready = mem::replace(inner, ready);
        Self::boxed(async move {
            let (request, finish) = match prepared.await {
                Ok(prepared) => prepared,
                Err(answer) => return Ok(answer),
            };
            Self { way: Way::Passed { inner: ready.call(request), finish } }.await
        })
    }
}

impl<F: Future<Output = Result<Response<R>, E>>, R: From<Bytes>, E> Future for ResponseFuture<F, R, E> {
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            Projected::Passed { inner, finish } => {
                // In place: a response is large to move.
                let mut polled = inner.poll(cx);
                if let (Poll::Ready(Ok(response)), Some(finish)) = (&mut polled, finish) {
                    if let Some(runtime) = finish.shown.as_ref().filter(|_| response.status().as_u16() >= 400) {
                        show_error(response, runtime.settings.home.as_str());
                    }
                    finish.apply(response.headers_mut());
                }
                polled
            }
            Projected::Boxed { future } => future.as_mut().poll(cx),
            Projected::Answered { answer } => match answer.take() {
                Some(answer) => Poll::Ready(Ok(answer.map(R::from))),
                None => Poll::Pending,
            },
        }
    }
}

opaque!(ResponseFuture<F, R, E>);

impl Finish {
    pub(super) fn of(runtime: &Arc<Runtime>, session: Option<&Arc<Session>>, jar: &CookieJar, head: &Head) -> Self {
        Self {
            session: session.cloned(),
            request: head.number,
            jar: jar.clone(),
            private: head.session_cookie || head.visitor().is_some(),
            shown: head.shows.then(|| Arc::clone(runtime)),
            single_uses: head.single_uses().cloned(),
        }
    }

    /// The end of a request with an access token: its answer sets no cookie, and no cache keeps it.
    pub(super) fn of_token() -> Self {
        let (session, shown, single_uses) = (None, None, None);
        Self { session, request: 0, jar: CookieJar::default(), private: true, shown, single_uses }
    }

    fn apply(&self, headers: &mut HeaderMap) {
        let mut ours = self.jar.settle(headers);
        if self.single_uses.is_some() || self.session.as_ref().is_some_and(|session| session.has_ended()) {
            ours |= self.remove(headers);
        }
        if ours {
            forbid_sharing(headers);
        }
        // Responses have few headers: looking at each is quicker than a look-up.
        if self.private || headers.keys().any(|name| *name == SET_COOKIE) {
            keep_private(headers);
        }
    }

    /// Removes the cookies of what this request has used up or ended.
    #[cold]
    fn remove(&self, headers: &mut HeaderMap) -> bool {
        let removals = self.single_uses.iter().flat_map(|single_uses| single_uses.removals());
        let ended = self.session.iter().filter(|session| session.has_ended());
        cookie::append(headers, removals.chain(ended.flat_map(|session| session.last_cookies(self.request))))
    }
}

/// An answer with a cookie of ours is for its browser alone, whatever the handler said that caches may do: it cannot know
/// when a session is sealed anew. Some caches have a header of their own (RFC 9213), which counts more for them.
#[cold]
fn forbid_sharing(headers: &mut HeaderMap) {
    let targeted = |name: &&HeaderName| {
        let name = name.as_str();
        name.ends_with("cdn-cache-control") || name == "surrogate-control"
    };
    let targeted: Vec<HeaderName> = headers.keys().filter(targeted).cloned().collect();
    for name in targeted.iter().chain([&CACHE_CONTROL]) {
        headers.remove(name);
    }
}

/// No cache gives this answer to anybody else, unless the handler said what caches may do.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    if let Entry::Vacant(cache_control) = headers.entry(CACHE_CONTROL) {
        cache_control.insert(HeaderValue::from_static("private, no-store"));
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
}
