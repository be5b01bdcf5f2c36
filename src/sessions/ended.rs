//! That sessions which browsers keep have ended: noted where processes meet, until nobody can show them any more.

use super::session::Session;
use super::session_id::SessionId;
use crate::clock::Timestamp;
use crate::records::{Loaded, Records};
use crate::store::StoreError;

/// One session has ended, and counts no more.
pub(crate) async fn note(id: SessionId, until: Timestamp, records: &Records) -> Result<(), StoreError> {
    // Whoever was first has ended it.
    records.swap(&id.ended_row(&records.keys), None, &(), until, Vec::new()).await?;
    Ok(())
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
    begun.is_meant_in(notes.iter().map(|(note, _)| *note), records).await
}
