//! Every plain value of `caduceus.yaml`, an entry each: keys are declared only here.
//!
//! To add one, add its entry here, use its field, and test that. The test of the table in `docs/configuration.md`
//! prints its new content.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::form::{
    Address, AtLeast, ByCores, FloorAndCeiling, ListOfNetworks, ListOfTexts, Millis, OneOf, PlainText, Seconds, UrlPath,
};
use super::key_table::{KeyRow, KeyTable as _, Mapping};
use super::notices::{HomeChannel, HomeForm};
use super::policies::{self, PolicyPerKind};
use super::yaml::Section;
use crate::network::Network;
use caduceus_supervision::{Backoff, RestartPolicy};

/// What happens to a message while its session is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Busy {
    /// It is queued.
    Queue,
    /// The running turn is stopped for it.
    Interrupt,
    /// It is passed to the running agent.
    Steer,
    /// The chat gets a notice to wait.
    Reject,
}

const BUSY: &[(&str, Busy)] =
    &[("queue", Busy::Queue), ("interrupt", Busy::Interrupt), ("steer", Busy::Steer), ("reject", Busy::Reject)];

/// What happens with turns that a crash interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interrupted {
    /// The chat gets a notice, and `/retry` runs it again.
    Ask,
    /// It runs again, at most 3 times in all.
    Rerun,
    /// It is dropped.
    Drop,
}

const INTERRUPTED: &[(&str, Interrupted)] =
    &[("ask", Interrupted::Ask), ("rerun", Interrupted::Rerun), ("drop", Interrupted::Drop)];

/// What happens with a message during a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhenRefused {
    /// It is refused with a notice to send it again.
    Notice,
    /// It is kept and runs when the drain ends.
    Hold,
}

const REFUSED: &[(&str, WhenRefused)] = &[("notice", WhenRefused::Notice), ("hold", WhenRefused::Hold)];

key_table! {
    /// Every plain value of `caduceus.yaml`.
    pub struct Values {
        /// `http`
        http: HttpValues = "http", Mapping, HttpValues::default(), PerKey;
        /// `sessions`
        sessions: SessionValues = "sessions", Mapping, SessionValues::default(), PerKey;
        /// `turns`
        turns: TurnValues = "turns", Mapping, TurnValues::default(), PerKey;
        /// `threads`
        threads: ThreadValues = "threads", Mapping, ThreadValues::default(), PerKey;
        /// `drain`
        drain: DrainValues = "drain", Mapping, DrainValues::default(), PerKey;
        /// `relay`
        relay: RelayValues = "relay", Mapping, RelayValues::default(), AtStart;
        /// `notices`
        notices: NoticeValues = "notices", Mapping, NoticeValues::default(), PerKey;
        /// `supervision`
        supervision: SupervisionValues = "supervision", Mapping, SupervisionValues::default(), AtStart;
    }
}

impl Values {
    /// The table of all keys in Markdown, as `docs/configuration.md` has it.
    #[must_use]
    pub fn documentation() -> String {
        let mut table = "| key | default | a change applies | meaning |\n|---|---|---|---|\n".to_owned();
        table.extend(Self::default().rows().iter().map(KeyRow::markdown));
        table
    }
}

key_table! {
    /// `http`: where HTTP listens, and how requests name it and its clients.
    pub struct HttpValues {
        /// the address on which HTTP listens; `--bind` overrides it
        bind: SocketAddr = "http.bind", Address, SocketAddr::from((Ipv4Addr::LOCALHOST, 8652)), AtStart;
        /// additional host names of the gateway, `host` or `host:port`; a request with another `Host` is refused
        names: Vec<String> = "http.names", ListOfTexts, Vec::new(), AtStart;
        /// addresses or networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` is trusted. A request with a forwarding
        /// header from any other peer does not count as loopback
        trusted_proxies: Vec<Network> = "http.trusted_proxies", ListOfNetworks, Vec::new(), AtStart;
    }
}

key_table! {
    /// `sessions`: how messages of one conversation share it.
    pub struct SessionValues {
        /// what happens to a message while its session has a running or queued turn. `queue`: up to 32, in order, then a
        /// notice. `interrupt`: the running turn is stopped for it. `steer`: it is passed to the running agent (also during a
        /// drain). `reject`: it is refused with a notice. An agent with `reply: text`, or one that is not a command, cannot be
        /// steered: the message is queued
        busy: Busy = "sessions.busy", OneOf(BUSY), Busy::Queue, AtOnce;
    }
}

key_table! {
    /// `turns`: how many run, and what happens with them after a crash.
    pub struct TurnValues {
        /// maximum of concurrent turns over all sessions, at least 1. A free slot goes round robin to the data threads with
        /// waiting messages, there to the links and profiles, and there to the session that waits longest
        max_concurrent: usize = "turns.max_concurrent", AtLeast(1), 64, AtOnce;
        /// maximum of messages that wait for each link, over all its sessions, at least 1; each takes up to 1 KiB of memory. Those of running
        /// turns and commands do not count. A message above it that would have to wait is refused with a notice, as above the limit of a
        /// session; a delivery over HTTP is answered 503 with `Retry-After`. Other links are not affected
        max_waiting: usize = "turns.max_waiting", AtLeast(1), 250_000, AtOnce;
        /// what happens to a turn that a crash interrupted. `ask`: the chat gets a notice, and `/retry` runs it again. `rerun`: it
        /// runs again, 3 attempts in total; a home that starts more than 5 times in 2 minutes with interrupted turns behaves as
        /// with `ask`. `drop`
        interrupted: Interrupted = "turns.interrupted", OneOf(INTERRUPTED), Interrupted::Ask, AtOnce;
    }
}

