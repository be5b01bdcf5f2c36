//! Where a grant lies: its row in the store, and its cookies where the browser keeps it.

use std::sync::OnceLock;

use crate::clock::{ClockReading, Timestamp};
use crate::config::{
    AccountSource, CheckedConnection, CheckedConnections, GrantLifetime, Mode, Resources, SharedAccount,
};
use crate::protocol::OriginalIdToken;
use crate::provider::{Provider, ProviderId};
use crate::records::grant::{encode, seed};
use crate::records::{
    BlindIndexKey, Found, Grant, GrantKey, GrantSource, GrantStatus, LOGIN, Loaded, NewestGeneration, Observed,
    ObservedAt, Owner, Purpose, RecordKey, Slot,
};
use crate::secret::derefs;
use crate::sessions::{Session, SessionId, SessionPayload, Visitor};
use crate::state::Runtime;
use crate::stateless::grant_cookie::{GrantCookie, Unreadable};
use crate::stateless::{CookieJar, TooLarge};
use crate::store::{Key, StoreError, Version};
use crate::tokens::Arc;

/// Whom the tokens of one request belong to.
#[derive(Clone)]
pub(crate) enum Principal {
    /// The person of this session, as long as it lasts.
    Session(Arc<Session>),
    /// The account of this name, whoever asks.
    Account(Arc<str>),
    /// A browser in which nobody is signed in.
    Visitor(Visitor),
    /// Somebody who need not be there: work in the background asks, and no request.
    Offline { issuer: Arc<str>, subject: Arc<str> },
}

impl Principal {
    /// The account, where all requests use its tokens.
    pub(crate) fn shared(mode: &Mode) -> Option<Self> {
        mode.account().map(|account| Self::Account(Arc::clone(&account.name)))
    }

    /// For whom the person of a session grants connections and takes them back.
    pub(crate) fn granted_by(session: &Arc<Session>, mode: &Mode) -> Self {
        Self::shared(mode).unwrap_or_else(|| Self::Session(Arc::clone(session)))
    }

    /// The account whose tokens these are, if they are no person's.
    pub(crate) fn account<'a>(&self, runtime: &'a Runtime) -> Option<&'a SharedAccount> {
        if let Self::Account(_) = self { runtime.mode.account() } else { None }
    }

    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Session(session) => session.owner(),
            Self::Account(name) => Owner::Account { name: name.to_string() },
            Self::Visitor(visitor) => visitor.owner(),
            Self::Offline { issuer, subject } => {
                Owner::User { issuer: issuer.to_string(), subject: subject.to_string() }
            }
        }
    }

    /// The provider that vouches for them, at which they have what comes without a connection; `None` when people do not
    /// sign in there any more.
    pub(crate) fn provider<'a>(&self, runtime: &'a Runtime) -> Option<&'a Arc<Provider>> {
        match self {
            Self::Session(session) => runtime.signed_in_at(session),
            Self::Account(_) | Self::Visitor(_) => Some(runtime.providers.get(ProviderId::FIRST)),
            Self::Offline { issuer, .. } => runtime.providers.of_issuer(issuer),
        }
    }

    /// The session with which what is kept for it ends, and which must still last.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        if let Self::Session(session) = self { Some(session) } else { None }
    }

    /// Whether this may be granted to them at all.
    pub(crate) fn may_have(&self, connection: &CheckedConnection) -> bool {
        !matches!(self, Self::Visitor(_)) || connection.visitors
    }

    /// Whether it is a person, and no browser of theirs.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Offline { .. })
    }
}

/// Whether what a provider says is about another account there than this person's. Where they did not sign in, they link
/// whichever account they have.
pub(crate) fn is_another(person: Option<(&str, &str)>, provider: &Provider, facts: &OriginalIdToken) -> bool {
    let differs = |person: (&str, &str)| person != (&facts.issuer, &facts.subject);
    person.is_some_and(|person| provider.relying_party.issuer.covers(person.0) && differs(person))
}

/// Where one grant lies for one request.
#[derive(Clone)]
pub(crate) struct GrantRef {
    pub(crate) runtime: Arc<Runtime>,
    grant_key: Arc<GrantKey>,
    /// Where browsers carry their grants: the row is where processes meet.
    cookie: Option<GrantCookie>,
}

derefs!(GrantRef => grant_key: GrantKey);

