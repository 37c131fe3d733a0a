//! `caduceus ledger show`.

use std::process::ExitCode;

use caduceus_contract::api::ledger::{RowDetail, RowId, RowWriter};
use jiff::Timestamp;
use serde_json::json;

use super::access::{LedgerAccess, ShownText};
use super::shown::{age, or_dash};
use crate::cli::contact::{CommandError, GatewaySelector};
use crate::out::{print, print_json};
use crate::terminal::one_line;

#[derive(Debug, clap::Args)]
pub(super) struct ShowArguments {
    #[command(flatten)]
    pub(super) gateway: GatewaySelector,
    #[command(flatten)]
    pub(super) row: ShownRow,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShownRow {
    /// The row: in-N is an event, out-N a reply.
    #[arg(value_name = "ID")]
    id: RowId,
    /// Print its text as well, which is personal data; needs the token of the gateway. Known secrets are redacted.
    #[arg(long)]
    text: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(ledger: &LedgerAccess, shown: &ShownRow) -> Result<ExitCode, CommandError> {
    let text = if shown.text { ShownText::With } else { ShownText::Without };
    let detail = ledger.show(shown.id, text).await?;
    if shown.json {
        print_json(&json!(detail), true);
    } else {
        print(&lines(&detail));
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(detail: &RowDetail) -> String {
    let row = &detail.row;
    let text = |text: &Option<String>| text.as_deref().map(|text| or_dash(Some(text)));
    let at = |at_ms: Option<i64>| Some(time(at_ms?));
    let age = row.age_ms.map(age);
    let mut fields: Vec<(&str, Option<String>)> = vec![
        ("row", Some(row.id.to_string())),
        ("state", Some(row.state.word().to_owned())),
        ("note", text(&row.note)),
        ("error", text(&detail.error)),
        ("sent again", detail.sent_again_as.map(|reply| format!("as {reply}"))),
        ("profile", text(&row.profile)),
        ("link", text(&row.link)),
        ("gateway", text(&detail.gateway)),
        ("platform", text(&row.platform)),
        ("chat", text(&row.chat_id)),
        ("thread", text(&row.thread_id)),
        ("scope", text(&detail.scope_id)),
        ("bot", text(&detail.bot_id)),
        ("user", text(&detail.user_id)),
        ("message", text(&detail.message_id)),
        ("session", text(&detail.session)),
        ("answers", detail.answers.map(|event| event.to_string())),
        ("turn", text(&detail.turn)),
        ("attempts", row.attempts.map(|attempts| attempts.to_string())),
        ("arrived", at(detail.arrived_at_ms)),
        ("recorded", at(row.recorded_at_ms).map(|at| format!("{at}, {} ago", age.unwrap_or_default()))),
        ("begun", at(detail.begun_at_ms)),
        ("sent", at(detail.sent_at_ms)),
        ("changed", at(detail.changed_at_ms)),
        ("recorded by", detail.recorded_by.as_ref().map(writer)),
        ("changed by", detail.changed_by.as_ref().map(writer)),
        ("bytes", detail.text_bytes.map(|bytes| bytes.to_string())),
    ];
    // In full, and in one line: it is JSON.
    fields.push(("text", detail.text.clone()));
    let line = |(name, value): (&str, Option<String>)| Some(format!("{name:<12} {}\n", value?));
    fields.into_iter().filter_map(line).collect()
}

fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| format!("{at_ms} ms"), |at| at.to_string())
}

fn writer(writer: &RowWriter) -> String {
    let host = writer.host.as_deref().map_or_else(|| "an unknown host".to_owned(), one_line);
    let since = writer.started_at_ms.map(|at| format!(", started {}", time(at))).unwrap_or_default();
    format!("term {} on {host}{since}", writer.term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_of_a_row_is_printed() {
        let corrupt = RowDetail::corrupt("in-3".parse().unwrap());
        assert_eq!(lines(&corrupt), "row          in-3\nstate        corrupt\n");
        let known = RowDetail {
            user_id: Some("ann".to_owned()),
            changed_at_ms: Some(1_000),
            recorded_by: Some(RowWriter { term: 2, host: Some("h".to_owned()), started_at_ms: Some(0) }),
            ..corrupt
        };
        let expected = "row          in-3\nstate        corrupt\nuser         ann\nchanged      1970-01-01T00:00:01Z\n\
                        recorded by  term 2 on h, started 1970-01-01T00:00:00Z\n";
        assert_eq!(lines(&known), expected);
    }
}
