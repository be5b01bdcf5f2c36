//! Events with stable codes, for operators and for the application.

#[cfg(feature = "metrics")]
pub(crate) mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
pub(crate) mod metrics;

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::LocalKey;
use tracing::{Instrument, debug_span};

use self::Report::{Info, Throttled, Warning};
use crate::clock::Clock;
use crate::secret::opaque;

/// Declares an enum, each of whose variants stands beside its entry, and the method that returns the entry.
macro_rules! entries {
    ($entry_vis:vis $entry:ident: $type:ty => $(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$doc:meta])* $variant:ident = $value:expr,)+
    }) => {
        $(#[$meta])*
        $vis enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            #[allow(dead_code, reason = "not every enum is gone through")]
            const ALL: &[Self] = &[$(Self::$variant,)+];

            $entry_vis const fn $entry(self) -> $type {
                match self {
                    $(Self::$variant => $value,)+
                }
            }
        }
    };
}
pub(crate) use entries;

entries! {
    entry: (&'static str, Report) =>
    /// The kind of an event. Its text ([`EventCode::as_str`]) never changes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum EventCode {
        /// A login was started: the browser was redirected to the provider.
        LoginStarted = ("login.started", Info),
        /// A user signed in.
        LoginSucceeded = ("login.succeeded", Info),
        /// A login ended without a session; the detail is the reason.
        LoginRefused = ("login.refused", Throttled),
        /// A login brought no refresh token, and `offline_access` was not asked for, which the provider has: users must grant
        /// access again whenever an access token expires. Reported once for each provider after a start.
        NoRefreshToken = ("login.no_refresh_token", Warning),
        /// A user whose e-mail address is an admin's is no admin, because the provider does not say that it verified the address.
        /// Reported once for each provider after a start.
        AdminUnverified = ("login.admin_unverified", Warning),
        /// A claim that must name roles has no text and no list of texts, or the access token that must hold it does not count:
        /// it gives no roles. Reported once for each provider after a start.
        RolesUnreadable = ("login.roles_unreadable", Warning),
        /// A session was ended; the detail names the cause.
        LoggedOut = ("logout.succeeded", Info),
        /// A provider's logout request was refused; the detail is the reason.
        LogoutRefused = ("logout.refused", Throttled),
        /// A provider's logout ended only a part of its sessions. The response reported the failure to the provider.
        LogoutIncomplete = ("logout.incomplete", Warning),
        /// A provider's logout named no stored session: the session has ended already, or was never known under that name.
        LogoutUnmatched = ("logout.unmatched", Info),
        /// A user signed out here and not at the provider, whose metadata could not be had in time. The next person at that
        /// browser may be signed in as the same user without being asked.
        LogoutNotAtProvider = ("logout.not_at_provider", Warning),
        /// A user granted a connection; the detail is its name.
        Connected = ("connection.granted", Info),
        /// The provider granted less than was asked for, at a login or for a connection; the detail names it and the scopes that
        /// are missing. Scopes about the user, such as `email`, are not compared.
        ScopesNotGranted = ("connection.scopes_not_granted", Info),
        /// A user disconnected a connection; the detail is its name.
        Disconnected = ("connection.disconnected", Info),
        /// A token was refreshed.
        RefreshSucceeded = ("refresh.succeeded", Info),
        /// Another process had refreshed the token already; its result is used.
        RefreshAdopted = ("refresh.adopted", Info),
        /// The provider refused the refresh token for good (`invalid_grant`): the user must grant access again.
        RefreshRefused = ("refresh.refused", Warning),
        /// A refresh failed for now; the grant is kept.
        RefreshFailed = ("refresh.failed", Throttled),
        /// A refresh returned another user's tokens. The tokens and the grant were discarded.
        RefreshOwnerMismatch = ("refresh.owner_mismatch", Warning),
        /// A refreshed grant could not be written. It stays in memory and is written again, unless the store refuses it
        /// for good.
        RefreshPersistFailed = ("refresh.persist_failed", Warning),
        /// Tokens that the provider issued are discarded without revocation; the detail is the reason.
        TokensDropped = ("tokens.dropped", Warning),
        /// The shared account cannot be used, or will not be after the next start; the detail is the remedy for the
        /// operator.
        NeedsOperator = ("account.needs_operator", Warning),
        /// The provider's metadata was fetched.
        MetadataFetched = ("provider.metadata", Info),
        /// The provider's key set was fetched.
        KeySetFetched = ("provider.key_set", Info),
        /// A provider is called over http at a named host ([`ProviderConfig::internal_url`](crate::ProviderConfig)): for
        /// development only.
        ProviderNotEncrypted = ("provider.not_encrypted", Warning),
        /// The provider did not answer, or its response was invalid.
        ProviderFailed = ("provider.failed", Throttled),
        /// A part of what the provider sent cannot be used, and is not needed: the detail names it.
        ProviderMemberIgnored = ("provider.member_ignored", Throttled),
        /// An API that was called with a user's token did not answer, or not with valid HTTP: requests get 502
        /// ([`ErrorKind::UpstreamError`](crate::ErrorKind::UpstreamError)). The detail names its URL, without the query.
        ApiFailed = ("api.failed", Throttled),
        /// The store did not answer.
        StoreFailed = ("store.failed", Throttled),
        /// The store's server forgets at a restart what was written last.
        StoreNotPersistent = ("store.not_persistent", Warning),
        /// The store's server does not say whether it keeps what is written.
        StoreUnchecked = ("store.unchecked", Warning),
        /// The store hears nothing of what other processes change: a logout there takes effect within
        /// [`Config::max_staleness`](crate::Config::max_staleness). A store says so in the log only, when it is opened.
        StoreNotListening = ("store.not_listening", Warning),
        /// A record or cookie under one of the configured secrets did not open in its place: it was changed or moved.
        Tampered = ("seal.tampered", Throttled),
        /// A record or cookie is sealed with a secret, or in a format, that this process does not know.
        UnknownKey = ("seal.unknown_key", Throttled),
        /// A grant has become too large for cookies (stateless mode): it stays in the coordination store.
        CookiesTooLarge = ("cookies.too_large", Throttled),
        /// A request was refused because another site may have forged it.
        CrossSiteRefused = ("request.cross_site", Throttled),
        /// An access token that a client sent was refused; the detail is the reason.
        BearerRefused = ("request.bearer_refused", Throttled),
        /// Browsers are redirected to the login, and no request for it arrives: the layer is not outermost.
        LayerMisplaced = ("layer.misplaced", Warning),
        /// The development provider is in use.
        DevelopmentProvider = ("provider.development", Warning),
        /// The development provider is in use, and a request was refused: it came from another machine or was for another
        /// host.
        NotLoopback = ("request.not_loopback", Throttled),
        /// A root certificate of a file cannot be used and is skipped; the detail names the file.
        CertificateSkipped = ("tls.certificate_skipped", Warning),
        /// A session secret was generated at start: sessions end with this process.
        SecretGenerated = ("secret.generated", Warning),
    }
}

