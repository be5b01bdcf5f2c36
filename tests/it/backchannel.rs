//! Back-channel logout, and the relying-party plans of the OpenID Foundation.
//!
//! | module, after `oidcc-client-test-rp-backchannel-rpinitlogout` | test |
//! |---|---|
//! | (none) | `the_provider_signs_one_browser_out` |
//! | -alg-none, -wrong-alg, -wrong-aud, -wrong-iss, -no-event, -wrong-event, -with-nonce | `logout_tokens_that_lie` |

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tower_oidc::{Connection, EventCode, GrantLifetime};

use crate::support::app::{APP, App, EVIL, OP, World, logout_link, routes, session_of};
use crate::support::browser::Browser;
use crate::support::fault::{Fault, Gate};
use crate::support::net::Caller;
use crate::support::provider::keys::{Alg, Key};
use crate::support::provider::lies::{LOGOUT_TOKEN, Verdict};
use crate::support::provider::{CLIENT_ID, LyingProvider};
use crate::support::store::{Trouble, Verb, WatchedStore};

const ENDPOINT: &str = "https://app.test/auth/backchannel-logout";
const FORM: &str = "application/x-www-form-urlencoded";

impl World {
    /// The provider's own request, by a connection of its own: no cookie, no origin.
    pub(crate) async fn back_channel(&self, logout_token: &str) -> Response<Bytes> {
        let body = form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", logout_token).finish();
        self.post(FORM, body).await
    }

    async fn post(&self, content_type: &str, body: String) -> Response<Bytes> {
        let request = Request::post(ENDPOINT).header(CONTENT_TYPE, content_type).body(body.into());
        self.net.call(Caller::Application, request.unwrap()).await.unwrap()
    }

    /// An honest logout token for the newest of a user's sessions at the provider.
    pub(crate) fn logout_token(&self, user: &str) -> String {
        self.op.logout_token(CLIENT_ID, user, self.op.sids_of(user).last().map(String::as_str), |_| ())
    }

    /// One that names the person and none of their sessions.
    fn logout_token_for_all(&self, user: &str) -> String {
        self.op.logout_token(CLIENT_ID, user, None, |_| ())
    }
}

fn assert_no_store(answer: &Response<Bytes>) {
    assert_eq!(answer.headers().get(CACHE_CONTROL).unwrap(), "no-store", "{}", answer.status());
    assert!(answer.headers().get("set-cookie").is_none());
}

fn assert_done(answer: &Response<Bytes>) {
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    assert_no_store(answer);
}

/// Section 2.8: 400, and the reason as JSON, which holds nothing of the token.
fn assert_refused(answer: &Response<Bytes>, what: &str) {
    assert_eq!(answer.status(), 400, "{what}: {:?}", answer.body());
    assert_no_store(answer);
    let problem: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(problem["error"], "invalid_request", "{what}");
    let why = problem["error_description"].as_str().unwrap();
    assert!(!why.is_empty() && why.len() < 100 && !why.contains("script") && !why.contains("eyJ"), "{what}: {why}");
}

/// The provider is asked to repeat it.
fn assert_later(answer: &Response<Bytes>) {
    assert_eq!(answer.status(), 503, "{:?}", answer.body());
    assert_eq!(answer.headers()["retry-after"], "2");
    assert_no_store(answer);
}

