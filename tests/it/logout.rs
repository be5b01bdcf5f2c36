//! A person signs out.
//!
//! Back-channel and front-channel logout are in `backchannel`, sealed cookies at other processes in `stateless`. A logout
//! during a refresh is in `refresh`; during a request, in `session_store`.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::Value;
use tower_oidc::{Config, EventCode, GrantLifetime};

use crate::support::app::{APP, App, EVIL, OP, SESSION, World, logout_link, routes, session_of};
use crate::support::browser::Browser;
use crate::support::fault::Fault;
use crate::support::html::Form;
use crate::support::provider::{Endpoint, RevocationReach};

/// The link works as a plain link, here and at the provider, and the cookie is dead.
#[tokio::test]
async fn the_logout_link_signs_out_here_and_at_the_provider() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let session = session_of(&browser);
    let link = logout_link(&browser, "/bye?x=1%262").await;
    let page = browser.visit(&link).await;
    assert_eq!(page.url.as_str(), format!("{APP}/bye?x=1%262"));
    let ended = world.op.logouts().pop().expect("it went by the provider");
    assert_eq!(ended.get("post_logout_redirect_uri"), Some("https://app.test/"));
    assert_eq!(ended.get("client_id"), Some("app"));
    assert!(ended.get("state").is_some_and(|state| state.len() >= 43));
    assert_eq!(ended.get("id_token_hint").map(|hint| hint.split('.').count()), Some(3));
    assert_eq!(world.who_is(&session).await, Value::Null);
    assert!(browser.cookie(SESSION).is_none());
    assert_eq!(world.app.events.count(EventCode::LoggedOut), 1);
    let states: Vec<_> = browser.cookies().into_iter().filter(|c| c.name.contains("-logout-")).collect();
    assert!(states.is_empty(), "nothing is left of the way: {states:?}");
}

/// Without the session's token a GET changes nothing; the button on its page does.
#[tokio::test]
async fn a_get_without_the_token_only_asks() {
    let world = World::new();
    let (browser, other) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let others = logout_link(&other, "/bye").await;
    let mine = logout_link(&browser, "/bye").await;
    let (start, token) = mine.split_once("&token=").unwrap();
    for address in [
        format!("{APP}/auth/logout?return_to=/bye"),
        others,
        format!("{start}&token="),
        format!("{start}&token={}", &token[..token.len() - 1]),
        format!("{start}&token={}", token.to_ascii_uppercase()),
    ] {
        let page = browser.click_from(EVIL, &address).await;
        assert_eq!((page.status.as_u16(), page.form().method.as_str()), (200, "POST"), "{address}");
        assert!(page.header("set-cookie").is_none());
        assert_eq!(page.header("x-frame-options"), Some("DENY"), "nobody puts the button under a finger");
        assert_eq!(world.who(&browser).await, "a1", "{address}");
    }
    let page = browser.click_from(EVIL, &format!("{APP}/auth/logout?return_to=/bye")).await;
    assert_eq!(page.links(), ["/bye"], "the way back, still signed in");
    let out = browser.submit(&page.form().press("Sign out")).await;
    assert_eq!(out.url.as_str(), format!("{APP}/bye"));
    assert_eq!((world.who(&browser).await, world.who(&other).await), (Value::Null, "b1".into()));
}

/// A link of the application needs no token, and neither does the address bar.
#[tokio::test]
async fn the_application_and_the_person_sign_out_at_once() {
    let address = format!("{APP}/auth/logout?return_to=/bye");
    let world = World::new();
    for own in [true, false] {
        let browser = world.signed_in("alice").await;
        let page = if own { browser.click_from(APP, &address).await } else { browser.navigate(&address).await };
        assert_eq!(page.path_and_query(), "/bye");
        assert_eq!(world.who(&browser).await, Value::Null);
    }
}

/// Images, frames, forms and scripts of other sites.
#[tokio::test]
async fn no_other_site_signs_anybody_out() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let address = format!("{APP}/auth/logout?return_to=/");
    for from in [EVIL, "https://other.app.test", APP] {
        browser.image(&address, from).await;
        browser.iframe(&address, from).await;
        browser.fetch(Method::GET, &address, "", from).await;
        assert_eq!(world.who(&browser).await, "a1", "a GET from {from}");
    }
    browser.submit_from(EVIL, &Form::post(&address, &[])).await;
    browser.fetch(Method::POST, &address, "", EVIL).await;
    assert_eq!(world.who(&browser).await, "a1", "such a POST carries no cookie");
    let sibling = browser.submit_from("https://other.app.test/", &Form::post(&address, &[])).await;
    assert_eq!(sibling.status, 403, "a neighbour's does");
    assert_eq!(world.who(&browser).await, "a1");
    assert!(world.app.events.has(EventCode::CrossSiteRefused));
}

