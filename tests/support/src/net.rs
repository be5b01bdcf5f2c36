//! A network in the process: origins, what was exchanged between them, and its faults.
//!
//! It keeps what the parties really said. A server gets a request as HTTP/1.1 brings it: origin-form target
//! and a `Host` header (the caller's own where it wrote one).

use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::util::MapResponse;
use tower::{Service, ServiceExt};

use super::fault::Fault;
use super::params::Params;

pub type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Handler = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<Response<Bytes>> + Send + Sync>;

/// The network. Clones are the same network.
#[derive(Clone, Default)]
pub struct Net(Arc<Inner>);

#[derive(Default)]
struct Inner {
    servers: Mutex<Vec<Server>>,
    faults: Mutex<Vec<FaultRule>>,
    log: Mutex<Vec<Exchange>>,
    next_id: Mutex<u64>,
}

struct Server {
    origin: String,
    prefix: String,
    handler: Handler,
}

struct FaultRule {
    origin: String,
    path_prefix: String,
    fault: Fault,
}

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Application,
    Browser,
}

/// One call: what was asked and, where one came, the answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    id: u64,
    pub caller: Caller,
    pub origin: String,
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// `None`: lost, refused, or still under way.
    pub answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Exchange {
    pub fn url(&self) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        format!("{}{}{query}", self.origin, self.path)
    }

    pub fn query_params(&self) -> Params {
        Params::parse(&self.query)
    }

    pub fn form(&self) -> Params {
        Params::parse(&self.body)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Net {
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves every path under `base` (an origin, or an origin and a path; the longest path wins).
    ///
    /// The handler runs to its end even where the caller hangs up, as a provider on another machine does.
    pub fn serve<H, F>(&self, base: &str, handler: H)
    where
        H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        self.register(
            base,
            Arc::new(move |request| {
                let work = tokio::spawn(handler(request));
                Box::pin(async move { work.await.unwrap_or_else(|gone| std::panic::resume_unwind(gone.into_panic())) })
            }),
        );
    }

    /// Serves an axum router or any other tower service, for instance the application.
    ///
    /// Where the caller hangs up, the service's future is dropped, as hyper does.
    pub fn serve_service<S, B>(&self, base: &str, service: S)
    where
        S: Service<Request<axum::body::Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Display,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        self.register(
            base,
            Arc::new(move |request| {
                let service = service.clone();
                Box::pin(async move {
                    let request = request.map(axum::body::Body::from);
                    let response = service.oneshot(request).await;
                    let (parts, body) =
                        response.unwrap_or_else(|error| panic!("the service failed: {error}")).into_parts();
                    let body = body.collect().await;
                    let body = body.unwrap_or_else(|error| panic!("the body failed: {error}")).to_bytes();
                    Response::from_parts(parts, body)
                })
            }),
        );
    }

    fn register(&self, base: &str, handler: Handler) {
        let uri: Uri = base.parse().expect("a base URL");
        let origin = origin_of(&uri).expect("an absolute base URL");
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let mut servers = lock(&self.0.servers);
        servers.retain(|server| (&server.origin, &server.prefix) != (&origin, &prefix));
        servers.push(Server { origin, prefix, handler });
        servers.sort_by_key(|server| std::cmp::Reverse(server.prefix.len()));
    }

    /// What an application sends its own requests through. It follows no redirects.
    pub fn client(&self) -> NetClient {
        NetClient { net: self.clone(), caller: Caller::Application }
    }

    /// The client as a configuration takes it.
    pub fn http_client(&self) -> MapResponse<NetClient, fn(Response<Bytes>) -> Response<Full<Bytes>>> {
        MapResponse::new(self.client(), |response| response.map(Full::new))
    }

    /// Breaks calls to `origin` whose path begins with `path_prefix`. The fault set last wins.
    pub fn fault(&self, origin: &str, path_prefix: &str, fault: Fault) {
        let (origin, path_prefix) = (origin.to_owned(), path_prefix.to_owned());
        lock(&self.0.faults).push(FaultRule { origin, path_prefix, fault });
    }

    /// Takes back every fault of `origin`.
    pub fn heal(&self, origin: &str) {
        lock(&self.0.faults).retain(|rule| rule.origin != origin);
    }

    /// Everything that was sent, oldest first, whether or not an answer came.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.0.log).clone()
    }

    /// What was sent to `origin`.
    pub fn requests(&self, origin: &str) -> Vec<Exchange> {
        lock(&self.0.log).iter().filter(|exchange| exchange.origin == origin).cloned().collect()
    }

    /// What was sent to exactly this path of `origin`.
    pub fn requests_to(&self, origin: &str, path: &str) -> Vec<Exchange> {
        self.requests(origin).into_iter().filter(|exchange| exchange.path == path).collect()
    }

    pub fn count(&self, origin: &str, path: &str) -> usize {
        self.requests_to(origin, path).len()
    }

    /// The `Authorization` headers that reached `origin`: "no token at X" is that this is empty.
    pub fn authorizations_at(&self, origin: &str) -> Vec<String> {
        let requests = self.requests(origin);
        requests.iter().filter_map(|exchange| exchange.header(AUTHORIZATION.as_str())).map(str::to_owned).collect()
    }

    /// The exchanges whose URL or `Referer` contains `secret`.
    pub fn urls_with(&self, secret: &str) -> Vec<Exchange> {
        let leaks = |exchange: &Exchange| {
            exchange.url().contains(secret) || exchange.header("referer").is_some_and(|url| url.contains(secret))
        };
        lock(&self.0.log).iter().filter(|exchange| leaks(exchange)).cloned().collect()
    }

    /// Forgets what was sent; servers and faults stay.
    pub fn forget(&self) {
        lock(&self.0.log).clear();
    }

    /// Makes one call.
    pub async fn call(&self, caller: Caller, request: Request<Bytes>) -> Result<Response<Bytes>, BoxError> {
        let (origin, request) = as_sent(request)?;
        let path = request.uri().path().to_owned();
        let id = self.record(caller, &origin, &request);
        let fault = self.next_fault(&origin, &path);
        match &fault {
            Some(Fault::Refuse) => {
                let refused = format!("connection refused: {origin}");
                return Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, refused).into());
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Slow(delay)) => tokio::time::sleep(*delay).await,
            Some(Fault::Gate(gate)) => gate.wait().await,
            _ => {}
        }
        let response = match &fault {
            Some(Fault::Status(status)) => answer(*status, "<h1>This is not the server you want</h1>"),
            Some(Fault::Garbage) => answer(200, "\u{0}\u{1}{]garbage"),
            Some(Fault::Redirect(to)) => {
                let mut response = answer(302, "");
                response.headers_mut().insert(http::header::LOCATION, HeaderValue::from_str(to)?);
                response
            }
            _ => {
                let Some(handler) = self.handler(&origin, &path) else {
                    return Err(format!("nobody serves {origin}{path}").into());
                };
                handler(request).await
            }
        };
        match &fault {
            Some(Fault::DropAnswer) => return Err(format!("connection reset by {origin}").into()),
            Some(Fault::SlowAnswer(delay)) => tokio::time::sleep(*delay).await,
            Some(Fault::GateAnswer(gate)) => gate.wait().await,
            _ => {}
        }
        let mut log = lock(&self.0.log);
        if let Some(exchange) = log.iter_mut().rev().find(|exchange| exchange.id == id) {
            let (status, headers) = (response.status(), response.headers().clone());
            exchange.answer = Some(Answer { status, headers, body: response.body().clone() });
        }
        Ok(response)
    }

    fn record(&self, caller: Caller, origin: &str, request: &Request<Bytes>) -> u64 {
        let id = {
            let mut next = lock(&self.0.next_id);
            *next += 1;
            *next
        };
        lock(&self.0.log).push(Exchange {
            id,
            caller,
            origin: origin.to_owned(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            body: request.body().clone(),
            answer: None,
        });
        id
    }

    fn handler(&self, origin: &str, path: &str) -> Option<Handler> {
        let below =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let servers = lock(&self.0.servers);
        servers.iter().find(|server| server.origin == origin && below(&server.prefix)).map(|s| s.handler.clone())
    }

    fn next_fault(&self, origin: &str, path: &str) -> Option<Fault> {
        let mut rules = lock(&self.0.faults);
        let applies = |rule: &FaultRule| rule.origin == origin && path.starts_with(&rule.path_prefix);
        let at = rules.iter().rposition(applies)?;
        let (fault, spent) = match &mut rules[at].fault {
            Fault::Times(left, fault) => {
                *left = left.saturating_sub(1);
                (fault.as_ref().clone(), *left == 0)
            }
            fault => (fault.clone(), false),
        };
        if spent {
            rules.remove(at);
        }
        Some(fault)
    }
}

