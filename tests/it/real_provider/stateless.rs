//! The demo in stateless mode at a certified provider: cookies that were changed or mixed, and tokens that are too large.

use serde_json::{Value, json};

use super::{fetch, sign_in, start};
use crate::support::http::Client;

const HOST: &str = "127.0.0.1";
const STATELESS: (&str, &str) = ("MODE", "stateless");

fn cookies(client: &Client) -> Vec<(String, String)> {
    client.cookies(HOST).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The value with another character in its middle.
fn changed(value: &str) -> String {
    let middle = value.len() / 2;
    let other = if value[middle..].starts_with('A') { "B" } else { "A" };
    format!("{}{other}{}", &value[..middle], &value[middle + 1..])
}

#[tokio::test]
async fn cookies_that_were_changed_or_mixed_are_missing() {
    let Some((provider, demo)) = start(&[], &[STATELESS]).await else { return };
    let (mut alice, mut bob) = (Client::new(), Client::new());
    sign_in(&mut alice, &demo, "alice", "/").await;
    sign_in(&mut bob, &demo, "bob", "/").await;
    let kept = cookies(&alice);
    assert!(kept.len() >= 3, "who they are, the grant, and what logout needs: {kept:?}");
    for (name, value) in &kept {
        let mut thief = alice.clone();
        thief.tamper(HOST, name, &changed(value));
        let (status, _) = fetch(&mut thief, &demo.at("/api")).await;
        let page = thief.visit(&demo.at("/")).await;
        assert_eq!(page.status, 200, "{name}");
        // Without its claims a session is nobody's.
        let expected = if name.contains("grant") { 403 } else { 401 };
        assert_eq!(status, expected, "{name}");
        // The same of another person.
        let kind = name.split('.').next().expect("a name");
        let bobs = cookies(&bob).into_iter().find(|(name, _)| name.split('.').next() == Some(kind)).expect("his own");
        let mut mixed = alice.clone();
        mixed.tamper(HOST, name, &bobs.1);
        let (status, answer) = fetch(&mut mixed, &demo.at("/api")).await;
        assert_eq!(status, expected, "{name}: {answer}");
        assert!(status != 200 || answer["sub"] == "alice", "{name}: {answer}");
    }
    assert_eq!(fetch(&mut alice, &demo.at("/api")).await.1["sub"], "alice", "the control");
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

/// A token of 8 KB, of which nothing can be packed.
#[tokio::test]
async fn what_is_too_large_is_said() {
    let Some((provider, demo)) = start(&[("TOKEN_LENGTH", "8000")], &[STATELESS]).await else { return };
    let mut alice = Client::new();
    let form = alice.visit(&demo.at("/auth/login?return_to=/who")).await;
    let page = alice.submit(&form, &[("user", "alice")]).await;
    assert_eq!((page.url.path(), page.status.as_u16()), ("/auth/callback", 502), "{page:?}");
    let carried = cookies(&alice).into_iter().map(|(_, value)| value.len()).sum::<usize>();
    assert!(carried < 1_000, "nothing of it is cut off and kept: {:?}", cookies(&alice));
    assert_eq!(fetch(&mut alice, &demo.at("/who")).await, (200, Value::Null));
    assert!(demo.output().contains("max_cookie_bytes"), "{}", demo.output());
    assert_eq!(provider.events("revocation").await.len(), 0, "it may reach more than that token");
    // With a store, and with a token that fits, everybody can sign in.
    for (length, mode) in [("8000", "per-user"), ("2000", "stateless")] {
        let started = start(&[("TOKEN_LENGTH", length)], &[("MODE", mode)]).await;
        let Some((provider, demo)) = started else { return };
        let mut alice = Client::new();
        sign_in(&mut alice, &demo, "alice", "/").await;
        assert_eq!(fetch(&mut alice, &demo.at("/api")).await.1["sub"], json!("alice"), "{length} {mode}");
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}
