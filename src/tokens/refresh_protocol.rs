//! How a token is refreshed once in a whole cluster: the protocol, as states and transitions.
//!
//! Any number of processes share a [store](crate::store). For one grant and one expiry, one of them spends the
//! refresh token, and the others use the result. There is no leader and no lock server: the protocol needs only the
//! grant's row and [compare-and-swap](crate::store::Store::swap) on it.
//!
//! The row contains the grant at a **generation**, which grows with every refresh, its refresh token, and during a refresh a
//! **lease**: a random id of the refresh attempt (`holder`), and the deadline until which other processes wait (`until`).
//!
//! ```text
//!            ┌────────── another's lease: until its deadline, or until the row changes ──┐
//!            │  ┌─ its deadline is past: watched for a grace, the row must not change ─┐ │
//!            ▼  ▼                                                                      │ │
//!  start ─► Reading ──────────────────────────────────────────────────────────► Waiting ┘
//!            │  ▲ ▲
//!            │  │ └─ lost the swap; or it may have failed: then only the own lease counts
//!   no lease │  └─────────────────────┐
//!            ▼                        │
//!         Readying ──────────────► Leasing ──► Asking ──► Verifying ──► Writing ──► Finished(Written)
//!    the provider's keys       swap: a lease     │  ▲ │       │            ▲ │
//!                                                │  └─┘       │            └─┘ store unavailable: again, until written
//!                                                │  lost: once│more
//!                                                ▼            ▼
//!                            failed, lost twice: Releasing   Ending: the grant becomes a tombstone
//! ```
//!
//! | state | action | result | next |
//! |---|---|---|---|
//! | `Reading` | read the row | a token that is fresh enough | `Finished(Found)` |
//! | | | no row, or an ended grant | `Finished(Gone)` |
//! | | | the provider refused it a moment ago | `Finished(Unavailable)` |
//! | | | another's lease | `Waiting` until its deadline |
//! | | | another's lease whose deadline is past | `Waiting` for `RENEW`; `Readying` if this is the fifth such read, and the row has not changed since the first |
//! | | | no lease, or the own lease | `Readying`; `Asking` |
//! | | | the store fails | `Finished(Unavailable)` |
//! | `Waiting` | [`Store::wait`](crate::store::Store::wait) | the row changed, or the time is over | `Reading` |
//! | `Readying` | fetch the provider's keys, if they are not known | fetched; not available, or the provider is left alone because it is away | `Leasing`; `Finished(Unavailable)` |
//! | `Leasing` | swap the row for the same row with a lease | written | `Asking` |
//! | | | another process was first | `Reading` |
//! | | | the store fails: the lease may be written | `Reading`, and `Finished(Unavailable)` if it is not written |
//! | `Asking` | spend the refresh token | tokens | `Verifying` |
//! | | | the person must consent (`invalid_grant` and the like), or the provider has refused for a day | `Ending` |
//! | | | the response is lost | `Asking` once more; `Reading` if the lease is lost too |
//! | | | lost again, or any other failure | `Releasing` |
//! | `Verifying` | verify the ID token, if the response has one | valid; invalid; valid for another user | `Writing`; `Ending`; `Ending` |
//! | | at a provider without ID tokens: write the rotated refresh token, then ask the identity endpoint | the same owner; another; a failure | `Writing`; `Ending`; `Releasing` |
//! | `Writing` | swap the row for the next generation | written | `Finished(Written)` |
//! | | | another process was first: read the row | the spent generation: swap again; newer: `Finished(Found)`; no row: `Finished(Gone)` |
//! | | | the store fails | again after a pause of at most 2 seconds |
//! | | | the store refuses the row for good | `Finished(Unavailable)` |
//! | `Releasing` | swap the row for the same row without the lease | written, or the store fails | `Finished(Unavailable)` |
//! | | | another process was first: read the row | still the own lease: swap again; otherwise `Finished(Unavailable)` |
//! | `Ending` | read the row | the spent generation, with no lease or the own lease | swap it for a tombstone: `Finished(Ended)` |
//! | | | the same, and its access token comes from a newer consent and is valid | `Stripping`; a tombstone if the tokens were another user's |
//! | | | the spent generation, and another's lease | after `invalid_grant` as in `Reading`: the other's result decides |
//! | | | newer; no row | `Finished(Found)`; `Finished(Gone)` |
//! | `Stripping` | swap the row for the same row without its refresh token | written; another process was first | `Reading`; `Ending` |
//!
//! In `Asking` and `Verifying` the lease is renewed every `RENEW` (4 s), however slow the provider is.
//!
//! # The rules
//!
//! 1. **Lease before spending.** A process sends a refresh token only while it holds the lease, taken by compare-and-swap for
//!    `LEASE` (8 s).
//! 2. **A lease is stolen only after its deadline,** and only by a process that has seen the row unchanged for a grace (16 s)
//!    after that, reading it every `RENEW`: a running holder renews or writes within that time. The holder also has that time
//!    after an outage of the store: a failed read ends the watch.
//! 3. **Written before used.** No request gets a token of a generation that the store has not acknowledged. Where an identity
//!    endpoint must say whose an access token is, the rotated refresh token is written before it is asked, under the lease:
//!    an endpoint that fails costs that access token and no more.
//! 4. **Read again after every loss**: a process that loses a swap, a lease or a response reads the row before it decides.
//! 5. **Only the spent generation is ended.** `invalid_grant` ends the generation whose refresh token was refused, and no
//!    other, and not while another process holds the lease: its response may be the valid one.
//! 6. **Deleted is deleted.** Every write names the version that it replaces. Tokens that arrive for a grant that was deleted
//!    meanwhile are revoked and not written.
//!
//! # What is promised, and what is assumed
//!
//! A rotated refresh token is spent a second time only if, in between, the process that had spent it died, or the
//! provider's response was lost, or its ID token did not hold and the store failed before the grant was ended, or the
//! store refused its row for good, or that process alone was cut off from the store, or was suspended, for longer than a
//! grace (`LEASE` and a grace if clocks agree), while others were not, or the store lost a write that it had acknowledged
//! (a replica took over that did not have it yet). An outage of the store for all processes is no such case, however long
//! it lasts: the holder of new tokens tries every two seconds to write them, and a process that finds the lease first
//! watches it for a grace. Two outages within that time cut off the holder if only others were answered between them. A
//! process that is cut off for longer, while others are not, may return with tokens that the provider has revoked together
//! with those of the others: the user signs in again.
//!
//! - The store is linearizable for each row, and answers within 5 seconds or counts as failed. A write that was
//!   reported as failed may be found written, also later.
//! - Clocks may differ: the protocol is checked with differences of up to 16 seconds. A lease that is renewed is not stolen,
//!   whatever the clocks say. If a clock is behind, a crash costs that much more time, at most 8 seconds: a lease that ends
//!   later than twice its length counts as one whose deadline is past.
//! - A process that dies while it holds a lease delays the others by up to `LEASE` and the grace, 24 seconds, for this grant;
//!   requests wait 25. If it dies between the provider's rotation and its write, the next attempt spends the old token
//!   again: a provider that detects reuse then ends the grant, and the user signs in again, once.
//!
//! The decisions below are a function of the row and the event, without I/O, clock or randomness. So is what a refusal, a
//! lost response and a failed identification mean for a grant. A model checker in the crate's tests
//! (`tests/it/refresh/model`) explores the same code: two and three processes, crashes at every step, lost and late
//! requests and responses, refusals of every kind, identity endpoints that fail, writes that fail, are refused for good,
//! are reported as failed, arrive late, or are lost after they were acknowledged, outages, processes that stand still,
//! clocks that differ or step, several resources of one grant, and the protocol without each one of these rules in turn.
//! A token that is spent twice must have an excuse of its own: one of the cases above that befell the attempt which had
//! spent this very token.

