//! Whose grant it becomes: only the person's who began it, in the session in which it began.

use serde_json::Value;
use tower_oidc::{EventCode, ResponseMode};

use super::app::{Site, at, connect, connect_path, go_on, log_out, script, send, state, token};
use crate::support::app::{APP, EVIL, SESSION, session_of};
use crate::support::provider::Endpoint;

#[tokio::test]
async fn a_foreign_callback_stores_nothing() {
    let site = Site::new();
    site.op.user("mallory", |_| {});
    let mallory = site.signed_in("mallory").await;
    let alice = site.signed_in("alice").await;
    site.op.sign_in_as("mallory");
    let start = mallory.step(&at(&connect_path("mail"))).await;
    let at_provider = mallory.follow(&start).await;
    let callback = at_provider.location().unwrap().to_owned();
    site.op.forget();

    let page = alice.click_from(EVIL, &callback).await;
    assert_eq!(page.status, 400);
    // Nor when her pending cookie was planted along with it.
    let is_pending = |name: &str| name.contains("login-");
    let planted = mallory.cookies_for(APP).into_iter().find(|cookie| is_pending(&cookie.name)).unwrap();
    let set = format!("{}={}; Path=/; Secure; HttpOnly; SameSite=Lax", planted.name, planted.value);
    alice.set_cookie(APP, &set);
    let page = alice.click_from(EVIL, &callback).await;
    assert_eq!(page.status, 400, "{}", page.text());
    assert_eq!(site.op.code_exchanges().len(), 0);
    assert_eq!(state(&alice, "mail").await, "not_connected");

    go_on(&mallory, at_provider).await;
    assert_eq!(state(&mallory, "mail").await, "connected", "the control: her own browser");
    assert_eq!(state(&alice, "mail").await, "not_connected");
}

/// With `query` the session's cookie comes back with the browser; with `form_post` it does not.
#[tokio::test]
async fn a_user_switch_on_the_way_stores_nothing() {
    for (response_mode, logs_out, consents) in [
        (ResponseMode::Query, true, "alice"),
        (ResponseMode::Query, false, "bob"),
        (ResponseMode::FormPost, true, "bob"),
        (ResponseMode::FormPost, false, "alice"),
    ] {
        let site = Site::with(|mut config| {
            config.provider.response_mode = response_mode;
            config
        });
        let browser = site.signed_in("alice").await;
        let start = browser.step(&at(&connect_path("mail"))).await;
        let tab = browser.new_tab();
        if logs_out {
            log_out(&tab).await;
        }
        site.sign_in(&tab, "bob").await;
        site.op.sign_in_as(consents);
        site.op.forget();
        let page = go_on(&browser, start).await;
        let case = format!("{response_mode:?}, logs out: {logs_out}, {consents} consents");
        assert_eq!(page.status, 400, "{case}: {}", page.text());
        assert!(page.text().contains("signed in as another user"), "{case}: {}", page.text());
        assert_eq!(site.op.code_exchanges().len(), 0, "{case}");
        assert!(!site.app.events.has(EventCode::Connected), "{case}");
        assert_eq!(state(&browser, "mail").await, "not_connected", "{case}");
        assert_eq!(state(&site.signed_in("alice").await, "mail").await, "not_connected", "{case}");
    }
}

/// Nobody becomes somebody else while the code is exchanged, either.
/// Tokens that are refused are revoked.
fn per_token(mut config: tower_oidc::Config) -> tower_oidc::Config {
    config.provider.revocation_is_per_token = true;
    config
}

#[tokio::test]
async fn a_logout_during_the_exchange_stores_nothing() {
    use crate::support::app::OP;
    use crate::support::fault::{Fault, Gate};

    let site = Site::with(per_token);
    let browser = site.signed_in("alice").await;
    let gate = Gate::new();
    site.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
    let (tab, url) = (browser.new_tab(), at(&connect_path("mail")));
    let connecting = tokio::spawn(async move { tab.visit(&url).await });
    gate.wait_for_arrivals(1).await;
    log_out(&browser).await;
    gate.open();
    let page = connecting.await.unwrap();
    assert_eq!(page.status, 400, "{}", page.text());
    let revoked = site.op.revocations();
    assert_eq!((revoked.len(), revoked[0].hint.as_deref()), (1, Some("refresh_token")));
    assert_eq!(state(&site.signed_in("alice").await, "mail").await, "not_connected");
}

