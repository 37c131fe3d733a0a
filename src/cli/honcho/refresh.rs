//! `caduceus honcho refresh`: one refresh now, under the same lock and rules as the gateway's own.

use std::process::ExitCode;

use caduceus_actors::honcho::grant::Grant;
use caduceus_actors::honcho::inspect::{Credential, inspect};
use caduceus_actors::honcho::outcome::RefreshOutcome;
use caduceus_actors::honcho::refresh::{Refresh, RefreshTimeouts, unix_now_ms};
use caduceus_actors::honcho::steps::StepHook;
use caduceus_actors::honcho::store;
use caduceus_actors::honcho::verdict::RefreshReason;
use caduceus_actors::profile::Redactor;

use super::grant_selector::GrantSelector;
use super::time::approximate;
use crate::cli::{CONFIGURATION, DENIED, TRY_AGAIN};
use crate::out::{self, print};

/// Refresh a grant now, if it is about to expire.
///
/// Exits with 0 if the token is valid afterwards, with 75 after a temporary failure, with 77 if a login is needed,
/// with 78 if there is no grant or its file cannot be used.
#[derive(Debug, clap::Args)]
pub(super) struct RefreshGrantArguments {
    #[command(flatten)]
    selector: GrantSelector,
    /// Refresh even if the token is still valid, and even if its refresh token may be spent.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: RefreshGrantArguments) -> ExitCode {
    let (settings, profile) = match arguments.selector.find() {
        Ok(found) => found,
        Err(code) => return code,
    };
    let now_ms = unix_now_ms();
    let found = inspect(&profile, now_ms);
    if let Credential::Unusable(why) = &found.credential {
        return refuse(CONFIGURATION, &format!("the grant's file cannot be used: {why}"));
    }
    let known = store::read(&found.path).ok().flatten().and_then(|file| file.grant(&found.host));
    let Some(known) = known else {
        let why = match found.credential {
            Credential::ApiKey => "there is an API key and no grant; nothing to refresh",
            _ => "there is no grant; `caduceus honcho login` makes one",
        };
        return refuse(CONFIGURATION, why);
    };
    if !arguments.force && !known.is_expired(now_ms) {
        print(&format!("The token is valid for {}; --force refreshes it anyway.\n", left(&known)));
        return ExitCode::SUCCESS;
    }
    let refresh = Refresh {
        path: found.path,
        host: found.host,
        known: Some(known),
        unsaved: None,
        reason: if arguments.force { RefreshReason::Requested } else { RefreshReason::Due },
        timeouts: RefreshTimeouts::default(),
        client: settings.client.clone(),
        steps: StepHook::default(),
        redactor: Redactor::default(),
    };
    report(refresh.run().outcome)
}

fn report(outcome: RefreshOutcome) -> ExitCode {
    match outcome {
        RefreshOutcome::Rotated { grant, beside: None, .. } => {
            print(&format!("Refreshed; the new token is valid for {}.\n", left(&grant)));
            ExitCode::SUCCESS
        }
        RefreshOutcome::Rotated { beside: Some(path), .. } => {
            let why = "refreshed, but the file became unreadable; correct it, and the next refresh takes over the grant kept here";
            refuse(CONFIGURATION, &format!("{why}: {}", path.display()))
        }
        RefreshOutcome::Withheld { grant, .. } => {
            let why = "refreshed, but no new refresh token came; log in before the token expires, in";
            refuse(DENIED, &format!("{why} {}", left(&grant)))
        }
        RefreshOutcome::Adopted(grant) => {
            print(&format!("Another process has just refreshed it; the token is valid for {}.\n", left(&grant)));
            ExitCode::SUCCESS
        }
        RefreshOutcome::StillValid(grant) => {
            print(&format!("The token is valid for {}; --force refreshes it anyway.\n", left(&grant)));
            ExitCode::SUCCESS
        }
        RefreshOutcome::NoGrant => refuse(CONFIGURATION, "the grant was removed from the file meanwhile"),
        RefreshOutcome::Unreadable(why) => refuse(CONFIGURATION, &format!("the grant's file cannot be used: {why}")),
        RefreshOutcome::Failed(why) => refuse(TRY_AGAIN, &format!("not refreshed; the grant is unchanged: {why}")),
        RefreshOutcome::Denied { why, retry_in } => {
            let then = format!("try again in {} s; --force tries at once", retry_in.as_secs());
            refuse(TRY_AGAIN, &format!("not refreshed; the grant is unchanged: {why}; {then}"))
        }
        RefreshOutcome::Unsaved { why, .. } => {
            refuse(TRY_AGAIN, &format!("refreshed, but it cannot be saved, and so a login is needed: {why}"))
        }
        RefreshOutcome::Ambiguous { why, retry_in } => {
            let then = match retry_in {
                Some(wait) => format!("try again in {} s", wait.as_secs()),
                None => "--force tries it once more and may lose the grant; a login is safe".to_owned(),
            };
            refuse(TRY_AGAIN, &format!("the refresh token may be spent: {why}; {then}"))
        }
        RefreshOutcome::Refused { why, .. } => refuse(DENIED, &format!("{why}; run `caduceus honcho login`")),
    }
}

fn refuse(code: u8, why: &str) -> ExitCode {
    out::print_error(why);
    ExitCode::from(code)
}

fn left(grant: &Grant) -> String {
    approximate(u64::try_from(grant.left_ms(unix_now_ms()) / 1_000).unwrap_or(0))
}
