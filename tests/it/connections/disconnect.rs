//! Taking a connection back: gone here first, revoked there where that works, and said where it does not.

use http::{Method, Request};
use tower_oidc::EventCode;

use super::app::{Site, at, connect, disconnect, script, send, state, token};
use crate::support::app::{APP, EVIL, OP};
use crate::support::html::Form;
use crate::support::provider::Endpoint;
use crate::support::store::{Trouble, Verb};

#[tokio::test]
async fn disconnecting_revokes_and_forgets() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    let issued = site.op.live_refresh_tokens().into_iter().map(|(token, _)| token).collect::<Vec<_>>();
    let urls = script(&browser, "/urls?c=mail&to=/list").await.json();
    let form = Form::post(&at(urls["disconnect"].as_str().unwrap()), &[]);
    let page = browser.submit_from(APP, &form).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/list"));
    let calls = site.net.requests_to(OP, "/revoke");
    assert_eq!((calls.len(), &calls[0].method), (1, &Method::POST));
    assert_eq!(calls[0].query, "", "the token is in the body");
    let sent = calls[0].form();
    assert!(issued.contains(&sent.get("token").unwrap().to_owned()));
    assert_eq!(sent.get("token_type_hint"), Some("refresh_token"));
    assert_eq!(state(&browser, "mail").await, "not_connected");
    assert_eq!(token(&browser, "mail").await, Err("consent_required".to_owned()));
    assert!(token(&browser, "cal").await.is_ok(), "the login's is another");

    assert_eq!(browser.submit_from(APP, &form).await.path_and_query(), "/list", "twice is no error");
    assert_eq!(send(&browser, "/disconnect?c=mail").await.text(), "NotConnected");
    assert_eq!(site.net.count(OP, "/revoke"), 1);
}

#[tokio::test]
async fn a_provider_that_fails_keeps_nothing_here() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    site.op.answer(Endpoint::Revocation, 500, "text/plain", "");
    connect(&browser, "mail").await;
    connect(&browser, "files").await;
    let page = disconnect(&browser, "mail").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("could not be notified"), "{}", page.text());
    assert!(page.links().contains(&"/list".to_owned()), "{:?}", page.links());
    assert_eq!(state(&browser, "mail").await, "not_connected");
    assert_eq!(send(&browser, "/disconnect?c=files").await.text(), "NotRevoked");
    assert_eq!(state(&browser, "files").await, "not_connected");
    assert_eq!(send(&browser, "/disconnect?c=files").await.text(), "NotConnected");
}

/// The row is gone and the answer that says so is lost: what it held is revoked all the same. A deletion that never
/// happened leaves it connected.
#[tokio::test(start_paused = true)]
async fn a_deletion_whose_answer_is_lost_revokes() {
    for (trouble, says, revoked) in
        [(Trouble::LoseAnswer, "Revoked", 1), (Trouble::Fail, "unavailable", 0), (Trouble::Hang, "unavailable", 0)]
    {
        let mut site = Site::new();
        let store = site.behind_a_watched_store();
        let browser = site.signed_in("alice").await;
        connect(&browser, "mail").await;
        store.trouble(Verb::Delete, trouble);
        let page = send(&browser, "/disconnect?c=mail").await;
        assert!(page.text().to_lowercase().contains(&says.to_lowercase()), "{}", page.text());
        assert_eq!(site.net.count(OP, "/revoke"), revoked, "{says}");
        store.heal();
        assert_eq!(state(&browser, "mail").await == "not_connected", revoked == 1, "{says}");
    }
}

#[tokio::test]
async fn a_provider_without_revocation_is_not_asked() {
    let site = Site::new();
    site.op.set(|settings| settings.revocation = false);
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    assert_eq!(send(&browser, "/disconnect?c=mail").await.text(), "Forgotten");
    assert_eq!(site.net.count(OP, "/revoke"), 0);
}

#[tokio::test]
async fn without_a_refresh_token_the_access_token_is_revoked() {
    let site = Site::new();
    site.op.set(|settings| settings.issue_refresh_tokens = false);
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    let access_token = token(&browser, "mail").await.unwrap();
    assert_eq!(send(&browser, "/disconnect?c=mail").await.text(), "Revoked");
    let revoked = &site.op.revocations()[0];
    assert_eq!((&revoked.token, revoked.hint.as_deref()), (&access_token, Some("access_token")));
}

#[tokio::test]
async fn no_other_site_disconnects_anybody() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    let path = at("/auth/disconnect?connection=mail&return_to=/list");
    assert_eq!(browser.submit_from(EVIL, &Form::post(&path, &[])).await.status, 403);
    assert!(site.app.events.has(EventCode::CrossSiteRefused));
    // Where nothing says whose page it was, nobody is believed.
    let silent = Request::post(&path).body(bytes::Bytes::new()).unwrap();
    assert_eq!(browser.raw_with_cookies(silent).await.status(), 403);
    assert_eq!(browser.submit_from(EVIL, &Form::post(&at("/disconnect?c=mail"), &[])).await.status, 401);

    // A link asks first.
    let page = browser.click_from(EVIL, &path).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Do you want to end the access to “mail”?"), "{}", page.text());
    assert_eq!(page.links(), ["/list"], "the way back");
    assert_eq!(state(&browser, "mail").await, "connected");
    browser.submit(&page.form()).await;
    assert_eq!(state(&browser, "mail").await, "not_connected");
}

