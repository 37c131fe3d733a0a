//! The event streams to chat windows and readers of `/dev/outbound`.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Events that wait for a slow reader of a stream before it is disconnected.
const STREAM_LIMIT: usize = 65_536;
/// Frames kept for late readers of `/dev/outbound`.
const FRAME_HISTORY: usize = 4_096;

/// The open streams, and the last frames.
#[derive(Default)]
pub(super) struct EventStreams {
    chat: Vec<mpsc::Sender<Bytes>>,
    frames: Vec<mpsc::Sender<Bytes>>,
    history: VecDeque<(u64, Bytes)>,
    frame_count: u64,
    closed: bool,
}

impl EventStreams {
    /// Whether a chat window is open.
    pub(super) fn has_chat_windows(&self) -> bool {
        !self.chat.is_empty()
    }

    /// A stream that begins with `initial`.
    pub(super) fn watch_chat(&mut self, initial: [Value; 2]) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(STREAM_LIMIT);
        for change in initial {
            // Two events fit into any stream.
            let _ = sender.try_send(Bytes::from(format!("data: {change}\n\n")));
        }
        if !self.closed {
            self.chat.push(sender);
        }
        receiver
    }

    /// A stream of frames, from now on or from the one after the number `after`.
    pub(super) fn watch_frames(&mut self, after: Option<u64>) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(STREAM_LIMIT);
        // A comment, so that the headers are sent before the first frame.
        let _ = sender.try_send(Bytes::from_static(b": frames from gateways\n\n"));
        if let Some(after) = after {
            for (_, event) in self.history.iter().filter(|(number, _)| *number > after) {
                let _ = sender.try_send(event.clone());
            }
        }
        if !self.closed {
            self.frames.push(sender);
        }
        receiver
    }

    /// Sends a change to every chat window.
    pub(super) fn send_chat(&mut self, change: &Value) {
        if self.has_chat_windows() {
            broadcast(&mut self.chat, &Bytes::from(format!("data: {change}\n\n")));
        }
    }

    /// Numbers a frame of a gateway, keeps it for late readers and sends it to every reader.
    pub(super) fn send_frame(&mut self, gateway_id: &str, frame: &Value) {
        self.frame_count += 1;
        let data = json!({"gatewayId": gateway_id, "frame": frame});
        let event = Bytes::from(format!("id: {}\ndata: {data}\n\n", self.frame_count));
        if self.history.len() == FRAME_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((self.frame_count, event.clone()));
        broadcast(&mut self.frames, &event);
    }

    /// Ends every stream; a later one ends after its initial events.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.chat.clear();
        self.frames.clear();
    }
}

/// Sends an event, and drops streams whose reader has closed or is too slow.
fn broadcast(streams: &mut Vec<mpsc::Sender<Bytes>>, event: &Bytes) {
    streams.retain(|stream| stream.try_send(event.clone()).is_ok());
}
