//! Where it keeps sessions and tokens.

use std::error::Error as StdError;
use std::sync::Arc;

use tower_oidc::store::{MemoryStore, Store};

use crate::variable;

/// The store that `TOKEN_STORE` names. A database may be away when the demo starts: requests get 503 until it is back.
pub(crate) fn store() -> Result<Arc<dyn Store>, Box<dyn StdError>> {
    let wanted = variable("TOKEN_STORE").unwrap_or_else(|| "memory".to_owned());
    match wanted.split_once(':') {
        None if wanted == "memory" => Ok(Arc::new(MemoryStore::new())),
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => Ok(Arc::new(tower_oidc::store::SqliteStore::open(path)?)),
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(tower_oidc::store::PostgresStore::connect_lazy(&wanted)?)),
        #[cfg(feature = "redis")]
        Some(("redis" | "rediss", _)) => Ok(Arc::new(tower_oidc::store::RedisStore::connect_lazy(&wanted)?)),
        // It may hold a password, and is not repeated.
        _ => Err("TOKEN_STORE is not memory, and none of sqlite:PATH, postgres://…, redis://… and rediss://… that \
                  this program has: cargo run --example demo --features sqlite,postgres,redis"
            .into()),
    }
}

/// The name of the store in `TOKEN_STORE`, without user, password and parameters.
pub(crate) fn name() -> String {
    let wanted = variable("TOKEN_STORE").unwrap_or_else(|| "memory".to_owned());
    let place = wanted.rsplit_once('@').map_or(&*wanted, |(_, place)| place);
    place.split_once('?').map_or(place, |(place, _)| place).to_owned()
}
