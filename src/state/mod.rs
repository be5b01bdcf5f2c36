//! What lives as long as the layer: the provider, the records, the sessions, the refreshes and their tasks.

pub(crate) mod in_flight;
pub(crate) mod memory;
pub(crate) mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use self::in_flight::InFlight;
use self::memory::{BearerTokens, KnownGrants, ReceivedCallbacks};
use self::tasks::Tasks;
use crate::clock::{Clock, Random, Timestamp};
use crate::config::{CLIENT, Config, Hooks, Mode, Settings};
use crate::dev_provider::DevProvider;
use crate::error::ConfigError;
use crate::events::{EventCode, Events};
use crate::protocol::metadata::is_secure;
use crate::provider::default_client::default_client;
use crate::provider::{Outbound, Provider, Providers};
use crate::records::{Grant, GrantKeyCache, OpenedCache, Records};
use crate::secret::Secret;
use crate::sessions::{Session, SessionCookies, SessionId, Sessions};
use crate::store::{Key, Store, StoreError};

/// Everything that requests share.
pub(crate) struct Runtime {
    pub(crate) settings: Settings,
    pub(crate) mode: Mode,
    pub(crate) providers: Providers,
    pub(crate) records: Arc<Records>,
    pub(crate) sessions: Sessions,
    /// Of what browsers carry themselves; empty where the server keeps everything.
    pub(crate) opened_grants: OpenedCache<(Key, Timestamp, Arc<Grant>)>,
    /// The claims that are those of their session.
    pub(crate) opened_claims: OpenedCache<SessionId>,
    pub(crate) known_grants: KnownGrants,
    /// Where the account's grants lie, if everybody uses one.
    pub(crate) account_grant_keys: GrantKeyCache,
    pub(crate) in_flight: InFlight,
    pub(crate) bearer_tokens: BearerTokens,
    pub(crate) received_callbacks: ReceivedCallbacks,
    pub(crate) outbound: Outbound,
    pub(crate) hooks: Hooks,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) development: Option<DevProvider>,
    /// Work that outlives the request that started it.
    pub(crate) tasks: Tasks,
    sent_to_login: AtomicU32,
    swept_at: AtomicU64,
    last_moment: AtomicU64,
}

/// Expired records are deleted no more often than this.
const SWEEP: Duration = Duration::from_secs(10 * 60);

/// So often people are sent to a login that nobody answers before the operator is told: another process may answer the first.
const UNANSWERED: u32 = 3;
/// On a developer's machine one process answers, and a browser follows a redirect at once.
const FOLLOWED: Duration = Duration::from_secs(1);
/// Far from wrapping: a request for a login arrived, or the operator has been told.
const SETTLED: u32 = u32::MAX / 2;