use std::time::Duration;

use super::RefusalRemedy;

/// How long a lease keeps others away.
pub(crate) const LEASE: Duration = Duration::from_secs(8);
/// How often it is renewed.
pub(crate) const RENEW: Duration = Duration::from_secs(4);
/// For how many times `RENEW` a lease whose deadline is past must be seen unchanged before it is stolen: that is longer
/// than a renewal, or an attempt to write, takes with the pause before it. It is read after each of them: an outage that
/// keeps the holder from writing all that time is then seen, too.
pub(crate) const WATCHES: u8 = 4;

/// What the protocol looks at in a grant's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowView<V, T> {
    pub(crate) version: V,
    pub(crate) spent_token: SpentToken<T>,
    pub(crate) lease: Option<LeaseView>,
    pub(crate) usability: Usability,
    /// An access token lives of a newer consent than the refresh token, and is good without it.
    pub(crate) outlives: bool,
}

/// Which refresh token, after how many refreshes: a consent that brought no refresh token changes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SpentToken<T> {
    pub(crate) refreshes: u64,
    pub(crate) refresh_token: T,
}

/// A lease, as this process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LeaseView {
    pub(crate) mine: bool,
    /// Until its deadline, by this process's clock.
    pub(crate) left: Duration,
}

/// What a grant is worth to who wants a token of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Usability {
    /// It has the token.
    Good,
    /// It can be refreshed, and should.
    Stale,
    /// The same, but the provider refused it a moment ago: it is left alone for a while.
    Held,
    /// Only the person can help.
    Over,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input<V, T> {
    /// The row as it was read.
    Read(Option<RowView<V, T>>),
    /// The new version; `None`: somebody else was first.
    Swapped(Option<V>),
    /// What the store was asked for may have happened or not.
    StoreFailed,
    /// The store refuses the row, and would again.
    StoreRefused,
    /// Whether it was the whole time; the row may have changed before.
    Waited { whole: bool },
    /// Whether the provider's keys are here.
    Ready(bool),
    /// The provider's reply to the refresh token.
    Answered(ProviderReply),
    /// Whether the response may be used, and whether that ends the grant.
    Verified(Result<(), Option<EndReason>>),
    /// It is time for another attempt to write.
    Paused,
}

