//! `honcho.json`: read, changed in one place, written with everything else in it and in its order.
//!
//! Text in, text out. A text that does not parse never becomes a [`HonchoFile`], so it can never be overwritten.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::grant::{Grant, older_host_name};
use super::secret_json::SecretJson;

/// The file, with secrets inside: not shown, wiped on drop.
#[derive(Debug, Clone)]
pub struct HonchoFile(SecretJson);

/// Why the file cannot be used. It must stay unchanged until a person has repaired it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantFileError {
    /// It is not JSON at this position.
    #[error("the file is not JSON at line {line}, column {column}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// The file, its `hosts` or the host's block is not an object.
    #[error("{0} is not an object")]
    Shape(&'static str),
}

impl HonchoFile {
    /// The contents while there is no file.
    #[must_use]
    pub fn empty() -> Self {
        Self(SecretJson::new(Map::new().into()))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`GrantFileError`], also for an empty text: after half a write the rest must not be lost.
    pub fn parse(text: &str) -> Result<Self, GrantFileError> {
        let value = serde_json::from_str(text)
            .map_err(|error| GrantFileError::Syntax { line: error.line(), column: error.column() })?;
        let value = SecretJson::new(value);
        if value.is_object() { Ok(Self(value)) } else { Err(GrantFileError::Shape("the file")) }
    }

    /// The file's `defaultHost`.
    #[must_use]
    pub fn default_host(&self) -> Option<&str> {
        self.0.get("defaultHost").and_then(Value::as_str)
    }

    /// The grant of `host`, or of its older name if the block is missing or empty.
    #[must_use]
    pub fn grant(&self, host: &str) -> Option<Grant> {
        Grant::from_block(self.block(host)?)
    }

    /// The names of all hosts.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.0.get("hosts").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// Everything in the file that must not appear in a log, with the names that replace it: keys and tokens of every host.
    pub(super) fn secrets(&self) -> Vec<(&'static str, SecretString)> {
        let hosts = self.0.get("hosts").and_then(Value::as_object).into_iter().flat_map(Map::values);
        let of_block = |block: &Value| {
            let refresh = block.get("oauth").and_then(|oauth| text_of(oauth, "refreshToken"));
            let found = [("HONCHO_API_KEY", text_of(block, "apiKey")), ("HONCHO_REFRESH_TOKEN", refresh)];
            found.map(|(name, text)| Some((name, SecretString::from(text?))))
        };
        hosts.chain(std::iter::once(&*self.0)).flat_map(of_block).flatten().collect()
    }

    /// Whether `host` has a key that belongs to no grant, and so stays unchanged.
    #[must_use]
    pub fn has_plain_key(&self, host: &str) -> bool {
        let key = self.block(host).and_then(|block| block.get("apiKey")).and_then(Value::as_str);
        key.is_some_and(|key| !key.is_empty() && !super::grant::is_access_token(key))
    }

    /// The name of the block of `host` in the file: its older one if only that has content. A rotation goes
    /// there, because a second block would hide the other settings of the first one and leave a spent token in it.
    #[must_use]
    pub fn block_name(&self, host: &str) -> String {
        let older = || older_host_name(host).filter(|older| self.full_block(older).is_some());
        self.full_block(host).is_none().then(older).flatten().unwrap_or_else(|| host.to_owned())
    }

    fn block(&self, host: &str) -> Option<&Value> {
        self.full_block(&self.block_name(host))
    }

    fn full_block(&self, name: &str) -> Option<&Value> {
        self.0.get("hosts")?.get(name).filter(|block| block.as_object().is_some_and(|block| !block.is_empty()))
    }

    /// Ensures that the block of `host` can take a grant.
    ///
    /// # Errors
    /// [`GrantFileError::Shape`] if it cannot.
    pub fn ensure_block(&mut self, host: &str) -> Result<(), GrantFileError> {
        let block = self.block_name(host);
        self.make_block(&block).map(drop)
    }

    /// A text of the block of `host`, else of the root.
    #[must_use]
    pub fn setting(&self, host: &str, name: &str) -> Option<&str> {
        self.block(host).and_then(|block| text_of(block, name)).or_else(|| self.root_setting(name))
    }

    /// A text of the root.
    #[must_use]
    pub fn root_setting(&self, name: &str) -> Option<&str> {
        text_of(&self.0, name)
    }

    /// Stores a grant in the block of `host` and leaves everything else unchanged.
    ///
    /// # Errors
    /// [`GrantFileError::Shape`] if that is impossible; nothing was changed then.
    pub fn set_grant(&mut self, host: &str, grant: &Grant) -> Result<(), GrantFileError> {
        let block = self.make_block(host)?;
        // Each old value is wiped as it is replaced.
        let key = Value::from(grant.access_token.expose_secret());
        drop(block.insert("apiKey".to_owned(), key).map(SecretJson::new));
        drop(block.insert("oauth".to_owned(), grant.oauth_block().take()).map(SecretJson::new));
        Ok(())
    }

    fn make_block(&mut self, name: &str) -> Result<&mut Map<String, Value>, GrantFileError> {
        let root = self.0.as_object_mut().ok_or(GrantFileError::Shape("the file"))?;
        let hosts = child(root, "hosts").ok_or(GrantFileError::Shape("`hosts`"))?;
        child(hosts, name).ok_or(GrantFileError::Shape("the host's block"))
    }

