//! Many logins, many cookies: an answer, and nothing that grows.

use bytes::Bytes;
use http::{Request, Response};

use super::{PENDING, SESSION, SILENT, assert_refused, login, pending};
use crate::support::app::{APP, World};

#[tokio::test]
async fn five_thousand_abandoned_logins_leave_nothing_behind() {
    let world = World::new();
    world.op.sign_in_as("alice");
    for at in 0..5000 {
        assert_eq!(world.browser().step(&login(&format!("/{at}"))).await.status, 303);
        if at % 100 == 0 {
            world.net.forget();
        }
    }
    assert_eq!((world.app.store.len(), world.op.discovery_fetches()), (0, 1));
    let browser = world.browser();
    for at in 0..300 {
        world.clock.advance(std::time::Duration::from_millis(10));
        browser.step(&login(&format!("/{at}"))).await;
        assert!(pending(&browser).len() <= 8);
    }
    assert_eq!(world.app.store.len(), 0);
}

fn size(answer: &Response<Bytes>) -> usize {
    answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Heaps of cookies, of all names, at every endpoint.
#[tokio::test]
async fn junk_cookies_are_answered() {
    let world = World::new();
    let many = |name: &dyn Fn(usize) -> String, value: &str, n| {
        (0..n).map(|at| format!("{}={value}", name(at))).collect::<Vec<_>>().join("; ")
    };
    let long = "x".repeat(4000);
    let heaps = [
        many(&|at| format!("c{at}"), "v", 10_000),
        many(&|at| format!("{PENDING}{at:08}"), "junk", 10_000),
        many(&|at| format!("{PENDING}{at:08}"), &"A".repeat(300), 300),
        many(&|at| format!("{PENDING}{long}{at}"), "v", 20),
        many(&|_| SESSION.to_owned(), "A", 10_000),
        many(&|_| SESSION.to_owned(), &"A".repeat(43), 2000),
        many(&|at| format!("{SESSION}{at}"), &"v".repeat(100), 700),
        many(&|_| SILENT.to_owned(), &"v".repeat(100_000), 1),
        format!("{SESSION}={}", "A".repeat(100_000)),
        format!("{PENDING}AAAAAAAA={}", "A".repeat(100_000)),
        ";".repeat(100_000),
        "=".repeat(100_000),
        format!("{SESSION}; {PENDING}; =; {SESSION}=\"; \u{1}"),
    ];
    for heap in &heaps {
        let heap: String = heap.chars().filter(|c| *c >= ' ').collect();
        for path in [
            "/who",
            "/auth/login?return_to=/who",
            "/auth/login?prompt=none",
            "/auth/logout",
            "/private",
            "/auth/callback?state=AAAAAAAAAAAA&code=x",
            "/?state=AAAAAAAAAAAA",
        ] {
            let request = Request::get(format!("{APP}{path}")).header("cookie", &heap).header("accept", "text/html");
            let answer = world.browser().raw(request.body(Bytes::new()).unwrap()).await;
            let what = format!("{path} {} {}", answer.status(), &heap[..40]);
            assert!(answer.status().as_u16() < 500, "{what}");
            assert!(size(&answer) < 4000, "{what}: {} bytes of headers", size(&answer));
            if path == "/who" {
                assert_eq!((answer.status().as_u16(), answer.body()), (200, &Bytes::from("null")), "{what}");
            }
        }
    }
    assert!(world.app.store.len() <= 1, "the index key");
}

/// Bodies and queries of any size are answered too.
#[tokio::test]
async fn large_callbacks_are_answered() {
    let world = World::new();
    let browser = world.browser();
    let huge = "x".repeat(1_000_000);
    for (body, status) in [("x".repeat(64 * 1024), 400), (huge, 413)] {
        let request = Request::post(format!("{APP}/auth/callback"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .unwrap();
        assert_eq!(browser.raw(request).await.status(), status);
    }
    let many: String = (0..5000).map(|at| format!("&p{at}=v")).collect();
    let page = browser.navigate(&format!("{APP}/auth/callback?state=AAAAAAAAAAAA&code=x{many}")).await;
    assert_refused(&browser, &page, 400, "many parameters");
}

/// Pictures and frames of another site start no login: each would leave a cookie, and they could be thousands.
#[tokio::test]
async fn another_sites_pictures_start_no_login() {
    let world = World::new();
    let browser = world.browser();
    let login = format!("{APP}/auth/login?return_to=/who");
    for (page, status) in [
        (browser.image(&login, "https://evil.test/").await, 204),
        (browser.iframe(&login, "https://evil.test/").await, 403),
    ] {
        assert_eq!((page.status.as_u16(), page.header("set-cookie")), (status, None));
    }
    // A link there leads a person to the login as it did.
    world.op.sign_in_as("alice");
    assert_eq!(browser.click_from("https://evil.test/", &login).await.json()["sub"], "a1");
}
