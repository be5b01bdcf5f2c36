//! A provider that lies: whatever it says, nobody is signed in by it who should not be.
//!
//! Each lie is told to an application of its own. Where it must be refused, [`refusal`] looks at everything
//! that must not have happened; then the provider is honest again and the same browser signs in.
//!
//! # The relying-party plans of the OpenID Foundation
//!
//! Basic (`oidcc-client-basic-certification-test-plan`) and Config, each module's name after `oidcc-client-test`:
//!
//! | module | test |
//! |---|---|
//! | (none) | `accepted_algorithms_sign_people_in`, `user_info_is_asked_when_it_should_be` |
//! | -invalid-iss, -missing-sub, -invalid-aud, -missing-iat, -nonce-invalid | `claims_that_lie` |
//! | -kid-absent-single-jwks, -invalid-sig-rs256 | `signatures_that_lie` |
//! | -kid-absent-multiple-jwks | `a_token_without_kid_has_one_key_or_none`: refused |
//! | -idtoken-sig-rs256 | `accepted_algorithms_sign_people_in` |
//! | -idtoken-sig-none (also Config) | `none_and_hmac_are_refused_even_when_announced`: refused |
//! | -userinfo-invalid-sub | `user_info_that_lies`, `signed_user_info_that_lies` |
//! | -scope-userinfo-claims | `user_info_is_asked_when_it_should_be` |
//! | -client-secret-basic | `client_authentication` |
//! | -discovery-openid-config, -discovery-jwks-uri-keys | `metadata_that_turns_bad_later_is_not_believed` (the key set where discovery says) |
//! | -discovery-issuer-mismatch | `discovery_that_lies` |
//! | -signing-key-rotation | `key_rotation` |
//! | -signing-key-rotation-just-before-signing | `keys_change_just_before_signing` |
//!
//! # What does not apply, or is tested elsewhere
//!
//! | what | reason |
//! |---|---|
//! | `c_hash` | only where the authorization response carries an ID token; here it never does |
//! | `acr`, `auth_time` | with the options of a login, which ask for them |
//! | `x5t` | keys are found by `kid`; certificates in a key set are not looked at |
//! | a cache that fails | metadata and keys are kept in memory, in no cache that could fail |
//! | signed key sets | not asked for; a signed one is no JSON object and refused as such (`key set no JSON`) |
//! | encrypted tokens | not registered for; every one is refused (`id_token encrypted by its header`) |
//! | a name that does not resolve | the same as a connection that is refused: the client fails |
//! | DPoP | not offered; a token of type DPoP is refused (`token_type DPoP`) |
//! | certificates as client authentication | not offered |
//! | encrypted UserInfo | not registered for, and refused (`signed userinfo encrypted`) |
//! | UserInfo 401, refresh, once more | UserInfo is asked at login only, with a token of that moment |

mod dialects;
mod endpoints;
mod id_token;
mod keys;
mod odd;
mod sockets;

use futures_util::{StreamExt, stream};
use tower_oidc::{Config, EventCode};

use crate::support::app::{API, APP, EVIL, World};
use crate::support::browser::{Browser, Page};
use crate::support::provider::lies::{Lie, Verdict};

const SESSION: &str = "__Host-tower-oidc-session";

/// Alice tries to sign in with a browser of her own.
async fn attempt(world: &World) -> (Browser, Page) {
    let browser = world.browser();
    let page = attempt_with(world, &browser).await;
    (browser, page)
}

async fn attempt_with(world: &World, browser: &Browser) -> Page {
    world.op.sign_in_as("alice");
    browser.visit(&format!("{APP}/auth/login?return_to=/who")).await
}

fn is_in(page: &Page) -> bool {
    page.status == 200 && page.url.path() == "/who" && page.json()["sub"] == "a1"
}

