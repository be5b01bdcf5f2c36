//! Events with stable codes, for operators and for the application.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::LocalKey;

use crate::secret::opaque;

/// The kind of an event. Its text ([`EventCode::as_str`]) never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventCode {
    /// A login was started: the browser was redirected to the provider.
    LoginStarted,
    /// A user signed in.
    LoginSucceeded,
    /// A login ended without a session; the detail is the reason.
    LoginRefused,
    /// A session was ended; the detail names the cause.
    LoggedOut,
    /// A provider's logout request was refused; the detail is the reason.
    LogoutRefused,
    /// A provider's logout ended only a part of its sessions. The response reported the failure to the provider.
    LogoutIncomplete,
    /// A provider's logout named no stored session: the session has ended already, or was never known under that name.
    LogoutUnmatched,
    /// A user signed out here and not at the provider, whose metadata could not be had in time. The next person at that
    /// browser may be signed in as the same user without being asked.
    LogoutNotAtProvider,
    /// A user granted a connection; the detail is its name.
    Connected,
    /// A user disconnected a connection; the detail is its name.
    Disconnected,
    /// A token was refreshed.
    RefreshSucceeded,
    /// Another process had refreshed the token already; its result is used.
    RefreshAdopted,
    /// The provider refused the refresh token for good (`invalid_grant`): the user must grant access again.
    RefreshRefused,
    /// A refresh failed for now; the grant is kept.
    RefreshFailed,
    /// A refresh returned another user's tokens. The tokens and the grant were discarded.
    RefreshOwnerMismatch,
    /// A refreshed grant could not be written. It stays in memory and is written again, unless the store refuses it
    /// for good.
    RefreshPersistFailed,
    /// Tokens that the provider issued are discarded without revocation; the detail is the reason.
    TokensDropped,
    /// The shared account cannot be used, or will not be after the next start; the detail is the remedy for the
    /// operator.
    NeedsOperator,
    /// The provider's metadata was fetched.
    MetadataFetched,
    /// The provider's key set was fetched.
    KeySetFetched,
    /// The provider did not answer, or its response was invalid.
    ProviderFailed,
    /// A part of what the provider sent cannot be used, and is not needed: the detail names it.
    ProviderMemberIgnored,
    /// The store did not answer.
    StoreFailed,
    /// The store's server forgets at a restart what was written last.
    StoreNotPersistent,
    /// The store's server does not say whether it keeps what is written.
    StoreUnchecked,
    /// A record or cookie under one of the configured secrets did not open in its place: it was changed or moved.
    Tampered,
    /// A record or cookie is sealed with a secret, or in a format, that this process does not know.
    UnknownKey,
    /// A grant has become too large for cookies (stateless mode): it stays in the coordination store.
    CookiesTooLarge,
    /// A request was refused because another site may have forged it.
    CrossSiteRefused,
    /// Browsers are redirected to the login, and no request for it arrives: the layer is not outermost.
    LayerMisplaced,
    /// The development provider is in use.
    DevelopmentProvider,
    /// The development provider is in use, and a request was refused: it came from another machine or was for another
    /// host.
    NotLoopback,
    /// A session secret was generated at start: sessions end with this process.
    SecretGenerated,
}

