//! Everything a provider can get wrong, one line each, with what a relying party must make of it.
//!
//! Tests walk the tables (`for lie in lies::ID_TOKEN { op.lie(*lie); … }`) or name one: `op.lie("nonce
//! wrong")`. Names are unique over all tables.

mod authorization;
mod id_token;
mod logout_token;
mod metadata;
mod tokens;

use super::LyingProvider;

pub use authorization::AUTHORIZATION;
pub use id_token::{CLAIMS, SIGNATURE, TEXT};
pub use logout_token::{LOGOUT_TOKEN, LogoutLie};
pub use metadata::{DISCOVERY, KEY_SET};
pub use tokens::{REFRESH, REFRESHED_ID_TOKEN, SIGNED_USERINFO, TOKENS, USERINFO};

/// One lie.
#[derive(Clone, Copy, Debug)]
pub struct Lie {
    pub name: &'static str,
    pub verdict: Verdict,
    pub(super) tell: fn(&LyingProvider),
}

/// What an honest login with an ordinary configuration comes to under a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No session, no token used.
    Refused,
    /// Odd and allowed: all goes well.
    Accepted,
    /// The configuration, or what came before, decides.
    Depends,
}

impl Lie {
    /// Every table.
    pub const ALL: [&'static [Self]; 11] = [
        AUTHORIZATION,
        CLAIMS,
        SIGNATURE,
        TEXT,
        DISCOVERY,
        KEY_SET,
        TOKENS,
        USERINFO,
        SIGNED_USERINFO,
        REFRESH,
        REFRESHED_ID_TOKEN,
    ];

    /// # Panics
    ///
    /// Where there is no such lie.
    pub fn named(name: &str) -> Self {
        let mut all = Self::ALL.into_iter().flatten();
        *all.find(|lie| lie.name == name).unwrap_or_else(|| panic!("no lie is called {name:?}"))
    }
}

impl From<&str> for Lie {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

const fn refused(name: &'static str, tell: fn(&LyingProvider)) -> Lie {
    Lie { name, verdict: Verdict::Refused, tell }
}

const fn accepted(name: &'static str, tell: fn(&LyingProvider)) -> Lie {
    Lie { name, verdict: Verdict::Accepted, tell }
}

const fn depends(name: &'static str, tell: fn(&LyingProvider)) -> Lie {
    Lie { name, verdict: Verdict::Depends, tell }
}

/// A text larger than any answer needs to be: above 1 MiB.
fn huge() -> String {
    "x".repeat(1_200_000)
}
