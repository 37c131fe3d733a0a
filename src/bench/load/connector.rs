//! The connector that drives a gateway: sends events, answers its actions, and measures from the write of an event to the read of
//! what follows.
//!
//! It runs on the caller's thread. An event goes to the session that has been idle longest, and its text begins with its number, by which the
//! reply of the agent `echo` is recognised.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use caduceus_contract::wire::action_result::ActionResult;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::frame::FromConnector;
use serde::Deserialize;

use super::connection::LoadConnection;
use super::times::Times;
use crate::bench::process;

/// Sessions of a load, if a row has no reason for another number.
pub(crate) const SESSIONS: u32 = 1_024;
/// A gateway that answers nothing for this long does not work.
const STALL: Duration = Duration::from_mins(1);
/// A gateway has started and dials within this time.
const DIAL: Duration = Duration::from_mins(1);
/// What follows the number in the text of an event.
const TEXT: &str = " is the number of this message, which is about as long as messages in chats are";

/// What is sent, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) mode: LoadMode,
    pub(crate) amount: Amount,
    /// Chats, each a session.
    pub(crate) sessions: u32,
    /// Profiles `p0`, `p1`, … that the sessions belong to, in turn; 0: the default profile.
    pub(crate) profiles: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum LoadMode {
    /// So many events without a reply at any time.
    InFlight(u32),
    /// So many events a second, whatever comes back.
    PerSecond(u32),
    /// As fast as the gateway acknowledges, with at most this many unacknowledged; no reply is expected.
    Unanswered(u32),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Amount {
    Events(u64),
    For(Duration),
}

/// What a run measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Events that were sent and, unless [`LoadMode::Unanswered`], answered.
    pub(crate) events: u64,
    /// From the first event to the last reply.
    pub(crate) elapsed: Duration,
    /// CPU time of the load.
    pub(crate) load_cpu: Duration,
    /// From an event to its reply.
    pub(crate) answered: Times,
    /// From an event to its acknowledgement.
    pub(crate) acknowledged: Times,
    /// Messages of the gateway that are no reply of the agent, such as notices.
    pub(crate) notices: u64,
}

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the gateway did not dial")]
    Dial(#[source] io::Error),
    #[error("the link failed")]
    Link(#[from] io::Error),
    #[error("the gateway closed the link")]
    Closed,
    #[error("nothing arrived for 60 s, with {answered} of {sent} events answered and {acknowledged} acknowledged")]
    Stalled { sent: u64, acknowledged: u64, answered: u64 },
}

/// The fields of a gateway's frame that matter here.
#[derive(Deserialize)]
struct LoadLine<'a> {
    r#type: &'a str,
    #[serde(rename = "requestId", borrow)]
    request_id: Option<&'a str>,
    #[serde(rename = "bufferId", borrow)]
    buffer_id: Option<&'a str>,
    #[serde(borrow)]
    action: Option<ActionHead<'a>>,
    #[serde(borrow)]
    platform: Option<&'a str>,
}

#[derive(Deserialize)]
struct ActionHead<'a> {
    #[serde(borrow)]
    op: &'a str,
    #[serde(borrow)]
    content: Option<std::borrow::Cow<'a, str>>,
}

/// A connector for one gateway at a time.
pub(crate) struct LoadConnector {
    listener: TcpListener,
    connection: Option<LoadConnection>,
    /// The number of the next event; never repeated, so that none is a duplicate.
    next: u64,
}

