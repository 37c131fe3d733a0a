//! Notes in the lock file about the last refresh token that was presented, for every process.
//!
//! They are written before the token is sent, so a process that is killed after the answer, or that receives none,
//! leaves the note that the token may be spent, and the other processes do not present it at once. The original treats the lock
//! file as empty and never reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A lifetime below this leaves no room for the usual margin before its end.
pub(super) const SHORT_LIFE_S: i64 = 240;

/// Minimum interval of exchanges with a server that gives no lifetime, or a very short one.
pub(super) const EXCHANGE_FLOOR: Duration = Duration::from_secs(30);

/// First wait after a failure, and the longest.
const STEP_FLOOR: Duration = Duration::from_secs(5);
const STEP_CEILING: Duration = Duration::from_mins(5);
/// Longest wait, whatever the server requests.
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// What came in answer to a token whose note says no more, as of a process that was killed.
pub(super) const NO_ANSWER: &str = "the refresh token was sent and no answer came";

/// The wait after this many failures. `random` in 0..1 spreads it.
pub(super) fn step(failures: u32, random: f64) -> Duration {
    let doubled = STEP_FLOOR.saturating_mul(2_u32.saturating_pow(failures));
    doubled.mul_f64(1.0 + random / 4.0).min(STEP_CEILING)
}

/// The notes of one lock file, by host. Unreadable notes count as none: the lock protects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    #[serde(default)]
    presented: BTreeMap<String, TokenNote>,
    /// Refusals by servers for other reasons. An older gateway ignores this.
    #[serde(default)]
    rests: BTreeMap<String, ServerWait>,
}

/// A token that remains valid and waits, in every process, until its server accepts requests again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ServerWait {
    /// SHA-256 of the refresh token, in hex.
    digest: String,
    /// Unix seconds of the refusal.
    at_s: i64,
    /// Seconds from then on.
    wait_s: u64,
    /// Consecutive refusals.
    failures: u32,
}

/// The last token presented for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenNote {
    /// SHA-256 of the refresh token, in hex.
    digest: String,
    /// Unix seconds of the last time it was presented.
    at_s: i64,
    #[serde(rename = "fate")]
    outcome: TokenOutcome,
    /// Retries left without a person's request.
    retries: u8,
    /// Its replacement has a short or unknown lifetime: it is not exchanged for [`EXCHANGE_FLOOR`].
    #[serde(default)]
    brief: bool,
    /// What came instead of a usable answer, free of secrets. An older gateway ignores this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The outcome of presenting a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenOutcome {
    /// Unknown.
    Unknown,
    /// Spent for a new one, which is on disk.
    Rotated,
    /// The answer had an access token and no new refresh token; it may still be valid.
    Withheld,
    /// The server refuses it.
    Refused,
}

/// Whether a refresh token may be presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PresentationVerdict {
    /// It may.
    Present,
    /// It may be spent; one more try is due after this time.
    Wait(Duration),
    /// It may be spent; only a person's request presents it again.
    Withhold,
    /// It was rotated recently; the new one is not exchanged before this time.
    TooSoon(Duration),
    /// It is spent or refused.
    Spent,
}

impl Notes {
    pub(super) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Whether the content of a lock file is empty, or a prefix of what [`Notes::to_text`] writes.
    pub(super) fn may_replace(held: &[u8]) -> bool {
        const BEGINNING: &[u8] = b"{\"presented\"";
        // A power failure may leave zeros.
        let held = held.trim_ascii();
        let begun = held.len().min(BEGINNING.len());
        held.iter().all(|byte| *byte == 0) || held[..begun] == BEGINNING[..begun]
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = serde_json::to_string(self).expect("names, numbers and words have a JSON form");
        text.push('\n');
        text
    }

    pub(super) fn of(&self, host: &str) -> Option<&TokenNote> {
        self.presented.get(host)
    }

    /// Replaces the host's last note, which is returned.
    pub(super) fn put(&mut self, host: &str, note: TokenNote) -> Option<TokenNote> {
        self.presented.insert(host.to_owned(), note)
    }

