use url::Url;

use crate::clock::TestClock;
use crate::cookies::{Jar, Relation, SameSite, site};

const NOW: u64 = TestClock::START;
const APP: &str = "https://app.test/auth/callback?code=x";

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

/// A jar after these `Set-Cookie` headers of `from`.
fn jar(from: &str, headers: &[&str]) -> Jar {
    let mut jar = Jar::default();
    for header in headers {
        jar.set(&url(from), header, Relation::SameSite, NOW);
    }
    jar
}

fn sent(jar: &mut Jar, to: &str) -> String {
    jar.header(&url(to), Relation::SameSite, NOW).unwrap_or_default()
}

fn reasons(jar: &Jar) -> Vec<&str> {
    jar.rejected().iter().map(|rejected| rejected.reason).collect()
}

#[test]
fn host_only_and_domain_cookies() {
    let mut jar =
        jar("https://www.app.test/", &["h=1", "d=1; Domain=.APP.test", "e=1; Domain=other.test", "s=1; Domain=test"]);
    assert_eq!(sent(&mut jar, "https://www.app.test/"), "h=1; d=1");
    assert_eq!(sent(&mut jar, "https://app.test/"), "d=1");
    assert_eq!(sent(&mut jar, "https://notapp.test/"), "");
    assert_eq!(reasons(&jar), ["Domain is another host's", "Domain is a public suffix"]);
}

#[test]
fn an_address_is_no_domain() {
    let mut jar = jar("http://127.0.0.1:3000/", &["a=1; Domain=0.0.1", "b=1; Domain=127.0.0.1", "c=1"]);
    assert_eq!(sent(&mut jar, "http://127.0.0.1:4000/"), "b=1; c=1", "and ports do not count");
    assert_eq!(reasons(&jar), ["Domain is another host's"]);
}

#[test]
fn paths() {
    let mut jar = jar(APP, &["default=1", "root=1; Path=/", "deep=1; Path=/auth/callback", "bad=1; Path=auth"]);
    assert_eq!(sent(&mut jar, "https://app.test/auth/callback"), "deep=1; default=1; bad=1; root=1");
    assert_eq!(sent(&mut jar, "https://app.test/auth"), "default=1; bad=1; root=1");
    assert_eq!(sent(&mut jar, "https://app.test/authority"), "root=1");
}

#[test]
fn secure_cookies_need_https_or_the_machine_itself() {
    let secure = &["s=1; Secure", "p=1"];
    assert_eq!(sent(&mut jar("http://app.test/", secure), "https://app.test/"), "p=1");
    assert_eq!(sent(&mut jar("https://app.test/", secure), "http://app.test/"), "p=1");
    for loopback in ["http://127.0.0.1/", "http://localhost:3000/", "http://[::1]/"] {
        assert_eq!(sent(&mut jar(loopback, secure), loopback), "s=1; p=1");
    }
}

#[test]
fn plain_http_cannot_hide_a_secure_cookie() {
    let mut jar = jar("https://app.test/", &["s=secure; Secure; Path=/"]);
    jar.set(&url("http://app.test/"), "s=plain; Path=/", Relation::SameSite, NOW);
    jar.set(&url("http://www.app.test/"), "s=plain; Path=/deep; Domain=app.test", Relation::SameSite, NOW);
    assert_eq!(sent(&mut jar, "https://app.test/deep"), "s=secure");
    assert_eq!(jar.rejected().len(), 2);
}

#[test]
fn prefixes() {
    let good = ["__Host-a=1; Secure; Path=/", "__Secure-a=1; Secure; Domain=app.test"];
    assert!(reasons(&jar("https://app.test/", &good)).is_empty());
    let bad = [
        "__Host-b=1; Path=/",
        "__Host-b=1; Secure",
        "__Host-b=1; Secure; Path=/auth",
        "__Host-b=1; Secure; Path=/; Domain=app.test",
        "__hOST-b=1; Path=/",
        "__Secure-b=1",
        "=__Host-b=1; Path=/",
    ];
    let jar = jar("https://app.test/", &bad);
    assert_eq!((jar.rejected().len(), jar.all().len()), (bad.len(), 0), "{:?}", jar.all());
}