/// What the provider said to a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProviderReply {
    Tokens,
    /// The person must consent again.
    InvalidGrant,
    /// Nothing that can be understood: whether the token was spent is not known.
    Lost,
    /// It was not spent.
    Failed,
}

impl ProviderReply {
    /// The reply where no tokens came. `remedy` is that of the refusal; `None`: nothing came that can be read. `is_over`: the
    /// provider has refused for so long that only the person can help.
    pub(crate) fn without_tokens(remedy: Option<RefusalRemedy>, sent_token: bool, is_over: bool) -> Self {
        match remedy {
            None => Self::Lost,
            // Where no refresh token was sent, nothing of the person's could be over.
            Some(RefusalRemedy::Person) if sent_token => Self::InvalidGrant,
            Some(RefusalRemedy::Unclear) if sent_token && is_over => Self::InvalidGrant,
            Some(_) => Self::Failed,
        }
    }
}

/// Why a grant ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EndReason {
    InvalidGrant,
    /// The ID token that came does not hold.
    Unverified,
    AnotherOwner,
}

impl EndReason {
    /// Whether a grant ends because its response is not known to be its owner's. An identity endpoint that fails says nothing
    /// against the tokens, and the refresh token is written.
    pub(crate) fn of_unverified(names_another: bool, by_endpoint: bool) -> Option<Self> {
        let unverified = (!by_endpoint).then_some(Self::Unverified);
        if names_another { Some(Self::AnotherOwner) } else { unverified }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action<V> {
    Read,
    Wait { version: V, within: Duration },
    Ready,
    Swap { expected: V, to: NextRow },
    Ask,
    Verify,
    Pause,
    Finish(Conclusion),
}

/// What the row is swapped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NextRow {
    /// The same with our lease, from now on.
    Leased,
    /// The same without a lease.
    Released,
    /// The next generation, of the tokens that came.
    Refreshed,
    /// A tombstone.
    Ended(EndReason),
    /// The same without its refresh token.
    Stripped,
}

/// How a refresh ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Conclusion {
    /// What was read last counts.
    Found,
    /// What was written counts.
    Written,
    /// There is no grant any more, or it is over.
    Gone,
    Ended(EndReason),
    Unavailable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RefreshState<V> {
    /// The row is read.
    Reading(ReadContext<V>),
    /// Somebody else has the lease. `watched` says how often one whose deadline is past was seen unchanged.
    Waiting { version: V, watched: Option<u8> },
    /// The provider's keys are fetched.
    Readying,
    /// The lease is taken.
    Leasing,
    /// The refresh token is spent, `again` after a response that was lost.
    Asking { again: bool },
    /// The response is verified.
    Verifying,
    /// The next generation is written.
    Writing,
    /// The lease is given up.
    Releasing,
    /// The grant becomes a tombstone.
    Ending(EndReason),
    /// The refresh token ends, and what a newer consent brought stays.
    Stripping(EndReason),
    /// The conclusion is known.
    Finished,
}

/// What is known before the row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ReadContext<V> {
    /// Nothing is known of the row.
    First,
    /// It was at this version, under a lease whose deadline is past, so many times `RENEW` ago.
    Watched { version: V, times: u8 },
    /// Our lease may be written or not.
    Doubtful,
}

/// One attempt to bring a grant to its next generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RefreshMachine<V, T> {
    pub(crate) state: RefreshState<V>,
    /// Of the row as it was read or written last.
    pub(crate) version: Option<V>,
    /// What is spent, or about to be.
    pub(crate) spent: Option<SpentToken<T>>,
    /// Somebody else was seen where our lease was.
    pub(crate) lost: bool,
}

