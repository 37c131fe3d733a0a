//! The slots for turns, `turns.max_concurrent` of them, shared by all dispatchers.
//!
//! Counts the slots that each dispatcher uses. A dispatcher that finds none free waits in line; a slot that becomes free is reserved for
//! the first in line, which then has to register again. So a dispatcher that waits has a slot after each of the others had one at
//! most, and one that does not answer keeps one reserved slot from the others, until it is replaced.

use std::collections::VecDeque;

/// The slots, as one dispatcher has access to them.
pub(in crate::dispatch) trait SlotAccess {
    /// Applies `change` to the slots, on behalf of the dispatcher with the number that is passed with them; `None` if this incarnation
    /// of it was replaced.
    fn change<R>(&mut self, change: impl FnOnce(&mut SlotPlan, usize) -> R) -> Option<R>;
}

/// Which slots are in use, by which dispatcher, and which dispatcher is next. No I/O.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::dispatch) struct SlotPlan {
    limit: usize,
    /// By number.
    dispatchers: Vec<SlotHolder>,
    /// Slots in use or reserved.
    taken: usize,
    /// Dispatchers that wait for a slot, each once. Empty while a slot is free.
    waiting: VecDeque<usize>,
    /// Dispatchers for which a slot was reserved since the last [`SlotPlan::take_notified`].
    to_notify: Vec<usize>,
}

/// The slots of one dispatcher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct SlotHolder {
    /// One for each of its turns.
    in_use: usize,
    /// One is kept for it.
    reserved: bool,
    /// It has ended, or has not read yet which turns it has.
    is_recovering: bool,
}

/// Whether a dispatcher waits for a slot, as far as it was notified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum SlotWait {
    /// It has not found all slots in use since it last had one.
    #[default]
    No,
    /// It is in line. A slot may be reserved for it already.
    InLine,
    /// A slot is reserved for it.
    Reserved,
}

impl SlotPlan {
    /// `limit` slots for so many dispatchers.
    pub(in crate::dispatch) fn new(limit: usize, dispatchers: usize) -> Self {
        Self {
            limit,
            dispatchers: vec![SlotHolder::default(); dispatchers],
            taken: 0,
            waiting: VecDeque::new(),
            to_notify: Vec::new(),
        }
    }

    /// Takes a slot for a turn of `dispatcher`, the one that is reserved for it first; `false` if none is free.
    pub(in crate::dispatch) fn take(&mut self, dispatcher: usize) -> bool {
        let holder = &mut self.dispatchers[dispatcher];
        if std::mem::take(&mut holder.reserved) {
            self.taken -= 1;
        }
        // The limit may have been lowered since one was reserved.
        let is_free = self.taken < self.limit;
        if is_free {
            self.taken += 1;
            holder.in_use += 1;
        }
        is_free
    }

    /// As [`SlotPlan::take`]. If none is free, `dispatcher` waits in line from now on, if it does not already.
    pub(in crate::dispatch) fn take_or_wait(&mut self, dispatcher: usize) -> bool {
        let is_taken = self.take(dispatcher);
        if !is_taken && !self.waiting.contains(&dispatcher) {
            self.waiting.push_back(dispatcher);
        }
        is_taken
    }

    /// `dispatcher` has no use for a slot at present: it leaves the line, and a slot that was reserved for it goes to the next.
    pub(in crate::dispatch) fn stop_waiting(&mut self, dispatcher: usize) {
        self.waiting.retain(|waiting| *waiting != dispatcher);
        if std::mem::take(&mut self.dispatchers[dispatcher].reserved) {
            self.taken -= 1;
        }
        self.pass_on();
    }

    /// A turn of `dispatcher` has ended. Whether a slot is reserved for `dispatcher` itself now.
    pub(in crate::dispatch) fn give_back(&mut self, dispatcher: usize) -> bool {
        let holder = &mut self.dispatchers[dispatcher];
        if holder.in_use > 0 {
            holder.in_use -= 1;
            self.taken -= 1;
        }
        self.pass_on();
        self.dispatchers[dispatcher].reserved
    }

    /// `dispatcher` has ended, or a new incarnation of it starts, while so many of its turns work. Until [`SlotPlan::adopt`] it keeps slots
    /// for these only: nothing else gives back those of turns that end meanwhile.
    pub(in crate::dispatch) fn begin_recovery(&mut self, dispatcher: usize, working: usize) {
        self.dispatchers[dispatcher].is_recovering = true;
        self.stop_waiting(dispatcher);
        self.work_ended(dispatcher, working);
    }

    /// Whether [`SlotPlan::work_ended`] is needed for `dispatcher`.
    pub(in crate::dispatch) fn is_recovering(&self, dispatcher: usize) -> bool {
        self.dispatchers[dispatcher].is_recovering
    }

    /// The work of a turn of `dispatcher` has ended; so many of its turns still work.
    pub(in crate::dispatch) fn work_ended(&mut self, dispatcher: usize, working: usize) {
        if self.is_recovering(dispatcher) && working < self.dispatchers[dispatcher].in_use {
            self.set_in_use(dispatcher, working);
        }
    }

    /// A new incarnation of `dispatcher` has found so many turns of its own. They count, even if they are more than there are slots, as
    /// those do whose work has ended and which it has not handled yet.
    pub(in crate::dispatch) fn adopt(&mut self, dispatcher: usize, turns: usize) {
        self.dispatchers[dispatcher].is_recovering = false;
        self.set_in_use(dispatcher, turns);
    }

    fn set_in_use(&mut self, dispatcher: usize, turns: usize) {
        let holder = &mut self.dispatchers[dispatcher];
        self.taken = self.taken + turns - holder.in_use;
        holder.in_use = turns;
        self.pass_on();
    }

    /// The settings of `dispatcher` have this number of slots. That of the first dispatcher applies: another one may still have an older change
    /// in its mailbox. A lower number takes no slot from a turn.
    pub(in crate::dispatch) fn set_limit(&mut self, dispatcher: usize, limit: usize) {
        if dispatcher == 0 {
            self.limit = limit;
            self.pass_on();
        }
    }

    /// Slots in use, over all dispatchers.
    pub(in crate::dispatch) fn in_use(&self) -> usize {
        self.dispatchers.iter().map(|holder| holder.in_use).sum()
    }

    /// Takes the dispatchers for which a slot was reserved. Each has to be notified.
    pub(in crate::dispatch) fn take_notified(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.to_notify)
    }

    /// Reserves the free slots for those that wait.
    fn pass_on(&mut self) {
        while self.taken < self.limit
            && let Some(next) = self.waiting.pop_front()
        {
            self.dispatchers[next].reserved = true;
            self.taken += 1;
            self.to_notify.push(next);
        }
    }
}
