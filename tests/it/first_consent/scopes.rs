//! What a consent without a refresh token grants less or more than the refresh token has.

use std::time::Duration;

use super::{HOUR, MAIL, PHOTOS, connect, connections, need, prompt, routes, served, status, worlds};
use crate::single_user::app::reads_as_at;
use crate::support::app::{APP, App, World};

/// RFC 6749 section 6: fewer scopes are asked for with the refresh token.
#[tokio::test]
async fn a_consent_to_less_is_refreshed_with_its_own_scopes() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        connect(&browser, "mail&scope=mail.send").await;
        world.op.set(|settings| settings.grantable = Some(vec!["openid", "mail"]));
        connect(&browser, "mail").await;
        let scope_of_refresh = || world.op.refreshes().pop().and_then(|one| one.params.get("scope").map(str::to_owned));
        for refreshes in 1..=2 {
            world.clock.advance(HOUR);
            assert_eq!(reads_as_at(&browser, MAIL).await, "alice");
            assert_eq!(scope_of_refresh().as_deref(), Some("openid mail"));
            assert_eq!(world.op.refreshes().len(), refreshes);
            let token = world.api.requests().pop().and_then(|seen| seen.authorization).expect("a token");
            let issued = world.op.issued(token.trim_start_matches("Bearer ")).expect("an access token");
            assert_eq!(issued.scope, ["openid", "mail"]);
            assert_eq!(need(&browser, "mail", "mail.send").await, 403, "it was not granted again");
        }
        // The refresh token has it still.
        world.op.set(|settings| settings.grantable = None);
        connect(&browser, "mail&scope=mail.send").await;
        world.clock.advance(HOUR);
        assert_eq!(need(&browser, "mail", "mail.send").await, 200, "it does not lapse");
        assert_eq!(reads_as_at(&browser, MAIL).await, "alice");
        assert_eq!((scope_of_refresh(), world.op.reuse_detected()), (None, 0), "everything is asked for");
    }
}

/// Where the provider names `openid` at the first consent alone it is asked for all the same.
#[tokio::test]
async fn a_scope_that_is_granted_without_being_named_is_asked_for() {
    let world = served(World::with(connections));
    let browser = world.signed_in("alice").await;
    world.op.new_person("alice");
    connect(&browser, "mail&scope=mail.send").await;
    world.op.edit_tokens(|tokens| _ = tokens.insert("scope".to_owned(), "mail".into()));
    connect(&browser, "mail").await;
    world.clock.advance(HOUR);
    assert_eq!(reads_as_at(&browser, MAIL).await, "alice");
    assert_eq!(world.op.refreshes()[0].params.get("scope"), Some("openid mail"));
}

/// More scopes end with their access token. Then they are consent again, with `prompt=consent`, once.
#[tokio::test]
async fn a_consent_to_more_lapses_and_is_asked_for_with_a_prompt_once() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        let need = async || need(&browser, "mail", "mail.send").await;
        connect(&browser, "mail").await;
        connect(&browser, "mail&scope=mail.send").await;
        assert_eq!((prompt(&world), need().await), (None, 200), "the access token has it");
        let (state, scopes) = status(&browser, "mail").await;
        assert_eq!((state.as_str(), scopes.contains(&"mail.send".to_owned())), ("connected", true));
        connect(&browser, "mail").await;
        let asked = world.op.last_authorization();
        assert!(asked.get("scope").is_some_and(|scope| scope.contains("mail.send")), "nothing is taken away");
        assert_eq!((asked.get("prompt"), need().await), (None, 200), "while it lasts nobody is prompted");
        world.clock.advance(HOUR);
        assert_eq!(need().await, 403, "it has lapsed");
        assert_eq!(reads_as_at(&browser, MAIL).await, "alice", "what the refresh token was granted stays");

        // What the application asks for stands, and is no prompt for consent.
        connect(&browser, "mail&scope=mail.send&prompt=login").await;
        assert_eq!((prompt(&world).as_deref(), need().await), (Some("login"), 200));
        world.clock.advance(HOUR);
        connect(&browser, "mail&scope=mail.send&prompt=none").await;
        assert_eq!((prompt(&world).as_deref(), need().await), (Some("none"), 200));
        world.clock.advance(HOUR);

        world.op.set(|settings| settings.issue_refresh_tokens = false);
        for prompted in [Some("consent"), None, None] {
            assert_eq!(need().await, 403);
            connect(&browser, "mail&scope=mail.send").await;
            assert_eq!((prompt(&world).as_deref(), need().await), (prompted, 200), "once");
            world.clock.advance(HOUR);
        }
        assert_eq!(world.op.reuse_detected(), 0);
    }
}

