//! `auth.check()`: what an operator finds out before users come.

use std::sync::Arc;

use serde_json::json;
use tower_oidc::store::{Key, MemoryStore, Record, Store, StoreFuture, Stored, Tag, Version};
use tower_oidc::{
    CheckReport, ClientAuthMethod, Config, Mode, OidcLayer, PushedAuthorizationRequests, Resource, Severity,
    SharedAccount, Timestamp,
};

use crate::support::app::{APP, App, OP, OP2, World, config};
use crate::support::database::Kind;
use crate::support::fault::Fault;
use crate::support::process::demo_checks;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::store::{Trouble, Verb};

/// When the clock of a world starts.
const START: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// A provider at which everything is as it must be.
fn set_up(op: &LyingProvider) {
    op.honest();
    op.register(CLIENT_ID, Some(CLIENT_SECRET));
    op.set(|settings| {
        (settings.date, settings.end_session) = (Some(START), true);
        settings.redirect_uris = vec![format!("{APP}/auth/callback")];
    });
}

fn severity(report: &CheckReport, subject: &str) -> Severity {
    let found = report.findings.iter().find(|finding| finding.subject == subject);
    found.unwrap_or_else(|| panic!("no {subject} in\n{report}")).severity
}

async fn check(layer: &OidcLayer) -> CheckReport {
    layer.check().await
}

#[tokio::test]
async fn a_healthy_application_has_nothing_wrong_in_every_mode() {
    let world = World::new();
    set_up(&world.op);
    for mode in [Mode::PerUser, Mode::Stateless, Mode::SingleUser(SharedAccount::client_credentials())] {
        let config = config(&world.net, &world.clock).mode(mode.clone());
        let layer = OidcLayer::from_config(config, MemoryStore::new()).unwrap();
        let report = check(&layer).await;
        assert!(report.is_ok(), "{mode:?}\n{report}");
        for finding in &report.findings {
            let expected = if finding.subject == "store" { Severity::Warning } else { Severity::Ok };
            assert_eq!(finding.severity, expected, "{mode:?}\n{report}");
        }
        let subjects: Vec<_> = report.findings.iter().map(|finding| finding.subject.as_str()).collect();
        let of_provider = [
            "metadata and keys",
            "token_endpoint_auth_methods_supported",
            "response_modes_supported",
            "code_challenge_methods_supported",
            "scopes_supported",
            "end_session_endpoint",
            "client authentication",
            "clock",
            "redirect URI",
        ];
        let expected = of_provider.map(|subject| format!("default: {subject}"));
        assert_eq!(subjects[..9], expected, "{report}");
        assert_eq!(subjects[9..], ["store", "cookies"], "{report}");
    }
}

