//! Two applications beside each other: whatever secrets, stores and providers they share, nothing of one counts at the
//! other, and neither loses anything to it. Two processes of one application share everything.

use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{Method, Request, Response};
use serde_json::Value;
use tower_oidc::{Config, EventCode, LoginDecision, OidcLayer, SharedAccount};

use crate::single_user::app::Durable;
use crate::support::app::{APP, App, Events, World, config, routes};
use crate::support::browser::{Browser, Page};
use crate::support::net::Caller;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};
use crate::support::test_store::TestStore;

const TWO: &str = "https://two.test";
const OTHER_CLIENT: &str = "another-client";
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    PerUser,
    SingleUser,
    Stateless,
}

/// What the second application has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Url,
    Mount,
    CookieName,
    /// With a URL of its own.
    Client,
    /// With the URL and the cookies of the first: it is the same application, which was registered anew.
    ClientAlone,
    /// It is another process of the same application.
    Nothing,
}

/// One of the two.
struct Application {
    app: App,
    /// Its public URL.
    url: &'static str,
    cookies: &'static str,
    client: &'static str,
}

impl Application {
    fn start(world: &World, mode: Mode, own: Own, store: TestStore, edit: impl FnOnce(&mut Config)) -> Self {
        let (url, cookies, client) = match own {
            Own::Url => (TWO, "tower-oidc", CLIENT_ID),
            Own::Mount => ("https://app.test/two", "tower-oidc", CLIENT_ID),
            Own::CookieName => (APP, "two", CLIENT_ID),
            Own::Client => (TWO, "tower-oidc", OTHER_CLIENT),
            Own::ClientAlone => (APP, "tower-oidc", OTHER_CLIENT),
            Own::Nothing => (APP, "tower-oidc", CLIENT_ID),
        };
        let events = Events::default();
        let mut config = config(&world.net, &world.clock).on_event(events.hook());
        config.public_url = url.to_owned();
        config.cookie_name = cookies.to_owned();
        config.provider.client_id = client.to_owned();
        edit(&mut config);
        let layer = match mode {
            Mode::PerUser => OidcLayer::per_user(config, store.clone()),
            Mode::SingleUser => {
                OidcLayer::single_user(config, SharedAccount::client_credentials(), Durable(store.clone()))
            }
            Mode::Stateless => OidcLayer::stateless(config, store.clone()),
        };
        let layer = layer.unwrap_or_else(|error| panic!("{error}"));
        Self { app: App { layer, store, events }, url, cookies, client }
    }

    /// Serves it at its public URL, in the place of the application that was there.
    fn serve(&self, world: &World) {
        let service = self.app.layer.layer(routes());
        let mount = self.url.strip_prefix(APP).unwrap_or_default();
        match mount {
            "" => world.net.serve_service(self.url, service),
            mount => world.net.serve_service(APP, Router::new().nest_service(mount, service)),
        }
    }

    fn path(&self, path: &str) -> String {
        let mount = self.url.strip_prefix(APP).unwrap_or_default();
        format!("{mount}{path}")
    }

    /// This person signs in here, in a browser of their own.
    async fn signed_in(&self, world: &World, name: &str) -> Browser {
        self.serve(world);
        world.op.sign_in_as(name);
        let browser = Browser::new(&world.net, &world.clock);
        let page = browser.visit(&self.login()).await;
        assert_eq!(page.status, 200, "{}: {}", self.url, page.text());
        assert!(page.json()["sub"].is_string(), "{}: {}", self.url, page.text());
        browser
    }

    fn login(&self) -> String {
        format!("{}/auth/login?return_to={}", self.url, self.path("/who"))
    }

    async fn script(&self, world: &World, browser: &Browser, path: &str) -> Page {
        self.serve(world);
        browser.fetch(Method::GET, &format!("{}{path}", self.url), "", self.url).await
    }

    async fn who(&self, world: &World, browser: &Browser) -> Value {
        self.script(world, browser, "/who").await.json()["sub"].clone()
    }

