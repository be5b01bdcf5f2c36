//! The one place where HTTP is sent from: deadlines, bounded bodies, no redirects.

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use std::{io, iter};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use crate::body::ApiBody;
use crate::dev_provider::DevProvider;
use crate::events::guarded_future;
use crate::secret::{Secret, opaque};

/// The longest that one call to a provider may take.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The largest body that is read from a provider, in bytes.
pub(crate) const PROVIDER_BODY: usize = 1024 * 1024;

/// The largest body that is read from an API, in bytes.
pub(crate) const API_BODY: usize = 16 * 1024 * 1024;

/// What requests say that they come from, where the application says nothing else.
const NAME: &str = concat!("tower-oidc/", env!("CARGO_PKG_VERSION"));

/// Why no response came. Whether the request arrived is not known, except where it says so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    #[error("no answer within {} seconds", .0.as_secs())]
    Deadline(Duration),
    #[error("the connection failed")]
    Connection(#[source] BoxError),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Whether no connection came about, as far as the cause of an error says: then nothing was sent.
pub(crate) fn never_connected(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |&error| error.source()).any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let refused = [ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
        kind.is_some_and(|kind| refused.contains(&kind))
    })
}

/// What the default client finds between here and other machines.
#[derive(Clone)]
pub(crate) struct Network {
    /// Root certificates in place of Mozilla's.
    pub(crate) bundle: Option<PathBuf>,
    /// For https, with its credentials.
    pub(crate) https_proxy: Option<Secret>,
    /// What is reached without it.
    pub(crate) no_proxy: String,
}

/// An HTTP client of any kind.
pub(crate) type HttpClient = BoxCloneSyncService<Request<ApiBody>, Response<ApiBody>, BoxError>;

/// Sends what goes out.
#[derive(Clone)]
pub(crate) struct Outbound {
    client: HttpClient,
    /// Answers for its own URLs in process: the application need not listen before it can sign people in.
    pub(crate) development: Option<DevProvider>,
}

impl Outbound {
    pub(crate) fn new(client: HttpClient) -> Self {
        Self { client, development: None }
    }

    /// One request, one response. Redirects come back as they are.
    pub(crate) async fn send(
        &self, request: Request<Bytes>, deadline: Duration, limit: usize,
    ) -> Result<Response<Bytes>, OutboundError> {
        let call = async { read(self.stream(request.map(ApiBody::from)).await?, limit).await };
        tokio::time::timeout(deadline, call).await.unwrap_or(Err(OutboundError::Deadline(deadline)))
    }

    /// One request, and a response whose body may still be under way.
    pub(crate) async fn stream(&self, mut request: Request<ApiBody>) -> Result<Response<ApiBody>, OutboundError> {
        if let Some(provider) = &self.development
            && provider.covers(request.uri())
        {
            return Ok(provider.handle(request.map(|body| body.bytes)).map(ApiBody::from));
        }
        // Firewalls refuse requests without the first, and no coding is understood here.
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(NAME));
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        // A server may close a connection at the moment in which it is used again (RFC 9112 section 9.3.1). What only reads
        // is asked once more, on another one.
        let repeatable = request.method().is_safe() && !request.body().is_stream();
        let again = repeatable.then(|| request.clone());
        let client = self.client.clone();
        let call = async move {
            match (client.clone().oneshot(request).await, again) {
                (Err(_), Some(again)) => client.oneshot(again).await,
                (answer, _) => answer,
            }
        };
        guarded(call).await.map_err(OutboundError::Connection)
    }
}

/// The response with its whole body, if that has no more than `limit` bytes.
pub(crate) async fn read(response: Response<ApiBody>, limit: usize) -> Result<Response<Bytes>, OutboundError> {
    let (head, body) = response.into_parts();
    let body =
        guarded(Limited::new(body, limit).collect()).await.map_err(|error| match error.is::<LengthLimitError>() {
            true => OutboundError::TooLarge(limit),
            false => OutboundError::Connection(error),
        })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The client may be the application's own, and panic.
async fn guarded<T>(call: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    guarded_future("the HTTP client", || call).await.unwrap_or_else(|| Err("the HTTP client panicked".into()))
}

opaque!(Outbound);
opaque!(Network, |network| bundle = network.bundle, no_proxy = network.no_proxy);
