//! Each source of roles counts for itself, in every mode.

use serde_json::{Value, json};
use tower_oidc::{ClaimSource, Config, EventCode, LoginDecision, OidcLayer};

use super::{AUDIENCE, SOURCES, give_access_token, roles_in, rules, say, say_in_access_tokens, status, world};
use crate::provider_logout::{MODES, Mode};
use crate::support::app::{APP, World};
use crate::support::provider::Endpoint;

/// All three say something else under one name, and each rule takes what its source says.
#[tokio::test]
async fn each_rule_reads_its_own_source() {
    for mode in MODES {
        for (source, expected) in SOURCES.into_iter().zip(["of-id-token", "of-user-info", "of-access-token"]) {
            let world = world(mode, |config| rules(config, &[(source, "/groups")]));
            say_in_access_tokens(&world.op, AUDIENCE, "alice", Some(json!(["of-access-token", "editor"])));
            if source == ClaimSource::UserInfo {
                // There the access token is shown, and must be the provider's own.
                world.op.honest();
            }
            world.op.edit_id_token(move |token| {
                token.claim("groups", json!(["of-id-token", "editor"]));
                if source != ClaimSource::UserInfo {
                    token.without("at_hash");
                }
            });
            world.op.edit_userinfo(|claims| {
                claims.insert("groups".to_owned(), json!(["of-user-info", "editor"]));
            });
            let alice = world.signed_in("alice").await;
            assert_eq!(roles_in(&alice).await, json!(["editor", expected]), "{mode:?} {source:?}");
            assert_eq!(status(&alice, "/editors").await, 200, "{mode:?} {source:?}");
            let asked = usize::from(source == ClaimSource::UserInfo);
            assert_eq!(world.op.userinfo_calls(), asked, "{mode:?}: UserInfo is asked where a rule needs it");
        }
    }
}

