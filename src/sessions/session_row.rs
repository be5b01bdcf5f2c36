//! The row of a session that is kept: it is written again, and found by the tags that logouts look for.

use std::sync::Arc;

use super::Sessions;
use super::identity::SessionPayload;
use super::provider_logout::subject_tag;
use super::session::{Session, SessionRecord};
use super::session_id::SessionId;
use crate::clock::Timestamp;
use crate::records::{BlindIndexKey, Found, Loaded, Purpose, RecordKey, Records};
use crate::store::{Key, StoreError};

/// Writes a session again as `change` makes it, with the tags of the store's index key. False where it is gone, or `change`
/// says that there is nothing to write.
pub(crate) async fn rewrite(
    row: &RecordKey, records: &Records, mut change: impl FnMut(&mut Found<SessionRecord>) -> bool,
) -> Result<bool, StoreError> {
    loop {
        let index = records.agree_on_index().await?;
        let Loaded::Found(mut found) = records.load::<SessionRecord>(row).await? else { return Ok(false) };
        if !change(&mut found) {
            return Ok(false);
        }
        let tags = found.value.tags(&index);
        let Found { value, version, expires_at, .. } = *found;
        if records.swap(row, Some(version), &value, expires_at, tags).await?.is_some() {
            return Ok(true);
        }
    }
}

/// Sees to it that a session is found by its tags, and that this process names rows as the store says: grants lie, and
/// public ids are made, under the key that tags are.
pub(crate) async fn tag_anew(
    row: &RecordKey, found: &Found<SessionRecord>, records: &Records,
) -> Result<(), StoreError> {
    let (issuer, subject) = found.value.user();
    let is_tagged_by = |index: &BlindIndexKey| found.tags.contains(&subject_tag(issuer, subject, index));
    if records.known_index().as_ref().is_some_and(is_tagged_by) || is_tagged_by(&records.agree_on_index().await?) {
        return Ok(());
    }
    rewrite(row, records, |_| true).await.map(drop)
}

/// Whether somebody has ended this session. What cannot be read here was written by somebody who did.
pub(crate) async fn has_ended(session: &Session, records: &Records) -> Result<bool, StoreError> {
    if !matches!(records.load::<()>(&session.id.ended_row(&records.keys)).await?, Loaded::Absent(_)) {
        return Ok(true);
    }
    let Some(begun) = session.provider_session() else { return Ok(false) };
    let index = records.index().await?;
    // From now on it is heard of, and what came before is found.
    let notes = session.watch(&index);
    begun.is_meant_in(&notes.iter().map(|(note, _)| *note).collect::<Vec<_>>(), records).await
}

/// Why a session that is named cannot be ended.
pub(crate) const UNREADABLE: &str = "a session is sealed with a secret that is not configured";

/// A session that the store keeps, and its row.
pub(crate) type KeptSession = (Key, Box<Found<SessionRecord>>);

impl Sessions {
    /// A user's sessions that the store keeps, the oldest first; `None` where browsers keep them. `all`: one that cannot be read
    /// is an error.
    pub(crate) async fn of_user(&self, user: (&str, &str), all: bool) -> Result<Option<Vec<KeptSession>>, StoreError> {
        let (records, mut kept) = (&self.records, Vec::new());
        if self.carried.is_some() {
            return Ok(None);
        }
        for key in records.find(subject_tag(user.0, user.1, &records.index().await?)).await? {
            let row = RecordKey::new(Purpose::Session, key);
            match records.load_expired_too::<SessionRecord>(&row).await? {
                // The tag lies beside the seal: what is sealed decides whose it is.
                Loaded::Found(found) if found.value.user() == user => kept.push((key, found)),
                Loaded::Unreadable if all => return Err(StoreError::refused(UNREADABLE)),
                Loaded::Found(_) | Loaded::Absent(_) | Loaded::Unreadable => {}
            }
        }
        kept.sort_by_key(|(key, found)| (found.value.stored_at, *key));
        Ok(Some(kept))
    }

    /// The contents of a session that lasts; where browsers keep it, if this process knows it.
    pub(crate) async fn identity(&self, id: SessionId, now: Timestamp) -> Result<Option<SessionPayload>, StoreError> {
        if self.carried.is_some() {
            return Ok(self.find(id, now).await?.and_then(|session| session.provider_session()));
        }
        let loaded = self.records.load::<SessionRecord>(&id.row(&self.records.keys)).await?;
        Ok(if let Loaded::Found(found) = loaded { Some(found.value.identity) } else { None })
    }

    /// Ends a session as [`Sessions::end`] does, and returns its row and record, if they were there still; `None` where browsers
    /// keep it.
    pub(crate) async fn take(&self, id: SessionId, end: Timestamp) -> Result<Option<Option<KeptSession>>, StoreError> {
        let row = id.row(&self.records.keys);
        let kept = if self.carried.is_none() { Some(self.records.load_expired_too(&row).await?) } else { None };
        self.end(id, end).await?;
        let found = |loaded| if let Loaded::Found(found) = loaded { Some((row.key, found)) } else { None };
        Ok(kept.map(found))
    }

    /// When a session ends that began here within the last minute, and nobody has shown here; if it has not ended.
    pub(crate) async fn unshown(&self, id: SessionId, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let began = |session: &Arc<Session>| session.liveness.seen_at() < session.stored_at;
        let known = self.remembered.get(&id).filter(began);
        let new = known.filter(|session| now.duration_since(session.stored_at).as_secs() < 60);
        let row = id.row(&self.records.keys);
        let lasts = matches!(self.records.load::<SessionRecord>(&row).await?, Loaded::Found(_));
        Ok(new.filter(|_| lasts).map(|session| session.ends_at))
    }
}
