//! The writing half of a connection.

use actix_http::ws::{Message, ProtocolError};
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::dial::Socket;
use super::pending::Ticket;

/// Most frames that are passed to the socket before it is flushed and their places are released.
const BATCH: usize = 64;

/// A frame that is not an action.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) message: Message,
    /// Released once the message is written.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// An action.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) line: String,
    pub(super) ticket: Ticket,
}

/// Writes what is queued for one connection.
pub(super) struct SocketWriter {
    pub(super) sink: SplitSink<Socket, Message>,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) outbound: mpsc::Receiver<Outbound>,
}

impl SocketWriter {
    /// Writes until that fails. Control frames are sent first: an acknowledgement must not wait behind a thousand replies.
    pub(super) async fn write(&mut self) -> ProtocolError {
        loop {
            if let Err(error) = self.write_batch().await {
                return error;
            }
        }
    }

    async fn write_batch(&mut self) -> Result<(), ProtocolError> {
        let mut next = Some(tokio::select! {
            biased;
            Some(control) = self.control.recv() => Queued::Control(control),
            Some(outbound) = self.outbound.recv() => Queued::Outbound(outbound),
            // The actor has dropped its end; the close is about to arrive.
            else => std::future::pending().await,
        });
        let mut places = Vec::with_capacity(BATCH);
        while let Some(queued) = next.take() {
            // Only when the sink has room: until then the frame counts as not written.
            std::future::poll_fn(|task| self.sink.poll_ready_unpin(task)).await?;
            match queued {
                Queued::Control(control) => {
                    self.sink.start_send_unpin(control.message)?;
                    places.push(control.place);
                }
                Queued::Outbound(outbound) => {
                    places.push(None);
                    if outbound.ticket.begin_write() {
                        self.sink.start_send_unpin(Message::Text(outbound.line.into()))?;
                    }
                }
            }
            if places.len() < BATCH {
                let control = self.control.try_recv().map(Queued::Control);
                next = control.or_else(|_| self.outbound.try_recv().map(Queued::Outbound)).ok();
            }
        }
        self.sink.flush().await
    }
}

/// A queued frame.
enum Queued {
    Control(Control),
    Outbound(Outbound),
}
