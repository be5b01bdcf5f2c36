//! The token endpoint and UserInfo.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tower_oidc::{ClientAuthMethod, Config, EventCode, FetchUserInfo};

use super::{accepted_when, attempt, is_in, refusal, refused_when, walk};
use crate::support::app::{APP, OP, World};
use crate::support::browser::Page;
use crate::support::fault::Fault;
use crate::support::provider::Endpoint;
use crate::support::provider::keys::{Alg, Key};
use crate::support::provider::lies::{SIGNED_USERINFO, TOKENS, USERINFO};

/// 503 where it may work in a moment, 400 where what was said is about the person, 502 where the provider and
/// this application do not understand each other.
pub(super) fn status(lie: &str) -> u16 {
    match lie {
        "token 429" | "token 500" | "token 503" | "token huge" => 503,
        "userinfo 500" | "userinfo huge" => 503,
        "token 400 invalid_grant" | "token 200 with an error" => 400,
        "id_token missing" | "id_token null" | "id_token no string" => 400,
        "userinfo 401" | "userinfo 403" | "userinfo redirects" => 502,
        userinfo if userinfo.contains("userinfo") => 400,
        _ => 502,
    }
}

fn always(mut config: Config) -> Config {
    config.provider.fetch_user_info = FetchUserInfo::Always;
    config
}

#[tokio::test]
async fn token_responses_that_lie() {
    walk(TOKENS, |config| config, status).await;
}

#[tokio::test]
async fn user_info_that_lies() {
    walk(USERINFO, always, status).await;
}

#[tokio::test]
async fn signed_user_info_that_lies() {
    walk(SIGNED_USERINFO, always, status).await;
}

fn by_registration(config: Config) -> Config {
    let mut config = always(config);
    config.provider = config.provider.userinfo_signed_response_alg("RS256");
    config
}

/// A registration for signed answers takes those of its algorithm alone; without one, what the metadata announce, and plain JSON.
#[tokio::test]
async fn user_info_is_signed_as_registered() {
    for (edit, signs, alg, accepted) in [
        (by_registration as fn(Config) -> Config, true, Alg::Rs256, true),
        (by_registration, false, Alg::Rs256, false),
        (by_registration, true, Alg::Es256, false),
        (always, true, Alg::Rs256, true),
        (always, true, Alg::Es256, true),
        (always, false, Alg::Rs256, true),
    ] {
        let world = World::with(edit);
        world.op.set(|s| (s.sign_userinfo, s.also_publish) = (signs, vec![Alg::Es256]));
        world.op.edit_signed_userinfo(move |jwt| jwt.sign_with(Key { alg, ..jwt.key() }));
        world.op.edit_userinfo(|claims| drop(claims.insert("name".to_owned(), json!("Signed"))));
        let case = format!("signed: {signs}, {}", alg.name());
        if accepted {
            let page = attempt(&world).await.1;
            assert_eq!(page.json()["name"], "Signed", "{case}: {}", page.text());
            continue;
        }
        refusal(&world, &case, 400).await;
        let told = world.app.events.all().into_iter().rfind(|event| event.code == EventCode::LoginRefused).unwrap();
        let expected = if signs { "alg is \"ES256\", expected one that" } else { "is not signed, expected RS256" };
        assert!(told.detail.contains(expected), "{case}: {}", told.detail);
    }
}

/// Null is how some write what is not there: it replaces nothing that the ID token says.
#[tokio::test]
async fn null_in_user_info_is_no_claim() {
    for signs in [true, false] {
        let world = World::with(always);
        world.op.set(|s| s.sign_userinfo = signs);
        world.op.edit_userinfo(|claims| drop(claims.insert("name".to_owned(), Value::Null)));
        let page = attempt(&world).await.1;
        assert_eq!(page.json()["name"], "Alice", "signed: {signs}: {}", page.text());
    }
}

/// What the metadata announce counts: without a word that is RS256, and where nothing of it is accepted it is nothing.
#[tokio::test]
async fn user_info_is_signed_as_announced() {
    for (announced, alg, accepted) in [
        (json!(["ES256"]), Alg::Es256, true),
        (json!(["ES256"]), Alg::Rs256, false),
        (Value::Null, Alg::Rs256, true),
        (Value::Null, Alg::Es256, false),
        (json!(["none"]), Alg::Rs256, false),
        (json!(["none", "HS256", "RS256"]), Alg::Rs256, true),
    ] {
        let world = World::with(always);
        world.op.set(|s| (s.sign_userinfo, s.also_publish) = (true, vec![Alg::Es256]));
        let case = format!("{announced}, {}", alg.name());
        world.op.edit_discovery(move |document| {
            document.insert("userinfo_signing_alg_values_supported".to_owned(), announced.clone());
        });
        world.op.edit_signed_userinfo(move |jwt| jwt.sign_with(Key { alg, ..jwt.key() }));
        match accepted {
            true => assert!(is_in(&attempt(&world).await.1), "{case}"),
            false => drop(refusal(&world, &case, 400).await),
        }
    }
}

