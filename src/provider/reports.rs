//! What is told of a provider.

use std::fmt;

use super::error::ProviderError;
use super::{Provider, cause};
use crate::events::EventCode;
use crate::protocol::{ClaimsBySource, RoleClaim, RolesByRule};

impl Provider {
    pub(super) fn told<T>(&self, fetched: Result<T, ProviderError>, code: EventCode) -> Result<T, ProviderError> {
        match &fetched {
            Ok(_) => self.events.emit(code, None, &self.relying_party.issuer.url),
            Err(error) => self.tell(error),
        }
        fetched
    }

    /// It was of no use, and somebody goes on without it.
    pub(crate) fn tell(&self, error: &ProviderError) {
        let told = format!("{}: {}", self.relying_party.issuer.url, cause(error));
        self.events.emit(EventCode::ProviderFailed, None, told);
    }

    /// Reports something for its operator to mend, once after a start.
    pub(crate) fn tell_once(&self, code: EventCode, user: Option<(&str, &str)>, detail: &str) {
        if self.told.lock().insert(code) {
            self.events.emit(code, user, format_args!("{}: {detail}", self.relying_party.issuer.url));
        }
    }

    /// The roles by the configured rules. A source from which nothing came says what it said before.
    pub(crate) fn roles(&self, came: ClaimsBySource<'_>, before: &RolesByRule) -> RolesByRule {
        let tell = |why: String| self.tell_once(EventCode::RolesUnreadable, None, &why);
        let of_rule = |rule: &RoleClaim| {
            let roles = match came[rule.from as usize] {
                Some(claims) => rule.read(claims).map_err(tell).ok(),
                None => before.iter().find(|(of, _)| of == rule).map(|(_, roles)| roles.clone()),
            };
            Some((rule.clone(), roles.filter(|roles| !roles.is_empty())?))
        };
        self.relying_party.roles.iter().filter_map(of_rule).collect()
    }

    /// A member of what it sent cannot be used, and is not needed.
    pub(super) fn ignored(&self, member: fmt::Arguments<'_>) {
        let told = format!("{}: {member}", self.relying_party.issuer.url);
        self.events.emit(EventCode::ProviderMemberIgnored, None, told);
    }
}
