//! How often a chat gets a notice. No I/O, and constant work a call.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::notice::Notice;
use crate::locked::locked;
use caduceus_contract::link::{LinkId, Target};

/// A chat gets at most one notice of a kind in this interval: without it, 199 in 3 s were observed.
const NOTICE_INTERVAL: Duration = Duration::from_mins(1);
/// Most chats kept, some 300 bytes each. A connector can invent any number of them; above this no notice is sent until one is removed.
const MAX_CHATS: usize = 4_096;

/// Records which notice was sent in which chat, for the interval in which it is not sent again.
#[derive(Debug, Default)]
pub(super) struct NoticeLimit {
    /// When each was sent last.
    sent: HashMap<Arc<(Notice, NoticeChat)>, Instant>,
    /// The same, oldest first. A notice that was sent again has its earlier place too, until that is removed.
    order: VecDeque<(Instant, Arc<(Notice, NoticeChat)>)>,
    /// When a notice was first not sent in this interval because of the number of chats.
    full_since: Option<Instant>,
}

/// Whether a notice is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoticeAdmission {
    Send,
    /// Not again: the chat got the same a short time ago.
    SentLately,
    /// Not at all: too many chats got one a short time ago. `is_first`: of this interval.
    TooManyChats {
        is_first: bool,
    },
}

/// The limit of notices that a reply is lost. It outlives every dispatcher. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ReplyNotices(Arc<Mutex<NoticeLimit>>);

impl ReplyNotices {
    /// Whether the chat of `target` gets a notice now.
    pub(super) fn admit(&self, target: &Target, now: Instant) -> NoticeAdmission {
        locked(&self.0).admit(&Notice::ReplyLost, target, now)
    }
}

/// Where a notice is shown: one chat, for all its users.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct NoticeChat {
    link: LinkId,
    platform: String,
    bot: Option<String>,
    id: String,
    thread: Option<String>,
}

impl NoticeChat {
    fn of(target: &Target) -> Self {
        Self {
            link: target.link.clone(),
            platform: target.platform.clone(),
            bot: target.bot_id.clone(),
            id: target.chat_id.clone(),
            thread: target.thread_id.clone(),
        }
    }
}

impl NoticeLimit {
    /// Whether `notice` is sent to the chat of `target` now.
    pub(super) fn admit(&mut self, notice: &Notice, target: &Target, now: Instant) -> NoticeAdmission {
        if !notice.is_limited() {
            return NoticeAdmission::Send;
        }
        let is_old = |sent: &Instant| now.saturating_duration_since(*sent) >= NOTICE_INTERVAL;
        // More than a call adds, so that it shrinks; not all at once, because thousands may become old together.
        for _ in 0..2 {
            if let Some((at, key)) = self.order.pop_front_if(|(at, _)| is_old(at))
                && self.sent.get(&key) == Some(&at)
            {
                self.sent.remove(&key);
            }
        }
        let key = Arc::new((notice.clone(), NoticeChat::of(target)));
        let last = self.sent.get(&key);
        if last.is_some_and(|at| !is_old(at)) {
            return NoticeAdmission::SentLately;
        }
        if last.is_none() && self.sent.len() >= MAX_CHATS {
            let is_first = self.full_since.is_none_or(|since| is_old(&since));
            if is_first {
                self.full_since = Some(now);
            }
            return NoticeAdmission::TooManyChats { is_first };
        }
        self.sent.insert(Arc::clone(&key), now);
        self.order.push_back((now, key));
        NoticeAdmission::Send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(id: &str) -> Target {
        Target {
            link: LinkId::process(),
            platform: "discord".into(),
            bot_id: None,
            chat_id: id.into(),
            scope_id: None,
            user_id: None,
            thread_id: None,
        }
    }

    fn allows(limit: &mut NoticeLimit, notice: &Notice, target: &Target, now: Instant) -> bool {
        limit.admit(notice, target, now) == NoticeAdmission::Send
    }

    #[test]
    fn a_chat_gets_one_maintenance_notice_a_minute() {
        let (mut limit, now) = (NoticeLimit::default(), Instant::now());
        let mut allows = |chat_id, now| allows(&mut limit, &Notice::Maintenance, &chat(chat_id), now);
        assert!(allows("a", now) && !allows("a", now + Duration::from_secs(59)) && allows("b", now));
        assert!(allows("a", now + Duration::from_mins(1)));
        assert!(!allows("a", now + Duration::from_secs(119)), "the interval counts from the last one");
    }

    #[test]
    fn two_people_in_one_chat_get_one_notice() {
        let (mut limit, now) = (NoticeLimit::default(), Instant::now());
        let by = |user: &str| Target { user_id: Some(user.into()), scope_id: Some("g".into()), ..chat("a") };
        assert!(allows(&mut limit, &Notice::Maintenance, &by("ann"), now));
        assert!(!allows(&mut limit, &Notice::Maintenance, &by("bob"), now));
        let thread = Target { thread_id: Some("t".into()), ..chat("a") };
        assert!(allows(&mut limit, &Notice::Maintenance, &thread, now));
    }

    #[test]
    fn a_notice_that_is_not_sent_because_of_the_number_of_chats_is_told_apart_and_the_first_of_each_interval_too() {
        let (mut limit, now) = (NoticeLimit::default(), Instant::now());
        let mut admit = |number: usize, now| limit.admit(&Notice::Busy, &chat(&number.to_string()), now);
        assert!((0..MAX_CHATS).all(|number| admit(number, now) == NoticeAdmission::Send));
        assert_eq!(admit(MAX_CHATS, now), NoticeAdmission::TooManyChats { is_first: true });
        assert_eq!(admit(MAX_CHATS + 1, now), NoticeAdmission::TooManyChats { is_first: false });
        assert_eq!(admit(0, now), NoticeAdmission::SentLately);
        let later = now + NOTICE_INTERVAL;
        assert!((MAX_CHATS..2 * MAX_CHATS).all(|number| admit(number, later) == NoticeAdmission::Send));
        assert_eq!(admit(0, later), NoticeAdmission::TooManyChats { is_first: true });
        assert_eq!((limit.sent.len(), limit.order.len()), (MAX_CHATS, MAX_CHATS));
        assert!(allows(&mut limit, &Notice::Stopped, &chat("x"), now), "an answer to a command is still sent");
    }

    #[test]
    fn a_call_removes_two_chats_at_most_and_a_chat_that_is_old_and_still_kept_gets_its_notice() {
        let (mut limit, now) = (NoticeLimit::default(), Instant::now());
        for number in 0..100 {
            assert!(allows(&mut limit, &Notice::Busy, &chat(&number.to_string()), now));
        }
        let later = now + NOTICE_INTERVAL;
        assert!(allows(&mut limit, &Notice::Busy, &chat("99"), later));
        assert_eq!((limit.sent.len(), limit.order.len()), (98, 99));
        for _ in 0..49 {
            assert!(!allows(&mut limit, &Notice::Busy, &chat("99"), later), "its earlier place does not count");
        }
        assert_eq!((limit.sent.len(), limit.order.len()), (1, 1));
    }

    #[test]
    fn an_answer_to_a_command_is_always_sent() {
        let (mut limit, now) = (NoticeLimit::default(), Instant::now());
        assert!((0..2).all(|_| allows(&mut limit, &Notice::Stopped, &chat("a"), now)));
    }
}