impl Runtime {
    pub(crate) fn new(mut config: Config, store: Arc<dyn Store>) -> Result<Arc<Self>, ConfigError> {
        let mode = config.mode.clone();
        if let Some(account) = mode.account() {
            account.prepare(&mut config);
        }
        let events = config.hooks.events.clone().throttled(config.clock.clone());
        config.hooks.events = events.clone();
        let (mut settings, keys, made_up) = Settings::check(&config, store.is_durable())?;
        if let Some(account) = mode.account() {
            let (by_hand, revalidates) = (account.is_granted_by_hand(), config.revalidate_every.is_some());
            settings.connections.iter_mut().for_each(|each| each.serve_account(by_hand, revalidates));
        }
        let Config { hooks, outbound, runtime, clock, random, ca_file, network, .. } = config;
        let development = settings.is_development().then(|| development_provider(&settings, &clock, &random));
        let given = outbound.map(|client| Ok((client, Vec::new())));
        let client = given.unwrap_or_else(|| default_client(ca_file.as_deref(), &network));
        let (development, outbound) = connect(development.transpose(), client, &events)?;
        warn(&events, &settings, development.is_some(), made_up);
        let providers = Providers::new(settings.relying_parties.iter().map(|relying_party| {
            Provider::new(relying_party.clone(), outbound.clone(), events.clone(), clock.clone(), random.clone())
        }));
        let stateless = mode.is_stateless();
        // Of a store that is gone with the process: names are the same after it, and nobody waits for them.
        let own_index = (stateless && !store.is_durable()).then_some(keys.index_key);
        let records = Arc::new(Records::new(store, keys, own_index, clock.clone(), random.clone(), events.clone()));
        let carried = stateless.then(|| SessionCookies::new(&settings.session_cookie, events));
        let issuers = providers.logins().map(|provider| provider.relying_party.issuer.clone()).collect();
        let (lifetime, max_staleness) = (settings.idle_lifetime, settings.max_staleness);
        Ok(Arc::new(Self {
            sessions: Sessions::new(lifetime, max_staleness, issuers, carried, Arc::clone(&records)),
            opened_grants: OpenedCache::new(RECALLED),
            opened_claims: OpenedCache::new(RECALLED),
            records,
            providers,
            known_grants: KnownGrants::new(max_staleness),
            account_grant_keys: GrantKeyCache::default(),
            in_flight: InFlight::new(),
            bearer_tokens: BearerTokens::new(),
            received_callbacks: ReceivedCallbacks::default(),
            settings,
            mode,
            outbound,
            hooks,
            clock,
            random,
            development,
            tasks: Tasks::new(runtime),
            sent_to_login: AtomicU32::new(0),
            swept_at: AtomicU64::new(0),
            last_moment: AtomicU64::new(0),
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The present moment, and later than each one that this returned before, by a millisecond where need be: logins and
    /// logouts of one process have an order, also within a millisecond.
    pub(crate) fn next_moment(&self) -> Timestamp {
        let now = self.now().as_millis();
        // What is far ahead was given by a clock that has been put back since.
        let next = |last: u64| if last < now || last - now > 1000 { now } else { last + 1 };
        let update = |last| Some(next(last));
        let last = self.last_moment.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        Timestamp::from_millis(next(last.unwrap_or_default()))
    }

    pub(crate) fn events(&self) -> &Events {
        &self.hooks.events
    }

    /// Finishes work in a task of its own: whoever waits may go away, or wait no longer.
    pub(crate) async fn wholly<T: Send + 'static>(
        &self, work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ended = |error| Err(StoreError::outcome_unknown("the task that asked it ended", error));
        self.tasks.spawn(work).await.unwrap_or_else(ended)
    }

    /// Where the person of a session signed in; `None` when people do not sign in there any more.
    pub(crate) fn signed_in_at(&self, session: &Session) -> Option<&Arc<Provider>> {
        self.providers.of_issuer(&session.issuer)
    }

    /// The roles of a session's user, by the rules that the provider has now where they signed in.
    pub(crate) fn roles<'a>(&self, session: &'a Session) -> impl Iterator<Item = &'a str> {
        let counts = |rule| self.signed_in_at(session).is_some_and(|one| one.relying_party.roles.contains(rule));
        let counting = session.roles.iter().filter(move |(rule, _)| counts(rule));
        counting.flat_map(|(_, roles)| roles).map(String::as_str)
    }

    /// Whether the user of a session is an admin.
    pub(crate) fn is_admin(&self, session: &Session) -> bool {
        let admins = &self.settings.admins;
        let is_named = || {
            let profile = session.profile();
            admins.include(session.user(), profile.email.as_deref().map(|email| (email, profile.email_verified)))
        };
        self.roles(session).any(|role| admins.name_role(&session.issuer, role)) || is_named()
    }

    /// Deletes what has expired, now and then. Called after something was stored, and never for a request that nothing
    /// vouches for: what nobody fills needs no emptying.
    pub(crate) fn sweep_in_time(self: &Arc<Self>) {
        // Never zero, which says that nothing was swept yet.
        let now = Timestamp::default().saturating_add(self.clock.monotonic()).as_millis().max(1);
        let swept_at = self.swept_at.load(Ordering::Relaxed);
        let due = swept_at == 0 || Duration::from_millis(now.saturating_sub(swept_at)) >= SWEEP;
        // One of those who come at the same time does it.
        let take = || self.swept_at.compare_exchange(swept_at, now, Ordering::Relaxed, Ordering::Relaxed);
        if due && take().is_ok() {
            let runtime = Arc::clone(self);
            self.tasks.spawn(async move {
                // What this process remembers, and nobody can use any more.
                let now = runtime.now();
                runtime.sessions.forget_over(now);
                runtime.bearer_tokens.forget_over(runtime.clock.reading());
                runtime.opened_grants.retain(|(_, expires_at, _)| now < *expires_at);
                // A store that is away is told of elsewhere, and the next time is soon enough.
                let _ = runtime.records.delete_expired().await;
            });
        }
    }

    /// Somebody was sent to the login.
    pub(crate) fn sends_to_login(self: &Arc<Self>) {
        // A layer that is not outermost never sees its own endpoints: the application answers 404, and the
        // first hour is lost. Here it becomes visible.
        let hint = "people are sent to the login, and no request for it arrives: add the layer after the last route and \
                    fallback, around the outermost router";
        let sent = self.sent_to_login.fetch_add(1, Ordering::Relaxed) + 1;
        if sent == UNANSWERED {
            self.is_misplaced(hint);
        }
        if sent == 1
            && self.settings.local.is_some()
            && let Ok(tokio) = Handle::try_current()
        {
            let runtime = Arc::clone(self);
            tokio.spawn(async move {
                tokio::time::sleep(FOLLOWED).await;
                runtime.is_misplaced(hint);
            });
        }
    }

    /// The layer stands where it does not work. It is told once.
    pub(crate) fn is_misplaced(&self, hint: &str) {
        if self.sent_to_login.swap(SETTLED, Ordering::Relaxed) < SETTLED {
            self.events().emit(EventCode::LayerMisplaced, None, hint);
        }
    }

    /// A request for one of the layer's endpoints arrived: the layer is where it must be.
    pub(crate) fn is_reached(&self) {
        self.sent_to_login.store(SETTLED, Ordering::Relaxed);
    }
}

/// Tells what is for development only, once at start.
fn warn(events: &Events, settings: &Settings, development: bool, made_up: bool) {
    if development {
        let detail = "anybody can sign in as anybody: for development only";
        events.emit(EventCode::DevelopmentProvider, None, detail);
    }
    if made_up {
        let detail = "no SESSION_SECRET (32 random bytes or more): everybody is signed out at the next start";
        events.emit(EventCode::SecretGenerated, None, detail);
    }
    let internal = settings.relying_parties.iter().filter_map(|one| one.internal_url.as_ref());
    for url in internal.filter(|url| !is_secure(url)) {
        let detail = format_args!("{url} is called over http: secrets and tokens are not encrypted");
        events.emit(EventCode::ProviderNotEncrypted, None, detail);
    }
}

/// The most that is kept of opened grants, in bytes.
const RECALLED: u64 = 64 * 1024 * 1024;

/// The way out: the client that the application gave or the default one, with the development provider behind it.
fn connect(
    development: Result<Option<DevProvider>, String>, client: Result<(Outbound, Vec<String>), String>, events: &Events,
) -> Result<(Option<DevProvider>, Outbound), ConfigError> {
    match (development, client) {
        (Ok(development), Ok((mut outbound, skipped))) => {
            skipped.iter().for_each(|why| events.emit(EventCode::CertificateSkipped, None, why));
            outbound.development.clone_from(&development);
            Ok((development, outbound))
        }
        (development, outbound) => {
            let problems = development.err().into_iter().chain(outbound.err()).collect();
            Err(ConfigError { problems })
        }
    }
}

/// The development provider of these settings.
fn development_provider(settings: &Settings, clock: &Clock, random: &Random) -> Result<DevProvider, String> {
    let relying_party = &settings.relying_parties[0];
    DevProvider::embedded(
        (&relying_party.issuer.url, settings.local.is_none()),
        (CLIENT, relying_party.client_secret.as_ref().map(Secret::expose_secret)),
        &relying_party.redirect_uri,
        settings.post_logout_url.as_str(),
        clock.clone(),
        random.clone(),
    )
}