/// The attempt fails with this status, and leaves nothing behind.
async fn refusal(world: &World, what: &str, status: u16) -> Browser {
    let rows = world.app.store.len();
    let (browser, page) = attempt(world).await;
    assert_eq!(page.status.as_u16(), status, "{what}: {} {}", page.url, page.text());
    assert_eq!(page.url.origin().ascii_serialization(), APP, "{what}");
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{what}");
    assert!(page.header("cache-control").is_some_and(|value| value.contains("no-store")), "{what}");
    assert_eq!(page.header("retry-after").is_some(), status == 503, "{what}");
    assert!(browser.cookie(SESSION).is_none(), "{what}: a session cookie");
    // The index and the spent login at the most: no session, no grant.
    assert!(world.app.store.len() <= rows.max(1) + 1, "{what}: {} rows", world.app.store.len());
    assert!(!world.app.events.has(EventCode::LoginSucceeded), "{what}");
    assert!(world.app.events.has(EventCode::LoginRefused), "{what}");
    assert_eq!(browser.navigate(&format!("{APP}/who")).await.text(), "null", "{what}");
    assert!(world.net.requests(EVIL).is_empty(), "{what}: {:?}", world.net.requests(EVIL));
    assert!(world.net.requests(API).is_empty(), "{what}");
    discreet(world, what, &page);
    browser
}

/// Neither the page nor an event repeats a secret, or what a token claims.
fn discreet(world: &World, what: &str, page: &Page) {
    let mut words = world.op.secrets();
    words.extend(
        world
            .op
            .authorizations()
            .iter()
            .flat_map(|request| ["state", "nonce"].map(|name| request.params.get(name).unwrap_or_default().to_owned())),
    );
    words.extend(["other-app", "alice@example.com", "Alice", "urn:weak", "<script>alert", "eyJ"].map(str::to_owned));
    let events = world.app.events.all();
    // An operator learns what a token says that is no secret and no person's.
    let told = ["other-app", "urn:weak"];
    for event in &events {
        for word in words.iter().filter(|word| !told.contains(&word.as_str())) {
            assert!(!event.detail.contains(word.as_str()), "{what}: {word:?} stands in {event:?}");
        }
    }
    for word in &words {
        assert!(!page.text().contains(word.as_str()), "{what}: {word:?} stands on the page");
    }
}

/// Walks a table: each lie in a world of its own, beside the same login without it.
///
/// `status` says what a refusal looks like. What the table leaves open is for the tests that name it.
async fn walk(table: &[Lie], edit: fn(Config) -> Config, status: impl Fn(&str) -> u16) {
    walk_in(table, || World::with(edit), status).await;
}

async fn walk_in(table: &[Lie], world: impl Fn() -> World, status: impl Fn(&str) -> u16) {
    let tell = async |lie: &Lie| {
        let world = world();
        world.op.lie(*lie);
        match lie.verdict {
            Verdict::Depends => {}
            Verdict::Accepted => {
                let (_, page) = attempt(&world).await;
                assert!(is_in(&page), "{}: {} {}", lie.name, page.status, page.text());
            }
            Verdict::Refused => {
                let browser = refusal(&world, lie.name, status(lie.name)).await;
                world.op.honest();
                // Past every pause and throttle.
                world.clock.advance(std::time::Duration::from_secs(5));
                let page = attempt_with(&world, &browser).await;
                assert!(is_in(&page), "after {:?}: {} {}", lie.name, page.status, page.text());
            }
        }
    };
    // A few at a time: each may have a database of its own made.
    stream::iter(table).for_each_concurrent(8, tell).await;
}

/// The same again after the provider was told something by hand.
async fn refused_when(what: &str, status: u16, tell: impl FnOnce(&World)) {
    let world = World::new();
    tell(&world);
    refusal(&world, what, status).await;
}

async fn accepted_when(what: &str, tell: impl FnOnce(&World)) -> (World, Browser) {
    let world = World::new();
    tell(&world);
    let (browser, page) = attempt(&world).await;
    assert!(is_in(&page), "{what}: {} {}", page.status, page.text());
    (world, browser)
}
