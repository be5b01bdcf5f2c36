//! What comes of an access token that holds.

use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::{Api, Config, LoginDecision, Mode, OidcLayer, SharedAccount};

use super::*;
use crate::support::app::OP;
use crate::support::fault::Fault;
use crate::support::provider::keys::{Alg, Key};

/// The user of a token is the user of a session: the same fields, rules and route layers.
#[tokio::test]
async fn a_tokens_user_is_the_current_user() {
    let world = world(|config| config.admins(["alice@example.com"]));
    let token = world.token("alice", |jwt| {
        jwt.claim("email", "alice@example.com");
        jwt.claim("email_verified", true);
    });
    for _ in 0..2 {
        let answer = world.api("/api/me", &token).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
        let me = body(&answer);
        assert_eq!((&me["sub"], &me["issuer"], &me["admin"]), (&json!("a1"), &json!(OP), &json!(true)));
        assert_eq!((&me["scopes"], &me["client"]), (&json!(["notes.read", "notes.write"]), &json!("cli")));
        assert_eq!(me["client_is"], json!([OP, "notes.read notes.write"]));
        assert_eq!(answer.headers()["cache-control"], "private, no-store");
        assert!(answer.headers().get("set-cookie").is_none());
    }
    for path in ["/private", "/required", "/admins", "/api/notes"] {
        assert_eq!(world.api(path, &token).await.status(), 200, "{path}");
    }
    assert_eq!(world.op.jwks_fetches(), 1);
    let browser = world.signed_in("alice").await;
    let by_session = browser.navigate(&format!("{APP}/api/me")).await.json();
    assert_eq!(by_session["pseudonym"], body(&world.api("/api/me", &token).await)["pseudonym"]);
    assert_eq!((&by_session["scopes"], &by_session["client"]), (&json!([]), &Value::Null));
    assert_eq!(browser.navigate(&format!("{APP}/api/all")).await.status, 200, "scopes limit clients, not users");
}

/// A claim that is null counts as none. One that cannot be read is left out, unless something is decided by it.
#[tokio::test]
async fn claims_that_say_nothing_are_left_out() {
    let world = world(|config| config.admins(["alice@example.com"]));
    let null = world.token("alice", |jwt| {
        ["cnf", "at_hash", "nbf", "typ"].into_iter().for_each(|name| jwt.claim(name, Value::Null));
    });
    assert_eq!(world.api("/private", &null).await.status(), 200);
    let half = |name: &str| {
        world.token("alice", |jwt| {
            jwt.without(name);
            let claims = Value::Object(jwt.claims.clone()).to_string();
            jwt.payload_text = Some(claims.replacen('{', &format!("{{\"{name}\":\"Ann \\ud83d\","), 1));
        })
    };
    assert_eq!(world.api("/private", &half("name")).await.status(), 200);
    assert_eq!(world.api("/private", &half("email")).await.status(), 401, "admins are named by it");
    assert_eq!(world.api("/private", &half("jti")).await.status(), 401, "a claim of the token");
}

/// OpenID Connect Core 1.0 section 2: a subject has at most 255 characters.
#[tokio::test]
async fn the_longest_subject_is_accepted() {
    let world = world(|config| config);
    for (length, status) in [(255, 200), (256, 401)] {
        let token = world.token("alice", |jwt| jwt.claim("sub", "x".repeat(length)));
        assert_eq!(world.api("/private", &token).await.status(), status, "{length}");
    }
}

