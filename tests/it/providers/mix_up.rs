//! Chosen by name, answered at its own address, and asked about its own codes: no provider is taken for another.

use tower_oidc::{Config, EventCode, ProviderConfig};

use super::{assert_no_exchange, callback_of, login_at, moved, sign_in, two_logins, work};
use crate::support::app::{APP, EVIL, OP, OP2, World};
use crate::support::provider::keys::{Alg, Key};

const CALLBACKS: [(&str, &str); 2] = [("default", "/auth/callback/default"), ("work", "/auth/callback/work")];

/// Each provider is given a redirect URI of its own.
#[tokio::test]
async fn a_provider_is_chosen_by_its_name() {
    let world = two_logins();
    for ((name, callback), op, other) in [(CALLBACKS[0], &world.op, &world.op2), (CALLBACKS[1], &world.op2, &world.op)]
    {
        other.forget();
        let browser = world.browser();
        sign_in(&browser, op, name, "alice").await;
        let redirect_uri = format!("{APP}{callback}");
        assert_eq!(op.last_authorization().get("redirect_uri"), Some(redirect_uri.as_str()));
        assert_eq!(op.code_exchanges().last().unwrap().params.get("redirect_uri"), Some(&*redirect_uri));
        assert_eq!((other.authorizations().len(), other.token_requests().len()), (0, 0), "{name}");
    }
}

/// What is no name of the configuration is refused, and nobody is asked about it.
#[tokio::test]
async fn an_address_is_no_provider() {
    let world = World::with(|config| {
        config.add_provider(work()).add_provider(
            ProviderConfig::new("https://files.test", "app").client_secret("secret").name("files").without_login(),
        )
    });
    let hostile =
        [EVIL, "//evil.test", OP2, OP, "op2.test", "Work", "work ", "work/", "../work", "", "files", "w%6frk"];
    for name in hostile {
        let browser = world.browser();
        let page = browser.step(&login_at(name, "/who")).await;
        assert_eq!(page.status, 400, "{name}: {}", page.text());
        assert_eq!(browser.cookies().len(), 0, "{name}");
    }
    for origin in [EVIL, OP, OP2, "https://files.test"] {
        assert_eq!(world.net.requests(origin).len(), 0, "{origin}");
    }
    let page = world.browser().step(&login_at("work", "/who")).await;
    assert_eq!(page.status, 303, "the control");
}

/// And RFC 9700 section 4.4.2.2: a login ends at the redirect URI of its provider, and nowhere
/// else, whatever the response says and whether providers name themselves or not.
#[tokio::test]
async fn a_state_counts_at_its_own_redirect_uri_only() {
    for names_itself in [true, false] {
        let world = two_logins();
        for op in [&world.op, &world.op2] {
            op.set(|settings| {
                settings.announce_iss = names_itself;
                settings.send_iss = names_itself;
            });
            op.sign_in_as("alice");
        }
        for ((name, own), (_, others)) in [(CALLBACKS[0], CALLBACKS[1]), (CALLBACKS[1], CALLBACKS[0])] {
            let browser = world.browser();
            let callback = callback_of(&browser, &login_at(name, "/who")).await;
            assert_eq!(callback.path(), own);
            for iss in [None, Some(OP), Some(OP2)] {
                let wrong = moved(&callback, others, |parameters| {
                    parameters.remove("iss");
                    iss.into_iter().for_each(|iss| parameters.add("iss", iss));
                });
                let page = browser.navigate(&wrong).await;
                assert_eq!(page.status, 400, "{name} at {others}, iss {iss:?}: {}", page.text());
            }
            for nowhere in ["/auth/callback", "/auth/callback/", "/auth/callback/nobody", "/auth/callback/a/b"] {
                let page = browser.navigate(&moved(&callback, nowhere, |_| {})).await;
                assert_eq!(page.status, 404, "{nowhere}");
            }
            assert_no_exchange(&world, name);
            assert_eq!(world.who(&browser).await, serde_json::Value::Null);
            let page = browser.navigate(callback.as_str()).await;
            assert_eq!(page.json()["sub"], "a1", "the control: {}", page.text());
            world.op.forget();
            world.op2.forget();
        }
    }
}

/// For each provider: RFC 9207 section 2.4.
#[tokio::test]
async fn the_issuer_in_a_response_is_that_of_the_login() {
    let world = two_logins();
    world.op.set(|settings| settings.announce_iss = false);
    for ((name, own), op, other) in [(CALLBACKS[0], &world.op, OP2), (CALLBACKS[1], &world.op2, OP)] {
        op.sign_in_as("alice");
        let browser = world.browser();
        let callback = callback_of(&browser, &login_at(name, "/who")).await;
        let with_other = moved(&callback, own, |parameters| parameters.set("iss", other));
        let page = browser.navigate(&with_other).await;
        assert_eq!(page.status, 400, "{name}: {}", page.text());
        let without = moved(&callback, own, |parameters| parameters.remove("iss"));
        if name == "work" {
            // It says in its metadata that it always does.
            assert_eq!(browser.navigate(&without).await.status, 400, "{name}");
        }
        assert_no_exchange(&world, name);
        let control = if name == "work" { callback.to_string() } else { without };
        let page = browser.navigate(&control).await;
        assert_eq!(page.json()["sub"], "a1", "{name}, the control: {}", page.text());
        world.op.forget();
    }
}