    /// The token that this browser's requests get here, which must be one of this application's own client.
    async fn token(&self, world: &World, browser: &Browser) -> String {
        let page = self.script(world, browser, "/tok").await;
        assert_eq!(page.status, 200, "{}: {}", self.url, page.text());
        self.assert_own(world, &page.text());
        page.text()
    }

    fn assert_own(&self, world: &World, token: &str) {
        let issued = world.op.issued(token).expect("a token of the provider");
        assert!(issued.live && issued.client_id == self.client, "{}: {}", self.url, issued.client_id);
    }

    /// What a request gets here that shows the cookies of a browser of the other application, named as they are here.
    async fn shown(&self, world: &World, browser: &Browser, of: &Self, path: &str) -> Response<Bytes> {
        self.serve(world);
        let (theirs, ours) = (format!("__Host-{}-", of.cookies), format!("__Host-{}-", self.cookies));
        let cookies = browser.cookies_for(&format!("{}/", of.url));
        let cookies = cookies
            .iter()
            .filter_map(|cookie| Some(format!("{ours}{}={}", cookie.name.strip_prefix(&theirs)?, cookie.value)));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        assert!(!cookies.is_empty());
        let request = Request::get(format!("{}{path}", self.url)).header("cookie", cookies);
        world.browser().raw(request.body(Bytes::new()).unwrap()).await
    }

    async fn logout_link(&self, world: &World, browser: &Browser) -> String {
        let links = self.script(world, browser, &format!("/links?to={}", self.path("/bye"))).await.json();
        let origin = self.url.strip_suffix(&self.path("")).unwrap();
        format!("{origin}{}", links["logout"]["ok"].as_str().expect("a link"))
    }

    /// The provider ends every session of this person at this application's client.
    async fn back_channel(&self, world: &World, user: &str) -> u16 {
        self.serve(world);
        let token = world.op.logout_token(self.client, user, None, |_| ());
        let request = Request::post(format!("{}/auth/backchannel-logout", self.url))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("logout_token={token}").into());
        let answer = world.net.call(Caller::Application, request.unwrap()).await.unwrap();
        answer.status().as_u16()
    }
}

/// The first application, and the second.
fn two(mode: Mode, own: Own, same_secret: bool, same_store: bool) -> (World, Application, Application) {
    let world = World::new();
    world.op.register(OTHER_CLIENT, Some(CLIENT_SECRET));
    let store = world.app.store.clone();
    let other = if same_store { store.clone() } else { TestStore::new() };
    let secret = |config: &mut Config| {
        if !same_secret {
            config.session_secrets = vec!["the second application's own secret, 32 bytes+".into()];
        }
    };
    let one = Application::start(&world, mode, Own::Nothing, store, |_| ());
    let two = Application::start(&world, mode, own, other, secret);
    (world, one, two)
}

