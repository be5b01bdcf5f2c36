//! What a URL says. It holds a password: no error made here repeats a part of it.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::super::StoreError;
use super::pool::STEP;

/// After how long an unanswered packet means that the server is gone.
const SILENCE: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Whether the server's certificate counts, and whose signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// `disable`, and `prefer`: what would accept no encryption gains nothing from a verified one.
    Unverified,
    /// `require`, `verify-ca`, `verify-full`: chain and name are verified.
    Verified { root_cert: Option<PathBuf> },
}

/// A URL that was read.
pub(super) struct PostgresUrl {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// It leads to a pooler, where a connection to the server is had for one transaction (`pooler=transaction`).
    pub(super) is_pooler: bool,
    /// The URL of the server itself, for LISTEN.
    pub(super) listen: Option<String>,
}

/// Reads a URL.
pub(super) fn parse(url: &str) -> Result<PostgresUrl, StoreError> {
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
    let (mut is_pooler, mut listen) = (false, None);
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => root_cert = Some(PathBuf::from(decoded(value))),
            Some(("pooler", "transaction")) => is_pooler = true,
            Some(("pooler", _)) => {
                return Err(StoreError::refused("PostgreSQL's pooler must be `transaction`"));
            }
            Some(("listen", value)) => listen = Some(decoded(value)),
            _ => rest.push(parameter),
        }
    }
    let mut config: Config = format!("{place}?{}", rest.join("&"))
        .parse()
        .map_err(|_| StoreError::refused("PostgreSQL's URL cannot be read: percent-encode its parts"))?;
    if config.get_hosts().is_empty() {
        return Err(StoreError::refused("PostgreSQL's URL names no host"));
    }
    let (mode, tls) = match mode.unwrap_or("prefer") {
        "disable" => (SslMode::Disable, Tls::Unverified),
        "prefer" => (SslMode::Prefer, Tls::Unverified),
        "require" | "verify-ca" | "verify-full" => (SslMode::Require, Tls::Verified { root_cert: root_cert.take() }),
        _ => {
            return Err(StoreError::refused(
                "PostgreSQL's sslmode must be disable, prefer, require, verify-ca or verify-full",
            ));
        }
    };
    config.ssl_mode(mode);
    if root_cert.is_some() {
        return Err(StoreError::refused("PostgreSQL's sslrootcert needs sslmode=verify-full"));
    }
    if !rest.iter().any(|parameter| parameter.starts_with("target_session_attrs=")) {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    complete(&mut config);
    Ok(PostgresUrl { config, tls, is_pooler, listen })
}

fn complete(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        // Each host has its part, and the last one time to answer.
        let parts = u32::try_from(config.get_hosts().len() + 1).unwrap_or(u32::MAX);
        config.connect_timeout(STEP / parts);
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

fn decoded(value: &str) -> String {
    let pairs = format!("value={}", value.replace('+', "%2B"));
    let decoded = form_urlencoded::parse(pairs.as_bytes()).next();
    decoded.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::super::listen_server;
    use super::*;

    fn config(url: &str) -> Config {
        parse(url).unwrap().config
    }

    /// Neither parameter is one of `tokio-postgres`.
    #[test]
    fn a_pooler_is_named_and_so_is_the_server_behind_it() {
        let server = "postgres://u:a%20p%40ss@db.test:5432/app?sslmode=disable&application_name=a+b";
        let listen: String = form_urlencoded::byte_serialize(server.as_bytes()).collect();
        for (query, is_pooler, listen) in [
            ("?pooler=transaction", true, None),
            (&format!("?listen={listen}&pooler=transaction&sslmode=disable"), true, Some(server)),
            (&format!("?listen={listen}"), false, Some(server)),
            ("?application_name=pooler", false, None),
        ] {
            let url = parse(&format!("postgres://u@pooler.test:6432/app{query}")).unwrap();
            assert_eq!((url.is_pooler, url.listen.as_deref()), (is_pooler, listen), "{query}");
            assert_eq!(url.config.get_ports(), [6432], "{query}");
        }
        let (config, _) = listen_server(server).unwrap();
        assert_eq!((config.get_password(), config.get_ports()), (Some(&b"a p@ss"[..]), &[5432][..]));
        for mode in ["session", "statement", "", "Transaction", "true"] {
            let error = parse(&format!("postgres://u:hunter2@db.test/app?pooler={mode}")).err().expect(mode);
            assert!(error.to_string().contains("pooler must be `transaction`"), "{error}");
        }
        for server in ["", "db.test", "postgres://db.test/app?pooler=transaction", "postgres://u:hunter2@db/app?x=1"] {
            let error = listen_server(server).err().expect(server);
            assert!(error.to_string().contains("listen must be the URL of the server itself"), "{error}");
        }
    }

    #[test]
    fn what_a_url_says() {
        let config = config("postgres://ann:a%20p%40ss%2F%3F@db.test:6432/app?sslmode=disable");
        assert_eq!(config.get_user(), Some("ann"));
        assert_eq!(config.get_password(), Some(&b"a p@ss/?"[..]));
        assert_eq!(config.get_dbname(), Some("app"));
        assert_eq!(config.get_ports(), [6432]);
        assert_eq!(config.get_ssl_mode(), SslMode::Disable);
        let verified = |path: &str| Tls::Verified { root_cert: Some(PathBuf::from(path)) };
        for (url, mode, expected) in [
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
            let PostgresUrl { config, tls, is_pooler, listen } = parse(url).unwrap();
            assert!(!is_pooler && listen.is_none(), "{url}");
            assert_eq!((config.get_ssl_mode(), tls), (mode, expected), "{url}");
        }
        let PostgresUrl { config, .. } = parse("postgres://u:what?@db.test/app?connect_timeout=7").unwrap();
        assert_eq!(config.get_password(), Some(&b"what?"[..]), "as libpq reads it");
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)), "the author's");
    }

    #[test]
    fn connections_are_made_to_servers_that_take_writes_unless_the_url_says_otherwise() {
        for (query, wanted) in [
            ("", TargetSessionAttrs::ReadWrite),
            ("?application_name=target_session_attrs", TargetSessionAttrs::ReadWrite),
            ("?target_session_attrs=any", TargetSessionAttrs::Any),
            ("?sslmode=disable&target_session_attrs=read-only", TargetSessionAttrs::ReadOnly),
        ] {
            let config = config(&format!("postgres://db.test/app{query}"));
            assert_eq!(config.get_target_session_attrs(), wanted, "{query}");
        }
    }

    /// A host that swallows everything leaves time for the others.
    #[test]
    fn hosts_share_the_time_in_which_a_connection_is_made() {
        for (hosts, part) in [("db.test", 1000), ("db.test,db2.test", 666), ("a.test,b.test,c.test", 500)] {
            let config = config(&format!("postgres://{hosts}/app"));
            assert_eq!(config.get_connect_timeout().unwrap().as_millis(), part, "{hosts}");
        }
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
            let error = parse(url).err().expect(url);
            assert!(!format!("{error} {error:?}").contains("ter2"), "{error:?}");
            assert!(error.source().is_none(), "{url}");
        }
    }
}