/// One session at the provider, one here. What is wrong with the same token changes nothing.
#[tokio::test]
async fn the_provider_signs_one_browser_out() {
    let world = World::new();
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let sid = world.op.sids_of("alice").pop().unwrap();
    let wrong = world.op.logout_token(CLIENT_ID, "alice", Some(&sid), |jwt| jwt.claim("aud", "other-app"));
    assert_refused(&world.back_channel(&wrong).await, "aud");
    let nonce = world.op.logout_token(CLIENT_ID, "alice", Some(&sid), |jwt| jwt.claim("nonce", "n"));
    assert_refused(&world.back_channel(&nonce).await, "nonce");
    assert_eq!((world.who(&alice).await, world.who(&bob).await), ("a1".into(), "b1".into()));

    let token = world.logout_token("alice");
    let old = session_of(&alice);
    assert_done(&world.back_channel(&token).await);
    assert_eq!((world.who(&alice).await, world.who(&bob).await), (Value::Null, "b1".into()));
    assert_eq!(world.who_is(&old).await, Value::Null);
    let events: Vec<_> =
        world.app.events.all().into_iter().filter(|event| event.code == EventCode::LoggedOut).collect();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].user, Some((OP.to_owned(), "a1".to_owned())));
    assert_eq!(events[0].detail, "by the provider");

    world.sign_in(&alice, "alice").await;
    assert_refused(&world.back_channel(&token).await, "a replay");
    assert_eq!(world.who(&alice).await, "a1", "the replay has no effect");
}

/// Every refusal beside what is accepted, in one world: nobody is signed out until
/// a token is good.
#[tokio::test]
async fn logout_tokens_that_lie() {
    let world = World::new();
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    for lie in LOGOUT_TOKEN {
        // Some say that they were issued a while ago: no login is later than that.
        world.clock.advance(Duration::from_secs(120));
        let sid = world.op.sids_of("alice").pop();
        let token = world.op.logout_token(CLIENT_ID, "alice", sid.as_deref(), lie.tell);
        let (told, ended) =
            (world.app.events.count(EventCode::LogoutRefused), world.app.events.count(EventCode::LoggedOut));
        let answer = world.back_channel(&token).await;
        match lie.verdict {
            Verdict::Refused => {
                assert_refused(&answer, lie.name);
                assert_eq!(world.who(&alice).await, "a1", "{}", lie.name);
                assert_eq!(world.app.events.count(EventCode::LogoutRefused), told + 1, "{}", lie.name);
                assert_eq!(world.app.events.count(EventCode::LoggedOut), ended, "{}", lie.name);
                // The same one, without the lie.
                assert_done(&world.back_channel(&world.logout_token("alice")).await);
            }
            Verdict::Accepted => {
                assert_done(&answer);
                // One says that it was issued in a while: logins before that are not later ones.
                world.clock.advance(Duration::from_secs(60));
            }
            Verdict::Depends => panic!("{}: every rule decides", lie.name),
        }
        assert_eq!(world.who(&alice).await, Value::Null, "{}", lie.name);
        assert_eq!(world.who(&bob).await, "b1", "{}", lie.name);
        world.sign_in(&alice, "alice").await;
    }
    assert!(world.net.requests(EVIL).is_empty(), "no key is fetched from where a token says");
    for event in world.app.events.all() {
        assert!(!event.detail.contains("eyJ") && !event.detail.contains("<script>"), "{event:?}");
    }
}

/// Who may sign at all, by the algorithm that the provider announces.
#[tokio::test]
async fn every_accepted_algorithm() {
    for alg in [Alg::Rs256, Alg::Rs384, Alg::Ps256, Alg::Ps384, Alg::Es256, Alg::Es384, Alg::EdDsa] {
        let world = World::new();
        world.op.set(|settings| settings.signing = alg);
        let alice = world.signed_in("alice").await;
        assert_done(&world.back_channel(&world.logout_token("alice")).await);
        assert_eq!(world.who(&alice).await, Value::Null, "{alg:?}");
    }
}

/// Tokens of other kinds, that this provider has issued for us.
#[tokio::test]
async fn an_id_token_or_an_access_token_signs_nobody_out() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let link = logout_link(&alice, "/").await;
    let leaving = alice.new_tab().step(&link).await;
    let location = url::Url::parse(leaving.location().unwrap()).unwrap();
    let hint = location.query_pairs().find(|(name, _)| name == "id_token_hint").unwrap().1.into_owned();
    world.sign_in(&alice, "alice").await;
    let access_token = alice.navigate(&format!("{APP}/tok")).await.text();
    for (token, what) in [(&hint, "an ID token"), (&access_token, "an access token")] {
        assert_refused(&world.back_channel(token).await, what);
        assert_eq!(world.who(&alice).await, "a1", "{what}");
    }
    assert_done(&world.back_channel(&world.logout_token("alice")).await);
}