/// The ID token of this very login is no UserInfo response, and neither is a forged one worth a login. Where nothing is decided
/// by UserInfo the person is in by their ID token, and nothing of the answer is used.
#[tokio::test]
async fn an_id_token_is_no_user_info() {
    let world = World::with(always);
    world.op.set(|s| s.sign_userinfo = true);
    let issued = Arc::new(Mutex::new(Map::new()));
    let (kept, shown) = (Arc::clone(&issued), issued);
    world.op.edit_id_token(move |jwt| *kept.lock().unwrap() = jwt.claims.clone());
    world.op.edit_signed_userinfo(move |jwt| jwt.claims = shown.lock().unwrap().clone());
    refusal(&world, "an ID token", 400).await;
    let told = world.app.events.all().into_iter().rfind(|event| event.code == EventCode::LoginRefused).unwrap();
    assert!(told.detail.contains("the UserInfo response is refused: nonce is there"), "{}", told.detail);
    world.op.honest();
    assert!(is_in(&attempt(&world).await.1), "the control");

    for (lie, name) in [("signed userinfo by a stranger", "Alice"), ("signed userinfo typ JWT", "Signed")] {
        let world = World::new();
        world.op.lie(lie);
        world.op.edit_id_token(|jwt| jwt.without("email"));
        world.op.edit_userinfo(|claims| drop(claims.insert("name".to_owned(), json!("Signed"))));
        let page = attempt(&world).await.1;
        assert_eq!(page.json()["name"], name, "{lie}: {}", page.text());
    }
}

/// A key that is new since the ID token makes the keys be read again.
#[tokio::test]
async fn user_info_is_verified_with_the_keys_of_now() {
    let world = World::with(always);
    world.op.set(|s| s.sign_userinfo = true);
    assert!(is_in(&attempt(&world).await.1));
    world.clock.advance(Duration::from_secs(10));
    let fetched = world.op.jwks_fetches();
    let new = Key { alg: Alg::Rs256, generation: 2 };
    world.op.edit_signed_userinfo(move |jwt| jwt.sign_with(new));
    assert_eq!(attempt(&world).await.1.status, 400, "a key that nobody publishes");
    world.op.edit_key_set(move |set| set["keys"].as_array_mut().unwrap().push(new.jwk()));
    world.clock.advance(Duration::from_secs(10));
    let fetched_for_nothing = world.op.jwks_fetches() - fetched;
    assert!(is_in(&attempt(&world).await.1));
    assert_eq!((fetched_for_nothing, world.op.jwks_fetches()), (1, fetched + 2));
}

/// Whatever it says of its life, the token is the person's: one that is over is refreshed before it is used,
/// and one that does not say is used until an API refuses it.
#[tokio::test]
async fn lifetimes() {
    for (lie, refreshes, fresh_for_an_hour) in [
        ("expires_in missing", 0, true),
        ("expires_in garbage", 0, true),
        ("expires_in a string", 0, false),
        ("expires_in a fraction", 0, false),
        ("expires_in huge", 0, true),
        ("expires_in zero", 1, false),
        ("expires_in negative", 1, false),
    ] {
        let (world, browser) = accepted_when(lie, |world| world.op.lie(lie)).await;
        let token = async || browser.navigate(&format!("{APP}/tok")).await.text();
        assert_eq!(world.op.owner_of(&token().await).as_deref(), Some("alice"), "{lie}");
        assert_eq!(world.op.refreshes().len(), refreshes, "{lie}");
        world.clock.advance(Duration::from_secs(3601));
        assert_eq!(world.op.owner_of(&token().await).as_deref(), Some("alice"), "{lie}");
        assert_eq!(world.op.refreshes().len() == refreshes, fresh_for_an_hour, "{lie}");
    }
}

/// Fewer scopes are no reason to refuse the person; none at all still names them by the ID token.
#[tokio::test]
async fn scopes_that_were_not_asked_for() {
    for lie in ["scope empty", "scope wider", "scope narrower", "refresh_token empty"] {
        accepted_when(lie, |world| world.op.lie(lie)).await;
    }
}

