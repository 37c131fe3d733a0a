//! An agent behind a chat completions server: sends the request, repeats it while that can help, and lets the reply grow.

mod answer;
mod attached;
mod error;
mod events;
mod lenient;
mod reason;
mod request;
mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::profile::agent::AgentSettings;
use crate::profile::agent::messages::{AuthorisedCall, Call, CallBroken, ResponseHead};
use crate::profile::redact::{Lease, Redactor};
use crate::turn::backend::AgentBackend;
use crate::turn::command::{TurnCommands, stopped};
use crate::turn::state::TurnState;
use crate::turn::verdict;
use answer::ModelAnswer;
use caduceus_contract::messages::turn::TurnOutcome;
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::Port;
use error::{AnswerError, Ending};

/// The backend `openai`.
pub(super) const BACKEND: AgentBackend = AgentBackend {
    name: "openai",
    read: settings::read,
    run: |turn, agent, commands| Box::pin(run(turn, agent, commands)),
};

/// Bytes of a reply that end a turn, as for an agent that is a process.
const MAX_REPLY: usize = 4 * 1024 * 1024;
/// Timeout of the profile for the start of a call: a check of the disk.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may take to close its complete answer: then the connection serves the next call.
const LINGER: Duration = Duration::from_millis(50);
/// How long comments alone keep a turn after the model has reported its end.
const LINGER_WITH_COMMENTS: Duration = Duration::from_mins(1);
/// Limits for the body of a refusal, in bytes and time.
const MAX_REFUSAL: usize = 16 * 1024;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of it in the log.
const LOGGED_CHARS: usize = 500;
/// Pieces of text in the queue of the reply.
const MAX_PIECES: usize = 8;

/// Runs the turn of an agent that is a server. The end of the turn ends the call at once.
async fn run(turn: &mut TurnState, agent: &Arc<AgentSettings>, commands: &mut TurnCommands) -> TurnOutcome {
    let Some(settings) = agent.server() else { return verdict::no_agent() };
    let due = Instant::now() + settings.timeout;
    let (texts, mut queued) = mpsc::channel(MAX_PIECES);
    let conversation = Conversation {
        port: turn.ports.agent.call.clone(),
        agent: Arc::clone(agent),
        turn: turn.work.id,
        body: request::body(settings, &turn.work.history, &turn.work.event),
        redactor: turn.ports.redactor.clone(),
        secrets: None,
        begun: false,
        texts,
    };
    let mut conversation = Box::pin(conversation.run());
    let mut received = 0;
    let mut take = |turn: &mut TurnState, text: String| {
        received += text.len();
        turn.verdict.too_much = received > MAX_REPLY;
        turn.reply_stream.reply.push(&text, Instant::now());
    };
    let mut ended = None;
    while ended.is_none() && !turn.verdict.is_ending() {
        tokio::select! {
            biased;
            cause = stopped(commands) => turn.verdict.stopped = Some(cause),
            () = tokio::time::sleep_until(due.into()) => turn.verdict.timed_out = Some(settings.timeout),
            Some(text) = queued.recv() => take(turn, text),
            end = &mut conversation => ended = Some(end),
            () = turn.reply_stream.advance() => {}
        }
    }
    // Ends the call if there is one: the delivery of the text may take longer.
    drop(conversation);
    while let Ok(text) = queued.try_recv() {
        take(turn, text);
    }
    let whole = turn.verdict.timed_out.is_none() && matches!(ended, Some(Ok(Ending::Whole)));
    turn.end_reply(whole, commands).await;
    match (turn.verdict.ended_early(), ended) {
        (Some(outcome), _) => outcome,
        (None, Some(Err(error))) => error.outcome(received > 0),
        (None, Some(Ok(ending))) => {
            if let Some(note) = note(ending) {
                turn.notify_chat(note.to_owned(), commands).await;
            }
            TurnOutcome::Done
        }
        (None, None) => TurnOutcome::Done,
    }
}

/// The notice with an answer that the model did not complete.
fn note(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Whole => None,
        Ending::OutOfLength => Some("The answer ends here because it reached the model's limit of length."),
        Ending::Filtered => Some("The rest of the answer was held back by the model's content filter."),
    }
}

