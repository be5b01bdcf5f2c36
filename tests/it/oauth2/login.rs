//! A login at GitHub, honest and otherwise.

use std::time::Duration;

use axum::routing::get;
use serde_json::{Value, json};
use tower_oidc::store::MemoryStore;
use tower_oidc::{ClaimSource, Config, EventCode, Mode, OAuth2, OidcLayer, ProviderConfig, Readiness, RequireLayer};

use super::{HUB, Without, modes, preset, registered, shapes};
use crate::support::app::{APP, config, routes};
use crate::support::fault::Fault;
use crate::support::net::answer;

/// GitHub names itself in its responses since 2026; what else comes there is a response of somebody else (RFC 9207).
#[tokio::test]
async fn a_response_names_the_issuer_of_the_table_or_none() {
    let without = Without::github();
    for (iss, status) in [
        (Some("https://evil.test"), 400),
        (Some("oauth2:github.com/login/oauth/access_token"), 400),
        (None, 200),
        (Some("https://github.com/login/oauth"), 200),
    ] {
        without.provider.set(|shape| shape.iss = iss);
        assert_eq!(without.attempt("alice").await.1.status, status, "{iss:?}");
    }
    assert_eq!(without.provider.token_requests().len(), 2, "a code of somebody else is not exchanged");
    let other = Without::of(Mode::PerUser, shapes::todoist(), preset("todoist"), |config| config);
    other.provider.set(|shape| shape.iss = Some("https://todoist.com"));
    other.refused("a provider that names no issuer", 400).await;
}

/// An address is verified by the list: primary, and verified.
#[tokio::test]
async fn an_email_is_verified_by_the_list_of_addresses() {
    let without =
        Without::of(Mode::PerUser, shapes::github(), preset("github"), |config| config.admins(["alice@example.com"]));
    let who = |page: crate::support::browser::Page| {
        let who = page.json();
        (who["email"].clone(), who["email_verified"].clone(), who["admin"].clone())
    };
    let honest = who(without.attempt("alice").await.1);
    assert_eq!(honest, (json!("alice@example.com"), json!(true), json!(true)));
    // The public address of the profile is anybody's word.
    without.provider.edit(|answer| match answer.as_array_mut() {
        Some(list) => list[1]["verified"] = json!(false),
        None => answer["email"] = json!("alice@example.com"),
    });
    let unverified = who(without.attempt("alice").await.1);
    assert_eq!(unverified, (json!("alice@example.com"), json!(false), json!(false)));
    without.provider.edit(|answer| {
        if let Some(list) = answer.as_array_mut() {
            list[1]["primary"] = json!(false);
        } else {
            answer["email"] = json!("alice@example.com");
        }
    });
    assert_eq!(who(without.attempt("alice").await.1).0, Value::Null);
}

/// Who is not named, is nobody: whatever the endpoint says, nobody is signed in by it who should not be.
#[tokio::test]
async fn an_identity_endpoint_that_lies_signs_nobody_in() {
    for mode in modes() {
        let without = Without::of(mode, shapes::github(), preset("github"), |config| config);
        for id in [Value::Null, json!(""), json!(1.5), json!([583_231]), json!({}), json!(true), json!("x".repeat(256))]
        {
            let told = id.to_string();
            without.provider.edit(move |answer| {
                if answer.is_object() {
                    answer["id"] = id.clone();
                }
            });
            without.refused(&told, 400).await;
            assert!(without.last_refusal().contains("/id is"), "{}", without.last_refusal());
        }
        let odd = [(json!([]), 400), (json!({ "message": "Not Found" }), 400), (json!("alice"), 502)];
        for (odd, status) in odd {
            let told = odd.to_string();
            without.provider.edit(move |answer| *answer = odd.clone());
            without.refused(&told, status).await;
        }
        without.provider.honest();
        for (path, fault, status) in [
            ("/user", Fault::Status(500), 503),
            ("/user", Fault::Status(429), 503),
            ("/user", Fault::Refuse, 503),
            ("/user", Fault::Status(401), 502),
            ("/user", Fault::Status(403), 502),
            ("/user", Fault::Garbage, 502),
            ("/user", Fault::Redirect("https://evil.test".to_owned()), 502),
            ("/user/emails", Fault::Status(502), 503),
        ] {
            let told = format!("{path} {fault:?}");
            without.world.net.fault(HUB, path, fault);
            without.refused(&told, status).await;
            without.world.net.heal(HUB);
        }
        assert!(!without.world.app.events.has(EventCode::LoginSucceeded));
        assert!(without.world.net.requests("https://evil.test").is_empty());
        without.signed_in("alice").await;
    }
}

