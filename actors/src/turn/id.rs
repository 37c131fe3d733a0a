//! New ids of turns.

use caduceus_contract::turn_id::TurnId;
use uuid::Uuid;

/// A fresh name. Names sort by the time they were made.
#[must_use]
pub fn fresh_turn_id() -> TurnId {
    Uuid::now_v7().into()
}
