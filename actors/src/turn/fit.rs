//! Fits an action from the ledger to the platform: within its limit, and marked if it may be a repeat.

use super::split::split;
use caduceus_contract::wire::action::Action;
use caduceus_contract::wire::descriptor::Descriptor;

/// The prefix of a reply that may have been delivered already.
const REPEAT_MARK: &str = "(may be a repeat)";
/// The markup of a text with such a start depends on its first characters, which must stay first in their line.
const MARKUP: [char; 12] = ['`', '~', '>', '#', '|', '-', '*', '+', '=', '<', ' ', '\t'];

/// `action` as one or more that a platform with this descriptor accepts. `repeat` marks in the text, and for the connector, that
/// this may have been delivered already.
///
/// A text that is too long becomes several messages; a prompt follows them, with the last part, everything else precedes
/// them, with the first.
#[must_use]
pub fn fit(mut action: Action, descriptor: &Descriptor, repeat: bool) -> Vec<Action> {
    let (limit, unit) = (descriptor.max_message_length, descriptor.len_unit);
    if repeat {
        mark(&mut action);
    }
    let text = action.content().unwrap_or_default();
    if unit.len(text) <= limit {
        return vec![action];
    }
    let mut parts = split(text, limit, unit);
    let Some(more) = more_of(&action) else { return vec![action] };
    let send = |part: String| {
        let mut more = more.clone();
        more.set_content(part);
        more
    };
    if matches!(action, Action::Prompt { .. }) {
        action.set_content(parts.pop().unwrap_or_default());
        return parts.into_iter().map(send).chain([action]).collect();
    }
    let mut parts = parts.into_iter();
    action.set_content(parts.next().unwrap_or_default());
    std::iter::once(action).chain(parts.map(send)).collect()
}

fn mark(action: &mut Action) {
    if let Some(metadata) = action.metadata_mut() {
        metadata.insert("repeat".to_owned(), true.into());
    }
    let text = action.content().unwrap_or_default();
    if !action.carries_content() || text.starts_with(REPEAT_MARK) {
        return;
    }
    let gap = match text.chars().next() {
        None => "",
        Some(first) if MARKUP.contains(&first) => "\n",
        Some(_) => " ",
    };
    let marked = format!("{REPEAT_MARK}{gap}{text}");
    action.set_content(marked);
}