impl LoadConnector {
    pub(crate) fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self { listener, connection: None, next: 0 })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for a dial and answers its first hello.
    pub(crate) fn accept(&mut self) -> Result<(), LoadError> {
        let mut connection = LoadConnection::accept(&self.listener, DIAL).map_err(LoadError::Dial)?;
        let until = Instant::now() + DIAL;
        let mut hello = None;
        while hello.is_none() && connection.is_open() && Instant::now() < until {
            connection.wait(Duration::from_millis(100))?;
            connection.read(|line| {
                if let Ok(LoadLine { r#type: "hello", platform, .. }) = serde_json::from_slice(line) {
                    hello = Some(platform.unwrap_or("relay").to_owned());
                }
            })?;
        }
        let platform = hello.ok_or(LoadError::Closed)?;
        connection.queue(descriptor(platform))?;
        connection.flush()?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Drives the gateway, over the link that is open or the next one that it dials.
    pub(crate) fn run(&mut self, load: Load) -> Result<Outcome, LoadError> {
        if !self.connection.as_ref().is_some_and(LoadConnection::is_open) {
            self.accept()?;
        }
        let connection = self.connection.as_mut().ok_or(LoadError::Closed)?;
        let mut run = Run::new(load, self.next);
        let outcome = run.drive(connection);
        self.next += run.sent();
        outcome
    }

    /// Receives and answers the replies to `events` events of earlier runs.
    pub(crate) fn collect(&mut self, events: u64) -> Result<Outcome, LoadError> {
        if !self.connection.as_ref().is_some_and(LoadConnection::is_open) {
            self.accept()?;
        }
        let connection = self.connection.as_mut().ok_or(LoadError::Closed)?;
        let load = Load { mode: LoadMode::InFlight(0), amount: Amount::Events(0), sessions: 1, profiles: 0 };
        let mut run = Run::new(load, self.next);
        run.owed = events;
        run.drive(connection)
    }
}

/// One run in progress.
struct Run {
    load: Load,
    /// The number of its first event.
    first: u64,
    /// By number from `first`: when the event was written, and its session.
    events: Vec<(Instant, u32)>,
    /// Sessions without a turn, longest idle first.
    idle: VecDeque<u32>,
    began: Instant,
    acknowledged: u64,
    answered: u64,
    /// Replies to events of earlier runs that are still to come.
    owed: u64,
    outcome: Outcome,
}

impl Run {
    fn new(load: Load, first: u64) -> Self {
        let (began, idle) = (Instant::now(), (0..load.sessions).collect());
        let (events, outcome) = (Vec::new(), Outcome::default());
        Self { load, first, events, idle, began, acknowledged: 0, answered: 0, owed: 0, outcome }
    }

    fn sent(&self) -> u64 {
        self.events.len() as u64
    }

    fn drive(&mut self, connection: &mut LoadConnection) -> Result<Outcome, LoadError> {
        let cpu = process::own_thread_cpu();
        self.began = Instant::now();
        let (mut last_progress, mut progress) = (self.began, 0);
        loop {
            let due = self.due();
            for _ in 0..due {
                let line = self.event();
                connection.queue(line)?;
            }
            connection.flush()?;
            if due == 0 && self.is_complete() {
                break;
            }
            connection.wait(self.pause())?;
            let mut answers = String::new();
            connection.read(|line| self.receive(line, &mut answers))?;
            for answer in answers.split_inclusive('\n') {
                connection.queue(answer.to_owned())?;
            }
            if !connection.is_open() {
                return Err(LoadError::Closed);
            }
            let now = Instant::now();
            if self.acknowledged + self.answered != progress {
                (last_progress, progress) = (now, self.acknowledged + self.answered);
            } else if now.duration_since(last_progress) > STALL {
                let (sent, acknowledged, answered) = (self.sent(), self.acknowledged, self.answered);
                return Err(LoadError::Stalled { sent, acknowledged, answered });
            }
        }
        self.outcome.events = self.sent();
        self.outcome.elapsed = self.began.elapsed();
        self.outcome.load_cpu = process::own_thread_cpu().saturating_sub(cpu);
        Ok(std::mem::take(&mut self.outcome))
    }

    /// How many events are to be written now.
    fn due(&self) -> u64 {
        let sent = self.sent();
        let rest = match self.load.amount {
            Amount::Events(events) => events.saturating_sub(sent),
            Amount::For(time) if self.began.elapsed() < time => u64::MAX,
            Amount::For(_) => 0,
        };
        let wanted = match self.load.mode {
            LoadMode::InFlight(most) => u64::from(most).saturating_sub(sent - self.answered),
            LoadMode::Unanswered(most) => u64::from(most).saturating_sub(sent - self.acknowledged),
            LoadMode::PerSecond(rate) => {
                let so_far = self.began.elapsed().as_micros() * u128::from(rate) / 1_000_000;
                u64::try_from(so_far).unwrap_or(u64::MAX).saturating_sub(sent)
            }
        };
        rest.min(wanted)
    }

    fn is_complete(&self) -> bool {
        let over = match self.load.amount {
            Amount::Events(events) => self.sent() >= events,
            Amount::For(time) => self.began.elapsed() >= time,
        };
        let expects_replies = !matches!(self.load.mode, LoadMode::Unanswered(_));
        let acknowledged = self.acknowledged >= self.sent();
        over && acknowledged && (!expects_replies || self.answered >= self.sent()) && self.owed == 0
    }

    /// How long to wait for the gateway before looking at the clock again.
    fn pause(&self) -> Duration {
        match self.load.mode {
            LoadMode::PerSecond(_) => Duration::from_millis(1),
            LoadMode::InFlight(_) | LoadMode::Unanswered(_) => Duration::from_millis(100),
        }
    }

    fn event(&mut self) -> String {
        let number = self.first + self.sent();
        let session = match self.idle.pop_front() {
            Some(session) => session,
            None => u32::try_from(number % u64::from(self.load.sessions)).unwrap_or_default(),
        };
        if matches!(self.load.mode, LoadMode::Unanswered(_)) {
            self.idle.push_back(session);
        }
        self.events.push((Instant::now(), session));
        let profile = match self.load.profiles {
            0 => String::new(),
            profiles => format!(r#","profile":"p{}""#, session % profiles),
        };
        format!(
            r#"{{"type":"inbound","event":{{"text":"{number}{TEXT}","message_type":"text","message_id":"m{number}","source":{{"platform":"relay","chat_id":"c{session}","chat_type":"dm","user_id":"u{session}","user_name":"Ann"{profile}}}}},"bufferId":"b{number}"}}
"#
        )
    }

    fn receive(&mut self, line: &[u8], answers: &mut String) {
        let Ok(line) = serde_json::from_slice::<LoadLine<'_>>(line) else { return };
        match line {
            LoadLine { r#type: "inbound_ack", buffer_id: Some(id), .. } => {
                let sent = number(&id[1..]).and_then(|number| self.sent_at(number));
                if let Some((at, _)) = sent {
                    self.acknowledged += 1;
                    self.outcome.acknowledged.add(at.elapsed());
                }
            }
            LoadLine { r#type: "outbound", request_id: Some(request), action: Some(action), .. } => {
                answers.push_str(&result(request));
                if action.op == "send" {
                    self.reply(action.content.as_deref().unwrap_or_default());
                }
            }
            LoadLine { r#type: "going_idle", .. } => answers.push_str(&FromConnector::GoingIdleAck.to_line()),
            LoadLine { r#type: "hello", platform, .. } => {
                answers.push_str(&descriptor(platform.unwrap_or("relay").to_owned()));
            }
            _ => {}
        }
    }

    fn reply(&mut self, content: &str) {
        let number = content.strip_suffix(TEXT).and_then(number);
        match number.map(|number| self.sent_at(number)) {
            Some(Some((at, session))) => {
                self.answered += 1;
                self.outcome.answered.add(at.elapsed());
                self.idle.push_back(session);
            }
            Some(None) => self.owed = self.owed.saturating_sub(1),
            None => self.outcome.notices += 1,
        }
    }

    fn sent_at(&self, number: u64) -> Option<(Instant, u32)> {
        let index = number.checked_sub(self.first)?;
        self.events.get(usize::try_from(index).ok()?).copied()
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// The capabilities of this connector: one message a reply.
fn descriptor(platform: String) -> String {
    let descriptor = Descriptor {
        platform,
        supports_edit: false,
        supported_ops: Some(vec!["send".to_owned()]),
        ..Default::default()
    };
    FromConnector::Descriptor { descriptor: Box::new(descriptor) }.to_line()
}

fn result(request: &str) -> String {
    let result = ActionResult { success: true, message_id: Some("r".to_owned()), ..ActionResult::default() };
    FromConnector::OutboundResult { request_id: request.to_owned(), result }.to_line()
}