/// A scope that the token lacks is 403 with the scope, as RFC 6750 section 3.1 says; no token at all is 401 without an error.
#[tokio::test]
async fn what_is_missing_is_in_the_challenge() {
    let world = world(|config| config);
    let token = world.token("alice", |_| ());
    let lacks = world.api("/api/all", &token).await;
    assert_eq!((lacks.status().as_u16(), &body(&lacks)["code"]), (403, &json!("forbidden")));
    assert_eq!(challenge(&lacks), format!("Bearer error=\"insufficient_scope\", scope=\"notes.all\", {METADATA}"));
    for scopes in [json!("notes.all"), json!(["x", "notes.all"]), json!("x notes.all")] {
        for name in ["scope", "scp"] {
            let token = world.token("alice", |jwt| {
                jwt.without("scope");
                jwt.claim(name, scopes.clone());
            });
            assert_eq!(world.api("/api/all", &token).await.status(), 200, "{name}: {scopes}");
        }
    }
    let nothing = world.asks(Request::get(format!("{APP}/api/me"))).await;
    assert_eq!((nothing.status().as_u16(), challenge(&nothing)), (401, format!("Bearer {METADATA}").as_str()));
    assert_eq!(body(&nothing)["code"], "unauthenticated");
    let page = world
        .browser()
        .raw(Request::get(format!("{APP}/private")).header("accept", "text/html").body(Bytes::new()).unwrap())
        .await;
    assert_eq!(page.status(), 303, "a page leads to the login");
}

/// RFC 9728: where clients learn which provider to ask.
#[tokio::test]
async fn the_metadata_name_the_resource_and_its_providers() {
    let world = world(|config| config);
    for path in ["/.well-known/oauth-protected-resource/api", "/.well-known/oauth-protected-resource"] {
        let answer = world.asks(Request::get(format!("{APP}{path}"))).await;
        let expected = json!({
            "resource": AUDIENCE, "authorization_servers": [OP], "scopes_supported": ["notes.read"],
            "bearer_methods_supported": ["header"],
        });
        assert_eq!((answer.status().as_u16(), body(&answer)), (200, expected), "{path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    }
    let other = world.asks(Request::get(format!("{APP}/.well-known/oauth-protected-resource/other"))).await;
    assert_eq!(other.status(), 404);
    let without = World::new();
    without.serve(with_api());
    let answer = without.asks(Request::get(format!("{APP}/.well-known/oauth-protected-resource"))).await;
    assert_eq!(answer.body(), "the application's own 404");
}

/// Without an API, and under another scheme, `Authorization` is the application's own.
#[tokio::test]
async fn other_credentials_are_the_applications_own() {
    let without = World::new();
    without.serve(with_api());
    let answer = without.api("/who", "anything").await;
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"null"[..]));
    let world = world(|config| config);
    for value in ["Basic YTpi", "Bearers x", "BearerX", "DPoP x"] {
        let answer = world.asks(Request::get(format!("{APP}/who")).header(AUTHORIZATION, value)).await;
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"null"[..]), "{value}");
    }
    let token = world.token("alice", |_| ());
    for scheme in ["bearer", "BEARER"] {
        let value = format!("{scheme} {token}");
        let answer = world.asks(Request::get(format!("{APP}/who")).header(AUTHORIZATION, value)).await;
        assert_eq!(body(&answer)["sub"], "a1", "{scheme}");
    }
}

/// With a session beside it the token counts, and the session stays what it is.
#[tokio::test]
async fn a_token_counts_beside_a_session() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = world(|config| config.mode(mode));
        let browser = world.signed_in("alice").await;
        let token = world.token("bob", |_| ());
        let both = browser.raw(request("/who", &token).body(Bytes::new()).unwrap()).await;
        assert_eq!(body(&both)["sub"], "b1");
        assert!(both.headers().get("set-cookie").is_none());
        let spoiled = format!("{token}x");
        let wrong = browser.raw(request("/who", &spoiled).body(Bytes::new()).unwrap()).await;
        assert_eq!(wrong.status(), 401, "never the session in its place");
        assert_eq!(by_cookie(&browser).await, "a1");
        // A cookie needs a proof against forgery, a token alone does not.
        let cookies: Vec<_> =
            browser.cookies_for(APP).iter().map(|one| format!("{}={}", one.name, one.value)).collect();
        let post = |cookies: Option<&str>| {
            let post = Request::post(format!("{APP}/api/me")).header("sec-fetch-site", "cross-site");
            let post = post.header(AUTHORIZATION, format!("Bearer {token}"));
            cookies.into_iter().fold(post, |post, cookies| post.header("cookie", cookies))
        };
        assert_eq!(world.asks(post(Some(&cookies.join("; ")))).await.status(), 403);
        assert_eq!(world.asks(post(None)).await.status(), 200);
    }
}

