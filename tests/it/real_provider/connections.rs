//! The demo's connections at certified providers, in both modes that have people: what its page shows and links to,
//! consent for more on the way, accounts at a second provider, visitors, and tokens for one use.

use std::time::Duration;

use serde_json::{Value, json};

use super::{WEB, fetch, sign_in};
use crate::support::http::{Client, Page};
use crate::support::process::{Demo, RealProvider, app_url, eventually, free_port};

const MODES: [&str; 2] = ["per-user", "stateless"];

/// A provider that keeps each consent apart, and the demo with the connections `cal` and `mail`, for which `mail:send` may
/// be asked later. `None`: the test is skipped.
async fn start(mode: &str, provider: &[(&str, &str)], env: &[(&str, &str)]) -> Option<(RealProvider, Demo)> {
    let port = free_port();
    let provider = [&[("GRANTS", "separate")], provider].concat();
    let provider = RealProvider::start(&app_url(port), &provider).await?;
    let [cal, mail] = ["cal", "mail"].map(|name| format!("{}/{name}/today", provider.issuer));
    let own = [
        ("MODE", mode),
        ("OIDC_ISSUER", provider.issuer.as_str()),
        ("CONNECTIONS", "cal,mail"),
        ("CONNECTION_CAL_API_URL", &cal),
        ("CONNECTION_CAL_SCOPES", "cal"),
        ("CONNECTION_MAIL_API_URL", &mail),
        ("CONNECTION_MAIL_SCOPES", "mail"),
        ("CONNECTION_MAIL_OPTIONAL_SCOPES", "mail:send"),
    ];
    let demo = Demo::start_at(port, &[&WEB[..], &own, env].concat()).await;
    Some((provider, demo))
}

/// What the home page says of a connection, without the mark-up.
async fn shown(client: &mut Client, demo: &Demo, connection: &str) -> String {
    let home = client.visit(&demo.at("/")).await;
    assert_eq!(home.status, 200, "{home:?}");
    let (_, row) = home.body.split_once(&format!("id=\"connection-{connection}\"")).expect("a row");
    let row = row.split("</li>").next().expect("its end");
    row.split(['<', '>']).skip(1).step_by(2).collect::<Vec<_>>().join(" ")
}

/// Clicks this link of the home page, such as `connect` of `cal`.
async fn click(client: &mut Client, demo: &Demo, link: &str) -> Page {
    let home = client.visit(&demo.at("/")).await;
    let (_, anchor) = home.body.split_once(&format!("<a id=\"{link}\" href=\"")).unwrap_or_else(|| {
        panic!("no {link}: {}", home.body);
    });
    let href = anchor.split('"').next().expect("its end").replace("&amp;", "&");
    client.click(home.url.join(&href).expect("an address")).await
}

async fn disconnect(client: &mut Client, demo: &Demo, connection: &str) -> Page {
    let question = click(client, demo, &format!("disconnect-{connection}")).await;
    client.submit(&question, &[]).await
}

