//! Consent as `?` (RFC 9470, RFC 6750). A person is sent to the provider and comes back to
//! the same page, a form to a page that says so, a script gets the address; and nobody goes round in circles.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tower_oidc::EventCode;

use crate::connections::app::{Site, at, connect, script, send, state, status, token};
use crate::support::app::{API, APP, OP};
use crate::support::browser::{Browser, Page};
use crate::support::html::Form;
use crate::support::provider::Endpoint;

const HOUR: Duration = Duration::from_secs(3601);

async fn signed_in() -> (Site, Browser) {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    site.op.forget();
    (site, browser)
}

fn api(client: &str, path: &str) -> String {
    format!("/{client}?u={API}{path}")
}

/// 403 with the address, as a script gets it or on a page, and no way round.
fn refused(page: &Page) -> String {
    assert_eq!((page.status.as_u16(), page.code().as_str()), (403, "consent_required"), "{}", page.text());
    let url = match page.links().pop() {
        Some(link) => link,
        None => page.json()["connect_url"].as_str().expect("an address").to_owned(),
    };
    let (asked, proof) = url.rsplit_once("&proof=").expect("a proof");
    assert_eq!(proof.len(), 22, "{url}");
    asked.to_owned()
}

#[tokio::test]
async fn a_navigation_goes_to_the_provider_and_comes_back_to_the_same_page() {
    let (site, browser) = signed_in().await;
    let path = api("fetch", "/mail/x?y=1%262");
    let page = browser.visit(&at(&path)).await;
    let hops: Vec<_> = page.chain.iter().map(|hop| (hop.status.as_u16(), hop.url.path())).collect();
    let way = [(303, "/fetch"), (303, "/auth/connect"), (303, "/authorize"), (303, "/auth/callback"), (200, "/fetch")];
    assert_eq!(hops, way);
    assert_eq!((page.path_and_query(), &page.json()["saw"]), (path.as_str(), &json!(200)));
    assert_eq!(site.op.authorizations().len(), 1);
    for hop in page.hops_at(APP) {
        let kept = hop.headers.get("cache-control").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(kept.contains("no-store"), "{}: {kept:?}", hop.url);
    }
}

#[tokio::test]
async fn a_form_comes_back_to_a_page_that_says_so() {
    let (site, browser) = signed_in().await;
    let form_page = browser.navigate(&at("/form?id=7&x=%26")).await;
    let page = browser.submit(&form_page.form()).await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/auth/granted"));
    assert!(page.text().contains("was not processed"), "{}", page.text());
    assert_eq!(page.links(), ["/form?id=7&x=%26"]);
    assert_eq!(site.api.requests().len(), 0, "nothing was sent");
    let back = browser.click(&page.links()[0]).await;
    let page = browser.submit(&back.form()).await;
    assert_eq!((page.url.path(), page.text().as_str()), ("/send", "200 OK"));
    assert_eq!(site.api.requests()[0].body, "\"hello\"");
}

#[tokio::test]
async fn a_script_gets_the_address() {
    let (site, browser) = signed_in().await;
    for client in ["fetch", "via", "boxed"] {
        let url = refused(&script(&browser, &api(client, "/mail/x")).await);
        assert!(url.starts_with("/auth/connect?connection=mail&return_to=%2F"), "{url}");
    }
    let url = refused(&browser.fetch(Method::POST, &at("/send"), "", APP).await);
    assert_eq!(url, "/auth/connect?connection=mail&return_to=%2F", "a POST cannot be come back to");
    assert_eq!((site.op.authorizations().len(), site.api.requests().len()), (0, 0));
    browser.visit(&at(&url)).await;
    assert_eq!(state(&browser, "mail").await, "connected");
}

#[tokio::test]
async fn an_applications_own_error_keeps_the_way() {
    for client in ["boxed", "via"] {
        let (_, browser) = signed_in().await;
        let page = browser.visit(&at(&api(client, "/mail/x"))).await;
        assert_eq!((page.status.as_u16(), page.url.path()), (200, format!("/{client}").as_str()));
    }
}

#[tokio::test]
async fn a_route_can_require_a_connection() {
    let (site, browser) = signed_in().await;
    let url = refused(&script(&browser, "/mail").await);
    assert_eq!(url, "/auth/connect?connection=mail&return_to=%2Fmail");
    assert_eq!(browser.visit(&at("/mail")).await.text(), "your mail");
    assert_eq!(script(&browser, "/mail").await.text(), "your mail");
    // Whoever is nobody yet signs in, grants, and arrives.
    let anonymous = site.browser();
    assert_eq!(script(&anonymous, "/mail").await.status, 401);
    site.op.user("carol", |_| {});
    site.op.sign_in_as("carol");
    site.op.forget();
    let page = anonymous.visit(&at("/mail")).await;
    assert_eq!((page.text().as_str(), page.path_and_query()), ("your mail", "/mail"));
    assert_eq!(site.op.authorizations().len(), 2);
}

