//! Logins that another site begins, with the issuer of a provider (OpenID Connect Core 1.0 section 4).

use bytes::Bytes;
use http::{Method, Request};
use tower_oidc::{Config, ProviderConfig};

use super::{assert_refused, pending, session, who};
use crate::support::app::{APP, EVIL, OP, OP2, World};
use crate::support::browser::{Browser, Page};
use crate::support::html::Form;
use crate::support::params::Params;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};

/// The address with these parameters.
fn address(parameters: &[(&str, &str)]) -> String {
    parameters.iter().copied().collect::<Params>().append_to(&format!("{APP}/auth/initiate"))
}

/// What a page of the provider's, or of anybody's, sends: a link, or a form by POST.
async fn initiate(browser: &Browser, post: bool, from: &str, parameters: &[(&str, &str)]) -> Page {
    if !post {
        let page = browser.click_from(from, &address(parameters)).await;
        return browser.settle(page).await;
    }
    let form = Form {
        id: String::new(),
        action: format!("{APP}/auth/initiate"),
        method: "POST".to_owned(),
        fields: parameters.iter().copied().collect(),
        unchecked: Params::default(),
        buttons: Vec::new(),
    };
    let page = browser.submit_from(from, &form).await;
    browser.settle(page).await
}

/// The second provider, for logins too or for connections only.
fn second(config: Config, login: bool) -> Config {
    let second = ProviderConfig::new(OP2, CLIENT_ID).client_secret(CLIENT_SECRET).name("second");
    config.add_provider(if login { second } else { second.without_login() })
}

#[tokio::test]
async fn the_provider_begins_a_login_by_get_and_by_post() {
    for post in [false, true] {
        for world in [World::new(), World::stateless()] {
            world.op.sign_in_as("alice");
            let browser = world.browser();
            let target = ("target_link_uri", "https://app.test/private?x=1");
            let page = initiate(&browser, post, OP, &[("iss", OP), target, ("login_hint", "bob@example.com")]).await;
            assert_eq!((page.path_and_query(), &page.json()["sub"]), ("/private?x=1", &"b1".into()), "post: {post}");
            assert_eq!(world.op.last_authorization().get("login_hint"), Some("bob@example.com"));
            // Without a page it ends at home.
            let page = initiate(&world.browser(), post, EVIL, &[("iss", OP)]).await;
            assert_eq!(page.url.path(), "/", "post: {post}, from anywhere");
        }
    }
}

/// A POST of another site brings no cookie: nobody is decided about before the GET.
#[tokio::test]
async fn whoever_is_signed_in_is_asked_first() {
    for post in [false, true] {
        for world in [World::new(), World::stateless()] {
            let browser = world.signed_in("alice").await;
            let (before, asked) = (session(&browser), world.op.authorizations().len());
            for from in [OP, EVIL, "https://other.app.test"] {
                let page = initiate(&browser, post, from, &[("iss", OP), ("target_link_uri", "/who")]).await;
                assert!(page.text().contains("Another site sent you here to sign in again"), "{post}: {}", page.text());
                assert_eq!((session(&browser), world.op.authorizations().len()), (before.clone(), asked), "{post}");
            }
            world.op.sign_in_as("bob");
            let page = initiate(&browser, post, OP, &[("iss", OP), ("target_link_uri", "/who")]).await;
            let landed = browser.click(&page.links()[1]).await;
            assert_eq!(
                (landed.path_and_query(), &landed.json()["sub"]),
                ("/who", &"b1".into()),
                "the person wanted it"
            );
            assert_ne!(session(&browser), before);
            // The application's own page, and the address bar, are not another site.
            let landed = initiate(&browser, post, APP, &[("iss", OP), ("target_link_uri", "/who")]).await;
            assert_eq!(landed.path_and_query(), "/who", "{post}");
        }
    }
}

/// The issuer names the provider, and no other word does.
#[tokio::test]
async fn the_issuer_names_one_of_the_providers_for_logins() {
    let world = World::with(|config| second(config, true));
    world.op.sign_in_as("alice");
    world.op2.sign_in_as("bob");
    for post in [false, true] {
        for (issuer, subject) in [(OP, "a1"), (OP2, "b1")] {
            let browser = world.browser();
            let page = initiate(&browser, post, issuer, &[("iss", issuer), ("target_link_uri", "/who")]).await;
            assert_eq!((&page.json()["issuer"], &page.json()["sub"]), (&issuer.into(), &subject.into()));
        }
        let connections_only = World::with(|config| second(config, false));
        let (slash, page) = (format!("{OP}/"), ("target_link_uri", "/who"));
        for (world, parameters) in [
            (&world, &[page][..]),
            (&world, &[("iss", ""), page]),
            (&world, &[("iss", EVIL), page]),
            (&world, &[("iss", &slash), page]),
            (&world, &[("iss", "default"), page]),
            (&world, &[("provider", "default"), page]),
            (&world, &[("iss", OP), ("iss", OP), page]),
            (&connections_only, &[("iss", OP2), page]),
        ] {
            let browser = world.browser();
            let asked = world.op.authorizations().len();
            assert_refused(&browser, &initiate(&browser, post, OP, parameters).await, 400, &format!("{parameters:?}"));
            assert_eq!((pending(&browser).len(), world.op.authorizations().len()), (0, asked));
        }
    }
}

