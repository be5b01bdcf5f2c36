//! Nobody is signed in but by the layer.

use serde::Deserialize;
use tower_oidc::{Admin, CurrentUser};

fn new() {
    let _ = CurrentUser::new;
}

fn built() -> CurrentUser {
    CurrentUser { issuer: "https://op.test", subject: "a1" }
}

fn read(text: serde_json::Value) -> CurrentUser {
    CurrentUser::deserialize(text).unwrap()
}

fn promoted(user: CurrentUser) -> Admin {
    Admin(user)
}

fn main() {}