impl EventCode {
    /// The stable code, such as `login.succeeded`.
    pub const fn as_str(self) -> &'static str {
        self.entry().0
    }
}

/// How an event is reported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Report {
    Info,
    Warning,
    /// A warning that strangers, or an outage, can cause as often as they like.
    Throttled,
}

/// An event. It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The kind of the event.
    pub code: EventCode,
    /// Issuer and subject of the user, if known.
    pub user: Option<(String, String)>,
    /// Details in a few words, which may change.
    pub detail: String,
    /// How many events of this kind were left out since the last one. Of a kind that strangers or an outage can cause as
    /// often as they like, no more than 20 in ten seconds are reported.
    pub suppressed: u64,
}

/// So many events of a kind are reported...
const BURST: u32 = 20;
/// ...within this time.
const BURST_TIME: Duration = Duration::from_secs(10);

/// The events of one kind within the last `BURST_TIME`.
#[derive(Clone, Copy, Debug, Default)]
struct EventRate {
    since: Duration,
    passed: u32,
    suppressed: u64,
}

impl EventRate {
    /// Whether one more is reported at `now`, and with how many that were not reported since the last.
    fn admit(&mut self, now: Duration) -> Option<u64> {
        if now.abs_diff(self.since) >= BURST_TIME {
            (self.since, self.passed) = (now, 0);
        }
        if self.passed == BURST {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.passed += 1;
        Some(take(&mut self.suppressed))
    }
}

/// How often events of each kind happen.
struct EventThrottle {
    clock: Clock,
    rates: Mutex<HashMap<EventCode, EventRate>>,
}

/// The receivers of events: `tracing`, under the target `tower_oidc`, and the application's hook.
#[derive(Clone, Default)]
pub(crate) struct Events {
    pub(crate) hook: Option<Arc<dyn Fn(&Event) + Send + Sync>>,
    /// Clones share it.
    throttle: Option<Arc<EventThrottle>>,
}

impl Events {
    /// Reports no more than a few events of a kind in a moment.
    pub(crate) fn throttled(self, clock: Clock) -> Self {
        Self { throttle: Some(Arc::new(EventThrottle { clock, rates: Mutex::default() })), ..self }
    }

    fn admit(&self, code: EventCode) -> Option<u64> {
        let Some(throttle) = self.throttle.as_ref().filter(|_| code.entry().1 == Report::Throttled) else {
            return Some(0);
        };
        throttle.rates.lock().entry(code).or_default().admit(throttle.clock.monotonic())
    }

