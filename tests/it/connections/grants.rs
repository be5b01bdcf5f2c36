//! What was granted, for how long, and in which browsers.

use std::time::Duration;

use serde_json::json;
use tower_oidc::{Connection, EventCode, GrantLifetime};

use crate::support::provider::RevocationReach;

use super::app::{Site, at, connect, disconnect, log_out, resource, script, state, status, token};

const HOUR: Duration = Duration::from_secs(3601);

#[tokio::test]
async fn two_connections_leave_each_other_alone() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    let mail = token(&browser, "mail").await.unwrap();
    connect(&browser, "files").await;
    let (cal, files) = (token(&browser, "cal").await.unwrap(), token(&browser, "files").await.unwrap());
    assert_eq!(token(&browser, "mail").await.as_ref(), Ok(&mail), "untouched");
    let has = |token: &str, scope: &str| site.scope_of(token).iter().any(|one| one == scope);
    assert!(has(&mail, "mail.read") && !has(&mail, "files") && has(&files, "files") && !has(&files, "mail.read"));
    assert!(!has(&cal, "mail.read") && !has(&cal, "files"));
    disconnect(&browser, "mail").await;
    assert_eq!(state(&browser, "mail").await, "not_connected");
    assert_eq!(token(&browser, "files").await, Ok(files));
    assert_eq!(token(&browser, "cal").await, Ok(cal));
    let list = script(&browser, "/list").await.json();
    let summary: Vec<_> = list.as_array().unwrap().iter().map(|one| (&one["name"], &one["state"])).collect();
    assert_eq!(summary, [(&json!("mail"), &json!("not_connected")), (&json!("files"), &json!("connected"))]);
}

#[tokio::test]
async fn what_was_granted_counts_not_what_was_asked() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    site.op.set(|settings| settings.grantable = Some(vec!["openid"]));
    connect(&browser, "mail").await;
    let stands = status(&browser, "mail").await;
    assert_eq!((&stands["state"], &stands["scopes"]), (&json!("needs_consent"), &json!(["openid"])));
    assert_eq!(stands["account"], "a1");
    // `offline_access` is granted by a refresh token, not by its name.
    site.op.set(|settings| settings.grantable = Some(vec!["openid", "mail.read"]));
    connect(&browser, "mail").await;
    let stands = status(&browser, "mail").await;
    assert_eq!((&stands["state"], &stands["scopes"]), (&json!("connected"), &json!(["openid", "mail.read"])));
}

/// No clock moves here: who has just granted one thing is asked for the next at once.
#[tokio::test]
async fn more_is_asked_for_when_it_is_needed_and_old_scopes_survive() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    let before = token(&browser, "mail").await.unwrap();
    assert!(!site.scope_of(&before).contains(&"mail.send".to_owned()), "not before it is needed");
    for (need, union) in
        [("mail.send", vec!["mail.read", "mail.send"]), ("mail.delete", vec!["mail.read", "mail.send", "mail.delete"])]
    {
        let path = format!("/need?r=mail&s={need}");
        let page = browser.visit(&at(&path)).await;
        assert_eq!((page.text().as_str(), page.path_and_query()), ("granted", path.as_str()));
        let asked = site.asked().pop().unwrap();
        assert!(union.iter().all(|scope| asked.iter().any(|one| one == scope)), "{asked:?}");
        let granted = site.scope_of(&token(&browser, "mail").await.unwrap());
        assert!(union.iter().all(|scope| granted.iter().any(|one| one == scope)), "{granted:?}");
    }
    // Connecting again asks for all of it again.
    connect(&browser, "mail").await;
    assert!(site.asked().pop().unwrap().contains(&"mail.delete".to_owned()));
    // The login's own resources know it too.
    let page = browser.visit(&at("/need?r=tasks&s=tasks.write")).await;
    assert_eq!(page.text(), "granted");
    let granted = site.scope_of(&token(&browser, "tasks").await.unwrap());
    assert!(granted.contains(&"tasks.write".to_owned()) && granted.contains(&"email".to_owned()), "{granted:?}");
}

/// A refresh says what is left.
#[tokio::test]
async fn a_refresh_that_grants_less_shows() {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    site.op.edit_refreshed_tokens(|tokens| drop(tokens.insert("scope".into(), "openid".into())));
    site.clock.advance(HOUR);
    token(&browser, "mail").await.unwrap();
    assert_eq!(state(&browser, "mail").await, "needs_consent");
}

#[tokio::test]
async fn tokens_that_are_over_and_cannot_be_renewed_need_consent() {
    let site = Site::new();
    site.op.set(|settings| settings.issue_refresh_tokens = false);
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    assert_eq!(state(&browser, "mail").await, "connected");
    site.clock.advance(HOUR);
    assert_eq!(state(&browser, "mail").await, "needs_consent");
    assert_eq!(browser.visit(&at("/mail")).await.text(), "your mail", "by way of the provider");
}

