//! What lives as long as the layer: the provider, the records, the sessions, the refreshes and their tasks.

pub(crate) mod in_flight;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use self::in_flight::Flights;
use crate::clock::{Clock, Random, Timestamp};
use crate::config::connection::{Connections, Registered, Retention};
use crate::config::hooks::Hooks;
use crate::config::mode::{Holder, Ownership, Rendezvous};
use crate::config::settings::Settings;
use crate::config::shared_account::Account;
use crate::config::{Config, development};
use crate::dev_provider::DevProvider;
use crate::error::ConfigError;
use crate::events::{EventCode, Events};
use crate::provider::Provider;
use crate::provider::default_client::default_client;
use crate::provider::http_client::Outbound;
use crate::provider::providers::Providers;
use crate::records::grant::{LOGIN, Owner, encode};
use crate::records::grant_key::{GrantPlace, Newest, Spot, Spots};
use crate::records::seal::Purpose;
use crate::records::{IndexKey, Records, Row};
use crate::sessions::Sessions;
use crate::sessions::session::Session;
use crate::sessions::session_cookie::CarriedSessions;
use crate::sessions::session_id::SessionId;
use crate::stateless::grant_cookie::CarriedPlace;
use crate::stateless::{Carried, Carrying};
use crate::store::{Key, Store, StoreError};

/// Everything that requests share.
pub(crate) struct Runtime {
    pub(crate) settings: Settings,
    pub(crate) ownership: Ownership,
    pub(crate) providers: Providers,
    pub(crate) records: Records,
    pub(crate) sessions: Sessions,
    /// Where browsers carry their sessions and grants themselves.
    pub(crate) carrying: Option<Carrying>,
    /// Where the account's grants lie, if everybody uses one.
    account_spots: Spots,
    pub(crate) flights: Flights,
    pub(crate) outbound: Outbound,
    pub(crate) hooks: Hooks,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) development: Option<DevProvider>,
    /// Work that outlives the request that started it.
    pub(crate) tasks: TaskTracker,
    sent_to_login: AtomicU32,
    swept_at: AtomicU64,
}

/// Expired records are deleted no more often than this.
const SWEEP: Duration = Duration::from_secs(10 * 60);

/// So often people are sent to a login that nobody answers before the operator is told.
const UNANSWERED: u32 = 3;

