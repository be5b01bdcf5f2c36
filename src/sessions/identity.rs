//! Who is signed in.

use serde::{Deserialize, Serialize};

use super::session_id::SessionId;
use crate::clock::Timestamp;
use crate::protocol::{Algorithm, IdToken, LogoutEffect, LogoutTarget, RolesByRule};
use crate::records::Owner;

/// Who is signed in, where and until when: what a session's record and its cookie have in common. A cookie is opened at
/// every request, and so this is no more than every request may need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionPayload {
    pub(crate) issuer: Box<str>,
    pub(crate) subject: Box<str>,
    /// The provider's sessions (OpenID Connect Back-Channel Logout 1.0 section 2.1) whose ID tokens came for it, the
    /// newest last.
    pub(crate) sids: Vec<String>,
    pub(crate) auth_time: Option<u64>,
    /// The ID token's `iat`: when it began, by the provider's clock.
    pub(crate) issued_at: u64,
    /// When its login began here, with the authorization request, and when that was finished.
    pub(crate) began_at: Timestamp,
    pub(crate) stored_at: Timestamp,
    /// The algorithms of its ID tokens' signatures.
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) acr: Option<Box<str>>,
    pub(crate) roles: RolesByRule,
    /// What a logout link must carry.
    pub(crate) logout_token: [u8; 16],
    pub(crate) ends_at: Timestamp,
    /// The first session of this person in this browser, after which the grants of all that replaced it are named; `None`
    /// for that one itself.
    pub(crate) home: Option<[u8; 32]>,
}

impl SessionPayload {
    /// What an ID token says of a session; `began_at` is when it was asked for.
    pub(crate) fn of(id_token: &IdToken, began_at: Timestamp) -> Self {
        let facts = &id_token.facts;
        Self {
            issuer: facts.issuer.as_str().into(),
            subject: facts.subject.as_str().into(),
            sids: id_token.sid.iter().cloned().collect(),
            auth_time: facts.auth_time,
            issued_at: facts.issued_at,
            began_at,
            acr: id_token.acr.as_deref().map(Into::into),
            ..Self::default()
        }
    }

    pub(crate) fn user(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }

    /// The session after which the grants of this one are named.
    pub(crate) fn home_of(&self, id: SessionId) -> SessionId {
        self.home.map_or(id, SessionId::new)
    }

    /// Whose grants are this session's.
    pub(crate) fn owner(&self) -> Owner {
        Owner::User { issuer: self.issuer.to_string(), subject: self.subject.to_string() }
    }

    /// The one rule of whom a logout ends, in every mode. Everything that is named must be the session's (OpenID Connect
    /// Back-Channel Logout 1.0 section 2.7), which may have had several sessions at the provider.
    ///
    /// - A session that stood when the logout first came ends: by `sid` always, by `sub` alone unless its ID token is clearly
    ///   younger.
    /// - A login that was under way at that moment ends: by `sid` always, by `sub` alone unless its ID token is younger than
    ///   the logout token.
    /// - A login that began after that moment is not meant.
    pub(crate) fn effect_of(&self, target: &LogoutTarget) -> LogoutEffect {
        let is_named = *self.issuer == *target.issuer
            && target.subject.as_ref().is_none_or(|named| **named == *self.subject)
            && target.sid.as_ref().is_none_or(|named| self.sids.contains(named));
        let stood = self.stored_at <= target.received_at;
        let leeway = if stood { BACKDATED } else { 0 };
        let is_older = (stood || self.began_at < target.received_at)
            && (target.sid.is_some() || self.issued_at <= target.issued_at.saturating_add(leeway));
        match (is_named && is_older, &target.algorithm) {
            (false, _) => LogoutEffect::None,
            // One whose ID tokens nobody noted the algorithm of ends.
            (true, Some(algorithm)) if !self.algorithms.is_empty() && !self.algorithms.contains(algorithm) => {
                LogoutEffect::OtherAlgorithm
            }
            (true, _) => LogoutEffect::Ends,
        }
    }
}

