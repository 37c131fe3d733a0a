use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use actix::{Actor, Addr, AsyncContext, Context, Handler};

use super::super::actor::{HonchoOwnPorts, HonchoPorts, HonchoProfile, HonchoRefreshActor, HonchoSettings};
use super::super::location::Homes;
use super::super::steps::RefreshStep;
use super::*;
use crate::config::messages::{InForce, Served, SettingsChanged};
use crate::profile::actor::ProfileActor;
use crate::profile::agent::AgentSettings;
use crate::profile::messages::ProfilePorts;
use crate::settings::OpenSettings;
use crate::status::changes::StatusChanges;
use caduceus_contract::messages::honcho::{
    FreshAnswer, FreshToken, GetGrants, GrantState, GrantUnknown, GrantView, RefreshGrant,
};
use caduceus_contract::messages::profile::TokenChanged;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{Incarnation, Mailbox, Port};

/// A stub of the profile and of the status; records the messages it receives.
#[derive(Default, Clone)]
struct Recorder {
    tokens: Arc<Mutex<Vec<Option<String>>>>,
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<TokenChanged> for Recorder {
    type Result = ();
    fn handle(&mut self, change: TokenChanged, _: &mut Self::Context) {
        let token = change.token.map(|token| token.expose_secret().to_owned());
        self.tokens.lock().unwrap().push(token);
    }
}

impl Handler<StatusTouched> for Recorder {
    type Result = ();
    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}

/// The ports of a profile that receives its token and nothing else.
fn token_only(token: Port<TokenChanged>) -> ProfilePorts {
    let unread: Mailbox<ProfileActor> = Mailbox::new();
    ProfilePorts { token, ..ProfilePorts::of(&unread) }
}

struct GrantActorBench {
    addr: Addr<HonchoRefreshActor>,
    recorder: Recorder,
    incarnation: Incarnation,
}

fn name() -> ProfileName {
    ProfileName::default_profile()
}

impl GrantActorBench {
    fn start(trial: &GrantTrial, adjust: impl FnOnce(&mut HonchoSettings)) -> Self {
        let home = trial.home.path().to_owned();
        let homes = Homes { own: home.clone(), default: home, user: None };
        let mut settings = HonchoSettings::new(vec![HonchoProfile { name: name(), homes, host: None }]);
        adjust(&mut settings);
        let recorder = Recorder::default();
        let address = recorder.clone().start();
        let ports = HonchoPorts {
            profiles: BTreeMap::from([(name(), Port::from(address.clone()))]),
            status: StatusChanges::new(address.into()),
        };
        let incarnation = Incarnation::new("honcho", 1);
        let given = incarnation.clone();
        let addr = HonchoRefreshActor::create(move |ctx| {
            let own = HonchoOwnPorts { done: Port::from(ctx.address()), touched: Port::from(ctx.address()) };
            HonchoRefreshActor::new(ports, settings, given, own)
        });
        Self { addr, recorder, incarnation }
    }

    /// The settings changed: these profiles are served from now on.
    fn serve(&self, trial: &GrantTrial, names: &[&ProfileName]) {
        let address = self.recorder.clone().start();
        let served = |name: &&ProfileName| Served {
            name: (*name).clone(),
            home: trial.home.path().to_owned(),
            agent: Arc::new(AgentSettings::NONE),
            ports: token_only(Port::from(address.clone())),
        };
        let settings = Arc::new(OpenSettings { home: trial.home.path().to_owned(), ..OpenSettings::default() });
        let in_force = InForce { settings, profiles: names.iter().map(served).collect() };
        Port::from(self.addr.clone()).tell(SettingsChanged(Arc::new(in_force))).expect("the actor runs");
    }

    async fn fresh(&self) -> Option<FreshAnswer> {
        self.addr.send(FreshToken { profile: name() }).await.expect("the actor runs").expect("it was checked")
    }

    async fn token(&self) -> (String, bool) {
        let answer = self.fresh().await.expect("a grant");
        (answer.token.expose_secret().to_owned(), answer.refreshed)
    }

