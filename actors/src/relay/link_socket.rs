//! The one socket of a link: dialled, open or being closed, with the actions that were sent over it and wait for their result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::SpawnHandle;
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::dial::{self, DialError, Socket};
use super::pending::PendingSends;
use super::socket::{Connection, ConnectionArgs, NotQueued, SocketEvent};
use super::steps::CloseWith;
use super::timings::LinkTimings;
use crate::http_client::HttpClient;
use caduceus_contract::wire::action_result::ActionResult;

/// The socket of a link.
#[derive(Debug)]
pub(super) struct LinkSocket {
    /// The dial, until it is answered.
    dialling: Option<SpawnHandle>,
    connection: Option<Connection>,
    /// One permit: a socket that is being closed delays the next one.
    slot: Arc<Semaphore>,
    pending: PendingSends,
    /// Timeout of the result of an action.
    result: Duration,
    /// Timeout of the closing handshake.
    close_timeout: Duration,
}

/// The outcome of a dial, and the permit for its socket.
pub(super) struct DialOutcome {
    pub(super) socket: Result<Socket, DialError>,
    pub(super) slot: OwnedSemaphorePermit,
}

impl LinkSocket {
    /// No socket.
    pub(super) fn new(timings: &LinkTimings) -> Self {
        Self {
            dialling: None,
            connection: None,
            slot: Arc::new(Semaphore::new(1)),
            pending: PendingSends::default(),
            result: timings.result,
            close_timeout: timings.close_timeout,
        }
    }

    /// Dials once every older socket is closed.
    pub(super) fn dial(
        &self,
        client: HttpClient,
        url: String,
        token: Option<SecretString>,
    ) -> impl Future<Output = DialOutcome> + use<> {
        let slot = self.acquire_slot();
        async move {
            let slot = slot.await;
            DialOutcome { socket: dial::dial(client, url, token).await, slot }
        }
    }

    /// The dial runs under this handle; [`LinkSocket::close`] returns it.
    pub(super) fn dialling(&mut self, dialling: SpawnHandle) {
        self.dialling = Some(dialling);
    }

    /// The dial was answered. `false` if it was given up before: a cancelled future may be polled once more.
    pub(super) fn take_dial(&mut self) -> bool {
        self.dialling.take().is_some()
    }

    /// Opens the connection over `socket`; the receiver yields its events, whose arrivals take `places`.
    pub(super) fn open(
        &mut self,
        generation: u64,
        socket: Socket,
        slot: OwnedSemaphorePermit,
        places: Arc<Semaphore>,
    ) -> mpsc::Receiver<SocketEvent> {
        let args = ConnectionArgs { generation, slot, places, close_timeout: self.close_timeout };
        let (connection, events) = Connection::open(socket, args);
        self.connection = Some(connection);
        events
    }

    /// The generation of the open connection.
    pub(super) fn generation(&self) -> Option<u64> {
        self.connection.as_ref().map(|connection| connection.generation)
    }

    /// Whether the open connection is of this generation.
    pub(super) fn is_open(&self, generation: u64) -> bool {
        self.generation() == Some(generation)
    }

    /// The generation of the open connection, and when its last frame arrived.
    pub(super) fn last_seen(&self) -> Option<(u64, Instant)> {
        self.connection.as_ref().map(|connection| (connection.generation, connection.last_seen()))
    }

    /// Queues the frame of an action, and returns the future of its result.
    ///
    /// # Errors
    /// [`NotQueued`]; the action is not pending then.
    pub(super) fn send(
        &self,
        request_id: String,
        line: String,
    ) -> Result<impl Future<Output = ActionResult> + use<>, NotQueued> {
        let connection = self.connection.as_ref().ok_or(NotQueued::Ending)?;
        let (ticket, answer) = self.pending.admit(request_id, self.result);
        // Dropping `answer` removes it from the pending sends.
        connection.send(line, ticket).map(|()| answer)
    }

    /// The result of an action has arrived; `false` if the action is not pending.
    pub(super) fn settle(&self, request_id: &str, result: ActionResult) -> bool {
        self.pending.settle(request_id, result)
    }

    /// Actions that wait for their result.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Queues a frame that is not an action; `place` is released once it is written. `None` without a connection.
    pub(super) fn send_frame(
        &self,
        line: String,
        place: Option<OwnedSemaphorePermit>,
    ) -> Option<Result<(), NotQueued>> {
        self.connection.as_ref().map(|connection| connection.send_frame(line, place))
    }

    /// Queues a ping. `None` without a connection.
    pub(super) fn ping(&self) -> Option<Result<(), NotQueued>> {
        self.connection.as_ref().map(Connection::ping)
    }

    /// Pauses or resumes reading.
    pub(super) fn pause(&self, paused: bool) {
        if let Some(connection) = &self.connection {
            connection.pause(paused);
        }
    }

    /// Starts the closing handshake of an open connection, and answers the pending actions. Returns the dial that is to be cancelled.
    pub(super) fn close(&mut self, with: CloseWith) -> Option<SpawnHandle> {
        if let Some(connection) = self.connection.take() {
            connection.close(with);
        }
        self.pending.fail_all();
        self.dialling.take()
    }

    /// Waits for the slot, until nothing is dialled, open or being closed. No other dial gets a socket while it is held.
    pub(super) fn acquire_slot(&self) -> impl Future<Output = OwnedSemaphorePermit> + use<> {
        let slot = Arc::clone(&self.slot).acquire_owned();
        async move { slot.await.expect("the slot is never closed") }
    }
}
