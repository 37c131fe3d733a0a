//! The queue of one marker: its work is done one item at a time, in order. Each home has a separate queue, so a hung disk
//! under one of them delays no other.
//!
//! Orders are queued when they are received, so a begin never overtakes the cancel before it. A reading is
//! done only when no order is left: it never sees the disk between two orders, and no reading overtakes another. However many
//! readings are requested meanwhile, one follows.

use std::collections::VecDeque;

/// The queue. `J` is an order to write or to remove a marker.
pub(super) struct MarkerQueue<J> {
    orders: VecDeque<J>,
    under_way: Option<UnderWay>,
    /// Something may have changed since the last reading began.
    reading_due: bool,
}

#[derive(PartialEq, Eq)]
enum UnderWay {
    Order,
    Reading,
}

/// The next work on the markers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GateStep<J> {
    /// Carry out this order.
    Order(J),
    /// Read the marker.
    Read,
}

impl<J> MarkerQueue<J> {
    pub(super) fn new() -> Self {
        Self { orders: VecDeque::new(), under_way: None, reading_due: false }
    }

    /// Adds an order at the end of the queue.
    pub(super) fn push(&mut self, order: J) {
        self.orders.push_back(order);
    }

    /// Requests a reading that begins after this moment.
    pub(super) fn request_reading(&mut self) {
        self.reading_due = true;
    }

    /// Whether an order is queued or being carried out.
    pub(super) fn has_orders(&self) -> bool {
        self.under_way == Some(UnderWay::Order) || !self.orders.is_empty()
    }

    /// The next work; `None` while an item is being done or nothing is left. [`MarkerQueue::done`] must follow.
    pub(super) fn next(&mut self) -> Option<GateStep<J>> {
        if self.under_way.is_some() {
            return None;
        }
        if let Some(order) = self.orders.pop_front() {
            self.under_way = Some(UnderWay::Order);
            return Some(GateStep::Order(order));
        }
        std::mem::take(&mut self.reading_due).then(|| {
            self.under_way = Some(UnderWay::Reading);
            GateStep::Read
        })
    }

    /// The item from [`MarkerQueue::next`] is done.
    pub(super) fn done(&mut self) {
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_carried_out_one_at_a_time_in_order_of_arrival() {
        let mut queue = MarkerQueue::new();
        queue.push("cancel");
        queue.push("begin");
        assert_eq!(queue.next(), Some(GateStep::Order("cancel")));
        assert_eq!(queue.next(), None, "the first is in progress");
        queue.done();
        assert_eq!(queue.next(), Some(GateStep::Order("begin")));
        assert!(queue.has_orders());
        queue.done();
        assert!(!queue.has_orders());
    }

    #[test]
    fn a_flood_during_a_reading_makes_one_more() {
        let mut queue = MarkerQueue::<()>::new();
        queue.request_reading();
        assert_eq!(queue.next(), Some(GateStep::Read));
        for _ in 0..1000 {
            queue.request_reading();
            assert_eq!(queue.next(), None, "one reading at a time");
        }
        queue.done();
        assert_eq!(queue.next(), Some(GateStep::Read));
        queue.done();
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn no_reading_comes_between_two_orders() {
        let mut queue = MarkerQueue::new();
        queue.push("cancel");
        queue.request_reading();
        queue.push("begin");
        for step in [GateStep::Order("cancel"), GateStep::Order("begin"), GateStep::Read] {
            assert_eq!(queue.next(), Some(step));
            queue.done();
        }
    }
}
