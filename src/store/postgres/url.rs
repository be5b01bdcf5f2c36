//! What a URL says. It holds a password: no error made here repeats a part of it.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::super::StoreError;

/// How long a connection may take that the URL sets no `connect_timeout` for. Callers wait five seconds.
const CONNECT: Duration = Duration::from_secs(2);
/// After how long an unanswered packet means that the server is gone.
const SILENCE: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How the server is reached.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: Tls,
}

/// Whether the server's certificate counts, and whose signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// `disable`, and `prefer`: what would accept no encryption gains nothing from a verified one.
    Unverified,
    /// `require`, `verify-ca`, `verify-full`: chain and name are verified.
    Verified { root_cert: Option<PathBuf> },
}

pub(super) fn parse(url: &str) -> Result<Address, StoreError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(StoreError::refused("PostgreSQL's URL must begin with postgres://"));
    }
    // A password that holds `@` would make its rest the host's name, which errors may repeat.
    let (place, query) = split_query(url);
    if place.matches('@').count() > 1 {
        return Err(StoreError::refused("PostgreSQL's URL has more than one @: percent-encode the password"));
    }
    let mut mode = None;
    let mut root_cert = None;
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => root_cert = Some(decoded(value)),
            _ => rest.push(parameter),
        }
    }
    let mut config: Config = format!("{place}?{}", rest.join("&"))
        .parse()
        .map_err(|_| StoreError::refused("PostgreSQL's URL cannot be read: percent-encode its parts"))?;
    if config.get_hosts().is_empty() {
        return Err(StoreError::refused("PostgreSQL's URL names no host"));
    }
    let tls = match mode.unwrap_or("prefer") {
        "disable" => {
            config.ssl_mode(SslMode::Disable);
            Tls::Unverified
        }
        "prefer" => {
            config.ssl_mode(SslMode::Prefer);
            Tls::Unverified
        }
        "require" | "verify-ca" | "verify-full" => {
            config.ssl_mode(SslMode::Require);
            Tls::Verified { root_cert: root_cert.take() }
        }
        _ => {
            return Err(StoreError::refused(
                "PostgreSQL's sslmode must be disable, prefer, require, verify-ca or verify-full",
            ));
        }
    };
    if root_cert.is_some() {
        return Err(StoreError::refused("PostgreSQL's sslrootcert needs sslmode=verify-full"));
    }
    complete(&mut config);
    Ok(Address { config, tls })
}

fn complete(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE);
    }
    if config.get_application_name().is_none() {
        config.application_name("tower-oidc");
    }
    config.keepalives_idle(KEEPALIVE);
}

/// The `?` that begins the query comes after the password's `@`, where there is one.
fn split_query(url: &str) -> (&str, &str) {
    let after_password = url.find('@').unwrap_or(0);
    match url[after_password..].find('?') {
        Some(at) => (&url[..after_password + at], &url[after_password + at + 1..]),
        None => (url, ""),
    }
}

fn decoded(value: &str) -> PathBuf {
    let pairs = format!("path={}", value.replace('+', "%2B"));
    let path = form_urlencoded::parse(pairs.as_bytes()).next();
    path.map(|(_, path)| PathBuf::from(path.as_ref())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn what_a_url_says() {
        let address = parse("postgres://ann:a%20p%40ss%2F%3F@db.test:6432/app?sslmode=disable").unwrap();
        assert_eq!(address.config.get_user(), Some("ann"));
        assert_eq!(address.config.get_password(), Some(&b"a p@ss/?"[..]));
        assert_eq!(address.config.get_dbname(), Some("app"));
        assert_eq!(address.config.get_ports(), [6432]);
        assert_eq!(address.config.get_ssl_mode(), SslMode::Disable);
        let verified = |path: &str| Tls::Verified { root_cert: Some(PathBuf::from(path)) };
        for (url, mode, tls) in [
            ("postgresql://db.test/app", SslMode::Prefer, Tls::Unverified),
            ("postgres://db.test/app?sslmode=prefer", SslMode::Prefer, Tls::Unverified),
            ("postgres://db.test?sslmode=require", SslMode::Require, Tls::Verified { root_cert: None }),
            ("postgres://db.test?sslmode=verify-ca", SslMode::Require, Tls::Verified { root_cert: None }),
            (
                "postgres://db.test?sslrootcert=%2Fetc%2Fa+b%20c.pem&sslmode=verify-full&application_name=x",
                SslMode::Require,
                verified("/etc/a+b c.pem"),
            ),
        ] {
            let address = parse(url).unwrap();
            assert_eq!((address.config.get_ssl_mode(), address.tls), (mode, tls), "{url}");
        }
        let address = parse("postgres://u:what?@db.test/app?connect_timeout=7").unwrap();
        assert_eq!(address.config.get_password(), Some(&b"what?"[..]), "as libpq reads it");
        assert_eq!(address.config.get_connect_timeout(), Some(&Duration::from_secs(7)), "the author's");
    }

    #[test]
    fn no_part_of_a_bad_url_is_repeated() {
        for url in [
            "mysql://u:hunter2@db/app",
            "hunter2",
            "postgres://u:hunter2",
            "postgres://u:hun@ter2@db/app",
            "postgres://u:hunter2@/app",
            "postgres://u:hunter2@db:hunter2/app",
            "postgres://u:hunter2@db/app?hunter2=1",
            "postgres://u:hunter2@db/app?hunter2",
            "postgres://u:hunter2@db/app?sslmode=hunter2",
            "postgres://u:hunter2@db/app?sslrootcert=hunter2",
            "postgres://u%ff:hunter2@db/app",
            "postgres://u:hunter2@[db/app",
        ] {
            let error = parse(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("ter2"), "{error:?}");
            assert!(error.source().is_none(), "{url}");
        }
    }
}