key_table! {
    /// `threads`: how many serve what.
    pub struct ThreadValues {
        /// threads for the sessions, 1 to 64. All sessions of a chat are on one of them, chosen by a hash of the chat, so the order within
        /// a session and `turns.max_concurrent` do not depend on it. Without it: half of the cores, at least 1 and at most 4, because the
        /// ledger, the agents and HTTP need the other cores, and with more than 4 the one writer of the ledger is the limit
        data: Option<usize> = "threads.data", ByCores { most: 64 }, None, AtStart;
    }
}

/// Most data threads that are chosen by the number of cores.
const MOST_BY_CORES: usize = 4;

impl ThreadValues {
    /// The number of data threads on a machine with so many cores.
    #[must_use]
    pub fn number(&self, cores: usize) -> usize {
        self.data.unwrap_or((cores / 2).clamp(1, MOST_BY_CORES))
    }
}

key_table! {
    /// `drain`: what happens with messages and turns during a drain.
    pub struct DrainValues {
        /// what happens to a message during a drain. `hold`: it is kept until the drain ends, also across a restart, and the chat
        /// gets a notice at most once a minute. `notice`: it is refused with a notice that asks to send it again; at the end of
        /// the drain (cancel, deadline, or the next start without a marker) each chat gets one notice with the
        /// number of its messages that were not read. Each refusal is a line in the log
        refused: WhenRefused = "drain.refused", OneOf(REFUSED), WhenRefused::Hold, AtOnce;
        /// how long a shutdown waits for running turns. Every time in seconds is limited to one year
        timeout: Duration = "drain.timeout_s", Seconds::FromZero, Duration::from_mins(3), AtOnce;
    }
}

key_table! {
    /// `relay`: the links to the connectors.
    pub struct RelayValues, checked by silence_outlasts_pings {
        /// a private certificate authority in PEM, trusted in addition to the system's roots (or to the bundled roots, if the
        /// system has none), for every server that the gateway or a command calls: connectors, their media, identity providers,
        /// model servers, token servers. Read at start. A relative path is relative to the home. `GATEWAY_RELAY_CA_FILE`
        /// overrides it
        ca_file: Option<String> = "relay.ca_file", PlainText, None, AtStart;
        /// `relay.inbound`
        inbound: InboundSettings = "relay.inbound", Mapping, InboundSettings::default(), PerKey;
        /// interval of pings on a link
        ping: Duration = "relay.ping_s", Seconds::AboveZero, Duration::from_secs(20), AtStart;
        /// a link that received nothing for this long is closed and dialled again
        silence: Duration = "relay.silence_s", Seconds::AboveZero, Duration::from_secs(45), AtStart;
        /// timeout of a dial
        dial: Duration = "relay.dial_s", Seconds::AboveZero, Duration::from_secs(30), AtStart;
        /// timeout of the first descriptor
        handshake: Duration = "relay.handshake_s", Seconds::AboveZero, Duration::from_secs(30), AtStart;
        /// timeout of the result of an action; after it the result is `ambiguous`
        result: Duration = "relay.result_s", Seconds::AboveZero, Duration::from_secs(30), AtStart;
        /// upper bounds of the first and of the longest backoff before a redial
        redial: Backoff = "relay.redial_floor_ms", FloorAndCeiling("relay.redial_ceiling_ms"), backoff(1000, 30_000), AtStart;
    }
}

/// A backoff within these bounds.
fn backoff(floor: u64, ceiling: u64) -> Backoff {
    Backoff::new(Duration::from_millis(floor), Duration::from_millis(ceiling)).expect("the floor is below the ceiling")
}

/// With a silence shorter than the interval of pings, a healthy link would be closed.
fn silence_outlasts_pings(relay: &RelayValues, section: &mut Section<'_>) {
    if relay.silence <= relay.ping {
        section.wrong::<()>("silence_s", "more than ping_s");
    }
}

key_table! {
    /// `relay.inbound`: where signed deliveries come in.
    pub struct InboundSettings {
        /// the path of signed deliveries; interrupts use this path with `/interrupt` appended
        path: String = "relay.inbound.path", UrlPath, "/relay/inbound".to_owned(), AtStart;
        /// a separate listener for these paths and `/wake` only; without it they are served with all other routes
        bind: Option<SocketAddr> = "relay.inbound.bind", Address, None, AtStart;
    }
}

key_table! {
    /// `notices`: the chat that is notified of start and shutdown.
    pub struct NoticeValues {
        /// `{platform: …, chat_id: …}`: the home channel, a chat that is notified of start and shutdown; both keys are required.
        /// A drain with `suppress_notification` suppresses the notice of the shutdown that ends it
        home: Option<HomeChannel> = "notices.home", HomeForm, None, AtStart;
    }
}

key_table! {
    /// `supervision`: restarts and heartbeats.
    pub struct SupervisionValues {
        /// a thread or an actor without a heartbeat for this long is unresponsive, and is replaced
        unresponsive_after: Duration = "supervision.wedge_after_ms", Millis, Duration::from_secs(5), AtStart;
        /// The restart policy by kind of actor (`relay`, `drain`, …).
        policies: BTreeMap<String, RestartPolicy> = "supervision.policies", PolicyPerKind, policies::default(), AtStart;
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