#[tokio::test]
async fn its_page_connects_uses_asks_for_more_and_disconnects() {
    for mode in MODES {
        let Some((provider, demo)) = start(mode, &[("TOKEN_SECONDS", "2")], &[]).await else { return };
        let (mut alice, mut bob) = (Client::new(), Client::new());
        sign_in(&mut alice, &demo, "alice", "/").await;
        sign_in(&mut bob, &demo, "bob", "/").await;
        let (status, problem) = fetch(&mut alice, &demo.at("/api/mail")).await;
        assert_eq!((status, &problem["code"]), (403, &json!("consent_required")));
        assert!(shown(&mut alice, &demo, "mail").await.contains("not connected"));

        // By its link, and by the page that needs it.
        assert_eq!(click(&mut alice, &demo, "connect-cal").await.url.as_str(), demo.at("/"));
        let page = click(&mut alice, &demo, "call-mail").await;
        assert_eq!(page.url.as_str(), demo.at("/api/mail"), "{page:?}");
        assert_eq!(page.json(), json!({ "user": "alice", "scope": "openid mail" }));
        let row = shown(&mut alice, &demo, "mail").await;
        let about = format!("as alice at {} · openid, mail", provider.issuer);
        assert!(row.contains(&about) && !row.contains("not connected"), "{row}");

        let page = click(&mut alice, &demo, "more-mail").await;
        assert_eq!(page.url.as_str(), demo.at("/api/mail?scope=mail:send"), "{page:?}");
        assert_eq!(page.json()["scope"], "openid mail mail:send");
        assert!(!shown(&mut alice, &demo, "mail").await.contains("Use it with"), "there is no more");
        let asked = provider.events("authorization.success").await.len();

        // Bob has none of it, and what he grants is his.
        assert!(shown(&mut bob, &demo, "mail").await.contains("not connected"), "{mode}");
        assert_eq!(fetch(&mut bob, &demo.at("/api/mail")).await.0, 403);
        click(&mut bob, &demo, "connect-mail").await;
        eventually("refreshes of both", Duration::from_secs(20), async || {
            for (browser, user, scope) in
                [(&mut alice, "alice", "openid mail mail:send"), (&mut bob, "bob", "openid mail")]
            {
                let got = fetch(browser, &demo.at("/api/mail")).await;
                assert_eq!(got, (200, json!({ "user": user, "scope": scope })), "{mode}");
            }
            let grants = provider.events("grant.success").await;
            let refreshes = grants.iter().filter(|grant| grant["grant_type"] == "refresh_token");
            (refreshes.count() >= 3).then_some(())
        })
        .await;
        assert_eq!(provider.events("authorization.success").await.len(), asked + 1, "nobody was asked again");

        let home = disconnect(&mut alice, &demo, "mail").await;
        assert_eq!((home.url.as_str(), home.status.as_u16()), (&*demo.at("/"), 200));
        assert_eq!(provider.events("revocation").await.len(), 1);
        assert!(shown(&mut alice, &demo, "mail").await.contains("not connected"), "{mode}");
        assert_eq!(fetch(&mut alice, &demo.at("/api/mail")).await.1["code"], "consent_required");
        for (browser, path, user) in [(&mut alice, "/api/cal", "alice"), (&mut bob, "/api/mail", "bob")] {
            assert_eq!(fetch(browser, &demo.at(path)).await.1["user"], user, "the control");
        }
        assert_eq!(alice.get(&demo.at("/api/mail?scope=admin")).await.status, 404, "never asked for");
        assert_eq!(alice.get(&demo.at("/api/photos")).await.status, 404);
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn its_page_says_what_needs_consent_again() {
    for mode in MODES {
        let Some((provider, demo)) = start(mode, &[("TOKEN_SECONDS", "1")], &[]).await else { return };
        let mut alice = Client::new();
        sign_in(&mut alice, &demo, "alice", "/").await;
        click(&mut alice, &demo, "connect-mail").await;
        assert_eq!(fetch(&mut alice, &demo.at("/api/mail")).await.0, 200, "the control");
        alice.get(&format!("{}/forget?user=alice", provider.issuer)).await;
        assert_eq!(fetch(&mut alice, &demo.at("/api/mail")).await.1["code"], "consent_required", "{mode}");
        let row = shown(&mut alice, &demo, "mail").await;
        assert!(row.contains("needs your consent") && row.contains("Connect again"), "{row}");
        click(&mut alice, &demo, "connect-mail").await;
        assert!(shown(&mut alice, &demo, "mail").await.contains("as alice"), "{mode}");
        assert_eq!(fetch(&mut alice, &demo.at("/api/mail")).await.1["user"], "alice");
    }
}

/// Alice of the first provider links Bob's account at the second, which is for connections alone.
#[tokio::test]
async fn it_links_an_account_at_a_second_provider() {
    for mode in MODES {
        let port = free_port();
        let Some(first) = RealProvider::start(&app_url(port), &[]).await else { return };
        let Some(work) = RealProvider::start(&app_url(port), &[("TOKEN_SECONDS", "2")]).await else { return };
        let cal = format!("{}/cal/today", work.issuer);
        let env = [
            ("MODE", mode),
            ("OIDC_ISSUER", first.issuer.as_str()),
            ("OIDC_PROVIDERS", "work"),
            ("OIDC_WORK_ISSUER", work.issuer.as_str()),
            ("OIDC_WORK_CLIENT_ID", "web"),
            ("OIDC_WORK_CLIENT_SECRET", "web secret"),
            ("OIDC_WORK_LOGIN", "false"),
            ("CONNECTIONS", "cal"),
            ("CONNECTION_CAL_API_URL", cal.as_str()),
            ("CONNECTION_CAL_SCOPES", "cal"),
            ("CONNECTION_CAL_PROVIDER", "work"),
        ];
        let demo = Demo::start_at(port, &[&WEB[..], &env].concat()).await;
        let mut alice = Client::new();
        sign_in(&mut alice, &demo, "alice", "/").await;
        let row = shown(&mut alice, &demo, "cal").await;
        assert!(row.contains("not connected") && row.contains("at work"), "{row}");
        let form = click(&mut alice, &demo, "connect-cal").await;
        assert_eq!(form.url.origin().ascii_serialization(), work.issuer);
        let home = alice.submit(&form, &[("user", "bob")]).await;
        assert_eq!(home.url.as_str(), demo.at("/"), "{home:?}");
        let row = shown(&mut alice, &demo, "cal").await;
        assert!(row.contains(&format!("as bob at {}", work.issuer)), "{row}");
        let me = fetch(&mut alice, &demo.at("/me")).await.1;
        assert_eq!((&me["sub"], &me["issuer"]), (&json!("alice"), &json!(first.issuer)), "she is who she was");

        let refreshes = async |provider: &RealProvider| {
            let grants = provider.events("grant.success").await;
            grants.iter().filter(|grant| grant["grant_type"] == "refresh_token").count()
        };
        eventually("a refresh at the second", Duration::from_secs(20), async || {
            assert_eq!(fetch(&mut alice, &demo.at("/api/cal")).await.1["user"], "bob", "{mode}");
            (refreshes(&work).await >= 1).then_some(())
        })
        .await;
        assert_eq!(refreshes(&first).await, 0);
        assert_eq!(fetch(&mut alice, &demo.at("/api")).await.1["sub"], "alice", "the login's own UserInfo");

        disconnect(&mut alice, &demo, "cal").await;
        assert_eq!((work.events("revocation").await.len(), first.events("revocation").await.len()), (1, 0));
        assert_eq!(fetch(&mut alice, &demo.at("/api/cal")).await.0, 403);
        assert_eq!(fetch(&mut alice, &demo.at("/who")).await.1["sub"], "alice");
        for provider in [&first, &work] {
            assert_eq!(provider.complaints().await, [] as [Value; 0]);
        }
    }
}

/// Nobody signs in; without `openid` nobody is known either.
#[tokio::test]
async fn visitors_grant_what_is_theirs_at_a_certified_provider() {
    for mode in MODES {
        let env = [("CONNECTION_MAIL_FOR", "visitors")];
        let Some((provider, demo)) = start(mode, &[("TOKEN_SECONDS", "2")], &env).await else { return };
        let (mut first, mut second) = (Client::new(), Client::new());
        for (browser, user) in [(&mut first, "alice"), (&mut second, "bob")] {
            assert_eq!(fetch(browser, &demo.at("/api/mail")).await.1["code"], "consent_required");
            let form = click(browser, &demo, "call-mail").await;
            assert_eq!(form.url.origin().ascii_serialization(), provider.issuer, "{form:?}");
            let page = browser.submit(&form, &[("user", user)]).await;
            assert_eq!(page.url.as_str(), demo.at("/api/mail"), "{page:?}");
            assert_eq!(page.json(), json!({ "user": user, "scope": "mail" }), "{mode}");
            let row = shown(browser, &demo, "mail").await;
            assert!(!row.contains("not connected") && !row.contains(user), "connected, as nobody: {row}");
        }
        assert_eq!(provider.events("authorization.success").await[0]["scope"], "mail");
        eventually("refreshes of both", Duration::from_secs(20), async || {
            for (browser, user) in [(&mut first, "alice"), (&mut second, "bob")] {
                assert_eq!(fetch(browser, &demo.at("/api/mail")).await.1["user"], user, "{mode}");
                assert_eq!(fetch(browser, &demo.at("/who")).await, (200, Value::Null));
                assert_eq!(browser.get(&demo.at("/me")).await.status, 401);
                assert_eq!(fetch(browser, &demo.at("/api/cal")).await.1["code"], "unauthenticated");
            }
            let grants = provider.events("grant.success").await;
            let refreshes = grants.iter().filter(|grant| grant["grant_type"] == "refresh_token");
            (refreshes.count() >= 2).then_some(())
        })
        .await;
        assert_eq!(fetch(&mut Client::new(), &demo.at("/api/mail")).await.0, 403, "a third has nothing");

        // Whoever signs in is somebody, and takes nothing over by it. (The provider knows her already.)
        assert_eq!(first.visit(&demo.at("/auth/login?return_to=/me")).await.json()["sub"], "alice");
        assert_eq!(fetch(&mut first, &demo.at("/api/mail")).await.1["code"], "consent_required", "{mode}");
        disconnect(&mut second, &demo, "mail").await;
        assert_eq!(fetch(&mut second, &demo.at("/api/mail")).await.0, 403);
        assert_eq!(provider.events("revocation").await.len(), 1);
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn a_token_for_one_use_at_a_certified_provider() {
    for mode in MODES {
        let env = [("CONNECTION_MAIL_FOR", "one-use")];
        let Some((provider, demo)) = start(mode, &[], &env).await else { return };
        let mut alice = Client::new();
        sign_in(&mut alice, &demo, "alice", "/").await;
        for uses in 1..=2 {
            assert!(shown(&mut alice, &demo, "mail").await.contains("for one use"));
            let page = click(&mut alice, &demo, "once-mail").await;
            assert_eq!((page.url.path(), page.status.as_u16()), ("/once/mail", 200), "{page:?}");
            assert_eq!(page.json(), json!({ "user": "alice", "scope": "openid mail" }), "{mode}");
            assert_eq!(alice.visit(&demo.at("/once/mail")).await.status, 410, "once");
            assert_eq!(alice.get(&demo.at("/api/mail")).await.status, 404);
            assert_eq!(provider.events("api").await.len(), uses);
            assert_eq!(provider.events("revocation").await.len(), uses, "nothing is left of it");
        }
        assert_eq!(provider.events("grant.success").await.len(), 3, "a login, and each use");
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}
