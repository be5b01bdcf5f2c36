//! The checked [`Config`], with which the layer works.

use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::Config;
use super::admins::Admins;
use super::api::CheckedApi;
use super::connection::{Connection, GrantLifetime};
use super::connections::CheckedConnections;
use super::destination::Destination;
use super::registrations::written;
use crate::cookie::CookiePolicy;
use crate::error::{ConfigError, DestinationError};
use crate::html::encoded;
use crate::peer::LocalOnly;
use crate::protocol::metadata::is_secure;
use crate::protocol::{Decision, Facts, Origins, Target};
use crate::provider::{ProviderId, RelyingParty};
use crate::records::grant::encode;
use crate::records::{KeyRing, MIN_SECRET};
use crate::secret::{Secret, derefs};

/// A checked configuration. What needs no other form is read as it was written.
pub(crate) struct Settings {
    written: Config,
    pub(crate) public_url: Url,
    /// The public URL, as a destination.
    pub(crate) home: Destination,
    /// The public URL's path without its last slash: empty, or `/mount`.
    mount: String,
    /// The path with which the paths of pages begin: the mount, and the path of a router that nests the layer.
    pages: String,
    /// The path of the endpoints with the mount: `/mount/auth`.
    mounted_base: String,
    pub(crate) relying_parties: Vec<RelyingParty>,
    /// The connections that users may grant, by the provider at which they signed in.
    pub(crate) connections: Vec<CheckedConnections>,
    pub(crate) cookies: CookiePolicy,
    pub(crate) session_cookie: String,
    pub(crate) admins: Admins,
    pub(crate) api: Option<CheckedApi>,
    pub(crate) post_logout_url: Url,
    origins: Origins,
    /// Where the public URL is this machine's: what is answered.
    pub(crate) local: Option<LocalOnly>,
}

derefs!(Settings => written: Config);

/// The claims by which somebody is let in or is an admin.
fn decisive_claims(config: &Config) -> Vec<String> {
    let by_email = !config.admins.is_empty() || config.hooks.login.is_some() || config.hooks.bearer.is_some();
    ["email", "email_verified"].into_iter().filter(|_| by_email).map(str::to_owned).collect()
}

impl Settings {
    /// Checks everything and reports every problem at once.
    pub(crate) fn check(config: &Config, durable: bool) -> Result<(Self, KeyRing, bool), ConfigError> {
        let mut problems = Vec::new();
        let public_url = public_url(&config.public_url, &mut problems);
        let home = Destination::parse("", &public_url);
        let origin = public_url.origin().ascii_serialization();
        let mount = public_url.path().trim_end_matches('/').to_owned();
        let base = &config.base_path;
        names(config, &mut problems);
        lifetimes(config, &mut problems);
        let post_logout_url = post_logout_url(config, &public_url, &mut problems);
        let trusted = trusted_origins(config, &mut problems);
        let local = local_only(config, &public_url, &mut problems);
        let providers = written(config, &public_url, &mut problems);
        let callback = format!("{origin}{mount}{base}/callback");
        let mut relying_parties = RelyingParty::check(&providers, &public_url, &callback, &mut problems);
        relying_parties.iter_mut().for_each(|one| one.decisive = decisive_claims(config));
        let connections = CheckedConnections::check(&providers, config, &mut problems);
        let admins = Admins::check(config, &relying_parties, &mut problems);
        let api = CheckedApi::check(config, &public_url, &relying_parties, &mut problems);
        let (secrets, made_up) = secrets(config, &relying_parties, durable, &mut problems);
        config.mode.check(config, durable, &mut problems);
        let Ok(home) = home else {
            problems.push(format!("public_url is {public_url}: its path is none that redirects can name"));
            return Err(ConfigError { problems });
        };
        ConfigError::check(problems)?;
        let cookies = CookiePolicy::new(&config.cookie_name, public_url.scheme() == "https");
        let session_cookie = cookies.name("session");
        let application = encode(&[format!("{origin}{mount}").as_bytes(), session_cookie.as_bytes()]);
        let mut written = config.clone();
        written.session_secrets.clear();
        let settings = Self {
            session_cookie,
            public_url,
            home,
            mounted_base: format!("{mount}{base}"),
            pages: format!("{mount}{}", config.mounted_at.as_deref().unwrap_or_default()),
            mount,
            written,
            relying_parties,
            connections,
            cookies,
            admins,
            api,
            post_logout_url,
            origins: Origins { own: origin, trusted },
            local,
        };
        Ok((settings, KeyRing::new(&secrets, &application), made_up))
    }