/// How far the `iat` of an ID token may be ahead of a logout token's that was issued after it: some providers date logout
/// tokens back.
const BACKDATED: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::logout_token::tests::target;
    use crate::protocol::{Claims, OriginalIdToken};

    /// What a token means for a session of a1 with the provider's session `s`: its ID token's `iat`, when its login began,
    /// and when that was finished.
    fn effect(token: &LogoutTarget, issued_at: u64, began_at: u64, stored_at: u64) -> LogoutEffect {
        let [began_at, stored_at] = [began_at, stored_at].map(Timestamp::from_secs);
        let session = SessionPayload {
            issuer: "https://op.test".into(),
            subject: "a1".into(),
            sids: vec!["s".to_owned()],
            issued_at,
            began_at,
            stored_at,
            algorithms: vec![Algorithm::from_name("RS256").unwrap()],
            ..SessionPayload::default()
        };
        session.effect_of(token)
    }

    #[test]
    fn a_session_is_what_its_id_token_says() {
        let facts = OriginalIdToken {
            issuer: "https://op.test".into(),
            subject: "a1".into(),
            issued_at: 99,
            auth_time: Some(98),
            ..OriginalIdToken::default()
        };
        let (sid, acr) = (Some("s".to_owned()), Some("gold".to_owned()));
        let id_token = IdToken { facts, algorithm: None, sid, acr, claims: Claims::new(), unreadable: Vec::new() };
        let expected = SessionPayload {
            issuer: "https://op.test".into(),
            subject: "a1".into(),
            sids: vec!["s".to_owned()],
            auth_time: Some(98),
            issued_at: 99,
            began_at: Timestamp::from_secs(990),
            acr: Some("gold".into()),
            ..SessionPayload::default()
        };
        assert_eq!(SessionPayload::of(&id_token, Timestamp::from_secs(990)), expected);
    }

    #[test]
    fn a_session_without_a_noted_algorithm_ends_by_any() {
        let session =
            SessionPayload { issuer: "https://op.test".into(), subject: "a1".into(), ..SessionPayload::default() };
        assert_eq!(session.effect_of(&target(Some("a1"), None)), LogoutEffect::Ends);
    }

    #[test]
    fn a_logout_ends_what_it_names() {
        use LogoutEffect::{Ends, None as Nothing};
        let by = |subject: Option<&str>, sid: Option<&str>| effect(&target(subject, sid), 99, 990, 995);
        assert_eq!(by(Some("a1"), None), Ends);
        assert_eq!(by(Some("b1"), None), Nothing);
        assert_eq!(by(None, Some("s")), Ends);
        assert_eq!(by(None, Some("t")), Nothing);
        assert_eq!(by(Some("a1"), Some("s")), Ends);
        assert_eq!(by(Some("b1"), Some("s")), Nothing, "somebody else's session of that name");
        let other = LogoutTarget { issuer: "https://other.test".into(), ..target(Some("a1"), None) };
        assert_eq!(effect(&other, 99, 990, 995), Nothing);
    }

    #[test]
    fn a_logout_of_a_person_ends_what_began_before_it() {
        use LogoutEffect::{Ends, None as Nothing};
        let person = target(Some("a1"), None);
        for (issued_at, began_at, stored_at, expected) in [
            // It stood when the logout came: five seconds of leeway for the provider's two dates.
            (99, 990, 995, Ends),
            (105, 990, 1000, Ends),
            (106, 990, 1000, Nothing),
            // It was under way.
            (100, 999, 1001, Ends),
            (101, 999, 1001, Nothing),
            // It began later, whatever the provider's clock says.
            (99, 1000, 1001, Nothing),
            (99, 1001, 1002, Nothing),
        ] {
            let got = effect(&person, issued_at, began_at, stored_at);
            assert_eq!(got, expected, "{issued_at}, {began_at} to {stored_at}");
            let named = target(None, Some("s"));
            let later = if began_at < 1000 { Ends } else { Nothing };
            assert_eq!(effect(&named, issued_at, began_at, stored_at), later, "a sid is that session");
        }
    }

    #[test]
    fn the_algorithm_is_that_of_the_sessions_id_tokens() {
        let token = |name: &str| LogoutTarget { algorithm: Algorithm::from_name(name), ..target(None, Some("s")) };
        assert_eq!(effect(&token("RS256"), 99, 990, 995), LogoutEffect::Ends);
        assert_eq!(effect(&token("ES256"), 99, 990, 995), LogoutEffect::OtherAlgorithm);
        let any = LogoutTarget { algorithm: None, ..target(None, Some("s")) };
        assert_eq!(effect(&any, 99, 990, 995), LogoutEffect::Ends, "where one alone is accepted");
    }
}
