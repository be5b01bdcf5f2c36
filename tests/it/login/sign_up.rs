//! What the login hook sees of a login, what it may do with its tokens, and how long it lets somebody stay.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tower_oidc::{Api, Config, Connection, ErrorKind, LoginDecision, PeerAddr, Resource, SharedAccount, VerifiedLogin};

use super::{SESSION, callback_of, login, who};
use crate::single_user::app::start;
use crate::support::app::{API, APP, EVIL, World, routes};
use crate::support::net::Caller;

const HOUR: Duration = Duration::from_secs(3600);

/// What the hook was asked.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<VerifiedLogin>>>);

impl Asked {
    fn hook(&self, config: Config) -> Config {
        let asked = self.clone();
        config.on_login(move |login| {
            asked.0.lock().unwrap().push(login);
            async { LoginDecision::Allow }
        })
    }

    fn last(&self) -> VerifiedLogin {
        self.0.lock().unwrap().pop().expect("the hook was asked")
    }
}

#[tokio::test]
async fn the_hook_sees_how_and_from_where() {
    let asked = Asked::default();
    for world in [World::with(|config| asked.hook(config)), World::stateless_with(|config| asked.hook(config))] {
        world.op.edit_id_token(|jwt| {
            jwt.claim("acr", "gold");
            jwt.claim("amr", json!(["pwd", "otp"]));
        });
        let seen = |mut request: Request| async move {
            request.extensions_mut().insert(PeerAddr("192.0.2.7:4711".parse().unwrap()));
            for (name, value) in
                [("accept-language", "de"), ("authorization", "Basic eDp5"), ("proxy-authorization", "Basic eDp5")]
            {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            request
        };
        let app = Router::new().fallback_service(world.app.layer.layer(routes())).layer(map_request(seen));
        world.net.serve_service(APP, app);
        world.signed_in("alice").await;
        let login = asked.last();
        assert_eq!((login.provider.as_str(), login.subject.as_str()), ("default", "a1"));
        assert_eq!((login.acr.as_deref(), &login.amr[..]), (Some("gold"), &["pwd".into(), "otp".into()][..]));
        assert_eq!(login.scopes, ["openid", "email", "profile"]);
        assert_eq!(login.peer, Some("192.0.2.7:4711".parse().unwrap()));
        let header = |name: &str| login.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("accept-language"), Some("de"));
        assert!(header("user-agent").is_some_and(|agent| agent.contains("Chrome/")));
        for secret in ["cookie", "authorization", "proxy-authorization"] {
            assert_eq!(header(secret), None, "{secret}");
        }
        let shown = format!("{login:?}");
        assert!(!world.op.secrets().iter().any(|secret| shown.contains(secret.as_str())), "{shown}");
    }
}

#[tokio::test]
async fn what_nobody_says_is_none() {
    let asked = Asked::default();
    let world = World::with(|config| asked.hook(config));
    world.signed_in("alice").await;
    let login = asked.last();
    assert_eq!((login.acr.as_deref(), login.amr.len(), login.peer), (None, 0, None));
}

/// The lifetimes of the sessions that a hook decides about by the name of the user.
fn lives(config: Config) -> Config {
    config.on_login(|login| async move {
        let role: Map<_, _> = [("role".to_owned(), json!("guest"))].into_iter().collect();
        match login.subject.as_str() {
            "a1" => LoginDecision::AllowWith(role).lifetime(HOUR),
            "b1" => LoginDecision::Allow.lifetime(1000 * 24 * HOUR),
            _ => LoginDecision::Deny("no".to_owned()).lifetime(HOUR),
        }
    })
}

async fn uses(world: &World, browser: &crate::support::browser::Browser, hours: u32) {
    for _ in 0..hours * 4 {
        world.clock.advance(HOUR / 4);
        world.who(browser).await;
        world.app.layer.drain().await;
    }
}

