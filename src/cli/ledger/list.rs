//! `caduceus ledger list`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use caduceus_actors::time::now_ms;
use caduceus_contract::api::ledger::{RowState, RowSummary};
use caduceus_contract::messages::ledger_control::ListRows;
use caduceus_contract::profile_name::ProfileName;
use serde_json::json;

use super::access::LedgerAccess;
use super::shown::{StatesOfWord, age, or_dash, parse_age, parse_states};
use crate::cli::contact::{CommandError, GatewaySelector};
use crate::out::{self, print, print_json};

/// Rows of a page.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    pub(super) gateway: GatewaySelector,
    #[command(flatten)]
    pub(super) rows: ListedRows,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListedRows {
    /// Only rows in this state; may be repeated. By default all that wait, are in work, were interrupted or given up. `all`: every row.
    #[arg(long = "state", value_name = "STATE", value_parser = parse_states)]
    states: Vec<StatesOfWord>,
    /// Only rows of this profile.
    #[arg(long, value_name = "NAME", value_parser = ProfileName::parse)]
    profile: Option<ProfileName>,
    /// Only rows that are older, such as 90s, 15m, 12h or 7d.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Print at most this many rows.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Print one JSON object for each row.
    #[arg(long)]
    json: bool,
}

impl ListedRows {
    fn request(&self) -> ListRows {
        let states: Vec<RowState> = match &self.states[..] {
            [] => RowState::OPEN_OR_DEAD.to_vec(),
            given => given.iter().flat_map(|StatesOfWord(states)| states.iter().copied()).collect(),
        };
        let before = self.older_than.map(|age| now_ms() - i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let profile = self.profile.clone();
        ListRows { states, profile, person: None, recorded_before_ms: before, after: None, limit: PAGE }
    }
}

pub(super) async fn run(ledger: &LedgerAccess, rows: &ListedRows) -> Result<ExitCode, CommandError> {
    let list = rows.request();
    let (mut left, mut after) = (rows.limit, None);
    loop {
        let page = ledger.list(ListRows { after, ..list.clone() }).await?;
        for row in page.rows {
            if left == 0 {
                out::print_error(&format!("there are more rows than --limit {}", rows.limit));
                return Ok(ExitCode::SUCCESS);
            }
            if left == rows.limit && !rows.json {
                print(&line(["ROW", "STATE", "AGE", "PROFILE", "ATTEMPTS", "CHAT"], ""));
            }
            left -= 1;
            if rows.json { print_json(&json!(row), false) } else { print(&shown(&row)) }
        }
        after = page.next;
        if after.is_none() {
            if left == rows.limit && !rows.json {
                print("no rows\n");
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn shown(row: &RowSummary) -> String {
    let (id, age) = (row.id.to_string(), row.age_ms.map_or_else(|| "-".to_owned(), age));
    let attempts = row.attempts.map_or_else(|| "-".to_owned(), |attempts| attempts.to_string());
    let (profile, platform) = (or_dash(row.profile.as_deref()), or_dash(row.platform.as_deref()));
    let mut chat = format!("{platform}/{}", or_dash(row.chat_id.as_deref()));
    if row.thread_id.is_some() {
        // Writing to a `String` cannot fail.
        let _ = write!(chat, "/{}", or_dash(row.thread_id.as_deref()));
    }
    let note = row.note.as_ref().map(|note| format!("  ({})", or_dash(Some(note)))).unwrap_or_default();
    line([&id, row.state.word(), &age, &profile, &attempts, &chat], &note)
}

fn line([id, state, age, profile, attempts, chat]: [&str; 6], note: &str) -> String {
    format!("{id:<10} {state:<11} {age:>4}  {profile:<12} {attempts:>8}  {chat}{note}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_whatever_its_chat_is_called() {
        let row = RowSummary {
            state: RowState::Dead,
            profile: Some("work".to_owned()),
            platform: Some("discord".to_owned()),
            chat_id: Some("a\nb\u{1b}[2J".to_owned()),
            thread_id: Some("t".to_owned()),
            attempts: Some(3),
            age_ms: Some(7_200_000),
            note: Some("too many attempts".to_owned()),
            ..RowSummary::corrupt("in-42".parse().unwrap())
        };
        let expected =
            r"in-42      dead          2h  work                3  discord/a\u{a}b\u{1b}[2J/t  (too many attempts)";
        assert_eq!(shown(&row), format!("{expected}\n"));
        let corrupt = shown(&RowSummary::corrupt("out-7".parse().unwrap()));
        assert_eq!(corrupt, "out-7      corrupt        -  -                   -  -/-\n");
    }
}