#[tokio::test]
async fn whoever_grants_less_again_is_not_sent_round() {
    let (site, browser) = signed_in().await;
    site.op.set(|settings| settings.grantable = Some(vec!["openid", "mail.read"]));
    for (path, rounds) in [("/need?r=mail&s=mail.send", 1), ("/need?r=mail&s=mail.delete+mail.send", 2)] {
        let page = browser.visit(&at(path)).await;
        let url = refused(&page);
        assert!(url.contains("&scope=mail."), "{url}");
        assert!(page.text().contains("Access is still missing after you were asked for it"), "{}", page.text());
        refused(&browser.visit(&at(path)).await);
        assert_eq!(site.op.authorizations().len(), rounds, "{path}");
    }
    assert!(token(&browser, "mail").await.is_ok(), "what was granted serves");
    // A connection that lacks what it always asks for is no other case.
    site.op.set(|settings| settings.grantable = Some(vec!["openid"]));
    connect(&browser, "mail").await;
    site.op.forget();
    refused(&browser.visit(&at("/mail")).await);
    assert_eq!(site.op.authorizations().len(), 0);
    // Much later they may have thought better of it.
    site.op.set(|settings| settings.grantable = None);
    site.clock.advance(Duration::from_secs(601));
    assert_eq!(browser.visit(&at("/mail")).await.text(), "your mail");
}

#[tokio::test]
async fn who_says_no_sees_a_page_and_can_think_better_of_it() {
    let (site, browser) = signed_in().await;
    site.op.set(|settings| settings.deny = true);
    let page = browser.visit(&at("/need?r=mail&s=mail.send")).await;
    assert_eq!((page.status.as_u16(), page.url.path()), (403, "/auth/callback"));
    assert!(page.text().contains("Access was denied"), "{}", page.text());
    assert_eq!((site.op.authorizations().len(), site.op.token_requests().len()), (1, 0));
    assert_eq!(state(&browser, "mail").await, "not_connected");
    site.op.set(|settings| settings.deny = false);
    let page = browser.click(&page.links()[0]).await;
    assert_eq!((page.text().as_str(), page.path_and_query()), ("granted", "/need?r=mail&s=mail.send"));
    assert_eq!(site.op.authorizations().len(), 2, "the same was asked for: the scope was not forgotten");
}

/// Who says no keeps what they granted before.
#[tokio::test]
async fn who_says_no_to_more_keeps_what_there_was() {
    let (site, browser) = signed_in().await;
    connect(&browser, "mail").await;
    let before = (token(&browser, "mail").await, status(&browser, "mail").await);
    site.op.set(|settings| settings.deny = true);
    assert_eq!(browser.visit(&at("/need?r=mail&s=mail.send")).await.status, 403);
    assert_eq!((token(&browser, "mail").await, status(&browser, "mail").await), before);
}

#[tokio::test]
async fn a_revoked_grant_asks_again_and_a_busy_provider_does_not() {
    let (site, browser) = signed_in().await;
    connect(&browser, "mail").await;
    site.clock.advance(HOUR);
    site.op.forget();
    site.op.answer(Endpoint::Refresh, 503, "text/plain", "");
    let page = browser.visit(&at(&api("fetch", "/mail/x"))).await;
    assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, Some("2")));
    assert_eq!(state(&browser, "mail").await, "connected", "the grant is kept");
    site.op.honest();
    site.clock.advance(Duration::from_secs(2));
    assert_eq!(browser.visit(&at(&api("fetch", "/mail/x"))).await.json()["saw"], 200, "later it works");

    site.op.revoke_grants_of("alice");
    site.clock.advance(HOUR);
    site.op.forget();
    for _ in 0..5 {
        refused(&script(&browser, &api("fetch", "/mail/x")).await);
    }
    assert_eq!(site.op.refreshes().len(), 1, "no storm");
    assert_eq!(state(&browser, "mail").await, "needs_consent");
    assert!(site.app.events.has(EventCode::RefreshRefused));
    let page = browser.visit(&at(&api("fetch", "/mail/x"))).await;
    assert_eq!((page.json()["saw"].as_u64(), page.hops_at(OP).len()), (Some(200), 1));
    assert_eq!(state(&browser, "mail").await, "connected");
}

const STEP_UP: &str = r#"Bearer error="insufficient_user_authentication", acr_values="gold silver", max_age="60""#;

