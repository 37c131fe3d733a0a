//! What operators ask of the ledger.

use super::failure::Failure;
use super::store::{ErasedRows, StoreTransaction};
use super::work::{LedgerTransaction, Work};
use caduceus_contract::api::ledger::{RowDetail, RowsPage};
use caduceus_contract::api::ledger_data::{ErasedPart, ExportPage};
use caduceus_contract::messages::ledger::InboundState;
use caduceus_contract::messages::ledger_control::{ErasePerson, ExportRows, ListRows, ShowRow};

impl Work for ListRows {
    type Answer = RowsPage;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<RowsPage, Failure> {
        ledger.store.list_rows(self)
    }
}

impl Work for ShowRow {
    type Answer = RowDetail;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<RowDetail, Failure> {
        ledger.store.show_row(self)
    }
}

impl Work for ExportRows {
    type Answer = ExportPage;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<ExportPage, Failure> {
        ledger.store.export_rows(self)
    }
}

impl Work for ErasePerson {
    type Answer = ErasedPart;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<ErasedPart, Failure> {
        let ErasedRows { part, interrupted } = ledger.store.erase_person(self)?;
        for _ in 0..interrupted {
            ledger.event_moved(Some(InboundState::Interrupted), InboundState::Refused);
        }
        Ok(part)
    }
}
