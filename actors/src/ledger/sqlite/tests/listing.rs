//! Lists of rows that another program or a bad disk has changed.

use super::*;
use crate::ledger::tests::{list_of, listed, rows_in};
use caduceus_contract::api::ledger::{RowId, RowState};
use caduceus_contract::messages::ledger_control::{ListRows, ShowRow};
use caduceus_contract::profile_name::ProfileName;

#[test]
fn a_corrupt_row_is_listed_as_corrupt_whatever_is_asked_for() {
    let home = Home::new();
    let writer = home.open();
    for number in 1..=4 {
        record(&writer, number);
    }
    wait(writer.ask(reply(None, OutboundState::Pending))).unwrap();
    close(&writer);
    let file = home.peek();
    file.execute_batch(
        "UPDATE inbound SET event = '{}' WHERE id = 1; UPDATE inbound_marks SET state = 77 WHERE id = 2;
         DELETE FROM inbound WHERE id = 3; UPDATE outbound SET chat_id = 'other';",
    )
    .unwrap();
    drop(file);
    let writer = home.open();
    let corrupt = ["in-1 corrupt", "in-2 corrupt", "in-3 corrupt", "in-4 received", "out-1 corrupt"];
    assert_eq!(rows_in(&writer, &RowState::OPEN_OR_DEAD), corrupt);
    let work = ProfileName::parse("work").unwrap();
    let of_profile = ListRows { profile: Some(work), ..list_of(&[RowState::Received, RowState::Pending]) };
    assert_eq!(listed(&writer, &of_profile).len(), 4, "the profile of a corrupt row is not known");
    until_corrupt(&writer, 4);
    assert_eq!(rows_in(&writer, &[RowState::Corrupt]).len(), 4);
    for id in ["in-1", "in-2", "in-3", "out-1"] {
        let id: RowId = id.parse().unwrap();
        let shown = wait(writer.ask(ShowRow { id, with_text: true })).unwrap();
        assert_eq!((shown.row.id, shown.row.state, shown.text), (id, RowState::Corrupt, None));
    }
}
