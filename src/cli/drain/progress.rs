//! The progress of a drain, from the drain's route, the status or the marker. Decides whether to go on waiting. Pure.

use std::fmt;

use caduceus_contract::profile_name::ProfileName;
use serde_json::Value;

/// The progress of a drain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    draining: bool,
    drained: bool,
    left: u64,
    /// Age of the oldest turn in seconds, if the source has it.
    oldest_s: Option<f64>,
}

/// The next step of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgressStep {
    /// No turn is left, and none can start.
    Done,
    /// No drain is on: the wait would never end.
    NoDrain,
    /// Look again.
    Again,
}

impl Progress {
    /// From the answer of the drain's own route.
    pub(super) fn of_drain(answer: &Value) -> Option<Self> {
        Some(Self {
            draining: answer.get("draining")?.as_bool()?,
            drained: answer.get("drained")?.as_bool()?,
            left: answer.get("active_agents")?.as_u64()?,
            oldest_s: answer.get("oldest_turn_s").and_then(Value::as_f64),
        })
    }

    /// From the status: of one profile, or of all. `own` is the turn that runs this command, which does not wait for itself.
    ///
    /// The public summary has less: turns are counted only, and a profile has no progress of its own.
    pub(super) fn of_status(status: &Value, profile: Option<&ProfileName>, own: Option<&str>) -> Option<Self> {
        let Some(drain) = status.get("drain") else {
            let state = status.get("gateway_state")?.as_str()?;
            let draining = matches!(state, "draining" | "stopping");
            let left = status.get("active_agents")?.as_u64()?;
            return profile.is_none().then_some(Self {
                draining,
                drained: draining && left == 0,
                left,
                oldest_s: None,
            });
        };
        let is = |value: &Value, name: &ProfileName| value.as_str() == Some(name.as_str());
        let whole = drain.get("draining")?.as_bool()?;
        let profiles = drain.get("profiles")?.as_array()?;
        let draining = whole || profile.is_some_and(|name| profiles.iter().any(|value| is(value, name)));
        let counts = |turn: &&Value| {
            let of_profile = profile.is_none_or(|name| turn.get("profile").is_some_and(|value| is(value, name)));
            of_profile && turn.get("turn_id").and_then(Value::as_str).is_none_or(|id| Some(id) != own)
        };
        let turns: Vec<_> = drain.get("turns")?.as_array()?.iter().filter(counts).collect();
        // The gateway's count leaves out turns that asked for the drain themselves and are not waited for.
        let waited_for = drain.get("waited_for").and_then(Value::as_u64).filter(|_| profile.is_none());
        let oldest_ms = turns.iter().filter_map(|turn| turn.get("age_ms")?.as_f64()).reduce(f64::max);
        Some(Self {
            draining,
            drained: draining && (turns.is_empty() || waited_for == Some(0)),
            left: turns.len() as u64,
            oldest_s: oldest_ms.map(|ms| ms / 1_000.0),
        })
    }

    /// No gateway runs; `draining`: one that started would drain.
    pub(super) fn no_gateway(draining: bool) -> Self {
        Self { draining, drained: draining, left: 0, oldest_s: None }
    }

    pub(super) fn step(&self) -> ProgressStep {
        match (self.drained, self.draining) {
            (true, _) => ProgressStep::Done,
            (false, true) => ProgressStep::Again,
            (false, false) => ProgressStep::NoDrain,
        }
    }

    /// Whether anything but the age changed.
    pub(super) fn differs(&self, other: &Self) -> bool {
        (self.draining, self.drained, self.left) != (other.draining, other.drained, other.left)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.drained, self.draining) {
            (true, _) => "drained",
            (false, true) => "draining",
            (false, false) => "not draining",
        })?;
        write!(f, ", turns left: {}", self.left)?;
        match self.oldest_s {
            Some(age) => write!(f, ", the oldest runs for {age:.0} s"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(draining: bool, profiles: &[&str]) -> Value {
        json!({"drain": {"draining": draining, "profiles": profiles, "turns": [
            {"turn_id": "a", "profile": "default", "age_ms": 5_000},
            {"turn_id": "b", "profile": "work", "age_ms": 2_000},
        ]}})
    }

    fn of(status: &Value, profile: Option<&str>, own: Option<&str>) -> Progress {
        let profile = profile.map(|name| ProfileName::parse(name).unwrap());
        Progress::of_status(status, profile.as_ref(), own).unwrap()
    }

    #[test]
    fn the_gateways_own_word_counts() {
        let answer = json!({"draining": true, "active_agents": 1, "drained": true, "oldest_turn_s": 2.4});
        let progress = Progress::of_drain(&answer).unwrap();
        assert_eq!(progress.step(), ProgressStep::Done);
        assert_eq!(progress.to_string(), "drained, turns left: 1, the oldest runs for 2 s");
        assert_eq!(Progress::of_drain(&json!({"draining": true})), None);
    }

    #[test]
    fn turns_are_waited_for_but_not_the_one_that_asks() {
        let all = of(&status(true, &[]), None, None);
        assert_eq!((all.step(), all.left, all.oldest_s), (ProgressStep::Again, 2, Some(5.0)));
        let asked_by_a = of(&status(true, &[]), None, Some("a"));
        assert_eq!((asked_by_a.step(), asked_by_a.left), (ProgressStep::Again, 1));
        assert_eq!(of(&status(true, &[]), Some("work"), Some("b")).step(), ProgressStep::Done);
    }

    #[test]
    fn turns_that_the_gateway_does_not_wait_for_are_not_waited_for() {
        let mut status = status(true, &[]);
        status["drain"]["waited_for"] = json!(0);
        assert_eq!((of(&status, None, None).step(), of(&status, None, None).left), (ProgressStep::Done, 2));
        assert_eq!(of(&status, Some("work"), None).step(), ProgressStep::Again, "that count is of all profiles");
    }

    #[test]
    fn a_profile_is_drained_by_its_own_drain_and_by_that_of_all() {
        assert_eq!(of(&status(false, &["work"]), Some("work"), None).step(), ProgressStep::Again);
        assert_eq!(of(&status(false, &["work"]), Some("other"), None).step(), ProgressStep::NoDrain);
        assert_eq!(of(&status(true, &[]), Some("other"), None).step(), ProgressStep::Done);
        assert_eq!(of(&status(false, &["work"]), None, None).step(), ProgressStep::NoDrain);
    }

    #[test]
    fn the_public_summary_is_enough_to_wait_for_all_and_for_no_profile() {
        let open = json!({"gateway_state": "draining", "active_agents": 1});
        assert_eq!(of(&open, None, None).step(), ProgressStep::Again);
        assert_eq!(
            of(&json!({"gateway_state": "stopping", "active_agents": 0}), None, None).step(),
            ProgressStep::Done
        );
        assert_eq!(
            of(&json!({"gateway_state": "running", "active_agents": 0}), None, None).step(),
            ProgressStep::NoDrain
        );
        assert_eq!(Progress::of_status(&open, ProfileName::parse("work").ok().as_ref(), None), None);
    }

    #[test]
    fn without_a_gateway_only_a_marker_drains() {
        assert_eq!(Progress::no_gateway(true).step(), ProgressStep::Done);
        assert_eq!(Progress::no_gateway(false).step(), ProgressStep::NoDrain);
    }

    #[test]
    fn time_alone_is_no_news() {
        let earlier = of(&status(true, &[]), None, None);
        assert!(!Progress { oldest_s: Some(9.0), ..earlier.clone() }.differs(&earlier));
        assert!(Progress { left: 1, ..earlier.clone() }.differs(&earlier));
    }
}
