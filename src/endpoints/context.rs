//! What the endpoints need of a request.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};

use super::urls;

use crate::clock::Timestamp;
use crate::config::CheckedConnection;
use crate::events::EventCode;
use crate::protocol::metadata::is_loopback;
use crate::protocol::{Decision, Facts, Target};
use crate::records::Grant;
use crate::sessions::{COOKIE, SessionFound, SessionId, Visitor};
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::StoreError;
use crate::tokens::Principal;
use crate::{cookie, page, peer};

/// A value that was read or decided from a request, or the response that refuses the request.
pub(crate) type OrRefusal<T> = Result<T, Response<Bytes>>;

/// The response of an endpoint.
pub(crate) type EndpointAnswer = OrRefusal<Response<Bytes>>;

/// One request to an endpoint: what it shares with all others, its head, and the cookies in which its browser keeps
/// sessions and grants.
pub(crate) struct EndpointContext {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) head: Parts,
    came_at: Timestamp,
    /// Read when they are first needed.
    pub(super) jar: OnceLock<CookieJar>,
}

impl EndpointContext {
    pub(crate) fn new(runtime: &Arc<Runtime>, head: Parts) -> Self {
        let (runtime, came_at) = (Arc::clone(runtime), runtime.now());
        Self { runtime, head, came_at, jar: OnceLock::new() }
    }

    /// The session and grants in the cookies of this request, in stateless mode.
    pub(crate) fn jar(&self) -> &CookieJar {
        let jar = || CookieJar::of(&self.runtime, &self.head.headers, self.came_at);
        self.jar.get_or_init(jar)
    }

    /// Decides whether the request is forged, for somebody who is there or not.
    pub(crate) fn decide(&self, target: Target, present: bool, proof: bool) -> Decision {
        let facts = Facts { is_safe: self.head.method != Method::POST, present, proof };
        self.runtime.settings.decide(target, facts, &self.head.headers)
    }

    /// Whether the request acts; else the answer to it. `key` is the proof key of whoever is there.
    pub(crate) fn admit(
        &self, target: Target, key: Option<&[u8]>, ask: impl FnOnce() -> Response<Bytes>,
    ) -> OrRefusal<()> {
        self.admit_by(target, self.decide(target, key.is_some(), self.is_proven(key)), ask)
    }

    pub(crate) fn admit_by(
        &self, target: Target, decision: Decision, ask: impl FnOnce() -> Response<Bytes>,
    ) -> OrRefusal<()> {
        match decision {
            Decision::Act => Ok(()),
            Decision::Ask => Err(ask()),
            Decision::Ignore => Err(page::nothing()),
            Decision::Refuse => {
                let reason = self.runtime.settings.reason(&self.head.headers);
                let told = format_args!("{target:?}: {reason}");
                self.runtime.events().emit(EventCode::CrossSiteRefused, None, told);
                Err(page::cross_site(&self.head.headers, reason, self.runtime.settings.home.as_str()))
            }
        }
    }

    /// Whether the address has the proof that this key makes for it.
    pub(crate) fn is_proven(&self, key: Option<&[u8]>) -> bool {
        let endpoint = self.runtime.settings.endpoint(self.head.uri.path());
        key.zip(endpoint).is_some_and(|(key, endpoint)| urls::is_proven(key, endpoint, self.query()))
    }

    /// Whether the application itself, or its user, began this: what it leads to may then have a proof, too.
    pub(crate) fn is_own(&self, proof: bool) -> bool {
        self.decide(Target::Connect { extends: true }, true, proof) == Decision::Act
    }

    pub(crate) fn query(&self) -> &str {
        let query = self.head.uri.query().unwrap_or_default();
        query.strip_prefix(urls::LED).unwrap_or(query)
    }

    /// The address of this request at the public URL, where it came under another name of this machine, such as 127.0.0.1
    /// for localhost, and was not led there before. Its login would end where its cookies are not sent.
    pub(crate) fn at_public_name(&self) -> Option<String> {
        let settings = &self.runtime.settings;
        let other = peer::other_host(&settings.public_url, &self.head)?;
        let query = self.head.uri.query().unwrap_or_default();
        let led = query.starts_with(urls::LED) || !is_loopback(&settings.public_url) || !is_loopback(&other);
        let origin = settings.public_url.origin().ascii_serialization();
        (!led).then(|| format!("{origin}{}?{}{query}", settings.path_to("login"), urls::LED))
    }

    /// The session's cookie, whatever it holds.
    pub(crate) fn session_cookie(&self) -> Option<&[u8]> {
        cookie::find(&self.head.headers, &self.runtime.settings.session_cookie)
    }

    /// The session that the browser's cookie names, whether it lasts or not.
    pub(crate) fn session_id(&self) -> Option<SessionId> {
        self.runtime.sessions.id(self.session_cookie()?, self.runtime.now())
    }

    /// The session that lasts in this browser.
    pub(crate) async fn signed_in(&self) -> SessionFound {
        self.runtime.sessions.of(self.session_cookie(), self.runtime.now()).await
    }

    /// The visitor that this browser is.
    pub(crate) fn visitor(&self) -> Option<Visitor> {
        let name = self.runtime.settings.cookies.name(COOKIE);
        cookie::find(&self.head.headers, &name).and_then(Visitor::from_cookie)
    }

    /// What a holder has granted at a connection. What cannot be read is granted anew.
    pub(crate) async fn granted(
        &self, principal: &Principal, connection: &CheckedConnection,
    ) -> Result<Option<Arc<Grant>>, StoreError> {
        Ok(self.runtime.place_of(principal, connection, self.jar()).await?.newest().await?.0)
    }
}