    /// The server refused for another reason, and may request a wait. Returns the wait, which every process observes.
    pub(super) fn denied(
        &mut self,
        host: &str,
        token: &SecretString,
        now_s: i64,
        requested: Option<Duration>,
        random: f64,
    ) -> Duration {
        let digest = digest(token);
        let before = self.rests.get(host).filter(|rest| rest.digest == digest);
        let failures = before.map_or(0, |rest| rest.failures);
        let wait = step(failures, random).max(requested.unwrap_or_default().min(MAX_PAUSE));
        // Timestamps are whole seconds, and no wait may be shorter than requested.
        let wait_s = wait.as_secs() + 1 + u64::from(wait.subsec_nanos() > 0);
        let rest = ServerWait { digest, at_s: now_s, wait_s, failures: failures.saturating_add(1) };
        self.rests.insert(host.to_owned(), rest);
        Duration::from_secs(wait_s)
    }

    /// How long `token` still waits for its server.
    pub(super) fn server_wait(&self, host: &str, token: &SecretString, now_s: i64) -> Option<Duration> {
        let rest = self.rests.get(host).filter(|rest| rest.digest == digest(token))?;
        // A clock that was set back must not lengthen a wait.
        let age = Duration::from_secs(u64::try_from(now_s - rest.at_s).unwrap_or(0));
        let wait = Duration::from_secs(rest.wait_s.min(MAX_PAUSE.as_secs() + 1));
        wait.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// The server has given another answer than a refusal.
    pub(super) fn answered(&mut self, host: &str) {
        self.rests.remove(host);
    }

    /// Removes the last note: the token was not presented after all.
    pub(super) fn restore(&mut self, host: &str, before: Option<TokenNote>) {
        match before {
            Some(note) => self.presented.insert(host.to_owned(), note),
            None => self.presented.remove(host),
        };
    }
}

impl TokenNote {
    /// A token that is about to be presented, after the host's former note.
    pub(super) fn presenting(token: &SecretString, before: Option<&TokenNote>, now_s: i64) -> Self {
        let digest = digest(token);
        let again = before.filter(|note| note.digest == digest);
        let retries = again.map_or(1, |note| note.retries.saturating_sub(1));
        Self { digest, at_s: now_s, outcome: TokenOutcome::Unknown, retries, brief: false, why: None }
    }

    pub(super) fn with(&self, outcome: TokenOutcome) -> Self {
        Self { outcome, ..self.clone() }
    }

    /// The answer had a token with this lifetime in seconds; 0 if the server gave none.
    pub(super) fn with_lifetime(&self, life_s: i64) -> Self {
        Self { brief: life_s < SHORT_LIFE_S, ..self.clone() }
    }

    /// Seconds from the last presentation until `now_s`.
    pub(super) fn age_s(&self, now_s: i64) -> u64 {
        u64::try_from(now_s - self.at_s).unwrap_or(0)
    }

    pub(super) fn outcome(&self) -> TokenOutcome {
        self.outcome
    }

    /// The exchange ended at `at_s` without a usable answer.
    pub(super) fn unanswered(&self, at_s: i64, why: &str) -> Self {
        Self { at_s, why: Some(why.to_owned()), ..self.clone() }
    }

    /// What came in answer to a token that may be spent.
    pub(super) fn what_came(&self) -> &str {
        match self.outcome {
            TokenOutcome::Withheld => "the server gave no new refresh token",
            TokenOutcome::Unknown | TokenOutcome::Rotated | TokenOutcome::Refused => {
                self.why.as_deref().unwrap_or(NO_ANSWER)
            }
        }
    }

    /// Whether a retry is left.
    pub(super) fn may_retry(&self) -> bool {
        self.retries > 0
    }

