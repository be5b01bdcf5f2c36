//! A role that the provider withdraws counts no more, where a session is looked at again.

use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::{ClaimSource, Config};

use super::{AUDIENCE, SOURCES, roles_in, rules, say, say_in_access_tokens, status, world};
use crate::provider_logout::{MODES, Mode};
use crate::support::app::{APP, OP, World};
use crate::support::browser::Browser;
use crate::support::fault::Fault;
use crate::support::provider::Endpoint;

const EVERY: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);

fn looked_at_again(config: Config, source: ClaimSource) -> Config {
    rules(config, &[(source, "/groups")]).revalidate_every(EVERY)
}

/// What is said after the provider was asked again.
async fn later(world: &World, browser: &Browser) -> Value {
    world.clock.advance(EVERY);
    roles_in(browser).await;
    world.app.layer.drain().await;
    world.clock.advance(Duration::from_secs(3));
    roles_in(browser).await
}

#[tokio::test]
async fn a_withdrawn_role_counts_no_more() {
    for mode in MODES {
        for source in SOURCES {
            for gone in [Some(json!(["reader"])), Some(json!([])), None] {
                let world = world(mode, |config| looked_at_again(config, source));
                say(&world.op, source, Some(json!(["editor", "reader"])));
                let alice = world.signed_in("alice").await;
                assert_eq!(roles_in(&alice).await, json!(["editor", "reader"]), "{mode:?} {source:?}");
                // The control: in another order they are the same, and nobody is signed out.
                say(&world.op, source, Some(json!(["reader", "editor"])));
                assert_eq!(later(&world, &alice).await, json!(["editor", "reader"]), "{mode:?} {source:?}");
                say(&world.op, source, gone.clone());
                let rest = later(&world, &alice).await;
                // What the browser keeps is not written anew: the session ends.
                let expected = match mode {
                    Mode::Stateless => Value::Null,
                    _ => gone.clone().unwrap_or_else(|| json!([])),
                };
                assert_eq!(rest, expected, "{mode:?} {source:?} {gone:?}");
                if mode != Mode::Stateless {
                    assert_eq!(status(&alice, "/editors").await, 403, "{mode:?} {source:?}");
                    say(&world.op, source, Some(json!(["editor"])));
                    assert_eq!(later(&world, &alice).await, json!(["editor"]), "it is given again");
                }
            }
        }
    }
}

/// An access token that does not hold any more names no roles: some providers leave the audience out with the last role.
#[tokio::test]
async fn an_access_token_for_nobody_here_withdraws() {
    for mode in MODES {
        let world = world(mode, |config| looked_at_again(config, ClaimSource::AccessToken));
        say(&world.op, ClaimSource::AccessToken, Some(json!(["editor"])));
        let alice = world.signed_in("alice").await;
        world.op.honest();
        say_in_access_tokens(&world.op, "https://other.test", "alice", Some(json!(["editor"])));
        let rest = later(&world, &alice).await;
        assert_eq!(rest, if mode == Mode::Stateless { Value::Null } else { json!([]) }, "{mode:?}");
    }
}

/// What cannot be had withdraws nothing.
#[tokio::test]
async fn userinfo_that_is_away_withdraws_nothing() {
    for mode in MODES {
        let world = world(mode, |config| looked_at_again(config, ClaimSource::UserInfo));
        say(&world.op, ClaimSource::UserInfo, Some(json!(["editor"])));
        let alice = world.signed_in("alice").await;
        world.op.answer_error(Endpoint::FetchUserInfo, 503, "temporarily_unavailable");
        assert_eq!(later(&world, &alice).await, json!(["editor"]), "{mode:?}");
    }
}

/// Nor do keys that are away, where an access token is signed with a new one.
#[tokio::test]
async fn keys_that_are_away_withdraw_nothing() {
    for away in [true, false] {
        for mode in MODES {
            let world = world(mode, |config| looked_at_again(config, ClaimSource::AccessToken));
            say(&world.op, ClaimSource::AccessToken, Some(json!(["editor"])));
            let alice = world.signed_in("alice").await;
            world.op.rotate_keys();
            let token = world.op.access_jwt(Some("alice"), AUDIENCE, |token| token.claim("groups", json!(["reader"])));
            world.op.edit_refreshed_tokens(move |tokens| {
                tokens.insert("access_token".to_owned(), token.clone().into());
                tokens.remove("id_token");
            });
            if away {
                world.net.fault(OP, "/jwks", Fault::Status(503));
            }
            let expected = match (away, mode) {
                (true, _) => json!(["editor"]),
                (false, Mode::Stateless) => Value::Null,
                (false, _) => json!(["reader"]),
            };
            assert_eq!(later(&world, &alice).await, expected, "{mode:?}, away: {away}");
        }
    }
}

/// Without the setting, roles are those of the login, and UserInfo is not asked again.
#[tokio::test]
async fn without_the_setting_roles_stay() {
    for mode in MODES {
        for source in SOURCES {
            let world = world(mode, |config| rules(config, &[(source, "/groups")]));
            say(&world.op, source, Some(json!(["editor"])));
            let alice = world.signed_in("alice").await;
            let asked = world.op.userinfo_calls();
            say(&world.op, source, None);
            world.clock.advance(HOUR);
            if mode != Mode::SingleUser {
                alice.navigate(&format!("{APP}/tok")).await;
                world.app.layer.drain().await;
                assert_eq!(world.op.refreshes().len(), 1, "{mode:?} {source:?}");
            }
            assert_eq!(later(&world, &alice).await, json!(["editor"]), "{mode:?} {source:?}");
            assert_eq!(world.op.userinfo_calls(), asked, "{mode:?} {source:?}");
        }
    }
}
