//! The id of a link, and the origin of an event.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::profile_name::ProfileName;

/// The id of a link: `relay` for the process's own, `relay-NAME` for that of the profile NAME.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub Arc<str>);

impl LinkId {
    /// The link of the process, dialled with the default profile's settings.
    #[must_use]
    pub fn process() -> Self {
        Self(Arc::from("relay"))
    }

    /// The separate link of a profile.
    #[must_use]
    pub fn of_profile(profile: &ProfileName) -> Self {
        Self(format!("relay-{profile}").into())
    }
}

/// The origin of an event, and so the destination of its replies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The link.
    pub link: LinkId,
    /// The platform of the chat, such as `discord`.
    pub platform: String,
    /// The bot, if the link has several.
    pub bot_id: Option<String>,
    /// The chat.
    pub chat_id: String,
    /// The scope of the tenant in the events of that chat.
    pub scope_id: Option<String>,
    /// The author of the direct message, if there is no scope.
    pub user_id: Option<String>,
    /// The thread, if any.
    pub thread_id: Option<String>,
}

impl Target {
    /// The data by which the connector finds the tenant: the scope, or the author of a direct message; and the thread.
    #[must_use]
    pub fn metadata(&self) -> Map<String, Value> {
        let tenant = match (&self.scope_id, &self.user_id) {
            (Some(scope), _) => Some(("scope_id", scope)),
            (None, Some(user)) => Some(("user_id", user)),
            (None, None) => None,
        };
        let thread = self.thread_id.as_ref().map(|thread| ("thread_id", thread));
        tenant.into_iter().chain(thread).map(|(name, id)| (name.to_owned(), Value::from(id.as_str()))).collect()
    }
}
