//! The question that every call of a profile begins with, answered from memory by the actor of the grants.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use actix::prelude::*;
use caduceus_actors::files::own;
use caduceus_actors::honcho::actor::{HonchoOwnPorts, HonchoPorts, HonchoProfile, HonchoRefreshActor, HonchoSettings};
use caduceus_actors::honcho::location::FILE_NAME;
use caduceus_actors::settings::Environment;
use caduceus_actors::status::changes::StatusChanges;
use caduceus_contract::messages::honcho::FreshToken;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{ChildSpec, Mailbox, Port, Root, RootOptions, StartContext, Strategy, SupervisorSpec};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use super::turns::micros;
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::Lab;
use crate::bench::row::Row;

pub(super) const TOKEN: Row = Row {
    name: "token",
    about: "questions for a token, answered from memory through the mailbox of one actor",
    run: |lab| System::new().block_on(tokens(lab)),
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The token is valid for longer than the row runs, so no question begins a refresh.
const VALID_S: i64 = 86_400;

/// In place of the status.
struct NoStatus;

impl Actor for NoStatus {
    type Context = Context<Self>;
}

impl Handler<StatusTouched> for NoStatus {
    type Result = ();

    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}

async fn tokens(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let home = tempfile::tempdir_in(&lab.disk)?;
    write_grant(home.path())?;
    let (grants, status) = (Mailbox::<HonchoRefreshActor>::new(), Mailbox::<NoStatus>::new());
    let (place, changes) = (home.path().to_owned(), StatusChanges::new(status.port()));
    let factory = move |start: &StartContext<HonchoRefreshActor>| {
        let profile = HonchoProfile::new(ProfileName::default_profile(), &place, &place, &Environment::default());
        let ports = HonchoPorts { profiles: [].into(), status: changes.clone() };
        let settings = HonchoSettings::new(vec![profile]);
        HonchoRefreshActor::new(ports, settings, start.incarnation().clone(), HonchoOwnPorts::of(start))
    };
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .child(ChildSpec::worker("status", &status, |_| NoStatus))
        .child(ChildSpec::worker("honcho", &grants, factory));
    let root = Root::start(spec, RootOptions::default())?;
    let port = grants.port();
    // Waits for the first check of the files.
    ask(&port, 1).await?;
    let mut figures = Vec::new();
    for at_once in [1, 64] {
        let questions = lab.pick(1_000_000, 1_000) / at_once * at_once;
        let began = Instant::now();
        for _ in 0..questions / at_once {
            ask(&port, at_once).await?;
        }
        let rate = ratio(questions * 1_000_000, micros(began.elapsed()));
        let rate = Figure::new("token", format!("{at_once} at once"), "rate", rate, "questions/s");
        figures.push(if at_once == 64 { rate.goal(Goal::AtLeast(1_000_000.0)) } else { rate });
    }
    root.stop().await;
    root.join_threads(TIMEOUT).await;
    Ok(figures)
}

async fn ask(port: &Port<FreshToken>, at_once: u64) -> anyhow::Result<()> {
    let profile = ProfileName::default_profile();
    let ask = |_| port.ask(FreshToken { profile: profile.clone() }, TIMEOUT);
    for answer in join_all((0..at_once).map(ask)).await {
        anyhow::ensure!(answer??.is_some(), "the grant was not read");
    }
    Ok(())
}

/// The file of a login, as hermes-agent writes it.
fn write_grant(home: &Path) -> anyhow::Result<()> {
    let oauth = json!({
        "refreshToken": "no-secret-of-a-bench", "expiresAt": Timestamp::now().as_second() + VALID_S,
        "clientId": "hermes-agent", "tokenEndpoint": "http://127.0.0.1:9/token", "scope": "write", "tokenType": "Bearer",
    });
    let text = json!({"hosts": {"hermes": {"apiKey": "hch-at-no-secret-of-a-bench", "oauth": oauth}}}).to_string();
    let file = own::create_new(&home.join(FILE_NAME), own::OpenMode::ReadWrite, 0o600);
    Ok(file.map_err(io::Error::from)?.write_all(text.as_bytes())?)
}
