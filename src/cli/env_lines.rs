//! Findings about the lines of a `.env`: values that other programs parse differently, and names that are not read. Pure; no finding
//! contains a value.

use caduceus_actors::profile::env_file::{Ambiguity, EnvFile};
use caduceus_actors::profile::globals::{is_unused, nearest_known};
use caduceus_actors::profile::inspect::Missing;

use super::finding::{Finding, shown};

/// The findings of one profile; `missing` are the names that its configuration needs and it lacks.
pub(super) fn findings(own: &EnvFile, missing: &[Missing]) -> Vec<Finding> {
    let values = own.ambiguities().map(|(name, ambiguity)| of_value(name, ambiguity));
    let names = own.names().filter_map(|name| of_name(name, own, missing));
    values.chain(names).collect()
}

fn of_value(name: &str, ambiguity: Ambiguity) -> Finding {
    let name = shown(name);
    match ambiguity {
        Ambiguity::OpenQuote => Finding::warn(
            "env_open_quote",
            format!(
                "the value of {name} in .env begins with a quote that is not closed on its line; the quote is part of it"
            ),
            "write the value on one line and close the quote; put a key of several lines into a file and its path into .env",
        ),
        Ambiguity::Comment => Finding::warn(
            "env_comment",
            format!("the value of {name} in .env is followed by what looks like a comment, which is part of it"),
            "put the comment on a separate line, or the value into quotes if it contains the character",
        ),
        Ambiguity::Backticks => Finding::warn(
            "env_backticks",
            format!("the value of {name} in .env is in backticks, which are part of it"),
            "take the backticks away, or write plain quotes",
        ),
        Ambiguity::Reference => Finding::warn(
            "env_reference",
            format!("the value of {name} in .env refers to another variable, which is not substituted"),
            "write the value in full, or put it into single quotes if it is literal",
        ),
        Ambiguity::UnusualCharacter => Finding::warn(
            "env_odd_character",
            format!("{name} in .env contains an invisible character or a typographic quote"),
            "type the line again with plain quotes, or without quotes",
        ),
    }
}

fn of_name(name: &str, own: &EnvFile, missing: &[Missing]) -> Option<Finding> {
    const CODE: &str = "env_unknown_name";
    // A name that is there under its right spelling too was not mistyped.
    let meant = nearest_known(name, missing.iter().map(|missing| missing.name.as_str()));
    if let Some(meant) = meant.filter(|meant| own.get(meant).is_none()) {
        let detail = format!("{} in .env is not read; was {} meant?", shown(name), shown(meant));
        return Some(Finding::warn(CODE, detail, "write the name as the gateway reads it"));
    }
    is_unused(name).then(|| {
        let detail = format!("{} in .env is not read", shown(name));
        Finding::warn(CODE, detail, "remove it, or find the intended name in docs/configuration.md")
    })
}

#[cfg(test)]
mod tests {
    use caduceus_actors::profile::env_file::parse;

    use super::*;

    fn codes(env: &str, needed: &[&str]) -> Vec<&'static str> {
        let missing: Vec<_> =
            needed.iter().map(|name| Missing { key: "agent.api_key_env", name: (*name).to_owned() }).collect();
        findings(&parse(env), &missing).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn every_problem_of_a_line_is_a_finding_without_the_value() {
        assert_eq!(codes("K=\"-----BEGIN\n", &[]), ["env_open_quote"]);
        assert_eq!(codes("K=hunter2 # mine\n", &[]), ["env_comment"]);
        assert_eq!(codes("K=hunter2\u{200b}\n", &[]), ["env_odd_character"]);
        assert_eq!(codes("K=`hunter2`\n", &[]), ["env_backticks"]);
        assert_eq!(codes("BASE=x\nK=${BASE}-hunter2\n", &[]), ["env_reference"]);
        assert_eq!(codes("GATEWAY_RELAY_SECERT=x\n", &[]), ["env_unknown_name"]);
        assert_eq!(codes("GATEWAY_RELAY_TOKEN=x\n", &[]), ["env_unknown_name"]);
        assert_eq!(codes("openai_api_key=x\n", &["OPENAI_API_KEY"]), ["env_unknown_name"]);
        let shown = format!("{:?}", findings(&parse("K=\"hunter2\nL=hunter2 # x\nM=`hunter2`\nN=${A}hunter2\n"), &[]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_name_is_not_reported_if_the_similar_name_is_set_too() {
        assert!(codes("GATEWAY_RELAY_PLATFORM=a\nGATEWAY_RELAY_PLATFORMS=b\nOPENAI_API_KEY=x\nHONCHO_API_KEI=y\nHONCHO_API_KEY=z\n", &[]).is_empty());
        assert!(codes("ANYTHING=x\nOF_MINE=y\n", &["OPENAI_API_KEY"]).is_empty());
    }
}
