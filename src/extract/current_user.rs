//! The signed-in user, as handlers see them.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::protocol::{LEEWAY, LoginOptions};
use crate::secret::{derefs, opaque};
use crate::sessions::Session;
use crate::state::Runtime;
use crate::stateless::CookieJar;

/// The user who is signed in in the browser that sent this request, or whose access token came with it
/// ([`Config::api`](crate::Config::api)).
///
/// It is in the request's extensions, for any tower service (`request.extensions().get::<CurrentUser>()`), and an axum
/// extractor: `CurrentUser` if the handler needs a signed-in user, `Option<CurrentUser>` if it does not. It can be
/// cloned, sent to other tasks and kept: its values are those of the moment of the request.
///
/// A user is identified by issuer and subject (OpenID Connect Core 1.0 section 5.7). Equality and hashes use nothing
/// else: an e-mail address can change, and can be given to another user.
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
    jar: CookieJar,
    runtime: Arc<Runtime>,
}

impl CurrentUser {
    pub(crate) fn new(session: Arc<Session>, jar: CookieJar, runtime: Arc<Runtime>) -> Self {
        Self { session, jar, runtime }
    }

    /// The issuer of the provider at which the user signed in (`iss`).
    pub fn issuer(&self) -> &str {
        &self.session.issuer
    }

    /// The user's identifier at that provider (`sub`). The provider never gives it to another user.
    pub fn subject(&self) -> &str {
        &self.session.subject
    }

    /// The user's e-mail address, if the provider sends one. It is no identifier, because it can change.
    pub fn email(&self) -> Option<&str> {
        self.session.profile().email.as_deref()
    }

    /// Whether the provider states that the e-mail address belongs to the user (`email_verified`).
    pub fn email_verified(&self) -> bool {
        self.session.profile().email_verified
    }

    /// The user's full name, for display (`name`).
    pub fn name(&self) -> Option<&str> {
        self.session.profile().name.as_deref()
    }

    /// A short name, for display: `nickname`, otherwise `name`, otherwise the part of the e-mail address before the
    /// `@`, otherwise the subject.
    pub fn nickname(&self) -> &str {
        let profile = self.session.profile();
        let before_at = || profile.email.as_deref().and_then(|email| email.split('@').next());
        profile.nickname.as_deref().or(profile.name.as_deref()).or_else(before_at).unwrap_or(self.subject())
    }

    /// The URL of the user's picture, as the provider sends it (`picture`).
    pub fn picture(&self) -> Option<&str> {
        let claims = self.session.all_claims_or(|| self.shown_claims());
        claims?.get("picture").and_then(Value::as_str)
    }

    /// The time of the user's last authentication at the provider (`auth_time`), if the provider sends it.
    pub fn auth_time(&self) -> Option<Timestamp> {
        self.session.auth_time.map(Timestamp::from_secs)
    }

    /// The authentication context class of the login (`acr`), if the provider sends it.
    pub fn acr(&self) -> Option<&str> {
        self.session.acr.as_deref()
    }