    /// The connections that users may grant who signed in at this provider.
    pub(crate) fn connections(&self, signed_in_at: ProviderId) -> &CheckedConnections {
        &self.connections[signed_in_at.0]
    }

    /// Whether anything is granted without signing in.
    pub(crate) fn takes_visitors(&self) -> bool {
        self.connections(ProviderId::FIRST).all.iter().any(|connection| connection.visitors)
    }

    /// The path below the base path, for a request to one of the layer's endpoints: `login`, `callback`, ….
    ///
    /// A proxy may strip the mount or leave it.
    #[inline]
    pub(crate) fn endpoint<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = match path.strip_prefix(self.mounted_base.as_str()) {
            None if !self.mount.is_empty() => path.strip_prefix(self.base_path.as_str())?,
            rest => rest?,
        };
        rest.strip_prefix('/').or_else(|| rest.is_empty().then_some(""))
    }

    /// Whether the answer at a path is the same for everybody.
    #[inline]
    pub(crate) fn is_shared(&self, path: &str) -> bool {
        let path = || path.strip_prefix(self.mount.as_str()).unwrap_or(path);
        let rest = |shared: &String| path().strip_prefix(shared.as_str());
        self.shared_paths.iter().filter_map(rest).any(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path of one of the layer's endpoints, as browsers use it.
    pub(crate) fn path_to(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.mounted_base)
    }

    /// A request's path and query as browsers see it.
    pub(crate) fn public_path(&self, path_and_query: &str) -> String {
        let mounted = path_and_query
            .strip_prefix(self.pages.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        if mounted { path_and_query.to_owned() } else { format!("{}{path_and_query}", self.pages) }
    }

    /// A destination for a link on a page of ours. Where another site led there, it is no endpoint: the link would count as
    /// the application's own.
    pub(crate) fn linked(&self, destination: &Destination, own: bool) -> Destination {
        let resolved = self.public_url.join(destination.as_str());
        let is_endpoint = resolved.is_ok_and(|url| self.endpoint(url.path()).is_some());
        if is_endpoint && !own { self.home.clone() } else { destination.clone() }
    }

    pub(crate) fn destination(&self, given: &str) -> Result<Destination, DestinationError> {
        Destination::parse(given, &self.public_url)
    }

    /// The path that starts a login and ends at a destination.
    pub(crate) fn login_path(&self, destination: &Destination) -> String {
        format!("{}?return_to={}", self.path_to("login"), encoded(destination.as_str()))
    }

    /// Decides whether a request is forged.
    pub(crate) fn decide(&self, target: Target, facts: Facts, headers: &HeaderMap) -> Decision {
        self.origins.decide(target, facts, |name| headers.get(name).map(HeaderValue::as_bytes))
    }

    /// Why a request counts as forged.
    pub(crate) fn reason(&self, headers: &HeaderMap) -> String {
        self.origins.reason(|name| headers.get(name).map(HeaderValue::as_bytes))
    }
}

fn public_url(given: &str, problems: &mut Vec<String>) -> Url {
    let plain = |url: &Url| {
        url.query().is_none()
            && url.fragment().is_none()
            && !url.authority().contains('@')
            // Browsers take what begins with it for another host.
            && !url.path().contains("//")
    };
    match Url::parse(given) {
        Ok(url) if is_secure(&url) && plain(&url) => return url,
        Ok(url) if url.scheme() == "http" => problems.push(format!(
            "public_url is {given:?}: use https, because http would send cookies and codes unencrypted (http is for \
             loopback only)"
        )),
        _ => problems.push(format!(
            "public_url is {given:?}: use the https URL that browsers use, without a query and without // in its path"
        )),
    }
    // Stands in until the problems are reported.
    Url::parse("http://localhost").unwrap_or_else(|_| unreachable!("it is a URL"))
}

fn names(config: &Config, problems: &mut Vec<String>) {
    let (base, cookie) = (&config.base_path, &config.cookie_name);
    let valid = base.starts_with('/') && base.len() > 1 && !base.ends_with('/') && !base.contains("//");
    if !valid || !base.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b)) {
        problems.push(format!("base_path is {base:?}: use a path such as /auth, of letters, digits, - and _"));
    }
    let is_none = |path: &&String| !path.starts_with('/') || path.ends_with('/');
    for path in config.shared_paths.iter().chain(&config.mounted_at).filter(is_none) {
        problems.push(format!("shared_paths or mounted_at is {path:?}: use a path such as /static"));
    }
    if cookie.is_empty() || !cookie.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        problems.push(format!("cookie_name is {cookie:?}: use letters, digits, -, _ and ."));
    }
}