/// How it is asked.
#[tokio::test]
async fn one_form_by_post() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let token = world.logout_token("alice");
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let address = format!("{ENDPOINT}?logout_token={token}");
        let request = Request::builder().method(method.clone()).uri(address).header(CONTENT_TYPE, FORM);
        let request = request.body(format!("logout_token={token}").into()).unwrap();
        let answer = world.net.call(Caller::Application, request).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"POST".parse().unwrap()), "{method}");
        assert_no_store(&answer);
    }
    let good = format!("logout_token={token}");
    for (kind, body, what) in [
        (FORM, String::new(), "nothing"),
        (FORM, "logout_token=".to_owned(), "an empty one"),
        (FORM, "id_token=x".to_owned(), "another parameter"),
        (FORM, format!("{good}&{good}"), "twice"),
        (FORM, format!("{good}&logout_token="), "a second that is empty"),
        ("application/json", json!({ "logout_token": token }).to_string(), "JSON"),
        ("application/jwt", token.clone(), "the token itself"),
        ("text/plain", good.clone(), "another kind"),
    ] {
        assert_refused(&world.post(kind, body).await, what);
    }
    let in_the_query = Request::post(format!("{ENDPOINT}?{good}")).header(CONTENT_TYPE, FORM).body(Bytes::new());
    let answer = world.net.call(Caller::Application, in_the_query.unwrap()).await.unwrap();
    assert_refused(&answer, "in the address");
    let long = format!("{good}&filler={}", "x".repeat(64 * 1024));
    let answer = world.post(FORM, long).await;
    assert_eq!(answer.status(), 413);
    assert_no_store(&answer);
    assert_eq!(world.who(&alice).await, "a1");

    let more = format!("state=x&{good}&other=1");
    assert_done(&world.post(&format!("{}; charset=UTF-8", FORM.to_uppercase()), more).await);
    assert_eq!(world.who(&alice).await, Value::Null, "what else is in the form is ignored");
}

/// The token alone counts: cookies and where the request comes from say nothing, for or against it.
#[tokio::test]
async fn cookies_and_origins_are_nothing_to_it() {
    let world = World::new();
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let forged = Request::post(ENDPOINT).header("origin", EVIL).header("sec-fetch-site", "cross-site");
    let token = format!("logout_token={}", world.logout_token("alice"));
    let forged = forged.header(CONTENT_TYPE, FORM).body(token.into()).unwrap();
    assert_done(&bob.raw_with_cookies(forged).await);
    assert_eq!((world.who(&alice).await, world.who(&bob).await), (Value::Null, "b1".into()));
    let nothing = Request::post(ENDPOINT).header("origin", APP).header("sec-fetch-site", "same-origin");
    let nothing = nothing.header(CONTENT_TYPE, FORM).body(Bytes::new()).unwrap();
    assert_refused(&bob.raw_with_cookies(nothing).await, "no token");
    assert_eq!(world.who(&bob).await, "b1");
}

/// What the index names is gone, or over.
#[tokio::test]
async fn an_index_that_dangles() {
    let world = World::new();
    let (alice, other) = (world.signed_in("alice").await, world.signed_in("alice").await);
    alice.visit(&logout_link(&alice, "/bye").await).await;
    assert_done(&world.back_channel(&world.logout_token_for_all("alice")).await);
    assert_eq!(world.who(&other).await, Value::Null, "what is left is ended");
    assert_done(&world.back_channel(&world.logout_token_for_all("alice")).await);

    let alice = world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_done(&world.back_channel(&world.logout_token_for_all("alice")).await);
    assert_eq!(world.who(&alice).await, Value::Null);
}