/// A value that cannot be read costs that member alone. A name that stands twice says two things, and neither counts.
#[tokio::test]
async fn an_answer_is_read_once_and_as_far_as_it_can_be() {
    let without = Without::github();
    for (body, status) in [
        (r#"{"id":1,"name":"Ann \ud83d"}"#, 200),
        (r#"{"id":1,"id":583231}"#, 502),
        (r#"{"id":1} {"id":2}"#, 502),
        (r#"[{"id":1}]"#, 400),
        ("\u{feff}{\"id\":1}", 200),
    ] {
        without.world.net.serve(&format!("{HUB}/user"), move |_| async move { answer(200, body) });
        without.world.net.serve(&format!("{HUB}/user/emails"), |_| async { answer(200, "[]") });
        let (_, page) = without.attempt("alice").await;
        assert_eq!(page.status.as_u16(), status, "{body}: {}", page.text());
    }
}

/// A token without the scope for it may not read the list: the account is who it is, without an address.
#[tokio::test]
async fn without_the_list_of_addresses_none_counts() {
    let without =
        Without::of(Mode::PerUser, shapes::github(), preset("github"), |config| config.admins(["alice@example.com"]));
    for status in [403, 404] {
        without.world.net.fault(HUB, "/user/emails", Fault::Status(status));
        let page = without.attempt("alice").await.1.json();
        assert_eq!((&page["sub"], &page["email"], &page["admin"]), (&json!("583231"), &Value::Null, &json!(false)));
        without.world.net.heal(HUB);
    }
    assert_eq!(without.attempt("alice").await.1.json()["admin"], true, "the control");
}

/// Errors come with status 200, under names of GitHub's own.
#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let without = Without::github();
    for (code, status) in [("bad_verification_code", 400), ("incorrect_client_credentials", 502), ("odd", 502)] {
        without.provider.set(|shape| shape.refusal = (200, code));
        without.provider.sign_in_as("alice");
        let browser = without.world.browser();
        let sent = browser.step(&format!("{APP}/auth/login?return_to=/who")).await;
        let back = browser.follow(&sent).await;
        let callback = back.header("location").unwrap().replace("code=code_", "code=other_");
        let page = browser.navigate(&callback).await;
        assert_eq!(page.status.as_u16(), status, "{code}: {}", page.text());
        assert_eq!(without.world.who(&browser).await, Value::Null);
    }
    without.signed_in("alice").await;
}

/// What only an ID token can say is not believed without one.
#[tokio::test]
async fn a_login_that_needs_an_id_token_is_refused() {
    let without = Without::github();
    for asked in ["max_age=60", "acr_values=high"] {
        let browser = without.world.browser();
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/who&{asked}")).await;
        assert_eq!(page.status, 403, "{asked}: {}", page.text());
        assert_eq!(without.world.who(&browser).await, Value::Null, "{asked}");
    }
    without.signed_in("alice").await;
}

/// Nothing that is signed comes from there, and nothing needs to be fetched.
#[tokio::test]
async fn without_keys_it_is_ready_and_signs_nobody_out() {
    let without = Without::github();
    let health = without.world.app.layer.health().await;
    assert_eq!((health.providers[0].metadata, health.providers[0].key_set), (Readiness::Ready, Readiness::Ready));
    let alice = without.signed_in("alice").await;
    for _ in 0..2 {
        let token = without.world.op.logout_token("app", "alice", None, |draft| {
            draft.claim("iss", "oauth2:github.com/login/oauth/access_token");
            draft.claim("sub", "583231");
        });
        assert_eq!(without.world.back_channel(&token).await.status(), 400);
    }
    without.world.clock.advance(Duration::from_secs(5));
    assert_eq!(without.world.who(&alice).await, "583231");
    assert!(!without.world.app.events.has(EventCode::MetadataFetched));
}

/// An ID token that nobody asked for is nobody's word.
#[tokio::test]
async fn an_id_token_beside_the_access_token_says_nothing() {
    let without = Without::github();
    let token = without.world.op.logout_token("app", "bob", None, |draft| {
        draft.claim("iss", "https://github.com/login/oauth");
    });
    without.provider.set(|shape| shape.also = Some(("id_token", token)));
    let (_, page) = without.attempt("alice").await;
    assert_eq!(page.json()["sub"], "583231");
}

#[test]
fn what_cannot_be_is_refused_at_construction() {
    let world = crate::support::app::World::new();
    let refused = |provider: ProviderConfig| {
        let layer = OidcLayer::per_user(config(&world.net, &world.clock).provider(provider), MemoryStore::new());
        layer.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let hub = || preset("github");
    assert_eq!(refused(hub()), "", "the control");
    assert!(refused(hub().endpoint("token_endpoint", "http://github.com/token")).contains("token_endpoint is"));
    assert!(refused(hub().scopes(["openid"])).contains("the scope openid"));
    assert!(refused(hub().hosted_domain("x.test")).contains("hosted_domain"));
    assert!(refused(hub().any_tenant(true)).contains("tenants"));
    let mut named = hub();
    named.issuer = "https://github.com".into();
    assert!(refused(named.clone()).contains("begin it with \"oauth2:\""));
    named.issuer = "oauth2:github.com".into();
    assert_eq!(refused(named), "");
    let mut without = hub();
    without.metadata.remove("authorization_endpoint");
    assert!(refused(without).contains("authorization_endpoint is missing"));
    for (identity, list) in [("http://api.github.com/user", "user/emails"), (HUB, "http://evil.test/emails"), ("", "")]
    {
        let mut insecure = hub();
        let oauth2 = insecure.oauth2.as_mut().unwrap();
        oauth2.identity_endpoint = identity.into();
        oauth2.email_addresses.as_mut().unwrap().endpoint = list.into();
        assert!(refused(insecure).contains("identity_endpoint is"), "{identity} {list}");
    }
    // On this machine, for tests of one's own.
    let local = ProviderConfig::new("", "app")
        .oauth2(OAuth2::new("http://127.0.0.1:9/me"))
        .endpoint("authorization_endpoint", "http://localhost:9/authorize")
        .endpoint("token_endpoint", "http://127.0.0.1:9/token");
    assert_eq!(refused(registered(local)), "");
    // Nobody who has an issuer of ID tokens is called so.
    assert!(refused(ProviderConfig::new("oauth2:github.com", "app").client_secret("s")).contains("https URL"));
}

/// Single endpoints over discovery, and all of them in its place.
#[tokio::test]
async fn endpoints_by_hand_count_in_place_of_the_metadata() {
    use crate::support::app::{OP, World};
    let moved = World::with(|mut config| {
        config.provider = config.provider.endpoint("userinfo_endpoint", format!("{OP}/userinfo"));
        config.provider.fetch_user_info = tower_oidc::FetchUserInfo::Always;
        config
    });
    moved.op.edit_discovery(|metadata| drop(metadata.remove("userinfo_endpoint")));
    moved.signed_in("alice").await;
    assert_eq!((moved.net.count(OP, "/userinfo"), moved.op.discovery_fetches()), (1, 1));
    let all = |config: Config| {
        let mut config = config;
        for (name, path) in [("authorization_endpoint", "authorize"), ("token_endpoint", "token"), ("jwks_uri", "jwks")]
        {
            config.provider = config.provider.endpoint(name, format!("{OP}/{path}"));
        }
        config
    };
    let by_hand = World::with(all);
    by_hand.op.answer_error(crate::support::provider::Endpoint::Discovery, 500, "gone");
    by_hand.signed_in("alice").await;
    assert_eq!(by_hand.op.discovery_fetches(), 0);
    // Who issues the tokens is checked as before.
    by_hand.op.edit_id_token(|draft| draft.claim("iss", "https://evil.test"));
    by_hand.op.sign_in_as("alice");
    let page = by_hand.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!(page.status, 400);
}

/// Roles are among the claims that are read from the identity endpoint.
#[tokio::test]
async fn roles_are_in_the_identity_endpoints_answer() {
    for mode in modes() {
        let mut github = preset("github").roles(ClaimSource::UserInfo, "/groups");
        github.oauth2.as_mut().unwrap().claims.insert("groups".into(), "/groups".into());
        let without = Without::of(mode.clone(), shapes::github(), github, |config| config.admin_roles(["boss"]));
        for (groups, is_admin) in [(json!(["boss"]), true), (json!(["Boss"]), false)] {
            without.provider.edit(move |answer| {
                if answer.is_object() {
                    answer["groups"] = groups.clone();
                }
            });
            let alice = without.signed_in("alice").await;
            let who = alice.navigate(&format!("{APP}/who")).await.json();
            assert_eq!(who["admin"], is_admin, "{mode:?}: {who}");
        }
    }
}

/// Nothing says there how somebody was authenticated, and nobody is sent for it.
#[tokio::test]
async fn no_other_authentication_can_be_asked_for() {
    for mode in modes() {
        let without = Without::of(mode.clone(), shapes::github(), preset("github"), |config| config);
        let route = |layer: RequireLayer| get(|| async { "in" }).layer(layer);
        without.world.serve(
            routes()
                .route("/gold", route(RequireLayer::acr(["gold"])))
                .route("/recent", route(RequireLayer::recent(Duration::from_secs(300)))),
        );
        let alice = without.signed_in("alice").await;
        for path in ["/gold", "/recent"] {
            let page = alice.navigate(&format!("{APP}{path}")).await;
            assert_eq!((page.status.as_u16(), page.path_and_query()), (403, path), "{mode:?}");
            assert_eq!(page.code(), "forbidden", "{mode:?}");
        }
        without.provider.sign_in_as("alice");
        let page = without.world.browser().visit(&format!("{APP}/gold")).await;
        assert_eq!(page.status, 403, "{mode:?}: after a login, {}", page.text());
    }
}