/// Each lie of a provider, and the control before and after it.
#[tokio::test]
async fn what_is_wrong_at_the_provider_is_found() {
    let edited = |member: &'static str, value: serde_json::Value| {
        move |world: &World| {
            let value = value.clone();
            world.op.edit_discovery(move |document| drop(document.insert(member.to_owned(), value.clone())));
        }
    };
    let gone = |member: &'static str| {
        move |world: &World| world.op.edit_discovery(move |document| drop(document.remove(member)))
    };
    type Tell = Box<dyn Fn(&World)>;
    let lies: Vec<(&str, Tell, Severity, &str)> = vec![
        (
            "metadata and keys",
            Box::new(edited("issuer", json!("https://op.test/"))),
            Severity::Error,
            "names the issuer \"https://op.test/\", expected \"https://op.test\"",
        ),
        (
            "metadata and keys",
            Box::new(|w| w.op.edit_key_set(|set| drop(set.insert("keys".into(), json!([]))))),
            Severity::Error,
            "no key",
        ),
        (
            "metadata and keys",
            Box::new(|w| w.net.fault(OP, "/.well-known", Fault::Status(404))),
            Severity::Error,
            "404",
        ),
        (
            "metadata and keys",
            Box::new(|w| w.net.fault(OP, "/jwks", Fault::Refuse)),
            Severity::Error,
            "connection failed",
        ),
        (
            "token_endpoint_auth_methods_supported",
            Box::new(edited("token_endpoint_auth_methods_supported", json!(["private_key_jwt"]))),
            Severity::Warning,
            "client_secret_basic",
        ),
        (
            "token_endpoint_auth_methods_supported",
            Box::new(gone("token_endpoint_auth_methods_supported")),
            Severity::Unknown,
            "missing",
        ),
        (
            "response_modes_supported",
            Box::new(edited("response_modes_supported", json!(["form_post"]))),
            Severity::Warning,
            "query",
        ),
        (
            "code_challenge_methods_supported",
            Box::new(edited("code_challenge_methods_supported", json!(["plain"]))),
            Severity::Warning,
            "S256",
        ),
        (
            "scopes_supported",
            Box::new(edited("scopes_supported", json!(["openid", "email"]))),
            Severity::Warning,
            "profile",
        ),
        (
            "end_session_endpoint",
            Box::new(|w| w.op.set(|settings| settings.end_session = false)),
            Severity::Warning,
            "missing",
        ),
        (
            "client authentication",
            Box::new(|w| w.op.register(CLIENT_ID, Some("another"))),
            Severity::Error,
            "invalid_client",
        ),
        (
            "client authentication",
            Box::new(|w| w.net.fault(OP, "/token", Fault::Status(503))),
            Severity::Unknown,
            "503",
        ),
        (
            "client authentication",
            Box::new(|w| w.net.fault(OP, "/token", Fault::Refuse)),
            Severity::Error,
            "connection failed",
        ),
        (
            "clock",
            Box::new(|w| w.op.set(|settings| settings.date = Some("Thu, 01 Jan 2026 00:10:00 GMT"))),
            Severity::Error,
            "600 s behind",
        ),
        (
            "clock",
            Box::new(|w| w.op.set(|settings| settings.date = Some("Wed, 31 Dec 2025 23:58:00 GMT"))),
            Severity::Error,
            "120 s ahead",
        ),
        ("clock", Box::new(|w| w.op.set(|settings| settings.date = None)), Severity::Unknown, "no Date"),
        (
            "redirect URI",
            Box::new(|w| w.op.set(|settings| settings.redirect_uris = vec!["https://other.test/".to_owned()])),
            Severity::Error,
            "https://app.test/auth/callback",
        ),
        (
            "redirect URI",
            Box::new(|w| w.net.fault(OP, "/authorize", Fault::Redirect("https://sso.test/".to_owned()))),
            Severity::Unknown,
            "302",
        ),
        (
            "redirect URI",
            Box::new(|w| w.net.fault(OP, "/authorize", Fault::Refuse)),
            Severity::Unknown,
            "connection failed",
        ),
    ];
    let world = World::with(|mut config| {
        config.provider.client_auth = Some(ClientAuthMethod::ClientSecretBasic);
        config
    });
    for (subject, tell, expected, says) in lies {
        let subject = format!("default: {subject}");
        world.net.heal(OP);
        set_up(&world.op);
        let report = check(&world.app.layer).await;
        assert_eq!(severity(&report, &subject), Severity::Ok, "the control of {says}\n{report}");
        tell(&world);
        let report = check(&world.app.layer).await;
        assert_eq!(
            (severity(&report, &subject), report.is_ok()),
            (expected, expected != Severity::Error),
            "{says}\n{report}"
        );
        let finding = report.findings.iter().find(|finding| finding.subject == subject).unwrap();
        assert!(finding.message.contains(says), "{says}\n{report}");
        assert!(!report.to_string().contains("the app's secret"), "{report}");
    }
}

/// An API that the provider knows by a name has scopes of its own, which the provider need not list.
#[tokio::test]
async fn scopes_of_an_api_with_an_indicator_need_not_be_listed() {
    let files = Resource::new("files", "https://files.test/").scope("files.read");
    for (files, expected) in [(files.clone(), Severity::Warning), (files.indicator("urn:files"), Severity::Ok)] {
        let world = World::with(|config| config.resource(files));
        set_up(&world.op);
        let report = check(&world.app.layer).await;
        assert_eq!(severity(&report, "default: scopes_supported"), expected, "{report}");
        let asked = world.op.last_authorization();
        assert!(asked.get("scope").is_some_and(|scope| scope.contains("files.read")), "it is asked for all the same");
    }
}

