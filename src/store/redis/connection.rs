//! The connection: made when it is needed, given up when it fails, never in anybody's way for long.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError,
    RedisResult, ServerErrorKind, Value, cmd,
};
use rustls::crypto::CryptoProvider;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::error::RedisFailure;
use super::script::Script;
use super::server_checks;
use crate::crypto::tls;
use crate::store::notifier::Notifier;
use crate::store::{Change, Key, StoreError};

/// Callers wait five seconds for a store: each call ends before, with an error if need be.
const CALL: Duration = Duration::from_millis(4750);
const CONNECTING: Duration = Duration::from_secs(2);
const ANSWERING: Duration = Duration::from_millis(2750);
/// How often who listens asks whether the server is still there.
const BEAT: Duration = Duration::from_secs(3);

/// How often who waits looks at its row while changes are heard, and while they are not.
const HEARING: Duration = Duration::from_secs(1);
const DEAF: Duration = Duration::from_millis(100);

/// A server, and the one connection to it.
pub(super) struct ConnectionManager {
    pub(super) client: Client,
    channel: Vec<u8>,
    pub(super) state: Arc<LinkState>,
    /// Held by whoever connects, so that the others wait for that attempt instead of making their own.
    connecting: tokio::sync::Mutex<()>,
    warned: AtomicBool,
}

#[derive(Default)]
pub(super) struct LinkState {
    current: Mutex<OpenConnection>,
    pub(super) changes: Notifier,
    /// A connection is lost.
    pub(super) lost: Notify,
}

#[derive(Clone, Default)]
struct OpenConnection {
    /// How many attempts there were to connect. The connection's name, too.
    attempts: u64,
    /// What came of the last one, unless it was lost since.
    outcome: Option<Result<RedisConnection, RedisFailure>>,
}

#[derive(Clone)]
struct RedisConnection {
    attempt: u64,
    requests: MultiplexedConnection,
    /// Whether the server tells every change without being asked: this user may hear it.
    hears: bool,
}

impl LinkState {
    /// Gives up this connection, unless it has been replaced already.
    fn forget(&self, attempt: u64) {
        let mut current = self.current.lock();
        if current.attempts == attempt {
            current.outcome = None;
        }
    }
}

/// The connection is of no use any more. A server that became a replica, or wants the password again, is asked anew:
/// its name may lead somewhere else by now.
fn is_lost(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "NOAUTH"))
}

impl ConnectionManager {
    pub(super) fn with(client: Client, channel: &[u8]) -> Self {
        let (state, connecting, warned) = Default::default();
        Self { client, channel: channel.to_vec(), state, connecting, warned }
    }

    /// Runs a script, which the server may or may not know already.
    ///
    /// Where its answer is lost it is sent again if it is `conditional`: it does nothing unless the row is at a version,
    /// and no two writings share one. Any other might undo what another process did since the first one.
    pub(super) async fn run(
        &self, script: &Script, keys: &[&[u8]], arguments: &[&[u8]], conditional: bool,
    ) -> Result<i64, StoreError> {
        let invocation = |name: &str, which: &str| {
            let mut command = cmd(name);
            command.arg(which).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        let asked = async {
            match self.try_ask(&invocation("EVALSHA", &script.hash), conditional).await {
                Err(failure) if failure.code.as_deref() == Some("NOSCRIPT") => {
                    self.try_ask(&invocation("EVAL", &script.source), conditional).await
                }
                other => other,
            }
        };
        let (answer, repeated) = timeout(CALL, asked).await.unwrap_or(Err(RedisFailure::UNANSWERED))?;
        match answer {
            // The first one may have done it, and another process may have written since.
            Value::Int(0) if repeated => Err(RedisFailure::UNANSWERED.into()),
            Value::Int(number) => Ok(number),
            _ => Err(RedisFailure::STRANGE.into()),
        }
    }

    /// A command that writes nothing.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        let answer = timeout(CALL, self.try_ask(command, true)).await.unwrap_or(Err(RedisFailure::UNANSWERED));
        answer.map(|(answer, _)| answer).map_err(|failure| StoreError::from(failure).of_a_read())
    }

