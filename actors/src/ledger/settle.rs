//! The end of a turn.

use super::inbound::{self, Marked};
use super::store::{Failure, Store, Work};
use caduceus_contract::messages::ledger::SettleTurn;

impl Work for SettleTurn {
    type Answer = ();

    fn run(&self, store: &mut Store<'_>) -> Result<(), Failure> {
        let mut refused = None;
        let mut part = |written: Result<(), Failure>| match written {
            Err(Failure::Answered(error)) => {
                refused.get_or_insert(error);
                Ok(())
            }
            other => other,
        };
        for reply in &self.replies {
            part(reply.run(store))?;
        }
        let mut repeated = false;
        if let Some(event) = &self.event {
            part(inbound::apply(event, store).map(|marked| repeated = marked == Marked::Before))?;
        }
        if let Some(history) = &self.history
            && !repeated
        {
            part(history.run(store))?;
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    }

    fn is_owed(&self) -> bool {
        true
    }
}
