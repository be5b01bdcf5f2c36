//! What the server must promise before anything is kept in it.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};

use super::error::RedisFailure;
use crate::events::{EventCode, observer};

/// Refuses a server that may evict live records, and one that only repeats what another server holds; warns, once, of one
/// that forgets when it restarts.
pub(super) async fn check(
    connection: &mut MultiplexedConnection,
    warned: &AtomicBool,
) -> Result<(), RedisFailure> {
    let mut said = String::new();
    for section in ["memory", "persistence", "replication"] {
        match info(connection, section).await {
            Ok(text) => said.push_str(&text),
            Err(error) if error.is_io_error() => return Err(RedisFailure::while_connecting(&error)),
            Err(_) => {
                let text =
                    "Redis does not say what it persists and evicts: see to it that it keeps what is written";
                warn(warned, EventCode::StoreUnchecked, text);
                return Ok(());
            }
        }
        said.push('\n');
    }
    // What was deleted at its master may be here for as long as they are apart.
    if field(&said, "role") == Some("slave") {
        return Err(RedisFailure::REPLICA);
    }
    let evicts = field(&said, "maxmemory_policy").is_some_and(|policy| policy.starts_with("allkeys-"));
    if evicts && field(&said, "maxmemory") != Some("0") {
        return Err(RedisFailure::EVICTS);
    }
    if field(&said, "aof_enabled") != Some("1") {
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

async fn info(connection: &mut MultiplexedConnection, section: &str) -> RedisResult<String> {
    cmd("INFO").arg(section).query_async(connection).await
}

/// A line of `INFO`: `name:value`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let info = "# Memory\r\nused_memory:9\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n\
                    maxmemory:100\r\n";
        assert_eq!(field(info, "maxmemory"), Some("100"));
        assert_eq!(field(info, "maxmemory_policy"), Some("noeviction"));
        assert_eq!(field(info, "memory"), None);
    }
}
