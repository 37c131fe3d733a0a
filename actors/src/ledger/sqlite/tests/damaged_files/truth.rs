//! Whether what a damaged ledger serves is right, and whether what it does not serve is named.

use std::time::Instant;

use super::template::{CHATS, EVERY_EVENT, EVERY_REPLY, Template};
use crate::ledger::OpenError;
use crate::ledger::failure::Failure;
use crate::ledger::repeats::LastReplies;
use crate::ledger::sqlite::SqliteStore;
use crate::ledger::sqlite::tests::Home;
use crate::ledger::store::Store as _;
use crate::ledger::tests::{CEILING, event, session};
use crate::ledger::work::{LedgerTransaction, Work};
use caduceus_contract::messages::ledger::*;
use caduceus_contract::share::DispatchShare;

/// A number that no recorded event has.
const NEVER: u64 = 1_000_000;

/// One of the rows of a conversation.
const ANY: i64 = 0;

/// What a damaged file led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// All rows are served, nothing is named: the damage is in an unused place.
    Unused,
    /// All rows are served, and the damage is named.
    Whole,
    /// Some rows are not served, and the damage is named.
    Named,
    /// Nothing can be read: the file was set aside, and the error has its name.
    Refused,
}

/// A row that is not served, or a key that is not found.
type Missing = Vec<(&'static str, i64)>;

/// Opens the ledger twice, and compares it with the template.
pub(super) fn check(template: &Template, home: &Home) -> Result<Outcome, String> {
    let Some((mut named, mut missing)) = check_open(template, home, &[])? else { return Ok(Outcome::Refused) };
    if !named.is_empty() {
        let Some((more, rest)) = check_open(template, home, &named)? else {
            return Err("the second open is refused".to_owned());
        };
        named.extend(more);
        missing.extend(rest);
    }
    Ok(match (missing.is_empty(), named.is_empty()) {
        (true, true) => Outcome::Unused,
        (true, false) => Outcome::Whole,
        (false, _) => Outcome::Named,
    })
}

/// What is named, and what is missing. `before`: what the open before named.
fn check_open(template: &Template, home: &Home, before: &[String]) -> Result<Option<(Vec<String>, Missing)>, String> {
    let mut store = match SqliteStore::open(&home.path) {
        Ok(store) => store,
        Err(OpenError::Corrupt { set_aside, .. }) if set_aside.exists() => return Ok(None),
        Err(error) => return Err(format!("not opened: {error:?}")),
    };
    let mut missing = served(template, &mut store, before)?;
    missing.extend(keys(template, &mut store, before)?);
    finish_checks(&mut store)?;
    missing.extend(served(template, &mut store, before)?);
    let corrupt = &store.opened.rows.corrupt;
    let is_named = |table: &'static str, row: i64| match row {
        ANY => corrupt.has_some(table),
        row => corrupt.has(table, row),
    };
    if store.damage().is_empty()
        && before.is_empty()
        && let Some((table, row)) = missing.iter().find(|(table, row)| !is_named(table, *row))
    {
        return Err(format!("row {row} of {table} is missing and not named"));
    }
    let mut named = store.damage().to_vec();
    if store.corrupt_rows() > 0 {
        named.push(format!("{} rows", store.corrupt_rows()));
    }
    Ok(Some((named, missing)))
}