/// Everything that a browser of one application has is shown to the other one.
async fn nothing_counts(world: &World, here: &Application, there: &Application, mode: Mode) {
    let browser = there.signed_in(world, "alice").await;
    let theirs = there.token(world, &browser).await;

    // The session, its claims and its grants.
    let who = here.shown(world, &browser, there, "/who").await;
    assert_eq!(&who.body()[..], b"null", "{}", here.url);
    let token = here.shown(world, &browser, there, "/tok").await;
    match mode {
        Mode::PerUser | Mode::Stateless => assert_eq!(token.status(), 401),
        // Everybody has the account's, and it is this application's.
        Mode::SingleUser => here.assert_own(world, &String::from_utf8_lossy(token.body())),
    }
    assert_ne!(String::from_utf8_lossy(token.body()), theirs);

    // A grant beside a session of one's own, in the cookies.
    let own = here.signed_in(world, "alice").await;
    for (at, kind) in [(browser.cookies(), "grant"), (browser.cookies(), "claims")] {
        let thief = own.clone();
        let jar = own.clone_jar();
        let of = |cookies: &str| format!("__Host-{cookies}-{kind}.");
        let Some(stolen) = at.iter().find(|one| one.name.starts_with(&of(there.cookies))) else { continue };
        let names = own.cookies().into_iter().filter(|one| one.name.starts_with(&of(here.cookies)));
        for name in names.map(|one| one.name) {
            thief.tamper(&name, |_| stolen.value.clone());
        }
        let answer = here.script(world, &thief, "/tok").await;
        assert_ne!(answer.text(), theirs, "{}", here.url);
        own.replace_jar(jar);
    }
    here.token(world, &own).await;

    // A login that is under way.
    there.serve(world);
    let under_way = Browser::new(&world.net, &world.clock);
    let leaving = under_way.step(&there.login()).await;
    let back = under_way.follow(&leaving).await.location().unwrap().to_owned();
    let path = back.strip_prefix(there.url).unwrap();
    let answer = here.shown(world, &under_way, there, path).await;
    assert_eq!(answer.status(), 400, "{}", here.url);
    let sets_session = |answer: &Response<Bytes>| {
        let mut set = answer.headers().get_all("set-cookie").iter().filter_map(|set| set.to_str().ok());
        set.any(|set| set.starts_with(&format!("__Host-{}-session=", here.cookies)))
    };
    assert!(!sets_session(&answer), "{}", here.url);
    there.serve(world);
    assert_eq!(under_way.visit(&back).await.json()["sub"], "a1", "the control: at its own application");

    // A logout at the provider, from which a browser comes back.
    let link = there.logout_link(world, &under_way).await;
    let leaving = under_way.step(&link).await;
    let back = under_way.follow(&leaving).await.location().unwrap().to_owned();
    let path = back.strip_prefix(there.url).unwrap();
    let to = |answer: &Response<Bytes>| answer.headers().get(LOCATION).cloned();
    assert_eq!(to(&here.shown(world, &under_way, there, path).await), None, "{}", here.url);
    assert_eq!(to(&there.shown(world, &under_way, there, path).await).unwrap(), &there.path("/bye"));

    // What was shown elsewhere still counts here.
    assert_eq!(there.who(world, &browser).await, "a1");
}

/// Both live on beside each other: tokens, refreshes, sweeps, logouts.
async fn neither_loses_anything(world: &World, one: &Application, two: &Application) {
    let applications = [one, two];
    let browsers = [one.signed_in(world, "alice").await, two.signed_in(world, "alice").await];
    let mut before = Vec::new();
    for _ in 0..3 {
        let mut tokens = Vec::new();
        for (here, browser) in applications.into_iter().zip(&browsers) {
            assert_eq!(here.who(world, browser).await, "a1");
            tokens.push(here.token(world, browser).await);
            here.app.layer.delete_expired().await.unwrap();
        }
        assert_ne!(tokens[0], tokens[1]);
        assert!(tokens.iter().all(|token| !before.contains(token)), "they were refreshed");
        before.extend(tokens);
        world.clock.advance(HOUR + HOUR);
    }
    assert_eq!(world.op.reuse_detected(), 0);

    // The provider signs her out at the one: its sessions end.
    assert_eq!(one.back_channel(world, "alice").await, 200);
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(one.who(world, &browsers[0]).await, Value::Null);
    assert_eq!(two.who(world, &browsers[1]).await, "a1");
    two.token(world, &browsers[1]).await;

    // She signs out at the other one, and is in at the first.
    let again = one.signed_in(world, "alice").await;
    let link = two.logout_link(world, &browsers[1]).await;
    browsers[1].visit(&link).await;
    assert_eq!(two.who(world, &browsers[1]).await, Value::Null);
    assert_eq!(one.who(world, &again).await, "a1");
    one.token(world, &again).await;
    for here in applications {
        for code in [EventCode::UnknownKey, EventCode::StoreFailed, EventCode::RefreshRefused] {
            assert_eq!(here.app.events.count(code), 0, "{}: {code:?}", here.url);
        }
    }
}

