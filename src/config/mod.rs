//! The configuration as the application writes it. It is checked when a layer is made of it.

pub(crate) mod admins;
pub(crate) mod api;
pub(crate) mod checks;
pub(crate) mod connections;
pub(crate) mod destination;
pub(crate) mod development;
pub(crate) mod environment;
mod from_env;
pub(crate) mod hooks;
#[cfg(feature = "axum")]
mod into_response;
pub(crate) mod login_api;
pub(crate) mod mode;
mod presets;
pub(crate) mod registrations;
pub(crate) mod resources;
pub(crate) mod settings;
pub(crate) mod shared_account;

pub(crate) use self::api::{Api, CheckedApi, LOOK_AGAIN};
pub(crate) use self::connection::{GrantLifetime, Resource};
pub(crate) use self::connections::{CheckedConnection, CheckedConnections, PERSONAL};
pub(crate) use self::destination::Destination;
pub(crate) use self::development::CLIENT;
pub(crate) use self::hooks::{HookResponse, Hooks, LoginDecision, ProviderChoice, Unauthenticated, VerifiedLogin};
pub(crate) use self::login_api::LoginApi;
pub(crate) use self::mode::Mode;
pub(crate) use self::resources::{ResourceRoute, Resources};
pub(crate) use self::settings::Settings;
pub(crate) use self::shared_account::{AccountSource, SharedAccount};

pub(crate) use crate::provider::connection;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Deserializer};
use smart_default::SmartDefault;
use tokio::runtime::Handle;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt, service_fn};

use self::connection::Connection;
use self::development::local_url;
use self::environment::{Environment, variable};
use crate::body::ApiBody;
use crate::clock::{Clock, Random};
use crate::events::Event;
use crate::protocol::setters::setters;
use crate::provider::{API_BODY, Network, Outbound, ProviderConfig};
use crate::secret::{Secret, opaque};

