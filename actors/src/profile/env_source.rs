//! Reads a profile's `.env` when it has changed, and hears when it may have. Reading blocks.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use tracing::warn;
use zeroize::Zeroizing;

use super::env_file::{self, EnvFile};
use crate::files::{FileEvents, Listening, Stamp};

/// The file's name in a profile's home.
pub(super) const FILE_NAME: &str = ".env";
/// Far above any real one; a log that was renamed by mistake must not be read whole.
const MAX_BYTES: u64 = 1024 * 1024;

/// What the file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing, when there is no file.
    Values(EnvFile),
    /// The file is there and cannot be used; the reason holds nothing of it.
    Unusable(String),
}

/// Reads `path` unless it looks as it did at `last`.
pub(super) fn read(path: &Path, last: Option<&Stamp>) -> Option<(Stamp, Content)> {
    let looked = fs::metadata(path);
    let stamp = Stamp::of(&looked);
    if last == Some(&stamp) {
        return None;
    }
    let content = match looked {
        Err(_) if stamp == Stamp::Missing => Content::Values(EnvFile::default()),
        Err(error) => Content::Unusable(error.to_string()),
        // Anything else could block for ever, or never end.
        Ok(found) if !found.is_file() => Content::Unusable("it is not a file".to_owned()),
        Ok(found) if found.len() > MAX_BYTES => Content::Unusable(format!("it is larger than {MAX_BYTES} bytes")),
        Ok(found) => parse(path, found.len()).unwrap_or_else(Content::Unusable),
    };
    Some((stamp, content))
}

fn parse(path: &Path, bytes: u64) -> Result<Content, String> {
    // Room for all of it at once: what grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(bytes).unwrap_or(0) + 1));
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let text =
        std::str::from_utf8(&text).map_err(|error| format!("it is not UTF-8 at byte {}", error.valid_up_to()))?;
    Ok(Content::Values(env_file::parse(text)))
}

/// Notifies `touched` of every event on the file in `home`, for as long as the answer lives; `None`, with a warning, where there
/// are no file events.
pub(super) fn listen(events: &FileEvents, home: &Path, touched: Arc<Notify>) -> Option<Listening> {
    let listening = events.listen(home, |name| name == FILE_NAME, move || touched.notify_one());
    listening.inspect_err(|error| warn!(home = %home.display(), %error, "no file events here; .env is polled")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> Content {
        read(path, None).unwrap().1
    }

    #[test]
    fn a_missing_file_is_empty_and_not_a_trouble() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(content(&home.path().join(FILE_NAME)), Content::Values(values) if values.is_empty()));
    }

    #[test]
    fn what_cannot_be_used_says_why_and_shows_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE_NAME);
        fs::write(&path, b"KEY=hunter2\xff").unwrap();
        let Content::Unusable(reason) = content(&path) else { panic!("it was taken") };
        assert_eq!(reason, "it is not UTF-8 at byte 11");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(content(&path), Content::Unusable(_)));
        fs::remove_dir(&path).unwrap();
        fs::write(&path, vec![b'x'; 1_048_577]).unwrap();
        assert!(matches!(content(&path), Content::Unusable(_)));
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
        assert_eq!(read(&path, Some(&stamp)).unwrap().0, Stamp::Missing);
    }
}
