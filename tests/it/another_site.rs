//! What a page of another site can begin or end in a browser, and what the application itself goes on doing.

use axum::extract::Query;
use axum::response::Redirect;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use std::collections::HashMap;
use std::time::Duration;
use tower_oidc::{
    AuthSession, Connection, Error, EventCode, GrantLifetime, LoginDecision, LoginOptions, Resource, SingleUseToken,
    UserTokens,
};

use crate::support::app::{API, APP, EVIL, SESSION, World, logout_link, routes, session_of};
use crate::support::browser::{Browser, Page};
use crate::support::store::Trouble;

/// A page of another application on a host of the same site.
const SIBLING: &str = "https://other.app.test";

fn at(path: &str) -> String {
    format!("{APP}{path}")
}

/// `mail` is kept with the session, and has an optional scope; `once` is for one use.
fn configured(config: tower_oidc::Config) -> tower_oidc::Config {
    let resource = |name: &str| Resource::new(name, format!("{API}/{name}/")).scope(format!("{name}.read"));
    let mail = Connection::new("mail").resource(resource("mail").optional_scope("mail.send"));
    config
        .connection(mail.grant_lifetime(GrantLifetime::Session))
        .connection(Connection::new("once").resource(resource("once")).single_use())
}

fn with_routes() -> axum::Router {
    routes()
        .route("/mail", get(|tokens: UserTokens| async move { token(&tokens, "mail").await }))
        .route(
            "/send",
            get(|tokens: UserTokens| async move {
                tokens.require_scopes("mail", &["mail.send"]).await.map(|()| "sent")
            }),
        )
        .route("/export", get(|token: SingleUseToken| async move { token.connection().to_owned() }))
        .route(
            "/url",
            get(|tokens: UserTokens, Query(asked): Query<HashMap<String, String>>| async move {
                match asked["c"].as_str() {
                    "once" => tokens.connect_single_use_url("once", "/export"),
                    name => tokens.connect_url(name, "/who"),
                }
            }),
        )
        // The application sends the person to sign in again, wherever they came from.
        .route(
            "/recent",
            get(|auth: AuthSession| async move {
                let options = LoginOptions::new().max_age(Duration::ZERO);
                Ok::<_, Error>(Redirect::to(&auth.login_url_with("/who", &options)?))
            }),
        )
}

async fn token(tokens: &UserTokens, name: &str) -> Result<String, Error> {
    Ok(tokens.access_token(&format!("{API}/{name}/")).await?.expose_secret().to_owned())
}

/// In per-user and in stateless mode.
fn worlds() -> [World; 2] {
    [World::with(configured), World::stateless_with(configured)].map(|world| {
        world.serve(with_routes());
        world
    })
}

async fn read(browser: &Browser, path: &str) -> String {
    browser.fetch(Method::GET, &at(path), "", APP).await.text()
}

fn asks(page: &Page) {
    assert_eq!((page.status.as_u16(), page.header("set-cookie")), (200, None), "{}", page.text());
    assert!(page.url.path().starts_with("/auth/") && page.text().contains("Another site"), "{}", page.text());
}

/// Prefetchers and pictures reach no login and no logout: they neither push out a login under way nor end one.
#[tokio::test]
async fn what_no_person_sees_begins_and_ends_nothing() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let leaving = browser.step(&at("/auth/login?return_to=/who")).await;
        let login = at("/auth/login?return_to=/");
        for _ in 0..9 {
            for page in [
                browser.fetch(Method::GET, &login, "", APP).await,
                browser.image(&login, SIBLING).await,
                browser.prefetch(&login).await,
            ] {
                assert_eq!((page.status.as_u16(), page.header("set-cookie")), (204, None));
            }
        }
        assert_eq!(browser.iframe(&login, SIBLING).await.status, 403);
        let back = browser.follow(&leaving).await;
        // A picture of the answer's address does not use it up.
        let answer = back.location().expect("an address").to_owned();
        assert_eq!(browser.image(&answer, SIBLING).await.status, 204);
        assert_eq!(browser.prefetch(&answer).await.status, 204);
        browser.follow(&back).await;
        assert_eq!(world.who(&browser).await, "a1", "the control");

        let link = logout_link(&browser, "/bye").await;
        for page in [browser.fetch(Method::GET, &link, "", APP).await, browser.prefetch(&link).await] {
            assert_eq!((page.status.as_u16(), page.header("set-cookie")), (204, None));
        }
        assert_eq!(world.who(&browser).await, "a1", "a prefetcher follows links by fetch()");
        browser.click(&link).await;
        assert!(world.who(&browser).await.is_null(), "the control");
    }
}

