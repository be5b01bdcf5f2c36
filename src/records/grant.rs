//! What an owner has granted us: token sets, granted scopes, generation.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::refresh_hold::RefreshHold;
use crate::clock::Timestamp;
use crate::protocol::{LoginOptions, OriginalIdToken, TokenResponse};
use crate::secret::{Secret, packed, packed_option};

/// The connection that a login itself yields.
pub(crate) const LOGIN: &str = "login";

/// Whom a grant belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// The person whom this issuer calls so.
    User { issuer: String, subject: String },
    /// The account that serves the whole application, under the name that the configuration gives it.
    Account { name: String },
    /// A browser in which nobody need be signed in.
    Visitor { id: [u8; 32] },
}

impl Owner {
    /// Unambiguous bytes, for names and seals.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        match self {
            Self::User { issuer, subject } => encode(&[b"user", issuer.as_bytes(), subject.as_bytes()]),
            Self::Account { name } => encode(&[b"account", name.as_bytes()]),
            Self::Visitor { id } => encode(&[b"visitor", id]),
        }
    }

    /// Issuer and subject, where it is a person; for events.
    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        match self {
            Self::User { issuer, subject } => Some((issuer, subject)),
            Self::Account { .. } | Self::Visitor { .. } => None,
        }
    }
}

/// Joins parts so that no two lists of parts give the same bytes.
pub(crate) fn encode(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// What one owner has granted us at one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) owner: Owner,
    /// Issuer and client id of the registration that it was granted to.
    pub(crate) client: [u8; 32],
    pub(crate) connection: String,
    pub(crate) origin: GrantSource,
    /// Grows with every successful refresh. An answer to an older generation changes nothing.
    pub(crate) generation: u64,
    #[serde(with = "packed_option")]
    pub(crate) refresh_token: Option<Secret>,
    /// Of the first ID token that came with the grant: every later one must agree.
    pub(crate) original: Option<OriginalIdToken>,
    /// What was granted, which may be less than was asked for.
    pub(crate) scopes: Vec<String>,
    pub(crate) token_sets: Vec<TokenSet>,
    pub(crate) lease: Option<Lease>,
    pub(crate) status: GrantStatus,
    /// What the person was last sent to the provider for, other than by a login: what they did not grant then
    /// they are not sent for again at once.
    pub(crate) consent: Option<Consent>,
    /// Where the newest consent brought no refresh token: of the one that the consent before it brought.
    pub(crate) earlier: Option<Earlier>,
    /// Until when the provider is not asked again, after it refused the refresh token for an unclear reason.
    pub(crate) hold: Option<RefreshHold>,
    /// A consent made it in the place of another one. Cookies of that one are below the lowest generation that counts, for
    /// as long as a browser could show them.
    pub(crate) replaces: bool,
    /// When the provider last refused the refresh token for good: this one, or the one before the newest consent.
    pub(crate) refused_at: Option<Timestamp>,
}

/// A refresh token that is older than the newest consent: some providers send one with a person's first consent only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Earlier {
    /// The scopes of the refresh token.
    pub(crate) scopes: Vec<String>,
    /// The scopes of the newest consent beyond those. They end with that consent's access token.
    pub(crate) lapsing: Vec<String>,
    /// How many generations consents made since the refresh token came. A refresh that is under way is the same one.
    pub(crate) consents: u64,
    /// Nothing was refreshed since the newest consent: its access token is good, whatever becomes of the refresh token.
    pub(crate) unrefreshed: bool,
    /// The person was asked with `prompt=consent`, and no refresh token came.
    pub(crate) prompted: bool,
}

/// Providers grant `openid` without saying so, and `offline_access` by a refresh token.
fn is_silent(scope: &str) -> bool {
    matches!(scope, "openid" | "offline_access")
}

/// How a grant came about, and with it how it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GrantSource {
    /// Somebody consented at the provider.
    Consent,
    /// The application's own credentials, which renew it at any time (RFC 6749 section 4.4).
    ClientCredentials,
    /// The refresh token in the configuration, by its hash.
    Configured { seed: [u8; 32] },
}

/// What a person was asked for, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Consent {
    pub(crate) at: Timestamp,
    pub(crate) scopes: Vec<String>,
    pub(crate) acr_values: Vec<String>,
    pub(crate) max_age: Option<Duration>,
    /// With `prompt=consent`.
    pub(crate) prompted: bool,
}

