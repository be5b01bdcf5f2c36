//! The provider is away, slow or broken.

use std::time::Duration;

use tokio::time::Instant;
use tower_oidc::store::MemoryStore;
use tower_oidc::{EventCode, FetchUserInfo};

use super::{Untouched, assert_refused, callback_of, edited, login, login_with, who};
use crate::support::app::{APP, App, OP, World};
use crate::support::browser::Page;
use crate::support::fault::Fault;
use crate::support::provider::Endpoint;

/// A page that offers to try again, at this address.
fn assert_offers(page: &Page, address: &str, why: &str) {
    assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, Some("2")), "{why}: {}", page.text());
    assert_eq!(page.links(), [address], "{why}");
}

#[tokio::test(start_paused = true)]
async fn the_provider_is_down_at_start() {
    for fault in [
        Fault::Refuse,
        Fault::Hang,
        Fault::Slow(Duration::from_secs(30)),
        Fault::SlowAnswer(Duration::from_secs(30)),
        Fault::DropAnswer,
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(404),
        Fault::Garbage,
        Fault::Redirect("https://evil.test/".to_owned()),
    ] {
        let why = format!("{fault:?}");
        let world = World::new();
        world.op.sign_in_as("alice");
        world.net.fault(OP, "/", fault);
        let browser = world.browser();
        assert_eq!(who(&browser).await, None, "the application serves");
        let began = Instant::now();
        let asked =
            login_with("/who?a=b&c", &[("prompt", "login"), ("max_age", "60"), ("login_hint", "alice@example.com")]);
        let page = browser.visit(&asked).await;
        assert_offers(&page, &asked[APP.len()..], &why);
        assert!(began.elapsed() <= Duration::from_secs(10), "{why}: {:?}", began.elapsed());
        assert!(world.app.events.has(EventCode::ProviderFailed) && world.app.events.has(EventCode::LoginRefused));
        // A moment later nobody asks it again; people are answered at once.
        let fetched = world.net.requests(OP).len();
        for _ in 0..20 {
            assert_eq!(browser.visit(&login("/who")).await.status, 503);
        }
        assert_eq!(world.net.requests(OP).len(), fetched, "{why}: no storm");
        world.net.heal(OP);
        world.clock.advance(Duration::from_secs(5));
        browser.visit(&format!("{APP}{}", page.links()[0])).await;
        assert_eq!(who(&browser).await.as_deref(), Some("a1"), "{why}: it recovers by itself");
        assert!(world.net.requests("https://evil.test").is_empty(), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_provider_fails_in_the_callback() {
    for path in ["/token", "/jwks", "/userinfo"] {
        for (fault, status, unseen) in [
            (Fault::Refuse, 503, true),
            (Fault::Hang, 503, false),
            (Fault::SlowAnswer(Duration::from_secs(30)), 503, false),
            (Fault::DropAnswer, 503, false),
            (Fault::Status(500), 503, false),
            (Fault::Status(429), 503, true),
            (Fault::Status(503), 503, true),
            (Fault::Garbage, 502, false),
        ] {
            let why = format!("{path} {fault:?}");
            // What is not needed fails without anybody's noticing.
            let world = World::with(|mut config| {
                config.provider.fetch_user_info = FetchUserInfo::Always;
                config
            });
            world.op.sign_in_as("alice");
            world.op.set(|s| s.claims_in_id_token = false);
            let browser = world.browser();
            let callback = callback_of(&browser, &login("/private?x=1%262")).await;
            world.net.fault(OP, path, fault);
            let began = Instant::now();
            let page = browser.navigate(&callback).await;
            assert!(began.elapsed() <= Duration::from_secs(20), "{why}: {:?}", began.elapsed());
            let again = "/auth/login?return_to=%2Fprivate%3Fx%3D1%25262";
            // A key set that is no key set is a provider that is away: the tokens may be good.
            match (path, status) {
                ("/token", 502) => assert_eq!(page.status, 502, "{why}"),
                ("/userinfo", 502) => assert_eq!(page.status, 400, "{why}"),
                _ => assert_offers(&page, again, &why),
            }
            assert_refused(&browser, &page, page.status.as_u16(), &why);
            assert_eq!(page.links(), [again], "{why}");
            // The index key, and that the callback was received, unless nobody can have looked at the code.
            let unseen = path == "/token" && unseen;
            assert_eq!(world.app.store.len(), if unseen { 1 } else { 2 }, "{why}");
            world.net.heal(OP);
            world.clock.advance(Duration::from_secs(5));
            // Reloading spends nothing twice.
            assert_eq!(browser.visit(&callback).await.path_and_query(), "/private?x=1%262", "{why}");
            assert_eq!(who(&browser).await.as_deref(), Some("a1"), "{why}");
            assert_eq!(world.op.code_reuse_detected(), 0, "{why}");
        }
    }
}

/// Strangers bring any number of codes that nobody issued, while the token endpoint answers that it cannot.
#[tokio::test]
async fn junk_callbacks_do_not_fill_a_store_while_the_provider_cannot_answer() {
    for fault in [Fault::Status(429), Fault::Status(503), Fault::Refuse] {
        let why = format!("{fault:?}");
        let world = World::new();
        let app = App::start(&world.net, &world.clock, MemoryStore::with_capacity(7).into(), |config| config);
        world.op.sign_in_as("alice");
        world.net.fault(OP, "/token", fault);
        for _ in 0..30 {
            let browser = world.browser();
            let callback = callback_of(&browser, &login("/who")).await;
            let junk = edited(&callback, |p| p.set("code", "nobody-issued-this"));
            assert_eq!(browser.navigate(&junk).await.status, 503, "{why}");
        }
        assert_eq!(app.store.len(), 1, "{why}: the index key");
        world.net.heal(OP);
        assert_eq!(who(&world.signed_in("alice").await).await.as_deref(), Some("a1"), "{why}: there is room");
    }
}

/// Each call is in time, all together are not.
#[tokio::test(start_paused = true)]
async fn a_callback_ends_within_twenty_seconds() {
    let world = World::new();
    world.op.sign_in_as("alice");
    world.op.set(|s| s.claims_in_id_token = false);
    let browser = world.browser();
    let callback = callback_of(&browser, &login("/who")).await;
    world.net.fault(OP, "/", Fault::Slow(Duration::from_secs(9)));
    let began = Instant::now();
    let page = browser.navigate(&callback).await;
    assert_offers(&page, "/auth/login?return_to=%2Fwho", "27 seconds");
    assert_eq!(began.elapsed(), Duration::from_secs(20));
    assert_eq!(world.app.store.len(), 2);
    world.net.heal(OP);
    world.net.fault(OP, "/", Fault::Slow(Duration::from_secs(6)));
    let callback = {
        let page = browser.step(&login("/who")).await;
        browser.follow(&page).await.location().unwrap().to_owned()
    };
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1", "18 seconds");
}

/// What the provider says about this application is not the person's fault, and not "try again".
#[tokio::test]
async fn a_refused_application_is_a_bad_gateway() {
    for (status, error, expected) in [
        (401, "invalid_client", 502),
        (400, "unauthorized_client", 502),
        (400, "invalid_request", 502),
        (400, "<script>alert(1)</script>", 502),
        (400, "invalid_grant", 400),
    ] {
        let world = World::new();
        world.op.sign_in_as("alice");
        world.op.answer_error(Endpoint::Token, status, error);
        let browser = world.browser();
        let before = Untouched::now(&world);
        let page = browser.visit(&login("/who")).await;
        assert_refused(&browser, &page, expected, error);
        assert!(!page.text().contains("<script"), "{}", page.text());
        assert_eq!(Untouched::now(&world).rows, before.rows + 1, "the index key, and nothing of the login");
    }
}

/// Metadata and keys that are known serve on.
#[tokio::test]
async fn what_is_known_serves_while_discovery_is_down() {
    let world = World::new();
    world.signed_in("alice").await;
    for path in ["/.well-known", "/jwks"] {
        world.net.fault(OP, path, Fault::Refuse);
    }
    world.clock.advance(Duration::from_secs(2 * 3600));
    world.signed_in("bob").await;
}
