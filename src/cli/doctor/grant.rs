//! Findings about a profile's grant on disk. Pure.

use caduceus_actors::honcho::inspect::{Credential, GrantInspection};
use caduceus_contract::messages::honcho::GrantState;

use crate::cli::finding::{Finding, quoted};

/// A finding for each thing that is wrong; none for a good grant, or without a grant.
pub(super) fn findings(grant: &GrantInspection) -> Vec<Finding> {
    let path = &grant.path;
    let mut found = Vec::new();
    match &grant.credential {
        Credential::None | Credential::ApiKey => {}
        Credential::Unusable(why) => {
            let detail = format!("the grant's file cannot be used, and is not changed: {why}");
            let remedy = format!("make {} a JSON file that the gateway's user can read and write", quoted(path));
            found.push(Finding::error("grant_file", detail, remedy));
        }
        Credential::Grant { state, doubt, .. } => found.extend(state_of(*state, doubt.as_deref(), &grant.host)),
    }
    if matches!(grant.credential, Credential::Grant { .. }) && !grant.replaceable {
        let detail = format!("{} cannot be replaced, so its grant is not refreshed", path.display());
        let remedy = "let the gateway's user write the file and its directory, on a disk that is not read-only";
        found.push(Finding::error("grant_read_only", detail, remedy));
    }
    if let Some(kept) = &grant.kept {
        let detail = format!("a grant that could not be saved in its file is kept in {}", kept.display());
        let remedy =
            format!("correct {}; the next refresh takes over the kept grant, a login replaces it", quoted(path));
        found.push(Finding::warn("grant_kept", detail, remedy));
    }
    found
}

fn state_of(state: GrantState, doubt: Option<&str>, host: &str) -> Option<Finding> {
    let (finding, code, detail): (fn(_, _, _) -> _, _, _) = match state {
        GrantState::ReauthRequired => (Finding::error, "grant_reauth_required", "is spent or revoked"),
        GrantState::Uncertain => (Finding::warn, "grant_uncertain", "may be spent"),
        GrantState::None
        | GrantState::Fresh
        | GrantState::Refreshing
        | GrantState::Backoff
        | GrantState::Unreadable => return None,
    };
    let doubt = doubt.map(|doubt| format!(": {doubt}")).unwrap_or_default();
    Some(finding(code, format!("the grant of {host} {detail}{doubt}"), state.remedy().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(credential: Credential) -> GrantInspection {
        GrantInspection {
            path: "/h/honcho.json".into(),
            host: "hermes".into(),
            credential,
            replaceable: true,
            kept: None,
        }
    }

    fn in_state(state: GrantState) -> GrantInspection {
        fact(Credential::Grant {
            client_id: "c".into(),
            scope: "write".into(),
            expires_in_s: 9,
            last_refresh_age_s: None,
            state,
            doubt: None,
        })
    }

    fn codes(fact: &GrantInspection) -> Vec<&'static str> {
        findings(fact).iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_valid_grant_is_no_finding_and_each_problem_is_one_with_a_remedy() {
        assert!(codes(&fact(Credential::None)).is_empty() && codes(&fact(Credential::ApiKey)).is_empty());
        let cases = [
            (GrantState::Fresh, vec![]),
            (GrantState::Uncertain, vec!["grant_uncertain"]),
            (GrantState::ReauthRequired, vec!["grant_reauth_required"]),
        ];
        for (state, expected) in cases {
            let fact = in_state(state);
            assert_eq!(codes(&fact), expected);
            let remedies = findings(&fact).into_iter().filter_map(|finding| finding.remedy);
            assert!(remedies.into_iter().all(|remedy| remedy.contains("caduceus honcho login")));
        }
        assert_eq!(codes(&fact(Credential::Unusable("line 1".into()))), ["grant_file"]);
        let read_only = GrantInspection { replaceable: false, ..in_state(GrantState::Fresh) };
        assert_eq!(codes(&read_only), ["grant_read_only"]);
        let kept = GrantInspection { kept: Some("/h/honcho.json.kept-hermes".into()), ..fact(Credential::None) };
        assert_eq!(codes(&kept), ["grant_kept"]);
    }
}
