//! What the author wrote. Every default stands here with its reason; nothing is checked before construction.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tower::{BoxError, Service};

use crate::ambient::{Clock, Random};
use crate::connection::{Connection, Retention};
use crate::environment::Environment;
use crate::error::ConfigError;
use crate::events::Event;
use crate::hooks::{Hooks, NewLogin, Unauthenticated, Verdict};
use crate::outbound::Outbound;
use crate::protocol::authorization::ResponseMode;
use crate::protocol::token::ClientAuth;
use crate::resource::Resource;
use crate::secret::Secret;

/// How this application is registered at its provider, and how it treats its users.
///
/// Plain data: read it with serde (unknown fields are refused), from the environment with
/// [`Config::from_env`], or write it by hand from [`Config::new`]. It is checked when a layer is made of it,
/// and every problem is reported at once. Durations are whole seconds where they are deserialised.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The URL that browsers use, with the path where the application is mounted. Cookies, redirects and
    /// return addresses believe this alone, never `Host` or a forwarded header.
    pub public_url: String,
    /// The provider's issuer, exactly as it spells it. Without one the development provider is used (feature
    /// `dev-provider`, loopback only).
    pub issuer: Option<String>,
    /// Our name at the provider.
    pub client_id: String,
    /// Our secret there; none for a public client, which PKCE alone protects.
    pub client_secret: Option<Secret>,
    /// How the secret is shown. By default what the provider announces, and basic where it says nothing.
    pub client_auth: Option<ClientAuth>,
    /// Asked for at login, besides those of the resources: `openid email profile`.
    pub scopes: Vec<String>,
    /// How the provider's response comes back: `query`, which works with every browser's cookie rules.
    pub response_mode: ResponseMode,
    /// Only members of this Google Workspace or similar domain may sign in: sent as `hd`, and required in the
    /// ID token.
    pub hosted_domain: Option<String>,
    /// When UserInfo is asked: where the ID token lacks what the scopes promise, because many providers put
    /// e-mail and name there only (OpenID Connect Core 1.0 section 5.4).
    pub user_info: UserInfo,
    /// More parameters of the authorization request, such as `access_type=offline` or `claims`.
    pub authorization_parameters: Vec<(String, String)>,
    /// Audiences besides ours that an ID token may name. None: each could pass our tokens on.
    pub trusted_audiences: Vec<String>,
    /// The APIs that the login's tokens may go to.
    pub resources: Vec<Resource>,
    /// What people may grant besides.
    pub connections: Vec<Connection>,

    /// Secrets for seals, at least 32 bytes each: the first seals, all open. Without one it is made up at
    /// start, which a durable store refuses.
    pub session_secrets: Vec<Secret>,
    /// A session ends after this time without a request: 24 hours, a working day and the night after it.
    #[serde(deserialize_with = "seconds")]
    pub idle_lifetime: Duration,
    /// A session ends after this time whatever happens: 7 days, so that a weekly visitor signs in once a week.
    #[serde(deserialize_with = "seconds")]
    pub absolute_lifetime: Duration,
    /// A login that was started must be finished within: 10 minutes, for a person who looks for a second factor.
    #[serde(deserialize_with = "seconds")]
    pub login_lifetime: Duration,
    /// How long this process may believe a session that another may have ended: 2 seconds. 0 asks the store
    /// at every request.
    #[serde(deserialize_with = "seconds")]
    pub max_staleness: Duration,
    /// How long a login's grant lives.
    pub login_retention: Retention,
    /// Whether logout revokes the session's refresh token. Only for providers whose revocation ends that token
    /// alone: at others it would sign the person's other browsers out. Off.
    pub revoke_at_logout: bool,
    /// Whether logout also ends the session at the provider, where it offers that. On.
    pub logout_at_provider: bool,
    /// Where the provider sends browsers after logout; the public URL by default. It must be registered there.
    pub post_logout_url: Option<String>,

    /// Verified e-mails whose owners are admins, compared without case.
    pub admins: Vec<String>,
    /// Subjects who are admins.
    pub admin_subjects: Vec<String>,
    /// A claim that makes its bearer an admin.
    pub admin_claim: Option<AdminClaim>,

    /// Origins besides our own whose pages may send unsafe requests with our cookies.
    pub trusted_origins: Vec<String>,
    /// Where the layer answers, below the public URL: `/auth`.
    pub base_path: String,
    /// What the names of cookies begin with (after `__Host-`): `tower-oidc`. Cookies ignore ports: give two
    /// applications on one host two names.
    pub cookie_name: String,
    /// Extra root certificates for the provider and the APIs, PEM.
    pub ca_file: Option<PathBuf>,

    #[serde(skip)]
    pub(crate) hooks: Hooks,
    #[serde(skip)]
    pub(crate) outbound: Option<Outbound>,
    #[serde(skip, default = "Clock::system")]
    pub(crate) clock: Clock,
    #[serde(skip, default = "Random::system")]
    pub(crate) random: Random,
}