impl EventCode {
    /// The stable code, such as `login.succeeded`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginStarted => "login.started",
            Self::LoginSucceeded => "login.succeeded",
            Self::LoginRefused => "login.refused",
            Self::LoggedOut => "logout.succeeded",
            Self::LogoutRefused => "logout.refused",
            Self::LogoutIncomplete => "logout.incomplete",
            Self::LogoutUnmatched => "logout.unmatched",
            Self::LogoutNotAtProvider => "logout.not_at_provider",
            Self::Connected => "connection.granted",
            Self::Disconnected => "connection.disconnected",
            Self::RefreshSucceeded => "refresh.succeeded",
            Self::RefreshAdopted => "refresh.adopted",
            Self::RefreshRefused => "refresh.refused",
            Self::RefreshFailed => "refresh.failed",
            Self::RefreshOwnerMismatch => "refresh.owner_mismatch",
            Self::RefreshPersistFailed => "refresh.persist_failed",
            Self::TokensDropped => "tokens.dropped",
            Self::NeedsOperator => "account.needs_operator",
            Self::MetadataFetched => "provider.metadata",
            Self::KeySetFetched => "provider.key_set",
            Self::ProviderFailed => "provider.failed",
            Self::ProviderMemberIgnored => "provider.member_ignored",
            Self::StoreFailed => "store.failed",
            Self::StoreNotPersistent => "store.not_persistent",
            Self::StoreUnchecked => "store.unchecked",
            Self::Tampered => "seal.tampered",
            Self::UnknownKey => "seal.unknown_key",
            Self::CookiesTooLarge => "cookies.too_large",
            Self::CrossSiteRefused => "request.cross_site",
            Self::LayerMisplaced => "layer.misplaced",
            Self::DevelopmentProvider => "provider.development",
            Self::NotLoopback => "request.not_loopback",
            Self::SecretGenerated => "secret.generated",
        }
    }

    const fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::LoginStarted
                | Self::LoginSucceeded
                | Self::LoggedOut
                | Self::LogoutUnmatched
                | Self::Connected
                | Self::Disconnected
                | Self::RefreshSucceeded
                | Self::RefreshAdopted
                | Self::MetadataFetched
                | Self::KeySetFetched
        )
    }
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
}

/// The receivers of events: `tracing`, under the target `tower_oidc`, and the application's hook.
#[derive(Clone, Default)]
pub(crate) struct Events {
    pub(crate) hook: Option<Arc<dyn Fn(&Event) + Send + Sync>>,
}

impl Events {
    pub(crate) fn emit(&self, code: EventCode, user: Option<(&str, &str)>, detail: impl fmt::Display) {
        let event = Event {
            code,
            user: user.map(|(issuer, subject)| (issuer.to_owned(), subject.to_owned())),
            detail: detail.to_string(),
        };
        let subject = user.map(|(_, subject)| subject);
        if code.is_warning() {
            tracing::warn!(target: "tower_oidc", code = code.as_str(), subject, "{}", event.detail);
        } else {
            tracing::info!(target: "tower_oidc", code = code.as_str(), subject, "{}", event.detail);
        }
        if let Some(hook) = &self.hook {
            guarded("the hook for events", || hook(&event));
        }
    }
}

/// Calls code of the application; `None` where it panicked, which is logged. It never unwinds through this crate, because
/// what a provider gave may be in our hands at that moment, such as a refresh token that has no other copy.
pub(crate) fn guarded<T>(what: &str, call: impl FnOnce() -> T) -> Option<T> {
    let called = catch_unwind(AssertUnwindSafe(call));
    called
        .inspect_err(|_| tracing::error!(target: "tower_oidc", code = "hook.panicked", "{what} panicked"))
        .ok()
}

/// The same for code that is awaited.
pub(crate) async fn guarded_future<T, F: Future<Output = T>>(
    what: &str,
    call: impl FnOnce() -> F,
) -> Option<T> {
    let mut future = pin!(guarded(what, call)?);
    poll_fn(|cx| match guarded(what, || future.as_mut().poll(cx)) {
        Some(Poll::Pending) => Poll::Pending,
        Some(Poll::Ready(value)) => Poll::Ready(Some(value)),
        None => Poll::Ready(None),
    })
    .await
}

tokio::task_local! {
    /// The receivers of the events of a store, while the layer calls it: a store knows no configuration.
    static OBSERVER: Events;
}

/// The receivers of the events of a store that is called.
pub(crate) fn observer() -> &'static LocalKey<Events> {
    &OBSERVER
}

impl Events {
    /// Reports what the store says while it is called.
    pub(crate) fn observe<T>(&self, call: impl Future<Output = T>) -> impl Future<Output = T> {
        observer().scope(self.clone(), call)
    }
}

opaque!(Events, |events| hook = events.hook.is_some());
