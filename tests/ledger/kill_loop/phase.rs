//! What goes on when the gateway is killed.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use super::KilledHome;
use crate::support::{get, pace};

/// What a phase waits for usually comes within milliseconds. If it does not, the kill comes anyway.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What goes on when the gateway is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages are being delivered.
    Arriving,
    /// Turns run, and others wait behind them.
    Working,
    /// Replies are sent, and the connector takes its time to answer.
    Answering,
    /// Replies wait for a link that is down.
    LinkDown,
    /// Replies were sent over a link that was lost before the answer.
    LinkLost,
    /// A drain holds messages.
    Draining,
    /// The gateway starts.
    Starting,
}

const ALL: [Phase; 7] = [
    Phase::Working,
    Phase::Arriving,
    Phase::Answering,
    Phase::LinkDown,
    Phase::LinkLost,
    Phase::Draining,
    Phase::Starting,
];

impl Phase {
    /// The phases of a home: each at least once, in random order. The first has turns that later kills interrupt again.
    pub(super) fn order(rng: &mut Rng, kills: usize) -> Vec<Self> {
        let mut phases: Vec<Self> = ALL.into_iter().collect();
        phases.extend(std::iter::repeat_with(|| ALL[rng.usize(0..ALL.len())]).take(kills.saturating_sub(ALL.len())));
        rng.shuffle(&mut phases[1..]);
        phases
    }
}

impl KilledHome {
    /// Brings the gateway into a phase, and waits for a random time.
    pub(super) async fn bring_into(&mut self, phase: Phase, round: usize) {
        let most_ms = match phase {
            Phase::Arriving => {
                let texts = ["fast", "slow", "fast", "fail", "fast", "slow", "fast", "fast"];
                let count = self.rng.usize(2..=texts.len());
                self.push(round, &texts[..count]).await;
                60
            }
            Phase::Working => {
                self.push(round, &["hold", "slow", "fast", "fast", "slow", "hold", "fast"]).await;
                self.until_running(7).await;
                300
            }
            Phase::Answering => {
                self.faults(json!({"answerLateMs": 300})).await;
                let answered = self.answered().await;
                self.push(round, &["fast", "fail", "fast", "slow"]).await;
                self.until_answered(answered).await;
                280
            }
            Phase::LinkDown => {
                self.push(round, &["slow", "slow", "slow", "slow"]).await;
                self.until_running(4).await;
                self.faults(json!({"drop": true, "refuse": {"status": 503}})).await;
                self.until(|status| status["ledger"]["outbound"]["pending"] != Value::Null).await;
                50
            }
            Phase::LinkLost => {
                self.faults(json!({"answerNever": true})).await;
                let answered = self.answered().await;
                self.push(round, &["fast", "fast", "slow"]).await;
                self.until_answered(answered).await;
                self.faults(json!({"drop": true, "refuse": {"status": 503}})).await;
                self.until(|status| status["ledger"]["outbound"]["ambiguous"] != Value::Null).await;
                50
            }
            Phase::Draining => {
                self.push(round, &["fast", "slow", "fast"]).await;
                let (status, begun) = self.world.drain(json!({"action": "drain"})).await;
                assert_eq!(status, 200, "{begun}");
                self.is_draining = true;
                self.push(round, &["fast", "fast", "slow"]).await;
                self.until(|status| status["ledger"]["inbound"]["held"] != Value::Null).await;
                100
            }
            Phase::Starting => 0,
        };
        pace(Duration::from_millis(self.rng.u64(0..=most_ms))).await;
    }

    /// Waits until the status satisfies `is`.
    async fn until(&self, is: impl Fn(&Value) -> bool) {
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            let (code, status) = get(&self.world.url("/api/status")).await;
            if code == 200 && is(&status) {
                return;
            }
            pace(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the agent works on one of the last `count` messages.
    async fn until_running(&self, count: usize) {
        let last = &self.pushed[self.pushed.len() - count..];
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            let account = self.world.agent_account(None);
            if account.iter().any(|(_, _, text)| last.iter().any(|(id, _)| id == text)) {
                return;
            }
            pace(Duration::from_millis(5)).await;
        }
    }

    /// Answers to all messages, by the connector's account.
    async fn answered(&self) -> u64 {
        let account = self.world.account().await;
        let events = account["events"].as_object().into_iter().flat_map(|events| events.values());
        events.filter_map(|event| event["answered"].as_u64()).sum()
    }

    async fn until_answered(&self, before: u64) {
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT && self.answered().await == before {
            pace(Duration::from_millis(5)).await;
        }
    }
}
