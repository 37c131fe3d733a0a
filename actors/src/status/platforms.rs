//! The links by platform, with the state names of the original's tools.

use std::collections::BTreeMap;

use caduceus_contract::messages::relay::LinkState;
use caduceus_contract::status::shown::{ShownLink, ShownState};
use caduceus_contract::status::snapshot::PlatformView;
use caduceus_supervision::{ChildState, TreeNode};

/// The state of a platform, from good to bad: of several links with it the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PlatformState {
    /// No link for it is configured, so another one decides.
    Disabled,
    Connected,
    Idle,
    Connecting,
    Fatal,
}

impl PlatformState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Connected => "connected",
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Fatal => "fatal",
        }
    }
}

/// The platforms of all links. A state that is the same as in `before` keeps the time of its last change.
pub(super) fn of(
    links: &[ShownLink],
    tree: &TreeNode,
    now: &str,
    before: &BTreeMap<String, PlatformView>,
) -> BTreeMap<String, PlatformView> {
    let mut worst: BTreeMap<String, (PlatformState, Option<&'static str>, Option<String>)> = BTreeMap::new();
    for link in links {
        let found = state_of(link, tree);
        for name in names(link) {
            match worst.get(&name) {
                Some(other) if other.0 >= found.0 => {}
                _ => {
                    worst.insert(name, found.clone());
                }
            }
        }
    }
    let shown = worst.into_iter().map(|(name, (state, error_code, error_message))| {
        let state = state.as_str();
        let last = before.get(&name).filter(|last| last.state == state);
        let view = PlatformView {
            state: state.to_owned(),
            error_code: error_code.map(str::to_owned),
            error_message,
            updated_at: last.map_or_else(|| now.to_owned(), |last| last.updated_at.clone()),
        };
        (name, view)
    });
    shown.collect()
}

fn state_of(link: &ShownLink, tree: &TreeNode) -> (PlatformState, Option<&'static str>, Option<String>) {
    let exit = || {
        let node = tree.find(&format!("relays/{}", link.view.link.0))?;
        node.last_exit.as_ref().map(|exit| exit.text.clone())
    };
    match link.state {
        ShownState::Reported(LinkState::Disabled) => (PlatformState::Disabled, None, None),
        ShownState::Reported(LinkState::Connected) => (PlatformState::Connected, None, None),
        ShownState::Reported(LinkState::Idle) => (PlatformState::Idle, None, None),
        ShownState::Reported(LinkState::Connecting | LinkState::Handshaking | LinkState::Waiting) => {
            (PlatformState::Connecting, None, None)
        }
        ShownState::Reported(LinkState::Revoked) => {
            (PlatformState::Fatal, Some("relay_disabled"), link.view.last_error.clone())
        }
        ShownState::Actor(ChildState::Failed | ChildState::Stopped) => {
            (PlatformState::Fatal, Some("relay_failed"), exit())
        }
        ShownState::Actor(ChildState::Starting | ChildState::Running | ChildState::Backoff | ChildState::Stopping) => {
            (PlatformState::Connecting, Some("relay_down"), exit())
        }
        ShownState::Unresponsive => (PlatformState::Connecting, Some("relay_unresponsive"), None),
    }
}

/// Its connected or configured platforms; the original's default name if none is known.
fn names(link: &ShownLink) -> Vec<String> {
    let described = link.view.descriptors.iter().map(|descriptor| descriptor.platform.clone());
    let mut names: Vec<String> = link.view.platforms.iter().cloned().chain(described).collect();
    if names.is_empty() {
        names.push("relay".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use caduceus_contract::link::LinkId;
    use caduceus_contract::messages::relay::LinkView;
    use caduceus_supervision::ChildKind;

    fn link(name: &str, platforms: &[&str], actor: ChildState, state: LinkState) -> ShownLink {
        let view = LinkView {
            state,
            last_error: Some("401".into()),
            platforms: platforms.iter().map(ToString::to_string).collect(),
            ..LinkView::not_reported(LinkId(name.into()))
        };
        ShownLink::new(view, actor, true, Duration::ZERO)
    }

    fn tree() -> TreeNode {
        TreeNode {
            id: "root".into(),
            path: String::new(),
            kind: ChildKind::Supervisor,
            state: ChildState::Running,
            generation: 1,
            restarts_in_window: 0,
            restarts_total: 0,
            started_at: None,
            last_exit: None,
            queue_depth: 0,
            refused: 0,
            next_restart_in_ms: None,
            heartbeat: None,
            thread: "root".into(),
            children: Vec::new(),
            removed: caduceus_supervision::RemovedCounts::default(),
            json: caduceus_supervision::RenderedJson::default(),
        }
    }

    fn state(links: &[ShownLink], name: &str) -> (String, Option<String>) {
        let found = of(links, &tree(), "T", &BTreeMap::new()).remove(name).unwrap();
        (found.state, found.error_code)
    }

    #[test]
    fn one_platform_on_two_links_has_the_worse_state_in_any_order() {
        let good = || link("relay", &["discord"], ChildState::Running, LinkState::Connected);
        for (bad, state_word, code) in [
            (link("relay-b", &["discord"], ChildState::Running, LinkState::Revoked), "fatal", Some("relay_disabled")),
            (link("relay-b", &["discord"], ChildState::Failed, LinkState::Connected), "fatal", Some("relay_failed")),
            (link("relay-b", &["discord"], ChildState::Running, LinkState::Waiting), "connecting", None),
        ] {
            let expected = (state_word.to_owned(), code.map(str::to_owned));
            assert_eq!(state(&[good(), bad.clone()], "discord"), expected);
            assert_eq!(state(&[bad, good()], "discord"), expected);
        }
    }

    #[test]
    fn a_disabled_link_does_not_change_the_state_of_its_platform() {
        let links = [
            link("relay", &[], ChildState::Running, LinkState::Disabled),
            link("relay-b", &["relay"], ChildState::Running, LinkState::Connected),
        ];
        assert_eq!(state(&links, "relay").0, "connected");
        assert_eq!(state(&links[..1], "relay").0, "disabled");
    }
}