/// A message for the text that does not fit into `action`; `None` for an op of a later contract without a chat.
fn more_of(action: &Action) -> Option<Action> {
    if matches!(action, Action::FollowUp { .. }) {
        return Some(action.clone());
    }
    let chat_id = action.chat_id()?.to_owned();
    let reply_to = if let Action::Send { reply_to, .. } = action { reply_to.clone() } else { None };
    let metadata = action.clone().metadata_mut().cloned().unwrap_or_default();
    Some(Action::Send { chat_id, content: String::new(), reply_to, metadata })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use caduceus_contract::wire::descriptor::LenUnit;

    fn platform(limit: usize, len_unit: LenUnit) -> Descriptor {
        Descriptor { max_message_length: limit, len_unit, ..Descriptor::default() }
    }

    fn action(value: &Value) -> Action {
        Action::parse(value).unwrap()
    }

    /// Every op that the ledger may have, with this text.
    fn ops(text: &str) -> Vec<Action> {
        [
            json!({"op": "send", "chat_id": "c", "content": text, "reply_to": "m", "metadata": {"scope_id": "g"}}),
            json!({"op": "edit", "chat_id": "c", "message_id": "m", "content": text}),
            json!({"op": "follow_up", "session_key": "s", "kind": "k", "content": text, "metadata": {}}),
            json!({"op": "send_media", "chat_id": "c", "media_kind": "photo", "source_url": "u", "content": text}),
            json!({"op": "prompt", "chat_id": "c", "prompt_kind": "k", "prompt_id": "p", "content": text, "options": []}),
            json!({"op": "poll", "chat_id": "c", "content": text}),
        ]
        .map(|value| action(&value))
        .into()
    }

    fn texts(actions: &[Action]) -> Vec<&str> {
        actions.iter().map(|action| action.content().unwrap()).collect()
    }

    #[test]
    fn an_action_that_fits_is_unchanged() {
        for whole in ops("some words") {
            assert_eq!(fit(whole.clone(), &platform(10, LenUnit::Chars), false), [whole]);
        }
    }

    #[test]
    fn every_op_is_marked_in_its_text_and_to_the_connector() {
        for whole in ops("words") {
            let mut marked = fit(whole, &platform(100, LenUnit::Chars), true);
            assert_eq!(texts(&marked), ["(may be a repeat) words"]);
            assert_eq!(marked[0].metadata_mut().unwrap()["repeat"], true);
            assert_eq!(fit(marked[0].clone(), &platform(100, LenUnit::Chars), true), marked, "once");
        }
    }

    #[test]
    fn a_picture_without_text_is_marked_too_and_a_reaction_cannot_be() {
        let media = json!({"op": "send_media", "chat_id": "c", "media_kind": "photo", "source_url": "u"});
        assert_eq!(texts(&fit(action(&media), &platform(100, LenUnit::Chars), true)), ["(may be a repeat)"]);
        let react = json!({"op": "react", "chat_id": "c", "message_id": "m", "emoji": "x"});
        assert_eq!(fit(action(&react), &platform(1, LenUnit::Chars), true)[0].content(), None);
    }

    #[test]
    fn a_mark_keeps_the_markup_at_the_start_of_its_line() {
        for text in ["```rs\ncode\n```", "> ```\n> code\n> ```", "# title", "- item"] {
            let marked = fit(ops(text).remove(0), &platform(100, LenUnit::Chars), true);
            assert_eq!(texts(&marked), [format!("(may be a repeat)\n{text}")]);
        }
    }

    #[test]
    fn a_full_message_with_a_mark_becomes_two_that_fit_and_keeps_its_tenant() {
        let full = "word ".repeat(20).trim_end().to_owned();
        let mut parts = fit(ops(&full).remove(0), &platform(99, LenUnit::Chars), true);
        assert_eq!(parts.len(), 2);
        for part in &mut parts {
            assert_eq!(part.metadata_mut().unwrap()["scope_id"], "g");
        }
        assert_eq!(texts(&parts).join(" "), format!("(may be a repeat) {full}"));
    }

    #[test]
    fn a_prompt_is_last_and_everything_else_first() {
        let names = |actions: &[Action]| actions.iter().map(|action| action.op().to_owned()).collect::<Vec<_>>();
        for whole in ops("some words that are too many") {
            let op = whole.op().to_owned();
            let parts = fit(whole, &platform(20, LenUnit::Chars), false);
            assert_eq!(texts(&parts), ["some words that are", "too many"]);
            match op.as_str() {
                "prompt" => assert_eq!(names(&parts), ["send", "prompt"]),
                "follow_up" => assert_eq!(names(&parts), ["follow_up", "follow_up"]),
                _ => assert_eq!(names(&parts), [op.as_str(), "send"]),
            }
        }
    }

    proptest! {
        #[test]
        fn no_message_exceeds_the_limit_and_no_word_is_lost(
            text in "[a-zé😀 \n]{0,300}",
            limit in 2_usize..120,
            utf16: bool,
            repeat: bool,
        ) {
            let unit = if utf16 { LenUnit::Utf16 } else { LenUnit::Chars };
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            for whole in ops(&text) {
                let parts = fit(whole, &platform(limit, unit), repeat);
                prop_assert!(parts.iter().all(|part| unit.len(part.content().unwrap()) <= limit));
                let mark = if repeat { REPEAT_MARK } else { "" };
                prop_assert_eq!(solid(&texts(&parts).concat()), solid(&format!("{mark}{text}")));
            }
        }
    }
}
