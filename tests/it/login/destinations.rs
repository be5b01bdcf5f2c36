//! Where a login and a logout may lead, with a list of hostile addresses.

use tower_oidc::EventCode;

use super::{callback_of, login, login_with, pending, who};
use crate::support::app::{APP, World};
use crate::support::browser::Browser;
use crate::support::html::Form;
use crate::support::params::Params;

fn with(path: &str, name: &str, value: &str) -> String {
    [(name, value)].into_iter().collect::<Params>().append_to(&format!("{APP}{path}"))
}

async fn links(browser: &Browser, to: &str) -> serde_json::Value {
    browser.navigate(&with("/links", "to", to)).await.json()
}

/// Whatever must not pass: ways to leave the origin times hosts to leave for, and what else looks like it.
fn hostile() -> Vec<String> {
    let ways = [
        "//",
        "///",
        "////",
        "/\\",
        "\\/",
        "\\\\",
        "/\\/",
        "//\\",
        "/\t/",
        "/\n/",
        "/\r/",
        "/\r\n/",
        "\t//",
        "\n//",
        " //",
        "/ /",
        "/\u{b}/",
        "/\u{c}/",
        "/\u{0}/",
        "//\t",
        "https:",
        "https:/",
        "https://",
        "https:///",
        "https:\\\\",
        "https:/\\",
        "http://",
        "http:",
        "HTTPS://",
        "hTtPs:\\/",
        "ht\ntps://",
        "java\tscript://",
        "ftp://",
        "javascript:",
        "javascript://",
        "JavaScript:alert(1)//",
        "data:text/html,",
        "vbscript:",
        "file:///",
        "ws://",
        "wss://",
        "blob:https://",
        "view-source:https://",
        "mailto:",
        "://",
        ":",
        "@",
        "/.//",
        "/..//",
        "/x/..//",
        "/x/../..//",
        "/%2e//",
        "/%2e%2e//",
        "/.%2E//",
        "/x/%2e%2e//",
        "?//",
        "#//",
        ".",
        "./",
        "../",
        "..//",
        "~",
    ];
    let hosts = [
        "evil.test",
        "evil.test/",
        "evil.test:443/x",
        "app.test@evil.test",
        "user:password@evil.test/",
        "app.test:443@evil.test",
        "app.test.evil.test",
        "app.test%2eevil.test",
        "[::1]",
        "[::ffff:192.0.2.1]/",
        "127.0.0.1",
        "0x7f.1",
        "2130706433/",
        "evil.test?app.test",
        "evil.test#app.test",
        "evil.test\\@app.test",
        "évil.test",
        "evil。test",
    ];
    let mut all: Vec<String> =
        ways.iter().flat_map(|way| hosts.iter().map(move |host| format!("{way}{host}"))).collect();
    let alike = [
        "https://app.test:8443/",
        "https://app.test:80/",
        "http://app.test/",
        "http://app.test:443/",
        "https://app.test./",
        "https://APP.test/",
        "HTTPS://app.test/",
        "https://app.testing/",
        "https://xapp.test/",
        "https://x.app.test/",
        "https://аpp.test/",
        "https://app。test/",
        "https://app.test%00.evil.test/",
        "https://app.test?x",
        "https://app.test#x",
        "https://app.test\\x",
        "https://app.test;x",
        "https://app.test,evil.test/",
        "https://user@app.test/",
        "https://@app.test/",
        "https://:@app.test/",
        "https:app.test",
        "https:/app.test/",
        "https:\\\\app.test/",
        "//app.test/",
        "//app.test",
        "https://app.test//evil.test",
        "https://app.test/..//evil.test",
        "/é",
        "/\u{a0}",
        "/\u{2028}",
        "/\u{2215}evil.test",
        "/\u{ff0f}/evil.test",
        "\u{feff}/",
        "a",
        "?",
        "#",
        "*",
        "x:y",
        "/%0d%0aX:1",
        "/x%0D%0ASet-Cookie:a=b",
        "/x;y%0a/z?q",
    ];
    all.extend(alike.map(str::to_owned));
    for byte in (0..=0x20).chain([0x7f]) {
        let character = char::from(byte);
        all.extend(
            ["/{}", "/x{}y", "{}/x", "/{}/evil.test", "/x?{}", "/x{}"]
                .map(|form| form.replace("{}", &character.to_string())),
        );
        if byte != 0x20 {
            all.extend([format!("/%{byte:02x}/evil.test"), format!("/x%{byte:02X}?y")]);
        }
    }
    all
}

