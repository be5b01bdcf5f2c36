//! The signed-in person and what they may.
//!
//! Several providers are in `providers`, tokens for visitors in `visitors`, connections in `connections`. The configuration
//! is checked beside `settings`. A silent login is asked for by the application, not by a page that embeds it.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_oidc::{
    Admin, AuthSession, ClaimSource, Config, CurrentUser, DestinationError, Error, ErrorKind, FetchUserInfo,
    RequireLayer,
};

use crate::support::app::{APP, App, OP, World, logout_link, routes, session_of};
use crate::support::browser::Browser;
use crate::support::random::assert_absent;

/// Every `CurrentUser` that came to `/keep`.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<CurrentUser>>>);

impl Kept {
    fn routes(&self) -> Router {
        let kept = self.clone();
        routes().route("/keep", get(move |user: CurrentUser| async move { kept.0.lock().unwrap().push(user) }))
    }

    async fn take(&self, browser: &Browser) -> CurrentUser {
        assert_eq!(browser.navigate(&format!("{APP}/keep")).await.status, 200);
        self.0.lock().unwrap().pop().unwrap()
    }
}

fn admins(emails: &[&str]) -> impl FnOnce(Config) -> Config {
    let emails = emails.iter().map(|email| (*email).to_owned()).collect();
    move |mut config| {
        config.admins = emails;
        config
    }
}

async fn status(browser: &Browser, path: &str) -> u16 {
    browser.fetch(Method::GET, &format!("{APP}{path}"), "", APP).await.status.as_u16()
}

#[derive(Deserialize)]
struct Claims {
    email: String,
    groups: Vec<String>,
    age: Option<u8>,
}

#[tokio::test]
async fn the_current_user_is_what_the_provider_says() {
    let world = World::new();
    world.op.user("alice", |user| {
        user.set("nickname", "Al");
        user.set("picture", "https://op.test/alice.png");
        user.set("groups", json!(["users", "cooks"]));
        user.set("acr", "gold");
    });
    let kept = Kept::default();
    world.serve(kept.routes());
    let user = kept.take(&world.signed_in("alice").await).await;
    assert_eq!((user.issuer(), user.subject()), (OP, "a1"));
    assert_eq!((user.email(), user.email_verified()), (Some("alice@example.com"), true));
    assert_eq!((user.name(), user.nickname()), (Some("Alice"), "Al"));
    assert_eq!(user.picture(), Some("https://op.test/alice.png"));
    assert_eq!(user.auth_time().map(|at| at.as_secs()), Some(world.clock.now()));
    let claims: Claims = user.claims().unwrap();
    assert_eq!((claims.email.as_str(), claims.groups.len(), claims.age), ("alice@example.com", 2, None));
    assert!(user.claims::<Vec<u8>>().is_err(), "an error, no panic");
    let all: Value = user.claims().unwrap();
    for protocol in ["nonce", "at_hash", "exp", "c_hash"] {
        assert!(all.get(protocol).is_none(), "{protocol} is the protocol's: {all}");
    }
    fn is_owned<T: Send + Sync + Clone + 'static>(_: &T) {}
    is_owned(&user);
}

/// Who a person is, is issuer and subject, by the type.
/// What an application shows of a person is what the methods say: nothing of the session, no token, no other claim.
#[tokio::test]
async fn a_person_is_serialised_as_the_methods_say() {
    for world in [World::with(admins(&["alice@example.com"])), World::stateless_with(admins(&["alice@example.com"]))] {
        world.op.user("alice", |user| {
            user.set("nickname", "Al");
            user.set("picture", "https://op.test/alice.png");
            user.set("acr", "gold");
            user.set("salary", 1000);
        });
        let me = |user: CurrentUser| async move { Json(user) };
        world.serve(routes().route("/me", get(me)).route("/me/admin", get(|admin: Admin| async { Json(admin) })));
        let alice = world.signed_in("alice").await;
        let expected = json!({
            "issuer": OP, "subject": "a1", "email": "alice@example.com", "email_verified": true, "name": "Alice",
            "nickname": "Al", "picture": "https://op.test/alice.png", "auth_time": world.clock.now() * 1000,
            "acr": "gold", "roles": [], "is_admin": true,
        });
        for path in ["/me", "/me/admin"] {
            assert_eq!(alice.navigate(&format!("{APP}{path}")).await.json(), expected, "{path}");
        }
        world.op.user("bob", |user| {
            for claim in ["email", "email_verified", "name"] {
                user.unset(claim);
            }
        });
        let bob = world.signed_in("bob").await.navigate(&format!("{APP}/me")).await.json();
        assert_eq!((&bob["email"], &bob["picture"], &bob["is_admin"]), (&Value::Null, &Value::Null, &false.into()));
        assert_eq!((&bob["subject"], &bob["nickname"]), (&"b1".into(), &"b1".into()));
    }
}