impl<V: Copy + PartialEq, T: Clone + PartialEq> RefreshMachine<V, T> {
    pub(crate) fn start() -> (Self, Action<V>) {
        let state = RefreshState::Reading(ReadContext::First);
        (Self { state, version: None, spent: None, lost: false }, Action::Read)
    }

    /// The transition: what to do after this.
    pub(crate) fn next(&mut self, event: Input<V, T>) -> Action<V> {
        use Input::{Answered, Read, Ready, StoreFailed, StoreRefused, Swapped, Verified, Waited};
        match (self.state, event) {
            (RefreshState::Reading(look), Read(row)) => self.look(look, row),
            (RefreshState::Waiting { version, watched: Some(times) }, Waited { whole: true }) => {
                self.read(ReadContext::Watched { version, times: times + 1 })
            }
            (RefreshState::Waiting { .. }, Waited { .. }) => self.read(ReadContext::First),
            (RefreshState::Readying, Ready(true)) => self.swap(RefreshState::Leasing, NextRow::Leased),
            (RefreshState::Leasing, Swapped(Some(version))) => {
                self.version = Some(version);
                self.ask()
            }
            (RefreshState::Leasing, Swapped(None)) => self.read(ReadContext::First),
            (RefreshState::Leasing, StoreFailed | StoreRefused) => self.read(ReadContext::Doubtful),
            (RefreshState::Asking { again }, Answered(answer)) => self.answered(answer, again),
            (RefreshState::Verifying, Verified(Ok(()))) => self.swap(RefreshState::Writing, NextRow::Refreshed),
            (RefreshState::Verifying, Verified(Err(Some(end)))) => self.end(end),
            (RefreshState::Verifying, Verified(Err(None))) => self.swap(RefreshState::Releasing, NextRow::Released),
            (RefreshState::Writing, event) => self.write(event),
            (RefreshState::Releasing, Swapped(None)) => Action::Read,
            // Ours after all: a renewal was written and did not say so.
            (RefreshState::Releasing, Read(Some(row))) if self.is_spent(&row) && is_mine(&row) => {
                self.version = Some(row.version);
                self.swap(RefreshState::Releasing, NextRow::Released)
            }
            (RefreshState::Ending(end), Read(Some(row))) => self.end_unless_newer(end, row),
            (RefreshState::Ending(_), Read(None)) => self.finish(Conclusion::Gone),
            (RefreshState::Ending(end), Swapped(Some(_))) => self.finish(Conclusion::Ended(end)),
            (RefreshState::Ending(_), Swapped(None)) => Action::Read,
            (RefreshState::Stripping(_), Swapped(Some(_))) => self.read(ReadContext::First),
            (RefreshState::Stripping(end), Swapped(None)) => self.end(end),
            // The store or the provider fails. Whatever lease there is runs out.
            _ => self.finish(Conclusion::Unavailable),
        }
    }

    fn look(&mut self, look: ReadContext<V>, row: Option<RowView<V, T>>) -> Action<V> {
        let Some(row) = row else { return self.finish(Conclusion::Gone) };
        match row.usability {
            Usability::Good => return self.finish(Conclusion::Found),
            Usability::Over => return self.finish(Conclusion::Gone),
            Usability::Held => return self.finish(Conclusion::Unavailable),
            Usability::Stale => {}
        }
        let version = row.version;
        let watched = match look {
            ReadContext::Watched { version: before, times } if before == version => times,
            _ => 0,
        };
        match row.lease {
            Some(LeaseView { mine: true, left }) if !left.is_zero() => {
                (self.version, self.spent) = (Some(version), Some(row.spent_token));
                return self.ask();
            }
            // One that lasts longer than clocks can differ was given before a clock was put back.
            Some(LeaseView { left, .. }) if !left.is_zero() && left <= LEASE * 2 => {
                return self.wait(version, None, left);
            }
            Some(_) if watched < WATCHES => return self.wait(version, Some(watched), RENEW),
            None if look == ReadContext::Doubtful => return self.finish(Conclusion::Unavailable),
            Some(_) | None => {}
        }
        (self.version, self.spent, self.lost) = (Some(version), Some(row.spent_token), false);
        self.state = RefreshState::Readying;
        Action::Ready
    }

    fn answered(&mut self, answer: ProviderReply, again: bool) -> Action<V> {
        match answer {
            ProviderReply::Tokens => {
                self.state = RefreshState::Verifying;
                Action::Verify
            }
            ProviderReply::InvalidGrant => self.end(EndReason::InvalidGrant),
            ProviderReply::Lost if self.lost => self.read(ReadContext::First),
            // Perhaps after the provider had rotated: providers that forgive a repeated request do so for a moment only.
            ProviderReply::Lost if !again => {
                self.state = RefreshState::Asking { again: true };
                Action::Ask
            }
            ProviderReply::Lost | ProviderReply::Failed => self.swap(RefreshState::Releasing, NextRow::Released),
        }
    }

