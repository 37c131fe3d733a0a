//! `caduceus honcho status`: the grants as the files hold them.

use std::fmt::Write as _;
use std::process::ExitCode;

use caduceus_actors::honcho::inspect::{Credential, GrantInspection, inspect};
use caduceus_actors::honcho::location::HonchoProfile;
use caduceus_actors::honcho::refresh::unix_now_ms;
use caduceus_contract::messages::honcho::GrantState;
use caduceus_contract::profile_name::ProfileName;
use serde_json::{Value, json};

use super::grant_selector::GrantSelector;
use super::time::approximate;
use crate::cli::each_home::each_home;
use crate::out::{print, print_json};
use crate::terminal::one_line;

/// Exit code: a person has to act.
const ACT: u8 = 1;

/// Show the Honcho credential of each profile and the state of its grant. Never shows a token.
///
/// Exits with 0 if no action is needed, with 1 if one is, with 78 if the home cannot be used.
#[derive(Debug, clap::Args)]
pub(super) struct GrantStatusArguments {
    #[command(flatten)]
    selector: GrantSelector,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: GrantStatusArguments) -> ExitCode {
    let one = arguments.selector.profile.is_some();
    let (settings, profile) = match arguments.selector.find() {
        Ok(found) => found,
        Err(code) => return code,
    };
    let served = settings
        .profiles
        .iter()
        .map(|profile| HonchoProfile::new(profile.name.clone(), &profile.home, &settings.home, &settings.environment));
    let profiles: Vec<HonchoProfile> = if one { vec![profile] } else { served.collect() };
    let now_ms = unix_now_ms();
    let inspected = each_home(&profiles, |profile| &profile.homes.own, move |profile| inspect(profile, now_ms));
    let grants = profiles.into_iter().zip(inspected).map(|(profile, grant)| {
        (grant.unwrap_or_else(|error| GrantInspection::unanswered(&profile, error.to_string())), profile.name)
    });
    let grants: Vec<_> = grants.collect();
    if arguments.json {
        let list: Vec<Value> = grants.iter().map(|(grant, name)| as_json(grant, name)).collect();
        print_json(&json!({"home": settings.home.display().to_string(), "grants": list}), true);
    } else {
        print(&grants.iter().map(|(grant, name)| as_text(grant, name)).collect::<Vec<_>>().join("\n"));
    }
    let none_to_act_on = grants.iter().all(|(grant, _)| remedy(grant).is_none());
    if none_to_act_on { ExitCode::SUCCESS } else { ExitCode::from(ACT) }
}

fn state(grant: &GrantInspection) -> GrantState {
    match &grant.credential {
        Credential::None | Credential::ApiKey => GrantState::None,
        Credential::Grant { state, .. } => *state,
        Credential::Unusable(_) => GrantState::Unreadable,
    }
}

fn remedy(grant: &GrantInspection) -> Option<&'static str> {
    let read_only = "let the gateway's user write the file and its directory";
    let is_grant = matches!(grant.credential, Credential::Grant { .. });
    state(grant).remedy().or_else(|| (is_grant && !grant.replaceable).then_some(read_only))
}

fn as_json(grant: &GrantInspection, name: &ProfileName) -> Value {
    let mut shown = json!({
        "profile": name,
        "file": grant.path.display().to_string(),
        "host": grant.host,
        "credential": match grant.credential {
            Credential::None => "none",
            Credential::ApiKey => "api_key",
            Credential::Grant { .. } => "oauth",
            Credential::Unusable(_) => "unreadable",
        },
        "state": state(grant),
        "kept_beside": grant.kept.as_ref().map(|path| path.display().to_string()),
        "remedy": remedy(grant),
    });
    match &grant.credential {
        Credential::Grant { client_id, scope, expires_in_s, last_refresh_age_s, .. } => {
            shown["client_id"] = json!(client_id);
            shown["scope"] = json!(scope);
            shown["expires_in_s"] = json!(expires_in_s);
            shown["last_refresh_age_s"] = json!(last_refresh_age_s);
        }
        Credential::Unusable(why) => shown["error"] = json!(why),
        Credential::None | Credential::ApiKey => {}
    }
    shown
}

fn as_text(grant: &GrantInspection, name: &ProfileName) -> String {
    let mut text = format!("profile {name}, host {} in {}\n", one_line(&grant.host), grant.path.display());
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<13} {}", one_line(value));
    };
    match &grant.credential {
        Credential::None => line("credential", "none; `caduceus honcho login` makes one"),
        Credential::ApiKey => line("credential", "an API key"),
        Credential::Unusable(why) => {
            line("credential", "unknown");
            line("error", why);
        }
        Credential::Grant { client_id, scope, expires_in_s, last_refresh_age_s, .. } => {
            line("credential", "OAuth grant");
            line("client", client_id);
            line("scope", scope);
            let left = u64::try_from(*expires_in_s).map_or_else(|_| "expired".to_owned(), approximate);
            line("time left", &left);
            let last = last_refresh_age_s.map(|age| format!("{} ago", approximate(age)));
            line("last refresh", last.as_deref().unwrap_or("none recorded"));
        }
    }
    if let Some(kept) = &grant.kept {
        line("kept beside", &kept.display().to_string());
    }
    line("state", &state_text(grant));
    if let Some(remedy) = remedy(grant) {
        line("do", remedy);
    }
    text
}

fn state_text(grant: &GrantInspection) -> String {
    let word = match state(grant) {
        GrantState::None => "none",
        GrantState::Fresh => "good",
        GrantState::Refreshing => "refreshing",
        GrantState::Backoff => "backoff",
        GrantState::Uncertain => "uncertain",
        GrantState::ReauthRequired => "reauth_required: the refresh token is spent or revoked",
        GrantState::Unreadable => "unreadable",
    };
    match &grant.credential {
        Credential::Grant { doubt: Some(doubt), .. } => format!("{word}: {doubt}"),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(state: GrantState, replaceable: bool) -> GrantInspection {
        let credential = Credential::Grant {
            client_id: "me".into(),
            scope: "write".into(),
            expires_in_s: -5,
            last_refresh_age_s: Some(300),
            state,
            doubt: (state == GrantState::Uncertain).then(|| "the answer cannot be used: it is not JSON".into()),
        };
        GrantInspection { path: "/h/honcho.json".into(), host: "hermes".into(), credential, replaceable, kept: None }
    }

    #[test]
    fn every_field_of_a_grant_is_shown_in_both_forms() {
        let text = as_text(&grant(GrantState::ReauthRequired, true), &ProfileName::default_profile());
        for words in ["OAuth grant", "me", "write", "expired", "5 min ago", "reauth_required", "honcho login"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let text = as_text(&grant(GrantState::Uncertain, true), &ProfileName::default_profile());
        for words in ["uncertain", "the answer cannot be used: it is not JSON", "honcho login"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let shown = as_json(&grant(GrantState::Uncertain, true), &ProfileName::default_profile());
        let expected = json!({"profile": "default", "file": "/h/honcho.json", "host": "hermes", "credential": "oauth",
            "state": "uncertain", "kept_beside": null, "remedy": GrantState::Uncertain.remedy(), "client_id": "me",
            "scope": "write", "expires_in_s": -5, "last_refresh_age_s": 300});
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_has_a_remedy_though_its_grant_is_good() {
        assert_eq!(remedy(&grant(GrantState::Fresh, true)), None);
        assert!(remedy(&grant(GrantState::Fresh, false)).is_some());
    }
}
