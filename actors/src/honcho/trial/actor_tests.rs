use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use actix::{Actor, Addr, AsyncContext, Context, Handler};

use super::super::actor::{HonchoOwn, HonchoPorts, HonchoProfile, HonchoRefreshActor, HonchoSettings};
use super::super::location::Homes;
use super::super::steps::RefreshStep;
use super::*;
use crate::config::messages::{InForce, Served, SettingsChanged};
use crate::profile::actor::ProfileActor;
use crate::profile::messages::ProfilePorts;
use crate::settings::OpenSettings;
use caduceus_contract::messages::honcho::{
    FreshAnswer, FreshToken, GetGrants, GrantState, GrantUnknown, GrantView, RefreshGrant,
};
use caduceus_contract::messages::profile::TokenChanged;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{Incarnation, Mailbox, Port};

/// Profile and status in one; records the messages it receives.
#[derive(Default, Clone)]
struct Recorder {
    tokens: Arc<Mutex<Vec<Option<String>>>>,
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<TokenChanged> for Recorder {
    type Result = ();
    fn handle(&mut self, news: TokenChanged, _: &mut Self::Context) {
        let token = news.token.map(|token| token.expose_secret().to_owned());
        self.tokens.lock().unwrap().push(token);
    }
}

impl Handler<StatusTouched> for Recorder {
    type Result = ();
    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}

/// The ports of a profile that receives its token and nothing else.
fn deaf_but_for(token: Port<TokenChanged>) -> ProfilePorts {
    let nobody: Mailbox<ProfileActor> = Mailbox::new();
    ProfilePorts {
        agent: nobody.port(),
        spawn: nobody.port(),
        call: nobody.port(),
        dial: nobody.port(),
        verify: nobody.port(),
        token,
        view: nobody.port(),
        terms: nobody.port(),
        read_again: nobody.port(),
    }
}

struct Keeper {
    addr: Addr<HonchoRefreshActor>,
    listener: Recorder,
    incarnation: Incarnation,
}

fn name() -> ProfileName {
    ProfileName::default_profile()
}

impl Keeper {
    fn start(trial: &Trial, adjust: impl FnOnce(&mut HonchoSettings)) -> Self {
        let home = trial.home.path().to_owned();
        let homes = Homes { own: home.clone(), default: home, user: None };
        let mut settings = HonchoSettings::new(vec![HonchoProfile { name: name(), homes, host: None }]);
        adjust(&mut settings);
        let listener = Recorder::default();
        let ears = listener.clone().start();
        let ports =
            HonchoPorts { profiles: BTreeMap::from([(name(), Port::from(ears.clone()))]), status: Port::from(ears) };
        let incarnation = Incarnation::new("honcho", 1);
        let given = incarnation.clone();
        let addr = HonchoRefreshActor::create(move |ctx| {
            let own = HonchoOwn { done: Port::from(ctx.address()), touched: Port::from(ctx.address()) };
            HonchoRefreshActor::new(ports, settings, given, own)
        });
        Self { addr, listener, incarnation }
    }

    /// The settings changed: these profiles are served from now on.
    fn serve(&self, trial: &Trial, names: &[&ProfileName]) {
        let ears = self.listener.clone().start();
        let served = |name: &&ProfileName| Served {
            name: (*name).clone(),
            home: trial.home.path().to_owned(),
            ports: deaf_but_for(Port::from(ears.clone())),
        };
        let settings = Arc::new(OpenSettings { home: trial.home.path().to_owned(), ..OpenSettings::default() });
        let in_force = InForce { settings, profiles: names.iter().map(served).collect() };
        Port::from(self.addr.clone()).tell(SettingsChanged(Arc::new(in_force))).expect("the keeper is there");
    }

    async fn fresh(&self) -> Option<FreshAnswer> {
        self.addr.send(FreshToken { profile: name() }).await.expect("the keeper is there").expect("it was looked at")
    }

