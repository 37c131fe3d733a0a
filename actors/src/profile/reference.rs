//! `${NAME}` in a profile's configuration. Only the profile's own scope is used.

use std::fmt::Write as _;

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::scope::Scope;

/// One part of a text that may contain references.
enum Piece<'a> {
    Text(&'a str),
    Reference(&'a str),
}

/// `text` with each `${NAME}` replaced and each `$$` reduced to a dollar sign. Any other dollar sign stays.
///
/// # Errors
/// The first name that `scope` lacks.
pub(super) fn resolve<'a>(text: &'a str, scope: &Scope) -> Result<Zeroizing<String>, &'a str> {
    let mut resolved = Zeroizing::new(String::new());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => resolved.push_str(text),
            Piece::Reference(name) => {
                let value = scope.get(name).ok_or(name)?;
                // Room is reserved before, because a string that grows leaves a copy behind.
                let mut longer =
                    Zeroizing::new(String::with_capacity(resolved.len() + value.expose_secret().len() + text.len()));
                let _ = write!(longer, "{}{}", *resolved, value.expose_secret());
                resolved = longer;
            }
        }
    }
    Ok(resolved)
}

/// `text` with each `$$` reduced to a dollar sign, where a value is not allowed.
///
/// # Errors
/// The first name that `text` refers to.
pub(super) fn plain(text: &str) -> Result<String, &str> {
    let piece = |piece| match piece {
        Piece::Text(text) => Ok(text),
        Piece::Reference(name) => Err(name),
    };
    pieces(text).map(piece).collect()
}

/// The names that `text` refers to.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).filter_map(|piece| match piece {
        Piece::Reference(name) => Some(name),
        Piece::Text(_) => None,
    })
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = rest.find('$').unwrap_or(rest.len());
        if at > 0 {
            let (before, after) = rest.split_at(at);
            rest = after;
            return Some(Piece::Text(before));
        }
        let after = rest.strip_prefix('$')?;
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
            return Some(Piece::Text("$"));
        }
        if let Some((name, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            rest = after;
            return Some(Piece::Reference(name));
        }
        rest = after;
        Some(Piece::Text("$"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::env_file::parse;

    fn resolved(text: &str) -> Result<String, String> {
        let scope = Scope::new(&parse("A=one\nB=$A ${A}"), None);
        resolve(text, &scope).map(|text| text.to_string()).map_err(str::to_owned)
    }

    #[test]
    fn a_reference_is_replaced_by_the_value_and_the_value_is_not_expanded() {
        assert_eq!(resolved("--key=${A}${A}!"), Ok("--key=oneone!".into()));
        assert_eq!(resolved("${B}"), Ok("$A ${A}".into()));
    }

    #[test]
    fn two_dollar_signs_are_one_and_a_lone_one_stays() {
        assert_eq!(resolved("$$ $${A} $A $ ${A"), Ok("$ ${A} $A $ ${A".into()));
    }

    #[test]
    fn a_reference_where_no_value_is_allowed_is_an_error_with_its_name() {
        assert_eq!(plain("$${A} $A $$"), Ok("${A} $A $".into()));
        assert_eq!(plain("--key=${A}"), Err("A"));
    }

    #[test]
    fn an_unset_name_is_an_error_with_its_name() {
        assert_eq!(resolved("${A} ${MISSING}"), Err("MISSING".into()));
        assert_eq!(resolved("${}"), Err(String::new()));
        assert_eq!(names("${A} $${B} ${C}").collect::<Vec<_>>(), ["A", "C"]);
    }
}