/// A token carries no grant of its user; the shared account's serves everybody.
#[tokio::test]
async fn a_token_has_no_grant() {
    let world = world(|config| config);
    let token = world.token("alice", |_| ());
    let answer = world.api("/api/tokens", &token).await;
    assert_eq!(
        (answer.status().as_u16(), &body(&answer)["detail"]),
        (403, &json!("a request with an access token carries no grant of its user"))
    );
    let account = Mode::SingleUser(SharedAccount::client_credentials());
    let shared = self::world(|config| config.mode(account));
    let token = shared.token("alice", |_| ());
    assert_eq!(shared.api("/api/tokens", &token).await.status(), 200);
    assert_eq!(body(&shared.api("/who", &token).await)["sub"], "a1");
}

/// A token that a client got for itself is nobody's: it is a client, where the API takes clients.
#[tokio::test]
async fn a_clients_own_token_is_no_user() {
    let marks: [fn(&mut Draft); 7] = [
        |_| (),
        |jwt| {
            jwt.claim("sub", "x");
            jwt.claim("oid", "x")
        },
        |jwt| {
            jwt.without("client_id");
            jwt.claim("cid", "cli")
        },
        |jwt| {
            jwt.claim("sub", "x");
            jwt.claim("azp", "x")
        },
        |jwt| {
            jwt.claim("sub", "x");
            jwt.claim("idtyp", "app")
        },
        |jwt| {
            jwt.claim("sub", "x@clients");
            jwt.claim("gty", "client-credentials")
        },
        |jwt| {
            jwt.without("sub");
            jwt.claim("idtyp", "app")
        },
    ];
    let strict = world(|config| config);
    let open = world(|config| {
        let api = config.api.clone().unwrap();
        config.api(api.allow_clients(true)).admin_subjects(["cli", "x", ""])
    });
    for (at, mark) in marks.into_iter().enumerate() {
        let token = strict.op.access_jwt(None, AUDIENCE, mark);
        assert_eq!(strict.api("/api/notes", &token).await.status(), 401, "{at}");
        let token = open.op.access_jwt(None, AUDIENCE, mark);
        assert_eq!(open.api("/api/notes", &token).await.status(), 200, "{at}");
        assert_eq!(open.api("/api/all", &token).await.status(), 403, "{at}");
        assert_eq!(open.api("/who", &token).await.body(), "null", "{at}");
        assert_eq!(open.api("/admin", &token).await.status(), 401, "{at}");
        let nightly = Request::post(format!("{APP}/api/nightly")).header(AUTHORIZATION, format!("Bearer {token}"));
        assert_eq!(body(&open.asks(nightly).await), "cli", "{at}");
    }
}

/// The decision that the login hook makes for logins is made for tokens, too, and counts for five minutes.
#[tokio::test]
async fn the_hook_decides_about_tokens() {
    let world = world(|config| {
        config.on_login(|_| async { LoginDecision::Allow }).on_bearer(|login| async move {
            match login.claims.get("name").and_then(Value::as_str) {
                Some("Staff") => LoginDecision::AllowWith([("name".to_owned(), json!("S."))].into_iter().collect()),
                Some("Panics") => panic!("on purpose"),
                _ => LoginDecision::Deny("staff only".to_owned()),
            }
        })
    });
    let named = |name: &'static str| world.token("alice", move |jwt| jwt.claim("name", name));
    assert_eq!(body(&world.api("/who", &named("Staff")).await)["name"], "S.");
    for _ in 0..2 {
        let denied = world.api("/who", &named("Guest")).await;
        assert_eq!((denied.status().as_u16(), &body(&denied)["detail"]), (403, &json!("staff only")));
        assert_eq!(challenge(&denied), "");
    }
    assert_eq!(world.api("/who", &named("Panics")).await.status(), 403);
}

