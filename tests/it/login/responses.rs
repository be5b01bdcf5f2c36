//! What a provider answers: the table of its lies, each beside an honest login, and errors on their way to people.

use tower_oidc::EventCode;

use super::{Untouched, assert_refused, login, pending, session, who};
use crate::support::app::{APP, OP, World};
use crate::support::provider::lies::{self, Verdict};

/// Each lie of the authorization response.
#[tokio::test]
async fn lies_of_the_authorization_response() {
    for lie in lies::AUTHORIZATION {
        let world = World::new();
        world.op.sign_in_as("alice");
        world.op.lie(*lie);
        let browser = world.browser();
        let before = Untouched::now(&world);
        let page = browser.visit(&login("/who")).await;
        if lie.verdict == Verdict::Refused {
            // Only what a relying party cannot know is found out by asking the provider.
            let asks = lie.name == "code unknown";
            assert!(matches!(page.status.as_u16(), 400 | 403 | 503), "{}: {}", lie.name, page.status);
            assert_refused(&browser, &page, page.status.as_u16(), lie.name);
            if !asks {
                assert_eq!(Untouched::now(&world), before, "{}", lie.name);
            }
            // What a provider gives up is begun once more.
            let tries = 1 + usize::from(lie.name == "error login_required");
            assert_eq!(world.app.events.count(EventCode::LoginRefused), tries, "{}", lie.name);
            assert!(!page.text().contains("<script"), "{}: {}", lie.name, page.text());
            world.op.honest();
            let page = browser.visit(&login("/who")).await;
            assert_eq!(page.json()["sub"], "a1", "{}: and then honestly", lie.name);
        } else {
            assert_eq!(page.json()["sub"], "a1", "{}", lie.name);
        }
    }
}

/// A response of another issuer makes nobody call anything, and the code stays unspent.
#[tokio::test]
async fn iss_is_checked_before_anything_is_called() {
    for lie in ["response iss wrong", "response iss missing though announced", "response iss twice"] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let browser = world.browser();
        // Metadata and keys are known.
        world.sign_in(&world.browser(), "bob").await;
        world.op.sign_in_as("alice");
        world.op.lie(lie);
        world.net.forget();
        let page = browser.visit(&login("/who")).await;
        assert_refused(&browser, &page, 400, lie);
        let called: Vec<_> = world.net.requests(OP).into_iter().map(|exchange| exchange.path).collect();
        assert_eq!(called, ["/authorize"], "{lie}");
    }
}

#[tokio::test]
async fn the_person_says_no() {
    let world = World::new();
    world.op.sign_in_as("alice");
    world.op.set(|s| s.deny = true);
    world.op.edit_authorization_response(|answer| {
        answer.params.set("error_description", "<script>alert(1)</script>");
        answer.params.set("error_uri", "https://evil.test/");
    });
    let browser = world.browser();
    let page = browser.visit(&login("/private?x=1")).await;
    assert_refused(&browser, &page, 403, "denied");
    assert!(page.text().contains("Access was denied") && !page.text().contains("alert(1)"), "{}", page.text());
    assert!(!page.text().contains("evil.test"));
    assert_eq!(page.links(), ["/auth/login?return_to=%2Fprivate%3Fx%3D1"]);
    let refused = world.app.events.all().pop().unwrap();
    assert_eq!(
        (refused.code, refused.detail.as_str()),
        (EventCode::LoginRefused, "the provider returned the error access_denied")
    );
    world.op.set(|s| s.deny = false);
    world.op.honest();
    assert_eq!(browser.visit(&format!("{APP}{}", page.links()[0])).await.path_and_query(), "/private?x=1");
}

/// Every error code, hostile ones included, is a page that holds none of it as markup.
#[tokio::test]
async fn errors_become_pages() {
    for (code, status) in [
        ("access_denied", 403),
        ("invalid_request", 400),
        ("unauthorized_client", 400),
        ("login_required", 400),
        ("interaction_required", 400),
        ("server_error", 503),
        ("temporarily_unavailable", 503),
        ("<script>alert(1)</script>", 400),
        ("\"><img src=x onerror=alert(1)>", 400),
        ("a\r\nSet-Cookie: x=y", 400),
        ("\u{202e}\u{0}", 400),
    ] {
        let world = World::new();
        world.op.edit_authorization_response(move |answer| {
            answer.params.remove("code");
            answer.params.set("error", code);
        });
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let page = browser.visit(&login("/who")).await;
        assert_refused(&browser, &page, status, code);
        assert!(!page.text().contains("<script") && !page.text().contains("<img"), "{}", page.text());
        assert_eq!(page.header("retry-after").is_some(), status == 503, "{code}");
        assert!(browser.cookies().iter().all(|cookie| cookie.name != "x"));
        let details: Vec<_> = world.app.events.all().into_iter().map(|event| event.detail).collect();
        assert!(details.iter().all(|detail| !detail.contains(['\r', '\n', '\u{202e}', '\u{0}'])), "{details:?}");
    }
}