fn post_logout_url(config: &Config, public_url: &Url, problems: &mut Vec<String>) -> Url {
    let Some(given) = &config.post_logout_url else { return public_url.clone() };
    let path = Destination::parse(given, public_url).ok();
    path.and_then(|path| public_url.join(path.as_str()).ok()).unwrap_or_else(|| {
        problems.push(format!("post_logout_url is {given:?}: use a URL of the public origin"));
        public_url.clone()
    })
}

fn trusted_origins(config: &Config, problems: &mut Vec<String>) -> Vec<String> {
    let origin = |given: &String| match Url::parse(given) {
        Ok(url) if url.origin().is_tuple() && url.path() == "/" => Some(url.origin().ascii_serialization()),
        _ => {
            problems.push(format!("trusted_origins has {given:?}: use an origin such as https://www.example.org"));
            None
        }
    };
    config.trusted_origins.iter().filter_map(origin).collect()
}

/// `None` where the application is reached under any name: browsers check that of an https URL.
fn local_only(config: &Config, public_url: &Url, problems: &mut Vec<String>) -> Option<LocalOnly> {
    let host = |given: &String| match Authority::try_from(given.as_str()) {
        Ok(authority) if !given.contains('@') => Some(authority.host().to_owned()),
        _ => {
            problems.push(format!("development_hosts has {given:?}: use a host name such as laptop.example"));
            None
        }
    };
    let hosts = config.development_hosts.iter().filter_map(host).collect();
    let is_local = config.is_development() || public_url.scheme() == "http";
    (is_local && !config.any_address).then(|| LocalOnly { peers: config.is_development(), hosts })
}
const LONGEST_LIFETIME: Duration = Duration::from_secs(400 * 24 * 60 * 60);

fn lifetimes(config: &Config, problems: &mut Vec<String>) {
    if config.idle_lifetime.is_zero() || config.absolute_lifetime.is_zero() || config.login_lifetime.is_zero() {
        problems.push("a lifetime is zero: raise idle_, absolute_ or login_lifetime".to_owned());
    }
    let mut granted = config.connections().filter(|connection| connection.visitors);
    // Cookies count whole seconds.
    if config.visitor_lifetime < Duration::from_secs(1)
        && let Some(Connection { name, .. }) = granted.next()
    {
        problems.push(format!(
            "visitor_lifetime is less than a second, and connection {name:?} is for visitors: their grants would end at \
             once, and they would be redirected to grant access again and again. Use a longer one (the default is 30 \
             days), or remove allow_visitors()"
        ));
    }
    for (name, lifetime) in [
        ("idle_lifetime", config.idle_lifetime),
        ("absolute_lifetime", config.absolute_lifetime),
        ("visitor_lifetime", config.visitor_lifetime),
        ("login_lifetime", config.login_lifetime),
        ("max_staleness", config.max_staleness),
        ("revalidate_every", config.revalidate_every.unwrap_or_default()),
    ] {
        // Browsers keep no cookie for longer (RFC 6265bis section 5.5).
        if lifetime > LONGEST_LIFETIME {
            problems.push(format!("{name} is longer than 400 days: shorten it"));
        }
    }
    if config.max_sessions_per_user == Some(0) {
        problems.push("max_sessions_per_user is 0, with which nobody stays signed in: raise it".to_owned());
    }
    if config.revalidate_every.is_some_and(|every| every < Duration::from_secs(60)) {
        problems.push("revalidate_every is shorter than a minute: raise it".to_owned());
    }
    // A grant that several sessions share renews the claims of none.
    if config.revalidate_every.is_some() && config.login_grant_lifetime == GrantLifetime::Persistent {
        problems.push("revalidate_every needs GrantLifetime::Session as login_grant_lifetime".to_owned());
    }
    if config.idle_lifetime > config.absolute_lifetime {
        problems.push("idle_lifetime is longer than absolute_lifetime: shorten it".to_owned());
    }
}