/// A link to the login acts for whoever is nobody, and asks whoever is signed in.
#[tokio::test]
async fn a_link_to_the_login_asks_who_is_signed_in() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        assert_eq!(browser.click_from(EVIL, &at("/auth/login?return_to=/who")).await.json()["sub"], "a1");
        let session = session_of(&browser);
        for link in ["/auth/login?return_to=/who", "/auth/login?prompt=none&return_to=/who"] {
            for from in [EVIL, SIBLING] {
                asks(&browser.click_from(from, &at(link)).await);
            }
        }
        assert_eq!(session_of(&browser), session);
        let page = browser.click_from(EVIL, &at("/auth/login?return_to=/who")).await;
        let landed = browser.click(&page.links()[1]).await;
        assert_eq!((landed.path_and_query(), &landed.json()["sub"]), ("/who", &"a1".into()));
        assert_ne!(session_of(&browser), session, "the person wanted it");
    }
}

/// `Sec-Fetch-Site` says `cross-site` since the provider: what the application itself leads to is not asked for.
#[tokio::test]
async fn the_applications_own_redirects_go_on_after_a_login() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        // From a page of another site through the login to a page that needs more.
        let browser = world.browser();
        let landed = browser.click_from(EVIL, &at("/mail")).await;
        assert_eq!((landed.status.as_u16(), landed.path_and_query()), (200, "/mail"));
        // To a page that needs a recent login.
        let before = world.op.authorizations().len();
        let landed = browser.click_from(EVIL, &at("/recent")).await;
        assert_eq!((landed.path_and_query(), world.op.authorizations().len()), ("/who", before + 1));
        // A link of the application to more, for whoever is nobody yet: the login lies in between.
        let nobody = world.browser();
        let landed = nobody.click_from(APP, &at("/auth/connect?connection=once&return_to=/export")).await;
        assert_eq!((landed.path_and_query(), landed.text().as_str()), ("/export", "once"));
        // The same from another site.
        asks(&world.browser().click_from(EVIL, &at("/auth/connect?connection=once&return_to=/export")).await);
    }
}

/// Another site's link hands no token to a page, and widens nothing, before the person was asked.
#[tokio::test]
async fn a_link_to_a_consent_asks_first() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        assert_eq!(browser.visit(&at("/mail")).await.status, 200);
        let before = world.op.authorizations().len();
        for link in [
            "/auth/connect?connection=once&return_to=/export?to=attacker",
            "/auth/connect?connection=mail&once=1&return_to=/export?to=attacker",
            "/auth/connect?connection=mail&scope=mail.send&return_to=/who",
            "/auth/connect?connection=mail&return_to=/who",
        ] {
            for from in [EVIL, SIBLING] {
                asks(&browser.click_from(from, &at(link)).await);
            }
            let silent = browser.click_from(EVIL, &at(&format!("{link}&prompt=none"))).await;
            let extends = link.contains("once") || link.contains("scope");
            assert_eq!(silent.status, if extends { 403 } else { 200 }, "{link}");
            // Where a browser says nothing, a proof is needed for what is more than always.
            let request = http::Request::get(at(link)).body(bytes::Bytes::new()).unwrap();
            let answer = browser.raw_with_cookies(request).await;
            assert_eq!(answer.status(), if extends { 200 } else { 303 }, "{link}");
            if !extends {
                browser.with_jar(|jar| jar.all_mut().retain(|cookie| !cookie.name.contains("login-")));
            }
        }
        assert_eq!(world.op.authorizations().len(), before, "nobody was sent anywhere");
        assert!(world.app.events.has(EventCode::CrossSiteRefused));
        // The person agrees, in a browser that says who asks and in one that does not.
        let link = at("/auth/connect?connection=once&return_to=/export");
        let page = browser.click_from(EVIL, &link).await;
        assert_eq!(browser.click(&page.links()[0]).await.text(), "once");
        let request = http::Request::get(&link).body(bytes::Bytes::new()).unwrap();
        let page = String::from_utf8(browser.raw_with_cookies(request).await.body().to_vec()).unwrap();
        let proven = page.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
        let request = http::Request::get(at(&proven)).body(bytes::Bytes::new()).unwrap();
        assert_eq!(browser.raw_with_cookies(request).await.status(), 303, "{proven}");
    }
}