/// What must pass, to the byte.
const HARMLESS: &[&str] = &[
    "/",
    "/a?x=1%262",
    "/%2f%2fevil.test",
    "/%2F/evil.test",
    "/%5cevil.test",
    "/%5C%5Cevil.test",
    "/?q=https://evil.test/",
    "/a//b",
    "/a/https://evil.test",
    "/a@evil.test",
    "/:80",
    "/?next=//evil.test",
    "/?text=one%0d%0atwo%00",
    "/a/../b",
    "/%252f%252fevil.test",
    "/~a;b=c,d!$'()*",
    "/%C3%A9",
    "/;//x",
    "/a?b=\"<>'",
    "/a?&&==??",
    "/a%20b?c+d",
    "/%",
    "/%zz",
    "/.well-known/x",
    "/...",
    "/[::1]",
    "/a?b=%26c%3dd",
];

#[tokio::test]
async fn the_login_link_lands_to_the_byte() {
    let world = World::new();
    world.op.sign_in_as("alice");
    for to in HARMLESS {
        let browser = world.browser();
        let links = links(&browser, to).await;
        let link = links["login"]["ok"].as_str().unwrap_or_else(|| panic!("{to}: {links}")).to_owned();
        assert!(link.starts_with("/auth/login?return_to="), "{link}");
        let callback = callback_of(&browser, &format!("{APP}{link}")).await;
        assert_eq!(browser.step(&callback).await.location(), Some(*to));
    }
    let browser = world.browser();
    for (to, lands) in [
        ("", "/"),
        ("https://app.test", "/"),
        ("https://app.test/x?y#z", "/x?y#z"),
        ("/x#//y", "/x#//y"),
        ("/a?é#é", "/a?%C3%A9#%C3%A9"),
        ("/a?p=c:\\dir", "/a?p=c:\\dir"),
    ] {
        let link = links(&browser, to).await["login"]["ok"].as_str().unwrap().to_owned();
        let callback = callback_of(&browser, &format!("{APP}{link}")).await;
        assert_eq!(browser.step(&callback).await.location(), Some(lands));
    }
}

/// Refused where addresses are made and where they are used, signed in or not.
#[tokio::test]
async fn open_redirects() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let anonymous = world.browser();
    let hostile = hostile();
    assert!(hostile.len() > 1000, "{}", hostile.len());
    for to in &hostile {
        let shown = links(&anonymous, to).await;
        for link in ["login", "logout"] {
            assert_eq!(shown[link]["error"], "NotAllowed", "{link} {to:?}");
        }
        let page = anonymous.step(&login(to)).await;
        assert_eq!((page.status.as_u16(), page.location()), (400, None), "login to {to:?}");
        for browser in [&alice, &anonymous] {
            let page = browser.step(&with("/auth/logout", "return_to", to)).await;
            assert_eq!((page.status.as_u16(), page.location()), (400, None), "logout to {to:?}");
        }
        let form = Form { action: with("/auth/logout", "return_to", to), method: "POST".into(), ..Form::default() };
        assert_eq!(alice.submit_from(APP, &form).await.status, 400, "logout by form to {to:?}");
    }
    assert!(pending(&anonymous).is_empty());
    assert_eq!(who(&alice).await.as_deref(), Some("a1"));
    assert_eq!(world.app.events.count(EventCode::LoginStarted), 1, "alice's own");
    for exchange in world.net.requests(APP) {
        if let Some(to) = exchange.answer.and_then(|answer| answer.headers.get("location").cloned()) {
            let to = to.to_str().unwrap();
            assert!(to.starts_with("https://op.test/") || (to.starts_with('/') && !to.starts_with("//")), "{to}");
        }
    }
}

