//! The profile and the session of an event.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::relay::route::Routes;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::Target;
use caduceus_contract::messages::dispatch::OfferedEvent;
use caduceus_contract::messages::drain::Origin;
use caduceus_contract::messages::ledger::{InboundId, InboundRow};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::received_event::ReceivedEvent;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

/// An event with the data for its turn.
#[derive(Debug, Clone)]
pub(super) struct DispatchJob {
    pub(super) profile: ProfileName,
    pub(super) session: SessionKey,
    pub(super) target: Arc<Target>,
    pub(super) event: Arc<InboundEvent>,
    pub(super) raw_event: RawJson,
    /// `None` for an event from the ledger, or one that arrived while its link was down: filled in when its turn starts.
    pub(super) descriptor: Option<Arc<Descriptor>>,
    /// Attempts already made.
    pub(super) attempts: u32,
    /// Whether its turn was requested by a person or by the gateway itself.
    pub(super) origin: Origin,
}

/// Which profiles are served, and how sessions are distinguished.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether named profiles are served; if not, the profile that an event names is ignored.
    pub multiplex: bool,
    /// The profile of a link that no profile owns.
    pub default: ProfileName,
    /// The profiles that are served.
    pub served: BTreeSet<ProfileName>,
    /// Which profile an event runs under when it names none.
    pub routes: Routes,
    /// How session keys are made.
    pub sessions: SessionRules,
}

impl Rules {
    /// The profile of an event: the one that it names, else by the routes, else the default. `Err` holds the name that is not
    /// served.
    pub(super) fn profile(&self, inbound: &OfferedEvent) -> Result<ProfileName, String> {
        if let Some(owner) = &inbound.owner {
            return Ok(owner.clone());
        }
        if !self.multiplex {
            return Ok(self.default.clone());
        }
        let source = &inbound.event.source;
        let named = source.profile.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let profile = match named {
            Some(name) => ProfileName::parse(&name.to_lowercase()).map_err(|_| name.to_owned())?,
            None => self.routes.find(source).map_or_else(|| self.default.clone(), |route| route.profile.clone()),
        };
        if self.served.contains(&profile) { Ok(profile) } else { Err(profile.to_string()) }
    }

    /// The job of an event that runs under `profile`.
    pub(super) fn job(&self, inbound: &OfferedEvent, profile: ProfileName) -> DispatchJob {
        let source = &inbound.event.source;
        let target = Target {
            link: inbound.link.clone(),
            platform: source.platform.clone(),
            bot_id: inbound.bot_id.clone(),
            chat_id: source.chat_id.clone(),
            scope_id: source.scope_id.clone(),
            user_id: source.user_id.clone(),
            thread_id: source.thread_id.clone(),
        };
        DispatchJob {
            session: SessionKey::new(source, &profile, self.sessions),
            profile,
            target: Arc::new(target),
            event: Arc::clone(&inbound.event),
            raw_event: inbound.raw_event.clone(),
            descriptor: inbound.descriptor.clone(),
            attempts: 0,
            origin: Origin::External,
        }
    }
}

impl DispatchJob {
    /// The job of a row of the ledger; `None` if its event is unreadable.
    pub(super) fn from_row(row: InboundRow) -> Option<(InboundId, Self)> {
        let ReceivedEvent { event, raw } = ReceivedEvent::read(row.event.try_into().ok()?).ok()?;
        let job = Self {
            profile: row.profile,
            session: row.session,
            target: row.target,
            event,
            raw_event: raw,
            descriptor: None,
            attempts: row.attempts,
            origin: Origin::External,
        };
        Some((row.id, job))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use caduceus_contract::link::LinkId;
    use caduceus_contract::messages::dispatch::ArrivedAs;
    use caduceus_contract::messages::ledger::{InboundState, Receipt};

    fn inbound(profile: Option<&str>) -> OfferedEvent {
        let raw = json!({"text": "hi", "source": {"platform": "discord", "chat_id": "c", "profile": profile}});
        OfferedEvent {
            link: LinkId::process(),
            arrived_as: ArrivedAs::Frame,
            receipt: Receipt { gateway: None, arrived_at_ms: 0 },
            bot_id: None,
            owner: None,
            buffer_id: None,
            digest: [0; 32],
            event: Arc::new(InboundEvent::parse(&raw).unwrap()),
            raw_event: RawJson::of(&raw),
            descriptor: Some(Arc::default()),
        }
    }

    fn rules(multiplex: bool) -> Rules {
        let served = ["default", "work"].map(|name| ProfileName::parse(name).unwrap());
        Rules {
            multiplex,
            default: ProfileName::default_profile(),
            served: served.into(),
            routes: Routes::default(),
            sessions: SessionRules::default(),
        }
    }

    #[test]
    fn an_event_runs_under_the_profile_it_names() {
        assert_eq!(rules(true).profile(&inbound(Some(" Work "))).unwrap().as_str(), "work");
        assert!(rules(true).profile(&inbound(None)).unwrap().is_default());
    }

    #[test]
    fn an_unserved_profile_is_refused_and_never_run_under_another() {
        assert_eq!(rules(true).profile(&inbound(Some("missing"))), Err("missing".to_owned()));
        assert_eq!(rules(true).profile(&inbound(Some("../x"))), Err("../x".to_owned()));
    }

    #[test]
    fn a_gateway_with_one_profile_ignores_the_profile_of_an_event() {
        assert!(rules(false).profile(&inbound(Some("missing"))).unwrap().is_default());
    }

    #[test]
    fn the_owner_of_a_link_runs_all_events_of_it() {
        let work = ProfileName::parse("work").unwrap();
        let inbound = OfferedEvent { owner: Some(work.clone()), ..inbound(Some("default")) };
        assert_eq!(rules(true).profile(&inbound), Ok(work));
    }

    #[test]
    fn an_event_of_the_ledger_has_the_token_that_the_connector_holds_for_it() {
        let raw = json!({"text": "hi", "source": {"chat_id": "c"}, "follow_up": "kind"});
        let offered = OfferedEvent {
            event: Arc::new(InboundEvent::parse(&raw).unwrap()),
            raw_event: RawJson::of(&raw),
            ..inbound(None)
        };
        let job = rules(false).job(&offered, ProfileName::default_profile());
        let row = InboundRow {
            id: InboundId(1),
            target: job.target,
            profile: job.profile,
            session: job.session,
            event: job.raw_event.get().to_owned(),
            state: InboundState::Received,
            attempts: 0,
            turn: None,
            received_at_ms: 0,
        };
        let (_, restored) = DispatchJob::from_row(row).unwrap();
        assert_eq!(restored.event.follow_up.as_deref(), Some("kind"));
    }
}