    fn write(&mut self, event: Input<V, T>) -> Action<V> {
        match event {
            Input::Swapped(Some(_)) => self.finish(Conclusion::Written),
            Input::Swapped(None) => Action::Read,
            // Somebody holds a lease that had run out. What we have is newer than what they will spend.
            Input::Read(Some(row)) if self.is_spent(&row) => {
                self.version = Some(row.version);
                self.swap(RefreshState::Writing, NextRow::Refreshed)
            }
            // Newer, or granted anew after a deletion, or ours after all: a store may write and fail to say so.
            Input::Read(Some(_)) => self.finish(Conclusion::Found),
            Input::Read(None) => self.finish(Conclusion::Gone),
            Input::Paused => self.swap(RefreshState::Writing, NextRow::Refreshed),
            Input::StoreRefused => self.finish(Conclusion::Unavailable),
            _ => Action::Pause,
        }
    }

    fn end_unless_newer(&mut self, end: EndReason, row: RowView<V, T>) -> Action<V> {
        if !self.is_spent(&row) {
            return self.finish(Conclusion::Found);
        }
        if end == EndReason::InvalidGrant && row.lease.is_some() && !is_mine(&row) {
            return self.look(ReadContext::First, Some(row));
        }
        self.version = Some(row.version);
        // Where somebody else appeared, nothing of the grant is used any more.
        if row.outlives && end != EndReason::AnotherOwner {
            return self.swap(RefreshState::Stripping(end), NextRow::Stripped);
        }
        self.swap(RefreshState::Ending(end), NextRow::Ended(end))
    }

    /// While the provider is asked and its answer verified, after every `RENEW`.
    pub(crate) fn renew(&self) -> Option<Action<V>> {
        let expected = self.version.filter(|_| !self.lost)?;
        Some(Action::Swap { expected, to: NextRow::Leased })
    }

    /// Whether this refresh token, which came, must be written before anybody is asked whose the access token is: that may
    /// take long, and fail.
    pub(crate) fn must_write(&self, rotated: &T) -> bool {
        !self.lost && self.spent.as_ref().is_some_and(|spent| spent.refresh_token != *rotated)
    }

    /// Takes the result of a renewal; `None`: nothing to do until the next time. `has` is what the row has once it is written:
    /// where the renewal wrote a rotated refresh token, that one.
    pub(crate) fn renewed(&mut self, event: &Input<V, T>, has: Option<SpentToken<T>>) -> Option<Action<V>> {
        match event {
            Input::Swapped(Some(version)) => (self.version, self.spent) = (Some(*version), has),
            Input::Swapped(None) => return Some(Action::Read),
            // Its own write may have been reported as failed.
            Input::Read(Some(row)) if is_mine(row) => {
                (self.version, self.spent) = (Some(row.version), Some(row.spent_token.clone()));
                return self.renew();
            }
            Input::Read(_) => self.lost = true,
            _ => {}
        }
        None
    }

    /// The grant whose refresh token was spent, whoever holds a lease on it now. Another one, such as what was granted
    /// after a disconnection, is not this one's to change.
    fn is_spent(&self, row: &RowView<V, T>) -> bool {
        self.spent.as_ref() == Some(&row.spent_token)
    }

    fn read(&mut self, look: ReadContext<V>) -> Action<V> {
        self.state = RefreshState::Reading(look);
        Action::Read
    }

    fn wait(&mut self, version: V, watched: Option<u8>, within: Duration) -> Action<V> {
        self.state = RefreshState::Waiting { version, watched };
        Action::Wait { version, within }
    }

    fn ask(&mut self) -> Action<V> {
        self.state = RefreshState::Asking { again: false };
        Action::Ask
    }

    fn end(&mut self, end: EndReason) -> Action<V> {
        self.state = RefreshState::Ending(end);
        Action::Read
    }

    fn swap(&mut self, state: RefreshState<V>, to: NextRow) -> Action<V> {
        self.state = state;
        let Some(expected) = self.version else { return self.finish(Conclusion::Unavailable) };
        Action::Swap { expected, to }
    }

    fn finish(&mut self, conclusion: Conclusion) -> Action<V> {
        self.state = RefreshState::Finished;
        Action::Finish(conclusion)
    }
}

fn is_mine<V, T>(row: &RowView<V, T>) -> bool {
    row.lease.is_some_and(|lease| lease.mine)
}
