//! The chat that gets a notice when the gateway starts and stops.

use super::key_table::{Form, KeyEntry, KeyRow, local};
use super::yaml::Section;

/// A chat that gets a notice at start and at shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HomeChannel {
    /// Its platform, such as `discord`.
    pub platform: String,
    /// The chat.
    pub chat_id: String,
}

/// The mapping of the two, which needs both.
pub(super) struct HomeForm;

impl Form<Option<HomeChannel>> for HomeForm {
    fn read(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        _: &Option<HomeChannel>,
    ) -> Option<Option<HomeChannel>> {
        let mut home = section.section(local(key));
        let is_set = !home.is_empty();
        let channel = match (home.text("platform"), home.text("chat_id")) {
            (Some(platform), Some(chat_id)) => Some(HomeChannel { platform, chat_id }),
            (None, Some(_)) => home.wrong("platform", "the platform of the chat"),
            (Some(_), None) => home.wrong("chat_id", "the chat of the platform"),
            (None, None) if is_set => home.wrong("platform", "a platform, and beside it a chat_id"),
            (None, None) => None,
        };
        home.finish();
        channel.map(Some)
    }

    fn rows(&self, entry: &KeyEntry, _: &Option<HomeChannel>) -> Vec<KeyRow> {
        vec![entry.row("none".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(document: Value) -> (Option<HomeChannel>, Vec<String>) {
        let mut problems = Vec::new();
        let Value::Object(map) = document else { panic!("a mapping") };
        let mut root = Section::root(map, &mut problems);
        let mut notices = root.section("notices");
        let channel = HomeForm.read(&mut notices, "notices.home", &None).flatten();
        notices.finish();
        root.finish();
        (channel, problems)
    }

    #[test]
    fn a_home_channel_needs_both_its_keys() {
        let lobby = HomeChannel { platform: "discord".into(), chat_id: "42".into() };
        let both = json!({"notices": {"home": {"platform": "discord", "chat_id": 42}}});
        assert_eq!(of(both), (Some(lobby), Vec::new()));
        assert_eq!(of(json!({})), (None, Vec::new()));
        for home in [json!({"platform": "discord"}), json!({"chat_id": "lobby"}), json!({"chat": "lobby"})] {
            let (channel, problems) = of(json!({"notices": {"home": home}}));
            assert!(channel.is_none() && !problems.is_empty(), "{problems:?}");
        }
    }
}
