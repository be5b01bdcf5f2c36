//! What acts as anybody is no extractor, and nothing that a request brings leads to it.

use axum::extract::FromRequestParts;
use tower_oidc::{BackgroundTokens, CurrentUser, OidcLayer, OwnerTokens, SessionAdmin, UserTokens};

fn extracted<T: FromRequestParts<()>>() {}

fn main() {
    extracted::<UserTokens>();
    extracted::<BackgroundTokens>();
    extracted::<OwnerTokens>();
    extracted::<OidcLayer>();
    extracted::<SessionAdmin>();
}

fn from_a_request(tokens: UserTokens, user: CurrentUser) {
    let _ = tokens.of(user.issuer(), user.subject());
    let _ = tokens.background_tokens();
    let _ = BackgroundTokens::default();
    let _: OwnerTokens = user.into();
}