    /// Whether this is about `token`.
    pub(super) fn is_about(&self, token: &SecretString) -> bool {
        self.digest == digest(token)
    }
}

/// Whether `token` may be presented at `now_s`, given the host's note. `retry_wait` is the wait before the only retry.
pub(super) fn verdict(
    note: Option<&TokenNote>,
    token: &SecretString,
    now_s: i64,
    by_person: bool,
    retry_wait: Duration,
) -> PresentationVerdict {
    let Some(note) = note else {
        return PresentationVerdict::Present;
    };
    // A clock that was set back must not lengthen a wait: a time in the future counts as now.
    let age = Duration::from_secs(note.age_s(now_s));
    let left = |wait: Duration| wait.checked_sub(age).filter(|left| !left.is_zero());
    if !note.is_about(token) {
        return match (note.outcome, left(EXCHANGE_FLOOR)) {
            (TokenOutcome::Rotated, Some(left)) if note.brief && !by_person => PresentationVerdict::TooSoon(left),
            _ => PresentationVerdict::Present,
        };
    }
    match note.outcome {
        TokenOutcome::Rotated | TokenOutcome::Refused => PresentationVerdict::Spent,
        TokenOutcome::Unknown | TokenOutcome::Withheld if by_person => PresentationVerdict::Present,
        TokenOutcome::Withheld => PresentationVerdict::Withhold,
        TokenOutcome::Unknown if note.retries == 0 => PresentationVerdict::Withhold,
        TokenOutcome::Unknown => left(retry_wait).map_or(PresentationVerdict::Present, PresentationVerdict::Wait),
    }
}

fn digest(token: &SecretString) -> String {
    hex::encode(Sha256::digest(token.expose_secret().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY_WAIT: Duration = Duration::from_mins(1);

    fn token(text: &str) -> SecretString {
        text.into()
    }

    fn verdict_of(note: &TokenNote, text: &str, now_s: i64, by_person: bool) -> PresentationVerdict {
        verdict(Some(note), &token(text), now_s, by_person, RETRY_WAIT)
    }

    #[test]
    fn a_lock_file_is_overwritten_only_if_it_has_notes_of_this_program() {
        let ours = Notes::default().to_text();
        for held in ["", "\n", "{", "{\"pres", ours.as_str(), "\0\0\0"] {
            assert!(Notes::may_replace(held.as_bytes()), "{held:?}");
        }
        for held in ["KEY=value\n", "{}", "{\"kind\":1}", "\0x"] {
            assert!(!Notes::may_replace(held.as_bytes()), "{held:?}");
        }
        assert!(!Notes::may_replace(b"\xff\xfe"));
    }

    #[test]
    fn a_token_without_an_answer_is_presented_once_more_after_a_minute_and_never_again_by_itself() {
        let first = TokenNote::presenting(&token("r1"), None, 1000);
        assert_eq!(verdict_of(&first, "r1", 1000, false), PresentationVerdict::Wait(RETRY_WAIT));
        assert_eq!(verdict_of(&first, "r1", 1059, false), PresentationVerdict::Wait(Duration::from_secs(1)));
        assert_eq!(verdict_of(&first, "r1", 1060, false), PresentationVerdict::Present);
        let second = TokenNote::presenting(&token("r1"), Some(&first), 1060);
        assert_eq!(verdict_of(&second, "r1", 9999, false), PresentationVerdict::Withhold);
        assert_eq!(verdict_of(&second, "r1", 9999, true), PresentationVerdict::Present);
    }

    #[test]
    fn a_clock_set_back_does_not_lengthen_the_wait() {
        let note = TokenNote::presenting(&token("r1"), None, 1_000_000);
        assert_eq!(verdict_of(&note, "r1", 1000, false), PresentationVerdict::Wait(RETRY_WAIT));
    }

    #[test]
    fn another_token_is_presented_at_once() {
        let note = TokenNote::presenting(&token("r1"), None, 1000);
        assert_eq!(verdict_of(&note, "r2", 1000, false), PresentationVerdict::Present);
        assert_eq!(verdict(None, &token("r1"), 0, false, RETRY_WAIT), PresentationVerdict::Present);
        let next = TokenNote::presenting(&token("r2"), Some(&note), 1001);
        assert_eq!(next.retries, 1);
    }

    #[test]
    fn a_token_of_a_short_or_unknown_lifetime_waits_half_a_minute_after_a_rotation_except_on_request() {
        let note = TokenNote::presenting(&token("r1"), None, 1000).with(TokenOutcome::Rotated).with_lifetime(239);
        assert_eq!(verdict_of(&note, "r2", 1010, false), PresentationVerdict::TooSoon(Duration::from_secs(20)));
        assert_eq!(verdict_of(&note, "r2", 1010, true), PresentationVerdict::Present);
        assert_eq!(verdict_of(&note, "r2", 1030, false), PresentationVerdict::Present);
        assert_eq!(verdict_of(&note.with_lifetime(240), "r2", 1010, false), PresentationVerdict::Present);
    }

    #[test]
    fn a_spent_or_refused_token_is_not_presented_even_on_request() {
        let note = TokenNote::presenting(&token("r1"), None, 1000);
        for outcome in [TokenOutcome::Rotated, TokenOutcome::Refused] {
            assert_eq!(verdict_of(&note.with(outcome), "r1", 9999, true), PresentationVerdict::Spent);
        }
    }

    #[test]
    fn a_token_that_was_not_replaced_waits_for_a_request() {
        let note = TokenNote::presenting(&token("r1"), None, 1000).with(TokenOutcome::Withheld);
        assert_eq!(verdict_of(&note, "r1", 9999, false), PresentationVerdict::Withhold);
        assert_eq!(verdict_of(&note, "r1", 9999, true), PresentationVerdict::Present);
    }

    #[test]
    fn a_token_that_its_server_refused_waits_longer_each_time_and_at_least_as_long_as_requested() {
        let (mut notes, r1) = (Notes::default(), token("r1"));
        let mut now_s = 1000;
        for step in [6, 11, 21, 41, 81, 161, 301, 301] {
            assert_eq!(notes.server_wait("hermes", &r1, now_s), None);
            assert_eq!(notes.denied("hermes", &r1, now_s, None, 0.0), Duration::from_secs(step));
            assert_eq!(notes.server_wait("hermes", &r1, now_s), Some(Duration::from_secs(step)));
            now_s += i64::try_from(step).unwrap();
        }
        assert_eq!(notes.denied("hermes", &r1, now_s, Some(Duration::from_mins(15)), 0.9), Duration::from_secs(901));
        let years = Some(Duration::from_secs(u64::MAX));
        let hour = Duration::from_secs(3_601);
        assert_eq!(notes.denied("hermes", &r1, now_s, years, 0.0), hour);
        assert_eq!(notes.server_wait("hermes", &r1, 0), Some(hour), "independent of the clock");
        assert_eq!(notes.server_wait("hermes", &token("r2"), now_s), None, "another token is not affected");
        assert_eq!(notes.server_wait("other", &r1, now_s), None);
        assert_eq!(Notes::parse(&notes.to_text()), notes);
        notes.answered("hermes");
        assert_eq!(notes.denied("hermes", &r1, now_s, None, 0.5), Duration::from_secs(7), "it starts over");
    }

    #[test]
    fn a_note_says_what_came_in_answer_to_its_token() {
        let note = TokenNote::presenting(&token("r1"), None, 1000);
        assert_eq!(note.what_came(), NO_ANSWER);
        let unusable = note.unanswered(1002, "it is not JSON");
        assert_eq!((unusable.what_came(), unusable.age_s(1003)), ("it is not JSON", 1));
        assert_eq!(TokenNote::presenting(&token("r1"), Some(&unusable), 1060).what_came(), NO_ANSWER);
        assert!(note.with(TokenOutcome::Withheld).what_came().contains("no new refresh token"));
        let mut notes = Notes::default();
        notes.put("hermes", unusable);
        assert_eq!(Notes::parse(&notes.to_text()), notes);
    }

    #[test]
    fn notes_read_back_from_the_file_and_show_no_token() {
        let mut notes = Notes::default();
        notes.put("hermes", TokenNote::presenting(&token("hch-rt-secret"), None, 1000));
        let text = notes.to_text();
        assert_eq!(Notes::parse(&text), notes);
        assert!(!text.contains("secret"), "{text}");
        for odd in ["", "{", "[]", "{\"presented\": 7}"] {
            assert_eq!(Notes::parse(odd), Notes::default());
        }
    }
}
