//! Problems of a configuration in a mode, each with its remedy.

use super::Config;
use super::connection::{Connection, GrantLifetime};
use super::shared_account::{AccountSource, SharedAccount};
use crate::protocol::ResponseMode;

impl SharedAccount {
    /// Checks a configuration with this account.
    pub(crate) fn check(&self, config: &Config, durable: bool, problems: &mut Vec<String>) {
        let name = &self.name;
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            problems.push(format!("the account's name {name:?} is invalid: use up to 64 letters, digits, -, _ and ."));
        }
        for Connection { name, .. } in config.connections().filter(|connection| connection.single_use) {
            problems.push(format!(
                "connection {name:?} is for one use, but the shared account serves all requests: remove single_use()"
            ));
        }
        match &self.source {
            AccountSource::ClientCredentials => check_client_credentials(config, problems),
            AccountSource::RefreshToken(token) => {
                if token.expose_secret().is_empty() {
                    problems.push("the account's refresh token is empty (ACCOUNT_REFRESH_TOKEN)".to_owned());
                }
                for Connection { name, .. } in config.connections() {
                    problems.push(format!(
                        "connection {name:?} has no grant: the account's one refresh token serves the configuration's own \
                         resources; move its resources there, or use SharedAccount::connected_by_admin()"
                    ));
                }
            }
            AccountSource::Admin => {
                if !durable && !self.allow_volatile_store {
                    let why = "SharedAccount::connected_by_admin() is connected by hand, and the store loses it at every \
                               restart: use a durable store, or call allow_volatile_store()";
                    problems.push(why.to_owned());
                }
                check_admins(config, problems);
            }
        }
    }
}

fn check_client_credentials(config: &Config, problems: &mut Vec<String>) {
    if !config.provider.has_client_credentials() && !config.is_development() {
        let why = "SharedAccount::client_credentials() needs a client_secret or a private key: set it (OIDC_CLIENT_SECRET, \
                   OIDC_PRIVATE_KEY_FILE)";
        problems.push(why.to_owned());
    }
    let public = config.more_providers.iter().filter(|provider| !provider.has_client_credentials());
    for Connection { name, .. } in public.flat_map(|provider| &provider.connections) {
        problems.push(format!(
            "connection {name:?} is at a provider without a client_secret: set it, because \
             SharedAccount::client_credentials() needs one"
        ));
    }
}

fn check_admins(config: &Config, problems: &mut Vec<String>) {
    let admins = [&config.admins, &config.admin_subjects, &config.admin_roles].iter().any(|rules| !rules.is_empty());
    // The development provider's people say themselves whether they are admins.
    if !admins && !config.is_development() {
        let why = "SharedAccount::connected_by_admin() needs an admin, and no user is one: set admins (ADMINS), \
                   admin_subjects or admin_roles (ADMIN_ROLES)";
        problems.push(why.to_owned());
    }
}

/// Checks a configuration in stateless mode.
pub(crate) fn stateless(config: &Config, problems: &mut Vec<String>) {
    let mut kept = |what: &str| {
        problems.push(format!(
            "{what} has GrantLifetime::Persistent, but stateless mode keeps no grant after logout: use \
             GrantLifetime::Session, or OidcLayer::per_user with a store"
        ));
    };
    if config.login_grant_lifetime == GrantLifetime::Persistent {
        kept("login_grant_lifetime");
    }
    // What is for one use is kept nowhere anyway, and a visitor's grant is nobody's.
    let lasting = |one: &&Connection| one.grant_lifetime == GrantLifetime::Persistent && !one.single_use;
    for Connection { name, .. } in config.connections().filter(lasting) {
        kept(&format!("connection {name:?}"));
    }
    if config.max_sessions_per_user.is_some() {
        let why = "max_sessions_per_user is set, but in stateless mode nobody can count sessions: remove it, or use \
                   OidcLayer::per_user with a store";
        problems.push(why.to_owned());
    }
    let most = config.max_cookie_bytes;
    if most < LEAST {
        problems.push(format!(
            "max_cookie_bytes is {most}, which is too small for any session: use the default of 6144, or a size from the \
             table in tower_oidc::docs::stateless"
        ));
    }
    let mut modes = config.providers().map(|provider| provider.response_mode);
    if modes.any(|mode| mode == ResponseMode::FormPost) && config.connections().next().is_some() {
        let why = "response_mode is form_post, but in stateless mode connections need cookies, which browsers do not send with \
                   a form of another site: use ResponseMode::Query";
        problems.push(why.to_owned());
    }
    if config.frontchannel_logout {
        let why = "frontchannel_logout is on, but in stateless mode anyone who knows its address could fill the store with \
                   names of sessions: use back-channel logout";
        problems.push(why.to_owned());
    }
}

/// No session takes less, with the claims beside it: names of one letter, and a bare ID token signed with ES256.
pub(crate) const LEAST: usize = 512;
