//! The tokens of the person of this request, and of nobody else.

use std::fmt;
use std::sync::Arc;

use http::{Extensions, HeaderValue};
use url::Url;

use crate::api_client::ApiClient;
use crate::error::{Error, ErrorKind};
use crate::flow::refresh::{GrantPlace, NoToken, Want, access_token};
use crate::grant::Owner;
use crate::provider::bearer;
use crate::request_state::RequestState;
use crate::resource;
use crate::secret::Secret;
use crate::session::Session;

/// The OAuth tokens of the person who is signed in at this request: fresh, and for registered URLs only.
///
/// Nothing here takes a user: the person is the session's. Each call looks at the session again, so that a task
/// which outlives it gets no more tokens.
#[derive(Clone)]
pub struct UserTokens {
    state: RequestState,
    session: Arc<Session>,
}

impl UserTokens {
    pub(crate) fn from_state(state: &RequestState) -> Result<Self, Error> {
        match &state.session {
            Some(session) => Ok(Self { session: Arc::clone(session), state: state.clone() }),
            None => Err(state.unauthenticated()),
        }
    }

    /// For services without axum: from the extensions of a request that came through the layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`] when nobody is signed in, [`ErrorKind::LayerMissing`] when the request did not
    /// come through the layer.
    pub fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::from_state(RequestState::of(extensions)?)
    }

    /// An HTTP client that calls APIs as this person.
    pub fn client(&self) -> ApiClient {
        ApiClient::new(self.clone(), self.state.runtime.outbound.clone())
    }

    /// A fresh access token for the registered resource that covers this URL. The client releases it to that URL
    /// by itself; whoever takes it out answers for where it goes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoTokenForUrl`] when no resource covers the URL, [`ErrorKind::ConsentRequired`] when the person
    /// must grant access again, [`ErrorKind::Unauthenticated`] when their session ended, and
    /// [`ErrorKind::Unavailable`] while the provider or the store is away.
    pub async fn for_url(&self, url: &str) -> Result<AccessToken, Error> {
        let url = resource::parse(url).ok_or_else(no_token)?;
        self.for_parsed(&url, None).await
    }

    /// Where the provider answers who the person is, which is a resource by itself: its own tokens may go there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] while the provider is away, [`ErrorKind::NoTokenForUrl`] when it has no UserInfo.
    pub async fn user_info_url(&self) -> Result<String, Error> {
        let metadata = self.state.runtime.provider.metadata().await;
        let metadata =
            metadata.map_err(|error| Error::unavailable("the provider is not available", error))?;
        metadata.userinfo_endpoint.as_ref().map(Url::to_string).ok_or_else(no_token)
    }

    /// `rejected` is a token that the API refused: it is not given out again.
    pub(crate) async fn for_parsed(
        &self,
        url: &Url,
        rejected: Option<&AccessToken>,
    ) -> Result<AccessToken, Error> {
        let indicator = self.covering(url).ok_or_else(no_token)?.indicator;
        self.require_session().await?;
        let owner = Owner::User {
            issuer: self.session.issuer.to_string(),
            subject: self.session.subject.to_string(),
        };
        let runtime = &self.state.runtime;
        let row = runtime.login_grant(&owner, self.session.id.row().key).await?;
        let want = Want { indicator, rejected: rejected.map(|token| token.0.clone()) };
        let token = access_token(runtime, &GrantPlace { row, owner }, &want).await;
        // Whoever signed out while the provider was asked gets nothing of it.
        self.require_session().await?;
        match token {
            Ok(set) => Ok(AccessToken(set.access_token)),
            Err(NoToken::Consent) if rejected.is_some() => Err(self.refused_by_api()),
            Err(NoToken::Consent) => Err(self.state.consent_required()),
            Err(NoToken::Unavailable(source)) => {
                Err(Error::unavailable("no fresh token can be had now", source))
            }
        }
    }

    /// The resource that covers the URL; `None` when none does.
    pub(crate) fn covering(&self, url: &Url) -> Option<Covering> {
        let runtime = &self.state.runtime;
        if let Some(resource) = runtime.settings.resources.covering(url) {
            let (name, indicator) = (Some(resource.name.clone()), resource.indicator.clone());
            return Some(Covering { name, indicator });
        }
        let metadata = runtime.provider.known_metadata()?;
        let user_info = metadata.userinfo_endpoint.as_ref()?;
        (user_info == url).then_some(Covering { name: None, indicator: None })
    }

    /// An API says 401 to a token that is as new as can be had: only the person can change that, if anybody. A page
    /// goes to the provider for it, but not for ever.
    pub(crate) fn refused_by_api(&self) -> Error {
        let owner = (&*self.session.issuer, &*self.session.subject);
        let again = self.state.runtime.refused_again(owner);
        if again { self.state.consent_without_redirect() } else { self.state.consent_required() }
    }

    async fn require_session(&self) -> Result<(), Error> {
        let runtime = &self.state.runtime;
        match runtime.sessions.find(self.session.id, &runtime.records, runtime.now()).await? {
            Some(_) => Ok(()),
            None => Err(self.state.unauthenticated()),
        }
    }
}

/// The resource that a token is released to.
#[derive(PartialEq, Eq)]
pub(crate) struct Covering {
    /// `None`: the provider's UserInfo.
    name: Option<String>,
    indicator: Option<String>,
}

fn no_token() -> Error {
    Error::new(ErrorKind::NoTokenForUrl, "no registered resource covers this URL, so no token goes there")
}

impl fmt::Debug for UserTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserTokens").field("subject", &self.session.subject).finish_non_exhaustive()
    }
}

/// An access token: prints nothing, compares in constant time, is wiped when dropped, and is no `Clone`.
#[derive(PartialEq, Eq)]
pub struct AccessToken(Secret);

impl AccessToken {
    /// The token itself, for a client that is not this crate's. Where it goes is the caller's business then.
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }

    /// The value of an `Authorization` header (RFC 6750 section 2.1), marked as sensitive.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        bearer(&self.0)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([secret])")
    }
}
