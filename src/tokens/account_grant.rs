//! The grant of the account that serves the whole application: where it comes from, and whether it still counts.

use crate::config::{AccountSource, CheckedConnection, Resources, SharedAccount};
use crate::records::grant::{encode, seed};
use crate::records::{Grant, GrantSource, Owner};

impl SharedAccount {
    /// What its grants come from, in bytes for the names of their rows: a grant that came from elsewhere lies in another
    /// row. `asked` says what a connection's tokens are asked with.
    pub(crate) fn variant(&self, asked: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        match &self.source {
            AccountSource::Admin => encode(&[b"consent"]),
            // Nothing but the configuration says what these are good for, and new ones are there for the asking.
            AccountSource::ClientCredentials => encode(&[b"client credentials", &asked()]),
            AccountSource::RefreshToken(token) => encode(&[b"configured", &seed(token)]),
        }
    }

    /// What the account has without anybody's doing.
    pub(crate) fn beginning(&self, connection: &CheckedConnection, client: [u8; 32]) -> Option<Grant> {
        let (refresh_token, origin) = match &self.source {
            AccountSource::ClientCredentials => (None, GrantSource::ClientCredentials),
            AccountSource::RefreshToken(token) => {
                (Some(token.clone()), GrantSource::Configured { seed: seed(token) })
            }
            AccountSource::Admin => return None,
        };
        let owner = Owner::Account { name: self.name.to_string() };
        // As configured, until the provider says what it is.
        let scopes = connection.scopes.clone();
        Some(Grant { refresh_token, scopes, ..Grant::new(owner, client, &connection.name, origin) })
    }

    /// What an operator does where there is no token.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.source {
            AccountSource::ClientCredentials => {
                "the provider refuses the application's own credentials: look at its registration there, and at the \
                 scopes"
            }
            AccountSource::RefreshToken(_) => {
                "the provider refuses the account's refresh token, or did not grant what is asked for: configure \
                 another one (ACCOUNT_REFRESH_TOKEN); where the events say that it refuses the application itself, \
                 mend its registration there"
            }
            AccountSource::Admin => {
                "an admin connects the account at /auth/connect, below the public URL; where the events say that the \
                 provider refuses the application itself, first mend its registration there"
            }
        }
    }
}

/// What a connection's tokens are asked with, in whatever order that is configured.
pub(crate) fn asked(connection: &CheckedConnection, resources: &Resources) -> Vec<u8> {
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