#[tokio::test]
async fn the_hook_limits_how_long_a_session_lasts() {
    for world in [World::with(lives), World::stateless_with(lives)] {
        world.op.sign_in_as("alice");
        let alice = world.browser();
        let callback = callback_of(&alice, &login("/who")).await;
        let set = alice.step(&callback).await;
        let cookies: Vec<_> = set.headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap()).collect();
        let cookie = cookies.iter().find(|cookie| cookie.starts_with(SESSION)).unwrap();
        assert!(cookie.contains("Max-Age=3600"), "{cookie}");
        assert_eq!(who(&alice).await.as_deref(), Some("a1"));
        world.clock.advance(HOUR - Duration::from_secs(1));
        assert_eq!(world.who(&alice).await, "a1");
        let shown = alice.cookies_for(APP).iter().map(|c| format!("{}={}", c.name, c.value)).collect::<Vec<_>>();
        world.clock.advance(Duration::from_secs(1));
        let late = world.with_cookie("/who", shown.join("; ").as_bytes()).await;
        assert_eq!(&late.body()[..], b"null", "whatever the browser keeps");
        let left = alice.cookies_for(APP);
        assert!(left.iter().all(|cookie| cookie.name != SESSION), "its cookie ends with it");
    }
}

/// No lifetime is longer than the configured one, and an idle session ends as it always does.
#[tokio::test]
async fn no_hook_lengthens_what_is_configured() {
    for world in [World::with(lives), World::stateless_with(lives)] {
        let bob = world.signed_in("bob").await;
        // What is left in the last eighth of the idle lifetime is not written any more.
        uses(&world, &bob, 6 * 24 + 20).await;
        assert_eq!(world.who(&bob).await, "b1");
        uses(&world, &bob, 4).await;
        assert_eq!(world.who(&bob).await, Value::Null, "seven days");
        world.sign_in(&bob, "bob").await;
        world.clock.advance(24 * HOUR);
        assert_eq!(world.who(&bob).await, Value::Null, "idle for a day");
    }
}

#[tokio::test]
async fn a_lifetime_leaves_the_rest_of_a_decision_as_it_is() {
    let claims = |decision| match decision {
        LoginDecision::AllowFor(lifetime, claims) => (lifetime, Value::Object(claims)),
        other => panic!("{other:?}"),
    };
    let role: Map<_, _> = [("role".to_owned(), json!("guest"))].into_iter().collect();
    assert_eq!(claims(LoginDecision::Allow.lifetime(HOUR)), (HOUR, json!({})));
    let with = LoginDecision::AllowWith(role).lifetime(HOUR).lifetime(2 * HOUR);
    assert_eq!(claims(with), (2 * HOUR, json!({ "role": "guest" })));
    assert!(matches!(LoginDecision::Deny("no".into()).lifetime(HOUR), LoginDecision::Deny(_)));
}

/// A login of another tab that failed goes on for who has signed in since, however short their session is.
#[tokio::test]
async fn a_short_session_is_one_that_began_since() {
    for world in [World::with(lives), World::stateless_with(lives)] {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        world.op.set(|settings| settings.deny = true);
        let late = callback_of(&browser.new_tab(), &login("/late")).await;
        world.op.set(|settings| settings.deny = false);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(browser.visit(&login("/tab")).await.path_and_query(), "/tab");
        assert_eq!(browser.navigate(&late).await.path_and_query(), "/late");
    }
}

/// Calls these URLs in the hook, and keeps what came: the status, or the code of the error.
fn calling(urls: &'static [&'static str], found: &Arc<Mutex<Vec<String>>>) -> impl Fn(Config) -> Config {
    let found = found.clone();
    move |config| {
        let found = found.clone();
        config.on_login(move |login| {
            let found = found.clone();
            async move {
                for url in urls {
                    let request = Request::get(*url).header("authorization", "Bearer mine");
                    let answer = login.call(request.body(Bytes::new()).unwrap()).await;
                    let text = answer.map_or_else(|error| error.kind().code().to_owned(), |a| a.status().to_string());
                    found.lock().unwrap().push(text);
                }
                LoginDecision::Allow
            }
        })
    }
}

