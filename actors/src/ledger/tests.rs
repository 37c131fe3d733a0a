//! The ledger through its actor and its owner, on a real disk; and what the tests of every database use.

mod requests;
pub(in crate::ledger) mod suite;
mod writing;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::json;

use super::LedgerWriter;
use super::failure::{ErrorClass, Failure, StoreError};
use super::store::{Store, StoreTransaction};
use super::work::{LedgerTransaction, Work};
use caduceus_contract::api::ledger::*;
use caduceus_contract::api::ledger_changes::*;
use caduceus_contract::api::ledger_data::*;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::*;
use caduceus_contract::messages::ledger_control::*;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::share::DispatchShare;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

pub(super) use requests::*;

/// Timeout of anything that should happen.
pub(super) const CEILING: Duration = Duration::from_secs(20);

/// A database of one kind, empty at first.
pub(super) trait TestHome: Sized {
    type Store: Store;

    fn new() -> Self;

    /// Opens the database, or opens it again when it is closed.
    fn open_store(&self) -> Self::Store;

    /// Opens it, and starts its thread.
    fn open(&self) -> LedgerWriter<Self::Store> {
        LedgerWriter::start(self.open_store(), PathBuf::new()).unwrap()
    }
}

/// Waits for an answer, without an actor.
pub(super) fn wait<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(CEILING, answer).await.expect("the ledger did not answer within the timeout")
    })
}

pub(super) fn close<S: Store>(writer: &LedgerWriter<S>) {
    writer.close(CEILING).unwrap();
}

pub(super) fn target() -> Arc<Target> {
    Arc::new(Target {
        link: LinkId::process(),
        platform: "slack".to_owned(),
        bot_id: Some("bot".to_owned()),
        chat_id: "chat".to_owned(),
        scope_id: None,
        user_id: Some("user".to_owned()),
        thread_id: None,
    })
}

/// The links that are configured.
pub(super) fn links() -> Arc<BTreeSet<LinkId>> {
    Arc::new([LinkId::process()].into())
}

pub(super) fn session(chat: &str) -> SessionKey {
    let source = Source {
        platform: "slack".to_owned(),
        chat_type: "group".to_owned(),
        chat_id: chat.to_owned(),
        ..Default::default()
    };
    SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default())
}

/// An event that is not a duplicate of any with another number.
pub(super) fn event(number: u64) -> RecordInbound {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    RecordInbound {
        target: target(),
        receipt: Receipt { gateway: Some("gw-1".into()), arrived_at_ms: 7 },
        buffer_id: Some(format!("buffer-{number}")),
        digest,
        message_id: Some(format!("message-{number}")),
        profile: ProfileName::default_profile(),
        session: session("chat"),
        event: RawJson::of(&json!({"text": format!("number {number}")})),
        state: InboundState::Received,
        turn: None,
        note: None,
    }
}

pub(super) fn reply(inbound: Option<InboundId>, state: OutboundState) -> RecordOutbound {
    RecordOutbound {
        inbound,
        turn: None,
        number: None,
        target: target(),
        action: RawJson::of(&json!({"op": "send"})),
        state,
    }
}

pub(super) fn mark(id: InboundId, state: InboundState) -> MarkInbound {
    MarkInbound { id, state, turn: None, note: None }
}

pub(super) fn record<S: Store>(writer: &LedgerWriter<S>, number: u64) -> InboundId {
    match wait(writer.ask(event(number))).unwrap() {
        Recorded::New(id) => id,
        Recorded::Duplicate { id, .. } => panic!("event {number} is a duplicate of {id:?}"),
    }
}

pub(super) fn received<S: Store>(writer: &LedgerWriter<S>) -> Vec<InboundRow> {
    wait(writer.ask(ListInbound {
        share: DispatchShare::ALL,
        states: vec![InboundState::Received],
        after: None,
        limit: usize::MAX,
    }))
    .unwrap()
}

/// Keeps the thread inside a transaction until the returned sender is used or dropped.
pub(super) fn hold<S: Store>(writer: &LedgerWriter<S>) -> Sender<()> {
    let (release, released) = channel();
    let (begun, begins) = channel();
    drop(writer.ask(Hold { begun, released: std::sync::Mutex::new(released) }));
    begins.recv_timeout(CEILING).expect("the thread did not reach the work that holds it");
    release
}

/// Keeps the thread inside its transaction.
struct Hold {
    begun: Sender<()>,
    released: std::sync::Mutex<Receiver<()>>,
}

impl Work for Hold {
    type Answer = ();
    fn run<T: StoreTransaction>(&self, _: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        self.begun.send(()).unwrap();
        // Used or dropped, it continues either way.
        let _ = self.released.lock().unwrap().recv_timeout(CEILING);
        Ok(())
    }
}

/// Fails alone.
struct PanickingWork;

impl Work for PanickingWork {
    type Answer = ();
    fn run<T: StoreTransaction>(&self, _: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        panic!("panic requested by the test")
    }
}

/// Fails its transaction, as a full disk does.
pub(super) struct RefusedByDisk;

impl Work for RefusedByDisk {
    type Answer = ();
    fn run<T: StoreTransaction>(&self, _: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        Err(StoreError { class: ErrorClass::Temporary, text: "the disk is full".to_owned() }.into())
    }
}
