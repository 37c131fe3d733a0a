//! The ledger through its actor and its owner, on a real disk.

mod conversations;
mod damage;
mod kill;
mod migrating;
mod place;
mod recording;
mod retrying;
mod settling;
mod waiting;
mod writing;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::LedgerWriter;
use super::store::{Failure, Store, Work};
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::*;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

/// Timeout of anything that should happen.
const CEILING: Duration = Duration::from_secs(20);

/// A ledger in a separate directory.
struct Home {
    _directory: TempDir,
    path: PathBuf,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        Self { _directory: directory, path }
    }

    fn open(&self) -> LedgerWriter {
        LedgerWriter::open(&self.path).unwrap()
    }

    /// Another connection to the same file.
    fn peek(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.path).unwrap()
    }
}

/// Waits for an answer, without an actor.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(CEILING, answer).await.expect("the ledger did not answer within the timeout")
    })
}

fn close(writer: &LedgerWriter) {
    writer.close(CEILING).unwrap();
}

fn target() -> Arc<Target> {
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

fn session(chat: &str) -> SessionKey {
    let source = Source {
        platform: "slack".to_owned(),
        chat_type: "group".to_owned(),
        chat_id: chat.to_owned(),
        ..Default::default()
    };
    SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default())
}

/// An event that is not a duplicate of any with another number.
fn event(number: u64) -> RecordInbound {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    RecordInbound {
        target: target(),
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

fn reply(inbound: Option<InboundId>, state: OutboundState) -> RecordOutbound {
    RecordOutbound {
        inbound,
        turn: None,
        number: None,
        target: target(),
        action: "{\"op\":\"send\"}".to_owned(),
        state,
    }
}

fn mark(id: InboundId, state: InboundState) -> MarkInbound {
    MarkInbound { id, state, turn: None, note: None }
}

fn record(writer: &LedgerWriter, number: u64) -> InboundId {
    match wait(writer.ask(event(number))).unwrap() {
        Recorded::New(id) => id,
        Recorded::Duplicate { id, .. } => panic!("event {number} is a duplicate of {id:?}"),
    }
}

fn received(writer: &LedgerWriter) -> Vec<InboundRow> {
    wait(writer.ask(ListInbound { states: vec![InboundState::Received], after: None, limit: usize::MAX })).unwrap()
}

/// Keeps the thread inside a transaction until the returned sender is used or dropped.
fn hold(writer: &LedgerWriter) -> Sender<()> {
    let (release, released) = channel();
    let (begun, begins) = channel();
    drop(writer.ask(Hold { begun, released: std::sync::Mutex::new(released) }));
    begins.recv_timeout(CEILING).expect("the thread did not reach the work that holds it");
    release
}

struct Hold {
    begun: Sender<()>,
    released: std::sync::Mutex<Receiver<()>>,
}

impl Work for Hold {
    type Answer = ();
    fn run(&self, _: &mut Store<'_>) -> Result<(), Failure> {
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
    fn run(&self, _: &mut Store<'_>) -> Result<(), Failure> {
        panic!("panic requested by the test")
    }
}

/// Fails its transaction, as a full disk does.
struct RefusedByDisk;

impl Work for RefusedByDisk {
    type Answer = ();
    fn run(&self, _: &mut Store<'_>) -> Result<(), Failure> {
        Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None).into())
    }
}

/// Commits in the write-ahead log: its frames with the size of the database after them.
fn commits_in_log(path: &Path) -> usize {
    let log = std::fs::read(format!("{}-wal", path.display())).unwrap();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let page = usize::try_from(number(&log[8..12])).unwrap();
    log[32..].chunks_exact(24 + page).filter(|frame| number(&frame[4..8]) != 0).count()
}
