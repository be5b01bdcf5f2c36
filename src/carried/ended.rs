//! That sessions which browsers keep have ended: noted where processes meet, until nobody can show them any more.

use crate::ambient::Timestamp;
use crate::protocol::logout_token::Meant;
use crate::records::{Loaded, Records, Row};
use crate::seal::Purpose;
use crate::session::Session;
use crate::session_id::SessionId;
use crate::sessions::{sid_tag, subject_tag};
use crate::store::{Key, StoreError, Tag};

/// One session has ended, and counts no more.
pub(crate) async fn note(id: SessionId, until: Timestamp, records: &Records) -> Result<(), StoreError> {
    // Whoever was first has ended it.
    records.swap(&id.ended_row(), None, &(), until, Vec::new()).await?;
    Ok(())
}

/// A provider has ended all sessions that it means.
pub(crate) async fn note_meant(meant: &Meant, until: Timestamp, records: &Records) -> Result<(), StoreError> {
    let index = records.index().await?;
    // The narrower of the two finds all that both mean.
    let row = match (&meant.sid, &meant.subject) {
        (Some(sid), _) => row(sid_tag(&meant.issuer, sid, index)),
        (None, Some(subject)) => row(subject_tag(&meant.issuer, subject, index)),
        (None, None) => return Ok(()),
    };
    loop {
        let (mut noted, version) = match records.load::<Vec<Meant>>(&row).await? {
            Loaded::Found(found) => (found.value, Some(found.version)),
            Loaded::Absent(version) => (Vec::new(), version),
            Loaded::Unreadable => {
                return Err(StoreError::refused("a note is sealed with a secret that is not configured"));
            }
        };
        match noted.iter_mut().find(|before| (&before.subject, &before.sid) == (&meant.subject, &meant.sid)) {
            Some(before) => before.until = before.until.max(meant.until),
            None => noted.push(meant.clone()),
        }
        if records.swap(&row, version, &noted, until, Vec::new()).await?.is_some() {
            return Ok(());
        }
    }
}

/// Whether somebody has ended this session. What cannot be read here was written by somebody who did.
pub(crate) async fn has_ended(session: &Session, records: &Records) -> Result<bool, StoreError> {
    if !matches!(records.load::<()>(&session.id.ended_row()).await?, Loaded::Absent(_)) {
        return Ok(true);
    }
    let Some(began) = session.began() else { return Ok(false) };
    let index = records.index().await?;
    let by_sid = began.sid.as_ref().map(|sid| sid_tag(&session.issuer, sid, index));
    for tag in by_sid.into_iter().chain([subject_tag(&session.issuer, &session.subject, index)]) {
        let sid = began.sid.as_deref();
        let ends = |meant: &Meant| meant.ends(&session.issuer, &session.subject, sid, began.issued_at);
        match records.load::<Vec<Meant>>(&row(tag)).await? {
            Loaded::Found(found) if found.value.iter().any(ends) => return Ok(true),
            Loaded::Unreadable => return Ok(true),
            Loaded::Found(_) | Loaded::Absent(_) => {}
        }
    }
    Ok(false)
}

fn row(tag: Tag) -> Row {
    Row { purpose: Purpose::EndedSession, key: Key(tag.0), owner: Vec::new() }
}
