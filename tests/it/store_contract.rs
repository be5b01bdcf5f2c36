//! The contract's suite over each store of the crate.

use std::sync::Arc;

use tower_oidc::store::{MemoryStore, contract};

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract::check(Arc::new(MemoryStore::new())).await;
    let one = MemoryStore::new();
    contract::check_two(Arc::new(one.clone()), Arc::new(one)).await;
}