fn finish_checks(store: &mut SqliteStore) -> Result<(), String> {
    let begun = Instant::now();
    while store.check_rows().map_err(|error| format!("check: {error}"))? {
        if begun.elapsed() > CEILING {
            return Err("the check did not end within the timeout".to_owned());
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Does one piece of work whose transaction is not written. `None` if a part of the file cannot be read, which names it.
fn ask<W: Work>(store: &mut SqliteStore, work: &W) -> Option<Result<W::Answer, LedgerError>> {
    let mut replies = LastReplies::default();
    let mut ledger = LedgerTransaction::new(store.begin(1).unwrap(), &mut replies);
    match work.run(&mut ledger) {
        Ok(answer) => Some(Ok(answer)),
        Err(Failure::Answered(error)) => Some(Err(error)),
        Err(Failure::Store(_)) => None,
    }
}

/// Whether the damage lost the end of the log, so that rows may be in a state that they had before.
fn is_cut(store: &SqliteStore, before: &[String]) -> bool {
    let is_cut = |what: &String| what.contains("write-ahead log") && !what.contains("restored");
    store.damage().iter().chain(before).any(is_cut)
}

/// Compares the rows that are served, and returns those that are not.
fn served(template: &Template, store: &mut SqliteStore, before: &[String]) -> Result<Missing, String> {
    let is_cut = is_cut(store, before);
    let mut missing = Missing::new();
    let mut seen = std::collections::BTreeSet::new();
    for state in EVERY_EVENT {
        let list = ListInbound { share: DispatchShare::ALL, states: vec![state], after: None, limit: usize::MAX };
        let Some(rows) = ask(store, &list) else {
            continue;
        };
        for row in rows.map_err(|error| error.to_string())? {
            let Some(right) = template.inbound.get(&row.id.0) else {
                return Err(format!("{row:?} was never recorded"));
            };
            let earlier = InboundRow { state: right.state, attempts: right.attempts, ..row.clone() };
            let may_be = is_cut
                && earlier == *right
                && (template.had.inbound.contains(&(row.id.0, row.state)) || row.state == InboundState::Interrupted);
            if row != *right && !may_be {
                return Err(format!("{row:?} is served in place of {right:?}"));
            }
            seen.insert(row.id.0);
        }
    }
    missing.extend(template.inbound.keys().filter(|id| !seen.contains(id)).map(|id| ("inbound", *id)));
    seen.clear();
    for state in EVERY_REPLY {
        let list = ListOutbound { states: vec![state], after: None, limit: usize::MAX };
        let Some(rows) = ask(store, &list) else {
            continue;
        };
        for row in rows.map_err(|error| error.to_string())? {
            let Some(right) = template.outbound.get(&row.id.0) else {
                return Err(format!("{row:?} was never recorded"));
            };
            let earlier = OutboundRow { state: right.state, attempts: right.attempts, ..row.clone() };
            let may_be = is_cut
                && earlier == *right
                && (template.had.outbound.contains(&(row.id.0, row.state)) || row.state == OutboundState::Ambiguous);
            if row != *right && !may_be {
                return Err(format!("{row:?} is served in place of {right:?}"));
            }
            seen.insert(row.id.0);
        }
    }
    missing.extend(template.outbound.keys().filter(|id| !seen.contains(id)).map(|id| ("outbound", *id)));
    for chat in 0..CHATS {
        let name = format!("chat-{chat}");
        let Some(entries) = ask(store, &LoadHistory { session: session(&name), limit: 100 }) else {
            continue;
        };
        let entries: Vec<_> =
            entries.map_err(|error| error.to_string())?.into_iter().map(|entry| entry.content).collect();
        let right = &template.history[chat];
        let mut left = right.iter();
        let is_part = entries.iter().all(|entry| left.any(|right| right == entry));
        if !is_part && !is_cut {
            return Err(format!("{entries:?} is served in place of {right:?}"));
        }
        if entries != *right {
            missing.push(("history", ANY));
        }
    }
    Ok(missing)
}

/// Records every event again, and others. Returns the rows that are not found.
fn keys(template: &Template, store: &mut SqliteStore, before: &[String]) -> Result<Missing, String> {
    let is_cut = is_cut(store, before);
    let mut missing = Missing::new();
    for (again, id) in &template.recorded {
        match ask(store, again) {
            Some(Ok(Recorded::Duplicate { id: found, state })) => {
                let right = template.inbound[&id.0].state;
                let is_corrupt = store.opened.rows.corrupt.has("inbound", id.0);
                if found != *id || (state != right && !is_cut && !is_corrupt) {
                    return Err(format!("{id:?} in state {right:?} is found as {found:?} in state {state:?}"));
                }
            }
            Some(Ok(Recorded::New(_))) | None => missing.push(("inbound", id.0)),
            Some(Err(error)) => return Err(format!("{id:?}: {error}")),
        }
    }
    for number in NEVER..NEVER + 20 {
        if let Some(Ok(Recorded::Duplicate { id, .. })) = ask(store, &event(number)) {
            return Err(format!("an event that was never recorded is a duplicate of {id:?}"));
        }
    }
    Ok(missing)
}
