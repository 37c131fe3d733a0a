use std::fs;

use tempfile::TempDir;

use super::*;
use crate::exploration::assert_value;
use crate::settings::Environment;

/// A home that serves several profiles.
struct ReloadHome(TempDir);

impl ReloadHome {
    fn new(profiles: &[&str]) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.write("config.yaml", "gateway: {multiplex_profiles: true}\n");
        home.write("caduceus.yaml", "agent: {backend: echo}\n");
        for name in profiles {
            home.add(name);
        }
        home
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn add(&self, name: &str) {
        fs::create_dir_all(self.0.path().join("profiles").join(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_dir_all(self.0.path().join("profiles").join(name)).unwrap();
    }

    fn load(&self) -> Settings {
        Settings::load(self.0.path(), Environment::default()).unwrap()
    }

    fn bench(&self) -> ReloadBench {
        let settings = self.load();
        ReloadBench { plan: ReloadPlan::new(&settings), first: settings.clone(), settings }
    }
}

/// The plan with the settings in force.
struct ReloadBench {
    plan: ReloadPlan,
    first: Settings,
    settings: Settings,
}

impl ReloadBench {
    fn read(&mut self, home: &ReloadHome) -> Vec<ReloadStep> {
        let before = std::mem::replace(&mut self.settings, home.load());
        self.plan.read(SettingsDiff::between(&before, &self.settings))
    }

    fn needs_restart(&self) -> Vec<&'static str> {
        self.first.needs_restart(&self.settings)
    }
}

fn name(text: &str) -> ProfileName {
    ProfileName::parse(text).unwrap()
}

fn served(plan: &ReloadPlan) -> Vec<&str> {
    plan.served().map(ProfileName::as_str).collect()
}

fn none() -> BTreeSet<ProfileName> {
    BTreeSet::new()
}

#[test]
fn the_plan_is_a_value() {
    assert_value::<ReloadPlan>();
    assert_value::<SettingsDiff>();
}

#[test]
fn unchanged_settings_yield_no_step() {
    let home = ReloadHome::new(&["work"]);
    let mut bench = home.bench();
    assert_eq!(bench.read(&home), []);
    assert!(bench.plan.is_settled() && bench.plan.check(&none()).is_empty());
}

#[test]
fn a_new_profile_is_started_before_it_is_announced() {
    let home = ReloadHome::new(&[]);
    let mut bench = home.bench();
    home.add("work");
    let steps = bench.read(&home);
    assert_eq!(steps, [ReloadStep::Open(name("work")), ReloadStep::Start(name("work")), ReloadStep::Announce]);
    assert_eq!(served(&bench.plan), ["default", "work"]);
    assert_eq!(bench.plan.check(&none()), [ReloadStep::Start(name("work"))], "repeated until the start is confirmed");
    bench.plan.started(&name("work"));
    assert!(bench.plan.is_settled());
}

#[test]
fn a_removed_profile_is_stopped_after_its_last_turn() {
    let home = ReloadHome::new(&["work"]);
    let mut bench = home.bench();
    home.remove("work");
    assert_eq!(bench.read(&home), [ReloadStep::Announce]);
    assert_eq!(served(&bench.plan), ["default"]);
    assert_eq!(bench.plan.leaving(), [name("work")]);
    let busy = BTreeSet::from([name("work")]);
    assert_eq!(bench.plan.check(&busy), []);
    assert_eq!(bench.plan.check(&none()), [], "a turn may be between the dispatcher and the gate");
    assert_eq!(bench.plan.check(&busy), [], "a turn had been");
    assert_eq!(bench.plan.check(&none()), []);
    assert_eq!(bench.plan.check(&none()), [ReloadStep::Stop(name("work"))]);
    assert_eq!(
        bench.plan.check(&none()),
        [ReloadStep::Stop(name("work"))],
        "repeated until the end of the actor is confirmed"
    );
    assert_eq!(bench.plan.stopped(&name("work")), [ReloadStep::Close(name("work"))]);
    assert!(bench.plan.is_settled() && bench.plan.leaving().is_empty());
}

#[test]
fn a_profile_that_is_added_again_while_its_turns_run_stays() {
    let home = ReloadHome::new(&["work"]);
    let mut bench = home.bench();
    home.remove("work");
    bench.read(&home);
    home.add("work");
    assert_eq!(bench.read(&home), [ReloadStep::Change(name("work")), ReloadStep::Announce]);
    assert_eq!(served(&bench.plan), ["default", "work"]);
    assert!(bench.plan.is_settled());
    assert_eq!(bench.plan.stopped(&name("work")), [], "no stop was ordered");
}

#[test]
fn a_profile_that_is_added_again_while_it_stops_is_started_again() {
    let home = ReloadHome::new(&["work"]);
    let mut bench = home.bench();
    home.remove("work");
    bench.read(&home);
    bench.plan.check(&none());
    assert_eq!(bench.plan.check(&none()), [ReloadStep::Stop(name("work"))]);
    home.add("work");
    assert_eq!(bench.read(&home), []);
    assert_eq!(served(&bench.plan), ["default"], "its ports lead to no actor");
    let steps = bench.plan.stopped(&name("work"));
    let restart = [
        ReloadStep::Close(name("work")),
        ReloadStep::Open(name("work")),
        ReloadStep::Start(name("work")),
        ReloadStep::Announce,
    ];
    assert_eq!(steps, restart);
    assert_eq!(served(&bench.plan), ["default", "work"]);
}

#[test]
fn a_changed_file_of_a_profile_changes_that_profile_only() {
    let home = ReloadHome::new(&["one", "other"]);
    let mut bench = home.bench();
    home.write("profiles/one/caduceus.yaml", "agent: {backend: exec, command: [run]}\n");
    assert_eq!(bench.read(&home), [ReloadStep::Change(name("one")), ReloadStep::AnnounceAgents]);
}

#[test]
fn a_changed_agent_of_the_home_changes_every_profile_that_runs_it() {
    let home = ReloadHome::new(&["own", "plain"]);
    home.write("profiles/own/caduceus.yaml", "agent: {backend: exec, command: [run]}\n");
    let mut bench = home.bench();
    home.write("caduceus.yaml", "agent: {backend: exec, command: [other]}\n");
    let changed = ["default", "plain"].map(|profile| ReloadStep::Change(name(profile)));
    assert_eq!(bench.read(&home), changed.into_iter().chain([ReloadStep::AnnounceAgents]).collect::<Vec<_>>());
}

#[test]
fn a_change_that_other_actors_use_is_announced() {
    for text in [
        "sessions: {busy: reject}",
        "turns: {max_concurrent: 3}",
        "turns: {interrupted: drop}",
        "drain: {refused: notice}",
        "drain: {timeout_s: 5}",
    ] {
        let home = ReloadHome::new(&[]);
        let mut bench = home.bench();
        home.write("caduceus.yaml", &format!("agent: {{backend: echo}}\n{text}\n"));
        assert_eq!(bench.read(&home), [ReloadStep::Announce], "{text}");
        assert!(bench.needs_restart().is_empty(), "{text}");
    }
}

#[test]
fn a_change_that_applies_at_the_next_start_is_listed_until_it_is_undone() {
    let home = ReloadHome::new(&[]);
    let mut bench = home.bench();
    home.write(
        "caduceus.yaml",
        "agent: {backend: echo}\nhttp: {bind: \"127.0.0.1:1\"}\nsupervision: {wedge_after_ms: 9}\n",
    );
    assert_eq!(bench.read(&home), []);
    assert_eq!(bench.needs_restart(), ["http.bind", "supervision"]);
    home.write("caduceus.yaml", "agent: {backend: echo}\n");
    bench.read(&home);
    assert!(bench.needs_restart().is_empty());
}

#[test]
fn serving_one_profile_removes_the_others_and_gives_it_the_environment() {
    let home = ReloadHome::new(&["work"]);
    let mut bench = home.bench();
    home.write("config.yaml", "gateway: {multiplex_profiles: false}\n");
    assert_eq!(bench.read(&home), [ReloadStep::Change(name("default")), ReloadStep::Announce]);
    assert_eq!(bench.plan.leaving(), [name("work")]);
}