#[tokio::test]
async fn client_authentication() {
    type Methods = &'static [&'static str];
    let login = async |accepted: Methods, announced: bool, edit: fn(&mut Config)| {
        let world = World::with(|mut config| {
            edit(&mut config);
            config
        });
        world.op.register("public", None);
        world.op.set(|s| {
            s.auth_methods = accepted.to_vec();
            s.announce_auth_methods = announced;
        });
        let page = attempt(&world).await.1;
        let requests = world.op.token_requests();
        assert!(is_in(&page) || requests.len() == 1, "it is not tried in several ways");
        (page.status.as_u16(), requests.last().map(|request| request.auth_method).unwrap_or_default())
    };
    const BASIC: &str = "client_secret_basic";
    const POST: &str = "client_secret_post";
    let public =
        |config: &mut Config| (config.provider.client_id, config.provider.client_secret) = ("public".to_owned(), None);
    let post = |config: &mut Config| config.provider.client_auth = Some(ClientAuthMethod::ClientSecretPost);
    let basic = |config: &mut Config| config.provider.client_auth = Some(ClientAuthMethod::ClientSecretBasic);
    assert_eq!(login(&[BASIC, POST], true, |_| ()).await, (200, BASIC));
    assert_eq!(login(&[POST, BASIC], true, |_| ()).await, (200, BASIC), "regardless of the order");
    assert_eq!(login(&[BASIC, POST], false, |_| ()).await, (200, BASIC), "nothing announced is basic");
    assert_eq!(login(&[POST], true, |_| ()).await, (200, POST));
    assert_eq!(login(&[BASIC, POST], true, post).await, (200, POST), "the operator knows better");
    assert_eq!(login(&[BASIC], true, public).await, (200, "none"));
    // `none` in the last two: the provider refuses before it looks at how.
    assert_eq!(login(&[POST], true, basic).await, (502, "none"));
    let wrong = |config: &mut Config| config.provider.client_secret = Some("wrong".into());
    assert_eq!(login(&[BASIC], true, wrong).await, (502, "none"));
}

/// The provider may have spent the code: it is not sent again, not even when the person reloads.
#[tokio::test(start_paused = true)]
async fn no_exchange_is_tried_again() {
    for fault in [Fault::Hang, Fault::SlowAnswer(Duration::from_secs(11)), Fault::DropAnswer, Fault::Status(502)] {
        let world = World::new();
        world.net.fault(OP, "/token", fault.clone());
        let browser = refusal(&world, &format!("{fault:?}"), 503).await;
        let callback = world.net.requests_to(APP, "/auth/callback")[0].url();
        world.net.heal(OP);
        browser.navigate(&callback).await;
        assert_eq!(world.net.count(OP, "/token"), 1, "{fault:?}");
        assert!(browser.cookie(super::SESSION).is_none());
    }
    accepted_when("slow, but in time", |world| {
        world.net.fault(OP, "/token", Fault::SlowAnswer(Duration::from_secs(9)));
    })
    .await;
}

/// Each call in time and all of them too slow: twenty seconds for everything that a callback does.
#[tokio::test(start_paused = true)]
async fn the_whole_callback_has_a_deadline() {
    let world = World::with(always);
    for path in ["/token", "/jwks", "/userinfo"] {
        world.net.fault(OP, path, Fault::SlowAnswer(Duration::from_secs(9)));
    }
    let began = tokio::time::Instant::now();
    refusal(&world, "slow three times", 503).await;
    assert_eq!(began.elapsed().as_secs(), 20);
}

/// Another client of the provider's, at the same address, sees nothing of ours when it redirects.
#[tokio::test]
async fn redirects_are_not_followed_with_secrets() {
    for path in ["/token", "/jwks"] {
        let world = World::new();
        world.net.fault(OP, path, Fault::Redirect("https://evil.test/".to_owned()));
        refusal(&world, path, if path == "/token" { 502 } else { 503 }).await;
    }
}

/// Who was asked, and what became of the person's claims.
async fn with_user_info(
    when: FetchUserInfo, in_id_token: bool, edit: impl Fn(&mut Map<String, Value>) + Send + Sync + 'static,
) -> (usize, Page) {
    let world = World::with(|mut config| {
        config.provider.fetch_user_info = when;
        config.admins = vec!["root@example.com".to_owned()];
        config
    });
    world.op.set(|s| s.claims_in_id_token = in_id_token);
    world.op.edit_userinfo(edit);
    let page = attempt(&world).await.1;
    assert!(is_in(&page), "{}", page.text());
    (world.op.userinfo_calls(), page)
}