impl GrantRef {
    /// The provider of the grant: where it came from, and where it is refreshed and revoked.
    pub(crate) fn provider(&self) -> &Arc<Provider> {
        self.runtime.providers.get(self.grant_key.provider)
    }

    pub(crate) fn registered(&self) -> Option<&CheckedConnection> {
        self.runtime.settings.connections(self.grant_key.provider).named(&self.connection)
    }

    /// The grant that the account has by its configuration.
    pub(crate) fn beginning(&self) -> Option<Grant> {
        let beginning = self.runtime.mode.account()?.beginning(self.registered()?, self.client);
        beginning.filter(|grant| self.holds(grant))
    }

    /// What the browser has shown, where it carries the grant.
    pub(crate) fn shown(&self, now: Timestamp) -> Result<Option<Arc<Grant>>, Unreadable> {
        self.cookie.as_ref().map_or(Ok(None), |cookie| cookie.grant(now))
    }

    /// The claims that the browser shows beside it.
    pub(crate) fn shown_claims(&self) -> Option<String> {
        self.cookie.as_ref()?.claims()
    }

    /// The session that the browser carries, with which the grant ends.
    pub(crate) fn shown_session(&self) -> Option<&Arc<Session>> {
        self.cookie.as_ref()?.session()
    }

    /// The grant that counts: the row's, or the newer of that and the one that the browser has shown.
    pub(super) fn counting(
        &self, shown: Option<Arc<Grant>>, loaded: Loaded<Grant>, asked: ObservedAt,
    ) -> Result<Option<StoredGrant>, StoreError> {
        match (&self.cookie, loaded) {
            (Some(cookie), loaded) => self.newer((cookie, shown), loaded, asked),
            (None, Loaded::Unreadable) => Err(unreadable()),
            (None, Loaded::Absent(_)) => Ok(None),
            (None, Loaded::Found(found)) => {
                let Found { value, version, expires_at, .. } = *found;
                let (grant, limit) = (Arc::new(value), self.runtime.settings.max_staleness);
                self.runtime.records.listen();
                let read = Observed { value: Arc::clone(&grant), asked, limit, until: expires_at };
                self.runtime.known_grants.put(self.row.key, read);
                Ok(Some(StoredGrant { grant, version: Some(version), expires_at }))
            }
        }
    }

    /// The grant as it is known here without asking the store.
    pub(super) fn known(&self, reading: ClockReading) -> Option<Arc<Grant>> {
        let changes = &*self.runtime.records.invalidations;
        let Some(cookie) = &self.cookie else { return self.runtime.known_grants.get(self.row.key, changes, reading) };
        let newest = self.newest.generation(Slot::of(self.row.key), changes, reading)?;
        cookie.recalled(reading.wall).filter(|grant| grant.generation >= newest)
    }

    /// Takes a grant away from where it is kept and returns it; where a browser could bring it again, a note stays that
    /// it counts no more. The second says whether there was anything.
    pub(crate) async fn take(&self) -> Result<(Option<Grant>, bool), StoreError> {
        if self.cookie.is_none() {
            let (found, deleted) = self.runtime.records.take(&self.row).await?;
            return Ok((found.map(|found| found.value), deleted));
        }
        loop {
            let (newest, version) = self.newest().await?;
            let Some(newest) = newest.filter(|grant| grant.status != GrantStatus::Revoked) else {
                return Ok((None, false));
            };
            if self.take_found(&newest, version).await? {
                return Ok((Some(Grant::clone(&newest)), true));
            }
        }
    }

    /// Takes away what was found at this version; false where somebody was faster.
    pub(crate) async fn take_found(&self, found: &Grant, version: Option<Version>) -> Result<bool, StoreError> {
        let records = &self.runtime.records;
        let Some(cookie) = &self.cookie else { return records.delete(self.row.key, version).await };
        let note = found.tombstone(GrantStatus::Revoked);
        let noted = records.swap(&self.row, version, &note, cookie.until(), Vec::new()).await?.is_some();
        if noted {
            cookie.note(&Arc::new(note));
        }
        Ok(noted)
    }

    /// Whether the browser that a grant is for can carry it, where another one goes.
    pub(crate) fn fits(&self, grant: &Grant, replaced: Option<&Self>) -> Result<(), TooLarge> {
        let replaced = replaced.and_then(|replaced| replaced.cookie.as_ref());
        self.cookie.as_ref().map_or(Ok(()), |cookie| cookie.fits(grant, replaced))
    }

