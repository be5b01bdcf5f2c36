//! What the server must promise before anything is kept in it.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{InfoDict, cmd};

use super::error::RedisFailure;
use crate::events::{EventCode, observer};

/// Refuses a server that may evict live records, and one that only repeats what another server holds; warns, once, of one
/// that forgets when it restarts.
pub(super) async fn check(connection: &mut MultiplexedConnection, warned: &AtomicBool) -> Result<(), RedisFailure> {
    let info: InfoDict = match cmd("INFO").query_async(connection).await {
        Ok(info) => info,
        Err(error) if error.is_io_error() => return Err(RedisFailure::while_connecting(&error)),
        Err(_) => {
            let text = "Redis does not say what it persists and evicts: see to it that it keeps what is written";
            warn(warned, EventCode::StoreUnchecked, text);
            return Ok(());
        }
    };
    let says = |name: &str| info.get::<String>(name).unwrap_or_default();
    // What was deleted at its master may be here for as long as they are apart.
    if says("role") == "slave" {
        return Err(RedisFailure::REPLICA);
    }
    if says("maxmemory_policy").starts_with("allkeys-") && says("maxmemory") != "0" {
        return Err(RedisFailure::EVICTS);
    }
    if says("aof_enabled") != "1" {
        let text = "Redis forgets what was written last when it restarts: set appendonly to yes";
        warn(warned, EventCode::StoreNotPersistent, text);
    }
    Ok(())
}

/// Once, as soon as there is a layer to tell it to.
fn warn(warned: &AtomicBool, code: EventCode, text: &str) {
    let told = || observer().try_with(|events| events.emit(code, None, text)).is_ok();
    if !warned.load(Ordering::Relaxed) && told() {
        warned.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let info = "# Memory\r\nused_memory:9\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n\
                    maxmemory:100\r\n";
        let field = |name: &str| InfoDict::new(info).get::<String>(name);
        assert_eq!(field("maxmemory").as_deref(), Some("100"));
        assert_eq!(field("maxmemory_policy").as_deref(), Some("noeviction"));
        assert_eq!(field("memory"), None);
    }
}