impl Runtime {
    pub(crate) fn new(
        ownership: Ownership,
        mut config: Config,
        store: Arc<dyn Store>,
    ) -> Result<Arc<Self>, ConfigError> {
        ownership.prepare(&mut config);
        let refused = ownership.problems(&config, store.is_durable());
        let checked = Settings::check(&config, store.is_durable());
        let (mut settings, keys, made_up) = ConfigError::join(checked, refused)?;
        settings.connections.iter_mut().for_each(|connections| ownership.arrange(connections));
        let with_development = config.is_development();
        let Config { hooks, outbound, clock, random, ca_file, .. } = config;
        let events = hooks.events.clone();
        let mut problems = Vec::new();
        let development = with_development.then(|| development::provider(&settings, &clock, &random));
        let development = development.and_then(|made| made.map_err(|problem| problems.push(problem)).ok());
        let outbound = match outbound {
            Some(outbound) => Some(outbound),
            None => default_client(ca_file.as_deref()).map_err(|problem| problems.push(problem)).ok(),
        };
        ConfigError::check(problems)?;
        let outbound = outbound.unwrap_or_else(|| unreachable!("what is missing was a problem"));
        if development.is_some() {
            events.emit(
                EventCode::DevelopmentProvider,
                None,
                "anybody can sign in as anybody: for development only",
            );
        }
        if made_up {
            events.emit(
                EventCode::SecretMadeUp,
                None,
                "no SESSION_SECRET: everybody is signed out at the next start",
            );
        }
        let outbound = outbound.with_development(development.clone());
        let providers = Providers::new(settings.relying_parties.iter().map(|relying_party| {
            Provider::new(relying_party.clone(), outbound.clone(), events.clone(), clock.clone())
        }));
        let rendezvous = ownership.rendezvous();
        let records = Records::new(store, keys, clock.clone(), random.clone(), events.clone());
        let (records, max_staleness) = match rendezvous {
            // Nobody else ends sessions there.
            Some(Rendezvous::Here) => (records.with_own_index(), Duration::MAX),
            Some(Rendezvous::Shared) | None => (records, settings.max_staleness),
        };
        let carried = rendezvous.map(|_| CarriedSessions::new(&settings.session_cookie, events));
        let (issuers, changes) = (providers.login_issuers(), Arc::clone(records.changes()));
        Ok(Arc::new(Self {
            sessions: Sessions::new(settings.idle_lifetime, max_staleness, issuers, carried, changes),
            carrying: rendezvous.map(|_| Carrying::new(settings.max_cookie_bytes)),
            records,
            providers,
            account_spots: Spots::default(),
            flights: Flights::default(),
            settings,
            ownership,
            outbound,
            hooks,
            clock,
            random,
            development,
            tasks: TaskTracker::new(),
            sent_to_login: AtomicU32::new(0),
            swept_at: AtomicU64::new(0),
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn events(&self) -> &Events {
        &self.hooks.events
    }

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
        let home: &[u8] = match (connection.retention, &session) {
            (Retention::Session, Some(Key(session))) => session,
            (Retention::Session, None) | (Retention::User, _) => &[],
        };
        // What one provider has granted to one client is nothing at another, whatever the connection is called.
        let relying_party = &self.providers.get(connection.provider).relying_party;
        let encoded = encode(&[&owner.encoded(), &relying_party.client]);
        // Processes with another configuration of the account keep to a row of their own.
        let resources = self.settings.connections(connection.provider).resources();
        let variant = |account: &Account| account.variant(connection, resources);
        let account = match &owner {
            Owner::Account { .. } => self.ownership.account().map(variant).unwrap_or_default(),
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
                .filter(|_| connection.name == LOGIN && connection.retention == Retention::Session),
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

    /// Where the person of a session signed in; `None` when people do not sign in there any more.
    pub(crate) fn signed_in_at(&self, session: &Session) -> Option<&Arc<Provider>> {
        self.providers.of_issuer(&session.issuer)
    }

    /// What a holder may be granted.
    pub(crate) fn connections_of(&self, holder: &Holder) -> Option<&Connections> {
        Some(self.settings.connections(holder.provider(self)?.relying_party.id))
    }

    /// Deletes what has expired, now and then. Called after something was stored, and never for a request that nothing
    /// vouches for: what nobody fills needs no emptying.
    pub(crate) fn sweep_in_time(self: &Arc<Self>) {
        // Never zero, which says that nothing was swept yet.
        let now = Timestamp::default().plus(self.clock.monotonic()).as_millis().max(1);
        let swept_at = self.swept_at.load(Ordering::Relaxed);
        let due = swept_at == 0 || Duration::from_millis(now.saturating_sub(swept_at)) >= SWEEP;
        // One of those who come at the same time does it.
        let take = || self.swept_at.compare_exchange(swept_at, now, Ordering::Relaxed, Ordering::Relaxed);
        if due && take().is_ok() {
            let runtime = Arc::clone(self);
            self.tasks.spawn(async move {
                // A store that is away is told of elsewhere, and the next time is soon enough.
                let _ = runtime.records.delete_expired().await;
            });
        }
    }

    /// Somebody was sent to the login.
    pub(crate) fn sends_to_login(&self) {
        // A layer that is not outermost never sees its own endpoints: the application answers 404, and the
        // first hour is lost. Here it becomes visible.
        if self.sent_to_login.fetch_add(1, Ordering::Relaxed) + 1 == UNANSWERED {
            let hint = "people are sent to the login, and no request for it arrives: add the layer after the last \
                        route and fallback, around the outermost router";
            self.events().emit(EventCode::LayerNotReached, None, hint);
        }
    }

    /// A request for one of the layer's endpoints arrived: the layer is where it must be.
    pub(crate) fn is_reached(&self) {
        // Far from wrapping, and past the one value that is reported.
        self.sent_to_login.store(u32::MAX / 2, Ordering::Relaxed);
    }
}