/// The same controls through logout, with the provider's logout between.
#[tokio::test]
async fn logout_lands_to_the_byte() {
    let world = World::new();
    for to in HARMLESS {
        let browser = world.signed_in("alice").await;
        let link = links(&browser, to).await["logout"]["ok"].as_str().unwrap().to_owned();
        let at_op = browser.follow(&browser.step(&format!("{APP}{link}")).await).await;
        let back = browser.follow(&at_op).await;
        assert_eq!(back.location(), Some(*to));
        assert_eq!(who(&browser).await, None);
    }
}

#[tokio::test]
async fn too_long() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    for length in [2049, 5000] {
        let to = format!("/{}", "a".repeat(length - 1));
        let shown = links(&browser, &to).await;
        let error = format!("TooLong {{ length: {length} }}");
        assert_eq!((&shown["login"]["error"], &shown["logout"]["error"]), (&error.clone().into(), &error.into()));
        assert_eq!(browser.step(&login(&to)).await.status, 400);
        assert_eq!(browser.step(&with("/auth/logout", "return_to", &to)).await.status, 400);
        assert!(pending(&browser).is_empty());
    }
}

/// The longest destinations keep every answer's headers under 4 KiB (the browser looks), on every way there is.
#[tokio::test]
async fn the_longest_destinations_fit() {
    for filler in ["a", "%20", "&", "%", "\"", "/"] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let to = format!("/who?{}", filler.repeat(2043 / filler.len()));
        let to = format!("{to}{}", "x".repeat(2048 - to.len()));
        let browser = world.browser();
        let callback = callback_of_long(&browser, &login(&to)).await;
        assert_eq!(browser.step(&callback).await.location(), Some(&*to), "{filler}");
        // And a page of that length which needs somebody signed in: it may be forgotten, and is no error.
        let browser = world.browser();
        let page =
            browser.visit(&format!("{APP}{}", to.replacen("who", "private", 1)[..2048].trim_end_matches('%'))).await;
        assert!(matches!(page.url.path(), "/private" | "/"), "{filler}: {}", page.url);
        assert_eq!(page.status, 200, "{filler}");
        assert_eq!(who(&browser).await.as_deref(), Some("a1"));
        let link = links(&browser, &to).await["logout"]["ok"].as_str().unwrap().to_owned();
        let out = browser.visit(&format!("{APP}{link}")).await;
        assert_eq!(out.text(), "null", "{filler}");
    }
}

/// A long destination leaves no room for a redirect: the request goes as a form.
async fn callback_of_long(browser: &Browser, login: &str) -> String {
    let page = browser.step(login).await;
    if page.status == 303 {
        return browser.follow(&page).await.location().unwrap().to_owned();
    }
    let form = page.form();
    let posted = http::Request::post(&form.action)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.fields.encode().into())
        .unwrap();
    browser.raw_with_cookies(posted).await.headers()["location"].to_str().unwrap().to_owned()
}

/// Long options beside the longest destination: the person is signed in, at home at worst, and nothing overflows.
#[tokio::test]
async fn long_options_beside_a_long_destination_fit() {
    let (long, to) = ("a".repeat(512), format!("/{}", "a".repeat(2047)));
    for length in [2047, 1600] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let page = browser.visit(&login_with(&to[..=length], &[("acr_values", &long), ("login_hint", &long)])).await;
        assert_eq!(who(&browser).await.as_deref(), Some("a1"), "{}", page.text());
        let lands = if length == 2047 { "/" } else { &to[..=length] };
        assert_eq!(page.path_and_query(), lands);
        assert!(browser.rejected_cookies().is_empty());
    }
}

/// Logouts from which the browser never came back do not pile up in its cookies.
#[tokio::test]
async fn abandoned_logouts_do_not_pile_up() {
    let world = World::new();
    let browser = world.browser();
    for at in 0..6 {
        world.sign_in(&browser, "alice").await;
        let link =
            links(&browser, &format!("/{at}{}", "a".repeat(2000))).await["logout"]["ok"].as_str().unwrap().to_owned();
        browser.step(&format!("{APP}{link}")).await;
        assert_eq!(browser.cookies().iter().filter(|cookie| cookie.name.contains("-logout-")).count(), 1);
    }
}