    pub(crate) fn emit(&self, code: EventCode, user: Option<(&str, &str)>, detail: impl fmt::Display) {
        metrics::count(code.as_str());
        let Some(suppressed) = self.admit(code) else { return };
        let event = Event {
            code,
            suppressed,
            user: user.map(|(issuer, subject)| (issuer.to_owned(), subject.to_owned())),
            detail: detail.to_string(),
        };
        let subject = user.map(|(_, subject)| subject);
        let suppressed = (suppressed > 0).then_some(suppressed);
        match code.entry() {
            (code, Report::Info) => tracing::info!(target: "tower_oidc", code, subject, "{}", event.detail),
            (code, Report::Warning | Report::Throttled) => {
                tracing::warn!(target: "tower_oidc", code, subject, suppressed, "{}", event.detail);
            }
        }
        if let Some(hook) = &self.hook {
            guarded("the hook for events", || hook(&event));
        }
    }

    /// Reports what the store says while it is called.
    pub(crate) fn observe<T>(&self, call: impl Future<Output = T>) -> impl Future<Output = T> {
        observer().scope(self.clone(), call)
    }
}

/// Calls code of the application; `None` where it panicked, which is logged. It never unwinds through this crate, because
/// what a provider gave may be in our hands at that moment, such as a refresh token that has no other copy.
pub(crate) fn guarded<T>(what: &str, call: impl FnOnce() -> T) -> Option<T> {
    let called = catch_unwind(AssertUnwindSafe(call));
    called.inspect_err(|_| tracing::error!(target: "tower_oidc", code = "hook.panicked", "{what} panicked")).ok()
}

/// Awaits a future of the application; `None` where it panicked, as for [`guarded`].
pub(crate) async fn guarded_future<T, F: Future<Output = T>>(what: &str, call: impl FnOnce() -> F) -> Option<T> {
    let mut future = pin!(guarded(what, call)?);
    poll_fn(|cx| match guarded(what, || future.as_mut().poll(cx)) {
        Some(Poll::Pending) => Poll::Pending,
        Some(Poll::Ready(value)) => Poll::Ready(Some(value)),
        None => Poll::Ready(None),
    })
    .await
}

/// Awaits something in a span of its own, and records how many seconds it took.
pub(crate) fn timed<F: Future>(clock: &Clock, call: &'static str, work: F) -> impl Future<Output = F::Output> {
    let work = work.instrument(debug_span!(target: "tower_oidc", "tower_oidc", call, otel.name = call));
    metrics::timed(clock, call, work)
}

tokio::task_local! {
    /// The receivers of the events of a store, while the layer calls it: a store knows no configuration.
    static OBSERVER: Events;
}

/// The receivers of the events of a store that is called.
pub(crate) fn observer() -> &'static LocalKey<Events> {
    &OBSERVER
}

opaque!(Events, |events| hook = events.hook.is_some());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// By an independent count: of each ten seconds the first twenty, and none is lost from the count.
    #[test]
    fn the_first_twenty_in_ten_seconds_pass_and_the_next_says_how_many_did_not() {
        let mut rate = EventRate::default();
        let mut admit = |at| rate.admit(Duration::from_millis(at));
        for at in 100_000..100_020 {
            assert_eq!(admit(at), Some(0), "{at}");
        }
        for at in 100_020..100_320 {
            assert_eq!(admit(at), None, "{at}");
        }
        assert_eq!(admit(109_999), None);
        assert_eq!(admit(110_000), Some(301), "the next that passes");
        for at in 110_001..110_020 {
            assert_eq!(admit(at), Some(0), "{at}");
        }
        assert_eq!(admit(110_020), None);
        assert_eq!(admit(500_000), Some(1), "much later");
        // A clock that a test puts back.
        assert_eq!(admit(1), Some(0));
    }

    #[test]
    fn each_kind_is_counted_by_itself_and_clones_count_together() {
        let (time, heard) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (shown, hears) = (Arc::clone(&time), Arc::clone(&heard));
        let clock = Clock::from_fn(move || Timestamp::from_millis(shown.load(Ordering::SeqCst)));
        let hook = move |event: &Event| hears.lock().push((event.code, event.suppressed));
        let events = Events { hook: Some(Arc::new(hook)), throttle: None }.throttled(clock);
        let count = |code| heard.lock().iter().filter(|(heard, _)| *heard == code).count();
        for _ in 0..100 {
            events.clone().emit(EventCode::StoreFailed, None, "it is away");
            events.emit(EventCode::LoginSucceeded, None, "nobody can forge that");
        }
        events.emit(EventCode::Tampered, None, "another kind");
        assert_eq!([EventCode::StoreFailed, EventCode::Tampered, EventCode::LoginSucceeded].map(count), [20, 1, 100]);
        time.store(10_000, Ordering::SeqCst);
        events.emit(EventCode::StoreFailed, None, "it is away");
        assert_eq!(heard.lock().last(), Some(&(EventCode::StoreFailed, 80)));
    }
}