/// The same, whatever a browser or something else says of where it comes from.
#[tokio::test]
async fn a_post_must_say_that_it_is_ours() {
    let says: [(&[(&str, &str)], u16); 7] = [
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site"), ("origin", APP)], 403),
        (&[("origin", EVIL)], 403),
        (&[("origin", "null")], 403),
        (&[], 403),
        (&[("origin", APP)], 303),
        (&[("sec-fetch-site", "same-origin"), ("origin", APP)], 303),
    ];
    for (headers, status) in says {
        let world = World::new();
        let browser = world.signed_in("alice").await;
        let mut request = Request::post(format!("{APP}/auth/logout?return_to=/"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = browser.raw_with_cookies(request.body(Bytes::new()).unwrap()).await;
        assert_eq!(answer.status(), status, "{headers:?}");
        let expected = if status == 403 { "a1".into() } else { Value::Null };
        assert_eq!(world.who(&browser).await, expected, "{headers:?}");
    }
}

/// A browser that loads a link in advance signs nobody out; the click does.
#[tokio::test]
async fn a_prefetch_signs_nobody_out() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let link = logout_link(&browser, "/bye").await;
    for purpose in ["prefetch", "prefetch;prerender", "prefetch;anonymous-client-ip"] {
        let request = Request::get(&link).header("sec-purpose", purpose).body(Bytes::new()).unwrap();
        assert_eq!(browser.raw_with_cookies(request).await.status(), 204);
    }
    browser.prefetch(&link).await;
    assert_eq!(world.who(&browser).await, "a1");
    browser.visit(&link).await;
    assert_eq!(world.who(&browser).await, Value::Null);
}

/// Where to go is looked at first, and nothing happens when it is refused.
#[tokio::test]
async fn a_destination_elsewhere_is_400() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let token = logout_link(&browser, "/").await.split_once("&token=").unwrap().1.to_owned();
    for to in [
        "https://evil.test/",
        "//evil.test",
        "/%5Cevil.test",
        "javascript:1",
        "https://app.test.evil.test/",
        "/&return_to=/",
    ] {
        let page = browser.navigate(&format!("{APP}/auth/logout?return_to={to}&token={token}")).await;
        assert_eq!((page.status.as_u16(), page.location()), (400, None), "{to}");
        let form = Form::post(&format!("{APP}/auth/logout?return_to={to}"), &[]);
        assert_eq!(browser.submit_from(APP, &form).await.status, 400, "{to}");
        assert_eq!(world.who(&browser).await, "a1");
    }
}

/// Only the state that this browser was sent away with brings it to its destination.
#[tokio::test]
async fn the_return_is_known_by_its_state() {
    for (what, lie) in [("other", Some("another-state-of-43-characters-0123456789-abc")), ("none", None)] {
        let world = World::new();
        world.op.edit_logout_response(move |response| match lie {
            Some(state) => response.set("state", state),
            None => response.remove("state"),
        });
        let browser = world.signed_in("alice").await;
        let page = browser.visit(&logout_link(&browser, "/bye").await).await;
        assert_eq!((page.url.path(), page.text().as_str()), ("/", "home"), "{what}: a request like any other");
        assert_eq!(world.who(&browser).await, Value::Null, "{what}: the logout itself is done");
    }
    let world = World::new();
    let (browser, other) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let mut page = browser.step(&logout_link(&browser, "/bye").await).await;
    page = browser.follow(&page).await;
    let back = page.location().unwrap().to_owned();
    assert!(back.starts_with("https://app.test/?state="), "{back}");
    let stolen = other.navigate(&back).await;
    assert_eq!((stolen.url.path(), stolen.text().as_str()), ("/", "home"), "another browser's");
    let flipped = format!("{}A", &back[..back.len() - 1]);
    if flipped != back {
        assert_eq!(browser.navigate(&flipped).await.text(), "home", "the cookie's name fits, the state does not");
    }
    assert_eq!(browser.navigate(&back).await.url.path(), "/bye");
    assert_eq!(browser.navigate(&back).await.text(), "home", "once");
}

/// The return is known for as long as a login may take, and not for ever.
#[tokio::test]
async fn a_late_return_is_an_ordinary_request() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let page = browser.step(&logout_link(&browser, "/bye").await).await;
    let back = browser.follow(&page).await.location().unwrap().to_owned();
    world.clock.advance(Duration::from_secs(601));
    assert_eq!(browser.navigate(&back).await.text(), "home");
}