#[tokio::test]
async fn pushed_requests_are_tried_where_they_are_needed() {
    let world = World::with(|mut config| {
        config.provider.pushed_authorization_requests = PushedAuthorizationRequests::Always;
        config
    });
    set_up(&world.op);
    let (member, uri) = ("default: pushed_authorization_request_endpoint", "default: redirect URI");
    let report = check(&world.app.layer).await;
    assert_eq!(severity(&report, member), Severity::Error, "{report}");
    world.op.set(|settings| settings.pushed_authorization = true);
    let report = check(&world.app.layer).await;
    assert_eq!((severity(&report, member), severity(&report, uri)), (Severity::Ok, Severity::Ok), "{report}");
    assert_eq!(world.op.pushes().len(), 1, "the request was pushed");
}

/// Each provider by its name, with its own redirect URI and scopes.
#[tokio::test]
async fn every_provider_is_checked() {
    let world = World::with(|config| {
        config.add_provider(tower_oidc::ProviderConfig::new(OP2, CLIENT_ID).client_secret("wrong").name("work"))
    });
    let report = check(&world.app.layer).await;
    for (subject, expected) in [
        ("default: client authentication", Severity::Ok),
        ("work: metadata and keys", Severity::Ok),
        ("work: client authentication", Severity::Error),
        ("work: redirect URI", Severity::Ok),
    ] {
        assert_eq!(severity(&report, subject), expected, "{subject}\n{report}");
    }
    assert!(report.to_string().contains("https://app.test/auth/callback/work"), "{report}");
}

#[tokio::test]
async fn a_store_is_tried_and_left_as_it_was() {
    let world = World::new();
    let store = MemoryStore::new();
    let layer = |store: Arc<dyn Store>| OidcLayer::from_config(config(&world.net, &world.clock), store).unwrap();
    let memory = layer(Arc::new(store.clone()));
    assert_eq!(severity(&check(&memory).await, "store"), Severity::Warning, "it ends with the process");
    // The key of the names of rows stays.
    assert_eq!(store.len(), 1);
    check(&memory).await;
    assert_eq!(store.len(), 1, "every row of a check is deleted");
    for flaw in
        [Flaw::FindsNothing, Flaw::TellsOtherVersions, Flaw::Overwrites, Flaw::NeverUpdates, Flaw::DeletesNothing]
    {
        let report = check(&layer(Arc::new(Careless(store.clone(), flaw)))).await;
        assert_eq!((severity(&report, "store"), report.is_ok()), (Severity::Error, false), "{flaw:?}\n{report}");
    }

    let (watched, app) = world.watched();
    for verb in [Verb::Load, Verb::Swap, Verb::Delete] {
        assert_ne!(severity(&check(&app.layer).await, "store"), Severity::Error, "{verb:?}: the control");
        watched.trouble(verb, Trouble::Fail);
        let report = check(&app.layer).await;
        assert_eq!((severity(&report, "store"), report.is_ok()), (Severity::Error, false), "{verb:?}\n{report}");
        watched.heal();
    }
}

/// How a store breaks its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    FindsNothing,
    TellsOtherVersions,
    /// Whatever version a row has.
    Overwrites,
    NeverUpdates,
    DeletesNothing,
}

struct Careless(MemoryStore, Flaw);

impl Store for Careless {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        Box::pin(async move {
            let found = self.0.load(key).await?;
            Ok(match self.1 {
                Flaw::FindsNothing => None,
                Flaw::TellsOtherVersions => {
                    found.map(|found| Stored { version: Version(found.version.0 + 1), ..found })
                }
                _ => found,
            })
        })
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        Box::pin(async move {
            let found = self.0.load(key).await?.map(|stored| stored.version);
            if self.1 == Flaw::NeverUpdates && expected.is_some() {
                return Ok(None);
            }
            self.0.swap(key, if self.1 == Flaw::Overwrites { found } else { expected }, record).await
        })
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        Box::pin(async move { Ok(self.1 != Flaw::DeletesNothing && self.0.delete(key, expected).await?) })
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        self.0.find(tag)
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        self.0.delete_expired(older_than)
    }
}

