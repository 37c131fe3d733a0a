//! The name under which the program was started, and its arguments.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The original's tools search for this program name; started under it, the program runs as a gateway.
const GATEWAY: &str = "hermes-gateway";

/// The arguments for the parser. Under the name of a gateway, `serve` is implied.
pub(crate) fn to_parse() -> Vec<OsString> {
    with_default(std::env::args_os().collect())
}

/// The arguments as given, for the record of this process. None of them is a secret: no flag of `serve` takes one.
pub(super) fn as_given() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn with_default(mut words: Vec<OsString>) -> Vec<OsString> {
    let gateway = words.first().is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new(GATEWAY)));
    let of_serve = words.get(1).is_none_or(|word| {
        let about_the_program = ["-h", "--help", "-V", "--version"].iter().any(|flag| word == flag);
        word.to_string_lossy().starts_with('-') && !about_the_program
    });
    if gateway && of_serve {
        words.insert(1, "serve".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> String {
        let words = with_default(words.split(' ').map(OsString::from).collect());
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn under_the_name_of_a_gateway_serve_is_implied() {
        assert_eq!(parsed("/usr/bin/hermes-gateway"), "/usr/bin/hermes-gateway serve");
        assert_eq!(parsed("hermes-gateway --home /h"), "hermes-gateway serve --home /h");
    }

    #[test]
    fn given_commands_are_kept() {
        for words in [
            "caduceus",
            "caduceus --home /h",
            "hermes-gateway serve --home /h",
            "hermes-gateway drain begin",
            "hermes-gateway --help",
            "hermes-gateway -V",
            "/opt/hermes-gateway/caduceus",
        ] {
            assert_eq!(parsed(words), words);
        }
    }
}
