//! One connection that hears what other processes wrote.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::{AsyncMessage, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::super::Change;
use super::super::changes::Changes;
use super::rows;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Listens from the first time that somebody waits or listens, until it is dropped.
pub(super) struct Listener {
    config: Config,
    tls: MakeRustlsConnect,
    changes: Arc<Changes>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Listener {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect, changes: Arc<Changes>) -> Self {
        Self { config, tls, changes, task: Mutex::default() }
    }

    pub(super) fn start(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        // It ends with the runtime that it was started on.
        if task.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let listening = listen(self.config.clone(), self.tls.clone(), Arc::clone(&self.changes));
            *task = Some(AbortOnDropHandle::new(tokio::spawn(listening)));
        }
    }
}

/// Connects again and again. Meanwhile those who wait look by themselves, and say what is wrong.
async fn listen(config: Config, tls: MakeRustlsConnect, changes: Arc<Changes>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let heard = session(&config, &tls, &changes).await;
        pause = if heard.is_ok() { FIRST_PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
        tokio::time::sleep(pause).await;
    }
}

/// Listens until the connection ends; an error where it never began to.
async fn session(config: &Config, tls: &MakeRustlsConnect, changes: &Changes) -> Result<(), Error> {
    let (client, mut connection) = config.connect(tls.clone()).await?;
    let mut listen = pin!(client.batch_execute("LISTEN tower_oidc"));
    let mut listening = false;
    loop {
        tokio::select! {
            begun = &mut listen, if !listening => {
                begun?;
                listening = true;
                // What was said before is lost: everybody looks again.
                changes.tell(Change::Any);
            }
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    changes.tell(rows::notified(notification.payload()).map_or(Change::Any, Change::Row));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None if listening => return Ok(()),
                Some(Err(error)) => return Err(error),
                // The statement above says what happened.
                None => return listen.await,
            },
        }
    }
}