    /// Whether what is refreshed lasts only where an answer brings it to its browser: the next process knows nothing of what
    /// this one remembers.
    pub(super) fn is_kept_by_the_browser_alone(&self) -> bool {
        self.cookie.is_some() && !self.runtime.records.is_durable()
    }

    /// Where the browser carries the grant: it carries this one from now on.
    pub(crate) fn carry(&self, grant: &Arc<Grant>) {
        self.cookie.iter().for_each(|cookie| cookie.note(grant));
    }

    /// The same, if it is newer than the one before.
    pub(crate) fn note(&self, before: &Grant, grant: &Arc<Grant>) {
        if grant.generation > before.generation {
            self.carry(grant);
        }
    }
}

/// A grant as it is held.
pub(crate) struct StoredGrant {
    pub(crate) grant: Arc<Grant>,
    /// Of its row; `None` where only the browser has it.
    pub(crate) version: Option<Version>,
    pub(crate) expires_at: Timestamp,
}

pub(super) fn unreadable() -> StoreError {
    StoreError::refused("the grant is sealed with a secret that is not configured")
}

/// A session's row, and that of the session after which its grants are named.
#[derive(Clone, Copy)]
pub(crate) struct SessionRows {
    pub(crate) row: Key,
    pub(crate) home: Key,
}

impl Runtime {
    /// Whether a request acts with somebody's tokens: with those of its cookies' owner, or with those of the account, which
    /// serves requests without any cookie, too.
    pub(crate) fn acts_for_an_owner(&self, shows_owner: bool) -> bool {
        shows_owner || self.mode.account().is_some()
    }

    /// Where an owner's grant at a connection lies: with the session, by the name of its row, or with the owner alone.
    pub(crate) async fn grant_place(
        self: &Arc<Self>, owner: Owner, connection: &CheckedConnection, session: Option<SessionRows>,
    ) -> Result<GrantRef, StoreError> {
        let grant_key = self.grant_key(&self.records.index().await?, owner, connection, session);
        Ok(GrantRef { runtime: Arc::clone(self), grant_key: Arc::new(grant_key), cookie: None })
    }

    /// The name of a session's row.
    pub(crate) fn session_row(&self, session: SessionId) -> Key {
        session.row(&self.records.keys).key
    }

    /// The rows of a session.
    pub(crate) fn session_rows(&self, id: SessionId, identity: &SessionPayload) -> SessionRows {
        SessionRows { row: self.session_row(id), home: self.session_row(identity.home_of(id)) }
    }

    fn grant_key(
        &self, index: &BlindIndexKey, owner: Owner, connection: &CheckedConnection, session: Option<SessionRows>,
    ) -> GrantKey {
        let session = session.filter(|_| connection.grant_lifetime == GrantLifetime::Session);
        let home = session.as_ref().map_or(&[][..], |rows| &rows.home.0);
        // What one provider has granted to one client is nothing at another, whatever the connection is called.
        let relying_party = &self.providers.get(connection.provider).relying_party;
        let encoded = encode(&[&owner.encoded(), &relying_party.client]);
        // Processes with another configuration of the account keep to a row of their own.
        let resources = &self.settings.connections(connection.provider).resources;
        let variant = |account: &SharedAccount| account.variant(|| asked(connection, resources));
        let account = match &owner {
            Owner::Account { .. } => self.mode.account().map(variant).unwrap_or_default(),
            Owner::User { .. } | Owner::Visitor { .. } => Vec::new(),
        };
        let key = Key(index.hash(&[b"grant", &encoded, connection.name.as_bytes(), home, &account]));
        GrantKey {
            row: RecordKey { purpose: Purpose::Grant, key, owner: encoded },
            owner,
            client: relying_party.client,
            provider: connection.provider,
            connection: connection.name.clone(),
            session: session.filter(|_| connection.name == LOGIN).map(|rows| rows.row),
            cookies: OnceLock::new(),
            newest: NewestGeneration::default(),
        }
    }