/// A provider that sends the browser on to another one, to be told the code that the other issues there.
#[tokio::test]
async fn a_provider_that_relays_to_another_learns_no_code() {
    for known_redirect_uris in [false, true] {
        let world = two_logins();
        world.op2.edit_discovery(|metadata| {
            metadata.insert("authorization_endpoint".into(), format!("{OP}/authorize").into());
        });
        if known_redirect_uris {
            // Without `iss` the redirect URIs alone stand between the two: providers compare them (RFC 9700 section 2.1).
            world.op2.edit_discovery(|metadata| {
                metadata.insert("authorization_endpoint".into(), format!("{OP}/authorize").into());
                metadata.remove("authorization_response_iss_parameter_supported");
            });
            world.op.set(|settings| {
                (settings.send_iss, settings.announce_iss) = (false, false);
                settings.redirect_uris = vec![format!("{APP}/auth/callback/default")];
            });
        }
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let page = browser.visit(&login_at("work", "/who")).await;
        assert_eq!(page.status, 400, "{}", page.text());
        assert_eq!(world.op.authorizations().len(), 1, "the browser was relayed");
        assert_no_exchange(&world, "relayed");
        assert_eq!(world.who(&browser).await, serde_json::Value::Null);
        sign_in(&browser, &world.op, "default", "alice").await;
    }
}

/// An ID token is the word of the provider whose token endpoint gave it: neither another's keys nor its name count.
#[tokio::test]
async fn an_id_token_of_one_provider_is_none_of_another() {
    let world = two_logins();
    let of_the_other = Key { alg: Alg::Rs256, generation: 1 };
    for (case, by_its_key, in_its_name) in
        [("all of it", true, true), ("its key", true, false), ("its name", false, true)]
    {
        world.op2.edit_id_token(move |draft| {
            if by_its_key {
                draft.sign_with(of_the_other);
            }
            if in_its_name {
                draft.claim("iss", OP);
            }
        });
        world.op2.sign_in_as("alice");
        let browser = world.browser();
        let page = browser.visit(&login_at("work", "/who")).await;
        assert_eq!(page.status, 400, "{case}: {}", page.text());
        assert_eq!(world.who(&browser).await, serde_json::Value::Null, "{case}");
    }
    assert!(!world.app.events.has(EventCode::LoginSucceeded));
    world.op2.honest();
    sign_in(&world.browser(), &world.op2, "work", "alice").await;
    sign_in(&world.browser(), &world.op, "default", "alice").await;
}

/// Each has its metadata, its keys and its trouble: one that is away keeps nobody from signing in at the other.
#[tokio::test]
async fn a_provider_that_is_away_is_away_alone() {
    use crate::support::fault::Fault;
    let world = two_logins();
    world.net.fault(OP2, "/", Fault::Refuse);
    sign_in(&world.browser(), &world.op, "default", "alice").await;
    assert_eq!(world.browser().visit(&login_at("work", "/who")).await.status, 503);
    let failed = world.app.events.all().into_iter().find(|event| event.code == EventCode::ProviderFailed);
    assert!(failed.unwrap().detail.contains(OP2), "the operator learns which");
    world.net.heal(OP2);
    world.clock.advance(std::time::Duration::from_secs(10));
    sign_in(&world.browser(), &world.op2, "work", "alice").await;
}

/// Its own response mode, too.
#[tokio::test]
async fn each_provider_answers_as_it_was_asked() {
    let world = super::two_logins_with(
        |config: Config| config,
        |mut work| {
            work.response_mode = tower_oidc::ResponseMode::FormPost;
            work
        },
    );
    sign_in(&world.browser(), &world.op, "default", "alice").await;
    let browser = world.browser();
    sign_in(&browser, &world.op2, "work", "alice").await;
    assert_eq!(world.op2.last_authorization().get("response_mode"), Some("form_post"));
    assert_eq!(world.op.last_authorization().get("response_mode"), None);
    let pending = browser.cookies().into_iter().filter(|cookie| cookie.name.contains("login-"));
    assert_eq!(pending.count(), 0, "what is finished is cleared away");
    // Neither takes the other's kind of answer.
    world.op2.sign_in_as("alice");
    let browser = world.browser();
    let sent = browser.step(&login_at("work", "/who")).await;
    let page = browser.follow(&sent).await;
    let as_query = page.form().fields.append_to(&format!("{APP}/auth/callback/work"));
    let got = browser.new_tab().navigate(&as_query).await;
    assert_eq!(got.status, 400);
    assert_eq!(browser.settle(page).await.json()["sub"], "a1", "the control");
}

/// A single provider keeps the address that it was registered with.
#[tokio::test]
async fn one_provider_has_one_address_without_a_name() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callback = callback_of(&browser, &login_at("default", "/who")).await;
    assert_eq!(callback.path(), "/auth/callback");
    let page = browser.navigate(&moved(&callback, "/auth/callback/default", |_| {})).await;
    assert_eq!(page.status, 404);
    assert_eq!(browser.navigate(callback.as_str()).await.json()["sub"], "a1");
}