#[tokio::test]
async fn a_connection_lives_until_it_is_disconnected_unless_it_is_the_sessions() {
    for (grant_lifetime, survives) in
        [(GrantLifetime::Persistent, "connected"), (GrantLifetime::Session, "not_connected")]
    {
        let notes = Connection::new("notes").resource(resource("notes").scope("notes")).grant_lifetime(grant_lifetime);
        let site = Site::with(|mut config| {
            config.provider.revoke_at_logout = true;
            config.connection(notes)
        });
        site.op.set(|settings| settings.revocation_reach = RevocationReach::Token);
        let (browser, other) = (site.signed_in("alice").await, site.signed_in("alice").await);
        connect(&browser, "notes").await;
        let first = token(&browser, "notes").await.unwrap();
        assert_eq!(state(&other, "notes").await, survives, "{grant_lifetime:?}: another browser of hers");
        connect(&other, "notes").await;
        let second = token(&other, "notes").await.unwrap();
        let newest_wins = grant_lifetime == GrantLifetime::Persistent;
        assert_eq!(token(&browser, "notes").await.unwrap() == second, newest_wins, "{grant_lifetime:?}");
        assert_ne!(first, second);
        log_out(&browser).await;
        site.app.layer.drain().await;
        let ended = if newest_wins { 1 } else { 2 };
        assert_eq!(site.op.revocations().len(), ended, "{grant_lifetime:?}: the login's, and what is the session's");
        assert_eq!(token(&other, "notes").await, Ok(second), "{grant_lifetime:?}: logout is this browser's");
        site.sign_in(&browser, "alice").await;
        assert_eq!(state(&browser, "notes").await, survives, "{grant_lifetime:?}: after logout and login");
        log_out(&other).await;
        site.clock.advance(Duration::from_secs(30 * 24 * 3600));
        assert_eq!(state(&site.signed_in("alice").await, "notes").await, survives, "{grant_lifetime:?}: a month later");
        assert_eq!(state(&site.signed_in("bob").await, "notes").await, "not_connected", "{grant_lifetime:?}");
    }
}

#[tokio::test]
async fn a_logins_grant_is_the_sessions_unless_it_is_the_persons() {
    for grant_lifetime in [GrantLifetime::Session, GrantLifetime::Persistent] {
        let site = Site::with(|mut config| {
            config.login_grant_lifetime = grant_lifetime;
            config
        });
        let (first, second) = (site.signed_in("alice").await, site.signed_in("alice").await);
        let bob = site.signed_in("bob").await;
        let tokens = [token(&first, "cal").await.unwrap(), token(&second, "cal").await.unwrap()];
        assert_eq!(
            tokens[0] == tokens[1],
            grant_lifetime == GrantLifetime::Persistent,
            "{grant_lifetime:?}: the newest consent wins"
        );
        assert_eq!(site.op.revocations().len(), 0, "{grant_lifetime:?}: a new login revokes nothing");
        for _ in 0..3 {
            site.clock.advance(HOUR);
            for (browser, owner) in [(&first, "alice"), (&second, "alice"), (&bob, "bob")] {
                let token = token(browser, "cal").await.unwrap();
                assert_eq!(site.op.owner_of(&token).as_deref(), Some(owner));
            }
        }
        assert_eq!(site.op.reuse_detected(), 0, "{grant_lifetime:?}: nobody spends another's refresh token");
        let each = if grant_lifetime == GrantLifetime::Session { 3 } else { 2 };
        assert_eq!(site.op.refreshes().len(), 3 * each, "{grant_lifetime:?}");
        log_out(&first).await;
        let left = token(&second, "cal").await.unwrap();
        assert_eq!(site.op.owner_of(&left).as_deref(), Some("alice"), "{grant_lifetime:?}: the other browser is whole");
    }
}

/// The person, or the provider, granted less than was asked for.
#[tokio::test]
async fn scopes_that_are_missing_are_an_event() {
    let site = Site::with(|config| config.resource(resource("notes").scope("notes.read")));
    let told = || {
        let events = site.app.events.all().into_iter().filter(|event| event.code == EventCode::ScopesNotGranted);
        events.map(|event| event.detail).collect::<Vec<_>>()
    };
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    assert!(told().is_empty(), "the control: {:?}", told());
    // `offline_access` is missing, too, which providers grant without saying so.
    site.op.set(|settings| settings.grantable = Some(vec!["openid", "files"]));
    connect(&browser, "mail").await;
    connect(&browser, "files").await;
    assert_eq!(told(), ["mail: mail.read"]);
    site.signed_in("bob").await;
    assert_eq!(told()[1..], ["login: notes.read"]);
}
