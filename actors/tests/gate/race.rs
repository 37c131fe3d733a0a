//! Requesters of permits on several threads, and a drainer on another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::Arbiter;
use caduceus_actors::drain::permit::TurnPermit;
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::messages::drain::{BeginDrain, CancelDrain, Origin, Refusal, TurnTicket};
use tokio::sync::{mpsc, oneshot, watch};

use crate::tree::{TIMEOUT, TestGatePorts, ticket};

/// Threads of the requesters.
const THREADS: usize = 3;
/// Requesters on each of them, as a dispatcher has many turns that wait for the gate.
const REQUESTERS_EACH: usize = 4;
/// Requesters in all.
pub(crate) const REQUESTERS: usize = THREADS * REQUESTERS_EACH;
/// A gate that gives one requester more permits than this in a round does not close. On a loaded machine a drainer without CPU time lets
/// 10,000 through.
const MOST_PERMITS: usize = 200_000;
/// Most permits given before a drain is begun; the number differs from round to round.
const HEAD_START: u64 = 24;

/// Many rounds of requesters against a drain.
pub(crate) struct Race {
    ports: TestGatePorts,
    races: u64,
    state: Arc<RaceState>,
}

/// Shared by all threads.
struct RaceState {
    /// Number of the current round.
    round: watch::Sender<u64>,
    /// Number of the last round whose drain has been answered.
    answered: watch::Sender<u64>,
    /// Permits given in this round.
    admitted: AtomicU64,
    /// The drain has been requested and not yet answered.
    beginning: AtomicBool,
}

/// The result of one requester in one round.
#[derive(Default)]
struct Score {
    held: Vec<TurnPermit>,
    /// Answers to requests that were in flight at the same time as the drain.
    admitted_during: u64,
    refused_during: u64,
    /// Requests made after the drain's answer, and refused.
    late_refused: u64,
    error: Option<GateError>,
}

/// All rounds together.
#[derive(Debug, Default)]
pub(crate) struct ScoreCounts {
    /// One requester with a request in flight against one drain.
    pub(crate) races: u64,
    pub(crate) drains: u64,
    pub(crate) permits: u64,
    pub(crate) admitted_during: u64,
    pub(crate) refused_during: u64,
    pub(crate) late_refused: u64,
}

/// How a gate breaks its guarantee.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    /// A turn was admitted after the drain's answer, or before it and not counted.
    #[error("round {round}: the drain was answered {answered}, and there are {held} permits")]
    AdmittedAfterAnswer { round: u64, answered: usize, held: usize },
    /// A request made after the drain's answer got a permit.
    #[error("round {round}: a request made after the answer was admitted")]
    LateAdmitted { round: u64 },
    /// The gate never closes.
    #[error("round {round}: {MOST_PERMITS} permits, and the gate is still open")]
    NeverClosed { round: u64 },
    /// The gate refused for another reason than the drain.
    #[error("round {round}: refused because {why}")]
    Refused { round: u64, why: Refusal },
}

impl Race {
    /// Runs at least `races` races.
    pub(crate) fn new(ports: TestGatePorts, races: u64) -> Self {
        let state = RaceState {
            round: watch::Sender::new(0),
            answered: watch::Sender::new(0),
            admitted: AtomicU64::new(0),
            beginning: AtomicBool::new(false),
        };
        Self { ports, races, state: Arc::new(state) }
    }

    /// Runs every round, up to the first error.
    pub(crate) async fn run(self) -> Result<ScoreCounts, GateError> {
        let (scores, received) = mpsc::unbounded_channel();
        let threads: Vec<Arbiter> = (0..THREADS).map(|_| Arbiter::new()).collect();
        for thread in threads.iter().cycle().take(REQUESTERS) {
            let (ports, state, scores) = (self.ports.clone(), Arc::clone(&self.state), scores.clone());
            thread.spawn_fn(move || drop(caduceus_supervision::spawn(request_every_round(ports, state, scores))));
        }
        let drainer = Arbiter::new();
        let (end, ended) = oneshot::channel();
        drainer.spawn_fn(move || {
            caduceus_supervision::spawn(async move { drop(end.send(self.drain_every_round(received).await)) });
        });
        let counts = ended.await.expect("the drainer ends");
        for arbiter in threads.into_iter().chain([drainer]) {
            arbiter.stop();
            arbiter.join().expect("the thread ends");
        }
        counts
    }

    async fn drain_every_round(self, mut received: mpsc::UnboundedReceiver<Score>) -> Result<ScoreCounts, GateError> {
        let mut counts = ScoreCounts::default();
        while counts.races < self.races {
            counts.drains += 1;
            self.drain_once(counts.drains, &mut received, &mut counts).await?;
        }
        Ok(counts)
    }