/// What does not fit wholly ends nothing, and says nothing of who is here.
#[tokio::test]
async fn a_wrong_sub_or_sid_signs_nobody_out() {
    let world = World::new();
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let sid = |user: &str| world.op.sids_of(user).pop().unwrap();
    let (hers, his) = (sid("alice"), sid("bob"));
    world.op.user("carol", |_| ());
    let token = |user: &str, sid: Option<&str>| world.op.logout_token(CLIENT_ID, user, sid, |_| ());
    for (token, what) in [
        (token("carol", None), "somebody who never came"),
        (token("carol", Some(&hers)), "her session under another name"),
        (token("alice", Some(&his)), "her name with his session"),
        (token("alice", Some("sid_unknown")), "her name with no session of ours"),
        (token("alice", Some(&hers.to_lowercase())), "spelled otherwise"),
    ] {
        assert_done(&world.back_channel(&token).await);
        assert_eq!((world.who(&alice).await, world.who(&bob).await), ("a1".into(), "b1".into()), "{what}");
    }
    assert!(!world.app.events.has(EventCode::LoggedOut));
    assert_done(&world.back_channel(&token("alice", Some(&hers))).await);
    assert_eq!((world.who(&alice).await, world.who(&bob).await), (Value::Null, "b1".into()));
}

#[tokio::test]
async fn one_session_or_all_of_a_person() {
    let world = World::new();
    let browsers = [world.signed_in("alice").await, world.signed_in("alice").await, world.signed_in("alice").await];
    let bob = world.signed_in("bob").await;
    let who = async || {
        let [a, b, c] = &browsers;
        [world.who(a).await, world.who(b).await, world.who(c).await].map(|who| !who.is_null())
    };
    let sids = world.op.sids_of("alice");
    assert_eq!(sids.len(), 3);
    assert_done(&world.back_channel(&world.op.logout_token(CLIENT_ID, "alice", Some(&sids[1]), |_| ())).await);
    assert_eq!(who().await, [true, false, true], "sub and sid: both must fit");
    let sid_alone = world.op.logout_token(CLIENT_ID, "alice", Some(&sids[2]), |jwt| jwt.without("sub"));
    assert_done(&world.back_channel(&sid_alone).await);
    assert_eq!(who().await, [true, false, false], "sid alone");
    world.sign_in(&browsers[1], "alice").await;
    assert_eq!(who().await, [true, true, false]);
    assert_done(&world.back_channel(&world.logout_token_for_all("alice")).await);
    assert_eq!(who().await, [false, false, false], "sub alone: wherever she is");
    assert_eq!(world.who(&bob).await, "b1");
    assert_eq!(world.app.events.count(EventCode::LoggedOut), 4);
}

/// A store that is away signs nobody out and says so; the same token works when it is back.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails() {
    for (verb, trouble) in [
        (Verb::Load, Trouble::Fail),
        (Verb::Load, Trouble::Hang),
        (Verb::Delete, Trouble::Fail),
        (Verb::Delete, Trouble::Hang),
        (Verb::Swap, Trouble::Fail),
    ] {
        let world = World::new();
        let (store, app) = world.watched();
        let alice = world.signed_in("alice").await;
        let token = world.logout_token("alice");
        store.trouble(verb, trouble);
        assert_later(&world.back_channel(&token).await);
        assert!(app.events.has(EventCode::LogoutIncomplete), "{verb:?}");
        store.heal();
        assert_eq!(world.who(&alice).await, "a1", "{verb:?}");
        assert_done(&world.back_channel(&token).await);
        assert_eq!(world.who(&alice).await, Value::Null, "{verb:?}");
        assert_refused(&world.back_channel(&token).await, "and then it is a replay");
    }
}

/// She is out, and only that the token came could not be written: it may come again.
#[tokio::test]
async fn a_token_that_could_not_be_noted_may_come_again() {
    let world = World::new();
    let (store, app) = world.watched();
    let alice = world.signed_in("alice").await;
    let token = world.logout_token("alice");
    let open = Gate::new();
    open.open();
    store.trouble(Verb::Swap, Trouble::GateAnswer(open));
    store.trouble(Verb::Swap, Trouble::Fail);
    assert_later(&world.back_channel(&token).await);
    assert!(app.events.has(EventCode::LogoutIncomplete));
    store.heal();
    assert_eq!(world.who(&alice).await, Value::Null);
    assert_done(&world.back_channel(&token).await);
    assert_refused(&world.back_channel(&token).await, "and then it is a replay");
}

