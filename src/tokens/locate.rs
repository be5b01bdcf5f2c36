//! Where a grant lies: its row in the store, and its cookies where the browser keeps it.

use std::ops::Deref;
use std::sync::OnceLock;

use super::principal::Holder;
use crate::config::connection::GrantLifetime;
use crate::config::connections::{Connections, Registered};
use crate::config::shared_account::SharedAccount;
use crate::provider::Provider;
use crate::records::grant::{Grant, LOGIN, Owner, encode};
use crate::records::grant_key::{Newest, Spot};
use crate::records::seal::Purpose;
use crate::records::{IndexKey, Row};
use crate::sessions::session_id::SessionId;
use crate::state::Runtime;
use crate::stateless::Carried;
use crate::stateless::grant_cookie::CarriedPlace;
use crate::store::{Key, StoreError};
use crate::tokens::Arc;

/// Where one grant lies for one request.
#[derive(Clone, Debug)]
pub(crate) struct GrantPlace {
    spot: Arc<Spot>,
    /// Where browsers carry their grants: the row is where processes meet.
    pub(crate) carried: Option<CarriedPlace>,
}

impl Deref for GrantPlace {
    type Target = Spot;

    fn deref(&self) -> &Spot {
        &self.spot
    }
}

impl GrantPlace {
    pub(crate) fn new(spot: Arc<Spot>, carried: Option<CarriedPlace>) -> Self {
        Self { spot, carried }
    }

    /// Where the browser carries the grant: it carries this one from now on, if it is newer than the one before.
    pub(crate) fn note(&self, before: &Grant, grant: &Arc<Grant>) {
        if let Some(carried) = self.carried.as_ref().filter(|_| grant.generation > before.generation) {
            carried.note(grant);
        }
    }

    /// For events.
    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        self.owner.user()
    }
}

impl Runtime {
    /// Where an owner's grant at a connection lies: with the session, or with the owner alone.
    pub(crate) async fn grant_place(
        &self,
        owner: Owner,
        connection: &Registered,
        session: Option<SessionId>,
    ) -> Result<GrantPlace, StoreError> {
        self.grant_place_in(owner, connection, session.map(|session| session.row(self.records.keys()).key))
            .await
    }

    /// The same, where a session is known by its row alone.
    pub(crate) async fn grant_place_in(
        &self,
        owner: Owner,
        connection: &Registered,
        session: Option<Key>,
    ) -> Result<GrantPlace, StoreError> {
        let spot = self.spot(&self.records.index().await?, owner, connection, session);
        Ok(GrantPlace::new(Arc::new(spot), None))
    }

    fn spot(&self, index: &IndexKey, owner: Owner, connection: &Registered, session: Option<Key>) -> Spot {
        let home: &[u8] = match (connection.grant_lifetime, &session) {
            (GrantLifetime::Session, Some(Key(session))) => session,
            (GrantLifetime::Session, None) | (GrantLifetime::Persistent, _) => &[],
        };
        // What one provider has granted to one client is nothing at another, whatever the connection is called.
        let relying_party = &self.providers.get(connection.provider).relying_party;
        let encoded = encode(&[&owner.encoded(), &relying_party.client]);
        // Processes with another configuration of the account keep to a row of their own.
        let resources = self.settings.connections(connection.provider).resources();
        let variant = |account: &SharedAccount| account.variant(connection, resources);
        let account = match &owner {
            Owner::Account { .. } => self.mode.account().map(variant).unwrap_or_default(),
            Owner::User { .. } | Owner::Visitor { .. } => Vec::new(),
        };
        let key = Key(index.hash(&[b"grant", &encoded, connection.name.as_bytes(), home, &account]));
        Spot {
            row: Row { purpose: Purpose::Grant, key, owner: encoded },
            owner,
            client: relying_party.client,
            provider: connection.provider,
            connection: connection.name.clone(),
            session: session
                .filter(|_| connection.name == LOGIN && connection.grant_lifetime == GrantLifetime::Session),
            cookies: OnceLock::new(),
            newest: Newest::default(),
        }
    }

    /// Where a holder's grant at a connection lies. `carried` is what their browser brought along.
    pub(crate) async fn place_of(
        &self,
        holder: &Holder,
        connection: &Registered,
        carried: Option<&Arc<Carried>>,
    ) -> Result<GrantPlace, StoreError> {
        let session = holder.session();
        // What confirmed the session has looked whether it is the store's.
        let known = session.and_then(|_| self.records.known_index());
        let index = match known {
            Some(index) => index,
            None => self.records.index().await?,
        };
        let make = || {
            self.spot(
                &index,
                holder.owner(),
                connection,
                session.map(|one| one.id.row(self.records.keys()).key),
            )
        };
        let spot = match holder {
            Holder::Session(session) => session.spots.get(&index, &connection.name, make),
            Holder::Account(_) => self.account_spots.get(&index, &connection.name, make),
            Holder::Visitor(_) | Holder::Person { .. } => Arc::new(make()),
        };
        let carried = carried.and_then(|carried| match holder {
            Holder::Session(session) => Some(CarriedPlace::of_session(carried, session, &spot)),
            Holder::Visitor(_) => {
                let until = self.now().plus(self.settings.visitor_lifetime);
                Some(CarriedPlace::of_visitor(carried, &spot, until))
            }
            Holder::Account(_) | Holder::Person { .. } => None,
        });
        Ok(GrantPlace::new(spot, carried))
    }

    /// The provider of a grant: where it came from, and where it is refreshed and revoked.
    pub(crate) fn provider_of(&self, place: &Spot) -> &Arc<Provider> {
        self.providers.get(place.provider)
    }

    /// The connection of a grant.
    pub(crate) fn connection_of(&self, place: &Spot) -> Option<&Registered> {
        self.settings.connections(place.provider).named(&place.connection)
    }

    /// What a holder may be granted.
    pub(crate) fn connections_of(&self, holder: &Holder) -> Option<&Connections> {
        Some(self.settings.connections(holder.provider(self)?.relying_party.id))
    }
}