/// The outbound HTTP of an application.
#[derive(Clone)]
pub struct NetClient {
    net: Net,
    caller: Caller,
}

impl Service<Request<Bytes>> for NetClient {
    type Response = Response<Bytes>;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response<Bytes>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (net, caller) = (self.net.clone(), self.caller);
        Box::pin(async move { net.call(caller, request).await })
    }
}

/// `scheme://host[:port]`, without a default port or user information.
pub fn origin_of(uri: &Uri) -> Option<String> {
    let (scheme, host) = (uri.scheme_str()?.to_ascii_lowercase(), uri.host()?.to_ascii_lowercase());
    match (scheme.as_str(), uri.port_u16()) {
        (_, None) | ("https", Some(443)) | ("http", Some(80)) => Some(format!("{scheme}://{host}")),
        (_, Some(port)) => Some(format!("{scheme}://{host}:{port}")),
    }
}

/// A response with a body of text.
pub fn answer(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    Response::builder().status(status).body(body.into()).expect("a valid status")
}

/// Locks, also after another test thread has panicked while it held the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn as_sent(request: Request<Bytes>) -> Result<(String, Request<Bytes>), BoxError> {
    let (mut parts, body) = request.into_parts();
    let origin = origin_of(&parts.uri).ok_or_else(|| format!("not an absolute URL: {}", parts.uri))?;
    if !parts.headers.contains_key(HOST) {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        parts.headers.insert(HOST, HeaderValue::from_str(host)?);
    }
    let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(target);
    Ok((origin, Request::from_parts(parts, body)))
}
