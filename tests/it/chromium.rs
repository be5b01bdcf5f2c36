//! The demo in a real browser, as a person uses it: with the development provider's page, and with the real
//! provider's form, by redirect and by form_post.
//!
//! Screenshots go to `target/screenshots/`.

mod pictures;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::process::Command;
use url::Url;

use crate::providers::real::{MODES, demo_at_two, start_at_two};
use crate::support::folder::Folder;
use crate::support::process::{Demo, Process, RealProvider, app_url, eventually, free_port, requirement};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test in a fresh browser, which is closed whatever the test does.
async fn in_chromium(test: impl AsyncFnOnce(Browser)) {
    let mut driver = Process::start(Command::new("chromedriver").arg("--port=0"));
    let port = driver.says(port_in).await;
    let profile = Profile::new(port);
    let user_data = format!("--user-data-dir={}", profile.0.display());
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1000,1000",
        &user_data,
    ];
    let Value::Object(capabilities) = json!({ "goog:chromeOptions": { "args": arguments } }) else {
        unreachable!("an object")
    };
    let client = ClientBuilder::new(HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .expect("Chromium starts");
    let outcome = AssertUnwindSafe(test(Browser(client.clone()))).catch_unwind().await;
    client.close().await.expect("Chromium ends");
    driver.stop().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// The port in ChromeDriver's readiness line.
fn port_in(output: &str) -> Option<u16> {
    output.split_once("started successfully on port ")?.1.split_once('.')?.0.parse().ok()
}

/// A browser profile of its own, removed afterwards.
struct Profile(PathBuf);

impl Profile {
    fn new(port: u16) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{port}"));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What a person does.
struct Browser(Client);

impl Browser {
    async fn goto(&self, url: &str) {
        self.0.goto(url).await.expect("a page");
    }

    async fn find(&self, css: &str) -> Element {
        match self.0.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(error) => panic!("no {css}: {error}\n{}", self.describe().await),
        }
    }

    async fn click(&self, css: &str) {
        self.find(css).await.click().await.expect("a click");
    }

    async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.expect("a field");
        field.send_keys(text).await.expect("a field");
    }

    async fn check(&self, css: &str, wanted: bool) {
        let checkbox = self.find(css).await;
        if checkbox.is_selected().await.expect("a checkbox") != wanted {
            checkbox.click().await.expect("a click");
        }
    }

    /// Waits until it is at this URL.
    async fn arrives(&self, url: &str) {
        let url = Url::parse(url).expect("a URL");
        if self.0.wait().at_most(PATIENCE).for_url(&url).await.is_err() {
            panic!("not at {url}: {}", self.describe().await);
        }
    }

    /// Status and body of a script's request from the page it is at.
    async fn fetch(&self, path: &str) -> (u64, String) {
        const FETCH: &str = "const [path, done] = arguments; fetch(path, { redirect: 'manual' })
            .then(async (it) => done([it.status, await it.text()]), (error) => done([0, String(error)]))";
        let answer = self.0.execute_async(FETCH, vec![json!(path)]).await.expect("a script");
        (answer[0].as_u64().expect("a status"), answer[1].as_str().expect("a body").to_owned())
    }

    async fn fetch_json(&self, path: &str) -> Value {
        let (status, body) = self.fetch(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    async fn screenshot(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder");
        let image = self.0.screenshot().await.expect("a screenshot");
        std::fs::write(folder.join(name).with_extension("png"), image).expect("a file");
    }

    async fn describe(&self) -> String {
        let (url, source) = (self.0.current_url().await, self.0.source().await);
        format!("at {}\n{}", url.map_or_else(|e| e.to_string(), String::from), source.unwrap_or_default())
    }
}

const SIGN_IN: &str = "a[href*='/auth/login']";
const SIGN_OUT: &str = "a[href*='/auth/logout']";

#[tokio::test]
async fn the_development_login_page() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    let demo = Demo::start(&[]).await;
    in_chromium(async |browser| {
        let sign_in = async |email: &str, admin: bool| {
            browser.fill("#email", email).await;
            browser.check("#admin", admin).await;
            browser.click("#sign-in").await;
        };

        browser.goto(&demo.at("/")).await;
        browser.find(SIGN_IN).await;
        browser.screenshot("demo-signed-out").await;
        assert_eq!(browser.fetch_json("/who").await, Value::Null);

        browser.click(SIGN_IN).await;
        browser.find("#email").await;
        browser.screenshot("development-login").await;
        sign_in("ann@example.test", true).await;
        browser.find(SIGN_OUT).await;
        browser.arrives(&demo.at("/")).await;
        browser.screenshot("demo-signed-in").await;
        let me = browser.fetch_json("/me").await;
        assert_eq!((&me["email"], &me["admin"]), (&json!("ann@example.test"), &json!(true)));
        assert_eq!(browser.fetch("/private").await.0, 200);
        assert_eq!(browser.fetch("/admin").await.0, 200);
        assert_eq!(browser.fetch_json("/api").await["sub"], me["sub"]);

        browser.click(SIGN_OUT).await;
        browser.find(SIGN_IN).await;
        browser.arrives(&demo.at("/")).await;
        assert_eq!(browser.fetch_json("/who").await, Value::Null);
        assert_eq!(browser.fetch("/me").await.0, 401);

        // A deep link survives the login; nobody is an administrator without asking for it.
        browser.goto(&demo.at("/private?from=mail")).await;
        sign_in("ann@example.test", false).await;
        browser.arrives(&demo.at("/private?from=mail")).await;
        let again = browser.fetch_json("/me").await;
        assert_eq!((&again["sub"], &again["admin"]), (&me["sub"], &json!(false)));
        assert_eq!(browser.fetch("/admin").await.0, 403);
        assert_eq!(browser.fetch_json("/api").await["sub"], me["sub"]);
    })
    .await;
}

/// As a person sees them: the page that asks, and an admin of one provider who is none of the other.
#[tokio::test]
async fn choosing_among_two_real_providers() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    for mode in MODES {
        let Some((first, work, demo)) = demo_at_two(mode).await else { return };
        in_chromium(async |browser| {
            browser.goto(&demo.at("/private?q=1")).await;
            browser.find("a[href*='provider=default']").await;
            let label = browser.find("a[href*='provider=work']").await.text().await.expect("text");
            assert_eq!(label, "Work & Sons");
            browser.screenshot("choosing").await;
            for (name, provider, admin) in [("work", &work, false), ("default", &first, true)] {
                browser.goto(&demo.at("/private?q=1")).await;
                browser.click(&format!("a[href*='provider={name}']")).await;
                browser.fill("#user", "alice").await;
                browser.click("#go").await;
                browser.arrives(&demo.at("/private?q=1")).await;
                let me = browser.fetch_json("/me").await;
                assert_eq!((&me["issuer"], &me["admin"]), (&json!(provider.issuer), &json!(admin)));
                assert_eq!(browser.fetch("/admin").await.0, if admin { 200 } else { 403 });

                browser.goto(&demo.at("/")).await;
                browser.click(SIGN_OUT).await;
                browser.click("#yes").await;
                browser.find("#login-work").await;
                browser.screenshot("demo-two-providers").await;
                assert_eq!(browser.fetch_json("/who").await, Value::Null);
            }
        })
        .await;
        for provider in [first, work] {
            assert_eq!(provider.complaints().await, [] as [Value; 0]);
        }
    }
}