    /// Sends a command, and once more where its connection was lost, if it is `repeatable` or was refused the first time.
    /// Says with the answer whether the first one may have been done as well.
    async fn try_ask(&self, command: &Cmd, repeatable: bool) -> Result<(Value, bool), RedisFailure> {
        let mut first: Option<RedisError> = None;
        loop {
            let unknown = first.as_ref().filter(|first| first.code().is_none()).map(RedisFailure::from);
            let connected = self.connection().await;
            let mut connection = connected.map_err(|failure| unknown.clone().unwrap_or(failure))?;
            let error = match connection.requests.send_packed_command(command).await.and_then(Value::extract_error) {
                Ok(answer) => return Ok((answer, unknown.is_some())),
                Err(error) => error,
            };
            if is_lost(&error) {
                self.state.forget(connection.attempt);
                if first.is_none() && !error.is_timeout() && (repeatable || error.code().is_some()) {
                    first = Some(error);
                    continue;
                }
            }
            return Err(unknown.unwrap_or_else(|| RedisFailure::from(&error)));
        }
    }

    /// Returns once the server does not answer any more.
    pub(super) async fn beat(&self) -> StoreError {
        loop {
            sleep(BEAT).await;
            if let Err(error) = self.ask(&cmd("PING")).await {
                return error;
            }
        }
    }

    /// Connects, unless it is connected, and says whether changes will be heard.
    pub(super) async fn ready(&self) -> Result<bool, StoreError> {
        Ok(self.connection().await?.hears)
    }

    /// How long whoever waits for word looks at nothing.
    pub(super) fn patience(&self) -> Duration {
        let hears = matches!(&self.state.current.lock().outcome, Some(Ok(connection)) if connection.hears);
        if hears { HEARING } else { DEAF }
    }

    async fn connection(&self) -> Result<RedisConnection, RedisFailure> {
        let last = || self.state.current.lock().clone();
        let before = last();
        if let Some(Ok(connection)) = before.outcome {
            return Ok(connection);
        }
        let _connecting = self.connecting.lock().await;
        let OpenConnection { attempts, outcome } = last();
        match outcome {
            Some(Ok(connection)) => return Ok(connection),
            // Somebody tried while we waited for our turn.
            Some(Err(failure)) if attempts != before.attempts => return Err(failure),
            _ => {}
        }
        let connected = timeout(CONNECTING, self.connect(attempts + 1)).await;
        let connected = connected.unwrap_or(Err(RedisFailure::AWAY));
        let outcome = Some(connected.clone());
        *self.state.current.lock() = OpenConnection { attempts: attempts + 1, outcome };
        connected
    }

    async fn connect(&self, attempt: u64) -> Result<RedisConnection, RedisFailure> {
        let state = Arc::downgrade(&self.state);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(Some(ANSWERING))
            .set_push_sender(move |push| {
                hear(&push, attempt, &state);
                Ok::<_, redis::aio::SendError>(())
            });
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut requests = connecting.await.map_err(|error| RedisFailure::while_connecting(&error))?;
        server_checks::check(&mut requests, &self.warned).await?;
        let hears = match requests.subscribe(&self.channel[..]).await {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => false,
            Err(error) => return Err(RedisFailure::while_connecting(&error)),
        };
        // What was changed before this moment was not told.
        self.state.changes.tell(Change::Any);
        Ok(RedisConnection { attempt, requests, hears })
    }
}

/// The client, with connections on which notifications arrive.
pub(super) fn with_resp3(client: &Client) -> RedisResult<Client> {
    let info = client.get_connection_info();
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // The client takes the process's provider, and panics where there is none.
        let _ = CryptoProvider::clone(&tls::crypto_provider()).install_default();
    }
    // Notifications arrive on the connection that asks only with RESP3, whatever the settings say.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.clone().set_redis_settings(settings))
}

/// What the server says without being asked, and that the connection is gone.
fn hear(push: &PushInfo, attempt: u64, state: &Weak<LinkState>) {
    let Some(state) = state.upgrade() else { return };
    match (&push.kind, &push.data[..]) {
        (PushKind::Message, [_channel, Value::BulkString(key)]) => {
            if let Ok(key) = key[..].try_into() {
                state.changes.tell(Change::Row(Key(key)));
            }
        }
        (PushKind::Disconnection, _) => {
            state.forget(attempt);
            // Whoever listens begins anew. Nobody has missed anything before there is a connection again: what was
            // known a moment ago is good for as long as it is while nothing is heard.
            state.lost.notify_waiters();
        }
        _ => {}
    }
}
