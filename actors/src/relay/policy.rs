//! Which messages may wake the gateway: the original's settings, in the terms of the contract.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use caduceus_contract::json::{identifier, truthy};
use caduceus_contract::wire::event::RELAY;
use caduceus_contract::wire::provisioning::RelevancePolicy;

/// The settings of a configuration, by platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relevance {
    platforms: BTreeMap<String, RelevanceSettings>,
    /// Apply to a platform without settings of its own.
    common: RelevanceSettings,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RelevanceSettings {
    require_mention: Option<bool>,
    free_response: Option<Vec<String>>,
}

impl Relevance {
    /// Reads the settings from the original's configuration. A platform's block is at the root, under `gateway.platforms` or
    /// under `platforms`; the first one found applies.
    #[must_use]
    pub fn read(original: &Map<String, Value>) -> Self {
        let below = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
        let nested = below(original.get("gateway").and_then(|gateway| gateway.get("platforms")));
        let mut platforms = BTreeMap::new();
        for blocks in [original.clone(), nested, below(original.get("platforms"))] {
            for (name, block) in blocks {
                if let Value::Object(block) = block {
                    platforms.entry(name).or_insert_with(|| RelevanceSettings::read(&block));
                }
            }
        }
        Self { platforms, common: RelevanceSettings::read(original) }
    }

    /// The policy of `platform`; `None` if the connector's default applies.
    #[must_use]
    pub fn policy(&self, platform: &str, allow_bots: Option<&str>) -> Option<RelevancePolicy> {
        // The generic platform has no settings.
        if platform.is_empty() || platform == RELAY {
            return None;
        }
        let own = self.platforms.get(platform);
        let require_address = own.and_then(|own| own.require_mention).or(self.common.require_mention).unwrap_or(false);
        let free = own.and_then(|own| own.free_response.clone()).or_else(|| self.common.free_response.clone());
        let free_response_scopes = free.unwrap_or_default();
        let word = allow_bots.unwrap_or_default().trim().to_lowercase();
        let allow_other_bots = matches!(word.as_str(), "mentions" | "all");
        let declared = require_address || allow_other_bots || !free_response_scopes.is_empty();
        let platform = platform.to_owned();
        declared.then_some(RelevancePolicy { platform, require_address, free_response_scopes, allow_other_bots })
    }
}

impl RelevanceSettings {
    fn read(block: &Map<String, Value>) -> Self {
        Self {
            require_mention: block.get("require_mention").and_then(truth),
            free_response: block.get("free_response_channels").and_then(channels),
        }
    }
}

/// Whether the original reads it as true. Here a quoted word for false is false.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Null => None,
        Value::String(text) => {
            let word = text.trim().to_lowercase();
            Some(!matches!(word.as_str(), "" | "0" | "false" | "no" | "off"))
        }
        value => Some(truthy(value)),
    }
}

fn channels(value: &Value) -> Option<Vec<String>> {
    let text = |item: &Value| identifier(Some(item)).map(|text| text.trim().to_owned());
    let listed = match value {
        Value::Null => return None,
        Value::Array(items) => items.iter().filter_map(text).collect(),
        Value::String(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    Some(listed.into_iter().filter(|item: &String| !item.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(config: Value, allow_bots: Option<&str>) -> Option<(bool, Vec<String>, bool)> {
        let Value::Object(config) = config else { panic!("a configuration is a mapping") };
        let policy = Relevance::read(&config).policy("discord", allow_bots)?;
        Some((policy.require_address, policy.free_response_scopes, policy.allow_other_bots))
    }

    #[test]
    fn a_platforms_own_block_takes_precedence_over_the_common_one() {
        let own =
            json!({"discord": {"require_mention": true}, "require_mention": false, "free_response_channels": "a, ,b"});
        assert_eq!(policy(own, None), Some((true, vec!["a".into(), "b".into()], false)));
        let waived = json!({"discord": {"require_mention": false}, "require_mention": true});
        assert_eq!(policy(waived, None), None);
        let common = json!({"telegram": {"require_mention": false}, "require_mention": "yes"});
        assert_eq!(policy(common, None), Some((true, vec![], false)));
    }

    #[test]
    fn a_block_is_found_in_each_of_three_places_and_the_first_applies() {
        let nested = json!({"gateway": {"platforms": {"discord": {"free_response_channels": [7, " c "]}}}});
        assert_eq!(policy(nested, None), Some((false, vec!["7".into(), "c".into()], false)));
        let flat = json!({"platforms": {"discord": {"require_mention": 1}}});
        assert_eq!(policy(flat, None), Some((true, vec![], false)));
        let both = json!({"discord": {}, "platforms": {"discord": {"require_mention": true}}});
        assert_eq!(policy(both, None), None, "as in the original, an empty block hides the others");
    }

    #[test]
    fn only_two_values_admit_other_bots() {
        for (word, admitted) in [("mentions", true), (" ALL ", true), ("true", false), ("none", false), ("", false)] {
            assert_eq!(policy(json!({}), Some(word)).is_some(), admitted, "{word}");
        }
    }

    #[test]
    fn the_generic_platform_has_nothing_to_declare() {
        let config = json!({"require_mention": true});
        let relevance = Relevance::read(config.as_object().unwrap());
        assert_eq!(relevance.policy("relay", Some("all")), None);
        let declared = relevance.policy("telegram", None).unwrap();
        assert_eq!(
            serde_json::to_value(declared).unwrap(),
            json!({"platform": "telegram", "requireAddress": true, "freeResponseScopes": [], "allowOtherBots": false})
        );
    }
}
