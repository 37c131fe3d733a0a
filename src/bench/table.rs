//! The figures as a table, for a terminal and for a document.

use std::fmt::Write as _;

use super::figure::{Figure, Goal, Report};
use super::rows::ROWS;

/// The rows that can be run, a line each.
pub(crate) fn list() -> String {
    ROWS.iter().fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "{:16} {}", row.name, row.about);
        text
    })
}

/// The figures of one run, a line each.
pub(crate) fn terminal(report: &Report) -> String {
    let mut text = String::new();
    for figure in &report.figures {
        let what = format!("{} {}", figure.row, figure.case);
        let met = match figure.is_met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        let (number, goal) = (format!("{} {}", digits(figure.value), figure.unit), goal(figure));
        let _ = writeln!(text, "{:<34} {:<32} {number:>18}   {goal:<10} {met}", what.trim(), figure.name);
    }
    for failed in &report.failed {
        let _ = writeln!(text, "{:<34} failed: {}", failed.row, failed.error);
    }
    text
}

/// One table of several runs, oldest first, a column each.
pub(crate) fn markdown(reports: &[Report]) -> String {
    let mut text = String::from("| row | figure | goal |");
    for report in reports {
        let _ = write!(text, " {} |", report.commit.as_deref().unwrap_or(&report.begun));
    }
    text.push_str("\n|---|---|---|");
    text.push_str(&"---:|".repeat(reports.len()));
    text.push('\n');
    for figure in lines(reports) {
        let what = format!("{} {}", figure.row, figure.case);
        let _ = write!(text, "| {} | {}, {} | {} |", what.trim(), figure.name, unit(figure), goal(figure));
        for report in reports {
            let found = report.figures.iter().find(|other| is_same(other, figure));
            let value = found.map_or_else(|| "–".to_owned(), shown);
            let _ = write!(text, " {value} |");
        }
        text.push('\n');
    }
    for report in reports {
        let machine = &report.machine;
        let name = report.commit.as_deref().unwrap_or("unknown commit");
        let short = if report.short { ", short form" } else { "" };
        let _ = write!(
            text,
            "\n- `{name}`: {}{short}, {} cores, {}, Linux {}",
            report.begun, machine.cores, machine.processor, machine.kernel
        );
    }
    text.push('\n');
    text
}

/// Each figure of any report once, in the order of the last report.
fn lines(reports: &[Report]) -> Vec<&Figure> {
    let mut lines: Vec<&Figure> = Vec::new();
    for figure in reports.iter().rev().flat_map(|report| &report.figures) {
        if !lines.iter().any(|line| is_same(line, figure)) {
            lines.push(figure);
        }
    }
    lines
}

fn is_same(one: &Figure, other: &Figure) -> bool {
    (&one.row, &one.case, &one.name) == (&other.row, &other.case, &other.name)
}

fn shown(figure: &Figure) -> String {
    let value = digits(figure.value);
    if figure.is_met() == Some(false) { format!("**{value}**") } else { value }
}

fn unit(figure: &Figure) -> &str {
    if figure.unit.is_empty() { "number" } else { &figure.unit }
}

fn goal(figure: &Figure) -> String {
    match figure.goal {
        Some(Goal::AtMost(most)) => format!("≤ {}", digits(most)),
        Some(Goal::AtLeast(least)) => format!("≥ {}", digits(least)),
        None => String::new(),
    }
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Machine;

    fn report(commit: &str, value: f64) -> Report {
        let machine = Machine { processor: "a processor".to_owned(), cores: 2, kernel: "6.1".to_owned() };
        let figures =
            vec![Figure::new("turn", "64 in flight", "gateway CPU a turn", value, "µs").goal(Goal::AtMost(40.0))];
        let (commit, begun) = (Some(commit.to_owned()), "2026-11-27T10:00:00Z".to_owned());
        Report { commit, version: "0.1.0".to_owned(), begun, short: false, machine, figures, failed: Vec::new() }
    }

    #[test]
    fn a_table_has_a_column_for_each_run_and_marks_what_misses_its_goal() {
        let text = markdown(&[report("aaa", 512.4), report("bbb", 39.96)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "| row | figure | goal | aaa | bbb |");
        assert_eq!(lines[2], "| turn 64 in flight | gateway CPU a turn, µs | ≤ 40.0 | **512** | 40.0 |");
        assert_eq!(lines[4], "- `aaa`: 2026-11-27T10:00:00Z, 2 cores, a processor, Linux 6.1");
    }

    #[test]
    fn a_figure_that_only_one_run_has_leaves_the_other_columns_empty() {
        let mut later = report("bbb", 1.0);
        later.figures[0].case = "1 in flight".to_owned();
        let text = markdown(&[report("aaa", 2.0), later]);
        assert!(text.contains("| turn 1 in flight | gateway CPU a turn, µs | ≤ 40.0 | – | 1.00 |"), "{text}");
        assert!(text.contains("| turn 64 in flight | gateway CPU a turn, µs | ≤ 40.0 | 2.00 | – |"), "{text}");
    }

    #[test]
    fn a_report_survives_its_file() {
        let report = report("aaa", 1.5);
        let read: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(read, report);
    }
}
