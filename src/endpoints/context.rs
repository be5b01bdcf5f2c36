//! What the endpoints need of a request.

use std::sync::{Arc, OnceLock};

use http::Method;
use http::request::Parts;

use crate::clock::Timestamp;
use crate::config::connections::CheckedConnection;
use crate::cookie;
use crate::protocol::fetch_metadata::{Decision, Target};
use crate::records::grant::Grant;
use crate::sessions::session::Session;
use crate::sessions::session_id::SessionId;
use crate::sessions::session_row;
use crate::sessions::visitor_id::{COOKIE, Visitor};
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::StoreError;
use crate::tokens::locate::GrantRef;
use crate::tokens::principal::Principal;

/// One request to an endpoint: what it shares with all others, its head, and the cookies in which its browser keeps
/// sessions and grants.
pub(crate) struct EndpointContext {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) head: Parts,
    came_at: Timestamp,
    /// Read when they are first needed.
    jar: OnceLock<Option<Arc<CookieJar>>>,
}

impl EndpointContext {
    pub(crate) fn new(runtime: &Arc<Runtime>, head: Parts) -> Self {
        let (runtime, came_at) = (Arc::clone(runtime), runtime.now());
        Self { runtime, head, came_at, jar: OnceLock::new() }
    }

    /// What the browser carries; `None` where the server keeps everything.
    pub(crate) fn jar(&self) -> Option<&Arc<CookieJar>> {
        let jar = || CookieJar::of(&self.runtime, &self.head.headers, self.came_at);
        self.jar.get_or_init(jar).as_ref()
    }

    /// The same, where an endpoint has asked for it.
    pub(crate) fn used_carried(&self) -> Option<&Arc<CookieJar>> {
        self.jar.get()?.as_ref()
    }

    /// Decides whether the request is forged.
    pub(crate) fn decide(&self, target: Target) -> Decision {
        let is_safe = self.head.method != Method::POST;
        self.runtime.settings.decide(target, is_safe, &self.head.headers)
    }

    pub(crate) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
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
    pub(crate) async fn signed_in(&self) -> Result<Option<Arc<Session>>, StoreError> {
        self.runtime.sessions.of(self.session_cookie(), self.runtime.now()).await
    }

    /// The provider's sessions that this session of this person names, where it lasts.
    pub(crate) async fn sids(&self, id: SessionId, person: (&str, &str)) -> Result<Vec<String>, StoreError> {
        let runtime = &self.runtime;
        if runtime.opened_grants.is_none() {
            return session_row::sids(&id.row(runtime.records.keys()), person, &runtime.records).await;
        }
        let session = runtime.sessions.find(id, runtime.now()).await?;
        let session = session.filter(|session| session.user() == person);
        Ok(session.and_then(|session| Some(session.provider_sessions()?.sids())).unwrap_or_default())
    }

    /// The visitor that this browser is.
    pub(crate) fn visitor(&self) -> Option<Visitor> {
        let name = self.runtime.settings.cookies.name(COOKIE);
        cookie::find(&self.head.headers, &name).and_then(Visitor::from_cookie)
    }

    /// Where a holder's grant at a connection lies.
    pub(crate) async fn place_of(
        &self,
        principal: &Principal,
        connection: &CheckedConnection,
    ) -> Result<GrantRef, StoreError> {
        self.runtime.place_of(principal, connection, self.jar()).await
    }

    /// What a holder has granted at a connection. What cannot be read is granted anew.
    pub(crate) async fn granted(
        &self,
        principal: &Principal,
        connection: &CheckedConnection,
    ) -> Result<Option<Arc<Grant>>, StoreError> {
        Ok(self.place_of(principal, connection).await?.newest().await?.0)
    }
}