#[tokio::test]
async fn what_another_site_begins_leads_to_pages_of_this_application() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let (long, hint) = (format!("/{}", "a".repeat(2048)), "h".repeat(513));
    let encoded = format!("/{}", "&".repeat(1500));
    for post in [false, true] {
        for target in
            ["https://evil.test/", "//evil.test", "/\\evil.test", "https://app.test.evil.test/", "javascript:1", &long]
        {
            let browser = world.browser();
            let page = initiate(&browser, post, OP, &[("iss", OP), ("target_link_uri", target)]).await;
            assert_refused(&browser, &page, 400, target);
        }
        for (name, value) in [("login_hint", hint.as_str()), ("target_link_uri", &encoded)] {
            let browser = world.browser();
            assert_refused(&browser, &initiate(&browser, post, OP, &[("iss", OP), (name, value)]).await, 400, name);
        }
        let page = initiate(&world.browser(), post, OP, &[("iss", OP), ("target_link_uri", "/who?a=%26b#c")]).await;
        assert_eq!((page.path_and_query(), &page.json()["sub"]), ("/who?a=%26b", &"a1".into()), "the control");
    }
    assert!(world.net.requests(EVIL).is_empty());
}

/// What the provider allows goes on to it, and what is not understood is ignored.
#[tokio::test]
async fn parameters_of_the_login_go_on() {
    let world = World::with(|mut config| {
        config.provider = config.provider.login_parameters(["organization"]);
        config
    });
    world.op.sign_in_as("alice");
    for post in [false, true] {
        let more =
            [("organization", "o&1"), ("invitation", "i"), ("prompt", "nonsense"), ("state", "s"), ("scope", "admin")];
        let parameters: Vec<_> = [("iss", OP), ("target_link_uri", "/who")].into_iter().chain(more).collect();
        let page = initiate(&world.browser(), post, OP, &parameters).await;
        assert_eq!(page.json()["sub"], "a1", "{}", page.text());
        let request = world.op.last_authorization();
        assert_eq!((request.all("organization"), request.get("scope")), (vec!["o&1"], Some("openid email profile")));
        assert!(!request.has("invitation") && !request.has("prompt") && request.get("state") != Some("s"));
    }
}

/// No navigation, no login: and none in a frame of another site.
#[tokio::test]
async fn what_no_person_sees_begins_no_login() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let (browser, link) = (world.browser(), address(&[("iss", OP), ("target_link_uri", "/who")]));
    for page in [
        browser.fetch(Method::GET, &link, "", APP).await,
        browser.fetch(Method::POST, &link, "iss=x", APP).await,
        browser.image(&link, EVIL).await,
        browser.prefetch(&link).await,
    ] {
        assert_eq!((page.status.as_u16(), page.header("set-cookie"), page.location()), (204, None, None));
    }
    assert_eq!(browser.iframe(&link, EVIL).await.status, 403);
    assert!(pending(&browser).is_empty() && world.op.authorizations().is_empty());
    assert_eq!(browser.visit(&link).await.json()["sub"], "a1", "the control");
}

/// Nothing but the form is read of a POST, and no more of it than of other forms.
#[tokio::test]
async fn a_post_is_a_form_of_its_own() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let send = async |method: &str, kind: &str, address: &str, body: String| {
        let request = Request::builder().method(method).uri(address).header("content-type", kind);
        world.browser().raw(request.body(Bytes::from(body)).unwrap()).await
    };
    let (form, plain, body) =
        ("application/x-www-form-urlencoded", address(&[]), format!("iss={OP}&target_link_uri=/who"));
    let good = send("POST", form, &plain, body.clone()).await;
    let location = good.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(good.status(), 303);
    assert!(location.starts_with("/auth/initiate?iss=") && !good.headers().contains_key("set-cookie"), "{location}");
    let browser = world.browser();
    browser.visit(&format!("{APP}{location}")).await;
    assert_eq!(who(&browser).await.as_deref(), Some("a1"), "the control");
    for kind in ["application/json", "text/plain", "multipart/form-data; boundary=x"] {
        assert_eq!(send("POST", kind, &plain, body.clone()).await.status(), 400, "{kind}");
    }
    assert_eq!(
        send("POST", form, &address(&[("iss", OP)]), String::new()).await.status(),
        400,
        "in the query of a POST"
    );
    let padded = |length: usize| format!("{body}&pad={}", "x".repeat(length));
    assert_eq!(send("POST", form, &plain, padded(4096)).await.status(), 400, "no address for the GET");
    assert_eq!(send("POST", form, &plain, padded(65 * 1024)).await.status(), 413);
    for method in ["PUT", "DELETE", "OPTIONS"] {
        let answer = send(method, form, &plain, String::new()).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"GET, HEAD, POST".parse().unwrap()));
    }
}
