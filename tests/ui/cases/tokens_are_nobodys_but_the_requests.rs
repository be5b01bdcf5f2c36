//! Nothing takes a person and gives tokens: neither the user, nor the layer, nor `AuthSession`.

use tower_oidc::{CurrentUser, OidcLayer, UserTokens, AuthSession};

async fn by_user(user: CurrentUser) {
    user.tokens();
}

async fn by_layer(layer: OidcLayer, user: CurrentUser) {
    layer.tokens_of(&user);
}

async fn by_users(users: AuthSession, user: CurrentUser) {
    users.tokens(&user);
}

async fn for_another(tokens: UserTokens, user: CurrentUser) {
    tokens.access_token("https://api.test", &user).await.unwrap();
}

fn main() {}
