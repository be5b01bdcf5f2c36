//! Single steps whose order the model cannot tell, because they are about how much time is left.

use std::time::Duration;

use super::{
    Action, Input, LEASE, LeaseView, ReadContext, RefreshMachine, RefreshState, RowView, SpentToken, Usability,
};

/// What is done about a grant that must be refreshed and is under this lease.
fn sees(look: ReadContext<u8>, lease: LeaseView) -> Action<u8> {
    let (mut machine, _) = RefreshMachine::<u8, u8>::start();
    machine.state = RefreshState::Reading(look);
    machine.next(Input::Read(Some(RowView {
        version: 1,
        spent_token: SpentToken { refreshes: 0, refresh_token: 7 },
        lease: Some(lease),
        usability: Usability::Stale,
        outlives: false,
    })))
}

/// A lease of one's own that was reported as failed is used while it lasts. One that has run out may be somebody else's in
/// a moment, and is watched like theirs.
#[test]
fn a_lease_of_ones_own_is_used_while_it_lasts() {
    for (left, asks) in [(LEASE, true), (Duration::from_millis(1), true), (Duration::ZERO, false)] {
        let action = sees(ReadContext::Doubtful, LeaseView { mine: true, left });
        assert_eq!(matches!(action, Action::Ask), asks, "{left:?}: {action:?}");
        let action = sees(ReadContext::First, LeaseView { mine: false, left });
        assert!(matches!(action, Action::Wait { .. }), "another's, {left:?}: {action:?}");
    }
}