/// The provider signs her out while her login is under way: its tokens were issued before, and begin nothing.
#[tokio::test]
async fn a_login_that_was_under_way_begins_no_session() {
    for by_sid in [true, false] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let gate = Gate::new();
        world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
        let login = tokio::spawn({
            let tab = browser.new_tab();
            async move { tab.visit(&format!("{APP}/auth/login?return_to=/who")).await }
        });
        gate.wait_for_arrivals(1).await;
        world.clock.advance(Duration::from_secs(1));
        let token = if by_sid { world.logout_token("alice") } else { world.logout_token_for_all("alice") };
        assert_done(&world.back_channel(&token).await);
        gate.open();
        let page = login.await.unwrap();
        assert_eq!((page.status.as_u16(), page.url.path()), (400, "/auth/callback"), "{}", page.text());
        assert!(browser.cookie("__Host-tower-oidc-session").is_none());
        assert!(!world.app.events.has(EventCode::LoginSucceeded));
        // The index, the login that was spent, the token, and the note of it.
        assert_eq!(world.app.store.len(), 4);
        world.net.heal(OP);
        world.clock.advance(Duration::from_secs(1));
        world.sign_in(&browser, "alice").await;
        assert_eq!(world.who(&browser).await, "a1", "the next one is after it");
    }
}

/// Some are out and one is not. The provider is told, and its second try does the rest.
#[tokio::test]
async fn partial_failure_is_reported() {
    let world = World::new();
    let (store, app) = world.watched();
    let browsers = [world.signed_in("alice").await, world.signed_in("alice").await, world.signed_in("alice").await];
    let token = world.logout_token_for_all("alice");
    let signed_in = async || {
        let mut count = 0;
        for browser in &browsers {
            count += usize::from(!world.who(browser).await.is_null());
        }
        count
    };
    // The first session is deleted, and its grant; then nothing is.
    for _ in 0..2 {
        let open = Gate::new();
        open.open();
        store.trouble(Verb::Delete, Trouble::GateAnswer(open));
    }
    store.trouble(Verb::Delete, Trouble::Fail);
    assert_later(&world.back_channel(&token).await);
    assert_eq!((signed_in().await, app.events.count(EventCode::LoggedOut)), (2, 1));
    assert!(app.events.has(EventCode::LogoutIncomplete));
    store.heal();
    assert_done(&world.back_channel(&token).await);
    assert_eq!((signed_in().await, app.events.count(EventCode::LoggedOut)), (0, 3));
    assert_refused(&world.back_channel(&token).await, "a replay");
}

/// By the provider's own clock, which may be another than ours.
#[tokio::test]
async fn a_login_after_the_token_survives_it() {
    for behind in [0_u64, 45] {
        let world = World::new();
        let now = world.clock.seconds_fn();
        let op = LyingProvider::with_clock(&world.net, OP, std::sync::Arc::new(move || now() - behind));
        op.sign_in_as("alice");
        let sign_in = async || {
            let browser = world.browser();
            let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
            assert_eq!(page.json()["sub"], "a1");
            browser
        };
        let before = sign_in().await;
        let token = op.logout_token(CLIENT_ID, "alice", None, |_| ());
        // Later than any leeway.
        world.clock.advance(Duration::from_secs(6));
        let after = sign_in().await;
        assert_done(&world.back_channel(&token).await);
        assert_eq!(world.who(&before).await, Value::Null, "{behind} s behind: she was in before");
        assert_eq!(world.who(&after).await, "a1", "{behind} s behind: she came after");
    }
}

