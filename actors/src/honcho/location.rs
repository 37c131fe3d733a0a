//! Which file has a profile's grant. No I/O; questions about the disk are passed in.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::settings::Environment;
use caduceus_contract::profile_name::ProfileName;

/// The file's name in a home of the gateway.
pub const FILE_NAME: &str = "honcho.json";

/// The directories of a profile's possible files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homes {
    /// The profile's own (`$HERMES_HOME`).
    pub own: PathBuf,
    /// The default profile's, whose file named profiles may share.
    pub default: PathBuf,
    /// The user's, which has `.honcho/config.json`; `None` if the user has none.
    pub user: Option<PathBuf>,
}

/// A profile, as far as its grant is concerned.
#[derive(Debug, Clone)]
pub struct HonchoProfile {
    /// The profile.
    pub name: ProfileName,
    /// The directories of its possible files.
    pub homes: Homes,
    /// `HERMES_HONCHO_HOST`, for the profile that owns the environment.
    pub host: Option<String>,
}

impl HonchoProfile {
    /// The profile `name`, whose home is `own`, of the gateway at `gateway`.
    #[must_use]
    pub fn new(name: ProfileName, own: &Path, gateway: &Path, environment: &Environment) -> Self {
        // A named profile may be served alone; the default one's home is then the one above it.
        let above = || gateway.parent().filter(|parent| parent.ends_with("profiles")).and_then(Path::parent);
        let default = if name.is_default() { gateway } else { above().unwrap_or(gateway) };
        let homes = Homes {
            own: own.to_owned(),
            default: default.to_owned(),
            user: environment.globals.get("HOME").map(PathBuf::from),
        };
        // The environment belongs to the profile whose home was given to the gateway.
        let host = environment.honcho_host().filter(|_| own == gateway).map(str::to_owned);
        Self { name, homes, host }
    }
}

impl Homes {
    /// The possible files, in order of precedence, each once.
    #[must_use]
    pub fn candidates(&self) -> Vec<PathBuf> {
        let shared = (self.default != self.own).then(|| self.default.join(FILE_NAME));
        let global = self.user.as_ref().map(|user| user.join(".honcho").join("config.json"));
        std::iter::once(self.own.join(FILE_NAME)).chain(shared).chain(global).collect()
    }

    /// The file in use: the first that exists, else the one that a first write creates.
    ///
    /// `is_there` must be true for a file that cannot be read, because the next one would be another profile's grant.
    #[must_use]
    pub fn locate(&self, is_there: impl Fn(&Path) -> bool) -> PathBuf {
        let mut candidates = self.candidates();
        match candidates.iter().position(|path| is_there(path)) {
            Some(found) => candidates.swap_remove(found),
            None => candidates.pop().unwrap_or_else(|| self.own.join(FILE_NAME)),
        }
    }
}

/// Whether something exists at `path`, links followed; also if it cannot be examined.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    let nothing = |error: std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    !std::fs::metadata(path).is_err_and(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes() -> Homes {
        Homes { own: "/h/profiles/work".into(), default: "/h".into(), user: Some("/u".into()) }
    }

    fn located(there: &[&str]) -> PathBuf {
        homes().locate(|path| there.iter().any(|name| path == Path::new(name)))
    }

    #[test]
    fn the_profiles_own_file_takes_precedence_over_the_default_homes_and_the_users() {
        let all = ["/h/profiles/work/honcho.json", "/h/honcho.json", "/u/.honcho/config.json"];
        for first in 0..all.len() {
            assert_eq!(located(&all[first..]), Path::new(all[first]));
        }
    }

    #[test]
    fn the_first_write_goes_to_the_users_file() {
        assert_eq!(located(&[]), Path::new("/u/.honcho/config.json"));
        let lone = Homes { own: "/h".into(), default: "/h".into(), user: None };
        assert_eq!(lone.locate(|_| false), Path::new("/h/honcho.json"));
    }

    #[test]
    fn a_profile_served_alone_shares_the_file_of_the_home_above_it() {
        let environment = Environment::sort([("HERMES_HONCHO_HOST".to_owned(), "x".to_owned())]);
        let work = || ProfileName::parse("work").unwrap();
        let (root, own) = (Path::new("/h"), Path::new("/h/profiles/work"));
        let alone = HonchoProfile::new(work(), own, own, &environment);
        assert_eq!((alone.homes.default.as_path(), alone.host.as_deref()), (root, Some("x")));
        let beside = HonchoProfile::new(work(), own, root, &environment);
        assert_eq!((beside.homes.default.as_path(), beside.host), (root, None));
        let default = HonchoProfile::new(ProfileName::default_profile(), own, own, &environment);
        assert_eq!(default.homes.default, own);
    }

    #[test]
    fn the_default_profile_has_no_file_twice() {
        let default = Homes { own: "/h".into(), default: "/h".into(), user: Some("/u".into()) };
        assert_eq!(default.candidates().len(), 2);
    }
}