#[tokio::test]
async fn what_a_visitor_grants_besides_lapses_as_well() {
    for world in worlds() {
        let browser = world.browser();
        world.op.sign_in_as("alice");
        connect(&browser, "photos").await;
        connect(&browser, "photos&scope=photos.share").await;
        connect(&browser, "photos").await;
        let asked = world.op.last_authorization();
        assert!(asked.get("scope").is_some_and(|scope| scope.contains("photos.share")));
        assert_eq!((asked.get("prompt"), need(&browser, "photos", "photos.share").await), (None, 200));
        world.clock.advance(HOUR);
        assert_eq!(need(&browser, "photos", "photos.share").await, 403);
        assert_eq!(reads_as_at(&browser, PHOTOS).await, "alice");
        connect(&browser, "photos&scope=photos.share").await;
        assert_eq!(prompt(&world).as_deref(), Some("consent"));
        world.clock.advance(HOUR);
        assert_eq!(need(&browser, "photos", "photos.share").await, 200, "a refresh token came with it");
    }
}

/// The person left out at first what is always asked for: the refresh token brings nothing that would do.
#[tokio::test]
async fn what_is_always_asked_for_lapses_where_the_refresh_token_lacks_it() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        world.op.set(|settings| settings.grantable = Some(vec!["openid"]));
        connect(&browser, "mail").await;
        assert_eq!(status(&browser, "mail").await.0, "needs_consent");
        world.op.set(|settings| settings.grantable = None);
        connect(&browser, "mail").await;
        assert_eq!((prompt(&world), status(&browser, "mail").await.0.as_str()), (None, "connected"));
        // To its last moment, where another token would have been renewed.
        world.clock.advance(Duration::from_secs(3598));
        assert_eq!((reads_as_at(&browser, MAIL).await.as_str(), world.op.refreshes().len()), ("alice", 0));
        world.clock.advance(Duration::from_secs(3));
        assert_eq!((reads_as_at(&browser, MAIL).await.as_str(), world.op.refreshes().len()), ("consent_required", 0));
        assert_eq!(status(&browser, "mail").await.0, "needs_consent");
        connect(&browser, "mail").await;
        assert_eq!(prompt(&world).as_deref(), Some("consent"));
        world.clock.advance(HOUR);
        assert_eq!((reads_as_at(&browser, MAIL).await.as_str(), world.op.refreshes().len()), ("alice", 1));
    }
}

/// The cookies say what lapses, and not the process's memory alone.
#[tokio::test]
async fn the_next_process_knows_what_lapses() {
    let world = served(World::stateless_with(connections));
    let browser = world.signed_in("alice").await;
    world.op.new_person("alice");
    connect(&browser, "mail").await;
    connect(&browser, "mail&scope=mail.send").await;
    let next = App::stateless(&world.net, &world.clock, connections);
    world.net.serve_service(APP, next.layer.layer(routes()));
    assert_eq!(need(&browser, "mail", "mail.send").await, 200);
    world.clock.advance(HOUR);
    assert_eq!(need(&browser, "mail", "mail.send").await, 403);
    assert_eq!(reads_as_at(&browser, MAIL).await, "alice");
    connect(&browser, "mail&scope=mail.send").await;
    assert_eq!(prompt(&world).as_deref(), Some("consent"));
}