    /// Merges the settings of a login into the root, object by object; the login's values take precedence.
    pub fn merge(&mut self, config: &Map<String, Value>) {
        if let Some(root) = self.0.as_object_mut() {
            merge_into(root, config);
        }
    }

    /// The text to write: indented by two, with a final line end.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a JSON value always has a JSON form")]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = serde_json::to_string_pretty(&*self.0).expect("a JSON value always has a JSON form");
        text.push('\n');
        Zeroizing::new(text)
    }
}

fn text_of<'a>(place: &'a Value, name: &str) -> Option<&'a str> {
    place.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The object under `name`, created if missing; `None` if something else is there.
fn child<'a>(parent: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let child = parent.entry(name).or_insert_with(|| Map::new().into());
    if child.is_null() {
        *child = Map::new().into();
    }
    child.as_object_mut()
}

fn merge_into(base: &mut Map<String, Value>, overlay: &Map<String, Value>) {
    for (name, value) in overlay {
        match (base.get_mut(name), value) {
            (Some(Value::Object(base)), Value::Object(overlay)) => merge_into(base, overlay),
            _ => {
                base.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = r#"{"z": 1, "hosts": {"other": {"apiKey": "k"}, "hermes": {"b": true, "apiKey": "hch-at-old",
        "oauth": {"refreshToken": "r1", "expiresAt": 5, "clientId": "c", "tokenEndpoint": "t"}, "a": "ü"}}, "y": null}"#;

    #[test]
    fn a_rotation_keeps_all_other_content_and_its_order() {
        let mut file = HonchoFile::parse(FILE).unwrap();
        let mut grant = file.grant("hermes").unwrap();
        grant.access_token = "hch-at-new".into();
        grant.refresh_token = "r2".into();
        file.set_grant("hermes", &grant).unwrap();
        let text = file.to_text();
        let expected = FILE.replace("hch-at-old", "hch-at-new").replace("r1", "r2");
        let mut expected: Value = serde_json::from_str(&expected).unwrap();
        let oauth = &mut expected["hosts"]["hermes"]["oauth"];
        oauth["scope"] = json!("write");
        oauth["tokenType"] = json!("Bearer");
        assert_eq!(*text, serde_json::to_string_pretty(&expected).unwrap() + "\n");
        assert!(text.starts_with("{\n  \"z\": 1,\n"));
    }

    #[test]
    fn keys_and_tokens_of_every_host_are_secrets() {
        let text = r#"{"apiKey": "root", "hosts": {"a": {"apiKey": "plain"}, "b": 7, "c": {"apiKey": "hch-at-1", "oauth":
            {"refreshToken": "hch-rt-1"}}, "d": {"oauth": {"refreshToken": "hch-rt-2", "clientId": "c"}}}}"#;
        let file = HonchoFile::parse(text).unwrap();
        let found = file.secrets();
        let found: Vec<_> = found.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
        let [key, refresh] = ["HONCHO_API_KEY", "HONCHO_REFRESH_TOKEN"];
        assert_eq!(
            found,
            [(key, "plain"), (key, "hch-at-1"), (refresh, "hch-rt-1"), (refresh, "hch-rt-2"), (key, "root")]
        );
        assert!(HonchoFile::empty().secrets().is_empty());
    }

    #[test]
    fn a_file_that_does_not_parse_is_an_error_without_its_content() {
        assert_eq!(
            HonchoFile::parse("{\n \"k\": hch-at-x").unwrap_err(),
            GrantFileError::Syntax { line: 2, column: 7 }
        );
        assert!(HonchoFile::parse("").is_err());
        assert_eq!(HonchoFile::parse("[]").unwrap_err(), GrantFileError::Shape("the file"));
        let grant = HonchoFile::parse(FILE).unwrap().grant("hermes").unwrap();
        for (text, place) in [(r#"{"hosts":[]}"#, "`hosts`"), (r#"{"hosts":{"h":7}}"#, "the host's block")] {
            let mut file = HonchoFile::parse(text).unwrap();
            assert_eq!(file.set_grant("h", &grant), Err(GrantFileError::Shape(place)));
        }
    }

    #[test]
    fn the_older_name_is_read_when_the_present_block_is_empty() {
        let text = FILE.replace("\"hermes\"", "\"hermes.work\"");
        let mut file = HonchoFile::parse(&text).unwrap();
        let grant = file.grant("hermes_work").unwrap();
        assert_eq!(file.block_name("hermes_work"), "hermes.work");
        file.set_grant("hermes_work", &grant).unwrap();
        assert_eq!(file.block_name("hermes_work"), "hermes_work");
        assert!(file.to_text().contains("\"hermes_work\": {"));
        assert!(file.has_plain_key("other") && !file.has_plain_key("hermes_work"));
    }

    #[test]
    fn a_login_merges_into_the_root_and_shows_nothing() {
        let mut file = HonchoFile::parse(r#"{"a": {"x": 1, "y": 2}, "b": [1]}"#).unwrap();
        let config = json!({"a": {"y": 3}, "b": [2], "c": "new"});
        file.merge(config.as_object().unwrap());
        assert_eq!(*file.0, json!({"a": {"x": 1, "y": 3}, "b": [2], "c": "new"}));
        assert_eq!(format!("{file:?}"), "HonchoFile([redacted])");
        assert_eq!(*HonchoFile::empty().to_text(), "{}\n");
    }
}