    /// Where a holder's grant at a connection lies. `jar` is what their browser brought along.
    pub(crate) async fn place_of(
        self: &Arc<Self>, principal: &Principal, connection: &CheckedConnection, jar: &CookieJar,
    ) -> Result<GrantRef, StoreError> {
        let session = principal.session();
        // What confirmed the session has looked whether it is the store's.
        let known = session.and_then(|_| self.records.known_index());
        let index = match known {
            Some(index) => index,
            None => self.records.index().await?,
        };
        let rows = || session.map(|session| self.session_rows(session.id, session));
        let make = || self.grant_key(&index, principal.owner(), connection, rows());
        let grant_key = match principal {
            Principal::Session(session) => session.grant_keys.get(&index, &connection.name, make),
            Principal::Account(_) => self.account_grant_keys.get(&index, &connection.name, make),
            Principal::Visitor(_) | Principal::Offline { .. } => Arc::new(make()),
        };
        let until = match principal {
            Principal::Session(session) => Some(session.ends_at),
            Principal::Visitor(_) => Some(self.now().saturating_add(self.settings.visitor_lifetime)),
            Principal::Account(_) | Principal::Offline { .. } => None,
        };
        let carried = jar.contents().zip(until);
        let cookie = carried.map(|(jar, until)| GrantCookie::new(jar, &grant_key, session, until));
        Ok(GrantRef { runtime: Arc::clone(self), grant_key, cookie })
    }

    /// The connection of this name, where a holder may be granted it.
    pub(crate) fn connection_of(&self, principal: &Principal, name: &str) -> Option<&CheckedConnection> {
        self.connections_of(principal)?.named(name)
    }

    /// What a holder may be granted.
    pub(crate) fn connections_of(&self, principal: &Principal) -> Option<&CheckedConnections> {
        Some(self.settings.connections(principal.provider(self)?.relying_party.id))
    }
}

impl SharedAccount {
    /// What its grants come from, in bytes for the names of their rows: a grant that came from elsewhere lies in another
    /// row. `asked` says what a connection's tokens are asked with.
    fn variant(&self, asked: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        match &self.source {
            AccountSource::Admin => encode(&[b"consent"]),
            // Nothing but the configuration says what these are good for, and new ones are there for the asking.
            AccountSource::ClientCredentials => encode(&[b"client credentials", &asked()]),
            AccountSource::RefreshToken(token) => encode(&[b"configured", &seed(token)]),
        }
    }

    /// What the account has without anybody's doing.
    fn beginning(&self, connection: &CheckedConnection, client: [u8; 32]) -> Option<Grant> {
        let (refresh_token, origin) = match &self.source {
            AccountSource::ClientCredentials => (None, GrantSource::ClientCredentials),
            AccountSource::RefreshToken(token) => (Some(token.clone()), GrantSource::Configured { seed: seed(token) }),
            AccountSource::Admin => return None,
        };
        let owner = Owner::Account { name: self.name.to_string() };
        // As configured, until the provider says what it is.
        let scopes = connection.scopes.clone();
        Some(Grant { refresh_token, scopes, ..Grant::new(owner, client, &connection.name, origin) })
    }
}

/// What a connection's tokens are asked with, in whatever order that is configured.
fn asked(connection: &CheckedConnection, resources: &Resources) -> Vec<u8> {
    let set = |mut parts: Vec<&[u8]>| {
        parts.sort_unstable();
        parts.dedup();
        encode(&parts)
    };
    let scopes = |scopes: &[String]| set(scopes.iter().map(String::as_bytes).collect());
    let own = resources.of(&connection.name).filter_map(|source| {
        let indicator = source.indicator.as_ref()?;
        Some(encode(&[indicator.as_bytes(), &scopes(&source.scopes)]))
    });
    let own = own.collect::<Vec<_>>();
    encode(&[&scopes(&connection.scopes), &set(own.iter().map(Vec::as_slice).collect())])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grant lies in a row of the account that it came from: another source, another configured token, and what is asked
    /// for otherwise by the application's own credentials, begin anew.
    #[test]
    fn a_grant_of_another_origin_is_not_this_accounts() {
        let accounts = [
            SharedAccount::client_credentials(),
            SharedAccount::refresh_token("one"),
            SharedAccount::refresh_token("two"),
            SharedAccount::connected_by_admin(),
        ];
        for (at, account) in accounts.iter().enumerate() {
            for (other_at, other) in accounts.iter().enumerate() {
                let [own, others] = [account, other].map(|account| account.variant(|| vec![1]));
                assert_eq!(own == others, at == other_at, "{account:?} {other:?}");
            }
            let asked_otherwise = account.variant(|| vec![2]);
            assert_eq!(asked_otherwise != account.variant(|| vec![1]), at == 0, "{account:?}");
        }
    }
}