    async fn drain_once(
        &self,
        round: u64,
        received: &mut mpsc::UnboundedReceiver<Score>,
        counts: &mut ScoreCounts,
    ) -> Result<(), GateError> {
        let state = &self.state;
        state.admitted.store(0, Ordering::SeqCst);
        state.round.send_replace(round);
        // The drain starts at another moment in each round.
        let head_start = round % (HEAD_START + 1);
        while state.admitted.load(Ordering::SeqCst) < head_start {
            tokio::task::yield_now().await;
        }
        state.beginning.store(true, Ordering::SeqCst);
        let order = BeginDrain { principal: "race".to_owned(), ..BeginDrain::default() };
        let begun = self.ports.begin.ask(order, TIMEOUT).await.expect("the gate answers");
        state.beginning.store(false, Ordering::SeqCst);
        // Requests from here on are made after the answer.
        let mut late = Score::default();
        request_late(&self.ports, &ticket(), round, &mut late).await;
        state.answered.send_replace(round);

        let mut held = late.held.len();
        counts.late_refused += late.late_refused;
        let mut error = late.error;
        let mut permits = Vec::new();
        for _ in 0..REQUESTERS {
            let score = received.recv().await.expect("every requester sends its score");
            counts.races += u64::from(score.admitted_during + score.refused_during > 0);
            counts.admitted_during += score.admitted_during;
            counts.refused_during += score.refused_during;
            counts.late_refused += score.late_refused;
            held += score.held.len();
            permits.push(score.held);
            error = error.or(score.error);
        }
        counts.permits += held as u64;
        if let Some(error) = error {
            return Err(error);
        }
        if held != begun.active_agents {
            return Err(GateError::AdmittedAfterAnswer { round, answered: begun.active_agents, held });
        }
        drop(permits);
        let cancel = CancelDrain { principal: "race".to_owned(), profile: None };
        self.ports.cancel.ask(cancel, TIMEOUT).await.expect("the gate answers").expect("the marker is removed");
        Ok(())
    }
}

/// One requester: in every round it requests permits until it is refused, and once more when the drain has been answered.
async fn request_every_round(ports: TestGatePorts, state: Arc<RaceState>, scores: mpsc::UnboundedSender<Score>) {
    let ticket = ticket();
    let (mut rounds, mut answered) = (state.round.subscribe(), state.answered.subscribe());
    let mut round = 0;
    loop {
        let Ok(now) = rounds.wait_for(|now| *now > round).await.map(|now| *now) else { return };
        round = now;
        let mut score = Score::default();
        request_until_refused(&ports, &ticket, &state, round, &mut score).await;
        if answered.wait_for(|last| *last >= round).await.is_err() {
            return;
        }
        request_late(&ports, &ticket, round, &mut score).await;
        if scores.send(score).is_err() {
            return;
        }
    }
}

async fn request_until_refused(
    ports: &TestGatePorts,
    ticket: &TurnTicket,
    state: &RaceState,
    round: u64,
    score: &mut Score,
) {
    loop {
        let sent_during = state.beginning.load(Ordering::SeqCst);
        // Every second permit is taken without a message, as a dispatcher does.
        let answer = match score.held.len() % 2 {
            0 => request(ports, ticket).await,
            _ => take(ports, ticket),
        };
        let during = sent_during || state.beginning.load(Ordering::SeqCst);
        match answer {
            Ok(permit) => {
                score.held.push(permit);
                score.admitted_during += u64::from(during);
                state.admitted.fetch_add(1, Ordering::SeqCst);
            }
            Err(Refusal::Draining) => {
                score.refused_during += u64::from(during);
                return;
            }
            Err(why) => {
                score.error = Some(GateError::Refused { round, why });
                return;
            }
        }
        if score.held.len() > MOST_PERMITS {
            score.error = Some(GateError::NeverClosed { round });
            return;
        }
    }
}

/// Requests permits after the drain's answer, with and without a message.
async fn request_late(ports: &TestGatePorts, ticket: &TurnTicket, round: u64, score: &mut Score) {
    for answer in [take(ports, ticket), request(ports, ticket).await] {
        match answer {
            Ok(permit) => {
                score.held.push(permit);
                score.error = Some(GateError::LateAdmitted { round });
            }
            Err(Refusal::Draining) => score.late_refused += 1,
            Err(why) => score.error = Some(GateError::Refused { round, why }),
        }
    }
}

fn take(ports: &TestGatePorts, ticket: &TurnTicket) -> Result<TurnPermit, Refusal> {
    let ticket = TurnTicket { id: fresh_turn_id(), ..ticket.clone() };
    ports.take(ticket, Origin::External).expect("the gate has read its marker")
}

async fn request(ports: &TestGatePorts, ticket: &TurnTicket) -> Result<TurnPermit, Refusal> {
    let ticket = TurnTicket { id: fresh_turn_id(), ..ticket.clone() };
    ports.request(ticket, Origin::External).await
}
