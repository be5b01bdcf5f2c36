//! Events: what happened, under codes that stay, for operators and for the application.

use std::fmt;
use std::sync::Arc;

/// What an event is about. [`EventCode::as_str`] never changes for a kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventCode {
    /// A person was sent to the provider.
    LoginStarted,
    /// A person signed in.
    LoginSucceeded,
    /// A login ended without a session; the detail says why.
    LoginRefused,
    /// A session was ended; the detail says by whom.
    LoggedOut,
    /// A logout that claimed to come from a provider was refused; the detail says why.
    LogoutRefused,
    /// A provider's logout did not end all that it had to. The provider was told so.
    LogoutIncomplete,
    /// A provider's logout named no session that is kept here: it is over already, or was never known by that name.
    LogoutUnmatched,
    /// A person granted a connection; the detail is its name.
    Connected,
    /// A person took a connection back; the detail is its name.
    DisconnectOutcome,
    /// A token was refreshed.
    RefreshSucceeded,
    /// Somebody else had refreshed it already.
    RefreshAdopted,
    /// The provider refused the refresh token for good: the person must grant again.
    RefreshRefused,
    /// The refresh did not work this time; the grant is kept.
    RefreshFailed,
    /// A refresh brought somebody else's tokens. They were thrown away and the grant with them.
    RefreshAnotherOwner,
    /// A refreshed grant could not be written. It is kept in memory and tried again, unless the store refuses it for good.
    RefreshNotWritten,
    /// Tokens that the provider issued are not kept, and were not revoked; the detail says why.
    TokensDropped,
    /// The application's one account cannot be used, or will not be after the next start; the detail says what the
    /// operator does.
    NeedsOperator,
    /// The provider's metadata was read.
    MetadataFetched,
    /// The provider's key set was read.
    KeySetFetched,
    /// The provider did not answer, or not as it must.
    ProviderFailed,
    /// The store did not answer.
    StoreFailed,
    /// A record or cookie under our own key did not open in its place: it was changed or moved.
    Tampered,
    /// A record is sealed with a secret, or in a format, that this process does not have.
    Unreadable,
    /// A grant has become larger than cookies may be (stateless mode): it stays where the processes meet.
    CookiesTooLarge,
    /// A request that another site may have forged was refused.
    CrossSiteRefused,
    /// People are sent to the login, and no request for it arrives: the layer is not outermost.
    LayerNotReached,
    /// The development provider is in use.
    DevelopmentProvider,
    /// The development provider is in use, and a request came from another machine or was for another host: it was
    /// refused.
    NotLoopback,
    /// A sealing secret was made up at start: sessions end with this process.
    SecretMadeUp,
}

impl EventCode {
    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginStarted => "login.started",
            Self::LoginSucceeded => "login.succeeded",
            Self::LoginRefused => "login.refused",
            Self::LoggedOut => "logout",
            Self::LogoutRefused => "logout.refused",
            Self::LogoutIncomplete => "logout.incomplete",
            Self::LogoutUnmatched => "logout.unmatched",
            Self::Connected => "connection.granted",
            Self::DisconnectOutcome => "connection.removed",
            Self::RefreshSucceeded => "refresh.succeeded",
            Self::RefreshAdopted => "refresh.adopted",
            Self::RefreshRefused => "refresh.refused",
            Self::RefreshFailed => "refresh.failed",
            Self::RefreshAnotherOwner => "refresh.another_owner",
            Self::RefreshNotWritten => "refresh.not_written",
            Self::TokensDropped => "tokens.dropped",
            Self::NeedsOperator => "account.needs_operator",
            Self::MetadataFetched => "provider.metadata",
            Self::KeySetFetched => "provider.key_set",
            Self::ProviderFailed => "provider.failed",
            Self::StoreFailed => "store.failed",
            Self::Tampered => "seal.tampered",
            Self::Unreadable => "seal.unreadable",
            Self::CookiesTooLarge => "cookies.too_large",
            Self::CrossSiteRefused => "request.cross_site",
            Self::LayerNotReached => "layer.not_reached",
            Self::DevelopmentProvider => "provider.development",
            Self::NotLoopback => "request.not_loopback",
            Self::SecretMadeUp => "secret.made_up",
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
                | Self::DisconnectOutcome
                | Self::RefreshSucceeded
                | Self::RefreshAdopted
                | Self::MetadataFetched
                | Self::KeySetFetched
        )
    }
}

/// Something that happened. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What.
    pub code: EventCode,
    /// To whom, where that is known: issuer and subject.
    pub user: Option<(String, String)>,
    /// Why, in a few words that may change.
    pub detail: String,
}

/// Where events go: always to `tracing` under the target `tower_oidc`, and to the application's hook.
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
            hook(&event);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("hook", &self.hook.is_some()).finish()
    }
}
