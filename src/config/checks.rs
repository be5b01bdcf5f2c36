//! What cannot work in a mode, each with its remedy.

use super::Config;
use super::connection::{Connection, GrantLifetime};
use super::shared_account::{AccountSource, SharedAccount};
use crate::protocol::authorization::ResponseMode;

impl SharedAccount {
    /// What cannot work, each with its remedy.
    pub(crate) fn problems(&self, config: &Config, durable: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let name = self.name.as_bytes();
        if name.is_empty()
            || name.len() > 64
            || !name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        {
            problems.push(format!(
                "the account is called {:?}: use up to 64 letters, digits, -, _ and .",
                self.name
            ));
        }
        for connection in config.connections().filter(|connection| connection.single_use) {
            problems.push(format!(
                "connection {:?} is for one use, and the account is for everybody: remove single_use()",
                connection.name
            ));
        }
        match &self.source {
            AccountSource::ClientCredentials => check_client_credentials(config, &mut problems),
            AccountSource::RefreshToken(token) => {
                if token.expose_secret().is_empty() {
                    problems.push("the account's refresh token is empty (ACCOUNT_REFRESH_TOKEN)".to_owned());
                }
                for connection in config.connections() {
                    problems.push(format!(
                        "connection {:?} has no grant: the account's one refresh token serves the configuration's own \
                         resources; move its resources there, or use SharedAccount::connected_by_admin()",
                        connection.name
                    ));
                }
            }
            AccountSource::Admin => {
                if !durable && !self.allow_volatile_store {
                    problems.push(
                        "SharedAccount::connected_by_admin() is connected by hand, and the store forgets it at every \
                         restart: use a durable store, or allow it by allow_volatile_store()"
                            .to_owned(),
                    );
                }
                check_admins(config, &mut problems);
            }
        }
        problems
    }
}

fn check_client_credentials(config: &Config, problems: &mut Vec<String>) {
    if !config.provider.is_confidential() && !config.is_development() {
        problems.push(
            "SharedAccount::client_credentials() needs a client_secret (OIDC_CLIENT_SECRET), with which the \
             application proves itself"
                .to_owned(),
        );
    }
    for provider in config.more_providers.iter().filter(|provider| !provider.is_confidential()) {
        for connection in &provider.connections {
            problems.push(format!(
                "connection {:?} is at a provider without a client_secret, with which \
                 SharedAccount::client_credentials() proves itself there",
                connection.name
            ));
        }
    }
}

fn check_admins(config: &Config, problems: &mut Vec<String>) {
    let admins = !config.admins.is_empty() || !config.admin_subjects.is_empty();
    // The development provider's people say themselves whether they are admins.
    if !admins && config.admin_claim.is_none() && !config.is_development() {
        problems.push(
            "SharedAccount::connected_by_admin() is connected by an admin, and there is none: set admins (ADMINS), \
             admin_subjects or admin_claim"
                .to_owned(),
        );
    }
}

/// What cannot be carried, each with its remedy.
pub(crate) fn stateless_problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let mut kept = |what: &str| {
        problems.push(format!(
            "{what} keeps its grant until it is taken back, and in stateless mode nothing is kept once a person has \
             signed out: use GrantLifetime::Session, or OidcLayer::per_user with a store"
        ));
    };
    if config.login_grant_lifetime == GrantLifetime::Persistent {
        kept("login_grant_lifetime");
    }
    // What is for one use is kept nowhere anyway, and a visitor's grant is nobody's.
    let lasting = |one: &&Connection| one.grant_lifetime == GrantLifetime::Persistent && !one.single_use;
    for connection in config.connections().filter(lasting) {
        kept(&format!("connection {:?}", connection.name));
    }
    if config.max_cookie_bytes < LEAST {
        problems.push(format!(
            "max_cookie_bytes is {}, and no session fits into that: every login would fail. Use the default of {}, or what \
             the sizes in tower_oidc::docs::stateless ask for",
            config.max_cookie_bytes,
            6 * 1024
        ));
    }
    let mut modes = config.providers().map(|provider| provider.response_mode);
    if modes.any(|mode| mode == ResponseMode::FormPost) && config.connections().next().is_some() {
        problems.push(
            "response_mode is form_post, and in stateless mode connections need what the browser carries, which it \
             does not send with another site's form: use ResponseMode::Query"
                .to_owned(),
        );
    }
    if config.frontchannel_logout {
        problems.push(
            "frontchannel_logout is on, and in stateless mode whoever knows the address could fill the memory with names \
             of sessions: use back-channel logout"
                .to_owned(),
        );
    }
    problems
}

/// No session takes less, with the claims beside it: names of one letter, and a bare ID token signed with ES256.
pub(crate) const LEAST: usize = 512;