/// The state from the request to the end of the answer.
struct Conversation {
    port: Port<AuthorisedCall>,
    agent: Arc<AgentSettings>,
    turn: TurnId,
    body: Bytes,
    redactor: Redactor,
    /// On the values of the last call, because the server may repeat them in its answer.
    secrets: Option<Lease>,
    /// Text of the answer was received, so that the request is not repeated.
    begun: bool,
    texts: mpsc::Sender<String>,
}

impl Conversation {
    async fn run(mut self) -> Result<Ending, AnswerError> {
        let mut tries = 0;
        loop {
            let error = match self.attempt().await {
                Ok(ending) => return Ok(ending),
                Err(error) => error,
            };
            tries += 1;
            // Redacted before it is cut, because half a secret would not be found.
            let reason: String = self.redactor.redact(&error.to_string()).chars().take(LOGGED_CHARS).collect();
            let reason = reason::escaped(&reason);
            let pause = error.retry_in(tries, fastrand::f64()).filter(|_| !self.begun);
            let Some(pause) = pause else {
                warn!(turn = %self.turn, tries, reason, "agent's server failed");
                return Err(error);
            };
            info!(turn = %self.turn, tries, reason, ?pause, "request to the agent's server repeated");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&mut self) -> Result<Ending, AnswerError> {
        let request = AuthorisedCall { agent: Arc::clone(&self.agent), turn: self.turn, body: self.body.clone() };
        let Call { head, body, secrets } =
            self.port.ask(request, CALL_TIMEOUT).await.map_err(AnswerError::NoProfile)??;
        self.secrets = Some(secrets);
        // The thread of the call has ended, because the process is ending.
        let head = head.await.unwrap_or_else(|_| Err(CallBroken::Broken("it was cancelled".to_owned())))?;
        if (200..300).contains(&head.status) { self.read_answer(body).await } else { Err(refusal(head, body).await) }
    }

    async fn read_answer(&mut self, mut body: Pieces) -> Result<Ending, AnswerError> {
        let mut answer = ModelAnswer::default();
        let mut chunks = (0, Instant::now());
        let broken = loop {
            let piece = match answer.idle_timeout() {
                Some(limit) => timeout(limit, body.recv()).await.map_err(|_| limit),
                None => Ok(body.recv().await),
            };
            match piece {
                Ok(Some(Ok(bytes))) => {
                    let mut text = String::new();
                    let fed = answer.feed(&bytes, &mut text);
                    self.send_text(text).await;
                    fed?;
                }
                Ok(Some(Err(broken))) => break Some(broken),
                Ok(None) => break None,
                Err(_) if answer.may_end() => break None,
                Err(limit) => break Some(CallBroken::Silent(limit)),
            }
            if answer.chunks() != chunks.0 {
                chunks = (answer.chunks(), Instant::now());
            }
            if answer.is_done() {
                let _ = timeout(LINGER, body.recv()).await;
                break None;
            }
            if answer.may_end() && chunks.1.elapsed() > LINGER_WITH_COMMENTS {
                break None;
            }
        };
        let mut text = String::new();
        let ended = answer.end(broken.is_some(), &mut text);
        self.send_text(text).await;
        match (ended, broken) {
            (Err(AnswerError::BrokeOff), Some(broken)) => Err(broken.into()),
            (Ok(Ending::Whole), _) if !self.begun => Err(AnswerError::NoText),
            (Ok(ending), _) if !self.begun => Err(AnswerError::Withheld(ending)),
            (ended, _) => ended,
        }
    }

    async fn send_text(&mut self, text: String) {
        if !text.is_empty() {
            self.begun = true;
            // A turn that has dropped its receiver has ended.
            let _ = self.texts.send(text).await;
        }
    }
}

type Pieces = mpsc::Receiver<Result<Bytes, CallBroken>>;

/// The body of a refusal.
async fn refusal(head: ResponseHead, mut body: Pieces) -> AnswerError {
    let mut text = Vec::new();
    let reading = async {
        while let Some(Ok(piece)) = body.recv().await {
            text.extend_from_slice(&piece);
            if text.len() > MAX_REFUSAL {
                break;
            }
        }
    };
    // Its text is for the log; the part received so far is enough.
    let _ = timeout(REFUSAL_TIMEOUT, reading).await;
    AnswerError::Status { status: head.status, retry_after: head.retry_after, message: reason::of_refusal(&text) }
}