/// A `jti` is remembered for as long as its token would be good otherwise, at every process, and no longer.
#[tokio::test]
async fn a_jti_is_spent_once_at_every_process_until_it_is_over() {
    let world = World::new();
    world.signed_in("alice").await;
    let rows = world.app.store.len() - 2;
    let ordinary = world.logout_token("alice");
    let lasting = world.op.logout_token(CLIENT_ID, "alice", None, |jwt| {
        jwt.claim("exp", jwt.now() + 4_000_000);
    });
    for token in [&ordinary, &lasting] {
        assert_done(&world.back_channel(token).await);
    }
    world.another(|config| config);
    let replay = async |token: &str, why: &str| {
        world.app.layer.delete_expired().await.unwrap();
        let answer = world.back_channel(token).await;
        assert_refused(&answer, why);
        assert!(String::from_utf8_lossy(answer.body()).contains(why), "{why}: {:?}", answer.body());
    };
    replay(&ordinary, "jti").await;
    // Two minutes, and the skew that is allowed.
    world.clock.advance(Duration::from_secs(179));
    replay(&ordinary, "jti").await;
    world.clock.advance(Duration::from_secs(1));
    replay(&ordinary, "exp").await;
    // An hour at the most, whatever the token says.
    world.clock.advance(Duration::from_secs(3600 - 180));
    replay(&lasting, "jti").await;
    world.clock.advance(Duration::from_secs(1));
    replay(&lasting, "iat").await;
    world.clock.advance(Duration::from_secs(120));
    world.app.layer.delete_expired().await.unwrap();
    assert!(world.app.store.len() <= rows, "nothing is kept for longer than it can matter");
}

/// Two at the same time: each is answered, and she is out.
#[tokio::test]
async fn simultaneous_logouts() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let (one, all) = (world.logout_token("alice"), world.logout_token_for_all("alice"));
    let answers = join_all([&one, &all, &one, &all, &one].map(|token| world.back_channel(token))).await;
    assert!(answers.iter().all(|answer| [200, 400].contains(&answer.status().as_u16())));
    assert!(answers.iter().any(|answer| answer.status() == 200));
    assert_eq!(world.who(&alice).await, Value::Null);
    for token in [&one, &all] {
        assert_refused(&world.back_channel(token).await, "afterwards");
    }
}

/// What ends with the session, and what is the person's own.
#[tokio::test]
async fn grants_of_the_session_end_and_grants_of_the_person_stay() {
    let world = World::with(|mut config| {
        config.provider.revoke_at_logout = true;
        config
    });
    let alice = world.signed_in("alice").await;
    let rows = world.app.store.len();
    assert_done(&world.back_channel(&world.logout_token("alice")).await);
    world.app.layer.drain().await;
    assert_eq!(
        world.app.store.len(),
        rows - 2 + 2,
        "without session and grant, with the notes of the token and of whom it means"
    );
    assert_eq!(world.op.revocations().len(), 1, "where the operator wants it so, as at any logout");
    drop(alice);

    let world = World::with(|mut config| {
        config.login_grant_lifetime = GrantLifetime::Persistent;
        config.connection(Connection::new("mail").scope("mail"))
    });
    let alice = world.signed_in("alice").await;
    let rows = world.app.store.len();
    assert_done(&world.back_channel(&world.logout_token("alice")).await);
    world.app.layer.drain().await;
    assert_eq!(world.app.store.len(), rows - 1 + 2, "only the session is gone");
    assert!(world.op.revocations().is_empty());
    world.sign_in(&alice, "alice").await;
    assert_eq!(alice.navigate(&format!("{APP}/tok")).await.status, 200);
}

/// The provider signs her out while her token is being refreshed. What comes back is thrown away.
#[tokio::test]
async fn a_logout_during_a_refresh_is_final() {
    let world = World::with(|mut config| {
        config.provider.revoke_at_logout = true;
        config
    });
    let alice = world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(3600));
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
    let asking = tokio::spawn(world.ask(APP, &alice, "/tok"));
    gate.wait_for_arrivals(1).await;
    assert_done(&world.back_channel(&world.logout_token("alice")).await);
    // What has expired goes by itself, now and then.
    world.app.layer.delete_expired().await.unwrap();
    let rows = world.app.store.len();
    gate.open();
    let answer = asking.await.unwrap().unwrap();
    assert_ne!(answer.status(), 200, "{:?}", answer.body());
    world.app.layer.drain().await;
    // A sweep that had begun before may have taken more away meanwhile.
    assert!(world.app.store.len() <= rows, "nothing was written back");
    assert_eq!(world.who(&alice).await, Value::Null);
    assert!(world.op.live_refresh_tokens().is_empty(), "what came is revoked");
}

