//! Whose tokens they are is the request's: no constructor, no fields, no conversion.

use tower_oidc::{CurrentUser, UserTokens};

fn of(user: CurrentUser) -> UserTokens {
    UserTokens::new(user)
}

fn changed(tokens: UserTokens, user: CurrentUser) -> UserTokens {
    UserTokens { user, ..tokens }
}

fn converted(user: CurrentUser) -> UserTokens {
    user.into()
}

fn default() -> UserTokens {
    Default::default()
}

fn main() {}
