//! Several APIs behind one consent: each has its own tokens, and one refresh token serves them in turn.

use std::time::Duration;

use tower_oidc::{Config, Connection, Resource};

use super::app::{Site, connect, resource, state, token};
use crate::support::app::API;

const HOUR: Duration = Duration::from_secs(3601);

fn indicator(name: &str) -> String {
    format!("urn:{name}")
}

fn indicated(name: &str) -> Resource {
    resource(name).scope(format!("{name}.read")).indicator(indicator(name))
}

fn suite(config: Config) -> Config {
    config.connection(Connection::new("suite").resource(indicated("a")).resource(indicated("b")))
}

#[tokio::test]
async fn resources_with_indicators_have_tokens_of_their_own() {
    let site = Site::with(suite);
    let browser = site.signed_in("alice").await;
    connect(&browser, "suite").await;
    assert_eq!(site.op.last_authorization().all("resource"), ["urn:a", "urn:b"]);
    assert_eq!(site.op.code_exchanges().pop().unwrap().params.all("resource"), [""; 0], "of both together");
    assert_eq!(state(&browser, "suite").await, "connected");
    for round in 1..=3 {
        let (a, b) = tokio::join!(token(&browser, "a"), token(&browser, "b"));
        let (a, b) = (a.unwrap(), b.unwrap());
        for (token, name) in [(&a, "a"), (&b, "b")] {
            let issued = site.op.issued(token).unwrap();
            assert_eq!(issued.resources, [indicator(name)], "{round}");
            assert_eq!(issued.scope, [format!("{name}.read")], "{round}: what the API needs and no more");
        }
        for _ in 0..5 {
            assert_eq!(token(&browser, "a").await.as_ref(), Ok(&a), "{round}");
            assert_eq!(token(&browser, "b").await.as_ref(), Ok(&b), "{round}");
        }
        let refreshes = site.op.refreshes();
        assert_eq!(refreshes.len(), 2 * round, "one for each");
        for refresh in &refreshes[2 * (round - 1)..] {
            let resource = refresh.params.get("resource").unwrap();
            assert_eq!(refresh.params.get("scope"), Some(format!("{}.read", &resource[4..]).as_str()));
        }
        site.clock.advance(HOUR);
    }
    assert_eq!(site.op.reuse_detected(), 0);
    assert_eq!(state(&browser, "suite").await, "connected", "a part's scopes are not the whole's");
}

#[tokio::test]
async fn refreshes_of_one_grant_take_turns() {
    let site = Site::with(suite);
    let browser = site.signed_in("alice").await;
    connect(&browser, "suite").await;
    let calls = (0..20).map(|at| {
        let browser = browser.new_tab();
        tokio::spawn(async move { (at % 2, token(&browser, ["a", "b"][at % 2]).await.unwrap()) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (which, token) = call.await.unwrap();
        assert_eq!(site.op.issued(&token).unwrap().resources, [indicator(["a", "b"][which])]);
    }
    assert_eq!((site.op.refreshes().len(), site.op.reuse_detected()), (2, 0));
}

#[tokio::test]
async fn the_only_indicator_goes_with_the_code() {
    let site = Site::with(|config| config.connection(Connection::new("one").resource(indicated("a"))));
    let browser = site.signed_in("alice").await;
    connect(&browser, "one").await;
    assert_eq!(site.op.code_exchanges().pop().unwrap().params.all("resource"), ["urn:a"]);
    assert_eq!(site.op.issued(&token(&browser, "a").await.unwrap()).unwrap().resources, ["urn:a"]);
    assert_eq!(site.op.refreshes().len(), 0);
}

#[tokio::test]
async fn the_longest_prefix_decides_whose_token_goes() {
    let whole = || Connection::new("whole").resource(Resource::new("whole", format!("{API}/")).scope("whole"));
    let part = || Connection::new("part").resource(Resource::new("part", format!("{API}/long/")).scope("part"));
    for part_first in [true, false] {
        let edit = |config: Config| match part_first {
            true => config.connection(part()).connection(whole()),
            false => config.connection(whole()).connection(part()),
        };
        let site = Site::with(edit);
        let browser = site.signed_in("alice").await;
        connect(&browser, "whole").await;
        connect(&browser, "part").await;
        for _ in 0..100 {
            let long = site.scope_of(&token(&browser, "long/x").await.unwrap());
            let other = site.scope_of(&token(&browser, "longer").await.unwrap());
            assert!(long.contains(&"part".to_owned()) && !long.contains(&"whole".to_owned()), "{long:?}");
            assert!(other.contains(&"whole".to_owned()) && !other.contains(&"part".to_owned()), "{other:?}");
        }
    }
}
