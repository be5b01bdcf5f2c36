//! A token is not made, copied, printed or written by accident.

use serde::Serialize;
use tower_oidc::AccessToken;

fn made() -> AccessToken {
    AccessToken("made up".into())
}

fn copied(token: &AccessToken) -> AccessToken {
    token.clone()
}

fn printed(token: AccessToken) -> String {
    token.to_string()
}

fn written(token: AccessToken) {
    token.serialize(serde_json::value::Serializer);
}

fn as_text(token: &AccessToken) -> &str {
    token
}

fn main() {}
