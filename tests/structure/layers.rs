//! What the crates do not express: the layers inside a crate, and what only some files may name. The compiler checks that no crate
//! imports one above it. `docs/architecture.md` has the picture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{CRATES, Module, SourceTree};

/// The files that may name the environment of the process, and which part.
const ENVIRONMENT: [(&str, &str); 3] = [
    // Not the environment: the arguments and the program's name.
    ("caduceus::cli::arguments", "std::env::args_os"),
    ("caduceus_actors::settings", "std::env"),
    // Not the environment: the path of the binary, which guards the agents.
    ("caduceus::cli::life", "std::env::current_exe"),
];

/// The files that may name an HTTP client. Every call uses `http_client`: awc reads bodies that end with the connection as empty.
const HTTP_CLIENTS: [(&str, &str); 4] = [
    ("caduceus_actors::http_client", "awc"),
    ("caduceus_actors::http_client", "hyper"),
    ("caduceus_actors::http_client", "hyper_util"),
    // The WebSocket of a link.
    ("caduceus_actors::relay::dial", "awc"),
];

/// What a plan must not use: it takes an event and returns the next step.
const NOT_IN_A_PLAN: [&str; 14] = [
    "actix",
    "actix_web",
    "awc",
    "hyper",
    "hyper_util",
    "tokio",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    // They have no hash, and a plan is a value.
    "std::collections::HashMap",
    "std::collections::HashSet",
];

/// What the contract may name of two crates: it needs some of their types.
const IN_THE_CONTRACT: [&str; 7] = [
    "actix::Message",
    "caduceus_supervision::ChildState",
    "caduceus_supervision::Port",
    "caduceus_supervision::RenderedJson",
    "caduceus_supervision::Tree",
    "caduceus_supervision::TreeNode",
    "caduceus_supervision::port_set",
];

/// What the contract must not use: it consists of values.
const NOT_IN_THE_CONTRACT: [&str; 17] = [
    "futures_util",
    "rustix",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::mpsc",
    "std::thread",
    "tokio",
];

/// What reads a clock or makes random numbers, by the end of the path.
const CLOCKS: [&str; 5] = ["Instant::now", "SystemTime::now", "Timestamp::now", "Uuid::now_v7", "Uuid::new_v4"];

/// The sources of the workspace.
fn workspace() -> SourceTree {
    let mut sources = SourceTree::default();
    for (name, folder) in CRATES {
        sources.read(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    }
    sources.without_tests()
}

/// The forbidden imports of a file, one sentence each.
fn violations(sources: &SourceTree) -> Vec<String> {
    let layers = Layers::of(sources);
    let mut found = Vec::new();
    for (file, imported) in &layers.imports {
        found.extend(imported.iter().filter_map(|target| {
            let why = layers.forbidden(file, target)?;
            Some(format!("{} imports {}: {why}", file.join("::"), target.join("::")))
        }));
        for path in &sources.0[file].named {
            if let Some(why) = misplaced(file, path) {
                found.push(format!("{} names {}: {why}", file.join("::"), path.join("::")));
            }
        }
    }
    found
}

/// The layer of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer<'a> {
    Settings,
    /// Formats and plans: they import no actor.
    Plain(&'a str),
    Messages,
    /// An actor, and what only its own module uses: names actix, or imports something that does.
    Actor(&'a str),
    Gateway,
    /// A crate that the one at hand uses, and that holds no actor of the gateway: the compiler checks what it uses in turn.
    Crate,
    Connector,
    Http,
    Cli,
    Main,
}

struct Layers {
    imports: BTreeMap<Module, BTreeSet<Module>>,
    /// The files of the modules that are actors or import one.
    actors: BTreeSet<Module>,
}

impl Layers {
    fn of(sources: &SourceTree) -> Self {
        let imports = sources.imports();
        let is_actor_module =
            |module: &Module| module[0] == "caduceus_actors" && module.len() > 1 && module[1] != "gateway";
        let is_messages = |module: &Module| module.last().is_some_and(|last| last == "messages");
        let names_actix = |module: &Module| sources.0[module].named.iter().any(|path| path[0] == "actix");
        let candidates: BTreeSet<Module> =
            sources.0.keys().filter(|module| is_actor_module(module) && !is_messages(module)).cloned().collect();
        let mut actors: BTreeSet<Module> = candidates.iter().filter(|module| names_actix(module)).cloned().collect();
        loop {
            let imports_one = |module: &&Module| !actors.contains(*module) && !imports[*module].is_disjoint(&actors);
            let more: Vec<Module> = candidates.iter().filter(imports_one).cloned().collect();
            if more.is_empty() {
                return Self { imports, actors };
            }
            actors.extend(more);
        }
    }

    fn layer<'a>(&self, module: &'a Module) -> Layer<'a> {
        let room = module.get(1).map_or("", String::as_str);
        match (module[0].as_str(), room) {
            ("caduceus", "http") => Layer::Http,
            ("caduceus", "cli") => Layer::Cli,
            ("caduceus", _) => Layer::Main,
            ("caduceus_connector", _) => Layer::Connector,
            ("caduceus_contract" | "caduceus_supervision", _) => Layer::Crate,
            (_, "gateway") => Layer::Gateway,
            (_, "settings") => Layer::Settings,
            _ if module.last().is_some_and(|last| last == "messages") => Layer::Messages,
            _ if self.actors.contains(module) => Layer::Actor(room),
            _ => Layer::Plain(room),
        }
    }

    /// Why `file` must not import `target`, if it must not.
    fn forbidden(&self, file: &Module, target: &Module) -> Option<&'static str> {
        use Layer::{Actor, Cli, Connector, Crate, Gateway, Http, Main, Messages, Plain, Settings};
        let (from, to) = (self.layer(file), self.layer(target));
        let low = matches!(to, Crate | Settings | Plain(_) | Messages);
        let other_plan = is_plan(target) && (from == Messages || target[..2] != file[..2]);
        let allowed = match from {
            Main | Cli | Connector | Crate => true,
            _ if other_plan && file[0] == "caduceus_actors" => false,
            Settings => low && to != Messages,
            Plain(_) | Messages => low,
            Actor(room) => low || to == Actor(room),
            Gateway => low || matches!(to, Actor(_) | Gateway),
            Http => low || to == from,
        };
        (!allowed).then_some(match (from, to) {
            _ if other_plan => "a plan is used by its own actor alone",
            (Settings, _) => "settings are read before there is any actor",
            (_, Actor(_)) => "actors use each other only through messages, and only gateway.rs connects them",
            (_, Gateway) => "the tree is built above the actors in it",
            _ => "HTTP imports neither the connector nor the command line",
        })
    }
}