/// An access token and where it is good for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenSet {
    /// The resource indicator (RFC 8707) it was issued for; `None` for the provider's default audience.
    pub(crate) indicator: Option<String>,
    /// What this token is good for, where the provider says so of it alone.
    pub(crate) scopes: Option<Vec<String>>,
    #[serde(with = "packed")]
    pub(crate) access_token: Secret,
    pub(crate) issued_at: Timestamp,
    /// `None`: usable until an API says 401.
    pub(crate) expires_at: Option<Timestamp>,
    /// It came in the place of one that an API had refused.
    pub(crate) after_rejection: bool,
}

/// Who refreshes a grant, and until when others leave it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) holder: [u8; 16],
    pub(crate) until: Timestamp,
}

/// Whether a grant can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GrantStatus {
    Active,
    /// The provider refused the refresh token for good.
    Refused,
    /// The same, right after the consent that the refusal before it led to.
    RefusedAgain,
    /// Somebody else appeared in a refresh. Nothing of it is used any more.
    OwnerMismatch,
    /// Its person took it back, or signed out. Noted where browsers could bring it again.
    Revoked,
}

/// How an access token stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// Good, and old enough to be replaced in the background.
    Aging,
    Expired,
}

/// A token is renewed early when this part of its life is left...
const EARLY_FRACTION: u32 = 10;
/// ...but no more than this long before its end.
const EARLY_LIMIT: Duration = Duration::from_secs(60);
/// On the way to an API a token that ends this soon has ended. At most a quarter of a short life.
const TRAVEL: Duration = Duration::from_secs(5);
/// Where an API has refused a token and the one that came for it, there is no third before that is so old. One that has no
/// more than that left may have ended by the clock of the API, or of the process that got it.
const REJECTED_AGAIN: Duration = Duration::from_secs(60);

impl TokenSet {
    pub(crate) fn new(indicator: Option<String>, response: &TokenResponse, now: Timestamp) -> Self {
        Self {
            scopes: response.scopes.clone().filter(|_| indicator.is_some()),
            indicator,
            access_token: response.access_token.clone(),
            issued_at: now,
            expires_at: response.expires_in.map(|life| now.saturating_add(life)),
            after_rejection: false,
        }
    }

    /// Whether an API that refuses it would refuse the next one, too: it refused the one before it a moment ago.
    pub(crate) fn is_rejected_for_good(&self, now: Timestamp) -> bool {
        let young = self.issued_at <= now && now.duration_since(self.issued_at) < REJECTED_AGAIN;
        self.after_rejection && young && self.lives(now.saturating_add(REJECTED_AGAIN))
    }

    /// Whether it serves still, to its last moment.
    pub(crate) fn lives(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it has ended since it came.
    pub(crate) fn has_aged(&self, now: Timestamp) -> bool {
        [self.issued_at, now].map(|at| self.freshness(at, 0) == Freshness::Expired) == [false, true]
    }

    /// `spread`, from 0 to 255, moves the early renewal of different grants apart.
    pub(crate) fn freshness(&self, now: Timestamp, spread: u8) -> Freshness {
        let Some(expires_at) = self.expires_at else { return Freshness::Fresh };
        let life = expires_at.duration_since(self.issued_at);
        let travel = TRAVEL.min(life / 4);
        if now.saturating_add(travel) >= expires_at {
            return Freshness::Expired;
        }
        let early = (life / EARLY_FRACTION).min(EARLY_LIMIT);
        // Between one and two times the early part, less what travel takes anyway.
        let early = travel + early + early * u32::from(spread) / 255;
        if now.saturating_add(early) >= expires_at { Freshness::Aging } else { Freshness::Fresh }
    }
}

impl Consent {
    /// Whether all of this was asked for then.
    pub(crate) fn covers(&self, scopes: &[String], options: &LoginOptions) -> bool {
        let young = |age| self.max_age.is_some_and(|asked| asked <= age);
        scopes.iter().all(|scope| self.scopes.contains(scope))
            && options.acr_values.iter().all(|value| self.acr_values.contains(value))
            && options.max_age.is_none_or(young)
    }
}

impl Grant {
    /// The first generation, without anything granted.
    pub(crate) fn new(owner: Owner, client: [u8; 32], connection: &str, origin: GrantSource) -> Self {
        Self {
            owner,
            client,
            connection: connection.to_owned(),
            origin,
            generation: 1,
            refresh_token: None,
            original: None,
            scopes: Vec::new(),
            token_sets: Vec::new(),
            lease: None,
            status: GrantStatus::Active,
            consent: None,
            earlier: None,
            hold: None,
            replaces: false,
            refused_at: None,
        }
    }

