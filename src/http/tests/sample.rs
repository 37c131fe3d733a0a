//! The status of a gateway with one of everything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::config::ConfigView;
use caduceus_contract::messages::dispatch::DispatchView;
use caduceus_contract::messages::drain::{DrainView, TurnInFlight};
use caduceus_contract::messages::honcho::{GrantState, GrantView};
use caduceus_contract::messages::ledger::{InboundState, LedgerView, OutboundState};
use caduceus_contract::messages::profile::{ProfileState, ProfileView};
use caduceus_contract::messages::relay::{LinkState, LinkView};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::status::lifecycle::{GatewayState, ProcessPhase};
use caduceus_contract::status::profiles::{ProfilePart, ShownProfiles};
use caduceus_contract::status::readiness::{Issue, ReadinessLevel};
use caduceus_contract::status::shown::{Shown, ShownLink, ShownState};
use caduceus_contract::status::snapshot::{PlatformView, ProcessView, Snapshot, Totals};
use caduceus_supervision::{
    ChildKind, ChildState, LastExit, LastHeartbeat, RemovedCounts, RenderedJson, Tree, TreeNode,
};

fn name(text: &str) -> ProfileName {
    ProfileName::parse(text).unwrap()
}

fn node(path: &str, kind: ChildKind, children: Vec<TreeNode>) -> TreeNode {
    let children = children.into_iter().map(Arc::new).collect();
    TreeNode {
        id: path.rsplit('/').next().filter(|id| !id.is_empty()).unwrap_or("root").to_owned(),
        path: path.to_owned(),
        kind,
        state: ChildState::Running,
        generation: 1,
        restarts_in_window: 0,
        restarts_total: 0,
        started_at: Some("2026-11-22T02:00:00Z".into()),
        last_exit: None,
        queue_depth: 0,
        refused: 0,
        next_restart_in_ms: None,
        heartbeat: Some(LastHeartbeat::OfThread),
        thread: "control".into(),
        children,
        removed: RemovedCounts::default(),
        json: RenderedJson::default(),
    }
}

fn tree() -> TreeNode {
    let worker = |path: &str| node(path, ChildKind::Worker, Vec::new());
    let mut relay = worker("relays/relay");
    relay.restarts_total = 3;
    relay.refused = 7;
    relay.last_exit =
        Some(LastExit { word: "panic".into(), text: "panic: boom".into(), at: "2026-11-22T02:30:00Z".into() });
    let mut work = worker("profiles/work");
    work.state = ChildState::Failed;
    let profiles = vec![worker("profiles/default"), work];
    node(
        "",
        ChildKind::Supervisor,
        vec![
            worker("ledger"),
            worker("status"),
            node("profiles", ChildKind::Supervisor, profiles),
            worker("drain"),
            worker("honcho"),
            worker("dispatch"),
            worker("http"),
            node("turns", ChildKind::Supervisor, vec![worker("turns/019ab")]),
            node("relays", ChildKind::Supervisor, vec![relay]),
        ],
    )
}

fn profile(text: &str, missing: &[&str], actor: ChildState) -> Arc<ProfilePart> {
    let view = ProfileView {
        name: name(text),
        state: if missing.is_empty() { ProfileState::Ready } else { ProfileState::Degraded },
        troubles: Vec::new(),
        secrets: 7,
        missing: missing.iter().map(ToString::to_string).collect(),
        agent: "exec",
        children_started: 12,
    };
    let state = if actor == ChildState::Running { ShownState::Reported(view.state) } else { ShownState::Actor(actor) };
    let stale_ms = (actor != ChildState::Running).then_some(5_000);
    Arc::new(ProfilePart::new(Shown { actor, state, stale_ms, view }, None))
}

