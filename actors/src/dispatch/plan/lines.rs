//! Which session is next for a slot: one line for each link and profile, served round robin.
//!
//! Holds the keys of sessions only. Sessions that a closed gate stops stay in their line and are skipped, so opening a gate costs one
//! check of each line, independent of its length.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::waiting::LinkCounts;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::drain::Origin;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::session::SessionKey;

/// One line, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LineId(usize);

/// The place of a session in a line: ordered by the event that put it there, then by a number for those that have just run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LinePlace {
    event: InboundId,
    moved_back: u64,
}

/// Events by why they wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::dispatch) struct WaitingCounts {
    /// For their session or for a slot.
    pub(in crate::dispatch) queued: usize,
    /// For the gate.
    pub(in crate::dispatch) held: usize,
    /// For their link, by link; those that the gate holds too are not among them.
    pub(in crate::dispatch) awaiting_link: BTreeMap<LinkId, usize>,
}

/// All lines, and the gates in front of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct StartLines {
    all: Vec<StartLine>,
    numbers: BTreeMap<(LinkId, ProfileName), LineId>,
    /// Lines with a session that may run, each once; a line whose sessions may no longer run is removed when it is next.
    round_robin: VecDeque<LineId>,
    /// The gate is closed for all.
    closed: bool,
    closed_profiles: BTreeSet<ProfileName>,
    open_links: BTreeSet<LinkId>,
    /// Events that wait, by link.
    waiting: LinkCounts,
    /// The newest event in the plan.
    newest: InboundId,
    /// Counts the sessions that went to the end of a line.
    moved_back: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct StartLine {
    link: LinkId,
    profile: ProfileName,
    link_open: bool,
    profile_open: bool,
    /// Sessions whose first event is from a person.
    external: BTreeMap<LinePlace, SessionKey>,
    /// Sessions whose first event the gateway itself runs again: such an event passes a closed gate.
    internal: BTreeMap<LinePlace, SessionKey>,
    scheduled: bool,
    /// Events that wait, of all sessions.
    events: usize,
}

impl StartLine {
    fn admits(&self, origin: Origin) -> bool {
        self.link_open && (self.profile_open || origin == Origin::Internal)
    }

    fn of(&mut self, origin: Origin) -> &mut BTreeMap<LinePlace, SessionKey> {
        match origin {
            Origin::Internal => &mut self.internal,
            Origin::External => &mut self.external,
        }
    }

    /// Whether one of its sessions may run.
    fn has_next(&self) -> bool {
        [(Origin::Internal, &self.internal), (Origin::External, &self.external)]
            .into_iter()
            .any(|(origin, sessions)| self.admits(origin) && !sessions.is_empty())
    }
}

impl StartLines {
    pub(super) fn new() -> Self {
        Self {
            all: Vec::new(),
            numbers: BTreeMap::new(),
            round_robin: VecDeque::new(),
            closed: false,
            closed_profiles: BTreeSet::new(),
            open_links: BTreeSet::new(),
            waiting: LinkCounts::default(),
            newest: InboundId(i64::MIN),
            moved_back: 0,
        }
    }

    /// The line of a link and a profile.
    pub(super) fn line(&mut self, link: &LinkId, profile: &ProfileName) -> LineId {
        let key = (link.clone(), profile.clone());
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = LineId(self.all.len());
        self.all.push(StartLine {
            link: link.clone(),
            profile: profile.clone(),
            link_open: self.open_links.contains(link),
            profile_open: self.is_open(profile),
            external: BTreeMap::new(),
            internal: BTreeMap::new(),
            scheduled: false,
            events: 0,
        });
        self.numbers.insert(key, number);
        number
    }

    /// Whether the gate, by its last report, admits a new turn of `profile`.
    pub(super) fn is_open(&self, profile: &ProfileName) -> bool {
        !self.closed && !self.closed_profiles.contains(profile)
    }

    pub(super) fn is_link_open(&self, line: LineId) -> bool {
        self.all[line.0].link_open
    }

    /// Whether the gates let an event of this line through.
    pub(super) fn admits(&self, line: LineId, origin: Origin) -> bool {
        self.all[line.0].admits(origin)
    }

    /// The gate reported its state.
    pub(super) fn set_gate(&mut self, closed: bool, profiles: BTreeSet<ProfileName>) {
        (self.closed, self.closed_profiles) = (closed, profiles);
        self.update_gates();
    }

