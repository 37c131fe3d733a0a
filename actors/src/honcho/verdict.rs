//! Whether a refresh exchanges the token in the file: one decision, under the lock. No clock, no disk.

use std::time::Duration;

use super::grant::Grant;
use super::held::REFRESH_MARGIN;
use super::note::{EXCHANGE_FLOOR, PresentationVerdict, TokenNote, verdict};
use super::store::same_tokens;

/// Why a refresh runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefreshReason {
    /// A person requested it. Waits that prevent bursts do not apply.
    Requested,
    /// The known grant is due by the caller's clocks, or a requested refresh failed and is tried again.
    Due,
    /// The file or a doubt is to be examined under the lock. A token that is still valid is not exchanged.
    Recheck,
}

/// What a refresh does with the grant in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExchangeVerdict {
    /// It presents the refresh token.
    Exchange,
    /// Another process rotated it: it is used as it is.
    Adopt,
    /// It is valid for longer than [`REFRESH_MARGIN`], and an exchange was not requested: it is used as it is.
    StillValid,
    /// The server refused recently; a try is due after this time.
    Denied(Duration),
    /// The refresh token may be spent; one more try is due after this time. `None`: only a person's request presents it again.
    InDoubt(Option<Duration>),
    /// The refresh token is spent or refused.
    Spent,
}

/// The grant in the file, read under the lock, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct GrantUnderLock<'a> {
    pub(super) current: &'a Grant,
    /// The grant as the caller last saw it; `None` if unknown.
    pub(super) known: Option<&'a Grant>,
    /// The host's note.
    pub(super) note: Option<&'a TokenNote>,
    /// How long the token still waits for its server.
    pub(super) server_wait: Option<Duration>,
    /// Unix milliseconds.
    pub(super) now_ms: i64,
}

impl GrantUnderLock<'_> {
    /// What a refresh does. `retry_wait` is the wait before a token that may be spent is presented once more.
    pub(super) fn verdict(&self, reason: RefreshReason, retry_wait: Duration) -> ExchangeVerdict {
        let Self { current, known, note, server_wait, now_ms } = *self;
        let by_person = reason == RefreshReason::Requested;
        let rotated = known.is_some_and(|known| !same_tokens(known, current));
        if rotated && current.left_ms(now_ms) > -in_millis(EXCHANGE_FLOOR) {
            return ExchangeVerdict::Adopt;
        }
        match verdict(note, &current.refresh_token, now_ms / 1_000, by_person, retry_wait) {
            PresentationVerdict::TooSoon(_) => ExchangeVerdict::Adopt,
            PresentationVerdict::Wait(left) => ExchangeVerdict::InDoubt(Some(left)),
            PresentationVerdict::Withhold => ExchangeVerdict::InDoubt(None),
            PresentationVerdict::Spent => ExchangeVerdict::Spent,
            PresentationVerdict::Present if !self.is_needed(reason) => ExchangeVerdict::StillValid,
            PresentationVerdict::Present => match server_wait {
                Some(left) if !by_person => ExchangeVerdict::Denied(left),
                _ => ExchangeVerdict::Exchange,
            },
        }
    }

    fn is_needed(&self, reason: RefreshReason) -> bool {
        let Self { current, known, note, .. } = *self;
        // A grant that was written since has an expiry of its own.
        let is_known = known.is_some_and(|known| same_tokens(known, current) && known.expires_with(current));
        let in_doubt = note.is_some_and(|note| note.is_about(&current.refresh_token));
        let due = match reason {
            RefreshReason::Requested => true,
            RefreshReason::Due => is_known,
            RefreshReason::Recheck => false,
        };
        due || in_doubt || current.left_ms(self.now_ms) <= in_millis(REFRESH_MARGIN)
    }
}