    async fn view(&self) -> Option<GrantView> {
        self.addr.send(GetGrants).await.expect("the actor runs").pop()
    }

    async fn until(&self, what: &str, holds: impl Fn(&GrantView) -> bool) {
        let deadline = Instant::now() + SOON;
        loop {
            let view = self.view().await;
            if view.as_ref().is_some_and(&holds) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} never came; there is {view:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn sent(&self) -> Vec<Option<String>> {
        self.recorder.tokens.lock().unwrap().clone()
    }

    async fn until_sent(&self, last: Option<&str>) {
        let deadline = Instant::now() + SOON;
        while self.sent().last() != Some(&last.map(str::to_owned)) {
            assert!(
                Instant::now() < deadline,
                "{last:?} was not sent within the timeout; sent so far: {:?}",
                self.sent()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A long poll, so that only a file event can report the change.
fn no_poll(settings: &mut HonchoSettings) {
    settings.poll = Duration::from_hours(1);
}

#[actix::test]
async fn a_valid_token_is_answered_from_memory() {
    let trial = GrantTrial::with_life(3600);
    let grants = GrantActorBench::start(&trial, no_poll);
    assert_eq!(grants.token().await, ("hch-at-0".to_owned(), false));
    tokio::time::timeout(SOON, grants.incarnation.until_ready()).await.expect("it did not become ready");
    grants.until_sent(Some("hch-at-0")).await;
    assert_eq!(trial.server.presented().len(), 0);
}

#[actix::test]
async fn a_profile_added_while_running_receives_its_token_at_once_and_a_removed_one_receives_nothing() {
    let trial = GrantTrial::with_life(3600);
    let text = fs::read_to_string(trial.path()).unwrap().replace("\"hermes\"", "\"hermes_work\"");
    fs::write(trial.path(), text).unwrap();
    let grants = GrantActorBench::start(&trial, no_poll);
    assert!(grants.fresh().await.is_none(), "the first profile has no grant");
    let work = ProfileName::parse("work").unwrap();
    // Before the first check of its file: its first turn may be earlier than that.
    let (default, ask) = (name(), || grants.addr.send(FreshToken { profile: work.clone() }));
    grants.serve(&trial, &[&default, &work]);
    let answer = ask().await.unwrap().expect("it is served").expect("it has a grant");
    assert_eq!(answer.token.expose_secret(), "hch-at-0");

    grants.serve(&trial, &[&default]);
    // Its last turns may start another agent.
    assert_eq!(ask().await.unwrap().unwrap_err(), GrantUnknown(work.clone()));
}

#[actix::test]
async fn callers_share_one_refresh_and_the_profile_is_notified() {
    let trial = GrantTrial::expired();
    trial.server.script(Fault::Delay(Duration::from_millis(150)));
    let grants = GrantActorBench::start(&trial, no_poll);
    let answers = futures_util::future::join_all((0..20).map(|_| grants.token())).await;
    assert!(answers.iter().all(|answer| *answer == ("hch-at-n1".to_owned(), true)), "{answers:?}");
    grants.until_sent(Some("hch-at-n1")).await;
    assert_eq!((trial.server.exchanges(), grants.view().await.unwrap().exchanges), (1, 1));
    assert_eq!(grants.token().await, ("hch-at-n1".to_owned(), false));
    trial.assert_no_replay();
}

#[actix::test]
async fn eight_actors_with_one_expired_grant_exchange_it_once() {
    let trial = GrantTrial::expired();
    trial.server.script(Fault::Delay(Duration::from_millis(100)));
    let actors: Vec<_> = (0..8).map(|_| GrantActorBench::start(&trial, |_| {})).collect();
    let answers = futures_util::future::join_all(actors.iter().map(GrantActorBench::token)).await;
    assert!(answers.iter().all(|(token, _)| token == "hch-at-n1"), "{answers:?}");
    assert_eq!(trial.server.presented(), ["hch-rt-0"]);
    trial.assert_no_replay();
}

#[actix::test]
async fn a_caller_gets_the_old_token_when_the_refresh_takes_too_long() {
    let trial = GrantTrial::expired();
    trial.server.script(Fault::Delay(Duration::from_millis(600)));
    let grants = GrantActorBench::start(&trial, |settings| settings.caller_wait = Duration::from_millis(200));
    assert_eq!(grants.token().await, ("hch-at-0".to_owned(), false));
    assert_eq!(grants.token().await, ("hch-at-0".to_owned(), false));
    grants.until_sent(Some("hch-at-n1")).await;
    assert_eq!(trial.server.presented().len(), 1);
}

#[actix::test]
async fn a_failed_refresh_is_no_error_and_the_next_attempt_waits() {
    let trial = GrantTrial::expired();
    trial.server.script(Fault::Status(503, String::new()));
    let grants = GrantActorBench::start(&trial, no_poll);
    for _ in 0..50 {
        assert_eq!(grants.token().await, ("hch-at-0".to_owned(), false));
    }
    let view = grants.view().await.unwrap();
    assert_eq!((view.state, view.last_error.as_deref()), (GrantState::Backoff, Some("the server answered 503")));
    assert_eq!(trial.server.presented().len(), 1);
}

#[actix::test]
async fn a_login_by_another_process_ends_a_required_one_at_once() {
    let trial = GrantTrial::expired();
    trial.server.revoke();
    let grants = GrantActorBench::start(&trial, no_poll);
    assert_eq!(grants.token().await.0, "hch-at-0");
    grants.until("the refusal", |view| view.state == GrantState::ReauthRequired).await;
    trial.log_in(5, 3600);
    grants.until_sent(Some("hch-at-5")).await;
    assert_eq!(grants.view().await.unwrap().state, GrantState::Fresh);
    assert_eq!(trial.server.presented().len(), 1);
}

#[actix::test]
async fn a_file_system_without_events_is_polled() {
    let trial = GrantTrial::with_life(3600);
    let grants = GrantActorBench::start(&trial, |settings| settings.poll = Duration::from_millis(50));
    grants.until_sent(Some("hch-at-0")).await;
    // A directory that is moved away and back gives no event for its contents.
    let away = trial.home.path().with_extension("away");
    fs::rename(trial.home.path(), &away).unwrap();
    grants.until_sent(None).await;
    fs::rename(away, trial.home.path()).unwrap();
    grants.until_sent(Some("hch-at-0")).await;
}

#[actix::test]
async fn a_broken_file_keeps_the_token_and_is_shown() {
    let trial = GrantTrial::with_life(3600);
    let grants = GrantActorBench::start(&trial, no_poll);
    grants.until_sent(Some("hch-at-0")).await;
    fs::write(trial.path(), "garbage").unwrap();
    grants.until("the broken file", |view| view.state == GrantState::Unreadable).await;
    assert_eq!(grants.token().await.0, "hch-at-0");
    let view = grants.addr.send(RefreshGrant { profile: name() }).await.unwrap().unwrap();
    assert_eq!((view.state, trial.server.presented().len()), (GrantState::Unreadable, 0));
    assert_eq!(fs::read_to_string(trial.path()).unwrap(), "garbage");
}

#[actix::test]
async fn a_valid_token_is_refreshed_on_request() {
    let trial = GrantTrial::with_life(3600);
    let grants = GrantActorBench::start(&trial, no_poll);
    grants.fresh().await;
    let view = grants.addr.send(RefreshGrant { profile: name() }).await.unwrap().unwrap();
    assert_eq!((view.state, view.exchanges, view.host.as_str()), (GrantState::Fresh, 1, "hermes"));
    assert!(view.last_refresh_age_s.is_some_and(|age| age < 10) && view.expires_in_s.is_some_and(|left| left > 3500));
    assert_eq!(grants.token().await.0, "hch-at-n1");
}

#[actix::test]
async fn a_profile_without_a_grant_is_notified_once() {
    let trial = GrantTrial::expired();
    fs::remove_file(trial.path()).unwrap();
    let grants = GrantActorBench::start(&trial, |settings| settings.poll = Duration::from_millis(20));
    assert!(grants.fresh().await.is_none());
    assert!(grants.view().await.is_none());
    assert!(grants.addr.send(RefreshGrant { profile: name() }).await.unwrap().is_none());
    trial.log_in(5, 3600);
    grants.until_sent(Some("hch-at-5")).await;
    assert_eq!(grants.sent(), [None, Some("hch-at-5".to_owned())]);
}

#[actix::test]
async fn a_new_incarnation_adopts_the_result_of_the_old_ones_thread() {
    let trial = GrantTrial::expired();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let reached = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&reached);
    let old = GrantActorBench::start(&trial, |settings| {
        settings.steps = StepHook::new(move |step| {
            if step == RefreshStep::Answered {
                *seen.lock().unwrap() = true;
                gate.lock().unwrap().recv_timeout(SOON).expect("the test opens the gate");
            }
        });
    });
    let deadline = Instant::now() + SOON;
    while !*reached.lock().unwrap() {
        assert!(Instant::now() < deadline, "no exchange within the timeout");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let new = GrantActorBench::start(&trial, |settings| settings.caller_wait = Duration::from_millis(100));
    new.until("the doubt", |view| view.state == GrantState::Uncertain).await;
    assert_eq!(new.token().await.0, "hch-at-0");
    drop(old);
    go.send(()).unwrap();
    new.until_sent(Some("hch-at-n1")).await;
    assert_eq!((new.view().await.unwrap().state, trial.server.presented().len()), (GrantState::Fresh, 1));
}

#[actix::test]
async fn the_view_of_the_actor_shows_no_token() {
    let trial = GrantTrial::expired();
    let grants = GrantActorBench::start(&trial, no_poll);
    let answer = grants.fresh().await;
    let shown = format!("{answer:?} {:?}", grants.view().await);
    assert!(!shown.contains("hch-at-") && !shown.contains("hch-rt-"), "{shown}");
}

#[actix::test]
async fn every_token_of_the_file_and_every_new_one_is_redacted_until_its_profile_is_removed() {
    let trial = GrantTrial::expired();
    let file = json!({"hosts": {
        "hermes": {"apiKey": "hch-at-ours-0123456789", "oauth": {"refreshToken": "hch-rt-ours-0123456789", "expiresAt": 4_000_000_000_u64,
            "clientId": "c", "tokenEndpoint": "http://127.0.0.1:1/t"}},
        "other": {"apiKey": "hch-at-other-0123456789", "oauth": {"refreshToken": "hch-rt-other-0123456789"}},
    }});
    fs::write(trial.path(), file.to_string()).unwrap();
    let redactor = Redactor::default();
    let grants = GrantActorBench::start(&trial, |settings| settings.context.redactor = redactor.clone());
    grants.until("the grant", |view| view.state == GrantState::Fresh).await;
    let [key, refresh] = ["[redacted:HONCHO_API_KEY]", "[redacted:HONCHO_REFRESH_TOKEN]"];
    for owner in ["ours", "other"] {
        assert_eq!(redactor.redact(&format!("hch-at-{owner}-0123456789")), key);
        assert_eq!(redactor.redact(&format!("hch-rt-{owner}-0123456789")), refresh);
    }
    grants.serve(&trial, &[]);
    assert!(grants.view().await.is_none(), "no profile is served any more");
    assert_eq!(redactor.redact("hch-at-ours-0123456789"), "hch-at-ours-0123456789");
}

#[test]
fn the_tokens_of_a_refresh_are_redacted_before_they_are_on_disk() {
    let trial = GrantTrial::expired();
    let mut refresh = trial.refresh();
    refresh.redactor = Redactor::default();
    let grant = rotated(refresh.run().outcome);
    let tokens = [&grant.access_token, &grant.refresh_token].map(|token| token.expose_secret().to_owned());
    for token in tokens {
        let shown = refresh.redactor.redact(&token).into_owned();
        assert!(token.len() < 8 || shown.starts_with("[redacted:HONCHO_"), "{token} became {shown}");
    }
}