    /// Whether all of these were granted, to the whole grant or to the token of this indicator.
    pub(crate) fn covers_scopes(&self, indicator: Option<&str>, scopes: &[String], now: Timestamp) -> bool {
        let set = self.token_set(indicator);
        let own = set.filter(|set| set.lives(now) || !self.is_wider(set)).and_then(|set| set.scopes.as_ref());
        scopes.iter().all(|scope| self.scopes.contains(scope) || own.is_some_and(|own| own.contains(scope)))
    }

    /// Everything that it was granted, whether it can be renewed or not.
    pub(crate) fn all_scopes(&self) -> impl Iterator<Item = &String> {
        self.scopes.iter().chain(self.earlier.iter().flat_map(|earlier| &earlier.lapsing))
    }

    /// Whether one of these ends with the newest consent's access token.
    pub(crate) fn lapses(&self, scopes: &[String]) -> bool {
        let lapsing = self.earlier.as_ref().map_or(&[][..], |earlier| &earlier.lapsing);
        lapsing.iter().any(|scope| scopes.contains(scope))
    }

    /// Whether this token has more scopes than the refresh token could bring again.
    pub(crate) fn is_wider(&self, set: &TokenSet) -> bool {
        set.scopes.as_ref().is_some_and(|scopes| self.lapses(scopes))
    }

    /// Whether the person is to be asked so that a refresh token comes: once, when what they granted has lapsed.
    pub(crate) fn needs_prompt(&self, scopes: &[String], now: Timestamp) -> bool {
        let prompted = self.earlier.as_ref().is_some_and(|earlier| earlier.prompted);
        let wider = |set: &TokenSet| self.is_wider(set) && set.lives(now);
        !prompted && self.lapses(scopes) && !self.token_sets.iter().any(wider)
    }

    /// Whether the newest consent was asked for with a prompt, or one before it that brought no refresh token either.
    pub(crate) fn was_prompted(&self) -> bool {
        self.consent.as_ref().is_some_and(|consent| consent.prompted)
    }

    /// The scopes that a refresh asks for, where its refresh token has more (RFC 6749 section 6). Empty otherwise.
    pub(crate) fn narrowed(&self) -> Vec<String> {
        let granted = self.earlier.as_ref().map_or(&[][..], |earlier| &earlier.scopes);
        let (kept, dropped): (Vec<_>, Vec<_>) =
            granted.iter().cloned().partition(|scope| is_silent(scope) || self.scopes.contains(scope));
        if dropped.is_empty() { Vec::new() } else { kept }
    }

    /// How often its refresh token was replaced or used: what a refresh compares.
    pub(crate) fn refreshes(&self) -> u64 {
        self.generation - self.earlier.as_ref().map_or(0, |earlier| earlier.consents)
    }

    /// Whether an access token lives of a newer consent than the refresh token.
    pub(crate) fn outlives_refresh_token(&self, now: Timestamp) -> bool {
        self.earlier.as_ref().is_some_and(|earlier| earlier.unrefreshed)
            && self.token_sets.iter().any(|set| set.lives(now))
    }

    /// The grant after a new consent, which replaces `former`, if there is one. Where it brought no refresh token, the one that
    /// lies there stays, if it is the same account's and good, with the lease under which it may be spent at this moment.
    #[must_use]
    pub(crate) fn consented_again(mut self, former: Option<&Self>) -> Self {
        let Some(former) = former else { return self };
        self.generation = former.generation + 1;
        (self.replaces, self.refused_at) = (true, former.refused_at);
        let account =
            |grant: &Self| grant.original.as_ref().map(|original| (original.issuer.clone(), original.subject.clone()));
        let same = self.owner == former.owner
            && self.client == former.client
            && self.connection == former.connection
            && account(&self) == account(former)
            && (former.origin, former.status) == (GrantSource::Consent, GrantStatus::Active);
        if self.refresh_token.is_some() || former.refresh_token.is_none() || !same {
            // Who was asked for a refresh token in vain is not asked again.
            let in_vain = self.refresh_token.is_none() && same && former.was_prompted();
            self.consent.iter_mut().for_each(|consent| consent.prompted |= in_vain);
            return self;
        }
        let before = former.earlier.as_ref();
        let scopes = before.map_or(&former.scopes, |earlier| &earlier.scopes).clone();
        let is_new = |scope: &&String| !scopes.contains(*scope) && !is_silent(scope);
        let lapsing: Vec<_> = self.scopes.iter().filter(is_new).cloned().collect();
        if !lapsing.is_empty() {
            let wider = std::mem::replace(&mut self.scopes, scopes.clone());
            self.token_sets.iter_mut().for_each(|set| set.scopes = Some(wider.clone()));
        }
        self.earlier = Some(Earlier {
            scopes,
            lapsing,
            consents: before.map_or(0, |earlier| earlier.consents) + 1,
            unrefreshed: true,
            prompted: before.is_some_and(|earlier| earlier.prompted) || self.was_prompted(),
        });
        self.refresh_token = former.refresh_token.clone();
        self.lease = former.lease.clone();
        // The ID tokens of its refreshes agree with the first one that came with it.
        self.original = former.original.clone();
        self
    }