/// The configuration of a layer: the application, its providers, its mode, and its rules for users.
///
/// ```
/// # use std::time::Duration;
/// # use tower_oidc::{Config, ProviderConfig, Resource};
/// let provider = ProviderConfig::new("https://op.example.org", "app").client_secret("secret");
/// let config = Config::new("https://app.example.org", provider)
///     .resource(Resource::new("calendar", "https://api.example.org/calendar").scope("calendar.read"))
///     .session_secrets(["32 random bytes or more, kept with the other secrets"])
///     .admins(["root@example.org"])
///     .idle_lifetime(Duration::from_secs(8 * 60 * 60));
/// ```
///
/// It is plain data: write it with [`Config::new`], read it with serde (unknown fields are refused), or from the
/// environment with [`Config::from_env`]. It is checked when a layer is made of it, and every problem is reported at
/// once (certificates and the development provider are checked after that). Durations are whole seconds in serde.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The URL that browsers use, with the path where the application is mounted. Cookies, redirects and destinations
    /// use this URL only, never `Host` or a forwarded header. Register `{public_url}/auth/callback` at the provider as
    /// redirect URI (`/auth/callback/{name}` with several providers: [`ProviderConfig`]), and the public URL, with a slash
    /// at its end if it has no path, as the address after logout.
    ///
    /// Together with [`Config::cookie_name`] it identifies the application: everything that is sealed or stored is
    /// bound to it. Another public URL, or another mount, is another application: every user is signed out, and every
    /// grant is out of reach, including those of the shared account.
    #[default(local_url(None))]
    pub public_url: String,
    /// The address on which the application listens. The layer opens no socket. Only the development provider needs
    /// the address, which must then be loopback.
    pub bind: Option<SocketAddr>,
    /// The owner of the tokens, and the place where they are kept. By default [`Mode::PerUser`].
    pub mode: Mode,
    /// The provider, or the first of several.
    pub provider: ProviderConfig,
    /// More providers, for logins or for connections.
    pub more_providers: Vec<ProviderConfig>,

    /// Secrets for seals, at least 32 bytes each: the first seals, all open. Without one the layer generates a secret
    /// at start; with a durable store that is an error.
    pub session_secrets: Vec<Secret>,
    /// A session ends after this time without a request. By default 24 hours: a working day and the night after it.
    #[default(Duration::from_secs(24 * 60 * 60))]
    #[serde(deserialize_with = "seconds")]
    pub idle_lifetime: Duration,
    /// A session ends this long after its login, even with requests. By default 7 days: a weekly visitor signs in once
    /// a week.
    #[default(Duration::from_secs(7 * 24 * 60 * 60))]
    #[serde(deserialize_with = "seconds")]
    pub absolute_lifetime: Duration,
    /// A visitor's grant is kept for this time after the visitor granted it. By default 30 days: a visitor who returns
    /// within a month finds it.
    #[default(Duration::from_secs(30 * 24 * 60 * 60))]
    #[serde(deserialize_with = "seconds")]
    pub visitor_lifetime: Duration,
    /// A login must be finished within this time. By default 10 minutes: enough to look for a second factor.
    #[default(Duration::from_secs(10 * 60))]
    #[serde(deserialize_with = "seconds")]
    pub login_lifetime: Duration,
    /// How long a process uses its copy of a session that another process may have ended, and of a grant that another
    /// process may have replaced or disconnected. By default 2 seconds. With 0 the store is read at every request.
    #[default(Duration::from_secs(2))]
    #[serde(deserialize_with = "seconds")]
    pub max_staleness: Duration,
    /// A session lasts only as long as its provider confirms its user, and the provider is asked after this time. By
    /// default it is not asked: a user whom the provider disables stays signed in until the session ends.
    ///
    /// At the first request after this time the grant of the login is refreshed, in the background. A request that comes
    /// after twice this time waits for that, for 2 seconds at most; in stateless mode each such request waits. If the
    /// provider refuses the refresh for a reason that is the user's (such as `invalid_grant`), the session ends in every
    /// process. A provider that is away ends nothing. The claims of the refreshed ID token, and of UserInfo where the
    /// login asked for it, replace those of the login: a role that was withdrawn counts no more. Claims of the login hook
    /// stay. (In stateless mode the claims do not change: the session ends if the ID token has another value for a claim
    /// of an admin rule, or if the user's roles are others. A value that is missing there is not noticed, nor anything with a login hook.)
    ///
    /// It needs a refresh token from each login. A login without one is begun again with `prompt=consent`, and then
    /// refused. Many providers issue one for the scope `offline_access`. At least one minute. The grant of the login must
    /// last as long as its session ([`Config::login_grant_lifetime`]).
    #[serde(deserialize_with = "maybe_seconds")]
    pub revalidate_every: Option<Duration>,
    /// The maximum number of sessions of a user. With more, a login ends the oldest ones. By default there is none. In
    /// stateless mode, where browsers keep the sessions and nobody can count them, it is an error.
    pub max_sessions_per_user: Option<usize>,
    /// In stateless mode, the maximum size in bytes of the layer's cookies in a request. By default 6 KiB: with the
    /// other cookies, a request stays below the 8 KiB that proxies and servers accept for one header. A login that
    /// would need more fails with a page and an event that list the sizes.
    #[default(6 * 1024)]
    pub max_cookie_bytes: usize,
    /// The lifetime of the grant of a login. By default that of the session.
    pub login_grant_lifetime: GrantLifetime,
    /// Whether `/auth/frontchannel-logout` answers (OpenID Connect Front-Channel Logout 1.0), for a provider that
    /// signs users out by frames in their browsers. Off by default, because a request needs no proof except the `sid`.
    /// Back-channel logout requires a signed token and needs no setting: register `/auth/backchannel-logout` at the
    /// provider.
    pub frontchannel_logout: bool,
    /// The address after logout at the provider. By default the public URL. It must be of the public origin, and
    /// registered at the provider.
    pub post_logout_url: Option<String>,

    /// Verified e-mail addresses of admins, compared without case. With several providers for logins, each entry names
    /// its provider: `work:root@example.org`.
    pub admins: Vec<String>,
    /// Subjects of admins. With several providers for logins, each entry names its provider: `work:248289761001`.
    pub admin_subjects: Vec<String>,
    /// Roles that make a user an admin ([`ProviderConfig::roles`]). With several providers for logins, each entry names its
    /// provider: `work:admin`.
    pub admin_roles: Vec<String>,

    /// Requests with access tokens, besides sessions ([`Api`]). By default none: `Authorization` is the application's own.
    pub api: Option<Api>,

    /// Other origins whose pages may send unsafe requests with the cookies of this application:
    /// [`docs::cross_site`](crate::docs::cross_site).
    pub trusted_origins: Vec<String>,
    /// Host names that are answered where the public URL is http on loopback, besides those of loopback itself: every
    /// other `Host` gets 421, because another site's name may lead to this machine (DNS rebinding). Ports are not
    /// compared. A request without an authority passes.
    pub development_hosts: Vec<String>,
    /// The path at which the application's router nests the layer, such as `/app` for axum's `nest("/app", …)`: the layer
    /// sees paths without it, and users come back to pages with it. The endpoints stay at [`Config::base_path`] below the
    /// public URL, where [`OidcLayer::endpoints`](crate::OidcLayer::endpoints) must be mounted.
    pub mounted_at: Option<String>,
    /// Paths whose answers are the same for everybody, such as `/static`, with everything below them: no session is looked
    /// for there, and what caches may do is the handler's to say. Elsewhere every answer to a request with a session is
    /// `private, no-store` unless the handler says otherwise. An extractor below such a path is an error.
    pub shared_paths: Vec<String>,
    /// The path of the layer's endpoints, below the public URL. By default `/auth`.
    #[default("/auth")]
    pub base_path: String,
    /// The first part of the names of cookies (after `__Host-`). By default `tower-oidc`. Cookies ignore ports: two
    /// applications on one host need two names. Another name is another application, as with [`Config::public_url`].
    #[default("tower-oidc")]
    pub cookie_name: String,
    /// A PEM file with additional root certificates for the provider and the APIs. Not used with
    /// [`Config::http_client`]. A certificate that cannot be used is skipped, with the event
    /// [`EventCode::CertificateSkipped`](crate::EventCode::CertificateSkipped). `SSL_CERT_FILE` replaces the Mozilla roots.
    pub ca_file: Option<PathBuf>,

    #[serde(skip)]
    #[default(Network::read(&Environment::new(&variable)))]
    pub(crate) network: Network,
    #[serde(skip)]
    pub(crate) any_address: bool,
    #[serde(skip)]
    pub(crate) hooks: Hooks,
    #[serde(skip)]
    pub(crate) outbound: Option<Outbound>,
    #[serde(skip)]
    pub(crate) runtime: Option<Handle>,
    #[serde(skip, default = "Clock::system")]
    #[default(Clock::system())]
    pub(crate) clock: Clock,
    #[serde(skip, default = "Random::system")]
    #[default(Random::system())]
    pub(crate) random: Random,
}

