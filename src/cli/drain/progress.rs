//! The progress of a drain, from the drain's route, the status or the marker. Decides whether to continue to wait. Pure.

use std::fmt;
use std::time::Duration;

use caduceus_contract::api::drain::DrainProgress;
use caduceus_contract::api::status::StatusResponse;
use caduceus_contract::messages::drain::TurnInFlight;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::status::lifecycle::GatewayState;

/// The progress of a drain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    draining: bool,
    drained: bool,
    left: usize,
    /// Age of the oldest turn in seconds, if the source has it.
    oldest_s: Option<f64>,
}

/// The next step of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgressStep {
    /// No turn is left, and none can start.
    Done,
    /// There is no drain: the wait would never end.
    NoDrain,
    /// Poll again.
    Again,
}

/// From the answer of the drain's own route.
impl From<DrainProgress> for Progress {
    fn from(answer: DrainProgress) -> Self {
        let DrainProgress { draining, active_agents, drained, oldest_turn_s } = answer;
        Self { draining, drained, left: active_agents, oldest_s: oldest_turn_s }
    }
}

impl Progress {
    /// From the status: of one profile, or of all. `own` is the turn that runs this command, which does not wait for itself.
    ///
    /// The public summary has less: turns are counted only, and the progress of a single profile is `None`.
    pub(super) fn of_status(status: &StatusResponse, profile: Option<&ProfileName>, own: Option<&str>) -> Option<Self> {
        let Some(drain) = &status.drain else {
            let state = GatewayState::from_name(&status.gateway_state);
            let draining = matches!(state, Some(GatewayState::Draining | GatewayState::Stopping));
            let left = status.active_agents;
            return profile.is_none().then_some(Self {
                draining,
                drained: draining && left == 0,
                left,
                oldest_s: None,
            });
        };
        let draining = drain.draining || profile.is_some_and(|name| drain.profiles.contains(name));
        let counts = |turn: &&TurnInFlight| {
            profile.is_none_or(|name| turn.profile == *name) && Some(turn.turn_id.to_string().as_str()) != own
        };
        let turns: Vec<_> = drain.turns.iter().filter(counts).collect();
        // The gateway's count leaves out the turns that requested the drain; it covers all profiles.
        let none_waited_for = profile.is_none() && drain.waited_for == 0;
        let oldest = turns.iter().map(|turn| Duration::from_millis(turn.age_ms)).max();
        Some(Self {
            draining,
            drained: draining && (turns.is_empty() || none_waited_for),
            left: turns.len(),
            oldest_s: oldest.map(|age| age.as_secs_f64()),
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

    /// Whether anything except the age changed.
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
    use caduceus_contract::messages::drain::DrainView;
    use caduceus_contract::turn_id::TurnId;

    use super::*;

    const A: &str = "019ab000-0000-7000-8000-00000000000a";
    const B: &str = "019ab000-0000-7000-8000-00000000000b";

    fn name(text: &str) -> ProfileName {
        ProfileName::parse(text).unwrap()
    }

    /// A full status with a turn of each of two profiles.
    fn status(draining: bool, profiles: &[&str]) -> StatusResponse {
        let turn = |id: &str, profile, age_ms| TurnInFlight {
            turn_id: id.parse::<TurnId>().unwrap(),
            profile: name(profile),
            session_key: "session".to_owned(),
            age_ms,
        };
        let drain = DrainView {
            draining,
            profiles: profiles.iter().map(|profile| name(profile)).collect(),
            turns: vec![turn(A, "default", 5_000), turn(B, "work", 2_000)],
            waited_for: 2,
            ..DrainView::default()
        };
        StatusResponse { drain: Some(drain), ..summary("draining", 2) }
    }

    /// The public summary.
    fn summary(state: &str, active_agents: usize) -> StatusResponse {
        StatusResponse { gateway_state: state.to_owned(), active_agents, ..StatusResponse::default() }
    }

    fn of(status: &StatusResponse, profile: Option<&str>, own: Option<&str>) -> Progress {
        Progress::of_status(status, profile.map(name).as_ref(), own).unwrap()
    }

    #[test]
    fn the_gateway_decides_whether_it_is_drained() {
        let answer = DrainProgress { draining: true, active_agents: 1, drained: true, oldest_turn_s: Some(2.4) };
        let progress = Progress::from(answer);
        assert_eq!(progress.step(), ProgressStep::Done);
        assert_eq!(progress.to_string(), "drained, turns left: 1, the oldest runs for 2 s");
    }

    #[test]
    fn a_drain_waits_for_turns_except_the_one_that_requests_it() {
        let all = of(&status(true, &[]), None, None);
        assert_eq!((all.step(), all.left, all.oldest_s), (ProgressStep::Again, 2, Some(5.0)));
        let requested_by_a = of(&status(true, &[]), None, Some(A));
        assert_eq!((requested_by_a.step(), requested_by_a.left), (ProgressStep::Again, 1));
        assert_eq!(of(&status(true, &[]), Some("work"), Some(B)).step(), ProgressStep::Done);
    }

    #[test]
    fn turns_that_the_gateway_does_not_wait_for_are_not_waited_for() {
        let mut status = status(true, &[]);
        status.drain.as_mut().unwrap().waited_for = 0;
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
        assert_eq!(of(&summary("draining", 1), None, None).step(), ProgressStep::Again);
        assert_eq!(of(&summary("stopping", 0), None, None).step(), ProgressStep::Done);
        assert_eq!(of(&summary("running", 0), None, None).step(), ProgressStep::NoDrain);
        assert_eq!(Progress::of_status(&summary("draining", 1), Some(&name("work")), None), None);
    }

    #[test]
    fn without_a_gateway_only_a_marker_drains() {
        assert_eq!(Progress::no_gateway(true).step(), ProgressStep::Done);
        assert_eq!(Progress::no_gateway(false).step(), ProgressStep::NoDrain);
    }

    #[test]
    fn a_change_of_the_age_alone_is_no_change() {
        let earlier = of(&status(true, &[]), None, None);
        assert!(!Progress { oldest_s: Some(9.0), ..earlier.clone() }.differs(&earlier));
        assert!(Progress { left: 1, ..earlier.clone() }.differs(&earlier));
    }
}
