use bytes::Bytes;
use http::{Method, Request, Response};

use crate::browser::{Browser, Page};
use crate::clock::TestClock;
use crate::html::Form;
use crate::net::{Net, answer};

const APP: &str = "https://app.test";
const EVIL: &str = "https://evil.test/page?secret#fragment";

/// `/set` sets one cookie of each kind, `/to?URL` redirects (with the status in `x-status`' place:
/// `/to/307?URL`), anything else answers with what it was sent.
fn world() -> (Net, Browser) {
    let net = Net::new();
    for origin in [APP, "https://op.test", "https://evil.test", "http://app.test"] {
        net.serve(origin, |request| async move { respond(&request) });
    }
    let browser = Browser::new(&net, &TestClock::new()).strict_for(APP);
    (net, browser)
}

fn respond(request: &Request<Bytes>) -> Response<Bytes> {
    let query = request.uri().query().unwrap_or_default();
    let path = request.uri().path();
    if path == "/set" {
        let mut response = answer(200, "set");
        for cookie in ["strict=1; SameSite=Strict", "lax=1; SameSite=Lax", "none=1; SameSite=None"] {
            response.headers_mut().append("set-cookie", format!("{cookie}; Path=/; Secure").parse().unwrap());
        }
        return response;
    }
    if let Some(status) = path.strip_prefix("/to/") {
        let mut response = answer(status.parse().unwrap(), "");
        response.headers_mut().insert("location", query.parse().unwrap());
        return response;
    }
    let mut response = answer(200, format!("{} {}", request.method(), String::from_utf8_lossy(request.body())));
    if path == "/no-referrer" {
        response.headers_mut().insert("referrer-policy", "no-referrer".parse().unwrap());
    }
    if path == "/csp" {
        response
            .headers_mut()
            .insert("content-security-policy", "default-src 'none'; form-action 'self'".parse().unwrap());
    }
    response
}

/// What the last request carried: cookies, Sec-Fetch-Site, Origin, Referer.
fn last(net: &Net) -> [String; 4] {
    let exchange = net.exchanges().pop().unwrap();
    let header = |name| exchange.header(name).unwrap_or("-").to_owned();
    [header("cookie"), header("sec-fetch-site"), header("origin"), header("referer")]
}

const ALL: &str = "strict=1; lax=1; none=1";

#[tokio::test]
async fn the_address_bar_belongs_to_no_site() {
    let (net, browser) = world();
    browser.navigate("https://app.test/set").await;
    browser.navigate("https://app.test/x").await;
    assert_eq!(last(&net), [ALL, "none", "-", "-"]);
    browser.navigate("https://op.test/to/302?https://app.test/back").await;
    assert_eq!(last(&net), [ALL, "none", "-", "-"], "redirects do not change who began");
}

#[tokio::test]
async fn links() {
    let (net, browser) = world();
    browser.navigate("https://app.test/set").await;
    browser.click("/x").await;
    assert_eq!(last(&net), [ALL, "same-origin", "-", "https://app.test/set"]);
    browser.click_from(EVIL, "https://app.test/x").await;
    assert_eq!(last(&net), ["lax=1; none=1", "cross-site", "-", "https://evil.test/"]);
    browser.navigate("https://app.test/set").await;
    browser.click("https://op.test/to/303?https://app.test/back").await;
    assert_eq!(last(&net), [ALL, "cross-site", "-", "https://app.test/set"], "Chrome's SameSite ignores the way");
    let careful = browser.new_tab().redirects_count_for_same_site();
    careful.click_from("https://app.test/", "https://op.test/to/303?https://app.test/back").await;
    assert_eq!(last(&net)[0], "lax=1; none=1");
}

#[tokio::test]
async fn forms() {
    let (net, browser) = world();
    browser.navigate("https://app.test/set").await;
    let form = Form::post("https://app.test/x", &[("a", "1 & 2")]);
    let page = browser.submit(&form).await;
    assert_eq!(page.text(), "POST a=1+%26+2");
    assert_eq!(last(&net), [ALL, "same-origin", APP, "https://app.test/set"]);
    browser.submit_from(EVIL, &form).await;
    assert_eq!(last(&net), ["none=1", "cross-site", "https://evil.test", "https://evil.test/"]);
    browser.navigate("https://app.test/no-referrer").await;
    browser.submit(&form).await;
    assert_eq!(last(&net), [ALL, "same-origin", "null", "-"]);
}