/// When the UserInfo endpoint is asked at login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserInfo {
    /// Never: the ID token says it all.
    Never,
    /// When `email` or `profile` was asked for and the ID token holds no e-mail or no name.
    #[default]
    WhereNeeded,
    /// At every login.
    Always,
}

/// A claim, and the value that makes its bearer an admin. A claim that is a list must contain it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminClaim {
    /// The claim's name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: "http://localhost:3000".to_owned(),
            issuer: None,
            client_id: String::new(),
            client_secret: None,
            client_auth: None,
            scopes: ["openid", "email", "profile"].map(str::to_owned).to_vec(),
            response_mode: ResponseMode::default(),
            hosted_domain: None,
            user_info: UserInfo::default(),
            authorization_parameters: Vec::new(),
            trusted_audiences: Vec::new(),
            resources: Vec::new(),
            connections: Vec::new(),
            session_secrets: Vec::new(),
            idle_lifetime: Duration::from_secs(24 * 60 * 60),
            absolute_lifetime: Duration::from_secs(7 * 24 * 60 * 60),
            login_lifetime: Duration::from_secs(10 * 60),
            max_staleness: Duration::from_secs(2),
            login_retention: Retention::default(),
            revoke_at_logout: false,
            logout_at_provider: true,
            post_logout_url: None,
            admins: Vec::new(),
            admin_subjects: Vec::new(),
            admin_claim: None,
            trusted_origins: Vec::new(),
            base_path: "/auth".to_owned(),
            cookie_name: "tower-oidc".to_owned(),
            ca_file: None,
            hooks: Hooks::default(),
            outbound: None,
            clock: Clock::system(),
            random: Random::system(),
        }
    }
}

impl Config {
    /// A registration at a provider.
    pub fn new(
        public_url: impl Into<String>,
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Self {
        Self {
            public_url: public_url.into(),
            issuer: Some(issuer.into()),
            client_id: client_id.into(),
            client_secret: Some(client_secret.into()),
            ..Self::default()
        }
    }

    /// The development provider, for an application on this loopback URL.
    pub fn development(public_url: impl Into<String>) -> Self {
        Self { public_url: public_url.into(), ..Self::default() }
    }

    /// Reads the environment: `PUBLIC_URL` (`http://localhost:3000`), `OIDC_ISSUER` (without one: the
    /// development provider), `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET`, `OIDC_SCOPES` (space separated),
    /// `OIDC_RESPONSE_MODE` (`query`, `form_post`), `OIDC_CA_FILE`, `SESSION_SECRET` and `ADMINS` (comma
    /// separated). A secret may stand in a file instead that `OIDC_CLIENT_SECRET_FILE` or
    /// `SESSION_SECRET_FILE` names.
    ///
    /// # Errors
    ///
    /// Everything that cannot be read, at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same as [`Config::from_env`] with variables from elsewhere.
    ///
    /// # Errors
    ///
    /// Everything that cannot be read, at once.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        let environment = Environment::new(variable);
        config.client_secret = environment.secret("OIDC_CLIENT_SECRET", &mut problems).map(Secret::from);
        config.session_secrets =
            environment.secret("SESSION_SECRET", &mut problems).map(|list| listed(&list)).unwrap_or_default();
        config.issuer = environment.value("OIDC_ISSUER");
        config.ca_file = environment.value("OIDC_CA_FILE").map(PathBuf::from);
        config.admins = environment.value("ADMINS").map(|list| listed(&list)).unwrap_or_default();
        if let Some(public_url) = environment.value("PUBLIC_URL") {
            config.public_url = public_url;
        }
        if let Some(client_id) = environment.value("OIDC_CLIENT_ID") {
            config.client_id = client_id;
        }
        if let Some(scopes) = environment.value("OIDC_SCOPES") {
            config.scopes = scopes.split_whitespace().map(str::to_owned).collect();
        }
        match environment.value("OIDC_RESPONSE_MODE").as_deref() {
            None | Some("query") => {}
            Some("form_post") => config.response_mode = ResponseMode::FormPost,
            Some(other) => {
                problems.push(format!("OIDC_RESPONSE_MODE is {other:?}: use query or form_post"));
            }
        }
        ConfigError::check(problems)?;
        Ok(config)
    }