/// A token that was accepted is not accepted for ever: its end, and a key that was withdrawn, are seen.
#[tokio::test]
async fn an_accepted_token_ends() {
    let world = world(|config| config);
    let token = world.token("alice", |jwt| {
        let exp = jwt.now() + 90;
        jwt.claim("exp", exp);
    });
    assert_eq!(world.api("/private", &token).await.status(), 200);
    world.clock.advance(Duration::from_secs(149));
    assert_eq!(world.api("/private", &token).await.status(), 200, "a minute of leeway");
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.api("/private", &token).await.status(), 401);
    let long = world.token("alice", |jwt| {
        let exp = jwt.now() + 10_000;
        jwt.claim("exp", exp);
    });
    assert_eq!(world.api("/private", &long).await.status(), 200);
    // Keys that were read again for what a stranger sent are believed no longer.
    let junk = world.token("alice", |jwt| jwt.sign_with(Key::stranger(Alg::Rs256)));
    assert_eq!(world.api("/private", &junk).await.status(), 401);
    world.op.rotate_keys();
    world.op.edit_key_set(|keys| {
        let newest = keys["keys"].as_array().unwrap().last().cloned();
        keys.insert("keys".to_owned(), json!([newest]));
    });
    // The keys are read again once in an hour, in the background.
    world.clock.advance(Duration::from_secs(3_601));
    assert_eq!(world.api("/private", &long).await.status(), 200);
    while world.op.jwks_fetches() < 3 {
        tokio::task::yield_now().await;
    }
    world.clock.advance(Duration::from_secs(301));
    assert_eq!(world.api("/private", &long).await.status(), 401, "its key is published no more");
}

/// While the provider is away, what is known goes on, and what is not is 503.
#[tokio::test]
async fn a_provider_that_is_away_is_503() {
    let world = world(|config| config);
    let (known, unknown) = (world.token("alice", |_| ()), world.token("bob", |_| ()));
    world.net.fault(OP, "", Fault::Refuse);
    let answer = world.api("/private", &known).await;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));
    world.net.heal(OP);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.api("/private", &known).await.status(), 200);
    world.net.fault(OP, "", Fault::Refuse);
    assert_eq!(world.api("/private", &known).await.status(), 200);
    assert_eq!(world.api("/private", &unknown).await.status(), 200, "its keys are here");
}

/// The same people by tokens and by cookies at once: nobody is somebody else.
#[tokio::test]
async fn tokens_and_sessions_are_not_mixed_up() {
    let world = world(|config| config);
    let mut asked = Vec::new();
    for person in 0..200 {
        let name = format!("p{person}");
        let token = world.token(&name, |_| ());
        let browser = if person % 4 == 0 { Some(world.signed_in(&name).await) } else { None };
        asked.push((name, token, browser));
    }
    let subject = |token: &str| crate::support::provider::jwt::claims_of(token)["sub"].clone();
    for _ in 0..3 {
        let answers = asked.iter().map(async |(name, token, browser)| {
            let by_token = body(&world.api("/who", token).await)["sub"].clone();
            let by_cookie = match browser {
                Some(browser) => by_cookie(browser).await,
                None => subject(token),
            };
            assert_eq!((&by_token, &by_cookie), (&subject(token), &subject(token)), "{name}");
        });
        futures_util::future::join_all(answers).await;
    }
}

/// A configuration with which other tokens would pass for access tokens is refused, with its remedy.
#[test]
fn an_api_needs_an_audience_of_its_own() {
    let net = crate::support::net::Net::new();
    let clock = crate::support::clock::TestClock::new();
    let problems = |edit: &dyn Fn(Config) -> Config| {
        let made = OidcLayer::per_user(edit(config(&net, &clock)), tower_oidc::store::MemoryStore::new());
        made.err().map_or(String::new(), |error| error.to_string())
    };
    assert_eq!(problems(&api), "");
    let client_id = crate::support::provider::CLIENT_ID;
    for audience in ["", client_id] {
        assert!(problems(&|config| config.api(Api::new(audience))).contains("and no client id"), "{audience}");
    }
    let hooked = |config: Config| api(config).on_login(|_| async { LoginDecision::Allow });
    assert!(problems(&hooked).contains("set on_bearer too"));
    assert_eq!(problems(&|config| hooked(config).on_bearer(|_| async { LoginDecision::Allow })), "");
    for name in ["nowhere", "default"] {
        let at = |config: Config| config.api(Api::new(AUDIENCE).introspect_at(name));
        assert_eq!(problems(&at).contains("introspect_at"), name == "nowhere", "{name}");
    }
}