/// Whether a module is a plan: `plan.rs`, and the modules below it.
fn is_plan(module: &Module) -> bool {
    module.iter().skip(1).any(|part| part == "plan")
}

/// Why `file` must not name something from outside the workspace.
fn misplaced(file: &Module, path: &Module) -> Option<&'static str> {
    let (place, named) = (file.join("::"), path.join("::"));
    let below = |whole: &str, part: &str| whole == part || whole.starts_with(&format!("{part}::"));
    let allowed = |(room, what): &(&str, &str)| below(&place, room) && below(&named, what);
    if below(&named, "std::env") && !ENVIRONMENT.iter().any(allowed) {
        return Some("only settings reads the environment of the process");
    }
    let client = HTTP_CLIENTS.iter().any(|(_, client)| below(&named, client));
    if client && !HTTP_CLIENTS.iter().any(allowed) {
        return Some("every HTTP call uses http_client");
    }
    let bare = |name: &str| named == format!("actix::{name}") || named == name;
    if below(&place, "caduceus::http") && (bare("Addr") || bare("Recipient")) {
        return Some("HTTP holds a port for each message it may send, and no address");
    }
    if below(&place, "caduceus::http") && below(&named, "caduceus_connector") {
        return Some("HTTP does not import the connector");
    }
    if is_plan(file) && NOT_IN_A_PLAN.iter().any(|what| below(&named, what)) {
        return Some("a plan has no actor, no I/O, no clock");
    }
    if file[0] == "caduceus_contract" {
        let whole = ["actix", "caduceus_supervision"].iter().any(|what| below(&named, what));
        let listed = IN_THE_CONTRACT.iter().any(|what| below(&named, what));
        let touched = NOT_IN_THE_CONTRACT.iter().any(|what| below(&named, what));
        if whole && !listed || touched || CLOCKS.iter().any(|clock| named.ends_with(clock)) {
            return Some("the contract has no actor, no I/O, no lock, no clock");
        }
    }
    None
}

#[test]
fn every_file_uses_only_what_is_below_it() {
    let sources = workspace();
    assert!(sources.0.len() > 100, "only {} files were found", sources.0.len());
    let found = violations(&sources);
    assert!(found.is_empty(), "{} imports break the layers:\n{}", found.len(), found.join("\n"));
}