async fn beside_each_other(mode: Mode) {
    for own in [Own::Url, Own::Mount, Own::CookieName, Own::Client] {
        for (same_secret, same_store) in [(true, true), (true, false), (false, true), (false, false)] {
            println!("{mode:?}, {own:?}, secret {same_secret}, store {same_store}");
            let (world, one, two) = two(mode, own, same_secret, same_store);
            neither_loses_anything(&world, &one, &two).await;
            nothing_counts(&world, &one, &two, mode).await;
            nothing_counts(&world, &two, &one, mode).await;
        }
    }
}

#[tokio::test]
async fn two_applications_of_people_with_their_own_tokens() {
    beside_each_other(Mode::PerUser).await;
}

#[tokio::test]
async fn two_applications_with_an_account_each() {
    beside_each_other(Mode::SingleUser).await;
}

#[tokio::test]
async fn two_applications_whose_browsers_carry_everything() {
    beside_each_other(Mode::Stateless).await;
}

/// The hook and `hd` decide at the application that they are configured at, whoever is signed in at another one. An hour
/// later both still refresh their own grants.
#[tokio::test]
async fn a_session_of_an_application_without_a_hook_does_not_pass_by_the_hook_of_another() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let (world, one, _) = two(mode, Own::Client, true, true);
        let strict = Application::start(&world, mode, Own::Client, one.app.store.clone(), |config| {
            config.provider.hosted_domain = Some("example.com".to_owned());
            let asked = config.clone().on_login(|login| async move {
                if login.subject == "b1" { LoginDecision::Allow } else { LoginDecision::Deny("not you".into()) }
            });
            *config = asked;
        });
        world.op.user("bob", |user| user.set("hd", "example.com"));
        let alice = one.signed_in(&world, "alice").await;
        let bob = strict.signed_in(&world, "bob").await;
        for _ in 0..2 {
            assert_eq!(&strict.shown(&world, &alice, &one, "/who").await.body()[..], b"null", "{mode:?}");
            assert_eq!(strict.shown(&world, &alice, &one, "/tok").await.status(), 401, "{mode:?}");
            one.token(&world, &alice).await;
            strict.token(&world, &bob).await;
            world.clock.advance(HOUR + HOUR);
        }
        assert_eq!(world.op.reuse_detected(), 0);
    }
}

/// An application that was registered anew keeps its sessions, and gets no token of the former client.
#[tokio::test]
async fn a_token_of_another_client_is_never_handed_out_or_refreshed() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let (world, former, new) = two(mode, Own::ClientAlone, true, true);
        let alice = former.signed_in(&world, "alice").await;
        let token = former.token(&world, &alice).await;
        assert_eq!(new.who(&world, &alice).await, "a1", "{mode:?}");
        let refused = new.script(&world, &alice, "/tok").await;
        assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (403, Some("consent_required")));
        assert_eq!(former.token(&world, &alice).await, token, "{mode:?}: it is still there");
        world.clock.advance(HOUR + HOUR);
        assert_eq!(new.script(&world, &alice, "/tok").await.status, 403);
        assert!(world.op.refreshes().is_empty(), "{mode:?}");
        assert_ne!(former.token(&world, &alice).await, token, "{mode:?}: and is refreshed by its own client");
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
        let anew = new.signed_in(&world, "alice").await;
        new.token(&world, &anew).await;
        former.token(&world, &alice).await;
    }
}

/// The control of all of this.
#[tokio::test]
async fn two_processes_of_one_application_share_everything() {
    for mode in [Mode::PerUser, Mode::SingleUser, Mode::Stateless] {
        let (world, one, two) = two(mode, Own::Nothing, true, true);
        let alice = one.signed_in(&world, "alice").await;
        assert_eq!(two.who(&world, &alice).await, "a1", "{mode:?}");
        let token = one.token(&world, &alice).await;
        assert_eq!(two.token(&world, &alice).await, token, "{mode:?}");
        world.clock.advance(HOUR + HOUR);
        let token = two.token(&world, &alice).await;
        assert_eq!(one.token(&world, &alice).await, token, "{mode:?}");
        assert_eq!(two.back_channel(&world, "alice").await, 200);
        world.clock.advance(Duration::from_secs(3));
        assert_eq!(one.who(&world, &alice).await, Value::Null, "{mode:?}");
    }
}
