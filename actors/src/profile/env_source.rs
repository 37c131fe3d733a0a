//! Reads a profile's `.env` when it has changed, and notifies of possible changes. Reading blocks.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;

use super::env_file::{self, EnvFile, MAX_BYTES};
use crate::files::{Contents, FileError, FileEvents, FileStamp, Listening, Symlinks, Unusable, small};

/// The file's name in a profile's home.
pub(super) const FILE_NAME: &str = ".env";

/// The contents of the file.
#[derive(Debug)]
pub(super) enum EnvContent {
    /// Empty, if there is no file.
    Values(EnvFile),
    /// The file exists and cannot be used; the reason contains none of its content.
    Unusable(String),
}

/// Reads `path` unless its stamp is still `last`.
pub(super) fn read(path: &Path, last: Option<&FileStamp>) -> Option<(FileStamp, EnvContent)> {
    let stamp = FileStamp::read(path);
    if last == Some(&stamp) {
        return None;
    }
    Some(match small::read(path, MAX_BYTES, Symlinks::Follow) {
        Ok(contents) => (FileStamp::of_metadata(&contents.metadata), parse(&contents).unwrap_or_else(unusable)),
        Err(FileError { why: Unusable::Missing, .. }) => (FileStamp::Missing, EnvContent::Values(EnvFile::default())),
        Err(error @ FileError { why: Unusable::Dangling, .. }) => (FileStamp::Dangling, unusable(error.why)),
        Err(error) => (stamp, unusable(error.why)),
    })
}

fn parse(contents: &Contents) -> Result<EnvContent, Unusable> {
    contents.text().map(|text| EnvContent::Values(env_file::parse(text)))
}

#[expect(clippy::needless_pass_by_value, reason = "the reason is consumed")]
fn unusable(why: Unusable) -> EnvContent {
    EnvContent::Unusable(why.to_string())
}

/// Notifies `touched` of every event on the file in `home`, until the returned value is dropped.
pub(super) fn listen(events: &FileEvents, home: &Path, touched: Arc<Notify>) -> Listening {
    events.listen(home, &[FILE_NAME], |name| name == FILE_NAME, move || touched.notify_one())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::special::{SPECIAL, place};

    fn content(path: &Path) -> EnvContent {
        read(path, None).unwrap().1
    }

    #[test]
    fn a_missing_file_is_empty_and_no_error() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(content(&home.path().join(FILE_NAME)), EnvContent::Values(values) if values.is_empty()));
    }

    #[test]
    fn an_unusable_file_has_a_reason_without_its_content() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE_NAME);
        fs::write(&path, b"KEY=hunter2\xff").unwrap();
        let EnvContent::Unusable(reason) = content(&path) else { panic!("it was accepted") };
        assert_eq!(reason, "it is not UTF-8 at byte 11");
        fs::write(&path, vec![b'x'; 1_048_577]).unwrap();
        assert!(matches!(content(&path), EnvContent::Unusable(_)));
    }

    #[test]
    fn a_special_file_is_named_and_does_not_block() {
        for (kind, expected) in SPECIAL {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join(FILE_NAME);
            let _held = place(kind, &path);
            let EnvContent::Unusable(reason) = content(&path) else { panic!("{kind} was accepted as a file") };
            assert!(reason.contains(expected), "{kind}: {reason}");
        }
    }

    #[test]
    fn an_unchanged_file_is_not_read_again_and_a_replaced_one_is() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE_NAME);
        fs::write(&path, "A=1").unwrap();
        let (stamp, _) = read(&path, None).unwrap();
        assert!(read(&path, Some(&stamp)).is_none());
        fs::write(home.path().join("new"), "A=2").unwrap();
        fs::rename(home.path().join("new"), &path).unwrap();
        assert!(read(&path, Some(&stamp)).is_some());
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&path, Some(&stamp)).unwrap().0, FileStamp::Missing);
    }

    #[test]
    fn a_new_dangling_link_and_its_removal_are_noticed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE_NAME);
        let (missing, _) = read(&path, None).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let (dangling, content) = read(&path, Some(&missing)).expect("it is not as before");
        assert!(matches!(content, EnvContent::Unusable(_)));
        fs::remove_file(&path).unwrap();
        let (stamp, content) = read(&path, Some(&dangling)).expect("it is not as before");
        assert!(stamp == missing && matches!(content, EnvContent::Values(_)));
    }
}
