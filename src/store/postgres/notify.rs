//! What processes tell each other: one connection that says what this one wrote and hears what others did.
//!
//! A write does not notify in its own transaction. PostgreSQL lets one transaction at a time commit that does, disk
//! included, and thirty writers would wait twenty times as long. What is said afterwards, many rows at once, writes
//! nothing that the disk must have. A process that dies in between says nothing: whoever waits looks by themselves too.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::super::notifier::Notifier;
use super::super::{Change, Key};
use super::pool::STEP;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Where the server's notifications do not arrive at all.
const DEAF_PAUSE: Duration = Duration::from_secs(60);
/// How often this process tells itself something, to find out whether it hears.
const BEAT: Duration = Duration::from_secs(3);
/// How many rows wait to be told while the server is slow or away. The rest stays unsaid.
const BACKLOG: usize = 4096;
/// How many are told at once.
const BATCH: usize = 256;

const NOTIFY: &str = "SELECT pg_notify('tower_oidc', encode(key, 'base64')) FROM unnest($1::bytea[]) AS key";

pub(super) struct NotifyListener {
    config: Config,
    tls: MakeRustlsConnect,
    changes: Arc<Notifier>,
    /// Nothing is heard, from the end of a connection until there is another one.
    deaf: Arc<Notify>,
    task: Mutex<Option<NotifyTask>>,
}

struct NotifyTask {
    running: AbortOnDropHandle<()>,
    written: Sender<Key>,
}

impl NotifyListener {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect, changes: Arc<Notifier>) -> Self {
        Self { config, tls, changes, deaf: Arc::default(), task: Mutex::default() }
    }

    /// Tells this process at once and the others soon.
    pub(super) fn tell(&self, key: Key) {
        self.changes.tell(Change::Row(key));
        let _ = self.begin().try_send(key);
    }

    /// Completes when nothing is heard any more, after this call; once, until something is heard again.
    pub(super) fn deaf(&self) -> Notified<'_> {
        self.deaf.notified()
    }

    /// Hears from now on what others tell, until this is dropped.
    pub(super) fn begin(&self) -> Sender<Key> {
        let mut task = self.task.lock();
        match &*task {
            Some(task) if !task.running.is_finished() => task.written.clone(),
            // Nobody asked yet, or the runtime has ended that it ran on.
            _ => {
                let (written, told) = channel(BACKLOG);
                let exchange = exchange(
                    self.config.clone(),
                    self.tls.clone(),
                    Arc::clone(&self.changes),
                    told,
                    Arc::clone(&self.deaf),
                );
                let running = AbortOnDropHandle::new(tokio::spawn(exchange));
                *task = Some(NotifyTask { running, written: written.clone() });
                written
            }
        }
    }
}

/// Connects again and again. Meanwhile those who wait look by themselves, and say what is wrong.
async fn exchange(
    config: Config,
    tls: MakeRustlsConnect,
    changes: Arc<Notifier>,
    mut written: Receiver<Key>,
    deaf: Arc<Notify>,
) {
    let (mut pause, mut is_told) = (FIRST_PAUSE, false);
    loop {
        if let Ok(Ok((client, connection))) = timeout(STEP, config.connect(tls.clone())).await {
            let (this, beats) = (AtomicI32::new(0), AtomicU64::new(0));
            tokio::select! {
                () = hear(connection, &changes, (&this, &beats)) => {}
                _ = speak(&client, &changes, (&this, &beats), &mut written) => {}
            }
            if this.load(Ordering::Relaxed) != 0 {
                // One on which nothing was ever heard is not mended by another one at once.
                let has_heard = beats.load(Ordering::Relaxed) > 0;
                pause = if has_heard { FIRST_PAUSE } else { DEAF_PAUSE };
                is_told &= !has_heard;
            }
        }
        if !std::mem::replace(&mut is_told, true) {
            deaf.notify_waiters();
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Passes on what other connections than this one said, until the connection ends.
async fn hear<S>(
    mut connection: Connection<Socket, S>,
    changes: &Notifier,
    (this, beats): (&AtomicI32, &AtomicU64),
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        let AsyncMessage::Notification(notification) = message else { continue };
        if notification.process_id() == this.load(Ordering::Relaxed) {
            beats.fetch_add(1, Ordering::Relaxed);
        } else if !notification.payload().is_empty() {
            changes.tell(row(notification.payload()).map_or(Change::Any, Change::Row));
        }
    }
}

/// `None` when the server is away or does not answer.
async fn speak(
    client: &Client,
    changes: &Notifier,
    (this, beats): (&AtomicI32, &AtomicU64),
    written: &mut Receiver<Key>,
) -> Option<()> {
    let begun = async {
        let process = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        client.batch_execute("LISTEN tower_oidc").await?;
        this.store(process, Ordering::Relaxed);
        // What was said before is lost: everybody looks again.
        changes.tell(Change::Any);
        client.prepare(NOTIFY).await
    };
    let notify = timeout(STEP, begun).await.ok()?.ok()?;
    let mut keys = Vec::with_capacity(BATCH);
    // This process tells itself something: a connection on which that is not heard hears nothing of others either, as
    // behind a pooler that gives each transaction another one.
    let (mut beat, mut heard) = (interval(BEAT), None);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            count = written.recv_many(&mut keys, BATCH) => {
                if count == 0 {
                    return Some(());
                }
                let rows: Vec<&[u8]> = keys.iter().map(|key| &key.0[..]).collect();
                timeout(STEP, client.execute(&notify, &[&rows])).await.ok()?.ok()?;
                keys.clear();
            }
            _ = beat.tick() => {
                let now = beats.load(Ordering::Relaxed);
                if heard.replace(now) == Some(now) {
                    return None;
                }
                timeout(STEP, client.execute("SELECT pg_notify('tower_oidc', '')", &[])).await.ok()?.ok()?;
            }
        }
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