#[tokio::test]
async fn equality_and_public_ids_know_issuer_and_subject_only() {
    let world = World::new();
    let kept = Kept::default();
    world.serve(kept.routes());
    world.op.user("alice", |user| user.sub = "subject-of-alice".into());
    let (one, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    world.op.user("alice", |user| user.set("email", "new@example.com"));
    let two = world.signed_in("alice").await;
    let (first, second, bob) = (kept.take(&one).await, kept.take(&two).await, kept.take(&bob).await);
    assert_ne!(first.email(), second.email());
    assert_eq!(first, second);
    assert_ne!(first, bob);
    #[expect(clippy::mutable_key_type, reason = "hash and equality look at issuer and subject only")]
    let set: HashSet<_> = [first.clone(), second.clone(), bob.clone()].into();
    assert_eq!(set.len(), 2);

    assert_eq!(first.pseudonym("forum"), second.pseudonym("forum"));
    let ids = BTreeSet::from([
        first.pseudonym("forum"),
        first.pseudonym("chat"),
        first.pseudonym(""),
        bob.pseudonym("forum"),
        bob.pseudonym("chat"),
    ]);
    assert_eq!(ids.len(), 5);
    for id in &ids {
        assert_eq!(id.len(), 22, "{id}");
        assert_absent("subject-of-alice", id, "a public id");
    }
    let before = first.pseudonym("forum");
    let again = world.another(|config| config);
    world.net.serve_service(APP, again.layer.layer(kept.routes()));
    assert_eq!(kept.take(&one).await.pseudonym("forum"), before, "a restart changes nothing");
    assert_ne!(World::new().public_id_of_alice("forum").await, before, "another application's are others");
}

impl World {
    async fn public_id_of_alice(&self, purpose: &str) -> String {
        let kept = Kept::default();
        self.serve(kept.routes());
        kept.take(&self.signed_in("alice").await).await.pseudonym(purpose)
    }
}

#[tokio::test]
async fn a_person_without_an_email_is_a_person() {
    let world = World::with(admins(&["alice@example.com"]));
    world.op.user("alice", |user| {
        for claim in ["email", "email_verified", "name"] {
            user.unset(claim);
        }
    });
    let kept = Kept::default();
    world.serve(kept.routes());
    let browser = world.signed_in("alice").await;
    let user = kept.take(&browser).await;
    assert_eq!((user.subject(), user.email(), user.email_verified()), ("a1", None, false));
    assert_eq!((user.name(), user.nickname(), user.is_admin()), (None, "a1", false));
    assert_eq!(status(&browser, "/admin").await, 403);
    assert_eq!(status(&browser, "/tok").await, 200);
}

/// An e-mail that moves from one person to another moves nothing with it.
#[tokio::test]
async fn identity_is_the_subject() {
    let world = World::new();
    let before = world.signed_in("alice").await;
    world.op.user("alice", |user| user.set("email", "married@example.com"));
    let after = world.signed_in("alice").await;
    world.op.user("bob", |user| user.set("email", "alice@example.com"));
    let bob = world.signed_in("bob").await;
    for (browser, subject, owner) in [(&before, "a1", "alice"), (&after, "a1", "alice"), (&bob, "b1", "bob")] {
        assert_eq!(world.who(browser).await, subject);
        let token = browser.navigate(&format!("{APP}/tok")).await.text();
        assert_eq!(world.op.owner_of(&token).as_deref(), Some(owner));
    }
}

/// A verified e-mail, compared without case and otherwise to the letter.
#[tokio::test]
async fn admins_need_a_verified_email() {
    let world = World::with(|mut config| {
        config.provider.fetch_user_info = FetchUserInfo::Never;
        admins(&["Root@X.test"])(config)
    });
    for (email, verified, expected) in [
        ("root@x.test", json!(true), 200),
        ("ROOT@X.TEST", json!(true), 200),
        ("root@x.test", json!("true"), 200),
        ("root@x.test", json!(false), 403),
        ("root@x.test", json!("false"), 403),
        ("root@x.test", Value::Null, 403),
        ("evil@root@x.test", json!(true), 403),
        ("root\u{ff20}x.test", json!(true), 403),
        ("root@x.test,evil@y.test", json!(true), 403),
        ("\"root@x.test\"", json!(true), 403),
        (" root@x.test", json!(true), 403),
        ("root@x.test\u{0}", json!(true), 403),
        ("alice@example.com", json!(true), 403),
    ] {
        world.op.user("alice", |user| {
            user.set("email", email);
            user.set("email_verified", verified.clone());
            if verified.is_null() {
                user.unset("email_verified");
            }
        });
        let browser = world.signed_in("alice").await;
        for path in ["/admin", "/admins"] {
            assert_eq!(status(&browser, path).await, expected, "{email} {verified} {path}");
        }
        let who = browser.navigate(&format!("{APP}/who")).await.json();
        assert_eq!(who["admin"], expected == 200, "{email} {verified}");
    }
}

/// Who is an admin is decided at each request, by the configuration as it is now.
#[tokio::test]
async fn admin_is_not_frozen_in_the_session() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    for (list, expected) in [(&["alice@example.com"][..], 200), (&[], 403), (&["bob@example.com"], 403)] {
        world.another(admins(list));
        assert_eq!(status(&browser, "/admin").await, expected, "{list:?}");
        assert_eq!(status(&browser, "/private").await, 200, "an admin is a user too");
    }
    world.another(|mut config| {
        config.admin_subjects = vec!["a1".into()];
        config
    });
    assert_eq!(status(&browser, "/admin").await, 200);
}