#[tokio::test]
async fn redirects_change_methods_as_browsers_do() {
    let (net, browser) = world();
    let post = async |status: u16| {
        let action = format!("https://op.test/to/{status}?https://app.test/x");
        browser.submit_from("https://app.test/", &Form::post(&action, &[("a", "1")])).await.text()
    };
    for status in [301, 302, 303] {
        assert_eq!(post(status).await, "GET ");
    }
    for status in [307, 308] {
        assert_eq!(post(status).await, "POST a=1");
        assert_eq!(last(&net)[2], "null", "a redirect through another origin taints");
    }
}

#[tokio::test]
async fn scripts_images_frames_and_sockets() {
    let (net, browser) = world();
    browser.navigate("https://app.test/set").await;
    browser.fetch(Method::POST, "https://app.test/x", "hi", APP).await;
    assert_eq!(last(&net), [ALL, "same-origin", APP, "https://app.test/"]);
    browser.fetch(Method::GET, "https://app.test/x", "", "https://sub.app.test").await;
    assert_eq!(last(&net), [ALL, "same-site", "https://sub.app.test", "https://sub.app.test/"]);
    for (page, origin) in [
        (browser.fetch(Method::GET, "https://app.test/x", "", EVIL).await, "https://evil.test"),
        (browser.image("https://app.test/x", EVIL).await, "-"),
        (browser.iframe("https://app.test/x", EVIL).await, "-"),
        (browser.websocket("https://app.test/x", EVIL).await, "https://evil.test"),
    ] {
        assert_eq!(page.status, 200);
        let exchange = net.exchanges().into_iter().rev().find(|e| e.header("origin").unwrap_or("-") == origin).unwrap();
        assert_eq!(exchange.header("cookie"), Some("none=1"));
    }
    browser.fetch(Method::POST, "https://app.test/x", "", "data:text/html,x").await;
    assert_eq!(last(&net), ["none=1", "cross-site", "null", "-"]);
}

#[tokio::test]
async fn steps_stop_at_each_redirect() {
    let (_, browser) = world();
    let page: Page = browser.step("https://op.test/to/302?https://op.test/to/303%3f").await;
    assert_eq!((page.status.as_u16(), page.location()), (302, Some("https://op.test/to/303%3f")));
    let page = browser.navigate("https://op.test/to/302?https://app.test/end").await;
    assert_eq!(page.chain.iter().map(|hop| hop.status.as_u16()).collect::<Vec<_>>(), [302, 200]);
    assert!(browser.try_navigate("https://op.test/to/302?/to/302?/x").await.is_ok());
}

#[tokio::test]
#[should_panic(expected = "form-action refuses https://op.test")]
async fn form_action_holds_for_redirects_too() {
    let (_, browser) = world();
    browser.navigate("https://app.test/csp").await;
    browser.submit(&Form::post("/to/303?https://op.test/", &[])).await;
}

#[tokio::test]
#[should_panic(expected = "bytes of response headers")]
async fn headers_that_nginx_would_refuse() {
    let (net, browser) = world();
    net.serve(APP, |_| async {
        let mut response = answer(200, "");
        response.headers_mut().insert("x-long", "x".repeat(4096).parse().unwrap());
        response
    });
    browser.navigate("https://app.test/").await;
}

#[test]
fn pages_are_read_as_browsers_read_them() {
    use crate::html::{forms, links};
    let html = r#"<!-- <form action="/no"> --><script>"<form action='/no'>"</script>
        <a class=x href="/a?x=1&amp;y=%22">A</a> <A HREF='/b'>B</A>
        <form id=f method="post" action="/go&#x2f;&#39;">
          <input type=hidden name=quoted value="&quot;&gt;&lt;script&gt; &amp;amp;">
          <input name=empty><input type=checkbox name=admin value=yes><textarea name=t>a &lt; b</textarea>
          <input type=submit name=ok value="Go"><button id=no name=deny value=1>Do not</button>
        </form>"#;
    assert_eq!(links(html), ["/a?x=1&y=%22", "/b"]);
    let form = &forms(html)[0];
    assert_eq!((form.action.as_str(), form.method.as_str(), forms(html).len()), ("/go/'", "POST", 1));
    assert_eq!(form.fields.get("quoted"), Some("\"><script> &amp;"));
    assert_eq!((form.fields.get("empty"), form.fields.get("t")), (Some(""), Some("a < b")));
    assert_eq!(form.buttons.iter().map(|button| button.label.as_str()).collect::<Vec<_>>(), ["Go", "Do not"]);
    let sent = form.clone().check("admin").fill("empty", "x").press("Do not").fields;
    assert_eq!((sent.get("admin"), sent.get("deny"), sent.get("ok")), (Some("yes"), Some("1"), None));
}