/// What another site leads to stays another site's: no page of ours has a link to a consent that it chose.
#[tokio::test]
async fn a_page_of_ours_launders_no_link() {
    for world in worlds() {
        let alice = world.signed_in("alice").await;
        let consent = "/auth/connect?connection=once&return_to=/export?to=attacker";
        let to = |path: &str, consent: &str| {
            let to: String = form_urlencoded::byte_serialize(consent.as_bytes()).collect();
            at(&format!("{path}return_to={to}"))
        };
        for consent in [consent, &format!("/x/..{consent}"), &format!("/%2e{consent}"), &at(consent)] {
            for path in ["/auth/login?", "/auth/connect?connection=mail&", "/auth/logout?", "/auth/granted?"] {
                let page = alice.click_from(EVIL, &to(path, consent)).await;
                assert_eq!(page.status, 200, "{path}");
                assert!(!page.text().contains("export"), "{path} {consent}: {}", page.text());
            }
        }
        // A login that another site began leads to the question.
        let nobody = world.browser();
        world.op.sign_in_as("alice");
        let page = nobody.click_from(EVIL, &to("/auth/login?", consent)).await;
        assert!(page.text().contains("Another site sent you here. The service"), "{}", page.text());
    }
}

/// The application's own addresses act wherever they are followed from, as they stand and for their user alone.
#[tokio::test]
async fn a_proof_is_for_one_address_and_one_user() {
    for world in worlds() {
        let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
        world.op.sign_in_as("alice");
        let [once, mail] = [read(&alice, "/url?c=once").await, read(&alice, "/url?c=mail").await];
        for forged in [
            once.replace("export", "who"),
            once.replace("connection=once", "connection=mail"),
            mail.replace("&proof=", "&scope=mail.send&proof="),
            mail.replace("&proof=", "&once=1&proof="),
            format!("{mail}A"),
            format!("{mail}&scope=mail.send"),
            mail[..mail.len() - 1].to_owned(),
            mail.split("&proof").next().unwrap().to_owned() + "&proof=",
            read(&bob, "/url?c=mail").await,
        ] {
            let page = alice.click_from(EVIL, &at(&forged)).await;
            assert!(page.text().contains("Another site"), "{forged}: {}", page.text());
        }
        assert_eq!(alice.click_from(EVIL, &at(&once)).await.text(), "once", "the control");
        assert_eq!(alice.click_from(EVIL, &at(&mail)).await.path_and_query(), "/who", "the control");
        assert_eq!(alice.visit(&at("/send")).await.text(), "sent", "and a page that needs more");
    }
}

/// An address that browsers would take for another host stands in no link of ours: the link names none, and stays here.
#[tokio::test]
async fn a_page_to_try_again_links_to_the_application() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let cookie = format!("{SESSION}={}", session_of(&alice));
    let (watched, _) = world.watched_with(|config| config.max_staleness(Duration::ZERO));
    watched.break_down(&Trouble::Fail);
    for path in ["//evil.test/phish", "/who?to=//evil.test"] {
        let request = http::Request::get(format!("{APP}{path}")).header("accept", "text/html");
        let request = request.header("cookie", &cookie).body(bytes::Bytes::new()).unwrap();
        let answer = alice.raw(request).await;
        assert_eq!(answer.status(), 503, "{path}");
        let page = String::from_utf8(answer.body().to_vec()).unwrap();
        assert_eq!(page.matches("href=").count(), 1, "{path}: {page}");
        assert!(page.contains("href=\"\">Try again"), "{path}: {page}");
    }
}

