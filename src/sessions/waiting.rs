//! Work that waits for the end of a session. Each such future looks at the store when a change of its session is heard, and
//! again and again in case that it is not: those looks take turns. Nothing is done before somebody waits.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::session::{Session, SessionRecord};
use super::session_row;
use crate::clock::Timestamp;
use crate::records::{FOREVER, Loaded, Records};
use crate::store::StoreError;

/// So many looks at a time, each for so long: 500 a second.
const TURNS: usize = 10;
const TURN: Duration = Duration::from_millis(20);
/// While the store tells of changes, a look finds only what it failed to tell.
const TOLD: Duration = Duration::from_secs(10 * 60);
/// The shortest time between two looks, whatever the configuration believes.
const SHORTEST: Duration = Duration::from_millis(100);

/// Those who wait in this process. Each of them holds this.
pub(super) struct Waiting {
    records: Arc<Records>,
    idle_lifetime: Duration,
    max_staleness: Duration,
    /// For looks because of a change, and for those that are due: neither waits for the other.
    turns: [Semaphore; 2],
}

impl Waiting {
    pub(super) fn new(records: Arc<Records>, idle_lifetime: Duration, max_staleness: Duration) -> Arc<Self> {
        Arc::new(Self { records, idle_lifetime, max_staleness, turns: [Semaphore::new(TURNS), Semaphore::new(TURNS)] })
    }

    /// Returns when the session has ended.
    pub(super) async fn ended(self: Arc<Self>, session: Arc<Session>) {
        let Self { records, max_staleness, .. } = &*self;
        let news = &records.invalidations;
        records.listen();
        let notes = records.known_index().map(|index| session.watch(&index));
        let notes = notes.iter().flat_map(|notes| notes.iter()).map(|(note, _)| *note);
        let rows = notes.chain([session.id.row(&records.keys).key]);
        let rows: Vec<_> = rows.map(|row| news.rows.register(row)).collect();
        let listen = || {
            let rows: Vec<_> = rows.iter().map(|row| Box::pin(row.changed.notified())).collect();
            (rows, Box::pin(news.any.notified()))
        };
        let mut heard = listen();
        // What changed before somebody listened is seen now.
        let confirmed = session.liveness.kept_until().min(session.ends_at);
        let mut lasts = Some(if session.has_news(news) { records.clock.now() } else { confirmed });
        while let Some(until) = lasts {
            let (rows, any) = &mut heard;
            let changed = poll_fn(|context| {
                let is_heard = rows.iter_mut().any(|row| row.as_mut().poll(context).is_ready());
                if is_heard { Poll::Ready(()) } else { Poll::Pending }
            });
            let waiting = Arc::strong_count(&self);
            let left = until.duration_since(records.clock.now());
            let due = async {
                let _ = timeout(pause(left, waiting, news.is_told(), *max_staleness), any).await;
                turn(&self.turns[0]).await;
            };
            tokio::select! { () = changed => turn(&self.turns[1]).await, () = due => {} }
            // Before the look: what changes meanwhile is news.
            heard = listen();
            // A store that is away ends nothing, and is asked again soon.
            let soon = records.clock.now().saturating_add(*max_staleness);
            lasts = Box::pin(self.lasts_until(&session)).await.unwrap_or(Some(soon));
        }
    }

    /// Until when a session lasts if nobody uses it; `None` where it has ended. To look is no use of it.
    async fn lasts_until(&self, session: &Session) -> Result<Option<Timestamp>, StoreError> {
        let (records, now) = (&self.records, self.records.clock.now());
        if session.has_ended() || now >= session.ends_at {
            return Ok(None);
        }
        if session.is_token {
            return Ok(Some(session.ends_at));
        }
        if session.is_kept_by_browser() {
            let until = session.expires_at(self.idle_lifetime);
            let ends = now >= until || session_row::has_ended(session, records).await?;
            return Ok((!ends).then_some(until));
        }
        Ok(match records.load::<SessionRecord>(&session.id.row(&records.keys)).await? {
            Loaded::Found(found) => Some(found.expires_at),
            Loaded::Absent(_) => None,
            // It comes back with the secret, and nothing has ended it.
            Loaded::Unreadable => Some(FOREVER),
        })
    }
}

async fn turn(turns: &Semaphore) {
    let _turn = turns.acquire().await;
    sleep(TURN).await;
}

/// How long after a look the next one is due at a session that lasts for the time `left`, where so many wait: they then wait
/// for their turn for as long as the others take at the most.
fn pause(left: Duration, waiting: usize, is_told: bool, max_staleness: Duration) -> Duration {
    let others = TURN.mul_f64(waiting as f64 / TURNS as f64);
    left.min((if is_told { TOLD } else { max_staleness }).saturating_sub(others)).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_as_frequent_as_the_staleness_and_the_number_of_those_who_wait_say() {
        let [day, staleness] = [24 * 60 * 60, 2].map(Duration::from_secs);
        for (left, waiting, is_told, max_staleness, seconds) in [
            (day, 0, false, staleness, 2.0),
            (day, 500, false, staleness, 1.0),
            // From here on their number alone decides: all have a turn before one has the next.
            (day, 1_000, false, staleness, 0.1),
            (day, 100_000, false, staleness, 0.1),
            (day, 0, true, staleness, 600.0),
            (day, 100_000, true, staleness, 400.0),
            (day, 1_000_000, true, staleness, 0.1),
            // It ends by itself before that.
            (Duration::from_secs(5), 500, true, staleness, 5.0),
            // Never without a pause.
            (Duration::ZERO, 1, true, staleness, 0.1),
            (day, 1, false, Duration::ZERO, 0.1),
        ] {
            let pause = pause(left, waiting, is_told, max_staleness);
            assert_eq!(pause.as_secs_f64(), seconds, "{left:?} {waiting} {is_told} {max_staleness:?}");
        }
        assert_eq!(TURNS as u128 * 1000 / TURN.as_millis(), 500, "looks a second");
    }
}
