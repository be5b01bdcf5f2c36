//! Google sends a refresh token with `access_type=offline`, at a person's first consent and with `prompt=consent`:
//! <https://developers.google.com/identity/protocols/oauth2/web-server#creatingclient> (`access_type`, `prompt`) and
//! <https://developers.google.com/identity/openid-connect/openid-connect#refresh-tokens>.

use std::time::Duration;

use tower_oidc::{Config, GrantLifetime};

use crate::single_user::app::reads_as;
use crate::support::app::{APP, World, of_preset};
use crate::support::browser::Browser;

const HOUR: Duration = Duration::from_secs(3601);

fn google(config: Config) -> Config {
    of_preset("google", config)
}

fn kept(config: Config) -> Config {
    let mut config = google(config);
    config.login_grant_lifetime = GrantLifetime::Persistent;
    config
}

fn worlds(edits: [fn(Config) -> Config; 3]) -> [World; 3] {
    let [session, kept, stateless] = edits;
    [World::with(session), World::with(kept), World::stateless_with(stateless)].map(|world| {
        world.op.set(|settings| {
            (settings.refresh_token_once, settings.needs_access_type, settings.end_session) = (true, true, false);
            settings.rotate_refresh_tokens = false;
        });
        world
    })
}

/// A browser of somebody who consented before, elsewhere: no refresh token came with the login.
async fn consented_before(world: &World) -> Browser {
    world.op.set(|settings| settings.issue_refresh_tokens = false);
    let browser = world.signed_in("alice").await;
    world.op.set(|settings| settings.issue_refresh_tokens = true);
    assert_eq!(reads_as(&browser).await, "alice");
    browser
}

/// Grants the login's access again, and says with which `prompt` the provider was asked.
async fn connect(world: &World, browser: &Browser) -> Option<String> {
    let page = browser.visit(&format!("{APP}/auth/connect?return_to=/who&connection=login")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(reads_as(browser).await, "alice");
    world.op.last_authorization().get("prompt").map(str::to_owned)
}

#[tokio::test]
async fn a_refresh_token_that_is_needed_comes_with_one_prompt() {
    for world in worlds([google, kept, google]) {
        let browser = consented_before(&world).await;
        assert_eq!(world.op.last_authorization().all("access_type"), ["offline"]);
        assert_eq!(world.op.last_authorization().get("prompt"), None, "nobody is prompted at a login");
        assert_eq!(connect(&world, &browser).await, None, "while the token lasts nobody is prompted");
        world.clock.advance(HOUR);
        assert_eq!(reads_as(&browser).await, "consent_required");
        assert_eq!(connect(&world, &browser).await.as_deref(), Some("consent"));
        for refreshes in 1..=2 {
            world.clock.advance(HOUR);
            assert_eq!((reads_as(&browser).await.as_str(), world.op.refreshes().len()), ("alice", refreshes));
        }
        assert_eq!(connect(&world, &browser).await, None, "a refresh token is held");
        world.clock.advance(HOUR);
        assert_eq!(reads_as(&browser).await, "alice", "and stays, though none came");
    }
}

#[tokio::test]
async fn who_was_prompted_in_vain_is_not_prompted_again() {
    for world in worlds([google, kept, google]) {
        let browser = consented_before(&world).await;
        world.op.set(|settings| settings.issue_refresh_tokens = false);
        for prompted in [Some("consent"), None, None, None] {
            world.clock.advance(HOUR);
            assert_eq!(reads_as(&browser).await, "consent_required");
            assert_eq!(connect(&world, &browser).await.as_deref(), prompted);
        }
    }
}

/// The control: another provider is not asked so, whatever it sends.
#[tokio::test]
async fn nobody_is_prompted_where_that_is_not_configured() {
    for world in worlds([|config| config; 3]) {
        let browser = consented_before(&world).await;
        for _ in 0..2 {
            world.clock.advance(HOUR);
            assert_eq!(reads_as(&browser).await, "consent_required");
            assert_eq!(connect(&world, &browser).await, None);
        }
    }
}

/// The double is strict: without `access_type` nothing comes, prompt or not.
#[tokio::test]
async fn without_the_parameter_no_refresh_token_comes() {
    let [world, ..] = worlds([google, kept, google]);
    let browser = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    assert_eq!(reads_as(&browser).await, "alice", "the first consent brings one");
    let [world, ..] = worlds([|config| config; 3]);
    let browser = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    assert_eq!(reads_as(&browser).await, "consent_required");
}