/// A key that was rotated in a moment ago is found, and strangers can make the provider be asked once in two seconds.
/// They take nothing from those who sign in.
#[tokio::test]
async fn logout_tokens_of_unknown_keys() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(3));
    world.op.rotate_keys();
    world.op.forget();
    assert_done(&world.back_channel(&world.logout_token("alice")).await);
    assert_eq!((world.who(&alice).await, world.op.jwks_fetches()), (Value::Null, 1));

    world.clock.advance(Duration::from_secs(3));
    world.op.forget();
    let forged = || world.op.logout_token(CLIENT_ID, "alice", None, |jwt| jwt.sign_with(Key::stranger(jwt.key().alg)));
    let answers = join_all((0..50).map(|_| async { world.back_channel(&forged()).await })).await;
    let (later, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status() == 503);
    refused.iter().for_each(|answer| assert_refused(answer, "a stranger's"));
    assert_eq!((refused.len(), later.len()), (16, 34), "no more of them wait for keys");
    let fetched = world.op.jwks_fetches();
    assert!(fetched <= 2, "{fetched} for those who came first, and for those who came a moment later");
    world.op.rotate_keys();
    world.sign_in(&alice, "alice").await;
    assert_eq!(
        world.op.jwks_fetches(),
        fetched + 1,
        "a login that needs the new key does not wait for the strangers' turn"
    );

    world.op.forget();
    for claimed in ["https://evil.test", "https://op.test/"] {
        let token = world.op.logout_token(CLIENT_ID, "alice", None, |jwt| {
            jwt.sign_with(Key::stranger(jwt.key().alg));
            jwt.claim("iss", claimed);
        });
        world.clock.advance(Duration::from_secs(3));
        assert_refused(&world.back_channel(&token).await, claimed);
    }
    assert_eq!(world.op.jwks_fetches(), 0, "whose provider it is not is not looked for");
}

/// A logout token under keys that changed twice in a moment waits for them, as a login does.
/// Keys that one logout token was fetched for serve all that follow, however many come at once.
#[tokio::test]
async fn logout_tokens_of_a_new_key_do_not_wait_for_each_other() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(3));
    world.op.rotate_keys();
    world.op.forget();
    assert_done(&world.back_channel(&world.logout_token("bob")).await);
    let answers = join_all((0..50).map(|_| async { world.back_channel(&world.logout_token("alice")).await })).await;
    answers.iter().for_each(assert_done);
    assert_eq!((world.who(&alice).await, world.op.jwks_fetches()), (Value::Null, 1));
}

#[tokio::test(start_paused = true)]
async fn a_logout_token_waits_for_keys() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(3));
    for _ in 0..2 {
        world.op.rotate_keys();
        assert_done(&world.back_channel(&world.logout_token("bob")).await);
        world.clock.advance(Duration::from_millis(500));
    }
    world.op.rotate_keys();
    let began = tokio::time::Instant::now();
    assert_done(&world.back_channel(&world.logout_token("alice")).await);
    assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(world.who(&alice).await, Value::Null);
}

/// The provider's keys are out of reach: nobody can know whether the token is good, and it may come again.
#[tokio::test]
async fn without_keys_a_logout_is_not_claimed() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    world.another(|config| config);
    world.net.fault(OP, "", Fault::Refuse);
    let token = world.logout_token("alice");
    assert_later(&world.back_channel(&token).await);
    assert_eq!(world.who(&alice).await, "a1");
    world.net.heal(OP);
    world.clock.advance(Duration::from_secs(5));
    assert_done(&world.back_channel(&token).await);
    assert_eq!(world.who(&alice).await, Value::Null);
}