#[test]
fn files_are_assigned_to_their_layers() {
    let mut sources = workspace();
    let planted = ["caduceus_actors", "drain", "planted"].map(str::to_owned);
    sources.add(planted.to_vec(), "use super::actor::DrainActor;");
    let layers = Layers::of(&sources);
    let layer = |path: &str| {
        let module: Module = path.split("::").map(str::to_owned).collect();
        assert!(sources.0.contains_key(&module), "{path} exists");
        format!("{:?}", layers.layer(&module))
    };
    assert_eq!(layer("caduceus_actors::drain::actor"), "Actor(\"drain\")");
    assert_eq!(layer("caduceus_actors::drain::plan"), "Plain(\"drain\")");
    assert_eq!(layer("caduceus_actors::relay::route"), "Plain(\"relay\")");
    assert_eq!(layer("caduceus_actors::config::messages"), "Messages");
    assert_eq!(layer("caduceus_contract::messages::turn"), "Crate");
    assert_eq!(layer("caduceus_connector::hub"), "Connector");
    assert_eq!(layer("caduceus_actors::drain::permit::messages"), "Messages");
    // It names no actix, and imports an actor.
    assert_eq!(layer("caduceus_actors::drain::planted"), "Actor(\"drain\")");
    // Imports are followed through the re-exports of `mod.rs`.
    let path = ["caduceus_actors", "profile", "ProfileActor"].map(str::to_owned);
    assert_eq!(sources.leads_to(&path).unwrap().join("::"), "caduceus_actors::profile::actor");
}

#[test]
fn every_kind_of_violation_is_found_when_planted() {
    let plants = [
        ("caduceus_actors::settings", "use crate::drain::actor::DrainActor;", "before there is any actor"),
        (
            "caduceus_actors::drain::planted",
            "fn f() { crate::relay::actor::RelayActor::new() }",
            "only through messages",
        ),
        ("caduceus_actors::drain::planted", "use crate::profile::{Redactor, ProfileActor};", "only through messages"),
        ("caduceus_actors::config::messages", "use crate::drain::actor::DrainActor;", "only through messages"),
        ("caduceus_actors::config::messages", "use super::plan::ReloadPlan;", "its own actor alone"),
        ("caduceus_actors::turn::planted", "use crate::drain::plan::GatePlan;", "its own actor alone"),
        ("caduceus_actors::turn::planted", "use crate::gateway::Gateway;", "built above"),
        ("caduceus::http::planted", "use caduceus_actors::ledger::LedgerActor;", "only through messages"),
        ("caduceus::http::planted", "use caduceus_actors::gateway::GatewayPorts;", "built above"),
        ("caduceus::http::planted", "use crate::cli::REFUSED;", "nor the command line"),
        ("caduceus::http::planted", "use caduceus_connector::ConnectorOptions;", "import the connector"),
        ("caduceus_connector::planted", "fn f() { awc::Client::default(); }", "uses http_client"),
        ("caduceus::http::planted", "use actix::{Actor, Addr};", "no address"),
        ("caduceus::http::planted", "use actix::prelude::*; struct S(Addr<T>);", "no address"),
        ("caduceus_actors::relay::planted", "fn f() { std::env::var(\"HOME\"); }", "only settings reads"),
        ("caduceus::cli::life", "use std::env::{current_exe, vars};", "only settings reads"),
        ("caduceus::cli::planted", "fn f() { awc::Client::default(); }", "uses http_client"),
        ("caduceus_actors::relay::planted", "use hyper_util::client::legacy::Client;", "uses http_client"),
        ("caduceus_actors::drain::plan", "use actix::Context;", "a plan has no"),
        ("caduceus_actors::drain::plan", "fn f() { std::time::Instant::now(); }", "a plan has no"),
        ("caduceus_actors::dispatch::plan::planted", "use actix::Context;", "a plan has no"),
        ("caduceus_connector::plan::planted", "use tokio::sync::mpsc;", "a plan has no"),
        ("caduceus_supervision::plan::planted", "use std::thread;", "a plan has no"),
        ("caduceus_contract::planted", "use actix::{Actor, Message};", "the contract has no"),
        ("caduceus_contract::planted", "use caduceus_supervision::spawn;", "the contract has no"),
        ("caduceus_contract::planted", "use std::sync::{Arc, Mutex};", "the contract has no"),
        ("caduceus_contract::planted", "fn f() { std::fs::remove_file(\"x\"); }", "the contract has no"),
        ("caduceus_contract::planted", "use jiff::Timestamp; fn f() { Timestamp::now(); }", "the contract has no"),
        ("caduceus_actors::drain::plan::planted", "use std::collections::{BTreeMap, HashMap};", "a plan has no"),
    ];
    let sources_of_all = workspace();
    for (module, text, expected) in plants {
        let mut sources = sources_of_all.clone();
        sources.add(module.split("::").map(str::to_owned).collect(), text);
        let found = violations(&sources);
        let hit = found.iter().any(|sentence| sentence.starts_with(module) && sentence.contains(expected));
        assert!(hit, "{text:?} in {module} was not found; found {found:?}");
    }
}