#[test]
fn same_site() {
    let headers =
        ["s=1; SameSite=Strict", "l=1; SameSite=Lax", "n=1; SameSite=None; Secure", "d=1", "x=1; SameSite=None"];
    let mut jar = jar("https://app.test/", &headers);
    assert_eq!(reasons(&jar), ["SameSite=None without Secure"]);
    let mut sent = |relation, now| jar.header(&url("https://app.test/"), relation, now).unwrap_or_default();
    assert_eq!(sent(Relation::SameSite, NOW), "s=1; l=1; n=1; d=1");
    assert_eq!(sent(Relation::CrossSiteNavigation { safe: true }, NOW), "l=1; n=1; d=1");
    assert_eq!(sent(Relation::CrossSiteNavigation { safe: false }, NOW + 119), "n=1; d=1", "two minutes of Lax + POST");
    assert_eq!(sent(Relation::CrossSiteNavigation { safe: false }, NOW + 120), "n=1");
    assert_eq!(sent(Relation::CrossSite, NOW), "n=1");
}

#[test]
fn a_cross_site_answer_sets_same_site_cookies_only_in_a_navigation() {
    let mut jar = Jar::default();
    let url = url("https://app.test/");
    jar.set(&url, "a=1; SameSite=Strict", Relation::CrossSite, NOW);
    jar.set(&url, "b=1", Relation::CrossSite, NOW);
    jar.set(&url, "c=1; SameSite=None; Secure", Relation::CrossSite, NOW);
    jar.set(&url, "d=1; SameSite=Strict", Relation::CrossSiteNavigation { safe: true }, NOW);
    assert_eq!(sent(&mut jar, "https://app.test/"), "c=1; d=1");
}

#[test]
fn lifetimes() {
    let headers = [
        "session=1",
        "age=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "date=1; Expires=Thu, 01 Jan 2026 00:00:30 GMT",
        "long=1; Max-Age=99999999999",
        "odd=1; Max-Age=1h",
        "gone=1; Max-Age=0",
        "past=1; Expires=Wed, 31-Dec-25 23:59:59 GMT",
    ];
    let mut jar = jar("https://app.test/", &headers);
    let mut names = |now| {
        let cookies = jar.matching(&url("https://app.test/"), Relation::SameSite, now);
        cookies.iter().map(|cookie| cookie.name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(NOW), "session age date long odd");
    assert_eq!(names(NOW + 29), "session age date long odd");
    assert_eq!(names(NOW + 30), "session age long odd");
    assert_eq!(names(NOW + 60), "session long odd");
    assert_eq!(names(NOW + 400 * 86_400), "session odd", "400 days at the most");
    jar.end_session();
    assert!(jar.all().is_empty());
}

#[test]
fn replacing_keeps_the_place_and_deleting_needs_the_same_path() {
    let mut jar =
        jar("https://app.test/", &["a=1; Path=/", "b=1; Path=/", "a=2; Path=/", "b=; Path=/other; Max-Age=0"]);
    assert_eq!(sent(&mut jar, "https://app.test/"), "a=2; b=1");
    jar.set(&url("https://app.test/"), "a=; Path=/; Max-Age=0", Relation::SameSite, NOW);
    assert_eq!(sent(&mut jar, "https://app.test/"), "b=1");
}

#[test]
fn limits() {
    let fits = format!("a={}; Secure", "x".repeat(4096 - "a=; Secure".len()));
    let mut jar = jar("https://app.test/", &[&fits, &format!("{fits}x"), "c=\u{1}"]);
    assert_eq!(reasons(&jar), ["larger than 4096 bytes", "control character"]);
    for n in 0..180 {
        jar.set(&url("https://app.test/"), &format!("c{n}=1"), Relation::SameSite, NOW);
    }
    assert_eq!(jar.all().len(), 150, "the 181st cookie makes Chrome drop the 31 used longest ago");
    assert_eq!(jar.all()[0].name, "c30");
}

#[test]
fn odd_syntax() {
    let mut jar =
        jar("https://app.test/", &["  a = b=c \t;HTTPONLY ; samesite=LAX;x", "lonely", "", "=v", "q=\"quoted\""]);
    assert_eq!(
        sent(&mut jar, "https://app.test/"),
        "a=b=c; v; q=\"quoted\"",
        "a later nameless cookie replaced the first"
    );
    assert!(jar.all()[0].http_only && jar.all()[0].same_site == SameSite::Lax);
    assert_eq!(reasons(&jar), ["empty"]);
}

#[test]
fn sites() {
    assert_eq!(site(&url("https://a.b.app.test:8443/x")), "https://app.test");
    assert_eq!(site(&url("http://127.0.0.1:1/")), "http://127.0.0.1");
    assert_eq!(site(&url("http://localhost:1/")), "http://localhost");
    assert_eq!(site(&url("http://[::1]:1/")), "http://[::1]");
    assert_ne!(site(&url("https://op.test/")), site(&url("https://app.test/")));
    assert_ne!(site(&url("https://app.test/")), site(&url("http://app.test/")), "sites have schemes");
}
