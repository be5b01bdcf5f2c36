//! Whom a provider signs out. Sessions that are kept are found by tags. For those that no index finds there are notes: for
//! one that its browser keeps, and for one of a login that is under way.
//!
//! A note lies under what it is about, a person or one of the provider's own sessions, and says until when, by the
//! provider's clock. Whoever begins or confirms a session looks there.

use std::time::Duration;

use super::Sessions;
use super::identity::SessionPayload;
use crate::clock::Timestamp;
use crate::protocol::{LogoutEffect, LogoutTarget};
use crate::records::{BlindIndexKey, Loaded, Purpose, RecordKey, Records};
use crate::store::{Change, Key, MAX_TAGS, StoreError, Tag};

/// How many of the provider's sessions one of ours may name: each has a tag, beside the subject's.
const MOST_SIDS: usize = MAX_TAGS - 1;

/// Adds the newest of the provider's sessions, and drops the oldest where there are too many.
pub(crate) fn add_sid(sids: &mut Vec<String>, sid: &str) {
    sids.retain(|known| known != sid);
    sids.push(sid.to_owned());
    sids.drain(..sids.len().saturating_sub(MOST_SIDS));
}

impl SessionPayload {
    /// Under what it is found again where its record is kept.
    pub(crate) fn tags(&self, index: &BlindIndexKey) -> Vec<Tag> {
        let sids = self.sids.iter().map(|sid| sid_tag(&self.issuer, sid, index));
        std::iter::once(subject_tag(&self.issuer, &self.subject, index)).chain(sids).collect()
    }

    /// Where notes that mean this session lie.
    pub(crate) fn notes(&self, index: &BlindIndexKey) -> Vec<Key> {
        self.tags(index).into_iter().map(|tag| Key(tag.0)).collect()
    }

    /// Whether the provider has ended it.
    pub(crate) async fn is_signed_out(&self, records: &Records) -> Result<bool, StoreError> {
        self.is_meant_in(&self.notes(&records.index().await?), records).await
    }

    /// Whether one of the notes that lie there means it.
    pub(crate) async fn is_meant_in(&self, notes: &[Key], records: &Records) -> Result<bool, StoreError> {
        let ends = |target: &LogoutTarget| self.effect_of(target) == LogoutEffect::Ends;
        for note in notes {
            match records.load::<Vec<LogoutTarget>>(&RecordKey::new(Purpose::EndedSession, *note)).await? {
                Loaded::Found(found) if found.value.iter().any(ends) => return Ok(true),
                // Written by somebody who ended something of theirs.
                Loaded::Unreadable => return Ok(true),
                Loaded::Found(_) | Loaded::Absent(_) => {}
            }
        }
        Ok(false)
    }

    /// A moment after each logout that is noted: what is finished now was finished after them, whatever clocks say.
    pub(crate) async fn after_notes(&self, records: &Records) -> Result<Timestamp, StoreError> {
        let mut after = self.stored_at;
        for note in self.notes(&records.index().await?) {
            let row = RecordKey::new(Purpose::EndedSession, note);
            if let Loaded::Found(found) = records.load::<Vec<LogoutTarget>>(&row).await? {
                let received = found.value.iter().map(|target| target.received_at);
                after = received.map(|at| at.saturating_add(Duration::from_millis(1))).fold(after, Ord::max);
            }
        }
        Ok(after)
    }
}

/// Under what all sessions of a person are found.
pub(crate) fn subject_tag(issuer: &str, subject: &str, index: &BlindIndexKey) -> Tag {
    Tag(index.hash(&[b"subject", issuer.as_bytes(), subject.as_bytes()]))
}

/// Under what all that belong to one session at the provider are found.
fn sid_tag(issuer: &str, sid: &str, index: &BlindIndexKey) -> Tag {
    Tag(index.hash(&[b"sid", issuer.as_bytes(), sid.as_bytes()]))
}

impl LogoutTarget {
    /// Under what all that it means is found: where there are both, the narrower name finds all that both mean.
    pub(crate) fn tag(&self, index: &BlindIndexKey) -> Option<Tag> {
        let sid = self.sid.as_ref().map(|sid| sid_tag(&self.issuer, sid, index));
        sid.or_else(|| Some(subject_tag(&self.issuer, self.subject.as_ref()?, index)))
    }
}

impl Sessions {
    /// Notes that a provider ends the sessions that it means: until the first moment for logins that are under way, until the
    /// second for what browsers keep. True where browsers keep all.
    pub(crate) async fn note_end(&self, target: &LogoutTarget, ends: [Timestamp; 2]) -> Result<bool, StoreError> {
        let ([logins_end, sessions_end], is_all) = (ends, self.carried.is_some());
        note(target, if is_all { sessions_end } else { logins_end }, &self.records).await.map(|()| is_all)
    }
}

/// Notes until `expires_at` that a provider ends the sessions that it means: whoever comes with one finds out.
async fn note(target: &LogoutTarget, expires_at: Timestamp, records: &Records) -> Result<(), StoreError> {
    let Some(tag) = target.tag(&records.index().await?) else { return Ok(()) };
    let row = RecordKey::new(Purpose::EndedSession, Key(tag.0));
    loop {
        let (mut noted, version, kept_until) = match records.load_expired_too::<Vec<LogoutTarget>>(&row).await? {
            Loaded::Found(found) => (found.value, Some(found.version), found.expires_at),
            Loaded::Absent(version) => (Vec::new(), version, expires_at),
            Loaded::Unreadable => {
                return Err(StoreError::refused("a note is sealed with a secret that is not configured"));
            }
        };
        noted.retain(|other| !other.is_covered_by(target));
        if !noted.iter().any(|other| target.is_covered_by(other)) {
            noted.push(target.clone());
        }
        let expires_at = expires_at.max(kept_until);
        if records.swap(&row, version, &noted, expires_at, Vec::new()).await?.is_some() {
            records.invalidations.hear(Change::Row(row.key));
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