/// The sealing secrets, and whether one was made up.
fn secrets(
    config: &Config, relying_parties: &[RelyingParty], durable: bool, problems: &mut Vec<String>,
) -> (Vec<Secret>, bool) {
    let secrets = &config.session_secrets;
    if secrets.is_empty() {
        if durable {
            problems.push(format!(
                "session_secrets is empty (SESSION_SECRET), and the store outlives this process: set a random secret \
                 of at least {MIN_SECRET} bytes"
            ));
        }
        return (vec![Secret::new(config.random.token())], true);
    }
    for (index, secret) in secrets.iter().enumerate() {
        let bytes = secret.expose_secret().as_bytes();
        let position = index + 1;
        if bytes.len() < MIN_SECRET {
            problems.push(format!(
                "session secret {position} is too short ({} bytes): use at least {MIN_SECRET} random bytes",
                bytes.len()
            ));
        } else if bytes.iter().collect::<std::collections::BTreeSet<_>>().len() < 8 {
            problems.push(format!("session secret {position} repeats a few characters: use random bytes"));
        }
        if secrets[..index].contains(secret) {
            problems.push(format!("session secret {position} is listed twice: remove one"));
        }
        if relying_parties.iter().any(|registered| registered.client_secret.as_ref() == Some(secret)) {
            problems.push(format!("session secret {position} is the client secret: use another secret"));
        }
    }
    (secrets.clone(), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::token::ClientAuthMethod;
    use crate::provider::provider_config::ProviderConfig;

    fn settings(edit: impl FnOnce(&mut Config)) -> Result<Settings, ConfigError> {
        let mut config =
            Config::new("https://app.test", ProviderConfig::new("https://op.test", "client").client_secret("secret"));
        edit(&mut config);
        Settings::check(&config, false).map(|(settings, _, _)| settings)
    }

    fn problem(edit: impl FnOnce(&mut Config)) -> String {
        settings(edit).err().expect("it is refused").to_string()
    }

    /// A moment that is out of reach is no moment to compare with.
    #[test]
    fn no_lifetime_is_longer_than_400_days() {
        let (longest, day) = (Duration::from_secs(400 * 24 * 60 * 60), Duration::from_secs(24 * 60 * 60));
        let edits: [(&str, fn(&mut Config, Duration)); 4] = [
            ("absolute_lifetime", |config, lifetime| config.absolute_lifetime = lifetime),
            ("visitor_lifetime", |config, lifetime| config.visitor_lifetime = lifetime),
            ("login_lifetime", |config, lifetime| config.login_lifetime = lifetime),
            ("max_staleness", |config, lifetime| config.max_staleness = lifetime),
        ];
        for (name, set) in edits {
            for too_long in [longest + Duration::from_secs(1), longest + day, Duration::MAX] {
                assert!(problem(|config| set(config, too_long)).contains(name), "{name}");
            }
            assert!(settings(|config| set(config, longest)).is_ok(), "{name}");
        }
        let idle = problem(|config| (config.idle_lifetime, config.absolute_lifetime) = (Duration::MAX, longest));
        assert!(idle.contains("idle_lifetime is longer than 400 days"), "{idle}");
    }

    /// Each is refused, by a message that names the field.
    #[test]
    fn unusable_configurations_are_refused_by_name() {
        assert!(settings(|_| ()).is_ok());
        assert!(problem(|c| c.public_url = "http://app.test".into()).contains("public_url"));
        for path in ["/?x", "//evil.test", "//evil.test/", "/mount//evil.test", "//", "/x/..//evil.test", "/%00"] {
            let public_url = format!("https://app.test{path}");
            assert!(problem(|c| c.public_url = public_url).contains("public_url"), "{path}");
        }
        assert!(problem(|c| c.provider.id_token_signed_response_alg = Some("HS256".into())).contains("RS256"));
        let user_info = problem(|c| c.provider.userinfo_signed_response_alg = Some("none".into()));
        assert!(user_info.contains("userinfo_signed_response_alg is \"none\" (OIDC_USERINFO_SIGNED_RESPONSE_ALG)"));
        assert!(problem(|c| c.provider.issuer = "http://op.test".into()).contains("issuer"));
        assert!(problem(|c| c.provider.issuer.clear()).contains("OIDC_ISSUER"));
        assert!(problem(|c| c.provider.client_id = String::new()).contains("client_id"));
        assert!(problem(|c| c.provider.client_secret = Some("".into())).contains("client_secret"));
        assert!(
            problem(|c| {
                c.provider.client_secret = None;
                c.provider.client_auth = Some(ClientAuthMethod::ClientSecretPost)
            })
            .contains("client_auth")
        );
        assert!(problem(|c| c.provider.scopes = vec!["email".into()]).contains("openid"));
        assert!(problem(|c| c.provider.scopes.push("a b".into())).contains("not a scope"));
        assert!(problem(|c| c.base_path = "auth/".into()).contains("base_path"));
        assert!(problem(|c| c.cookie_name = "a;b".into()).contains("cookie_name"));
        assert!(problem(|c| c.idle_lifetime = Duration::ZERO).contains("lifetime"));
        assert!(problem(|c| c.idle_lifetime = Duration::from_secs(u64::MAX)).contains("idle_lifetime"));
        assert!(problem(|c| c.trusted_origins = vec!["https://x.test/path".into()]).contains("trusted_origins"));
        assert!(problem(|c| c.development_hosts = vec!["a b".into()]).contains("development_hosts"));
        assert!(problem(|c| c.post_logout_url = Some("https://evil.test/".into())).contains("post_logout_url"));
        assert!(problem(|c| c.admins = vec!["root".into()]).contains("admins"));
        for reserved in ["state", "nonce", "redirect_uri", "code_challenge", "scope"] {
            assert!(
                problem(|c| c.provider.authorization_parameters = vec![(reserved.into(), "x".into())])
                    .contains(reserved)
            );
        }
    }

    #[test]
    fn weak_secrets_are_refused() {
        let strong = "0123456789abcdef0123456789abcdef";
        assert!(settings(|c| c.session_secrets = vec![strong.into()]).is_ok());
        assert!(problem(|c| c.session_secrets = vec!["short".into()]).contains("short"));
        assert!(problem(|c| c.session_secrets = vec!["ab".repeat(20).as_str().into()]).contains("repeats"));
        assert!(problem(|c| c.session_secrets = vec![strong.into(), strong.into()]).contains("twice"));
        assert!(
            problem(|c| {
                c.provider.client_secret = Some(strong.into());
                c.session_secrets = vec![strong.into()]
            })
            .contains("client")
        );
        let config =
            Config::new("https://app.test", ProviderConfig::new("https://op.test", "client").client_secret("secret"));
        let refused = Settings::check(&config, true).err().expect("a durable store needs a secret");
        assert!(refused.to_string().contains("SESSION_SECRET"));
        assert!(!refused.to_string().contains("secret\""));
    }

    #[test]
    fn all_problems_come_at_once() {
        let refused = settings(|c| {
            c.provider.client_id = String::new();
            c.provider.scopes.clear();
            c.base_path = String::new();
        });
        assert_eq!(refused.err().expect("it is refused").problems().len(), 3);
    }

    #[test]
    fn endpoints_are_found_with_and_without_the_mount() {
        let root = settings(|_| ()).unwrap_or_else(|e| panic!("{e}"));
        let mounted = settings(|c| c.public_url = "https://app.test/app/".into()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(root.endpoint("/auth/login"), Some("login"));
        assert_eq!(root.endpoint("/auth"), Some(""));
        assert_eq!(root.endpoint("/authx/login"), None);
        assert_eq!(root.endpoint("/x/auth/login"), None);
        assert_eq!(mounted.endpoint("/app/auth/login"), Some("login"));
        assert_eq!(mounted.endpoint("/auth/login"), Some("login"));
        assert_eq!(mounted.relying_parties[0].redirect_uri, "https://app.test/app/auth/callback");
        for (seen, public) in
            [("/app/x?y", "/app/x?y"), ("/x?y", "/app/x?y"), ("/app", "/app"), ("/apple", "/app/apple")]
        {
            assert_eq!(mounted.public_path(seen), public);
        }
    }
}
