//! What processes tell each other: one connection that says what this one wrote and hears what others did.
//!
//! A write does not notify in its own transaction. PostgreSQL lets one transaction at a time commit that does, disk
//! included, and thirty writers would wait twenty times as long. What is said afterwards, many rows at once, writes
//! nothing that the disk must have. A process that dies in between says nothing: whoever waits looks by themselves too.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_util::task::AbortOnDropHandle;

use super::super::notifier::Notifier;
use super::super::{Change, Key, StoreError};
use super::pool::{PostgresServer, STEP};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After how long without news the server is asked whether it is still there.
const BEAT: Duration = Duration::from_secs(3);
/// How many rows wait to be told while the server is slow or away. The rest stays unsaid.
const BACKLOG: usize = 4096;
/// How many are told at once.
const BATCH: usize = 256;

const NOTIFY: &str = "SELECT pg_notify('tower_oidc', encode(key, 'base64')) FROM unnest($1::bytea[]) AS key";

pub(super) struct NotifyListener {
    /// None where only a pooler is known, which passes no notifications: nothing is told and nothing is heard.
    server: Option<PostgresServer>,
    exchange: Exchange,
    task: Mutex<Option<NotifyTask>>,
}

/// The receivers of news in this process.
#[derive(Clone)]
struct Exchange {
    changes: Arc<Notifier>,
    /// Whether changes of other processes are heard.
    hears: watch::Sender<bool>,
}

struct NotifyTask {
    running: AbortOnDropHandle<()>,
    written: Sender<Key>,
}

impl NotifyListener {
    pub(super) fn new(server: Option<PostgresServer>, changes: Arc<Notifier>) -> Self {
        let hears = watch::Sender::new(false);
        Self { server, exchange: Exchange { changes, hears }, task: Mutex::default() }
    }

    /// Tells this process at once and the others soon.
    pub(super) fn tell(&self, key: Key) {
        self.exchange.changes.tell(Change::Row(key));
        let _ = self.begin().map(|written| written.try_send(key));
    }

    /// Passes on what is told here and by others, while others are heard. Ends at once where they never are.
    pub(super) async fn relay(&self, heard: &(dyn Fn(Change) + Send + Sync)) -> Result<(), StoreError> {
        let Some(written) = self.begin() else { return Ok(()) };
        let mut hears = self.exchange.hears.subscribe();
        let ended = |detail| Err(StoreError::unavailable("PostgreSQL notifies this process of no change", detail));
        if !timeout(STEP * 2, hears.wait_for(|hears| *hears)).await.is_ok_and(|heard| heard.is_ok()) {
            return ended("the connection for LISTEN cannot be made");
        }
        tokio::select! {
            ended = self.exchange.changes.relay(heard) => ended,
            _ = hears.wait_for(|hears| !hears) => ended("the connection for LISTEN is lost"),
            () = written.closed() => ended("the tokio runtime has ended that listened"),
        }
    }

    /// Hears from now on what others tell, until this is dropped.
    pub(super) fn begin(&self) -> Option<Sender<Key>> {
        let server = self.server.as_ref()?;
        let mut task = self.task.lock();
        match &*task {
            Some(task) if !task.running.is_finished() => Some(task.written.clone()),
            // Nobody asked yet, or the runtime has ended that it ran on.
            _ => {
                self.exchange.hears.send_replace(false);
                let (written, told) = channel(BACKLOG);
                let running = AbortOnDropHandle::new(tokio::spawn(self.exchange.clone().run(server.clone(), told)));
                *task = Some(NotifyTask { running, written: written.clone() });
                Some(written)
            }
        }
    }
}

impl Exchange {
    /// Connects again and again. Meanwhile those who wait look by themselves, and say what is wrong.
    async fn run(self, (config, tls): PostgresServer, mut written: Receiver<Key>) {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Ok(Ok((client, connection))) = timeout(STEP, config.connect(tls.clone())).await {
                let this = AtomicI32::new(0);
                tokio::select! {
                    () = self.hear(connection, &this) => {}
                    _ = self.speak(&client, &this, &mut written) => {}
                }
                self.hears.send_replace(false);
                if this.load(Ordering::Relaxed) != 0 {
                    pause = FIRST_PAUSE;
                }
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Passes on what other connections than this one said, until the connection ends.
    async fn hear<S: AsyncRead + AsyncWrite + Unpin>(&self, mut connection: Connection<Socket, S>, this: &AtomicI32) {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message
                && notification.process_id() != this.load(Ordering::Relaxed)
            {
                self.changes.tell(row(notification.payload()).map_or(Change::Any, Change::Row));
            }
        }
    }

    /// `None` when the server is away or does not answer.
    async fn speak(&self, client: &Client, this: &AtomicI32, written: &mut Receiver<Key>) -> Option<()> {
        let begun = async {
            let process = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
            client.batch_execute("LISTEN tower_oidc").await?;
            this.store(process, Ordering::Relaxed);
            // What was said before is lost: everybody looks again.
            self.changes.tell(Change::Any);
            self.hears.send_replace(true);
            client.prepare(NOTIFY).await
        };
        let notify = timeout(STEP, begun).await.ok()?.ok()?;
        let mut keys = Vec::with_capacity(BATCH);
        // Where there is nothing to tell, telling nothing shows that the connection works.
        while timeout(BEAT, written.recv_many(&mut keys, BATCH)).await != Ok(0) {
            let rows: Vec<&[u8]> = keys.iter().map(|key| &key.0[..]).collect();
            timeout(STEP, client.execute(&notify, &[&rows])).await.ok()?.ok()?;
            keys.clear();
        }
        Some(())
    }
}

/// The row that a notification names.
fn row(payload: &str) -> Option<Key> {
    STANDARD.decode(payload).ok()?.try_into().ok().map(Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_row_may_be_any() {
        let key: [u8; 32] = std::array::from_fn(|index| index as u8);
        assert_eq!(row(&STANDARD.encode(key)), Some(Key(key)));
        for other in ["", "00", &"A".repeat(43), &"x".repeat(44), &"x".repeat(64), &"é".repeat(32)] {
            assert_eq!(row(other), None, "{other}");
        }
    }
}