fn link() -> ShownLink {
    let frames = [("inbound", 120), ("outbound", 118), ("a kind that only the peer names", 1)];
    let view = LinkView {
        link: LinkId::process(),
        state: LinkState::Connected,
        state_age_ms: 60_000,
        generation: 2,
        next_dial_ms: None,
        last_inbound_age_ms: Some(400),
        last_ack_age_ms: Some(410),
        last_error: None,
        frames: frames.map(|(kind, n)| (kind.to_owned(), n)).into(),
        skipped: 0,
        dead_letters: 0,
        waiting: 1,
        platforms: vec!["discord".into()],
        descriptors: Vec::new(),
    };
    Shown { actor: ChildState::Running, state: ShownState::Reported(view.state), stale_ms: None, view }
}

/// A gateway with a turn in flight and one of everything.
pub(in crate::http) fn snapshot() -> Snapshot {
    let turn = |age_ms| TurnInFlight {
        turn_id: fresh_turn_id(),
        profile: name("work"),
        session_key: "agent:work:discord:channel:123456789012345678:42".into(),
        age_ms,
    };
    let platform = PlatformView {
        state: "connected".into(),
        error_code: None,
        error_message: Some("a sentence that may name an address".into()),
        updated_at: "2026-11-22T02:00:00Z".into(),
    };
    Snapshot {
        made: Instant::now(),
        changes: 0,
        version: "0.1.0",
        gateway_running: true,
        gateway_state: GatewayState::Running,
        gateway_updated_at: "2026-11-22T02:00:00Z".into(),
        gateway_exit_reason: None,
        gateway_platforms: [("discord".to_owned(), platform)].into(),
        active_agents: 2,
        gateway_busy: true,
        gateway_drainable: true,
        restart_drain_timeout: 180,
        active_sessions: 3,
        profiles: ["default", "work", "stuck"].map(name).into(),
        readiness: ReadinessLevel::Degraded,
        not_ready: None,
        issues: vec![Arc::new(Issue {
            level: ReadinessLevel::Degraded,
            part: "profile".into(),
            name: "work".into(),
            state: "failed".into(),
            detail: Some("a sentence that may name a path".into()),
        })],
        stale: BTreeMap::new(),
        configuration: ConfigView::default(),
        drain: DrainView {
            active_agents: 2,
            oldest_turn_ms: Some(71_500),
            turns: vec![turn(71_500), turn(2_300)],
            ..DrainView::default()
        },
        relay: vec![link()],
        honcho: vec![Shown {
            actor: ChildState::Running,
            state: ShownState::Reported(GrantState::Fresh),
            stale_ms: None,
            view: GrantView {
                profile: name("default"),
                host: "hermes".into(),
                state: GrantState::Fresh,
                expires_in_s: Some(2_900),
                last_refresh_age_s: Some(700),
                last_error: None,
                remedy: None,
                exchanges: 4,
            },
        }],
        turns: DispatchView { done: 41, failed: 1, queued: 5, sessions: 3, running: 2, ..DispatchView::default() },
        ledger: LedgerView {
            path: PathBuf::from("/home/ledger.db"),
            inbound: [(InboundState::Done, 41), (InboundState::Running, 2)].into(),
            outbound: [(OutboundState::Delivered, 40), (OutboundState::Ambiguous, 1)].into(),
            inbound_oldest_ms: [(InboundState::Running, 71_500)].into(),
            outbound_oldest_ms: [(OutboundState::Ambiguous, 3_000)].into(),
            written: 84,
            corrupt: 0,
            damage: Vec::new(),
            write_error: None,
        },
        secrets: Arc::new(ShownProfiles::new(vec![
            profile("default", &[], ChildState::Running),
            profile("work", &["OPENAI_API_KEY"], ChildState::Failed),
        ])),
        actors: Tree { root: Arc::new(tree()), threads: vec![("control".to_owned(), 120)] },
        process: ProcessView { pid: 4_711, uptime_ms: 3_700_000, resident_bytes: Some(14_680_064), open_fds: Some(38) },
        phase: ProcessPhase::Running,
        totals: Totals { agents_started: 24, exchanges: 4 },
    }
}