    async fn token(&self) -> (String, bool) {
        let answer = self.fresh().await.expect("a grant");
        (answer.token.expose_secret().to_owned(), answer.refreshed)
    }

    async fn view(&self) -> Option<GrantView> {
        self.addr.send(GetGrants).await.expect("the keeper is there").pop()
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

    fn told(&self) -> Vec<Option<String>> {
        self.listener.tokens.lock().unwrap().clone()
    }

    async fn until_told(&self, last: Option<&str>) {
        let deadline = Instant::now() + SOON;
        while self.told().last() != Some(&last.map(str::to_owned)) {
            assert!(Instant::now() < deadline, "the news of {last:?} never came; there was {:?}", self.told());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// So that only a file system event can report the change.
fn no_poll(settings: &mut HonchoSettings) {
    settings.poll = Duration::from_hours(1);
}

#[actix::test]
async fn a_good_token_is_answered_from_memory() {
    let trial = Trial::with_life(3600);
    let keeper = Keeper::start(&trial, no_poll);
    assert_eq!(keeper.token().await, ("hch-at-0".to_owned(), false));
    tokio::time::timeout(SOON, keeper.incarnation.until_ready()).await.expect("it never got ready");
    keeper.until_told(Some("hch-at-0")).await;
    assert_eq!(trial.server.presented().len(), 0);
}

#[actix::test]
async fn a_profile_that_comes_while_running_gets_its_token_at_once_and_one_that_leaves_is_not_told_that_it_has_none() {
    let trial = Trial::with_life(3600);
    let text = fs::read_to_string(trial.path()).unwrap().replace("\"hermes\"", "\"hermes_work\"");
    fs::write(trial.path(), text).unwrap();
    let keeper = Keeper::start(&trial, no_poll);
    assert!(keeper.fresh().await.is_none(), "the first profile has no grant");
    let work = ProfileName::parse("work").unwrap();
    // Before the first check of its file: its first turn may be earlier than that.
    let (default, ask) = (name(), || keeper.addr.send(FreshToken { profile: work.clone() }));
    keeper.serve(&trial, &[&default, &work]);
    let answer = ask().await.unwrap().expect("it is served").expect("it has a grant");
    assert_eq!(answer.token.expose_secret(), "hch-at-0");

    keeper.serve(&trial, &[&default]);
    // Its last turns may start another agent.
    assert_eq!(ask().await.unwrap().unwrap_err(), GrantUnknown(work.clone()));
}

#[actix::test]
async fn callers_share_one_refresh_and_the_profile_hears_of_it() {
    let trial = Trial::expired();
    trial.server.script(Fault::Delay(Duration::from_millis(150)));
    let keeper = Keeper::start(&trial, no_poll);
    let answers = futures_util::future::join_all((0..20).map(|_| keeper.token())).await;
    assert!(answers.iter().all(|answer| *answer == ("hch-at-n1".to_owned(), true)), "{answers:?}");
    keeper.until_told(Some("hch-at-n1")).await;
    assert_eq!((trial.server.exchanges(), keeper.view().await.unwrap().exchanges), (1, 1));
    assert_eq!(keeper.token().await, ("hch-at-n1".to_owned(), false));
    trial.assert_no_replay();
}

#[actix::test]
async fn eight_keepers_of_one_expired_grant_exchange_it_once() {
    let trial = Trial::expired();
    trial.server.script(Fault::Delay(Duration::from_millis(100)));
    let keepers: Vec<_> = (0..8).map(|_| Keeper::start(&trial, |_| {})).collect();
    let answers = futures_util::future::join_all(keepers.iter().map(Keeper::token)).await;
    assert!(answers.iter().all(|(token, _)| token == "hch-at-n1"), "{answers:?}");
    assert_eq!(trial.server.presented(), ["hch-rt-0"]);
    trial.assert_no_replay();
}

#[actix::test]
async fn a_caller_gets_the_old_token_when_the_refresh_takes_too_long() {
    let trial = Trial::expired();
    trial.server.script(Fault::Delay(Duration::from_millis(600)));
    let keeper = Keeper::start(&trial, |settings| settings.caller_wait = Duration::from_millis(200));
    assert_eq!(keeper.token().await, ("hch-at-0".to_owned(), false));
    assert_eq!(keeper.token().await, ("hch-at-0".to_owned(), false));
    keeper.until_told(Some("hch-at-n1")).await;
    assert_eq!(trial.server.presented().len(), 1);
}

#[actix::test]
async fn a_failed_refresh_is_no_error_and_the_next_try_waits() {
    let trial = Trial::expired();
    trial.server.script(Fault::Status(503, String::new()));
    let keeper = Keeper::start(&trial, no_poll);
    for _ in 0..50 {
        assert_eq!(keeper.token().await, ("hch-at-0".to_owned(), false));
    }
    let view = keeper.view().await.unwrap();
    assert_eq!((view.state, view.last_error.as_deref()), (GrantState::Backoff, Some("the server answered 503")));
    assert_eq!(trial.server.presented().len(), 1);
}

#[actix::test]
async fn a_login_by_another_process_ends_a_required_one_at_once() {
    let trial = Trial::expired();
    trial.server.revoke();
    let keeper = Keeper::start(&trial, no_poll);
    assert_eq!(keeper.token().await.0, "hch-at-0");
    keeper.until("the refusal", |view| view.state == GrantState::ReauthRequired).await;
    trial.log_in(5, 3600);
    keeper.until_told(Some("hch-at-5")).await;
    assert_eq!(keeper.view().await.unwrap().state, GrantState::Fresh);
    assert_eq!(trial.server.presented().len(), 1);
}

#[actix::test]
async fn a_file_system_without_events_is_polled() {
    let trial = Trial::with_life(3600);
    let keeper = Keeper::start(&trial, |settings| settings.poll = Duration::from_millis(50));
    keeper.until_told(Some("hch-at-0")).await;
    // A directory that is moved away and back gives no event for its contents.
    let away = trial.home.path().with_extension("away");
    fs::rename(trial.home.path(), &away).unwrap();
    keeper.until_told(None).await;
    fs::rename(away, trial.home.path()).unwrap();
    keeper.until_told(Some("hch-at-0")).await;
}

#[actix::test]
async fn a_broken_file_keeps_the_token_and_is_shown() {
    let trial = Trial::with_life(3600);
    let keeper = Keeper::start(&trial, no_poll);
    keeper.until_told(Some("hch-at-0")).await;
    fs::write(trial.path(), "garbage").unwrap();
    keeper.until("the broken file", |view| view.state == GrantState::Unreadable).await;
    assert_eq!(keeper.token().await.0, "hch-at-0");
    let view = keeper.addr.send(RefreshGrant { profile: name() }).await.unwrap().unwrap();
    assert_eq!((view.state, trial.server.presented().len()), (GrantState::Unreadable, 0));
    assert_eq!(fs::read_to_string(trial.path()).unwrap(), "garbage");
}

#[actix::test]
async fn a_person_may_have_a_good_token_refreshed() {
    let trial = Trial::with_life(3600);
    let keeper = Keeper::start(&trial, no_poll);
    keeper.fresh().await;
    let view = keeper.addr.send(RefreshGrant { profile: name() }).await.unwrap().unwrap();
    assert_eq!((view.state, view.exchanges, view.host.as_str()), (GrantState::Fresh, 1, "hermes"));
    assert!(view.last_refresh_age_s.is_some_and(|age| age < 10) && view.expires_in_s.is_some_and(|left| left > 3500));
    assert_eq!(keeper.token().await.0, "hch-at-n1");
}

#[actix::test]
async fn a_profile_without_a_grant_gets_none_and_is_told_so_once() {
    let trial = Trial::expired();
    fs::remove_file(trial.path()).unwrap();
    let keeper = Keeper::start(&trial, |settings| settings.poll = Duration::from_millis(20));
    assert!(keeper.fresh().await.is_none());
    assert!(keeper.view().await.is_none());
    assert!(keeper.addr.send(RefreshGrant { profile: name() }).await.unwrap().is_none());
    trial.log_in(5, 3600);
    keeper.until_told(Some("hch-at-5")).await;
    assert_eq!(keeper.told(), [None, Some("hch-at-5".to_owned())]);
}

#[actix::test]
async fn a_new_incarnation_takes_over_what_the_old_ones_thread_brings_home() {
    let trial = Trial::expired();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let reached = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&reached);
    let old = Keeper::start(&trial, |settings| {
        settings.steps = StepHook::new(move |step| {
            if step == RefreshStep::Answered {
                *seen.lock().unwrap() = true;
                gate.lock().unwrap().recv_timeout(SOON).expect("the test opens the gate");
            }
        });
    });
    let deadline = Instant::now() + SOON;
    while !*reached.lock().unwrap() {
        assert!(Instant::now() < deadline, "the exchange never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let new = Keeper::start(&trial, |settings| settings.caller_wait = Duration::from_millis(100));
    new.until("the doubt", |view| view.state == GrantState::Uncertain).await;
    assert_eq!(new.token().await.0, "hch-at-0");
    drop(old);
    go.send(()).unwrap();
    new.until_told(Some("hch-at-n1")).await;
    assert_eq!((new.view().await.unwrap().state, trial.server.presented().len()), (GrantState::Fresh, 1));
}

#[actix::test]
async fn no_token_is_in_what_the_keeper_shows() {
    let trial = Trial::expired();
    let keeper = Keeper::start(&trial, no_poll);
    let answer = keeper.fresh().await;
    let shown = format!("{answer:?} {:?}", keeper.view().await);
    assert!(!shown.contains("hch-at-") && !shown.contains("hch-rt-"), "{shown}");
}

#[actix::test]
async fn every_token_of_the_file_and_every_new_one_is_redacted_until_its_profile_goes() {
    let trial = Trial::expired();
    let file = json!({"hosts": {
        "hermes": {"apiKey": "hch-at-ours-0123456789", "oauth": {"refreshToken": "hch-rt-ours-0123456789", "expiresAt": 4_000_000_000_u64,
            "clientId": "c", "tokenEndpoint": "http://127.0.0.1:1/t"}},
        "other": {"apiKey": "hch-at-other-0123456789", "oauth": {"refreshToken": "hch-rt-other-0123456789"}},
    }});
    fs::write(trial.path(), file.to_string()).unwrap();
    let redactor = Redactor::default();
    let keeper = Keeper::start(&trial, |settings| settings.surroundings.redactor = redactor.clone());
    keeper.until("the grant", |view| view.state == GrantState::Fresh).await;
    let [key, refresh] = ["[redacted:HONCHO_API_KEY]", "[redacted:HONCHO_REFRESH_TOKEN]"];
    for whose in ["ours", "other"] {
        assert_eq!(redactor.redact(&format!("hch-at-{whose}-0123456789")), key);
        assert_eq!(redactor.redact(&format!("hch-rt-{whose}-0123456789")), refresh);
    }
    keeper.serve(&trial, &[]);
    assert!(keeper.view().await.is_none(), "nobody is served any more");
    assert_eq!(redactor.redact("hch-at-ours-0123456789"), "hch-at-ours-0123456789");
}

#[test]
fn the_tokens_that_a_refresh_brings_are_redacted_as_soon_as_they_are_there() {
    let trial = Trial::expired();
    let mut refresh = trial.refresh();
    refresh.redactor = Redactor::default();
    let grant = rotated(refresh.run().outcome);
    let tokens = [&grant.access_token, &grant.refresh_token].map(|token| token.expose_secret().to_owned());
    for token in tokens {
        let shown = refresh.redactor.redact(&token).into_owned();
        assert!(token.len() < 8 || shown.starts_with("[redacted:HONCHO_"), "{token} became {shown}");
    }
}
