//! The report that tells an operator what would fail when users come.

use std::fmt;

use serde::Serialize;

use crate::provider::connection::distinct;
use crate::provider::{RelyingParty, cause};
use crate::state::Runtime;

pub use crate::provider::check::{Finding, Severity};

/// The result of [`OidcLayer::check`](crate::OidcLayer::check): a line for each finding with `Display`, an object with
/// `Serialize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// A finding for each part of each provider, for the store, and for the cookies.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether no finding is an [`Error`](Severity::Error).
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|Finding { severity, subject, message }| {
            writeln!(f, "{:<8} {subject}: {message}", severity.name())
        })
    }
}

pub(crate) async fn check(runtime: &Runtime) -> CheckReport {
    let mut findings = Vec::new();
    for provider in runtime.providers.all() {
        let RelyingParty { id, issuer, redirect_uri, written, .. } = &provider.relying_party;
        let connections = runtime.settings.connections(*id);
        let own = connections.all.iter().filter(|connection| connection.provider == *id);
        let asked = own.chain(&connections.sign_in).flat_map(|connection| &connection.scopes);
        // An API that the provider knows by a name of its own need not have its scopes among the provider's.
        let apis = connections.all.iter().flat_map(|connection| connections.resources.of(&connection.name));
        let of_apis = distinct(apis.filter(|api| api.indicator.is_some()).flat_map(|api| &api.scopes));
        let failed = |error| {
            let (why, uri) = (cause(&error), format!("expected {redirect_uri} to be registered, exactly so"));
            let metadata = Severity::Error.says("metadata and keys", format!("{}: {why}", issuer.url));
            vec![metadata, Severity::Unknown.says("redirect URI", uri)]
        };
        let mut found = provider.check(&distinct(asked), &of_apis).await.unwrap_or_else(failed);
        found.iter_mut().for_each(|one| one.subject = format!("{}: {}", written.name, one.subject));
        findings.extend(found);
    }
    findings.extend([store(runtime).await, cookies(runtime)]);
    CheckReport { findings }
}

async fn store(runtime: &Runtime) -> Finding {
    match runtime.records.try_out().await {
        Ok(true) if runtime.records.is_durable() => Severity::Ok.says("store", "a row was written and deleted"),
        Ok(true) => Severity::Warning.says("store", "it ends with this process, expected a durable store"),
        Ok(false) => Severity::Error.says("store", "it does not keep the contract of tower_oidc::store"),
        Err(error) => Severity::Error.says("store", cause(&error)),
    }
}

/// The longest header that most servers and proxies accept, in bytes.
const HEADER: usize = 8 * 1024;

fn cookies(runtime: &Runtime) -> Finding {
    // Where the server keeps sessions, browsers have a session's id.
    let bytes = runtime.most_carried().max(runtime.settings.session_cookie.len() + "=".len() + 43);
    let severity = if bytes < HEADER { Severity::Ok } else { Severity::Warning };
    let limit = format!("servers and proxies take {HEADER} unless they are told otherwise (max_cookie_bytes)");
    severity.says("cookies", format!("at most {bytes} bytes in a request: {limit}"))
}
