//! The signed-in person, as handlers see them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::sessions::session::Session;
use crate::state::Runtime;
use crate::stateless::CookieJar;

/// The person who is signed in in the browser that sent this request.
///
/// It is in the request's extensions, for any tower service (`request.extensions().get::<CurrentUser>()`), and an
/// axum extractor: `CurrentUser` where somebody must be signed in, `Option<CurrentUser>` where nobody need be. It
/// may be cloned, sent to other tasks and kept; it says what was true at the request. It is [`Serialize`], for JSON and
/// templates.
///
/// Who a person is, is their issuer and subject. Equality and hashes know nothing else: an e-mail can change, and
/// can be given to somebody else.
///
/// ```
/// use serde::Deserialize;
/// use tower_oidc::CurrentUser;
///
/// #[derive(Deserialize)]
/// struct Claims {
///     groups: Vec<String>,
/// }
///
/// async fn profile(user: CurrentUser) -> String {
///     let groups = user.claims::<Claims>().map(|claims| claims.groups).unwrap_or_default();
///     format!("{} is {} of {}, in {groups:?}", user.nickname(), user.subject(), user.issuer())
/// }
/// ```
#[derive(Clone)]
pub struct CurrentUser {
    session: Arc<Session>,
    jar: Option<Arc<CookieJar>>,
    runtime: Arc<Runtime>,
}

impl CurrentUser {
    pub(crate) fn new(session: Arc<Session>, jar: Option<Arc<CookieJar>>, runtime: Arc<Runtime>) -> Self {
        Self { session, jar, runtime }
    }

    /// The provider that vouches for the person (`iss`).
    pub fn issuer(&self) -> &str {
        &self.session.issuer
    }

    /// What the provider calls the person (`sub`): never given to anybody else.
    pub fn subject(&self) -> &str {
        &self.session.subject
    }

    /// An e-mail address, if the provider says one. Not a name for the person: it changes.
    pub fn email(&self) -> Option<&str> {
        self.session.profile().email.as_deref()
    }

    /// Whether the provider says that the address is the person's own.
    pub fn email_verified(&self) -> bool {
        self.session.profile().email_verified
    }

    /// The full name, for display.
    pub fn name(&self) -> Option<&str> {
        self.session.profile().name.as_deref()
    }

    /// A casual name, for display: the provider's, or else the name, or what stands before the `@`, or the subject.
    pub fn nickname(&self) -> &str {
        let profile = self.session.profile();
        let before_at = || profile.email.as_deref().and_then(|email| email.split('@').next());
        profile.nickname.as_deref().or(profile.name.as_deref()).or_else(before_at).unwrap_or(self.subject())
    }

    /// The URL of a picture, as the provider says it.
    pub fn picture(&self) -> Option<&str> {
        let claims = self.session.all_claims_or(|| self.shown_claims());
        claims?.get("picture").and_then(Value::as_str)
    }

    /// When the person last authenticated at the provider (`auth_time`), if it says.
    pub fn auth_time(&self) -> Option<Timestamp> {
        self.session.auth_time.map(Timestamp::from_secs)
    }

    /// How the person authenticated (`acr`), if the provider says.
    pub fn acr(&self) -> Option<&str> {
        self.session.acr.as_deref()
    }

    /// Whether the person is an admin by the configuration as it is now: by verified e-mail, subject or claim.
    pub fn is_admin(&self) -> bool {
        self.session.is_admin(&self.runtime.settings.admins, || self.shown_claims())
    }

    /// Everything that the provider and the login hook said about the person, decoded into a type of your own.
    ///
    /// # Errors
    ///
    /// When the claims do not fit the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.session.claims_or(|| self.shown_claims()))
    }

    /// Where the browser keeps them.
    fn shown_claims(&self) -> Option<String> {
        self.jar.as_ref()?.claims(&self.session)?.claims()
    }

    /// A name for the person that can be shown to others: the same at each login, different for each purpose, and
    /// nothing about the person can be found from it (a keyed hash, 22 characters of base64url; its key lies in the store, one
    /// for each application, and comes from the first secret with
    /// [`OidcLayer::stateless`](crate::OidcLayer::stateless)). Another public URL makes all of them others.
    pub fn pseudonym(&self, purpose: &str) -> String {
        let parts: [&[u8]; 4] =
            [b"public id", purpose.as_bytes(), self.issuer().as_bytes(), self.subject().as_bytes()];
        // No session is known before the index key is.
        let hash = self.runtime.records.known_index().map(|index| index.hash(&parts)).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(&hash[..16])
    }
}

/// What the methods say that an application's own pages and scripts want: `issuer`, `subject`, `email`,
/// `email_verified`, `name`, `nickname`, `picture`, `auth_time` in milliseconds since the Unix epoch, `acr` and `is_admin`.
/// What the provider does not say is `null`. Other claims, the session and its tokens are not in it.
impl Serialize for CurrentUser {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut user = serializer.serialize_struct("CurrentUser", 10)?;
        user.serialize_field("issuer", self.issuer())?;
        user.serialize_field("subject", self.subject())?;
        user.serialize_field("email", &self.email())?;
        user.serialize_field("email_verified", &self.email_verified())?;
        user.serialize_field("name", &self.name())?;
        user.serialize_field("nickname", self.nickname())?;
        user.serialize_field("picture", &self.picture())?;
        user.serialize_field("auth_time", &self.auth_time())?;
        user.serialize_field("acr", &self.acr())?;
        user.serialize_field("is_admin", &self.is_admin())?;
        user.end()
    }
}

impl PartialEq for CurrentUser {
    fn eq(&self, other: &Self) -> bool {
        (self.issuer(), self.subject()) == (other.issuer(), other.subject())
    }
}

impl Eq for CurrentUser {}

impl Hash for CurrentUser {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.issuer(), self.subject()).hash(state);
    }
}

impl fmt::Debug for CurrentUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentUser")
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .finish_non_exhaustive()
    }
}

/// The signed-in person, who is an admin. Everybody else who is signed in gets 403.
///
/// ```
/// use tower_oidc::Admin;
///
/// async fn delete_everything(admin: Admin) -> String {
///     format!("{} has deleted everything", admin.nickname())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Admin(CurrentUser);

impl Admin {
    /// `None` when the person is no admin.
    pub(crate) fn new(user: CurrentUser) -> Option<Self> {
        user.is_admin().then_some(Self(user))
    }

    /// The person.
    pub fn user(&self) -> &CurrentUser {
        &self.0
    }
}

impl std::ops::Deref for Admin {
    type Target = CurrentUser;

    fn deref(&self) -> &CurrentUser {
        &self.0
    }
}
