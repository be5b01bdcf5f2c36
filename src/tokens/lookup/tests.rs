use super::*;
use crate::records::{Earlier, GrantSource, LOGIN, Owner, RefreshHold};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn after(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// With a token of an hour, which can be refreshed.
fn grant() -> Grant {
    let set = TokenSet {
        indicator: None,
        scopes: None,
        access_token: "at".into(),
        issued_at: NOW,
        expires_at: Some(after(3600)),
        after_rejection: false,
    };
    let owner = Owner::Account { name: "a".to_owned() };
    Grant {
        refresh_token: Some("rt".into()),
        token_sets: vec![set],
        ..Grant::new(owner, [0; 32], LOGIN, GrantSource::Consent)
    }
}

fn any() -> TokenRequest {
    TokenRequest::new(None, Vec::new())
}

/// Checks the next step at each of these times, in seconds after the token was issued.
fn assert_next(grant: &Grant, request: &TokenRequest, steps: &[(u64, TokenAction)]) {
    for (seconds, expected) in steps {
        assert_eq!(next(grant, request, after(*seconds), 0), *expected, "{seconds}");
    }
}

/// It is replaced early while that is possible, and otherwise serves to its last moment.
#[test]
fn what_is_done_depends_on_how_long_the_token_lives_and_on_what_can_replace_it() {
    use TokenAction::{Consent, Refresh, Serve, ServeAndRenew, Wait};
    let renewed = [(0, Serve), (3534, Serve), (3535, ServeAndRenew), (3594, ServeAndRenew), (3595, Refresh)];
    assert_next(&grant(), &any(), &renewed);
    let origin = GrantSource::ClientCredentials;
    assert_next(&Grant { refresh_token: None, origin, ..grant() }, &any(), &renewed);
    let alone = Grant { refresh_token: None, ..grant() };
    assert_next(&alone, &any(), &[(0, Serve), (3535, Serve), (3599, Serve), (3600, Consent)]);
    let hold = Some(RefreshHold { since: NOW, times: 1, until: after(4000) });
    let held = Grant { hold, ..grant() };
    let left = |seconds| Wait(Duration::from_secs(seconds));
    assert_next(&held, &any(), &[(3599, Serve), (3600, left(400)), (3999, left(1)), (4000, Refresh)]);
    assert_next(&Grant { refresh_token: None, ..held }, &any(), &[(3599, Serve), (3600, Consent)]);
    assert_next(&Grant { token_sets: Vec::new(), ..grant() }, &any(), &[(0, Refresh)]);
    assert_next(&Grant { token_sets: Vec::new(), ..alone }, &any(), &[(0, Consent)]);
    let api = TokenRequest::new(Some("api".to_owned()), Vec::new());
    assert_next(&grant(), &api, &[(0, Refresh)]);
}

#[test]
fn a_grant_that_has_ended_serves_nothing() {
    use GrantStatus::{OwnerMismatch, Refused, RefusedAgain, Revoked};
    for status in [Refused, RefusedAgain, OwnerMismatch, Revoked] {
        assert_next(&Grant { status, ..grant() }, &any(), &[(0, TokenAction::Consent)]);
    }
}

/// It counts as expired. Where it came for another one that was refused a moment ago, a third would be refused, too.
#[test]
fn a_token_that_an_api_refused_is_replaced_once() {
    use TokenAction::{Consent, Refresh, Serve};
    let of = |rejected: &str| TokenRequest { rejected: Some(rejected.into()), ..any() };
    assert_next(&grant(), &of("at"), &[(0, Refresh)]);
    assert_next(&grant(), &of("another"), &[(0, Serve)]);
    assert_next(&Grant { refresh_token: None, ..grant() }, &of("at"), &[(0, Consent)]);
    let mut second = grant();
    second.token_sets[0].after_rejection = true;
    assert_next(&second, &of("at"), &[(0, Consent), (59, Consent), (60, Refresh)]);
    assert_next(&second, &of("another"), &[(0, Serve)]);
    let since = |seconds| TokenRequest { issued_since: after(seconds), ..any() };
    assert_next(&grant(), &since(0), &[(0, Serve)]);
    assert_next(&grant(), &since(1), &[(1, Refresh)]);
    assert_next(&second, &since(1), &[(1, Refresh)]);
}

/// Scopes that a consent brought without a refresh token end with its access token.
#[test]
fn what_the_refresh_token_cannot_bring_again_serves_to_its_last_moment() {
    use TokenAction::{Consent, Refresh, Serve};
    let mut wider = grant();
    wider.earlier = Some(Earlier {
        scopes: texts(&["a"]),
        lapsing: texts(&["c"]),
        consents: 1,
        unrefreshed: true,
        prompted: false,
    });
    wider.token_sets[0].scopes = Some(texts(&["a", "c"]));
    let of = |scope: &str| TokenRequest::new(None, texts(&[scope]));
    assert_next(&wider, &of("c"), &[(0, Serve), (3595, Serve), (3599, Serve), (3600, Consent)]);
    assert_next(&wider, &of("a"), &[(0, Serve), (3599, Serve), (3600, Refresh)]);
    wider.token_sets[0].scopes = None;
    assert_next(&wider, &of("c"), &[(0, Consent)]);
    assert_next(&wider, &of("a"), &[(0, Serve), (3595, Refresh)]);
}