#[tokio::test]
async fn everything_at_once_leaves_the_login() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    let ended = send(&browser, "/disconnect-all").await.text();
    assert_eq!(ended, r#"[("mail", Revoked), ("files", NotConnected)]"#);
    assert_eq!(state(&browser, "mail").await, "not_connected");
    assert!(token(&browser, "cal").await.is_ok());
}

/// What is taken back while the provider is asked for a fresh token stays taken back.
#[tokio::test]
async fn a_refresh_under_way_brings_nothing_back() {
    use crate::support::fault::{Fault, Gate};

    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    site.clock.advance(std::time::Duration::from_secs(3601));
    let gate = Gate::new();
    site.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
    let other = browser.new_tab();
    let waiting = tokio::spawn(async move { token(&other, "mail").await });
    gate.wait_for_arrivals(1).await;
    assert_eq!(send(&browser, "/disconnect?c=mail").await.text(), "Revoked");
    gate.open();
    assert_eq!(waiting.await.unwrap(), Err("consent_required".to_owned()));
    assert_eq!(state(&browser, "mail").await, "not_connected");
    assert_eq!(site.op.revocations().len(), 2, "what came too late is revoked too");
}

/// Nor does it touch what is granted anew meanwhile, whether it has brought something or was refused.
#[tokio::test]
async fn a_refresh_under_way_leaves_a_new_grant_alone() {
    use crate::support::fault::{Fault, Gate};

    for late in [false, true] {
        let site = Site::new();
        let browser = site.signed_in("alice").await;
        connect(&browser, "mail").await;
        site.clock.advance(std::time::Duration::from_secs(3601));
        let gate = Gate::new();
        let fault = if late { Fault::Gate(gate.clone()) } else { Fault::GateAnswer(gate.clone()) };
        site.net.fault(OP, "/token", fault.once());
        let other = browser.new_tab();
        let waiting = tokio::spawn(async move { token(&other, "mail").await });
        gate.wait_for_arrivals(1).await;
        assert_eq!(send(&browser, "/disconnect?c=mail").await.text(), "Revoked");
        connect(&browser, "mail").await;
        let granted = token(&browser, "mail").await;
        assert!(granted.is_ok(), "{granted:?}");
        gate.open();
        let _ = waiting.await.unwrap();
        site.app.layer.drain().await;
        assert_eq!(token(&browser, "mail").await, granted, "refused: {late}");
        assert_eq!(state(&browser, "mail").await, "connected");
    }
}

#[tokio::test]
async fn what_is_not_registered_is_the_developers_error() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    for (path, status, code) in [
        ("/status?c=nope", 500, "no_such_connection"),
        ("/urls?c=nope&to=/", 500, "no_such_connection"),
        ("/urls?c=mail&to=https://evil.test/", 400, "invalid_destination"),
        ("/urls?c=mail&to=//evil.test/", 400, "invalid_destination"),
        ("/need?r=nope&s=mail.send", 500, "no_such_connection"),
        ("/need?r=mail&s=everything", 500, "no_such_connection"),
        ("/nowhere", 500, "no_such_connection"),
    ] {
        let page = script(&browser, path).await;
        let seen = (page.status.as_u16(), page.json()["code"].as_str().unwrap().to_owned());
        assert_eq!(seen, (status, code.to_owned()), "{path}");
    }
    assert_eq!(send(&browser, "/disconnect?c=nope").await.status, 500);
}

/// An address of ours is a link that anybody can make.
#[tokio::test]
async fn links_ask_for_nothing_that_the_application_never_asks_for() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    site.op.forget();
    for query in [
        "",
        "?connection=nope",
        "?connection=mail&scope=everything",
        "?connection=mail&scope=mail.send+files",
        "?connection=mail&connection=files",
        "?connection=mail&scope=mail.send&scope=mail.send",
        "?connection=mail&return_to=https://evil.test/",
        "?connection=mail&return_to=//evil.test/",
        "?connection=mail&max_age=-1",
        "?connection=mail&prompt=whatever",
    ] {
        let page = browser.navigate(&at(&format!("/auth/connect{query}"))).await;
        assert_eq!(page.status, 400, "{query}");
    }
    for query in ["", "?connection=nope", "?connection=mail&return_to=//evil.test/", "?connection=mail&connection=mail"]
    {
        let form = Form::post(&at(&format!("/auth/disconnect{query}")), &[]);
        assert_eq!(browser.submit_from(APP, &form).await.status, 400, "{query}");
    }
    assert_eq!(browser.navigate(&at("/auth/granted?return_to=https://evil.test/")).await.status, 400);
    assert_eq!(site.op.authorizations().len(), 0);
    assert_eq!(state(&browser, "mail").await, "connected");
    for path in ["/auth/connect?connection=mail", "/auth/granted"] {
        assert_eq!(send(&browser, path).await.status, 405);
    }
}
