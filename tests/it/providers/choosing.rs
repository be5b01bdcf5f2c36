//! Nobody chose where to sign in: the page that asks, and what goes with each answer.

use bytes::Bytes;
use http::Response;
use tower_oidc::{ProviderChoice, ProviderConfig};

use super::{login_at, two_logins, two_logins_with, work};
use crate::support::app::{APP, OP, OP2, World};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};

/// To the end: each link signs in there, and lands on the page that needed somebody.
#[tokio::test]
async fn the_page_that_asks_keeps_the_destination() {
    let world = two_logins();
    world.op.sign_in_as("alice");
    world.op2.sign_in_as("bob");
    for (at, issuer, subject) in [(0, OP, "a1"), (1, OP2, "b1")] {
        let browser = world.browser();
        let page = browser.navigate(&format!("{APP}/private?q=1")).await;
        assert_eq!((page.status.as_u16(), page.url.path()), (200, "/auth/login"), "{}", page.text());
        assert!(browser.cookies().is_empty(), "nothing has begun");
        let links = page.links();
        assert_eq!(links.len(), 2, "{links:?}");
        let landed = browser.visit(&format!("{APP}{}", links[at])).await;
        assert_eq!((landed.status.as_u16(), landed.path_and_query()), (200, "/private?q=1"));
        let person = landed.json();
        assert_eq!((person["issuer"].as_str(), person["sub"].as_str()), (Some(issuer), Some(subject)));
    }
}

/// What an author writes is text, and the page is as strict as the others. Nobody outside hears of it.
#[tokio::test]
async fn the_page_that_asks_is_escaped_and_asks_nobody_else() {
    let world = two_logins();
    let page = world.browser().step(&format!("{APP}/auth/login?return_to=/private%3Fa%3D%22%3E%3Cb%3E")).await;
    let html = page.text();
    assert!(html.contains("Work &amp; &lt;Sons&gt;") && !html.contains("<Sons>"), "{html}");
    assert!(html.contains(">op.test<"), "without a display name it is the issuer's host: {html}");
    assert!(!html.contains("<b>"), "{html}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'none'"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert_eq!(world.net.requests(OP).len() + world.net.requests(OP2).len(), 0);
    for hostile in ["https://evil.test/", "//evil.test", "/\\evil.test"] {
        let page = world.browser().step(&format!("{APP}/auth/login?return_to={hostile}")).await;
        assert_eq!(page.status, 400, "{hostile}");
    }
    let page = world.browser().iframe(&format!("{APP}/auth/login"), "https://evil.test").await;
    assert_eq!(page.status, 403);
}

/// What the login was to ask for is asked for wherever the person chooses.
#[tokio::test]
async fn the_page_that_asks_keeps_the_options() {
    let allow = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let first = |mut config: tower_oidc::Config| {
        config.provider.login_parameters = allow(&["organization", "ui_locales"]);
        config
    };
    let world = two_logins_with(first, |work| work.login_parameters(allow(&["ui_locales", "screen_hint"])));
    let asked = "prompt=select_account&max_age=300&login_hint=a%26b%40x.test&acr_values=gold+silver&organization=o&ui_locales=fr";
    for (at, op) in [(0, &world.op), (1, &world.op2)] {
        op.sign_in_as("alice");
        let browser = world.browser();
        let page = browser.navigate(&format!("{APP}/auth/login?return_to=/who&{asked}")).await;
        browser.step(&format!("{APP}{}", page.links()[at])).await;
        let sent = browser.step(&format!("{APP}{}", page.links()[at])).await;
        let sent = url::Url::parse(sent.location().unwrap()).unwrap();
        assert_eq!(sent.origin().ascii_serialization(), op.issuer());
        let value = |name: &str| sent.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
        for (name, wanted) in [
            ("prompt", "select_account"),
            ("max_age", "300"),
            ("login_hint", "a&b@x.test"),
            ("acr_values", "gold silver"),
            ("ui_locales", "fr"),
        ] {
            assert_eq!(value(name).as_deref(), Some(wanted), "{name}");
        }
        assert_eq!(value("organization").as_deref(), Some("o").filter(|_| at == 0), "the second does not allow it");
    }
    // Where a provider is named, it must allow what the address has. A silent login is the first one's.
    let sent = async |more: &str| {
        let page = world.browser().step(&format!("{APP}/auth/login?return_to=/who&{more}")).await;
        (page.status.as_u16(), page.location().map(|to| (to.contains("organization=o"), to.contains("screen_hint"))))
    };
    assert_eq!(sent("organization=o&provider=default").await, (303, Some((true, false))));
    assert_eq!(sent("organization=o&provider=work").await, (400, None));
    assert_eq!(sent("organization=o&screen_hint=signup&prompt=none").await, (303, Some((true, false))));
    assert_eq!(sent("domain_hint=x").await, (400, None), "neither allows it");
}

#[tokio::test]
async fn who_can_sign_in_at_one_provider_only_is_not_asked() {
    let world = World::with(|config| config.add_provider(work().without_login()));
    world.op.sign_in_as("alice");
    let page = world.browser().visit(&format!("{APP}/private")).await;
    assert_eq!(page.json()["sub"], "a1", "{}", page.text());
    let refused = world.browser().step(&login_at("work", "/who")).await;
    assert_eq!(refused.status, 400, "nobody signs in there");
}

/// A silent login asks nothing, the choice included: the first provider's, unless one is named.
#[tokio::test]
async fn a_silent_login_is_the_first_providers_unless_one_is_named() {
    let world = two_logins();
    let silent = |more: &str| format!("{APP}/auth/login?return_to=/who&prompt=none{more}");
    for (provider, subject) in [("", "a1"), ("&provider=default", "a1"), ("&provider=work", "b1")] {
        let browser = world.browser();
        browser.visit(&format!("{OP}/signin?user=alice")).await;
        browser.visit(&format!("{OP2}/signin?user=bob")).await;
        assert_eq!(browser.visit(&silent(provider)).await.json()["sub"], subject, "{provider}");
    }
    let browser = world.browser();
    browser.visit(&format!("{OP}/signin?user=alice")).await;
    let page = browser.visit(&silent("&provider=work")).await;
    assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "null"));
}

