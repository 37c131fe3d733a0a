//! The end of a turn, and its conversation.

use super::events::{self, Marked};
use super::failure::Failure;
use super::store::StoreTransaction;
use super::work::{LedgerTransaction, Work};
use caduceus_contract::messages::ledger::{AppendHistory, HistoryEntry, LoadHistory, SettleTurn};

impl Work for SettleTurn {
    type Answer = ();

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        let mut refused = None;
        let mut part = |written: Result<(), Failure>| match written {
            Err(Failure::Answered(error)) => {
                refused.get_or_insert(error);
                Ok(())
            }
            other => other,
        };
        for reply in &self.replies {
            part(reply.run(ledger))?;
        }
        let mut repeated = false;
        if let Some(event) = &self.event {
            part(events::apply(event, ledger).map(|marked| repeated = marked != Marked::Now))?;
        }
        if let Some(history) = &self.history
            && !repeated
        {
            part(history.run(ledger))?;
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    }

    fn is_owed(&self) -> bool {
        true
    }
}

impl Work for AppendHistory {
    type Answer = ();

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        ledger.store.append_history(self)
    }

    fn is_owed(&self) -> bool {
        true
    }
}

impl Work for LoadHistory {
    type Answer = Vec<HistoryEntry>;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Vec<HistoryEntry>, Failure> {
        ledger.store.load_history(self)
    }
}
