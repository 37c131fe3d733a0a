//! Which profile a chat belongs to, by the routes in `config.yaml`.

use serde_json::{Map, Value};

use caduceus_contract::json::{identifier, non_empty_text, truthy};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::Source;

/// Names that no route may point to: each means something else on disk.
const RESERVED: [&str; 5] = ["hermes", "test", "tmp", "root", "sudo"];

/// One route: all its fields must match; an absent field matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name for people.
    pub name: String,
    /// The platform, as on the wire.
    pub platform: String,
    /// The profile.
    pub profile: ProfileName,
    /// The guild; on the wire it is the scope.
    pub guild_id: Option<String>,
    /// The chat, or the parent of the thread.
    pub chat_id: Option<String>,
    /// The thread.
    pub thread_id: Option<String>,
    enabled: bool,
}

/// The routes of one gateway, most specific first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes(Vec<Route>);

/// Why a route was skipped; the others apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteWarning {
    /// The whole list has the wrong type.
    #[error("profile_routes is not a list")]
    NotAList,
    /// The index, counted from 0.
    #[error("profile route {0} is not a mapping")]
    NotAMapping(usize),
    /// It has no platform or no profile.
    #[error("profile route `{0}` lacks platform or profile")]
    Incomplete(String),
    /// Its profile cannot exist.
    #[error("profile route `{name}` names `{profile}`, which is reserved or not a profile name")]
    Profile {
        /// The route.
        name: String,
        /// The invalid name of the profile.
        profile: String,
    },
}

impl Route {
    /// Whether it is enabled.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }
}

impl Routes {
    /// Reads `profile_routes`; null is an empty list. Unusable routes are skipped and reported.
    #[must_use]
    pub fn parse(value: &Value) -> (Self, Vec<RouteWarning>) {
        let mut warnings = Vec::new();
        let mut routes = Vec::new();
        let entries = match value {
            Value::Array(entries) => entries.as_slice(),
            other => {
                warnings.extend(truthy(other).then_some(RouteWarning::NotAList));
                &[]
            }
        };
        for (at, entry) in entries.iter().enumerate() {
            match entry.as_object().ok_or(RouteWarning::NotAMapping(at)).and_then(Route::read) {
                Ok(route) => routes.push(route),
                Err(warning) => warnings.push(warning),
            }
        }
        // The sort is stable, so ties stay in the order of the file.
        routes.sort_by_key(|route| std::cmp::Reverse(route.specificity()));
        (Self(routes), warnings)
    }

    /// All of them, most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// The most specific route that matches `source`.
    #[must_use]
    pub fn find(&self, source: &Source) -> Option<&Route> {
        self.0.iter().find(|route| route.matches(source))
    }
}

impl Route {
    fn read(fields: &Map<String, Value>) -> Result<Self, RouteWarning> {
        // In YAML, identifiers may be unquoted, so numbers count as their digits.
        let id = |name: &str| identifier(fields.get(name));
        let name = id("name").unwrap_or_default();
        let incomplete = || RouteWarning::Incomplete(name.clone());
        let platform = non_empty_text(fields, "platform").ok_or_else(incomplete)?.to_owned();
        let profile = id("profile").ok_or_else(incomplete)?.trim().to_lowercase();
        let Some(profile) = ProfileName::parse(&profile).ok().filter(|name| !RESERVED.contains(&name.as_str())) else {
            return Err(RouteWarning::Profile { name, profile });
        };
        Ok(Self {
            platform,
            profile,
            guild_id: id("guild_id"),
            chat_id: id("chat_id"),
            thread_id: id("thread_id"),
            enabled: fields.get("enabled").is_none_or(truthy),
            name,
        })
    }

    /// The specificity of the route: a thread outweighs a chat and a guild together.
    fn specificity(&self) -> u32 {
        let weigh = |named: &Option<String>, weight| if named.is_some() { weight } else { 0 };
        weigh(&self.guild_id, 2) + weigh(&self.chat_id, 4) + weigh(&self.thread_id, 8)
    }

    fn matches(&self, source: &Source) -> bool {
        let chat = Some(&source.chat_id);
        self.enabled
            && self.platform == source.platform
            && self.guild_id.as_ref().is_none_or(|guild| source.scope_id.as_ref() == Some(guild))
            && self.thread_id.as_ref().is_none_or(|thread| source.thread_id.as_ref() == Some(thread))
            && self.chat_id.as_ref().is_none_or(|id| [chat, source.parent_chat_id.as_ref()].contains(&Some(id)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unusable_routes_are_reported_and_the_others_apply() {
        let (routes, warnings) = Routes::parse(&json!([
            7,
            {"name": "a", "platform": "slack"},
            {"name": "b", "platform": "slack", "profile": "root"},
            {"name": "c", "platform": "slack", "profile": "../x"},
            {"name": "d", "platform": "slack", "profile": " Work ", "chat_id": 42},
        ]));
        let profile = |name: &str, profile: &str| RouteWarning::Profile { name: name.into(), profile: profile.into() };
        let incomplete = RouteWarning::Incomplete("a".into());
        let expected = [RouteWarning::NotAMapping(0), incomplete, profile("b", "root"), profile("c", "../x")];
        assert_eq!(warnings, expected);
        let source = Source { platform: "slack".into(), chat_id: "42".into(), ..Source::default() };
        assert_eq!(routes.find(&source).unwrap().profile.as_str(), "work");
        assert_eq!(routes.find(&Source { platform: "irc".into(), ..source }), None);
    }

    #[test]
    fn no_routes_are_no_warning() {
        assert_eq!(Routes::parse(&Value::Null), (Routes::default(), vec![]));
        assert_eq!(Routes::parse(&json!("x")).1, [RouteWarning::NotAList]);
    }

    #[test]
    fn ties_go_to_the_first_in_the_file() {
        let route = |name: &str| json!({"name": name, "platform": "slack", "profile": "a"});
        let (routes, _) = Routes::parse(&json!([route("x"), route("y")]));
        assert_eq!(routes.find(&Source { platform: "slack".into(), ..Source::default() }).unwrap().name, "x");
    }
}
