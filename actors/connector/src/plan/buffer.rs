//! The frames that wait for a gateway: in order, kept until acknowledged, sent again on the next connection.

use std::collections::VecDeque;

use caduceus_contract::wire::frame::FromConnector;

use super::ConnectorPlan;
use crate::inbound::{PushError, Pushed};
use crate::saved::{BUFFER_LIMIT, BufferedFrame};
use crate::steps::ConnectorStep;

/// Limit of frames written and not yet acknowledged on one connection; the rest waits here, not in the socket.
pub(super) const WINDOW: usize = 512;
/// Minimum time between two wake calls to one gateway.
const WAKE_INTERVAL_MS: i64 = 60_000;

impl ConnectorPlan {
    /// Buffers a frame, unless it is `live`, and writes it if its gateway receives. `frame` makes it with its buffer id.
    pub(super) fn deliver(
        &mut self,
        gateway_id: &str,
        frame: impl FnOnce(Option<String>) -> FromConnector,
        buffer_id: Option<String>,
        live: bool,
        now_ms: i64,
    ) -> Result<(Pushed, Vec<ConnectorStep>), PushError> {
        let connection = self.ready_connection(gateway_id);
        if live {
            let Some(connection) = connection else {
                return Ok((Pushed { delivered: 0, buffer_id: None }, Vec::new()));
            };
            let frame = frame(None);
            if let Some(event_id) = event_id(&frame) {
                self.traffic.sent(gateway_id, &event_id);
            }
            return Ok((Pushed { delivered: 1, buffer_id: None }, self.write_inbound(connection, frame.to_line())));
        }
        let buffer_id = buffer_id.unwrap_or_else(|| format!("buffer-{}", self.ids.next(now_ms)));
        let buffer = self.saved.buffers.entry(gateway_id.to_owned()).or_default();
        if buffer.len() >= BUFFER_LIMIT {
            return Err(PushError::Full);
        }
        let frame = frame(Some(buffer_id.clone()));
        buffer.push_back(BufferedFrame { buffer_id: buffer_id.clone(), frame, sent_on: None });
        let mut steps = vec![ConnectorStep::Save, ConnectorStep::Status];
        let mut delivered = 0;
        if let Some(connection) = connection {
            steps.extend(self.flush(connection));
            let last = self.saved.buffers.get(gateway_id).and_then(VecDeque::back);
            delivered = u32::from(last.is_some_and(|entry| entry.sent_on == Some(connection)));
        }
        if delivered == 0 && connection.is_none() {
            steps.extend(self.wake(gateway_id, now_ms));
        }
        Ok((Pushed { delivered, buffer_id: Some(buffer_id) }, steps))
    }

    pub(super) fn acknowledged(&mut self, connection: u64, gateway_id: &str, buffer_id: &str) -> Vec<ConnectorStep> {
        let buffer = self.saved.buffers.entry(gateway_id.to_owned()).or_default();
        // A repeated acknowledgement has no effect.
        let index = buffer.iter().position(|entry| entry.buffer_id == buffer_id);
        let Some(entry) = index.and_then(|index| buffer.remove(index)) else {
            return Vec::new();
        };
        if let Some(event_id) = event_id(&entry.frame) {
            self.traffic.acked(gateway_id, &event_id);
        }
        let mut steps = vec![ConnectorStep::Save, ConnectorStep::Status];
        steps.extend(self.flush(connection));
        steps
    }

    /// Writes the waiting frames to a connection, in order, up to the window.
    pub(super) fn flush(&mut self, connection: u64) -> Vec<ConnectorStep> {
        let Some(link) = self.links.get(&connection) else {
            return Vec::new();
        };
        let gateway_id = link.gateway_id.clone();
        if self.ready_connection(&gateway_id) != Some(connection) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for entry in self.saved.buffers.entry(gateway_id.clone()).or_default().iter_mut().take(WINDOW) {
            if entry.sent_on != Some(connection) {
                entry.sent_on = Some(connection);
                if let Some(event_id) = event_id(&entry.frame) {
                    self.traffic.sent(&gateway_id, &event_id);
                }
                lines.push(entry.frame.to_line());
            }
        }
        lines.into_iter().flat_map(|line| self.write_inbound(connection, line)).collect()
    }

    /// Writes a frame held for reordering if no second frame came.
    pub(crate) fn release(&mut self, connection: u64) -> Vec<ConnectorStep> {
        let held = self.links.get_mut(&connection).and_then(|link| link.held.take());
        held.map(|held| self.write(connection, held)).into_iter().collect()
    }

    /// Writes one inbound line; twice or out of order if the fault switches are set.
    fn write_inbound(&mut self, connection: u64, text: String) -> Vec<ConnectorStep> {
        let Some(gateway_id) = self.links.get(&connection).map(|link| link.gateway_id.clone()) else {
            return Vec::new();
        };
        let faults = self.faults_of(&gateway_id);
        let mut texts = vec![text];
        if faults.duplicate {
            texts.push(texts[0].clone());
        }
        if faults.reorder
            && let Some(link) = self.links.get_mut(&connection)
        {
            let Some(held) = link.held.take() else {
                link.held = Some(texts.concat());
                return vec![ConnectorStep::ReleaseLater { connection }];
            };
            texts.push(held);
        }
        texts.into_iter().map(|text| self.write(connection, text)).collect()
    }

    fn wake(&mut self, gateway_id: &str, now_ms: i64) -> Option<ConnectorStep> {
        let url = self.saved.store.get(gateway_id)?.wake_url.clone()?;
        if self.last_wakes.get(gateway_id).is_some_and(|last| now_ms - last < WAKE_INTERVAL_MS) {
            return None;
        }
        self.last_wakes.insert(gateway_id.to_owned(), now_ms);
        Some(ConnectorStep::Wake { url })
    }
}

fn event_id(frame: &FromConnector) -> Option<String> {
    match frame {
        FromConnector::Inbound(inbound) => inbound.message_id(),
        _ => None,
    }
}
