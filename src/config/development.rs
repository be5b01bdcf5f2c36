//! The development provider is for this machine only: `OIDC_ISSUER=development` enables it, and requests from other
//! machines are refused.

use std::net::SocketAddr;

use url::Url;

use super::Config;
use crate::peer::is_local;
use crate::protocol::metadata::is_loopback;
use crate::protocol::setters::setters;
use crate::protocol::{ClaimSource, RoleClaim};
use crate::provider::ProviderConfig;

/// The issuer that stands for the development provider.
const ISSUER: &str = "development";

/// The registration at the development provider.
pub(crate) const CLIENT: &str = "development";

impl Config {
    /// A configuration with the development provider, for an application that listens on this loopback address. Its
    /// public URL is `http://localhost:PORT` unless another one is set.
    ///
    /// Anyone can sign in there under any name, also as an administrator. A layer cannot be made if the address is not
    /// loopback, and it refuses requests whose `Host` is neither loopback nor one of [`Config::development_hosts`], or
    /// that come from another machine ([`PeerAddr`](crate::PeerAddr)).
    pub fn development(addr: impl Into<SocketAddr>) -> Self {
        Self::new(local_url(None), ProviderConfig::new(ISSUER, "")).bind(addr)
    }

    /// Sets the address on which the application listens, in place of `BIND`. Only the development provider needs it.
    #[must_use]
    pub fn bind(mut self, addr: impl Into<SocketAddr>) -> Self {
        let addr = Some(addr.into());
        if self.public_url == local_url(self.bind) {
            self.public_url = local_url(addr);
        }
        self.bind = addr;
        self
    }

    setters! {
        /// Allows the development provider at any address and under any `Host`: anyone who can reach the application can
        /// sign in as anyone, including administrators.
        set dangerously_allow_any_address to any_address: true;
    }

    pub(crate) fn is_development(&self) -> bool {
        self.provider.issuer == ISSUER
    }
}

/// Where an application that listens on this address is reached from this machine.
pub(crate) fn local_url(addr: Option<SocketAddr>) -> String {
    format!("http://localhost:{}", addr.map_or(3000, |addr| addr.port()))
}

/// Puts the development provider where its word stands, on this machine alone.
pub(crate) fn register(first: &mut ProviderConfig, config: &Config, public_url: &Url, problems: &mut Vec<String>) {
    if !config.provider.client_id.is_empty() {
        problems.push("the development provider takes no client_id: remove it (OIDC_CLIENT_ID)".to_owned());
    }
    if !config.any_address && !is_loopback(public_url) {
        problems.push(format!("public_url is {public_url}: the development provider is for loopback only"));
    }
    if !config.any_address && !config.bind.is_some_and(is_local) {
        let addr = config.bind.map_or("an unknown address".to_owned(), |addr| addr.to_string());
        problems.push(format!(
            "the application listens on {addr}, and anyone can sign in as anyone at the development provider: bind a \
             loopback address and set it (BIND=127.0.0.1:3000, Config::bind), or set the issuer (OIDC_ISSUER) of a \
             real provider"
        ));
    }
    let origin = public_url.origin().ascii_serialization();
    let mount = public_url.path().trim_end_matches('/');
    first.issuer = format!("{origin}{mount}{}/development", config.base_path);
    first.client_id = CLIENT.to_owned();
    first.roles.push(RoleClaim::new(ClaimSource::IdToken, "/roles"));
}