/// What another source says under the same name counts for nothing.
#[tokio::test]
async fn a_role_in_another_source_is_none() {
    for mode in MODES {
        for said in SOURCES {
            for source in SOURCES.into_iter().filter(|source| *source != said) {
                let both = said == ClaimSource::AccessToken && source == ClaimSource::UserInfo;
                let world = world(mode, |config| rules(config, &[(source, "/groups")]));
                say(&world.op, said, Some(json!(["editor"])));
                if both {
                    // UserInfo is asked with that access token, which the provider does not know there.
                    world.op.answer(Endpoint::FetchUserInfo, 200, "application/json", r#"{"sub":"a1"}"#);
                }
                let alice = world.signed_in("alice").await;
                assert_eq!(roles_in(&alice).await, json!([]), "{mode:?} {said:?} for {source:?}");
                assert_eq!(status(&alice, "/editors").await, 403, "{mode:?} {said:?} for {source:?}");
            }
        }
    }
}

/// Several rules: all of their roles, each once. The realm's and the client's are two places of one claim.
#[tokio::test]
async fn several_rules_add_up() {
    for mode in MODES {
        let at = [
            (ClaimSource::IdToken, "/realm_access/roles"),
            (ClaimSource::IdToken, "/resource_access/app/roles"),
            (ClaimSource::UserInfo, "/https:~1~1app.test~1roles"),
        ];
        let world = world(mode, |config| rules(config, &at));
        world.op.edit_id_token(|token| {
            token.claim("realm_access", json!({ "roles": ["staff", "editor"] }));
            token.claim("resource_access", json!({ "app": { "roles": ["editor"] }, "other": { "roles": ["x"] } }));
        });
        world.op.edit_userinfo(|claims| drop(claims.insert("https://app.test/roles".to_owned(), json!("author"))));
        let alice = world.signed_in("alice").await;
        assert_eq!(roles_in(&alice).await, json!(["author", "editor", "staff"]), "{mode:?}");
        let user = alice.navigate(&format!("{APP}/roles")).await.json()["user"].clone();
        assert_eq!(user["roles"], json!(["author", "editor", "staff"]), "a user as JSON");
    }
}

/// What the login hook says is a claim of the application's, and no role of the provider's.
#[tokio::test]
async fn the_login_hook_gives_no_role() {
    for mode in MODES {
        let hook = |config: Config| {
            rules(config, &[(ClaimSource::IdToken, "/groups"), (ClaimSource::UserInfo, "/groups")]).on_login(
                |_| async {
                    LoginDecision::AllowWith(json!({ "groups": ["editor"] }).as_object().cloned().unwrap_or_default())
                },
            )
        };
        let world = world(mode, hook);
        assert_eq!(roles_in(&world.signed_in("alice").await).await, json!([]), "{mode:?}");
        world.op.edit_id_token(|token| token.claim("groups", json!(["author"])));
        assert_eq!(roles_in(&world.signed_in("bob").await).await, json!(["author"]), "{mode:?}: the control");
    }
}

/// A value of another type gives no role, signs everybody in, and is told once.
#[tokio::test]
async fn odd_values_are_told_once() {
    for mode in MODES {
        let world = world(mode, |config| rules(config, &[(ClaimSource::IdToken, "/groups")]));
        for odd in [json!({ "editor": true }), json!(7), json!(["editor", 7])] {
            world.op.edit_id_token(move |token| token.claim("groups", odd.clone()));
            assert_eq!(roles_in(&world.signed_in("alice").await).await, json!([]), "{mode:?}");
        }
        let told: Vec<_> =
            world.app.events.all().into_iter().filter(|it| it.code == EventCode::RolesUnreadable).collect();
        assert_eq!(told.len(), 1, "{mode:?}");
        assert!(told[0].detail.contains("/groups"), "{}", told[0].detail);
        world.op.edit_id_token(|token| token.claim("groups", "editor"));
        assert_eq!(roles_in(&world.signed_in("alice").await).await, json!(["editor"]), "one text is one role");
    }
}

/// The access token of a login counts where it is a JWT of the same person for the configured audience.
#[tokio::test]
async fn an_access_token_must_hold() {
    for mode in MODES {
        let world = world(mode, |config| rules(config, &[(ClaimSource::AccessToken, "/groups")]));
        let op = &world.op;
        let editor = || Some(json!(["editor"]));
        let lies: [(&str, &dyn Fn()); 6] = [
            ("opaque", &|| op.honest()),
            ("another audience", &|| say_in_access_tokens(op, "https://other.test", "alice", editor())),
            ("another person's", &|| say_in_access_tokens(op, AUDIENCE, "bob", editor())),
            ("a client's own", &|| {
                give_access_token(op, op.access_jwt(None, AUDIENCE, |token| token.claim("groups", json!(["editor"]))));
            }),
            ("over", &|| {
                let over = |token: &mut crate::support::provider::jwt::Draft| {
                    let exp = token.now() - 3600;
                    token.claim("groups", json!(["editor"]));
                    token.claim("exp", exp);
                };
                give_access_token(op, op.access_jwt(Some("alice"), AUDIENCE, over));
            }),
            ("another type", &|| {
                let plain = |token: &mut crate::support::provider::jwt::Draft| {
                    token.claim("groups", json!(["editor"]));
                    token.head("typ", "JWT");
                };
                give_access_token(op, op.access_jwt(Some("alice"), AUDIENCE, plain));
            }),
        ];
        for (what, lie) in lies {
            op.honest();
            lie();
            let alice = world.signed_in("alice").await;
            assert_eq!(roles_in(&alice).await, json!([]), "{mode:?}: {what}");
        }
        assert_eq!(world.app.events.count(EventCode::RolesUnreadable), 1, "{mode:?}");
        op.honest();
        say_in_access_tokens(op, AUDIENCE, "alice", editor());
        assert_eq!(roles_in(&world.signed_in("alice").await).await, json!(["editor"]), "{mode:?}: the control");
    }
}

/// Nobody is let in with fewer roles than they have because UserInfo was away: the login can be tried again.
#[tokio::test]
async fn without_userinfo_the_login_fails() {
    let world = world(Mode::PerUser, |config| rules(config, &[(ClaimSource::UserInfo, "/groups")]));
    world.op.answer_error(Endpoint::FetchUserInfo, 503, "temporarily_unavailable");
    world.op.sign_in_as("alice");
    let page = world.browser().visit(&format!("{APP}/auth/login?return_to=/roles")).await;
    assert_eq!(page.status, 503, "{}", page.text());
    world.op.honest();
    assert_eq!(roles_in(&world.signed_in("alice").await).await, json!([]));
}

/// A rule that the configuration has no more gives nothing, also where somebody signed in by it.
#[tokio::test]
async fn the_present_rules_decide() {
    for stateless in [false, true] {
        let first = |config| rules(config, &[(ClaimSource::IdToken, "/groups")]);
        let world = World::with(first);
        let restart = |edit: &dyn Fn(Config) -> Config| {
            let config = edit(crate::support::app::config(&world.net, &world.clock));
            let store = world.app.store.clone();
            let layer =
                if stateless { OidcLayer::stateless(config, store) } else { OidcLayer::per_user(config, store) };
            world.net.serve_service(APP, layer.unwrap().layer(super::with_roles()));
        };
        restart(&first);
        say(&world.op, ClaimSource::IdToken, Some(json!(["editor"])));
        let alice = world.signed_in("alice").await;
        assert_eq!(roles_in(&alice).await, json!(["editor"]), "{stateless}");
        restart(&|config| rules(config, &[(ClaimSource::IdToken, "/teams"), (ClaimSource::UserInfo, "/groups")]));
        assert_eq!(roles_in(&alice).await, json!([]), "{stateless}");
        restart(&first);
        assert_eq!(roles_in(&alice).await, json!(["editor"]), "{stateless}: the control");
        assert_ne!(world.who(&alice).await, Value::Null);
    }
}