    /// One more API that the login's tokens may go to.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// One more connection.
    #[must_use]
    pub fn connection(mut self, connection: Connection) -> Self {
        self.connections.push(connection);
        self
    }

    /// Called when somebody is about to be signed in: it may refuse them, or add claims.
    ///
    /// It runs after the tokens were verified and before anything is stored. When it panics or is too slow the
    /// login fails.
    #[must_use]
    pub fn on_login<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(NewLogin) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        self.hooks.login = Some(Arc::new(move |login| Box::pin(hook(login))));
        self
    }

    /// Called at every event, in the task where it happens: it must not block.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hooks.events.hook = Some(Arc::new(hook));
        self
    }

    /// Decides what a request gets that needs a signed-in person and has none. The default is
    /// [`Unauthenticated::answer`].
    #[must_use]
    pub fn on_unauthenticated(
        mut self,
        hook: impl Fn(&Unauthenticated) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.unauthenticated = Some(Arc::new(hook));
        self
    }

    /// Sends everything that goes to the provider and to APIs through this service, instead of the default
    /// client. It must not follow redirects by itself.
    #[must_use]
    pub fn http_client<S>(mut self, client: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        self.outbound = Some(Outbound::new(client));
        self
    }

    /// Another clock than the machine's, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Other randomness than the operating system's, for tests.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }
}

/// Comma-separated values without the blanks around them.
fn listed<T: From<String>>(list: &str) -> Vec<T> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| T::from(item.to_owned()))
        .collect()
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("login", &self.login.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_variables(|name| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_is_the_development_provider_on_loopback() {
        let config = from(&[]).unwrap();
        assert_eq!((config.public_url.as_str(), config.issuer), ("http://localhost:3000", None));
    }

    #[test]
    fn variables_are_read_and_secrets_may_stand_in_files() {
        let file = std::env::temp_dir().join(format!("tower-oidc-secret-{}", std::process::id()));
        std::fs::write(&file, "first-secret , second\n").unwrap();
        let config = from(&[
            ("PUBLIC_URL", "https://app.test"),
            ("OIDC_ISSUER", " https://op.test "),
            ("OIDC_CLIENT_SECRET", "s"),
            ("OIDC_SCOPES", "openid  groups"),
            ("OIDC_RESPONSE_MODE", "form_post"),
            ("SESSION_SECRET_FILE", file.to_str().unwrap()),
            ("ADMINS", "a@x.test, b@x.test,"),
        ])
        .unwrap();
        assert_eq!(config.issuer.as_deref(), Some("https://op.test"));
        assert_eq!(config.scopes, ["openid", "groups"]);
        assert_eq!(config.session_secrets, ["first-secret", "second"].map(Secret::from));
        assert_eq!(config.admins, ["a@x.test", "b@x.test"]);
        assert_eq!(config.response_mode, ResponseMode::FormPost);
        assert!(!format!("{config:?}").contains("first-secret"));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = from(&[
            ("OIDC_RESPONSE_MODE", "fragment"),
            ("SESSION_SECRET", "x"),
            ("SESSION_SECRET_FILE", "y"),
            ("OIDC_CLIENT_SECRET_FILE", "/nonexistent/secret"),
        ]);
        assert_eq!(error.unwrap_err().problems().len(), 3);
    }

    #[test]
    fn serde_reads_it_and_refuses_unknown_fields() {
        let read = |text: &str| serde_json::from_str::<Config>(text);
        let config = read(
            r#"{"client_id":"c","idle_lifetime":60,"resources":[{"name":"a","url_prefixes":["https://a.test"]}]}"#,
        );
        let config = config.unwrap();
        assert_eq!((config.idle_lifetime, config.resources.len()), (Duration::from_secs(60), 1));
        assert!(read(r#"{"clientid":"c"}"#).is_err());
        assert!(read(r#"{"resources":[{"name":"a","url_prefixes":[],"scope":"x"}]}"#).is_err());
    }
}