/// In a browser: the answer of one provider is brought to the other's address, while the application was
/// away.
#[tokio::test]
async fn an_answer_at_the_other_providers_address() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    for mode in MODES {
        let Some((first, work, demo)) = demo_at_two(mode).await else { return };
        in_chromium(async |browser| {
            browser.goto(&demo.at("/auth/login?return_to=/private&provider=work")).await;
            browser.fill("#user", "alice").await;
            let (port, own) = (demo.port(), demo.at("/auth/callback/work?"));
            demo.stop().await;
            browser.click("#go").await;
            let callback = eventually("it is sent back", PATIENCE, async || {
                let at = browser.0.current_url().await.expect("a URL").to_string();
                at.starts_with(&own).then_some(at)
            })
            .await;
            let demo = start_at_two(port, mode, &first, &work).await;
            browser.goto(&callback.replace("/callback/work?", "/callback/default?")).await;
            browser.find("a[href*='/auth/login']").await;
            browser.screenshot("mixed-up").await;
            browser.goto(&demo.at("/")).await;
            assert_eq!(browser.fetch_json("/who").await, Value::Null);
            assert_eq!(first.events("grant.error").await.len() + work.events("grant.error").await.len(), 0);

            browser.goto(&callback).await;
            browser.arrives(&demo.at("/private")).await;
            assert_eq!(browser.fetch_json("/me").await["issuer"], work.issuer, "the control");
        })
        .await;
        assert_eq!((first.events("grant.success").await.len(), work.events("grant.success").await.len()), (0, 1));
        for provider in [first, work] {
            assert_eq!(provider.complaints().await, [] as [Value; 0]);
        }
    }
}