#[tokio::test]
async fn an_api_can_ask_for_a_stronger_or_younger_login() {
    for client in ["fetch", "via"] {
        let (site, browser) = signed_in().await;
        connect(&browser, "mail").await;
        site.api.refuse("/mail/high", 1, STEP_UP);
        site.op.forget();
        let page = browser.visit(&at(&api(client, "/mail/high"))).await;
        assert_eq!((&page.json()["saw"], page.url.path()), (&json!(200), format!("/{client}").as_str()));
        let asked = site.op.last_authorization();
        assert_eq!((asked.get("acr_values"), asked.get("max_age")), (Some("gold silver"), Some("60")));
        assert_eq!(site.op.refreshes().len(), 0, "a fresh token would be none the stronger");
    }
}

#[tokio::test]
async fn an_api_that_is_never_satisfied_does_not_send_anybody_round() {
    let (site, browser) = signed_in().await;
    connect(&browser, "mail").await;
    site.api.refuse_always("/mail/high", STEP_UP);
    site.op.forget();
    let url = refused(&browser.visit(&at(&api("fetch", "/mail/high"))).await);
    assert!(url.contains("&max_age=60") && url.contains("&acr_values=gold+silver"), "{url}");
    assert_eq!(site.op.authorizations().len(), 1);
    let url = refused(&script(&browser, &api("fetch", "/mail/high")).await);
    assert!(url.contains("acr_values"), "{url}");
    // The login grows too old by itself: that is no circle.
    site.api.behave();
    site.api.refuse("/mail/high", 1, STEP_UP);
    site.clock.advance(Duration::from_secs(61));
    assert_eq!(browser.visit(&at(&api("fetch", "/mail/high"))).await.json()["saw"], 200);
    // It wants a younger one than was asked for: that is something else.
    site.api.refuse("/mail/high", 1, &STEP_UP.replace("60", "5"));
    assert_eq!(browser.visit(&at(&api("fetch", "/mail/high"))).await.json()["saw"], 200);
}

#[tokio::test]
async fn what_an_api_asked_for_is_enforced_on_the_way_back() {
    let lies: [fn(&Site); 2] = [
        |site| site.op.edit_id_token(|token| token.claim("acr", "bronze")),
        |site| site.op.edit_id_token(|token| token.claim("auth_time", 1_700_000_000)),
    ];
    for lie in lies {
        let (site, browser) = signed_in().await;
        connect(&browser, "mail").await;
        let before = token(&browser, "mail").await;
        site.api.refuse("/mail/high", 1, STEP_UP);
        lie(&site);
        let page = browser.visit(&at(&api("fetch", "/mail/high"))).await;
        assert_eq!((page.status.as_u16(), page.url.path()), (403, "/auth/callback"), "{}", page.text());
        assert_eq!(token(&browser, "mail").await, before, "nothing was kept");
        // Trying again asks for the same.
        site.op.honest();
        assert_eq!(browser.click(&page.links()[0]).await.json()["saw"], 200);
        assert_eq!(site.op.last_authorization().get("acr_values"), Some("gold silver"));
        assert_eq!(site.op.last_authorization().get("max_age"), Some("60"));
    }
}

#[tokio::test]
async fn an_api_can_ask_for_more_scopes() {
    for client in ["fetch", "via"] {
        let (site, browser) = signed_in().await;
        site.demands_scope("/mail/send", "mail.send");
        connect(&browser, "mail").await;
        let url = refused(&script(&browser, &api(client, "/mail/send")).await);
        assert!(url.contains("&scope=mail.send"), "{url}");
        let page = browser.visit(&at(&api(client, "/mail/send"))).await;
        assert_eq!(page.json(), json!({ "saw": 200, "body": "done" }));
        assert!(site.asked().pop().unwrap().contains(&"mail.read".to_owned()), "the union");
    }
    let (site, browser) = signed_in().await;
    site.demands_scope("/mail/send", "mail.send");
    connect(&browser, "mail").await;
    assert_eq!(send(&browser, "/send").await.url.path(), "/auth/granted");
    assert_eq!(send(&browser, "/send").await.text(), "200 OK");
}

#[tokio::test]
async fn a_scope_that_nobody_declared_is_the_handlers_to_see() {
    for client in ["fetch", "via"] {
        let (site, browser) = signed_in().await;
        site.demands_scope("/mail/all", "everything");
        connect(&browser, "mail").await;
        site.op.forget();
        let page = browser.visit(&at(&api(client, "/mail/all"))).await;
        assert_eq!(page.json(), json!({ "saw": 403, "body": "the API's own words" }));
        assert_eq!(site.op.authorizations().len(), 0);
    }
}

/// A page elsewhere cannot choose where a form comes back to.
#[tokio::test]
async fn a_form_without_a_page_of_ours_comes_back_to_the_beginning() {
    let (_, browser) = signed_in().await;
    browser.navigate(&at("/form")).await;
    let form = Form::post(&at("/send"), &[]);
    for from in ["https://app.test:8443/evil", "https://evil.test/"] {
        let page = browser.submit_from(from, &form).await;
        assert!(matches!(page.status.as_u16(), 401 | 403), "{from}: {}", page.status);
    }
}
