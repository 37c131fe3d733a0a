//! Who is next at a marker: what is done to one is done one at a time, in the order asked. Each home has a line of its own, so a disk
//! that hangs under one of them holds up no other.
//!
//! Orders stand in line from the turn in which they are asked, so a begin never overtakes the cancel before it. A reading is
//! taken only when no order is left: it never sees the disk between two orders, and no reading overtakes another. However many
//! readings are asked for meanwhile, one follows.

use std::collections::VecDeque;

/// The line. `J` is an order to write or to remove a marker.
pub(super) struct Line<J> {
    orders: VecDeque<J>,
    under_way: Option<Doing>,
    /// Something may have changed since the last reading began.
    reading_due: bool,
}

#[derive(PartialEq, Eq)]
enum Doing {
    Order,
    Reading,
}

/// What is to be done to the markers now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GateStep<J> {
    /// Carry out this order.
    Order(J),
    /// Read the marker.
    Read,
}

impl<J> Line<J> {
    pub(super) fn new() -> Self {
        Self { orders: VecDeque::new(), under_way: None, reading_due: false }
    }

    /// Puts an order at the end of the line.
    pub(super) fn push(&mut self, order: J) {
        self.orders.push_back(order);
    }

    /// Asks for a reading that begins after this moment.
    pub(super) fn ask_reading(&mut self) {
        self.reading_due = true;
    }

    /// Whether an order waits or is being carried out.
    pub(super) fn has_orders(&self) -> bool {
        self.under_way == Some(Doing::Order) || !self.orders.is_empty()
    }

    /// What is to be done now; `None` while something is being done or nothing is left. After it comes [`Line::done`].
    pub(super) fn next(&mut self) -> Option<GateStep<J>> {
        if self.under_way.is_some() {
            return None;
        }
        if let Some(order) = self.orders.pop_front() {
            self.under_way = Some(Doing::Order);
            return Some(GateStep::Order(order));
        }
        std::mem::take(&mut self.reading_due).then(|| {
            self.under_way = Some(Doing::Reading);
            GateStep::Read
        })
    }

    /// What [`Line::next`] gave is done.
    pub(super) fn done(&mut self) {
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_carried_out_one_at_a_time_in_the_order_asked() {
        let mut line = Line::new();
        line.push("cancel");
        line.push("begin");
        assert_eq!(line.next(), Some(GateStep::Order("cancel")));
        assert_eq!(line.next(), None, "the first is under way");
        line.done();
        assert_eq!(line.next(), Some(GateStep::Order("begin")));
        assert!(line.has_orders());
        line.done();
        assert!(!line.has_orders());
    }

    #[test]
    fn a_flood_during_a_reading_makes_one_more() {
        let mut line = Line::<()>::new();
        line.ask_reading();
        assert_eq!(line.next(), Some(GateStep::Read));
        for _ in 0..1000 {
            line.ask_reading();
            assert_eq!(line.next(), None, "one reading at a time");
        }
        line.done();
        assert_eq!(line.next(), Some(GateStep::Read));
        line.done();
        assert_eq!(line.next(), None);
    }

    #[test]
    fn no_reading_comes_between_two_orders() {
        let mut line = Line::new();
        line.push("cancel");
        line.ask_reading();
        line.push("begin");
        for step in [GateStep::Order("cancel"), GateStep::Order("begin"), GateStep::Read] {
            assert_eq!(line.next(), Some(step));
            line.done();
        }
    }
}