impl Config {
    /// Creates a configuration with this public URL and one provider.
    pub fn new(public_url: impl Into<String>, provider: ProviderConfig) -> Self {
        Self { public_url: public_url.into(), provider, ..Self::default() }
    }

    setters! {
        into public_url, base_path, cookie_name: String;
        value mode: Mode;
        value provider: ProviderConfig;
        list session_secrets: Secret;
        value idle_lifetime, absolute_lifetime, visitor_lifetime, login_lifetime, max_staleness: Duration;
        some revalidate_every: Duration;
        number max_sessions_per_user: usize;
        value max_cookie_bytes: usize;
        value login_grant_lifetime: GrantLifetime;
        value frontchannel_logout: bool;
        some post_logout_url, mounted_at: String;
        list admins, admin_subjects, admin_roles, trusted_origins, development_hosts, shared_paths: String;
        some api: Api;
        some ca_file: PathBuf;
        /// Adds a provider after the first one.
        add add_provider to more_providers: ProviderConfig;
        /// Adds an API for the tokens of a login at the first provider. See [`ProviderConfig::resource`].
        add resource to provider.resources: Resource;
        /// Adds a connection at the first provider. See [`ProviderConfig::connection`].
        add connection to provider.connections: Connection;
        /// Sets another clock than the system's, for tests.
        value clock: Clock;
        /// Sets another source of randomness than the operating system, for tests.
        value random: Random;
        /// Sets a hook that is called at every event, in the task where the event happens: it must not block.
        ///
        /// ```
        /// use tower_oidc::{Config, EventCode};
        ///
        /// # fn alert(_: &tower_oidc::Event) {}
        /// # fn configured(config: Config) -> Config {
        /// config.on_event(|event| match event.code {
        ///     EventCode::NeedsOperator | EventCode::StoreFailed => alert(event),
        ///     _ => {}
        /// })
        /// # }
        /// ```
        with on_event to hooks.events.hook: ([] hook: impl Fn(&Event) + Send + Sync + 'static => hook);
        /// Sets the response to a request that needs a signed-in user and has none: any response of axum's, or a
        /// `Response<Bytes>` ([`HookResponse`]). The default is [`Unauthenticated::answer`].
        ///
        /// ```
        /// # #[cfg(feature = "axum")] {
        /// use axum::Json;
        /// use axum::response::{IntoResponse, Redirect};
        /// use http::StatusCode;
        /// use serde_json::json;
        /// use tower_oidc::Config;
        ///
        /// # fn configured(config: Config) -> Config {
        /// config.on_unauthenticated(|request| match request.navigation {
        ///     true => Redirect::to(&request.login_url).into_response(),
        ///     // Scripts get what the application's own ones expect.
        ///     false => (StatusCode::UNAUTHORIZED, Json(json!({ "login": request.login_url }))).into_response(),
        /// })
        /// # }
        /// # }
        /// ```
        with on_unauthenticated to hooks.unauthenticated: (
            [R: HookResponse<Kind>, Kind]
            hook: impl Fn(&Unauthenticated) -> R + Send + Sync + 'static => move |request| hook(request).into_bytes()
        );
        /// Sets the page on which a user chooses one of several providers: any response of axum's, or a `Response<Bytes>`
        /// ([`HookResponse`]). The default is [`ProviderChoice::page`].
        ///
        /// ```
        /// use bytes::Bytes;
        /// use http::Response;
        /// use tower_oidc::Config;
        ///
        /// # fn escape(text: &str) -> String { text.to_owned() }
        /// # fn configured(config: Config) -> Config {
        /// config.on_choose_provider(|choices| {
        ///     let link = |(url, name)| format!("<a href=\"{url}\">{name}</a>");
        ///     let links = choices.iter().map(|choice| link((escape(&choice.login_url), escape(&choice.display_name))));
        ///     let page = format!("<h1>Sign in</h1>{}", links.collect::<String>());
        ///     let mut answer = Response::new(Bytes::from(page));
        ///     answer.headers_mut().insert("content-type", http::HeaderValue::from_static("text/html; charset=utf-8"));
        ///     answer
        /// })
        /// # }
        /// ```
        with on_choose_provider to hooks.choose: (
            [R: HookResponse<Kind>, Kind]
            hook: impl Fn(&[ProviderChoice]) -> R + Send + Sync + 'static => move |choices| hook(choices).into_bytes()
        );
        /// Sets a hook that runs before a user is signed in: it can deny the login, add claims, limit the lifetime of the
        /// session, and call APIs as the user ([`VerifiedLogin::call`]).
        ///
        /// It runs after the tokens were verified and before anything is stored. If it panics, or the whole callback takes
        /// longer than 20 seconds, the login fails.
        ///
        /// ```
        /// use serde_json::json;
        /// use tower_oidc::{Config, LoginDecision};
        ///
        /// # fn configured(config: Config) -> Config {
        /// config.on_login(|login| async move {
        ///     match login.claims.get("email").and_then(|email| email.as_str()) {
        ///         Some(email) if email.ends_with("@example.com") => {
        ///             let claims = json!({ "staff": true });
        ///             LoginDecision::AllowWith(claims.as_object().cloned().unwrap_or_default())
        ///         }
        ///         _ => LoginDecision::Deny("This application is for employees.".to_owned()),
        ///     }
        /// })
        /// # }
        /// ```
        with on_login to hooks.login: (
            [Fut: Future<Output = LoginDecision> + Send + 'static]
            hook: impl Fn(VerifiedLogin) -> Fut + Send + Sync + 'static => move |login| Box::pin(hook(login))
        );
        /// Sets a hook that runs before a user's access token is accepted, with the token's claims: the decision that
        /// [`Config::on_login`] makes for logins, which then must be made for tokens too. It counts for the token for up to
        /// five minutes.
        with on_bearer to hooks.bearer: (
            [Fut: Future<Output = LoginDecision> + Send + 'static]
            hook: impl Fn(VerifiedLogin) -> Fut + Send + Sync + 'static => move |login| Box::pin(hook(login))
        );
        /// Runs the work that goes on when its request has ended, such as the refresh of a grant, on this runtime, in place
        /// of that of the request. It must live as long as the layer.
        ///
        /// An application whose workers each have a runtime with one thread needs it: a worker that stands still would hold a
        /// refresh for which requests at the other workers wait.
        ///
        /// ```no_run
        /// # fn configured(config: tower_oidc::Config) -> std::io::Result<tower_oidc::Config> {
        /// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        /// let config = config.runtime(runtime.handle().clone());
        /// // The runtime ends when it is dropped.
        /// std::mem::forget(runtime);
        /// # Ok(config)
        /// # }
        /// ```
        number runtime: Handle;
    }

    pub(crate) fn providers(&self) -> impl Iterator<Item = &ProviderConfig> {
        std::iter::once(&self.provider).chain(&self.more_providers)
    }

    /// The connections of all providers.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.providers().flat_map(|provider| &provider.connections)
    }

    /// Sets the proxy for https requests to providers and APIs, such as `http://proxy.example.org:3128`, in place of
    /// `HTTPS_PROXY`; `None` is no proxy. A tunnel leads through it (`CONNECT`), so that it reads nothing. Hosts of
    /// `NO_PROXY` (names with their subdomains, addresses, networks), loopback and plain http are reached without it.
    ///
    /// The environment is read when the configuration is made. Not used with [`Config::http_client`].
    #[must_use]
    pub fn proxy(mut self, url: Option<&str>) -> Self {
        self.network.https_proxy = url.map(Secret::from);
        self
    }

    /// Sends all requests to providers and APIs through this service, in place of the default client. It must not
    /// follow redirects. The body of a request is sent whole, at most 16 MiB; that of a response may be a stream.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use tower::service_fn;
    /// use tower_oidc::Config;
    ///
    /// # fn configured(config: Config) -> Result<Config, reqwest::Error> {
    /// let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    /// let config = config.http_client(service_fn(move |request: Request<Bytes>| {
    ///     let client = client.clone();
    ///     async move {
    ///         let response = client.execute(request.try_into()?).await?;
    ///         Ok::<_, reqwest::Error>(Response::<reqwest::Body>::from(response))
    ///     }
    /// }));
    /// # Ok(config)
    /// # }
    /// ```
    #[must_use]
    pub fn http_client<S, R>(mut self, client: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<R>, Error: Into<BoxError>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        R: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.outbound = Some(Outbound::new(BoxCloneSyncService::new(service_fn(move |request: Request<ApiBody>| {
            let client = client.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = Limited::new(body, API_BODY).collect().await?.to_bytes();
                let response = client.oneshot(Request::from_parts(head, body)).await.map_err(Into::into)?;
                Ok(response.map(ApiBody::stream))
            }
        }))));
        self
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

fn maybe_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(Duration::from_secs))
}

opaque!(Hooks, |hooks| login = hooks.login.is_some());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ConfigError;
    use crate::protocol::authorization::{PushedAuthorizationRequests, ResponseMode};
    use crate::protocol::token::ClientAuthMethod;
    use crate::protocol::user_info::FetchUserInfo;