    /// Whether a token can still come of it.
    pub(crate) fn can_serve(&self, now: Timestamp) -> bool {
        self.can_renew() || self.token_sets.iter().any(|set| set.lives(now))
    }

    /// Whether the provider can be asked for another token without anybody's doing.
    pub(crate) fn can_renew(&self) -> bool {
        self.refresh_token.is_some() || self.origin == GrantSource::ClientCredentials
    }

    /// Whether the configured refresh token is spent, and another one in its place.
    pub(crate) fn has_left_its_seed(&self) -> bool {
        match (self.origin, &self.refresh_token) {
            (GrantSource::Configured { seed: first }, Some(token)) => seed(token) != first,
            _ => false,
        }
    }

    pub(crate) fn token_set(&self, indicator: Option<&str>) -> Option<&TokenSet> {
        self.token_sets.iter().find(|set| set.indicator.as_deref() == indicator)
    }

    /// The next generation: what a successful refresh makes of this one. `asked` is the grant when its refresh token was
    /// spent: an access token that a consent has brought since then stays. `rejected` is the one that an API refused.
    #[must_use]
    pub(crate) fn refreshed(
        &self, response: &TokenResponse, indicator: Option<&str>, now: Timestamp, asked: &Self,
        rejected: Option<&Secret>,
    ) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        (next.lease, next.hold) = (None, None);
        // RFC 6749 section 6: without a new refresh token the old one stays good. Section 4.4.3: what needed none to
        // begin with gets none.
        if let Some(rotated) = response.refresh_token.as_ref().filter(|_| self.refresh_token.is_some()) {
            next.refresh_token = Some(rotated.clone());
        }
        let [own, before] = [self, asked].map(|grant| grant.token_set(indicator).map(|set| &set.access_token));
        if own.is_some() && own != before {
            return next;
        }
        if let Some(earlier) = &mut next.earlier {
            earlier.unrefreshed = false;
        }
        // A response about one resource says nothing of the scopes of the whole grant.
        if indicator.is_none()
            && let Some(scopes) = &response.scopes
        {
            next.scopes = scopes.clone();
        }
        next.token_sets.retain(|set| set.indicator.as_deref() != indicator);
        let set = TokenSet::new(indicator.map(str::to_owned), response, now);
        next.token_sets.push(TokenSet { after_rejection: rejected.is_some() && rejected == own, ..set });
        next
    }
}