/// The provider is another site for the browser: its redirect and its POST back obey `SameSite`.
#[tokio::test]
async fn the_real_provider_by_redirect_and_by_form_post() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    for (tokens, mode) in [("per-user", "query"), ("per-user", "form_post"), ("stateless", "query")] {
        let port = free_port();
        let Some(provider) = RealProvider::start(&app_url(port), &[]).await else { return };
        let demo = Demo::start_at(
            port,
            &[
                ("MODE", tokens),
                ("OIDC_ISSUER", &provider.issuer),
                ("OIDC_CLIENT_ID", "web"),
                ("OIDC_CLIENT_SECRET", "web secret"),
                ("OIDC_SCOPES", "openid email profile"),
                ("OIDC_RESPONSE_MODE", mode),
            ],
        )
        .await;
        in_chromium(async |browser| {
            browser.goto(&demo.at("/private")).await;
            browser.fill("#user", "carol").await;
            browser.click("#go").await;
            browser.arrives(&demo.at("/private")).await;
            assert_eq!(browser.fetch_json("/me").await["email"], "carol@example.test");
            assert_eq!(browser.fetch_json("/api").await["sub"], "carol");
            assert_eq!(provider.events("authorization.success").await[0]["response_mode"], mode);

            browser.goto(&demo.at("/")).await;
            browser.click(SIGN_OUT).await;
            browser.click("#yes").await;
            browser.find(SIGN_IN).await;
            browser.arrives(&demo.at("/")).await;
            assert_eq!(browser.fetch_json("/who").await, Value::Null);
            eventually("the provider ended its session", PATIENCE, async || {
                (provider.events("end_session.success").await.len() == 1).then_some(())
            })
            .await;
        })
        .await;
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}

/// By hand: an admin connects the account at the real provider, and takes it back.
#[tokio::test]
async fn an_operator_connects_the_account() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    let port = free_port();
    let Some(provider) = RealProvider::start(&app_url(port), &[("GRANTS", "separate")]).await else { return };
    let api = format!("{}/cal/", provider.issuer);
    let demo = Demo::start_at(
        port,
        &[
            ("MODE", "single-user"),
            ("ACCOUNT", "operator"),
            ("ADMINS", "alice@example.test"),
            ("OIDC_ISSUER", &provider.issuer),
            ("OIDC_CLIENT_ID", "web"),
            ("OIDC_CLIENT_SECRET", "web secret"),
            ("API_URL", &api),
        ],
    )
    .await;
    in_chromium(async |browser| {
        browser.goto(&demo.at("/")).await;
        assert_eq!(browser.fetch("/api").await.0, 503);
        browser.click(SIGN_IN).await;
        browser.fill("#user", "alice").await;
        browser.click("#go").await;
        browser.click("#connect-login").await;
        browser.screenshot("account-connect").await;
        // The layer's own page asks, then the provider who it is to be.
        browser.click("form button").await;
        browser.fill("#user", "office").await;
        browser.click("#go").await;
        browser.arrives(&demo.at("/")).await;
        browser.find("#connection-login .good").await;
        browser.screenshot("account-connected").await;
        assert_eq!(browser.fetch_json("/api").await["user"], "office");

        // At the provider she is the other account now, which ended her session here: she signs in once more.
        browser.goto(&demo.at("/auth/login?return_to=/&prompt=login")).await;
        browser.fill("#user", "alice").await;
        browser.click("#go").await;
        browser.find("#disconnect-login").await;
        assert_eq!(browser.fetch_json("/who").await["sub"], "alice", "she is herself");
        assert_eq!(browser.fetch_json("/api").await["user"], "office", "and the account is everybody's");
        browser.click("#disconnect-login").await;
        browser.find("#connection-login .bad").await;
        assert_eq!(browser.fetch("/api").await.0, 503);
    })
    .await;
}