    pub(super) fn close_all(&mut self) {
        let profiles = std::mem::take(&mut self.closed_profiles);
        self.set_gate(true, profiles);
    }

    pub(super) fn close_profile(&mut self, profile: &ProfileName) {
        let mut profiles = std::mem::take(&mut self.closed_profiles);
        profiles.insert(profile.clone());
        self.set_gate(self.closed, profiles);
    }

    /// A link came up, or went down.
    pub(super) fn set_link(&mut self, link: &LinkId, open: bool) {
        let changed = if open { self.open_links.insert(link.clone()) } else { self.open_links.remove(link) };
        if changed {
            self.update_gates();
        }
    }

    /// Checks each line once, independent of its length.
    fn update_gates(&mut self) {
        for number in 0..self.all.len() {
            let open = self.is_open(&self.all[number].profile);
            let line = &mut self.all[number];
            (line.profile_open, line.link_open) = (open, self.open_links.contains(&line.link));
            self.schedule(LineId(number));
        }
    }

    fn schedule(&mut self, LineId(number): LineId) {
        let line = &mut self.all[number];
        if !line.scheduled && line.has_next() {
            line.scheduled = true;
            self.round_robin.push_back(LineId(number));
        }
    }

    /// An event entered the plan.
    pub(super) fn entered(&mut self, event: InboundId) {
        self.newest = self.newest.max(event);
    }

    /// One more event waits in `line`.
    pub(super) fn add_event(&mut self, line: LineId) {
        let line = &mut self.all[line.0];
        line.events += 1;
        self.waiting.add(&line.link);
    }

    /// One fewer event waits in `line`.
    pub(super) fn remove_event(&mut self, line: LineId) {
        let line = &mut self.all[line.0];
        line.events = line.events.saturating_sub(1);
        self.waiting.remove(&line.link);
    }

    /// The events that wait, by link.
    pub(super) fn waiting(&self) -> &LinkCounts {
        &self.waiting
    }

    pub(super) fn waiting_mut(&mut self) -> &mut LinkCounts {
        &mut self.waiting
    }

    /// The place of a session whose first event is `event`: that of the event, or behind all present ones if the session has
    /// just run.
    pub(super) fn place(&mut self, line: LineId, event: InboundId, origin: Origin, has_run: bool) -> LinePlace {
        if has_run && self.admits(line, origin) {
            self.moved_back += 1;
            LinePlace { event: self.newest.max(event), moved_back: self.moved_back }
        } else {
            LinePlace { event, moved_back: 0 }
        }
    }

    pub(super) fn insert(&mut self, line: LineId, place: LinePlace, origin: Origin, session: SessionKey) {
        self.all[line.0].of(origin).insert(place, session);
        self.schedule(line);
    }

    pub(super) fn remove(&mut self, line: LineId, place: LinePlace, origin: Origin) {
        self.all[line.0].of(origin).remove(&place);
    }

    /// Whether a session may run.
    pub(super) fn has_next(&mut self) -> bool {
        while let Some(line) = self.round_robin.front() {
            let line = &mut self.all[line.0];
            if line.has_next() {
                return true;
            }
            line.scheduled = false;
            self.round_robin.pop_front();
        }
        false
    }

    /// The session that is next, from the line that is next; the caller removes it from there.
    pub(super) fn next(&mut self) -> Option<SessionKey> {
        if !self.has_next() {
            return None;
        }
        let number = self.round_robin.pop_front()?;
        // It moves to the end also if it is empty now: that is checked when it is next.
        self.round_robin.push_back(number);
        let line = &self.all[number.0];
        let first = |origin, sessions: &BTreeMap<LinePlace, SessionKey>| {
            line.admits(origin).then(|| sessions.first_key_value().map(|(_, session)| session.clone())).flatten()
        };
        first(Origin::Internal, &line.internal).or_else(|| first(Origin::External, &line.external))
    }

    pub(super) fn counts(&self) -> WaitingCounts {
        let mut counts = WaitingCounts::default();
        for line in self.all.iter().filter(|line| line.events > 0) {
            if !line.profile_open {
                counts.held += line.events;
            } else if line.link_open {
                counts.queued += line.events;
            } else {
                *counts.awaiting_link.entry(line.link.clone()).or_default() += line.events;
            }
        }
        counts
    }
}