/// A claim, alone or in a list, and nothing that looks like it.
#[tokio::test]
async fn admins_by_role() {
    let world = World::with(|mut config| {
        config.provider = config.provider.roles(ClaimSource::IdToken, "/groups");
        config.admin_roles(["admins"])
    });
    for (groups, expected) in [
        (json!("admins"), 200),
        (json!(["users", "admins"]), 200),
        (json!([["admins"]]), 403),
        (json!("users admins"), 403),
        (json!({ "admins": true }), 403),
        (json!("Admins"), 403),
        (json!(true), 403),
    ] {
        world.op.user("alice", |user| user.set("groups", groups.clone()));
        let browser = world.signed_in("alice").await;
        assert_eq!(status(&browser, "/admin").await, expected, "{groups}");
    }
    world.op.user("bob", |user| user.set("admin", true));
    assert_eq!(status(&world.signed_in("bob").await, "/admin").await, 403, "the development provider's claim");
}

/// The guards: nobody, a user, an admin, at extractors and at route layers.
#[tokio::test]
async fn who_gets_in() {
    let world = World::with(admins(&["bob@example.com"]));
    let cooks = RequireLayer::user(|user| user.claims::<Claims>().is_ok_and(|c| c.groups.contains(&"cooks".into())));
    let forms = Router::new().route("/kitchen", get(|| async { "in" }).post(|| async { "in" })).layer(cooks);
    world.serve(routes().merge(forms));
    world.op.user("alice", |user| user.set("groups", json!(["cooks"])));
    let (nobody, alice, bob) = (world.browser(), world.signed_in("alice").await, world.signed_in("bob").await);
    for (path, expected) in [
        ("/who", [200, 200, 200]),
        ("/private", [401, 200, 200]),
        ("/required", [401, 200, 200]),
        ("/admin", [401, 403, 200]),
        ("/admins", [401, 403, 200]),
        ("/kitchen", [401, 200, 403]),
        ("/tok", [401, 200, 200]),
    ] {
        for (browser, expected) in [&nobody, &alice, &bob].into_iter().zip(expected) {
            assert_eq!(status(browser, path).await, expected, "{path}");
            let page = browser.step(&format!("{APP}{path}")).await;
            let navigated = if expected == 401 { 303 } else { expected };
            assert_eq!(page.status, navigated, "{path}: 403 is no redirect, or it would never end");
        }
    }
    let refused = alice.navigate(&format!("{APP}/admin")).await;
    assert_eq!(refused.code(), "forbidden");
    assert_eq!(refused.header("content-type"), Some("text/html; charset=utf-8"));
}

/// Nothing but our cookie says who somebody is.
#[tokio::test]
async fn identity_headers_mean_nothing() {
    let world = World::with(admins(&["root@x.test"]));
    for header in [
        "X-AppEngine-User-Email",
        "X-AppEngine-User-Id",
        "X-AppEngine-User-Is-Admin",
        "X-AppEngine-User-Nickname",
        "X-AppEngine-QueueName",
        "X-AppEngine-Cron",
        "X-Google-Internal-SkipAdminCheck",
        "X-Forwarded-User",
        "X_Forwarded_User",
        "X-Forwarded-Email",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Access-Token",
        "X-Auth-Request-User",
        "X-Remote-User",
        "Remote-User",
        "Remote_User",
        "OIDC_CLAIM_sub",
        "OIDC-Claim-Sub",
        "X-Goog-Authenticated-User-Email",
        "X-MS-Client-Principal-Name",
        "X-Middleware-Subrequest",
        "X-Original-Url",
        "X-Forwarded-Uri",
    ] {
        for value in ["root@x.test", "a1", "1", "true", "/who"] {
            let send = async |path: &str| -> Response<Bytes> {
                let request = Request::get(format!("{APP}{path}")).header(header, value);
                world.browser().raw(request.body(Bytes::new()).unwrap()).await
            };
            assert_eq!(send("/who").await.body(), "null", "{header}: {value}");
            assert_eq!(send("/admin").await.status(), 401, "{header}: {value}");
        }
    }
    for authorization in ["Basic cm9vdEB4LnRlc3Q6eA==", "Bearer a1", "Bearer %zz", "Bearer"] {
        let request = Request::get(format!("{APP}/who")).header("authorization", authorization);
        let answer = world.browser().raw(request.body(Bytes::new()).unwrap()).await;
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"null"[..]), "{authorization}");
    }
}

