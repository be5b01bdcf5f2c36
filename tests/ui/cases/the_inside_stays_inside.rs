//! Protocol, seals, sessions and grants are no part of what this crate offers.

use tower_oidc::protocol::id_token::IdToken;
use tower_oidc::provider::Provider;
use tower_oidc::records::Records;
use tower_oidc::records::grant::{Grant, Owner};
use tower_oidc::records::seal::KeyRing;
use tower_oidc::sessions::session::Session;
use tower_oidc::state::Runtime;
use tower_oidc::tokens::access_token;

fn main() {}