const REGISTERED: &str = "https://api.test/cal/me";
const FOREIGN: &[&str] = &[
    "https://evil.test/cal/me",
    "https://api.test/calendar",
    "https://api.test/mail/me",
    "https://api.test/cal/../mail/me",
    "http://api.test/cal/me",
    "https://api.test@evil.test/cal/me",
    "/cal/me",
];

#[tokio::test]
async fn the_hook_calls_registered_apis_as_the_user() {
    let found = Arc::default();
    let with_mail = |config: Config| {
        let mail = Resource::new("mail", format!("{API}/mail/"));
        calling(&[REGISTERED], &found)(config.connection(Connection::new("mail").resource(mail)))
    };
    let world = World::with(with_mail);
    world.signed_in("alice").await;
    assert_eq!(found.lock().unwrap().drain(..).collect::<Vec<_>>(), ["200 OK"]);
    let seen = world.api.requests();
    assert_eq!((seen.len(), seen[0].owner.as_deref()), (1, Some("alice")));
    // A redirect is not followed: its target is for the hook to judge.
    world.api.redirect("/cal/me", 302, EVIL);
    world.signed_in("bob").await;
    assert_eq!(found.lock().unwrap().drain(..).collect::<Vec<_>>(), ["302 Found"]);
    assert!(world.evil.requests().is_empty());
}

#[tokio::test]
async fn no_token_goes_to_a_url_that_is_not_registered_for_the_login() {
    let found = Arc::default();
    let with_mail = |config: Config| {
        let mail = Resource::new("mail", format!("{API}/mail/"));
        calling(FOREIGN, &found)(config.connection(Connection::new("mail").resource(mail)))
    };
    for world in [World::with(with_mail), World::stateless_with(|config| calling(FOREIGN, &found)(config))] {
        world.signed_in("alice").await;
        let found: Vec<_> = found.lock().unwrap().drain(..).collect();
        assert_eq!(found, vec!["no_token_for_url"; FOREIGN.len()]);
        assert!(world.api.requests().is_empty() && world.evil.requests().is_empty(), "nothing is sent");
    }
}

/// Where one account's tokens are used, the login's are not; and a token that a client sent is not the application's to use.
#[tokio::test]
async fn other_tokens_are_not_for_the_hook() {
    let world = World::new();
    let found = Arc::default();
    let app = start(&world, SharedAccount::client_credentials(), world.app.store.clone(), |config| {
        calling(&[REGISTERED], &found)(config)
    });
    world.net.serve_service(APP, app.layer.layer(routes()));
    world.signed_in("alice").await;
    assert_eq!(*found.lock().unwrap(), ["no_token_for_url"]);

    let bearer = Arc::new(Mutex::new(Vec::new()));
    let asked = bearer.clone();
    let world = World::with(move |config| {
        config.api(Api::new("https://app.test/api")).on_bearer(move |login| {
            let asked = asked.clone();
            async move {
                let request = Request::get(REGISTERED).body(Bytes::new()).unwrap();
                let refused = login.call(request).await.unwrap_err().kind();
                asked.lock().unwrap().push((login, refused));
                LoginDecision::Allow
            }
        })
    });
    let token = world.op.access_jwt(Some("alice"), "https://app.test/api", |jwt| {
        jwt.claim("acr", "gold");
        jwt.claim("amr", json!(["hwk"]));
    });
    let request = Request::get(format!("{APP}/who")).header("authorization", format!("Bearer {token}"));
    let answer = world.net.call(Caller::Application, request.body(Bytes::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (login, refused) = bearer.lock().unwrap().pop().unwrap();
    assert_eq!((login.provider.as_str(), login.subject.as_str()), ("default", "a1"));
    assert_eq!((login.acr.as_deref(), &login.amr[..]), (Some("gold"), &["hwk".to_owned()][..]));
    assert_eq!(login.scopes, ["notes.read", "notes.write"]);
    assert!(login.peer.is_none() && login.headers.is_empty());
    assert_eq!(refused, ErrorKind::NoTokenForUrl);
    assert!(world.api.requests().is_empty());
}