/// A logout URL that no proxy takes becomes a form.
#[tokio::test]
async fn a_long_id_token_travels_in_a_form() {
    let world = World::new();
    world.op.user("alice", |user| user.set("padding", "\"><script>".repeat(400)));
    let browser = world.signed_in("alice").await;
    let page = browser.navigate(&logout_link(&browser, "/bye").await).await;
    let form = page.form();
    assert_eq!((form.method.as_str(), form.action.as_str()), ("POST", "https://op.test/end_session"));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("script-src 'nonce-")));
    let end = browser.settle(page).await;
    assert_eq!(end.url.as_str(), format!("{APP}/bye"));
    let logouts = world.op.logouts();
    assert!(logouts[0].get("id_token_hint").is_some_and(|hint| hint.len() > 4000));
}

/// A provider without end_session, one that is not to be asked, and one that is away.
#[tokio::test]
async fn logout_needs_no_provider() {
    let world = World::new();
    world.op.set(|settings| settings.end_session = false);
    assert_signs_out_here(&world).await;

    let world = World::with(|mut config| {
        config.provider.logout_at_provider = false;
        config
    });
    assert_signs_out_here(&world).await;

    // A process that has not talked to its provider yet, and cannot.
    let world = World::new();
    let browser = world.signed_in("alice").await;
    world.another(|config| config);
    world.net.fault(OP, "", Fault::Refuse);
    let page = browser.visit(&logout_link(&browser, "/bye").await).await;
    assert_eq!(page.url.as_str(), format!("{APP}/bye"));
    assert_eq!(world.who(&browser).await, Value::Null);

    // One that has: the person is signed out before the browser is sent to a server that is not there.
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let link = logout_link(&browser, "/bye").await;
    world.net.fault(OP, "", Fault::Refuse);
    assert!(browser.try_navigate(&link).await.is_err());
    assert_eq!(world.who(&browser).await, Value::Null);
}

async fn assert_signs_out_here(world: &World) {
    let browser = world.signed_in("alice").await;
    let page = browser.visit(&logout_link(&browser, "/bye").await).await;
    assert_eq!(page.url.as_str(), format!("{APP}/bye"));
    assert!(world.op.logouts().is_empty());
    assert_eq!(world.who(&browser).await, Value::Null);
}

#[tokio::test]
async fn logout_without_a_session_and_twice() {
    let world = World::new();
    let (browser, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let link = logout_link(&browser, "/bye").await;
    for _ in 0..2 {
        let page = browser.visit(&link).await;
        assert_eq!(page.url.as_str(), format!("{APP}/bye"));
    }
    let stranger = world.browser();
    assert_eq!(stranger.visit(&link).await.url.as_str(), format!("{APP}/bye"));
    assert!(stranger.cookies().is_empty(), "who was not signed in is told nothing");
    let post = bob.submit_from(APP, &Form::post(&format!("{APP}/auth/logout"), &[])).await;
    assert_eq!(bob.settle(post).await.url.as_str(), format!("{APP}/"));
    assert_eq!(world.op.logouts().len(), 2, "once for each session");
}

/// Who signs out is not signed in again by the next page that tries silently.
#[tokio::test]
async fn silent_login_is_suppressed_after_logout() {
    let world = World::new();
    world.op.set(|settings| settings.end_session = false);
    let browser = world.signed_in("alice").await;
    browser.visit(&logout_link(&browser, "/bye").await).await;
    world.op.forget();
    let silent = format!("{APP}/auth/login?prompt=none&return_to=/who");
    let page = browser.visit(&silent).await;
    assert_eq!((page.url.path(), page.text().as_str()), ("/who", "null"));
    assert!(world.op.authorizations().is_empty(), "nobody was asked");
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(browser.visit(&silent).await.json()["sub"], "a1", "a minute later it may try");
    browser.visit(&logout_link(&browser, "/bye").await).await;
    world.sign_in(&browser, "alice").await;
    assert!(browser.cookie("__Host-tower-oidc-silent").is_none(), "a person's own login lifts it");
}

async fn after_logout(edit: impl FnOnce(Config) -> Config) -> (World, Browser, u64) {
    let world = World::with(edit);
    world.op.set(|settings| settings.revocation_reach = RevocationReach::Token);
    let browser = world.signed_in("alice").await;
    let before = world.app.store.len();
    browser.visit(&logout_link(&browser, "/bye").await).await;
    world.app.layer.drain().await;
    let rows = before - world.app.store.len();
    (world, browser, rows)
}

/// `revoke_at_logout`, and what logout deletes under each retention.
#[tokio::test]
async fn logout_ends_the_grant_that_was_the_sessions_own() {
    let revoking = |mut config: Config| {
        config.provider.revoke_at_logout = true;
        config
    };
    let (world, _, rows) = after_logout(revoking).await;
    assert_eq!(rows, 2, "session and grant");
    let revoked = world.op.revocations();
    assert_eq!(revoked.len(), 1);
    assert_eq!((revoked[0].owner.as_deref(), revoked[0].hint.as_deref()), (Some("alice"), Some("refresh_token")));

    let (world, _, rows) = after_logout(|config| config).await;
    assert_eq!((rows, world.op.revocations().len()), (2, 0), "by default nothing is revoked");

    let (world, browser, rows) = after_logout(|config| {
        let mut config = revoking(config);
        config.login_grant_lifetime = GrantLifetime::Persistent;
        config
    })
    .await;
    assert_eq!((rows, world.op.revocations().len()), (1, 0), "the person's grant is not this session's to end");
    world.sign_in(&browser, "alice").await;
    assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200);
}

