//! What a store says to the layer that calls it.

use crate::events::{EventCode, observer};

/// Reports an event to the layer that calls. False where none does.
pub(super) fn tell_observer(code: EventCode, detail: &str) -> bool {
    observer().try_with(|events| events.emit(code, None, detail)).is_ok()
}
