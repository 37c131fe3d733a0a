//! The thread without its queue.

use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::{InboundState, RecordInbound};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

use super::*;
use crate::ledger::states::RowCounts;
use crate::ledger::store::Failure;

/// Runs some SQL.
struct Sql(&'static str);

impl Work for Sql {
    type Answer = ();
    fn run(&self, store: &mut Store<'_>) -> Result<(), Failure> {
        Ok(store.connection.execute_batch(self.0)?)
    }
}

#[test]
fn a_successful_read_does_not_clear_the_error_of_a_disk_that_refuses_writes() {
    let home = tempfile::tempdir().unwrap();
    let opened = open(&home.path().join("ledger")).unwrap();
    let shared = Arc::new(SharedView::new(home.path().to_owned(), opened.rows.row_counts));
    let mut writer = Writer::new(opened, shared);
    let mut cannot_write_after = |sql| {
        writer.run_group(vec![Box::new(AnyJob { work: Sql(sql), answer: oneshot::channel().0, outcome: None })]);
        writer.shared.cannot_write()
    };
    assert!(!cannot_write_after("PRAGMA max_page_count = 1"));
    assert!(cannot_write_after("INSERT INTO sessions VALUES (1, hex(zeroblob(99999)))"));
    assert!(cannot_write_after("SELECT count(*) FROM sessions"));
    assert!(!cannot_write_after("PRAGMA max_page_count = 99999; INSERT INTO sessions VALUES (2, 's')"));
}

/// Runs `work` as a group of its own.
fn run(writer: &mut Writer, work: impl Work) {
    writer.run_group(vec![Box::new(AnyJob { work, answer: oneshot::channel().0, outcome: None })]);
}

#[test]
fn the_retention_removes_the_keys_of_the_rows_that_it_deletes_and_keeps_those_of_others() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger");
    let opened = open(&path).unwrap();
    let mut writer = Writer::new(opened, Arc::new(SharedView::new(path, RowCounts::default())));
    let target = Arc::new(Target {
        link: LinkId::process(),
        platform: "slack".into(),
        bot_id: None,
        chat_id: "chat".into(),
        scope_id: None,
        user_id: None,
        thread_id: None,
    });
    let profile = ProfileName::default_profile();
    let session = SessionKey::new(&Source::default(), &profile, SessionRules::default());
    for number in 0..4_u8 {
        let event = RecordInbound {
            target: target.clone(),
            buffer_id: Some(format!("buffer-{number}")),
            digest: [number; 32],
            message_id: (number > 0).then(|| format!("message-{number}")),
            profile: profile.clone(),
            session: session.clone(),
            event: "{}".to_owned(),
            state: InboundState::Done,
            note: None,
        };
        run(&mut writer, event);
    }
    assert_eq!(writer.opened.rows.memory.keys(), 7);
    run(&mut writer, Sql("UPDATE inbound_marks SET changed_at_ms = 0 WHERE id IN (1, 3)"));
    run(&mut writer, Sql("CREATE TRIGGER refuse BEFORE DELETE ON inbound BEGIN SELECT RAISE(ABORT, 'no'); END"));
    writer.sweep();
    assert_eq!(writer.opened.rows.memory.keys(), 7, "a sweep that failed removes none");
    run(&mut writer, Sql("DROP TRIGGER refuse"));
    writer.sweep();
    assert_eq!(writer.opened.rows.memory.keys(), 4);
}