/// From the page that shows the connections: connect, use, consent to more on the way, and take it back.
#[tokio::test]
async fn connections_on_the_page() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    for mode in ["per-user", "stateless"] {
        let port = free_port();
        let separate = [("GRANTS", "separate")];
        let Some(provider) = RealProvider::start(&app_url(port), &separate).await else { return };
        let [cal, mail] = ["cal", "mail"].map(|name| format!("{}/{name}/today", provider.issuer));
        let env = [
            ("MODE", mode),
            ("OIDC_ISSUER", &*provider.issuer),
            ("OIDC_CLIENT_ID", "web"),
            ("OIDC_CLIENT_SECRET", "web secret"),
            ("CONNECTIONS", "cal,mail"),
            ("CONNECTION_CAL_API_URL", &*cal),
            ("CONNECTION_CAL_SCOPES", "cal"),
            ("CONNECTION_MAIL_API_URL", &*mail),
            ("CONNECTION_MAIL_SCOPES", "mail"),
            ("CONNECTION_MAIL_OPTIONAL_SCOPES", "mail:send"),
        ];
        let demo = Demo::start_at(port, &env).await;
        in_chromium(async |browser| {
            browser.goto(&demo.at("/auth/login?return_to=/")).await;
            browser.fill("#user", "carol").await;
            browser.click("#go").await;
            browser.click("#connect-mail").await;
            browser.find("#connection-mail .good").await;
            browser.arrives(&demo.at("/")).await;
            browser.screenshot(&format!("connections-{mode}")).await;
            assert_eq!(browser.fetch("/api/cal").await.0, 403, "the control");
            let used = browser.fetch_json("/api/mail").await;
            assert_eq!(used, json!({ "user": "carol", "scope": "openid mail" }), "{mode}");

            // What needs more asks for it, and comes back to where it was needed.
            assert_eq!(browser.fetch("/api/mail?scope=mail:send").await.0, 403, "a script is told");
            browser.click("#more-mail").await;
            browser.arrives(&demo.at("/api/mail?scope=mail:send")).await;
            assert_eq!(browser.fetch_json("/api/mail").await["scope"], "openid mail mail:send");

            browser.goto(&demo.at("/")).await;
            // A link on the application's own page acts at once.
            browser.click("#disconnect-mail").await;
            browser.find("#connect-mail").await;
            browser.screenshot(&format!("disconnect-{mode}")).await;
            assert_eq!(browser.fetch("/api/mail").await.0, 403);
            assert_eq!(browser.fetch_json("/who").await["sub"], "carol");
        })
        .await;
        assert_eq!(provider.events("revocation").await.len(), 1, "{mode}");
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}

/// By hand: somebody who never signs in, and access for one use.
#[tokio::test]
async fn visitors_and_access_for_one_use() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    for mode in ["per-user", "stateless"] {
        let port = free_port();
        let separate = [("GRANTS", "separate")];
        let Some(provider) = RealProvider::start(&app_url(port), &separate).await else { return };
        let [cal, mail] = ["cal", "mail"].map(|name| format!("{}/{name}/today", provider.issuer));
        let env = [
            ("MODE", mode),
            ("OIDC_ISSUER", &*provider.issuer),
            ("OIDC_CLIENT_ID", "web"),
            ("OIDC_CLIENT_SECRET", "web secret"),
            ("CONNECTIONS", "cal,mail"),
            ("CONNECTION_CAL_API_URL", &*cal),
            ("CONNECTION_CAL_SCOPES", "cal"),
            ("CONNECTION_CAL_FOR", "one-use"),
            ("CONNECTION_MAIL_API_URL", &*mail),
            ("CONNECTION_MAIL_SCOPES", "mail"),
            ("CONNECTION_MAIL_FOR", "visitors"),
        ];
        let demo = Demo::start_at(port, &env).await;
        in_chromium(async |browser| {
            browser.goto(&demo.at("/")).await;
            browser.click("#connect-mail").await;
            browser.fill("#user", "carol").await;
            browser.click("#go").await;
            browser.find("#connection-mail .good").await;
            browser.screenshot(&format!("visitor-{mode}")).await;
            assert_eq!(browser.fetch_json("/api/mail").await, json!({ "user": "carol", "scope": "mail" }));
            assert_eq!(browser.fetch_json("/who").await, Value::Null, "nobody is known by it");
            assert_eq!(browser.fetch("/me").await.0, 401);

            browser.click(SIGN_IN).await;
            browser.find(SIGN_OUT).await;
            assert_eq!(browser.fetch("/api/mail").await.0, 403, "a person has not granted it");
            browser.click("#once-cal").await;
            browser.arrives(&demo.at("/once/cal")).await;
            let used = browser.find("body").await.text().await.expect("text");
            assert_eq!(used, r#"{"user":"carol","scope":"openid cal"}"#);
            assert_eq!(browser.fetch("/once/cal").await.0, 410);
            browser.goto(&demo.at("/")).await;
            browser.screenshot(&format!("once-{mode}")).await;
        })
        .await;
        assert_eq!(provider.events("api").await.len(), 2, "{mode}");
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}

/// As a person sees them: the application's own account for everybody, signed in or not; and in
/// per-user mode over the same store, everybody's own.
#[tokio::test]
async fn the_account_is_everybodys_in_its_mode_alone() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.file().display());
    let port = free_port();
    let Some(provider) = RealProvider::start(&app_url(port), &[("GRANTS", "separate")]).await else { return };
    let api = format!("{}/cal/", provider.issuer);
    let demo_in = async |mode: &str| {
        let env = [
            ("MODE", mode),
            ("TOKEN_STORE", &*store),
            ("SESSION_SECRET", "the sealing secret of this very test"),
            ("OIDC_ISSUER", &*provider.issuer),
            ("OIDC_CLIENT_ID", "robot"),
            ("OIDC_CLIENT_SECRET", "robot secret"),
            ("API_URL", &*api),
        ];
        Demo::start_at(port, &env).await
    };
    let demo = demo_in("single-user").await;
    in_chromium(async |browser| {
        browser.goto(&demo.at("/")).await;
        browser.find("#connection-login .good").await;
        assert_eq!(browser.fetch_json("/api").await["user"], "robot", "nobody is signed in");
        browser.click(SIGN_IN).await;
        browser.fill("#user", "carol").await;
        browser.click("#go").await;
        browser.find(SIGN_OUT).await;
        browser.screenshot("account-of-its-own").await;
        assert_eq!(browser.fetch_json("/who").await["sub"], "carol");
        assert_eq!(browser.fetch_json("/api").await["user"], "robot");

        demo.stop().await;
        let demo = demo_in("per-user").await;
        browser.goto(&demo.at("/")).await;
        assert_eq!(browser.fetch("/api").await.0, 403, "she is known, and has granted nothing");
        browser.goto(&demo.at("/auth/login?return_to=/")).await;
        browser.find(SIGN_OUT).await;
        assert_eq!(browser.fetch_json("/api").await["user"], "carol", "her own");
        demo.stop().await;
    })
    .await;
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

