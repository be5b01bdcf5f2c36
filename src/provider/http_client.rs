//! The one place where HTTP is sent from: deadlines, bounded bodies, no redirects.

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use std::{io, iter};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderValue, Request, Response};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

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

/// How much of an answer's body is wanted at the most, in bytes. It stands in the extensions of each request that
/// goes out, for a client of the application's own ([`Config::http_client`](crate::Config::http_client)): one that
/// stops there never holds more in memory. Larger answers are refused either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseBodyLimit(usize);

impl ResponseBodyLimit {
    /// So many bytes are read at the most.
    pub const fn bytes(self) -> usize {
        self.0
    }
}

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

/// An HTTP client behind one face.
#[derive(Clone)]
pub(crate) struct Outbound {
    client: BoxCloneSyncService<Request<Bytes>, Response<Bytes>, BoxError>,
    /// Answers for its own URLs in process: the application need not listen before it can sign people in.
    pub(crate) development: Option<DevProvider>,
}

impl Outbound {
    pub(crate) fn new(client: BoxCloneSyncService<Request<Bytes>, Response<Bytes>, BoxError>) -> Self {
        Self { client, development: None }
    }

    /// One request, one response. Redirects come back as they are.
    pub(crate) async fn send(
        &self, mut request: Request<Bytes>, deadline: Duration, limit: usize,
    ) -> Result<Response<Bytes>, OutboundError> {
        if let Some(provider) = &self.development
            && provider.covers(request.uri())
        {
            return Ok(provider.handle(request));
        }
        request.extensions_mut().insert(ResponseBodyLimit(limit));
        // Firewalls refuse requests without the first, and no coding is understood here.
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(NAME));
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        // A server may close a connection at the moment in which it is used again (RFC 9112 section 9.3.1). What only reads
        // is asked once more, on another one.
        let again = request.method().is_safe().then(|| request.clone());
        let client = self.client.clone();
        // It may be the application's own.
        let call = guarded_future("the HTTP client", || async move {
            match (client.clone().oneshot(request).await, again) {
                (Err(_), Some(again)) => client.oneshot(again).await,
                (answer, _) => answer,
            }
        });
        let response = match tokio::time::timeout(deadline, call).await {
            Ok(Some(Ok(response))) => response,
            Ok(Some(Err(error))) => return Err(OutboundError::Connection(error)),
            Ok(None) => return Err(OutboundError::Connection("the HTTP client panicked".into())),
            Err(_) => return Err(OutboundError::Deadline(deadline)),
        };
        // A client of the application's own may not know the limit.
        if response.body().len() > limit {
            return Err(OutboundError::TooLarge(limit));
        }
        Ok(response)
    }
}

opaque!(Outbound);
opaque!(Network, |network| bundle = network.bundle, no_proxy = network.no_proxy);