/// The application's own page in its place, and the same addresses on any page of its own.
#[tokio::test]
async fn the_page_that_asks_can_be_the_applications() {
    let world = two_logins_with(
        |config| {
            config.on_choose_provider(|choices: &[ProviderChoice]| {
                let links: Vec<_> = choices
                    .iter()
                    .map(|choice| format!("{}|{}|{}", choice.provider, choice.display_name, choice.login_url))
                    .collect();
                Response::new(Bytes::from(links.join("\n")))
            })
        },
        |work| work,
    );
    world.op2.sign_in_as("bob");
    let browser = world.browser();
    let page = browser.navigate(&format!("{APP}/private?q=1")).await;
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    let text = page.text();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(
        [lines[0][..2].to_vec(), lines[1][..2].to_vec()],
        [vec!["default", "op.test"], vec!["work", "Work & <Sons>"],]
    );
    let landed = browser.visit(&format!("{APP}{}", lines[1][2])).await;
    assert_eq!(landed.path_and_query(), "/private?q=1");
    assert_eq!(landed.json()["sub"], "b1");

    let links = browser.navigate(&format!("{APP}/links?to=/a%3Fb")).await.json();
    let choices = links["choices"].as_array().unwrap();
    for (choice, name) in choices.iter().zip(["default", "work"]) {
        let (asked, _) = choice.as_str().unwrap().split_once("&proof=").expect("a proof");
        assert_eq!(asked, format!("/auth/login?return_to=%2Fa%3Fb&provider={name}"));
    }
    let login = links["login"]["ok"].as_str().unwrap();
    assert!(login.starts_with("/auth/login?return_to=%2Fa%3Fb&proof="), "which leads to the page: {login}");
}

/// A login that went wrong is tried again where it was begun.
#[tokio::test]
async fn trying_again_is_trying_at_the_same_provider() {
    let world = two_logins();
    world.op2.set(|settings| settings.deny = true);
    world.op2.sign_in_as("bob");
    let page = world.browser().visit(&login_at("work", "/private")).await;
    assert_eq!(page.status, 403, "{}", page.text());
    assert_eq!(page.links(), ["/auth/login?return_to=%2Fprivate&provider=work"]);
}

/// Names are words in addresses, and each is one provider's.
#[tokio::test]
async fn providers_that_cannot_be_told_apart_are_refused() {
    use tower_oidc::store::MemoryStore;
    use tower_oidc::{Config, OidcLayer, Resource};
    let problems = |edit: fn(Config) -> Config| {
        let layer = OidcLayer::per_user(
            edit(Config::new(APP, ProviderConfig::new(OP, CLIENT_ID).client_secret(CLIENT_SECRET))),
            MemoryStore::new(),
        );
        layer.err().map(|error| error.problems().to_vec()).unwrap_or_default()
    };
    assert_eq!(problems(|config| config.add_provider(work())), [] as [String; 0]);
    let refused: [(fn(Config) -> Config, &str); 10] = [
        (|config| config.add_provider(work()).add_provider(work_again()), "has the same name"),
        (
            |config| config.add_provider(ProviderConfig::new(OP2, "c").client_secret("s").name("DEFAULT")),
            "has the same name",
        ),
        (
            |config| config.add_provider(ProviderConfig::new(OP2, "c").client_secret("s").name("a/b")),
            "name \"a/b\" is invalid",
        ),
        (
            |config| config.add_provider(ProviderConfig::new(OP2, "c").client_secret("s").name("")),
            "name \"\" is invalid",
        ),
        (
            |config| config.add_provider(ProviderConfig::new(OP, "c").client_secret("s").name("again")),
            "has the same issuer",
        ),
        (
            |config| config.add_provider(ProviderConfig::new("http://op2.test", "c").client_secret("s").name("plain")),
            "https",
        ),
        (
            |config| config.add_provider(ProviderConfig::new(OP2, "").client_secret("s").name("nobody")),
            "client_id is missing",
        ),
        (
            |config| config.add_provider(work().without_login().resource(Resource::new("x", "https://x.test/"))),
            "no logins",
        ),
        // Rules about administrators would be about people of it, of whom there are none.
        (
            |mut config| {
                config.provider = config.provider.without_login();
                config.provider.resources.clear();
                config.add_provider(work())
            },
            "begin with a provider for logins",
        ),
        (
            |mut config| {
                config.provider = config.provider.without_login();
                config.provider.resources.clear();
                config
            },
            "begin with a provider for logins",
        ),
    ];
    for (edit, said) in refused {
        let problems = problems(edit);
        assert_eq!(problems.len(), 1, "{said}: {problems:?}");
        assert!(problems[0].contains(said), "{said}: {problems:?}");
    }
    let all = problems(|config| {
        let mut plain = ProviderConfig::new("http://op2.test", "").client_secret("").name("a b");
        plain.scopes.clear();
        config.add_provider(plain)
    });
    assert_eq!(all.len(), 5, "all at once: {all:?}");
    assert!(all.iter().all(|problem| problem.starts_with("provider \"a b\"")), "{all:?}");
}

fn work_again() -> ProviderConfig {
    ProviderConfig::new("https://op3.test", CLIENT_ID).client_secret(CLIENT_SECRET).name("work")
}