/// With a browser's own cookies, and what is too large as a person sees it.
#[tokio::test]
async fn cookies_that_were_changed_and_tokens_that_are_too_large() {
    if requirement("TOWER_OIDC_CHROMIUM", "Chromium and ChromeDriver").is_none() {
        return;
    }
    for length in ["43", "8000"] {
        let port = free_port();
        let long = [("TOKEN_LENGTH", length)];
        let Some(provider) = RealProvider::start(&app_url(port), &long).await else { return };
        let env = [
            ("MODE", "stateless"),
            ("OIDC_ISSUER", &*provider.issuer),
            ("OIDC_CLIENT_ID", "web"),
            ("OIDC_CLIENT_SECRET", "web secret"),
        ];
        let demo = Demo::start_at(port, &env).await;
        in_chromium(async |browser| {
            browser.goto(&demo.at("/auth/login?return_to=/")).await;
            browser.fill("#user", "carol").await;
            browser.click("#go").await;
            if length == "8000" {
                browser.find("h1").await;
                browser.screenshot("too-large").await;
                browser.goto(&demo.at("/who")).await;
                assert_eq!(browser.find("body").await.text().await.expect("text"), "null");
                let kept = browser.0.get_all_cookies().await.expect("cookies");
                // All that is left is that a login was begun.
                assert!(kept.iter().all(|cookie| cookie.name().contains("-login-")), "{kept:?}");
                return;
            }
            browser.find(SIGN_OUT).await;
            assert_eq!(browser.fetch_json("/api").await["sub"], "carol");
            let all = browser.0.get_all_cookies().await.expect("cookies");
            assert!(all.iter().all(|cookie| cookie.http_only() == Some(true)), "{all:?}");
            let grant = all.iter().find(|cookie| cookie.name().contains("grant")).expect("it is carried").clone();
            let (head, tail) = grant.value().split_at(grant.value().len() / 2);
            let other = if tail.starts_with('A') { "B" } else { "A" };
            let mut changed = grant.clone();
            changed.set_value(format!("{head}{other}{}", &tail[1..]));
            browser.0.add_cookie(changed).await.expect("a cookie");
            assert_eq!(browser.fetch("/api").await.0, 403, "it is missing");
            assert_eq!(browser.fetch_json("/who").await["sub"], "carol", "and breaks nothing");
            // A person is sent to grant it again, and has it.
            browser.goto(&demo.at("/api")).await;
            browser.arrives(&demo.at("/api")).await;
            assert_eq!(browser.fetch_json("/api").await["sub"], "carol");
        })
        .await;
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}
