//! Protocol, seals, sessions and grants are no part of what this crate offers.

use tower_oidc::flow::refresh::access_token;
use tower_oidc::grant::{Grant, Owner};
use tower_oidc::protocol::id_token::IdToken;
use tower_oidc::records::Records;
use tower_oidc::runtime::Runtime;
use tower_oidc::seal::KeyRing;
use tower_oidc::session::{Session, SessionId};

fn main() {}