/// What a grant remembers of the refresh token that it began with.
pub(crate) fn seed(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose_secret()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn set(life: Option<u64>) -> TokenSet {
        TokenSet {
            indicator: None,
            scopes: None,
            access_token: "at".into(),
            issued_at: NOW,
            expires_at: life.map(|seconds| NOW.saturating_add(Duration::from_secs(seconds))),
            after_rejection: false,
        }
    }

    #[test]
    fn tokens_age_before_they_expire_by_a_fraction_of_their_life() {
        let after = |set: &TokenSet, seconds: f64, spread| {
            set.freshness(NOW.saturating_add(Duration::from_secs_f64(seconds)), spread)
        };
        let minute = set(Some(60));
        assert_eq!(after(&minute, 48.0, 0), Freshness::Fresh);
        assert_eq!(after(&minute, 49.0, 0), Freshness::Aging);
        assert_eq!(after(&minute, 43.0, 255), Freshness::Aging);
        assert_eq!(after(&minute, 55.0, 0), Freshness::Expired);
        let two_seconds = set(Some(2));
        assert_eq!(after(&two_seconds, 1.0, 0), Freshness::Fresh);
        assert_eq!(after(&two_seconds, 1.5, 0), Freshness::Expired);
        let day = set(Some(86_400));
        assert_eq!(after(&day, 86_400.0 - 130.0, 255), Freshness::Fresh, "never more than two minutes early");
        assert_eq!(after(&set(None), 1e9, 255), Freshness::Fresh);
        assert_eq!(after(&set(Some(0)), 0.0, 0), Freshness::Expired);
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// What a consent brought, by its tokens and scopes.
    fn consented(refresh_token: Option<&str>, access_token: &str, scopes: &[&str]) -> Grant {
        let original = |auth_time| OriginalIdToken {
            issuer: "https://op.test".into(),
            subject: "a1".into(),
            issued_at: 0,
            auth_time: Some(auth_time),
            authorized_party: None,
            nonce: None,
        };
        Grant {
            owner: Owner::Account { name: "default".into() },
            client: [1; 32],
            connection: LOGIN.into(),
            origin: GrantSource::Consent,
            generation: 1,
            refresh_token: refresh_token.map(Secret::from),
            original: Some(original(if refresh_token.is_some() { 1 } else { 2 })),
            scopes: texts(scopes),
            token_sets: vec![TokenSet { access_token: access_token.into(), ..set(Some(60)) }],
            lease: None,
            status: GrantStatus::Active,
            consent: None,
            earlier: None,
            hold: None,
            replaces: false,
            refused_at: None,
        }
    }

    fn response(access_token: &str, refresh_token: Option<&str>) -> TokenResponse {
        TokenResponse {
            access_token: access_token.into(),
            refresh_token: refresh_token.map(Secret::from),
            expires_in: Some(Duration::from_secs(60)),
            id_token: None,
            scopes: None,
        }
    }

    #[test]
    fn a_consent_without_a_refresh_token_keeps_the_one_that_is_there() {
        let lease = Lease { holder: [9; 16], until: NOW };
        let first = Grant { lease: Some(lease), generation: 7, ..consented(Some("rt"), "at1", &["a"]) };
        let kept = consented(None, "at2", &["a"]).consented_again(Some(&first));
        assert_eq!(
            (&kept.refresh_token, &kept.lease, &kept.original),
            (&first.refresh_token, &first.lease, &first.original)
        );
        assert_eq!((kept.generation, kept.refreshes()), (8, first.refreshes()), "it is no refresh");
        assert_eq!(kept.token_sets[0].access_token, "at2".into());
        let again = consented(None, "at3", &["a"]).consented_again(Some(&kept));
        assert_eq!((again.generation, again.refreshes(), &again.refresh_token), (9, 7, &first.refresh_token));
        let newer = consented(Some("rt2"), "at4", &["a"]).consented_again(Some(&again));
        assert_eq!((newer.generation, newer.refreshes(), newer.earlier), (10, 10, None), "a new one counts");
        assert_eq!((newer.refresh_token, newer.lease), (Some("rt2".into()), None));
    }

    #[test]
    fn nothing_is_kept_of_another_grant() {
        type Edit = fn(&mut Grant);
        let others: [Edit; 9] = [
            |grant| grant.owner = Owner::Account { name: "another".into() },
            |grant| grant.client = [2; 32],
            |grant| grant.connection = "mail".into(),
            |grant| grant.original.as_mut().unwrap().subject = "b1".into(),
            |grant| grant.original.as_mut().unwrap().issuer = "https://op2.test".into(),
            |grant| grant.original = None,
            |grant| grant.origin = GrantSource::Configured { seed: [3; 32] },
            |grant| grant.status = GrantStatus::Refused,
            |grant| grant.refresh_token = None,
        ];
        for (index, edit) in others.iter().enumerate() {
            let mut former = Grant { generation: 7, ..consented(Some("rt"), "at1", &["a"]) };
            edit(&mut former);
            let next = consented(None, "at2", &["a"]).consented_again(Some(&former));
            assert_eq!((next.refresh_token, next.lease, next.earlier), (None, None, None), "{index}");
            assert_eq!(next.generation, 8, "{index}: a refresh that is under way finds a newer generation");
        }
    }

    #[test]
    fn scopes_beyond_the_refresh_token_lapse() {
        let first = consented(Some("rt"), "at1", &["a", "b"]);
        let lapsing = |grant: &Grant| grant.earlier.as_ref().map(|earlier| earlier.lapsing.clone());
        let wider = consented(None, "at2", &["openid", "a", "c"]).consented_again(Some(&first));
        assert_eq!(lapsing(&wider), Some(texts(&["c"])), "providers need not name openid");
        let covers =
            |seconds| wider.covers_scopes(None, &texts(&["c"]), NOW.saturating_add(Duration::from_secs(seconds)));
        assert_eq!([covers(59), covers(60)], [true, false], "with its access token");
        // A consent to less takes nothing from the refresh token.
        let less = consented(None, "at2", &["a"]).consented_again(Some(&first));
        let same = consented(None, "at3", &["a", "b"]).consented_again(Some(&less));
        assert_eq!(lapsing(&same), Some(Vec::new()));
    }

    /// A token for one resource has scopes of its own, which count as long as a refresh would bring them again.
    #[test]
    fn the_scopes_of_a_resource_count_for_that_resource() {
        let own = |scopes: &[&str]| TokenSet {
            indicator: Some("api".to_owned()),
            scopes: Some(texts(scopes)),
            ..set(Some(60))
        };
        let ends = NOW.saturating_add(Duration::from_secs(60));
        let mut grant = consented(Some("rt"), "at1", &["a"]);
        grant.token_sets.push(own(&["x"]));
        let covers = |indicator, scope: &str, now| grant.covers_scopes(indicator, &texts(&[scope]), now);
        assert_eq!(["a", "x", "y"].map(|scope| covers(Some("api"), scope, NOW)), [true, true, false]);
        assert_eq!(["a", "x"].map(|scope| covers(None, scope, NOW)), [true, false]);
        assert!(covers(Some("api"), "x", ends), "the next token has them, too");
    }

    /// Every other response names the scopes of the whole grant.
    #[test]
    fn a_response_names_the_scopes_of_its_resource_alone() {
        let response = TokenResponse { scopes: Some(texts(&["x"])), ..response("at", None) };
        assert_eq!(TokenSet::new(None, &response, NOW).scopes, None);
        assert_eq!(TokenSet::new(Some("api".to_owned()), &response, NOW).scopes, Some(texts(&["x"])));
    }

    #[test]
    fn a_consent_covers_what_was_asked_for_then() {
        let asked = |max_age: Option<u64>| Consent {
            at: NOW,
            scopes: texts(&["a", "b"]),
            acr_values: texts(&["gold"]),
            max_age: max_age.map(Duration::from_secs),
            prompted: false,
        };
        let of_age = |seconds| LoginOptions::new().max_age(Duration::from_secs(seconds));
        for (scopes, options, covered) in [
            (&["a", "b"][..], LoginOptions::new(), true),
            (&["a", "c"], LoginOptions::new(), false),
            (&[], LoginOptions::new().acr_values(["gold"]), true),
            (&[], LoginOptions::new().acr_values(["gold", "silver"]), false),
            (&[], of_age(60), true),
            (&[], of_age(59), false),
        ] {
            assert_eq!(asked(Some(60)).covers(&texts(scopes), &options), covered, "{scopes:?} {options:?}");
        }
        assert!(!asked(None).covers(&[], &of_age(60)), "no age was asked for");
    }

    /// Browsers may still show the grant that is replaced. When the provider last refused a refresh token is remembered.
    #[test]
    fn a_consent_replaces_what_lies_there() {
        let first = consented(Some("rt"), "at1", &["a"]);
        assert!(!first.replaces);
        let former = Grant { refused_at: Some(NOW), ..first };
        for refresh_token in [None, Some("rt2")] {
            let next = consented(refresh_token, "at2", &["a"]).consented_again(Some(&former));
            assert_eq!((next.replaces, next.refused_at), (true, Some(NOW)), "{refresh_token:?}");
        }
    }

    #[test]
    fn a_refresh_token_that_is_refused_within_ten_minutes_is_refused_again() {
        let after = |seconds| NOW.saturating_add(Duration::from_secs(seconds));
        let grant = consented(Some("rt"), "at1", &["a"]);
        let first = grant.refused(NOW);
        assert_eq!((first.status, first.refused_at), (GrantStatus::Refused, Some(NOW)));
        assert_eq!((first.token_sets.len(), &first.refresh_token), (0, &None), "no token is kept");
        let next = Grant { refused_at: first.refused_at, ..grant };
        assert_eq!(
            [599, 600].map(|seconds| next.refused(after(seconds)).status),
            [GrantStatus::RefusedAgain, GrantStatus::Refused]
        );
        let again = next.refused(after(60));
        assert_eq!([60, 659, 660].map(|seconds| again.is_refused_again(after(seconds))), [true, true, false]);
        assert!(!first.is_refused_again(NOW));
    }

    /// A refresh was under way when a consent came.
    #[test]
    fn a_refresh_keeps_the_access_token_of_a_newer_consent() {
        let first = consented(Some("rt"), "at1", &["a"]);
        let kept = consented(None, "at2", &["a"]).consented_again(Some(&first));
        let next = kept.refreshed(&response("at3", Some("rt2")), None, NOW, &first, None);
        assert_eq!(next.token_sets[0].access_token, "at2".into());
        assert_eq!((next.refresh_token.clone(), next.refreshes()), (Some("rt2".into()), 2));
        assert!(next.outlives_refresh_token(NOW), "it is not the refresh token's");
        // What was asked for after the consent replaces it.
        let next = kept.refreshed(&response("at3", None), None, NOW, &kept, None);
        assert_eq!(next.token_sets[0].access_token, "at3".into());
        assert!(!next.outlives_refresh_token(NOW), "it is the refresh token's");
        // So does one where the consent brought none: another resource's.
        let indicator = Some("api".to_owned());
        let asked = Grant {
            token_sets: vec![TokenSet { indicator, access_token: "at0".into(), ..set(Some(60)) }],
            ..first.clone()
        };
        let next = kept.refreshed(&response("at3", None), Some("api"), NOW, &asked, None);
        assert_eq!(next.token_set(Some("api")).map(|set| set.access_token.clone()), Some("at3".into()));
    }

    #[test]
    fn a_refresh_token_that_is_refused_leaves_a_newer_access_token() {
        let first = consented(Some("rt"), "at1", &["a"]);
        assert!(!first.outlives_refresh_token(NOW));
        let kept = consented(None, "at2", &["a"]).consented_again(Some(&first));
        let ends = NOW.saturating_add(Duration::from_secs(60));
        assert_eq!([NOW, ends].map(|now| kept.outlives_refresh_token(now)), [true, false]);
        let lease = Some(Lease { holder: [9; 16], until: ends });
        let stripped = Grant { lease, ..kept.clone() }.without_refresh_token();
        assert_eq!((stripped.refresh_token, stripped.lease), (None, None));
        assert_eq!(stripped.generation, kept.generation + 1);
    }

    #[test]
    fn a_refresh_asks_for_fewer_scopes_where_fewer_were_granted() {
        let first = consented(Some("rt"), "at1", &["openid", "a", "b"]);
        let narrowed = |scopes: &[&str]| consented(None, "at2", scopes).consented_again(Some(&first)).narrowed();
        assert_eq!(first.narrowed(), texts(&[]));
        assert_eq!(narrowed(&["openid", "a", "b"]), texts(&[]), "everything is asked for by asking for nothing");
        assert_eq!(narrowed(&["a"]), texts(&["openid", "a"]), "providers need not name openid");
        assert_eq!(narrowed(&["a", "b", "c"]), texts(&[]));
    }

    #[test]
    fn the_person_is_prompted_once_when_what_they_granted_has_lapsed() {
        let c = texts(&["c"]);
        let ends = NOW.saturating_add(Duration::from_secs(60));
        let first = consented(Some("rt"), "at1", &["a"]);
        let wider = consented(None, "at2", &["a", "c"]).consented_again(Some(&first));
        assert_eq!([NOW, ends].map(|now| wider.needs_prompt(&c, now)), [false, true]);
        assert!(!wider.needs_prompt(&texts(&["a"]), ends) && !first.needs_prompt(&c, ends));
        let prompted = |prompted| {
            let consent = Consent { at: NOW, scopes: c.clone(), acr_values: vec![], max_age: None, prompted };
            Grant { consent: Some(consent), ..consented(None, "at3", &["a", "c"]) }
        };
        let again = prompted(false).consented_again(Some(&wider));
        assert!(again.needs_prompt(&c, ends), "nobody was prompted");
        let asked = prompted(true).consented_again(Some(&again));
        assert!(!asked.needs_prompt(&c, ends));
        assert!(!prompted(false).consented_again(Some(&asked)).needs_prompt(&c, ends), "it is remembered");
    }

    #[test]
    fn a_prompt_is_in_vain_where_it_brought_no_refresh_token() {
        let asked = |prompted, refresh_token| {
            let consent = Consent { at: NOW, scopes: vec![], acr_values: vec![], max_age: None, prompted };
            Grant { consent: Some(consent), ..consented(refresh_token, "at", &["a"]) }
        };
        let in_vain = Grant { original: asked(false, None).original, ..asked(true, None) };
        assert!(asked(false, None).consented_again(Some(&in_vain)).was_prompted(), "it is remembered");
        assert!(!asked(false, None).consented_again(Some(&asked(false, None))).was_prompted(), "nobody was prompted");
        let original = in_vain.original.clone();
        let brought = Grant { original, ..asked(false, Some("rt")) };
        assert!(!brought.consented_again(Some(&in_vain)).was_prompted(), "a refresh token came");
        let another = Grant { connection: "mail".into(), ..in_vain };
        assert!(!asked(false, None).consented_again(Some(&another)).was_prompted(), "another grant's");
    }

    #[test]
    fn owners_are_encoded_without_ambiguity() {
        let user =
            |issuer: &str, subject: &str| Owner::User { issuer: issuer.into(), subject: subject.into() }.encoded();
        assert_ne!(user("https://op.test/a", "b"), user("https://op.test/", "ab"));
        assert_eq!(user("i", "s"), user("i", "s"));
    }

    /// At its root: whatever a provider or an author calls somebody, one kind of owner is never another.
    #[test]
    fn no_kind_of_owner_is_another() {
        let names = ["", "user", "account", "visitor", "default", "s", "\u{1}\0\0\0\0\0\0\0s"];
        let mut owners: Vec<Owner> = Vec::new();
        for name in names {
            owners.push(Owner::Account { name: name.into() });
            let mut id = [0; 32];
            id[..name.len()].copy_from_slice(name.as_bytes());
            owners.push(Owner::Visitor { id });
            for subject in names {
                owners.push(Owner::User { issuer: name.into(), subject: subject.into() });
            }
        }
        owners.dedup();
        for (index, owner) in owners.iter().enumerate() {
            let same = owners.iter().filter(|other| other.encoded() == owner.encoded());
            assert!(same.count() == 1, "{owner:?}");
            let sealed = postcard::to_allocvec(owner).unwrap();
            let position = owners.iter().position(|other| postcard::to_allocvec(other).unwrap() == sealed);
            assert_eq!(position, Some(index), "{owner:?}");
            assert_eq!(postcard::from_bytes::<Owner>(&sealed).unwrap(), *owner);
        }
    }

    /// Only what came for a token that was refused, while it is young and would be good.
    #[test]
    fn an_api_that_refuses_two_tokens_within_a_minute_would_refuse_a_third() {
        let response = |token: &str, life| TokenResponse {
            access_token: token.into(),
            expires_in: Some(Duration::from_secs(life)),
            ..response(token, None)
        };
        let client = [0; 32];
        let owner = Owner::Account { name: "a".to_owned() };
        let grant = Grant {
            token_sets: vec![TokenSet { access_token: "at0".into(), ..set(Some(3600)) }],
            ..Grant::new(owner, client, LOGIN, GrantSource::ClientCredentials)
        };
        for (rejected, life, after, expected) in [
            (Some("at0"), 3600, 0, true),
            (Some("at0"), 3600, 59, true),
            (Some("at0"), 3600, 60, false),
            (Some("at0"), 90, 29, true),
            // It has ended on the way to the API, or by another clock.
            (Some("at0"), 90, 30, false),
            (Some("at0"), 10, 0, false),
            (Some("another"), 3600, 0, false),
            (None, 3600, 0, false),
        ] {
            let rejected: Option<Secret> = rejected.map(Into::into);
            let next = grant.refreshed(&response("at1", life), None, NOW, &grant, rejected.as_ref());
            let now = NOW.saturating_add(Duration::from_secs(after));
            let set = next.token_set(None).unwrap();
            assert_eq!(set.is_rejected_for_good(now), expected, "{rejected:?} {life} {after}");
        }
        let rejected = "at0".into();
        let next = grant.refreshed(&response("at1", 3600), None, NOW, &grant, Some(&rejected));
        let before = Timestamp::from_millis(NOW.as_millis() - 1);
        assert!(!next.token_sets[0].is_rejected_for_good(before), "the clock was put back");
        let first = Grant { token_sets: Vec::new(), ..grant };
        let next = first.refreshed(&response("at1", 3600), None, NOW, &first, None);
        assert!(!next.token_sets[0].is_rejected_for_good(NOW), "there was none before it");
    }
}