/// What stands in a request's extensions before the layer is not the layer's word.
#[tokio::test]
async fn a_current_user_in_the_extensions_is_the_layers_own() {
    let world = World::new();
    let kept = Kept::default();
    world.serve(kept.routes());
    let alice = kept.take(&world.signed_in("alice").await).await;
    let bob = session_of(&world.signed_in("bob").await);
    let seen = |request: Request<axum::body::Body>| async move {
        let user = request.extensions().get::<CurrentUser>().map(|user| user.subject().to_owned());
        Ok::<_, std::convert::Infallible>(Response::new(axum::body::Body::from(user.unwrap_or_default())))
    };
    for (cookie, expected) in [(String::new(), ""), (format!("__Host-tower-oidc-session={bob}"), "b1")] {
        let mut request = Request::get("/who").header("cookie", cookie).body(axum::body::Body::empty()).unwrap();
        request.extensions_mut().insert(alice.clone());
        let answer = world.app.layer.layer(tower::service_fn(seen)).oneshot(request).await.unwrap();
        assert_eq!(axum::body::to_bytes(answer.into_body(), 99).await.unwrap(), expected);
    }
}

/// The errors of `AuthSession`, and that they answer by themselves.
#[tokio::test]
async fn users_refuses_destinations_by_type_and_answers_400() {
    let world = World::new();
    type Checked = Result<String, Error>;
    let login = |users: AuthSession| async move { Checked::Ok(users.login_url("https://evil.test/")?) };
    let logout = |users: AuthSession| async move { users.logout_url(&format!("/{}", "x".repeat(5000))) };
    let kind = |users: AuthSession| async move {
        let long = users.login_url(&format!("/{}", "x".repeat(2048)));
        assert_eq!(long, Err(DestinationError::TooLong { length: 2049 }));
        assert_eq!(users.login_url("//evil.test"), Err(DestinationError::NotAllowed));
        assert_eq!(Error::from(DestinationError::NotAllowed).kind(), ErrorKind::InvalidDestination);
        users.silent_login_url("/who").unwrap().unwrap_or_default()
    };
    world.serve(routes().route("/in", get(login)).route("/out", get(logout)).route("/kind", get(kind)));
    let browser = world.browser();
    for path in ["/in", "/out"] {
        let page = browser.navigate(&format!("{APP}{path}")).await;
        assert_eq!((page.status.as_u16(), page.code().as_str()), (400, "invalid_destination"), "{path}");
    }
    let silent = browser.navigate(&format!("{APP}/kind")).await.text();
    assert_eq!(silent, "/auth/login?return_to=%2Fwho&prompt=none");
    let alice = world.signed_in("alice").await;
    assert_eq!(alice.navigate(&format!("{APP}/kind")).await.text(), "", "who is signed in needs none");
    alice.visit(&logout_link(&alice, "/").await).await;
    assert_eq!(alice.navigate(&format!("{APP}/kind")).await.text(), "", "who just signed out wants none");
}

/// Without a person there is no token, nothing is written and nobody is called.
#[tokio::test]
async fn no_user_no_token() {
    let world = World::new();
    let (store, app): (_, App) = world.watched();
    let browser = world.browser();
    for path in ["/tok", "/fetch?u=https://api.test/cal/x", "/private"] {
        let page = browser.step(&format!("{APP}{path}")).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}");
        assert!(page.location().unwrap().starts_with("/auth/login?return_to="), "{path}");
        assert_eq!(status(&browser, path).await, 401, "{path}");
    }
    assert_eq!((store.writes(), store.rows.len()), (0, 0));
    assert!(world.net.requests("https://api.test").is_empty());
    assert!(world.net.requests(OP).is_empty());
    assert!(app.events.all().iter().all(|event| event.code.as_str() == "layer.misplaced"));
}
