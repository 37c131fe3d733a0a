//! Every field of the status and every metric is changed by some event, in one gateway from its start to its end.
//!
//! A row lists what an action changes. The test fails if the action does not change it, if no row lists a field or metric that exists, and
//! if a row lists one that does not exist.

mod actions; // Carries the actions out.
mod record; // Reads the status and the metrics.
mod rows; // What each action moves.

use std::collections::BTreeSet;
use std::path::Path;

use self::actions::{breakage, drains, end, grants, links, profiles, turns};
use self::record::{StatusRecord, names};
use self::rows::{ELSEWHERE, FIXED, ROWS};
use crate::document;
use crate::world::World;

#[actix_web::test]
async fn every_field_of_the_status_and_every_metric_is_changed_by_an_event() {
    let mut record = start().await;
    links(&mut record).await;
    turns(&mut record).await;
    drains(&mut record).await;
    profiles(&mut record).await;
    grants(&mut record).await;
    breakage(&mut record).await;
    end(&mut record).await;

    let actions: BTreeSet<&str> = ROWS.iter().map(|(action, _)| *action).collect();
    assert_eq!(record.done, actions, "every action was carried out");
    let mut moved: BTreeSet<String> =
        ROWS.iter().flat_map(|(_, names)| names.split_whitespace()).map(str::to_owned).collect();
    moved.extend(FIXED.iter().chain(ELSEWHERE.iter().map(|(name, ..)| name)).map(|name| (*name).to_owned()));
    let mut there = record.seen;
    let schema =
        &record.document["paths"]["/api/status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    names(&record.document, schema, "", &mut there);
    let unchanged: Vec<_> = there.difference(&moved).collect();
    assert!(unchanged.is_empty(), "no row changes {unchanged:?}");
    let unknown: Vec<_> = moved.difference(&there).collect();
    assert!(unknown.is_empty(), "rows name what does not exist: {unknown:?}");
}

#[test]
fn every_other_field_is_changed_by_the_test_that_its_row_names() {
    for (name, file, test) in ELSEWHERE {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(&format!("async fn {test}(")), "{name}: there is no {test} in {file}");
        let word = name.rsplit('.').next().unwrap();
        assert!(text.contains(word), "{file} does not name {word}");
    }
}

async fn start() -> StatusRecord {
    let mut world = World::prepare().await;
    world.configure("drain:\n  refused: hold\nsupervision:\n  wedge_after_ms: 3000\n");
    world.profile("work", "");
    world.write("profiles/work/caduceus.yaml", "agent:\n  backend: exec\n  command: [/nowhere/at/all]\n");
    // So that a grant of the user who runs the test has no effect.
    let home = world.home().to_str().unwrap().to_owned();
    world.variable("HOME", &home);
    world.serve().await;
    world
        .until("full readiness", |status| {
            status["readiness"] == "ready" && status["secrets"].as_array().unwrap().len() == 2
        })
        .await;
    StatusRecord { document: document(), world, seen: BTreeSet::new(), done: BTreeSet::new() }
}