/// A provider that hangs up has signed them out all the same.
#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing() {
    let world = World::new();
    let (store, app) = world.watched();
    let alice: Browser = world.signed_in("alice").await;
    let token = world.logout_token("alice");
    let gate = Gate::new();
    store.trouble(Verb::Delete, Trouble::GateAnswer(gate.clone()));
    {
        let calling = world.back_channel(&token);
        let waiting = gate.wait_for_arrivals(1);
        tokio::pin!(calling);
        tokio::select! {
            answer = &mut calling => panic!("it waits: {answer:?}"),
            () = waiting => {}
        }
    }
    gate.open();
    app.layer.drain().await;
    assert_eq!(world.who(&alice).await, Value::Null);
    assert_eq!(app.events.count(EventCode::LoggedOut), 1);
    assert_refused(&world.back_channel(&token).await, "it was done wholly");
}

/// Front-channel logout, which is off unless it is wanted. No cookie comes along, and none is needed.
#[tokio::test]
async fn front_channel_logout_by_iss_and_sid() {
    let address = |iss: &str, sid: &str| format!("{APP}/auth/frontchannel-logout?iss={iss}&sid={sid}");
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let hers = world.op.sids_of("alice").pop().unwrap();
    assert_eq!(alice.iframe(&address(OP, &hers), OP).await.status, 404);
    assert_eq!(world.who(&alice).await, "a1");

    let world = World::with(|mut config| {
        config.frontchannel_logout = true;
        config
    });
    let (alice, other) = (world.signed_in("alice").await, world.signed_in("alice").await);
    let bob = world.signed_in("bob").await;
    let hers = world.op.sids_of("alice").remove(0);
    for (query, what) in [
        (String::new(), "nothing"),
        (format!("?sid={hers}"), "no issuer"),
        (format!("?iss={OP}"), "no sid"),
        (format!("?iss={OP}&sid="), "an empty sid"),
        (format!("?iss={EVIL}&sid={hers}"), "another issuer"),
        (format!("?iss={OP}/&sid={hers}"), "the issuer with a slash more"),
        (format!("?iss={EVIL}&iss={OP}&sid={hers}"), "two issuers"),
        (format!("?iss={OP}&sid=x&sid={hers}"), "two sids"),
    ] {
        let page = alice.iframe(&format!("{APP}/auth/frontchannel-logout{query}"), OP).await;
        assert_eq!((page.status.as_u16(), page.header("cache-control")), (400, Some("no-store")), "{what}");
        assert_eq!(world.who(&alice).await, "a1", "{what}");
    }
    assert_eq!(alice.iframe(&address(OP, "sid_unknown"), OP).await.status, 200);
    for method in [Method::POST, Method::HEAD] {
        alice.fetch(method, &address(OP, &hers), "", APP).await;
    }
    assert_eq!(world.who(&alice).await, "a1");
    let page = alice.iframe(&address(OP, &hers), OP).await;
    assert_eq!((page.status.as_u16(), page.header("cache-control")), (200, Some("no-store")));
    assert_eq!(page.header("x-frame-options"), None);
    assert!(!page.header("content-security-policy").unwrap().contains("frame-ancestors"));
    assert_eq!(world.who(&alice).await, Value::Null);
    assert_eq!((world.who(&other).await, world.who(&bob).await), ("a1".into(), "b1".into()), "by sid, not by person");
    assert_eq!(world.app.events.count(EventCode::LoggedOut), 1);

    let store = WatchedStore::new(world.app.store.clone());
    let app = App::over(&world.net, &world.clock, store.clone(), world.app.store.clone(), |mut config| {
        config.frontchannel_logout = true;
        config
    });
    world.net.serve_service(APP, app.layer.layer(routes()));
    let sid = world.op.sids_of("bob").pop().unwrap();
    store.trouble(Verb::Delete, Trouble::Fail);
    assert_eq!(bob.iframe(&address(OP, &sid), OP).await.status, 503);
    store.heal();
    assert_eq!(world.who(&bob).await, "b1", "it is not claimed");
    assert_eq!(bob.iframe(&address(OP, &sid), OP).await.status, 200);
    assert_eq!(world.who(&bob).await, Value::Null);
}