    /// How the user authenticated at the login (`amr`, RFC 8176), such as `pwd` and `otp`. Empty if the provider does not say
    /// it.
    pub fn amr(&self) -> Vec<&str> {
        let claims = self.session.all_claims_or(|| self.shown_claims());
        let methods = claims.and_then(|claims| claims.get("amr")?.as_array());
        methods.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The provider's session in which the user signed in (`sid`), if the provider names it.
    pub fn sid(&self) -> Option<&str> {
        self.session.all_claims_or(|| self.shown_claims())?.get("sid").and_then(Value::as_str)
    }

    /// Whether the user was authenticated so, with the leeway for clocks that a login has. Nobody meets no demand at all.
    pub(crate) fn is_authenticated(&self, options: &LoginOptions) -> bool {
        let LoginOptions { acr_values, max_age, .. } = options;
        let until = |max_age| Some(self.auth_time()?.saturating_add(max_age).saturating_add(LEEWAY));
        let is_recent = |max_age| until(max_age).is_some_and(|until| until >= self.runtime.now());
        let is_of_class = acr_values.iter().any(|acr| Some(acr.as_str()) == self.acr());
        max_age.map_or(is_of_class, |max_age| is_recent(max_age) && (is_of_class || acr_values.is_empty()))
    }

    /// The scopes of the access token, of a request that came with one ([`Config::api`](crate::Config::api)). Empty for a
    /// user of a session.
    pub fn scopes(&self) -> Vec<&str> {
        self.session.token().unwrap_or_default().0
    }

    /// The client that sent the access token (`client_id`), if the token names it. `None` for a user of a session.
    pub fn client_id(&self) -> Option<&str> {
        self.session.token()?.1
    }

    /// The user's roles, each once, by the rules of the provider at which they signed in
    /// ([`ProviderConfig::roles`](crate::ProviderConfig)), or of the one that issued the access token. A role of another provider
    /// with the same name is another role, and not among them.
    ///
    /// They are those of the login, or with [`Config::revalidate_every`](crate::Config::revalidate_every) those that the
    /// provider sent last. A rule that the configuration has no more gives none.
    pub fn roles(&self) -> Vec<&str> {
        self.runtime.roles(&self.session).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the user has this role.
    pub fn has_role(&self, name: &str) -> bool {
        self.runtime.roles(&self.session).any(|role| role == name)
    }

    /// Whether the user is an admin by the present configuration: by verified e-mail address, subject, claim or role.
    ///
    /// The claims are those of the login, or with [`Config::revalidate_every`](crate::Config::revalidate_every) those that
    /// the provider sent last.
    pub fn is_admin(&self) -> bool {
        self.runtime.is_admin(&self.session)
    }

    /// All claims of the provider and of the login hook, decoded into a type of your own.
    ///
    /// # Errors
    ///
    /// The error of the decoder, if the claims do not fit the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.session.claims_or(|| self.shown_claims()))
    }

    /// The claims in the browser's cookies, in stateless mode.
    fn shown_claims(&self) -> Option<String> {
        self.jar.claims(&self.session)?.claims()
    }

    /// Returns when this user's session has ended: by a logout, here or at the provider, by
    /// [`AuthSession::end_session`](crate::AuthSession::end_session) or an administrator, by a new login in its place, or by its
    /// lifetimes. For WebSockets, server-sent events and other work that outlives the request. For the user of an access token
    /// it returns when the token expires.
    ///
    /// It is no use of the session: an open WebSocket alone does not extend it.
    ///
    /// ```
    /// use tower_oidc::CurrentUser;
    ///
    /// # async fn next_message() -> Option<String> { None }
    /// async fn socket(user: CurrentUser) {
    ///     let ended = std::pin::pin!(user.ended());
    ///     let messages = async {
    ///         while let Some(message) = next_message().await {
    ///             println!("{message}");
    ///         }
    ///     };
    ///     tokio::select! {
    ///         () = ended => println!("the session of {} has ended", user.nickname()),
    ///         () = messages => {}
    ///     }
    /// }
    /// ```
    ///
    /// An end in this process counts at once. An end in another process counts within
    /// [`Config::max_staleness`](crate::Config::max_staleness) while the store notifies this process, and otherwise within the
    /// larger of that and the number of waiting futures ÷ 500 seconds (200 seconds for 100,000), because the sessions are read
    /// in turn, at most 500 a second. At most as many are read because they changed: where more change, they wait for their
    /// turn. While the store is unavailable nothing ends. In stateless mode the idle lifetime counts from the last request
    /// in this process.
    ///
    /// Nothing happens before the future is polled, and nothing is left when it is dropped. It takes about a kilobyte, so that
    /// 100,000 of them take 100 MB.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.runtime.sessions.ended(&self.session)
    }

    /// A pseudonym of the user, to be shown to others: the same at each login, another one for each `purpose`. It
    /// reveals nothing about the user.
    ///
    /// It is a keyed hash of issuer and subject, 22 characters of base64url. Each application has its own key, kept in
    /// the store; in [stateless mode](crate::OidcLayer::stateless) the key is derived from the first session secret.
    /// If the public URL changes, all pseudonyms change.
    pub fn pseudonym(&self, purpose: &str) -> String {
        let parts: [&[u8]; 4] = [b"public id", purpose.as_bytes(), self.issuer().as_bytes(), self.subject().as_bytes()];
        // No session is known before the index key is.
        let hash = self.runtime.records.known_index().map(|index| index.hash(&parts)).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(&hash[..16])
    }
}

/// What the methods say that an application's own pages and scripts want: `issuer`, `subject`, `email`,
/// `email_verified`, `name`, `nickname`, `picture`, `auth_time` in milliseconds since the Unix epoch, `acr`, `roles` and
/// `is_admin`.
/// What the provider does not say is `null`. Other claims, the session and its tokens are not in it.
impl Serialize for CurrentUser {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut user = serializer.serialize_struct("CurrentUser", 11)?;
        user.serialize_field("issuer", self.issuer())?;
        user.serialize_field("subject", self.subject())?;
        user.serialize_field("email", &self.email())?;
        user.serialize_field("email_verified", &self.email_verified())?;
        user.serialize_field("name", &self.name())?;
        user.serialize_field("nickname", self.nickname())?;
        user.serialize_field("picture", &self.picture())?;
        user.serialize_field("auth_time", &self.auth_time())?;
        user.serialize_field("acr", &self.acr())?;
        user.serialize_field("roles", &self.roles())?;
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

opaque!(CurrentUser, |user| issuer = user.issuer(), subject = user.subject());

/// A signed-in user who is an admin. As an extractor it answers 403 to every other signed-in user.
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
    /// `None` if the user is no admin.
    pub(crate) fn new(user: CurrentUser) -> Option<Self> {
        user.is_admin().then_some(Self(user))
    }

    /// The user.
    pub fn user(&self) -> &CurrentUser {
        &self.0
    }
}

derefs!(Admin => 0: CurrentUser);