/// The provider could not go on with what was begun, and nobody refused anything: it is begun once more, and no more.
#[tokio::test]
async fn a_login_that_the_provider_gives_up_is_begun_once_more() {
    let expired = ("temporarily_unavailable", "authentication_expired");
    for (code, description) in [expired, ("interaction_required", ""), ("login_required", "")] {
        for lasting in [false, true] {
            let world = World::new();
            let answered = std::sync::atomic::AtomicBool::new(false);
            world.op.edit_authorization_response(move |answer| {
                if lasting || !answered.swap(true, std::sync::atomic::Ordering::SeqCst) {
                    answer.params.remove("code");
                    answer.params.set("error", code);
                    answer.params.set("error_description", description);
                }
            });
            world.op.sign_in_as("alice");
            let page = world.browser().visit(&login("/private?x=1")).await;
            assert_eq!(world.op.authorizations().len(), 2, "{code}");
            match lasting {
                true => assert_eq!(page.status, 400, "{code}: {}", page.text()),
                false => assert_eq!(page.path_and_query(), "/private?x=1", "{code}"),
            }
        }
    }
}

/// An error without a state, or with an unknown one, is nobody's.
#[tokio::test]
async fn an_error_without_a_state_ends_no_login() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callback = super::callback_of(&browser, &login("/who")).await;
    for forged in ["error=access_denied", "error=access_denied&state=AAAAAAAAAAAAAAAAAAAAAAAA"] {
        let page = browser.navigate(&format!("{APP}/auth/callback?{forged}")).await;
        assert_refused(&browser, &page, 400, forged);
        assert!(!page.text().contains("Access was denied"));
    }
    assert_eq!(pending(&browser).len(), 1, "the login goes on");
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1");
}

/// An error in a browser that is signed in: the page says so, and the session stays.
#[tokio::test]
async fn a_login_that_fails_leaves_the_session_that_there_is() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let before = session(&browser);
    world.op.set(|s| s.deny = true);
    assert_eq!(browser.visit(&login("/who")).await.status, 403);
    assert_eq!((who(&browser).await.as_deref(), session(&browser)), (Some("a1"), before));
}

#[tokio::test(start_paused = true)]
async fn keys_are_rotated_between_two_logins() {
    let world = World::new();
    world.signed_in("alice").await;
    world.clock.advance(std::time::Duration::from_secs(10));
    let fetched = world.op.jwks_fetches();
    world.op.rotate_keys();
    world.signed_in("bob").await;
    assert_eq!(world.op.jwks_fetches(), fetched + 1);
    // Fifty tokens under a key that nobody publishes.
    world.clock.advance(std::time::Duration::from_secs(10));
    world.op.edit_id_token(|draft| draft.head("kid", "unheard-of"));
    let rows = world.app.store.len();
    let attempts = (0..50).map(|_| async {
        let browser = world.browser();
        assert_refused(&browser, &browser.visit(&login("/who")).await, 400, "an unknown key");
    });
    let began = tokio::time::Instant::now();
    futures_util::future::join_all(attempts).await;
    let waited = began.elapsed().as_secs() as usize / 2;
    assert!(world.op.jwks_fetches() <= fetched + 2 + waited, "{} fetches", world.op.jwks_fetches());
    assert!(waited <= 2, "{waited}");
    assert_eq!(world.app.store.len(), rows + 50, "fifty spent logins, and no session");
}

/// Twenty kilobytes of groups, in the ID token: a store keeps them, and handlers see them.
#[tokio::test]
async fn a_person_of_many_groups_signs_in() {
    for size in [20 * 1024, 150 * 1024] {
        let world = World::new();
        let groups: Vec<_> = (0..size / 32).map(|n| format!("group-{n:026}")).collect();
        world.op.user("alice", |user| user.set("groups", groups.clone()));
        let alice = world.signed_in("alice").await;
        assert_eq!(world.who(&alice).await, "a1", "{size}");
        assert_eq!(alice.navigate(&format!("{APP}/tok")).await.status, 200, "{size}");
        // The logout reaches the provider, with the hint or without.
        let link = crate::support::app::logout_link(&alice, "/bye").await;
        alice.visit(&link).await;
        assert_eq!(world.op.logouts().len(), 1, "{size}");
    }
    // The control: what no row holds is refused with a page that says so.
    let world = World::new();
    world.op.user("alice", |user| user.set("groups", "x".repeat(300 * 1024)));
    world.op.sign_in_as("alice");
    let page = world.browser().visit(&login("/who")).await;
    assert_eq!(page.status, 502, "{}", page.text());
}

/// A provider without a logout needs no ID token: it is not kept.
#[tokio::test]
async fn an_id_token_is_kept_for_the_providers_logout_alone() {
    let mut sizes = Vec::new();
    for end_session in [true, false] {
        let world = World::new();
        let (store, _app) = world.watched();
        world.op.set(|op| op.end_session = end_session);
        world.op.user("alice", |user| user.set("groups", "x".repeat(10_000)));
        world.signed_in("alice").await;
        sizes.push(store.dump().await.iter().map(|(_, row)| row.record.bytes.len()).max().unwrap());
    }
    assert!(sizes[0] > sizes[1] + 10_000, "{sizes:?}");
}