#[tokio::test]
async fn cookies_beyond_what_servers_take_are_found() {
    let world = World::new();
    for (bytes, expected) in [(6 * 1024, Severity::Ok), (16 * 1024, Severity::Warning)] {
        let edit = |mut config: Config| {
            config.max_cookie_bytes = bytes;
            config
        };
        let app = App::stateless(&world.net, &world.clock, edit);
        let report = check(&app.layer).await;
        assert_eq!(severity(&report, "cookies"), expected, "{report}");
        assert!(report.to_string().contains(&bytes.to_string()), "{report}");
    }
}

#[tokio::test]
async fn a_report_is_for_people_and_for_machines() {
    let world = World::new();
    let report = check(&world.app.layer).await;
    let first = &report.findings[0];
    let line = format!("ok       {}: {}", first.subject, first.message);
    assert_eq!(report.to_string().lines().next(), Some(line.as_str()));
    let json = serde_json::to_value(&report).unwrap();
    let expected = json!({ "severity": "ok", "subject": first.subject, "message": first.message });
    assert_eq!(json["findings"][0], expected);
}

/// The demo tells what it found, and ends with a status.
#[tokio::test]
async fn the_demo_checks_and_ends() {
    let (status, says) = demo_checks(&["check"], &[]).await;
    assert_eq!(status, Some(0), "{says}");
    assert!(says.contains("ok       default: client authentication: "), "{says}");
    let (status, says) = demo_checks(&["check", "--json"], &[]).await;
    let report: serde_json::Value = serde_json::from_str(&says).unwrap_or_else(|error| panic!("{error}: {says}"));
    assert_eq!((status, &report["findings"][0]["severity"]), (Some(0), &json!("ok")), "{says}");
    // Nobody listens at this provider's port.
    let away = [("OIDC_ISSUER", "http://localhost:9"), ("OIDC_CLIENT_ID", "app")];
    let (status, says) = demo_checks(&["check"], &away).await;
    assert_eq!(status, Some(1), "{says}");
    assert!(says.contains("error    default: metadata and keys: http://localhost:9: "), "{says}");
    assert!(says.contains("/auth/callback to be registered"), "{says}");
}

/// The demo begins anew in the store that its operator names, and in no other.
#[tokio::test]
async fn the_demo_resets_the_keys_of_the_store_that_is_named() {
    let database = Kind::Sqlite.database().expect("always there");
    let name = database.url.as_str();
    let run = async |arguments: &[&str], secret: &str| {
        let env = [
            ("TOKEN_STORE", name),
            ("SESSION_SECRET", secret),
            ("OIDC_ISSUER", "http://localhost:9"),
            ("OIDC_CLIENT_ID", "app"),
            ("PUBLIC_URL", "http://127.0.0.1:3000"),
        ];
        demo_checks(arguments, &env).await
    };
    let [old, new] = ["the old secret of at least thirty-two bytes", "the new secret of at least thirty-two bytes"];
    let (_, says) = run(&["check"], old).await;
    assert!(says.contains("ok       store"), "{says}");
    let (_, says) = run(&["check"], new).await;
    assert!(says.contains("sealed with a session secret that is not configured"), "{says}");
    assert_eq!(run(&["reset-keys"], new).await.0, Some(1), "no store is named");
    assert_eq!(run(&["reset-keys", "sqlite:another.db"], new).await.0, Some(1));
    let (status, says) = run(&["reset-keys", name], old).await;
    assert!(status == Some(0) && says.contains("nothing was changed"), "{says}");
    let (status, says) = run(&["reset-keys", name], new).await;
    assert!(status == Some(0) && says.contains("begins anew"), "{says}");
    let (_, says) = run(&["check"], new).await;
    assert!(says.contains("ok       store"), "{says}");
}