#[tokio::test]
async fn user_info_is_asked_when_it_should_be() {
    for (when, in_id_token, calls, known) in [
        (FetchUserInfo::WhenNeeded, true, 0, true),
        (FetchUserInfo::WhenNeeded, false, 1, true),
        (FetchUserInfo::Always, true, 1, true),
        (FetchUserInfo::Never, false, 0, false),
        (FetchUserInfo::Never, true, 0, true),
    ] {
        let (called, page) = with_user_info(when, in_id_token, |_| ()).await;
        assert_eq!((called, page.json()["name"] == "Alice"), (calls, known), "{when:?} {in_id_token}");
        assert_eq!(page.json()["email"] == "alice@example.com", known);
    }
    let (world, _) = accepted_when("no endpoint", |world| {
        world.op.lie("userinfo_endpoint missing");
        world.op.set(|s| s.claims_in_id_token = false);
    })
    .await;
    assert_eq!(world.op.userinfo_calls(), 0);
    let (world, _) = accepted_when("neither e-mail nor name was asked for", |_| ()).await;
    assert_eq!(world.op.userinfo_calls(), 0);
}

/// An address and whether it is verified come from one place, or a provider's verified `alice@` would vouch for
/// a self-asserted `root@`.
#[tokio::test]
async fn a_verification_does_not_move_to_another_address() {
    let email = |page: &Page| {
        let who = page.json();
        (who["email"].as_str().unwrap_or_default().to_owned(), who["email_verified"] == true, who["admin"] == true)
    };
    let (_, page) = with_user_info(FetchUserInfo::Always, true, |claims| {
        claims.insert("email".to_owned(), json!("root@example.com"));
        claims.remove("email_verified");
    })
    .await;
    assert_eq!(email(&page), ("root@example.com".to_owned(), false, false));
    let (_, page) = with_user_info(FetchUserInfo::Always, true, |claims| {
        claims.insert("email".to_owned(), json!("root@example.com"));
    })
    .await;
    assert_eq!(email(&page), ("root@example.com".to_owned(), true, true), "the control");

    let world = World::with(always);
    world.op.edit_id_token(|jwt| jwt.claim("email_verified", false));
    world.op.edit_userinfo(|claims| drop(claims.remove("email")));
    let page = attempt(&world).await.1;
    assert_eq!(email(&page), ("alice@example.com".to_owned(), false, false));
}

/// The token that is shown at UserInfo is this person's own, in a header and nowhere else.
#[tokio::test]
async fn user_info_gets_the_persons_own_token() {
    let world = World::with(always);
    assert!(is_in(&attempt(&world).await.1));
    let request = world.net.requests_to(OP, "/userinfo").pop().unwrap();
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap();
    assert_eq!(world.op.owner_of(bearer).as_deref(), Some("alice"));
    assert!(request.query.is_empty() && request.body.is_empty());
}

/// Where revocation reaches one token alone, a login that is refused leaves none behind that works. Elsewhere revocation
/// could end what the person granted in another browser.
#[tokio::test]
async fn tokens_of_a_refused_login_are_revoked() {
    for (is_per_token, live) in [(true, 0), (false, 1)] {
        let world = World::with(|config| {
            let mut config = always(config);
            config.provider.revocation_is_per_token = is_per_token;
            config
        });
        world.op.lie("userinfo sub other");
        refusal(&world, "userinfo sub other", 400).await;
        assert_eq!(world.op.live_refresh_tokens().len(), live, "revocation is per token: {is_per_token}");
        assert!(world.app.events.has(EventCode::LoginRefused));
    }
}

/// A compressed answer was not asked for and is not unpacked.
#[tokio::test]
async fn nothing_is_unpacked() {
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    for (endpoint, status) in [(Endpoint::Token, 502), (Endpoint::KeySet, 503), (Endpoint::Discovery, 503)] {
        refused_when("gzip", status, |world| {
            let mut packed = crate::support::net::answer(200, gzip.to_vec());
            packed.headers_mut().insert("content-encoding", http::HeaderValue::from_static("gzip"));
            world.op.answer_with(endpoint, packed);
        })
        .await;
    }
    let world = World::new();
    assert!(is_in(&attempt(&world).await.1));
    let of_ours = |request: &&crate::support::net::Exchange| !request.path.contains("authorize");
    for request in world.net.requests(OP).iter().filter(of_ours) {
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
}
