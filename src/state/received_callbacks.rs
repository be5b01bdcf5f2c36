//! The marks that callbacks were received, of those that this process received: they are bounded apart from sessions.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::store::Key;

/// So many marks may lie in the store...
const MOST: usize = 10_000;
/// ...and those whose codes may still be good, however many they are.
const CODE_LIFE: Duration = Duration::from_secs(60);

/// The names of the marks' rows, the oldest first.
#[derive(Default)]
pub(crate) struct ReceivedCallbacks(Mutex<VecDeque<(Key, Timestamp)>>);

impl ReceivedCallbacks {
    /// Notes one more; returns the oldest where it has to make room.
    pub(crate) fn note(&self, mark: Key, now: Timestamp) -> Option<Key> {
        let mut marks = self.0.lock();
        marks.push_back((mark, now));
        let (oldest, at) = *marks.front().filter(|_| marks.len() > MOST)?;
        let is_over = now.duration_since(at) >= CODE_LIFE;
        is_over.then(|| marks.pop_front()).map(|_| oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_where_there_are_too_many_and_its_code_is_over() {
        let (marks, start) = (ReceivedCallbacks::default(), Timestamp::from_secs(1_800_000_000));
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            Key(key)
        };
        let at = |seconds| start.saturating_add(Duration::from_secs(seconds));
        for number in 0..MOST {
            assert_eq!(marks.note(key(number), at(0)), None, "{number}");
        }
        assert_eq!(marks.note(key(MOST), at(59)), None, "no code is given up while it may be good");
        assert_eq!(marks.note(key(MOST + 1), at(60)), Some(key(0)));
        assert_eq!(marks.note(key(MOST + 2), at(61)), Some(key(1)));
    }
}