fn in_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::note::TokenOutcome;
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;
    const NOW_S: i64 = NOW_MS / 1_000;
    const RETRY_WAIT: Duration = Duration::from_mins(1);
    const REASONS: [RefreshReason; 3] = [RefreshReason::Requested, RefreshReason::Due, RefreshReason::Recheck];

    fn grant(number: u32, left_s: i64) -> Grant {
        Grant {
            access_token: format!("hch-at-{number}").into(),
            refresh_token: format!("hch-rt-{number}").into(),
            expires_at_ms: (NOW_MS + left_s * 1_000).into(),
            client_id: "c".to_owned(),
            token_endpoint: "http://127.0.0.1:1/".to_owned(),
            scope: "write".to_owned(),
            token_type: "Bearer".to_owned(),
        }
    }

    /// A note about `grant`, presented this many seconds ago.
    fn note(grant: &Grant, age_s: i64, outcome: TokenOutcome) -> TokenNote {
        TokenNote::presenting(&grant.refresh_token, None, NOW_S - age_s).with(outcome).with_lifetime(3600)
    }

    fn verdicts(known: Option<&Grant>, current: &Grant, note: Option<&TokenNote>) -> [ExchangeVerdict; 3] {
        let found = GrantUnderLock { current, known, note, server_wait: None, now_ms: NOW_MS };
        REASONS.map(|reason| found.verdict(reason, RETRY_WAIT))
    }

    use ExchangeVerdict::{Adopt, Denied, Exchange, InDoubt, Spent, StillValid};

    #[test]
    fn a_known_token_that_is_still_valid_is_exchanged_only_if_that_is_requested_or_due() {
        let fresh = grant(2, 3590);
        assert_eq!(verdicts(Some(&fresh), &fresh, None), [Exchange, Exchange, StillValid]);
        // The grant that was kept beside the file, restored by another process.
        let about_the_older = note(&grant(1, -10), 5, TokenOutcome::Rotated);
        assert_eq!(verdicts(Some(&fresh), &fresh, Some(&about_the_older)), [Exchange, Exchange, StillValid]);
    }

    #[test]
    fn a_token_within_the_margin_is_exchanged_for_any_reason() {
        for (left_s, recheck) in [(181, StillValid), (180, Exchange), (1, Exchange), (-3600, Exchange)] {
            let held = grant(2, left_s);
            assert_eq!(verdicts(Some(&held), &held, None), [Exchange, Exchange, recheck], "{left_s}");
        }
    }

    #[test]
    fn a_later_expiry_in_the_file_counts_and_not_the_one_that_was_known() {
        let (known, current) = (grant(2, 60), grant(2, 3590));
        assert_eq!(verdicts(Some(&known), &current, None), [Exchange, StillValid, StillValid]);
        assert_eq!(verdicts(Some(&current), &known, None), [Exchange; 3]);
        assert_eq!(verdicts(None, &current, None), [Exchange, StillValid, StillValid]);
    }

    #[test]
    fn a_rotation_by_another_process_is_adopted_until_it_has_expired() {
        let known = grant(1, 60);
        for (left_s, expected) in [(3590, Adopt), (100, Adopt), (-29, Adopt), (-31, Exchange)] {
            assert_eq!(verdicts(Some(&known), &grant(2, left_s), None), [expected; 3], "{left_s}");
        }
    }

    #[test]
    fn a_token_in_doubt_is_presented_once_more_after_the_wait_however_long_it_is_valid() {
        let fresh = grant(2, 3590);
        let verdicts = |age_s, outcome| verdicts(Some(&fresh), &fresh, Some(&note(&fresh, age_s, outcome)));
        let wait = InDoubt(Some(Duration::from_secs(50)));
        assert_eq!(verdicts(10, TokenOutcome::Unknown), [Exchange, wait, wait]);
        assert_eq!(verdicts(60, TokenOutcome::Unknown), [Exchange; 3]);
        assert_eq!(verdicts(9999, TokenOutcome::Withheld), [Exchange, InDoubt(None), InDoubt(None)]);
        assert_eq!(verdicts(9999, TokenOutcome::Rotated), [Spent; 3]);
        assert_eq!(verdicts(9999, TokenOutcome::Refused), [Spent; 3]);
    }

    #[test]
    fn the_wait_for_a_server_applies_to_every_reason_except_a_request() {
        let held = grant(2, 60);
        let server_wait = Some(Duration::from_secs(7));
        let found = GrantUnderLock { current: &held, known: Some(&held), note: None, server_wait, now_ms: NOW_MS };
        let denied = Denied(Duration::from_secs(7));
        assert_eq!(REASONS.map(|reason| found.verdict(reason, RETRY_WAIT)), [Exchange, denied, denied]);
        let fresh = grant(2, 3590);
        let found = GrantUnderLock { current: &fresh, known: Some(&fresh), ..found };
        assert_eq!(found.verdict(RefreshReason::Recheck, RETRY_WAIT), StillValid);
    }
}