#[tokio::test]
async fn a_revocation_that_fails_stops_no_logout() {
    for fail in [true, false] {
        let world = World::with(|mut config| {
            config.provider.revoke_at_logout = true;
            config
        });
        if fail {
            world.op.answer_error(Endpoint::Revocation, 500, "server_error");
        } else {
            world.net.fault(OP, "/revoke", Fault::Refuse);
        }
        let browser = world.signed_in("alice").await;
        let page = browser.visit(&logout_link(&browser, "/bye").await).await;
        assert_eq!(page.url.as_str(), format!("{APP}/bye"));
        world.app.layer.drain().await;
        assert_eq!(world.who(&browser).await, Value::Null);
    }
}

/// One browser's logout is its own: the person's other browsers stay signed in, tokens included.
#[tokio::test]
async fn logout_in_one_browser_leaves_the_other_whole() {
    let world = World::new();
    let (here, there) = (world.signed_in("alice").await, world.signed_in("alice").await);
    here.visit(&logout_link(&here, "/bye").await).await;
    assert_eq!(world.who(&there).await, "a1");
    let token = there.navigate(&format!("{APP}/tok")).await.text();
    assert_eq!(world.op.owner_of(&token).as_deref(), Some("alice"));
}

/// A process that was started a moment ago knows nothing of its provider yet: the first logout goes there all the same.
#[tokio::test]
async fn the_first_logout_after_a_start_reaches_the_provider() {
    for stateless in [false, true] {
        let world = if stateless { World::stateless() } else { World::new() };
        let browser = world.signed_in("alice").await;
        let link = logout_link(&browser, "/bye").await;
        let restarted = match stateless {
            true => {
                App::stateless_at(&world.net, &world.clock, world.app.store.clone(), world.app.store.clone(), |c| c)
            }
            false => world.another(|config| config),
        };
        world.net.serve_service(APP, restarted.layer.layer(routes()));
        let page = browser.visit(&link).await;
        assert_eq!(page.url.as_str(), format!("{APP}/bye"));
        assert_eq!(world.op.logouts().len(), 1, "stateless: {stateless}");
        assert!(!restarted.events.has(EventCode::LogoutNotAtProvider));
    }
}

/// A provider that does not answer keeps nobody signed in here, and the operator learns what it means.
#[tokio::test(start_paused = true)]
async fn a_logout_that_cannot_reach_the_provider_is_an_event() {
    for fault in [Fault::Refuse, Fault::Hang] {
        let world = World::new();
        let browser = world.signed_in("alice").await;
        let link = logout_link(&browser, "/bye").await;
        let restarted = world.another(|config| config);
        world.net.fault(OP, "", fault);
        let began = tokio::time::Instant::now();
        let page = browser.step(&link).await;
        assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(page.location(), Some("/bye"));
        assert_eq!(world.who(&browser).await, Value::Null);
        assert_eq!(restarted.events.count(EventCode::LogoutNotAtProvider), 1);
    }
}

/// UserInfo is a resource of the login, also for a process that has not asked its provider anything yet.
#[tokio::test]
async fn user_info_gets_its_token_after_a_restart() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    world.another(|config| config);
    let page = browser.navigate(&format!("{APP}/fetch?u={OP}/userinfo")).await;
    assert_eq!((page.status.as_u16(), &page.json()["sub"]), (200, &"a1".into()), "{}", page.text());
    // The control: what is nobody's resource gets none.
    let other = browser.navigate(&format!("{APP}/fetch?u={EVIL}/userinfo")).await;
    assert_eq!(other.status, 500, "{}", other.text());
}