/// A hook that gives a person another address does not make it a verified one.
#[tokio::test]
async fn an_address_of_a_hook_is_nobodys_proof() {
    let world = |verified: bool| {
        World::with(move |config| {
            config.admins(["root@example.com"]).on_login(move |_| async move {
                let mut claims = serde_json::Map::from_iter([("email".to_owned(), "root@example.com".into())]);
                if verified {
                    claims.insert("email_verified".to_owned(), true.into());
                }
                LoginDecision::AllowWith(claims)
            })
        })
    };
    for verified in [false, true] {
        let world = world(verified);
        let alice = world.signed_in("alice").await;
        let status = alice.navigate(&at("/admin")).await.status.as_u16();
        assert_eq!(status, if verified { 200 } else { 403 });
    }
}

/// What one request can cause is bounded by what the application ever sets.
#[tokio::test]
async fn thousands_of_forged_cookies_cause_few_answers() {
    for world in worlds() {
        let alice = world.signed_in("alice").await;
        let cookies: Vec<_> = alice.cookies_for(APP).iter().map(|one| format!("{}={}", one.name, one.value)).collect();
        for name in ["once", "login"] {
            let forged = (0..4000).map(|number| {
                let value = URL_SAFE_NO_PAD.encode([&[number as u8, (number >> 8) as u8][..], &[7; 36]].concat());
                format!("__Host-tower-oidc-{name}-{}={value}", &value[..8])
            });
            let heap: Vec<_> = forged.chain(cookies.clone()).collect();
            for path in ["/export", "/auth/login?return_to=/who", "/who"] {
                let request = http::Request::get(at(path)).header("cookie", heap.join("; "));
                let answer = alice.raw(request.body(bytes::Bytes::new()).unwrap()).await;
                let set = answer.headers().get_all("set-cookie").iter().count();
                assert!(set <= 9 && answer.status().as_u16() < 500, "{name} {path}: {set} {}", answer.status());
                assert!(path != "/export" || set <= 4, "{name} {path}: {set}");
            }
        }
        assert_eq!(alice.visit(&at("/auth/connect?connection=once&return_to=/export")).await.text(), "once");
    }
}

/// A login that ends as the same person leaves them what they granted, wherever it was kept; as another one it does not.
#[tokio::test]
async fn a_login_as_the_same_person_keeps_the_grants() {
    for world in worlds() {
        let alice = world.signed_in("alice").await;
        assert_eq!(alice.visit(&at("/mail")).await.status, 200);
        let (mail, tok) = (read(&alice, "/mail").await, read(&alice, "/tok").await);
        let mut sessions = vec![session_of(&alice)];
        for _ in 0..3 {
            // A step-up, and the login again.
            assert_eq!(alice.visit(&at("/recent")).await.json()["sub"], "a1");
            assert_eq!(read(&alice, "/mail").await, mail);
            let newer = read(&alice, "/tok").await;
            assert_ne!(newer, tok, "the login's own is the newest");
            sessions.push(session_of(&alice));
        }
        sessions.sort();
        sessions.dedup();
        assert_eq!(sessions.len(), 4, "each login is a session of its own");
        // They are refreshed, and last as long as the session.
        world.clock.advance(Duration::from_secs(3700));
        let refreshed = read(&alice, "/mail").await;
        assert_ne!(refreshed, mail);
        assert_eq!(world.op.owner_of(&refreshed).as_deref(), Some("alice"));
        assert_eq!(world.op.owner_of(&read(&alice, "/tok").await).as_deref(), Some("alice"));
        assert_eq!((world.op.reuse_detected(), world.op.revocations().len()), (0, 0));
        // Somebody else has nothing of it.
        world.sign_in(&alice, "bob").await;
        assert!(read(&alice, "/mail").await.contains("consent_required"));
        world.sign_in(&alice, "alice").await;
        assert!(read(&alice, "/mail").await.contains("consent_required"), "the session ended");
        // A logout ends all of it.
        assert_eq!(alice.visit(&at("/mail")).await.status, 200);
        alice.visit(&at("/recent")).await;
        alice.visit(&logout_link(&alice, "/bye").await).await;
        world.sign_in(&alice, "alice").await;
        assert!(read(&alice, "/mail").await.contains("consent_required"));
    }
}