    fn from(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_env_with(|name| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        })
    }

    /// The development provider is never a default.
    #[test]
    fn an_empty_environment_is_an_error_that_says_what_to_set() {
        let refused = from(&[]).unwrap_err().to_string();
        for remedy in ["OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_ISSUER=development"] {
            assert!(refused.contains(remedy), "{refused}");
        }
        assert!(from(&[("BIND", "127.0.0.1:4000"), ("PUBLIC_URL", "http://localhost:4000")]).is_err());
        let config = from(&[("OIDC_ISSUER", "development"), ("BIND", "127.0.0.1:4000")]).unwrap();
        assert_eq!(config.public_url, "http://localhost:4000");
        assert!(config.is_development());
        let real = [("OIDC_ISSUER", "https://op.test"), ("BIND", "/run/app.sock")];
        assert!(from(&real).is_ok(), "the application's own affair");
    }

    #[test]
    fn the_public_url_follows_the_bound_address_unless_it_is_set() {
        let config = from(&[("OIDC_ISSUER", "development"), ("BIND", "0.0.0.0:80")]).unwrap();
        assert_eq!(config.bind(([127, 0, 0, 1], 4000)).public_url, "http://localhost:4000");
        let set = [("OIDC_ISSUER", "development"), ("PUBLIC_URL", "http://127.0.0.1:1/app")];
        assert_eq!(from(&set).unwrap().bind(([127, 0, 0, 1], 4000)).public_url, "http://127.0.0.1:1/app");
    }

    #[test]
    fn each_setting_of_a_provider_has_a_variable() {
        let set = |prefix: &str| {
            let variable = |end: &str| format!("{prefix}_{end}");
            [
                ("ISSUER", if prefix == "OIDC" { "https://op.test" } else { "https://home.test" }),
                ("CLIENT_ID", "app"),
                ("INTERNAL_URL", "https://op.internal"),
                ("CLIENT_AUTH_METHOD", "client_secret_post"),
                ("FETCH_USER_INFO", "when-needed"),
                ("TRUSTED_AUDIENCES", "a, b"),
                ("LOGIN_PARAMETERS", "ui_locales,claims"),
                ("PUSHED_AUTHORIZATION_REQUESTS", "always"),
                ("ID_TOKEN_SIGNED_RESPONSE_ALG", "ES256"),
                ("API_NAMING", "scope"),
                ("USERINFO_SIGNED_RESPONSE_ALG", "PS256"),
                ("LOGOUT_URL", "https://op.test/out"),
                ("ANY_AUDIENCE_WITH_AZP", "true"),
            ]
            .map(|(end, value)| (variable(end), value))
        };
        let variables: Vec<_> = set("OIDC").into_iter().chain(set("OIDC_AT_HOME")).collect();
        let more = [("OIDC_PROVIDERS", "at-home"), ("SESSION_COOKIE_NAME", "shop"), ("FRONTCHANNEL_LOGOUT", "true")];
        let named = variables.iter().map(|(name, value)| (name.as_str(), *value));
        let all: Vec<_> = named.chain(more).collect();
        let config = from(&all).unwrap();
        for provider in [&config.provider, &config.more_providers[0]] {
            assert_eq!(provider.client_auth, Some(ClientAuthMethod::ClientSecretPost));
            assert_eq!(provider.internal_url.as_deref(), Some("https://op.internal"));
            assert_eq!(provider.fetch_user_info, FetchUserInfo::WhenNeeded);
            assert_eq!(provider.login_parameters, ["ui_locales", "claims"]);
            assert_eq!(provider.trusted_audiences, ["a", "b"]);
            assert_eq!(provider.pushed_authorization_requests, PushedAuthorizationRequests::Always);
            assert_eq!(provider.id_token_signed_response_alg.as_deref(), Some("ES256"));
            assert_eq!(
                (provider.logout_url.as_deref(), provider.any_audience_with_azp),
                (Some("https://op.test/out"), true)
            );
            assert_eq!(provider.api_naming, crate::protocol::ApiNaming::Scope);
            assert_eq!(provider.userinfo_signed_response_alg.as_deref(), Some("PS256"));
        }
        assert_eq!((config.cookie_name.as_str(), config.frontchannel_logout), ("shop", true));
        for (name, wrong) in [("OIDC_FETCH_USER_INFO", "soon"), ("FRONTCHANNEL_LOGOUT", "1"), ("OIDC_LOGIN", "no")] {
            let refused = from(&[("OIDC_ISSUER", "https://op.test"), (name, wrong)]).unwrap_err().to_string();
            assert!(refused.contains(&format!("{name} is {wrong:?}: use ")), "{refused}");
        }
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
        assert_eq!(config.provider.issuer, "https://op.test");
        assert_eq!(config.provider.scopes, ["openid", "groups"]);
        assert_eq!(config.session_secrets, ["first-secret", "second"].map(Secret::from));
        assert_eq!(config.admins, ["a@x.test", "b@x.test"]);
        assert_eq!(config.provider.response_mode, ResponseMode::FormPost);
        assert!(!format!("{config:?}").contains("first-secret"));
    }

    #[test]
    fn more_providers_are_read_by_name() {
        let work = [
            ("OIDC_PROVIDERS", "work, at-home"),
            ("OIDC_WORK_ISSUER", "https://work.test"),
            ("OIDC_WORK_CLIENT_ID", "w"),
            ("OIDC_WORK_CLIENT_SECRET", "ws"),
            ("OIDC_WORK_DISPLAY_NAME", "Work"),
            ("OIDC_AT_HOME_ISSUER", "https://home.test"),
            ("OIDC_AT_HOME_CLIENT_ID", "h"),
            ("OIDC_AT_HOME_LOGIN", "false"),
            ("OIDC_AT_HOME_RESPONSE_MODE", "form_post"),
            ("OIDC_SCOPES", "openid groups"),
        ];
        let config = from(&work).unwrap();
        let first = &config.provider;
        assert_eq!((first.name.as_str(), first.issuer.as_str()), ("work", "https://work.test"));
        assert_eq!((first.client_id.as_str(), &first.client_secret), ("w", &Some("ws".into())));
        assert_eq!(first.display_name.as_deref(), Some("Work"));
        let [home] = config.more_providers.as_slice() else { panic!("{:?}", config.more_providers) };
        assert_eq!((home.name.as_str(), home.login, home.client_secret.is_none()), ("at-home", false, true));
        assert_eq!((home.response_mode, &home.scopes), (ResponseMode::FormPost, &first.scopes));

        let beside = from(&[&work[..], &[("OIDC_ISSUER", "https://op.test"), ("OIDC_CLIENT_ID", "c")]].concat());
        let beside = beside.unwrap();
        let names: Vec<_> = beside.more_providers.iter().map(|provider| provider.name.as_str()).collect();
        assert_eq!((beside.provider.name.as_str(), names), ("default", vec!["work", "at-home"]));
    }

    #[test]
    fn what_is_missing_of_a_provider_is_named() {
        let refused = |variables: &[(&str, &str)]| from(variables).unwrap_err().problems().join("\n");
        let nothing = refused(&[("OIDC_PROVIDERS", "work")]);
        assert!(nothing.contains("OIDC_WORK_ISSUER") && nothing.contains("OIDC_WORK_CLIENT_ID"), "{nothing}");
        let whole = [("OIDC_PROVIDERS", "work"), ("OIDC_WORK_ISSUER", "https://w.test"), ("OIDC_WORK_CLIENT_ID", "w")];
        let with = |more: (&'static str, &'static str)| refused(&[&whole[..], &[more]].concat());
        assert!(from(&whole).is_ok());
        assert!(with(("OIDC_WORK_LOGIN", "no")).contains("OIDC_WORK_LOGIN"));
        assert!(with(("OIDC_WORK_RESPONSE_MODE", "fragment")).contains("OIDC_WORK_RESPONSE_MODE"));
        assert!(with(("OIDC_CLIENT_ID", "left over")).contains("OIDC_ISSUER"));
        assert!(with(("OIDC_CLIENT_SECRET", "left over")).contains("OIDC_ISSUER"));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = from(&[
            ("OIDC_ISSUER", "https://op.test"),
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
            r#"{"idle_lifetime":60,"provider":{"client_id":"c","resources":[{"name":"a","url_prefixes":["https://a.test"]}]}}"#,
        );
        let config = config.unwrap();
        assert_eq!((config.idle_lifetime, config.provider.resources.len()), (Duration::from_secs(60), 1));
        assert!(read(r#"{"idlelifetime":60}"#).is_err());
        assert!(read(r#"{"provider":{"clientid":"c"}}"#).is_err());
        assert!(read(r#"{"provider":{"resources":[{"name":"a","url_prefixes":[],"scope":"x"}]}}"#).is_err());
    }

    /// A field that is left out has the value that `new` gives it.
    #[test]
    fn serde_needs_no_field_that_has_a_default() {
        let config: Config = serde_json::from_str(
            r#"{"provider":{"issuer":"https://op.test","client_id":"c"},
                "more_providers":[{"name":"work","issuer":"https://work.test","client_id":"w"}]}"#,
        )
        .unwrap();
        let written = Config::new(local_url(None), ProviderConfig::new("https://op.test", "c"))
            .add_provider(ProviderConfig::new("https://work.test", "w").name("work"));
        let plain = |config: &Config| format!("{:?} {:?}", config.provider, config.more_providers);
        assert_eq!(plain(&config), plain(&written));
        assert!(serde_json::from_str::<Connection>(r#"{"name":"mail"}"#).is_ok());
        assert!(serde_json::from_str::<Resource>(r#"{"name":"mail","url_prefixes":["https://a.test"]}"#).is_ok());
    }

    #[test]
    fn serde_and_the_environment_choose_the_mode() {
        let read = |mode: &str| serde_json::from_str::<Config>(&format!(r#"{{"mode":{mode}}}"#));
        let account = r#"{"single_user":{"source":{"refresh_token":"rt-secret"},"name":"robot"}}"#;
        let shown = |config: Config| format!("{:?}", config.mode);
        assert!(matches!(read(r#""per_user""#).unwrap().mode, Mode::PerUser));
        assert!(matches!(read(r#""stateless""#).unwrap().mode, Mode::Stateless));
        assert!(shown(read(account).unwrap()).contains("robot"));
        assert!(!shown(read(account).unwrap()).contains("rt-secret"));
        assert!(shown(read(r#"{"single_user":{"source":"admin"}}"#).unwrap()).contains("Admin"));
        for wrong in [r#""single_user""#, r#"{"single_user":{}}"#, r#""many""#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let from = |variables: &[(&str, &str)]| from(&[&[("OIDC_ISSUER", "development")], variables].concat());
        assert!(matches!(from(&[]).unwrap().mode, Mode::PerUser));
        assert!(matches!(from(&[("MODE", "per-user")]).unwrap().mode, Mode::PerUser));
        assert!(matches!(from(&[("MODE", "stateless")]).unwrap().mode, Mode::Stateless));
        let robot = [("MODE", "single-user"), ("ACCOUNT", "refresh-token"), ("ACCOUNT_REFRESH_TOKEN", "rt")];
        assert!(matches!(from(&robot).unwrap().mode, Mode::SingleUser(_)));
        for (wrong, named) in [
            (&[("MODE", "many")][..], "MODE"),
            (&[("MODE", "single-user"), ("ACCOUNT", "robot")], "ACCOUNT"),
            (&[("ACCOUNT", "operator")], "MODE"),
            (&[("MODE", "stateless"), ("ACCOUNT_REFRESH_TOKEN", "rt")], "MODE"),
        ] {
            assert!(from(wrong).unwrap_err().to_string().contains(named), "{wrong:?}");
        }
    }
}