#[tokio::test]
async fn another_account_is_refused_and_its_tokens_revoked() {
    for revocation_works in [true, false] {
        let site = Site::with(per_token);
        let browser = site.signed_in("alice").await;
        site.op.sign_in_as("bob");
        if !revocation_works {
            site.op.answer(Endpoint::Revocation, 500, "text/plain", "");
        }
        let page = connect(&browser, "mail").await;
        assert_eq!(page.status, 403);
        assert!(page.text().contains("AccountMismatch"), "{}", page.text());
        assert_eq!(state(&browser, "mail").await, "not_connected");
        let revoked = site.op.revocations();
        assert_eq!((revoked.len(), revoked[0].owner.as_deref()), (1, Some("bob")));
        assert_eq!(revoked[0].hint.as_deref(), Some("refresh_token"));
        let bobs = site.op.live_refresh_tokens().into_iter().filter(|(_, owner)| owner == "bob").count();
        assert_eq!(bobs, usize::from(!revocation_works));
        assert_eq!(state(&site.signed_in("bob").await, "mail").await, "not_connected", "not even his own");
        site.op.honest();
        site.op.sign_in_as("alice");
        connect(&browser, "mail").await;
        assert_eq!(state(&browser, "mail").await, "connected", "she is signed in still");
    }
}

/// Either may be wrong: the page names both, and leads back, or to a login of its own as the other.
#[tokio::test]
async fn the_page_for_another_account_names_both_and_leads_on() {
    let refused = async || {
        let site = Site::with(per_token);
        let browser = site.signed_in("alice").await;
        site.op.sign_in_as("bob");
        let page = connect(&browser, "mail").await;
        assert_eq!(page.status, 403);
        for said in ["signed in as alice@example.com", "bob@example.com granted access", "It was not saved"] {
            assert!(page.text().contains(said), "{said}: {}", page.text());
        }
        assert_eq!(page.links().len(), 2);
        (site, browser, page)
    };
    let (_, browser, page) = refused().await;
    let back = browser.click(&page.links()[0]).await;
    assert_eq!((back.status.as_u16(), back.path_and_query()), (200, "/list"));
    assert_eq!(state(&browser, "mail").await, "not_connected");

    let (site, browser, page) = refused().await;
    let alices = session_of(&browser);
    let back = browser.click(&page.links()[1]).await;
    assert_eq!((back.status.as_u16(), back.path_and_query()), (200, "/list"), "asked nothing: {}", back.text());
    assert_eq!(script(&browser, "/auth/session").await.json()["user"]["subject"], "b1");
    let hers = site.with_cookie("/auth/session", format!("{SESSION}={alices}").as_bytes()).await;
    assert_eq!(serde_json::from_slice::<Value>(hers.body()).unwrap()["user"], Value::Null, "hers has ended");
    assert_eq!(state(&browser, "mail").await, "not_connected", "nothing of the refused answer is kept");
    connect(&browser, "mail").await;
    assert_eq!(state(&browser, "mail").await, "connected", "the control");
}

#[tokio::test]
async fn two_people_in_two_browsers_get_their_own_tokens_only() {
    let site = Site::new();
    let (alice, bob) = (site.signed_in("alice").await, site.signed_in("bob").await);
    for (browser, name) in [(&alice, "alice"), (&bob, "bob")] {
        site.op.sign_in_as(name);
        connect(browser, "mail").await;
    }
    for round in 0..20 {
        if round % 5 == 4 {
            site.clock.advance(std::time::Duration::from_secs(3601));
        }
        for api in ["mail", "cal"] {
            let (hers, his) = tokio::join!(token(&alice, api), token(&bob, api));
            assert_eq!(site.op.owner_of(&hers.unwrap()).as_deref(), Some("alice"), "{round} {api}");
            assert_eq!(site.op.owner_of(&his.unwrap()).as_deref(), Some("bob"), "{round} {api}");
        }
    }
    assert_eq!(site.op.reuse_detected(), 0);
    send(&alice, "/disconnect?c=mail").await;
    assert_eq!(state(&alice, "mail").await, "not_connected");
    assert_eq!(state(&bob, "mail").await, "connected", "hers was hers");
}

#[tokio::test]
async fn whoever_is_not_signed_in_signs_in_first_and_then_grants() {
    let site = Site::new();
    site.op.sign_in_as("alice");
    let browser = site.browser();
    let page = browser.visit(&at(&(connect_path("mail") + "&scope=mail.send"))).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/list"));
    let asked = site.asked();
    assert_eq!(asked.len(), 2);
    assert!(!asked[0].contains(&"mail.read".to_owned()) && asked[1].contains(&"mail.send".to_owned()), "{asked:?}");
    assert_eq!(state(&browser, "mail").await, "connected");
    let anonymous = site.browser();
    assert_eq!(script(&anonymous, "/list").await.status, 401);
    assert_eq!(script(&anonymous, "/mail").await.json()["code"], "unauthenticated");
}
