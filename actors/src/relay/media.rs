//! Media that the connector hosts: fetched with the gateway's token at receipt, because the token is valid for minutes and a turn
//! may wait longer. Only from the connector's own origin, never after a redirect; every other address is passed on unchanged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Uri;
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use crate::files::own;
use crate::http_client::{HttpCall, HttpClient, HttpError, HttpLimits};
use crate::profile::messages::PrepareDial;
use caduceus_contract::json::RawJson;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::url::RelayUrl;
use caduceus_supervision::Port;

/// The folder of the files, in a home.
pub const FOLDER: &str = "cache/relay_media";
/// Largest file; the limit of chat platforms for attachments.
const MAX_FILE: usize = 25 * 1024 * 1024;
/// Most files of one event.
const MAX_FILES: usize = 10;
/// Timeout of one file.
const LIMIT: Duration = Duration::from_secs(30);
/// Concurrent fetches of one link.
const AT_ONCE: usize = 4;
/// Age at which a file is deleted; turns have read it long before.
const KEPT_FOR: Duration = Duration::from_hours(24);
/// Most bytes that are stored; the oldest are deleted first.
const KEPT_BYTES: u64 = 1024 * 1024 * 1024;

/// Most files that are stored; the oldest are deleted first. The cost of a sweep grows with their number.
const KEPT_FILES: usize = 4_096;

/// Fetches media for one link. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    profile: Port<PrepareDial>,
    /// Timeout for a token.
    timeout: Duration,
    client: HttpClient,
    folder: PathBuf,
    permits: Arc<Semaphore>,
}

/// Why a file was not fetched; its address is passed on unchanged.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("there is no token for it")]
    NoToken,
    #[error("the connector did not send it: {0}")]
    Http(#[from] HttpError),
    #[error("the connector answered with status {0}")]
    Status(u16),
    #[error("no complete answer within {} s", LIMIT.as_secs())]
    TooSlow,
    #[error("it could not be stored")]
    Disk(#[from] std::io::Error),
}

impl Fetcher {
    pub(super) fn new(profile: Port<PrepareDial>, timeout: Duration, client: HttpClient, folder: PathBuf) -> Self {
        Self { profile, timeout, client, folder, permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The event, with files in place of the addresses at the connector `url`.
    pub(super) async fn with_media(
        self,
        url: String,
        event: Arc<InboundEvent>,
        raw: RawJson,
    ) -> (Arc<InboundEvent>, RawJson) {
        let mut event = event;
        let wanted = hosted(&event, &url);
        let Ok(_permit) = self.permits.acquire().await else { return (event, raw) };
        self.sweep().await;
        let Ok(mut fields) = serde_json::from_str::<Value>(raw.get()) else { return (event, raw) };
        for index in wanted {
            match self.fetch(&event.media_urls[index], &url).await {
                Ok(path) => {
                    let path = path.to_string_lossy().into_owned();
                    let shown = fields.get_mut("media_urls").and_then(|urls| urls.get_mut(index));
                    if let Some(shown) = shown {
                        *shown = path.as_str().into();
                    }
                    Arc::make_mut(&mut event).media_urls[index] = path;
                }
                Err(reason) => {
                    let cause = std::error::Error::source(&reason).map(tracing::field::display);
                    warn!(%reason, cause, "media not fetched from the connector");
                }
            }
        }
        (event, RawJson::of(&fields))
    }

    /// Deletes files above the limits of age, bytes or number.
    pub(super) async fn sweep(&self) {
        let folder = self.folder.clone();
        let swept = tokio::task::spawn_blocking(move || sweep(&folder, SystemTime::now())).await;
        if let Ok(Err(error)) = swept {
            warn!(folder = %self.folder.display(), %error, "old media not deleted");
        }
    }

    async fn fetch(&self, address: &str, url: &str) -> Result<PathBuf, FetchError> {
        let dial = self.profile.ask(PrepareDial, self.timeout).await.ok().and_then(Result::ok);
        // The settings may have changed while the connection is open: a token for another connector is not sent to this one.
        let dial = dial.filter(|dial| dial.url == url);
        let token = dial.and_then(|dial| dial.token).ok_or(FetchError::NoToken)?;
        let folder = self.folder.clone();
        let path = folder.join(file_name(address));
        let made = tokio::task::spawn_blocking(move || {
            own::make_directory(&folder)?;
            // A link to a larger disk keeps the mode of its target directory.
            if fs::symlink_metadata(&folder)?.is_dir() {
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            }
            std::io::Result::Ok(())
        });
        made.await.map_err(std::io::Error::other)??;
        let fetched = timeout(LIMIT, self.download(address, &token, &path)).await.unwrap_or(Err(FetchError::TooSlow));
        if fetched.is_err() {
            // It may not exist.
            let gone = path.clone();
            let _ = tokio::task::spawn_blocking(move || fs::remove_file(gone)).await;
        }
        fetched.map(|()| path)
    }

    async fn download(&self, address: &str, token: &SecretString, path: &Path) -> Result<(), FetchError> {
        let call = HttpCall::get(address, HttpLimits::within(LIMIT, MAX_FILE))
            .bearer(token)
            .map_err(|_| FetchError::NoToken)?;
        let mut answer = self.client.send(call).await?;
        if answer.status() != 200 {
            return Err(FetchError::Status(answer.status()));
        }
        let place = path.to_owned();
        let created = tokio::task::spawn_blocking(move || own::create_new(&place, own::OpenMode::Append, 0o600)).await;
        let file = created.map_err(std::io::Error::other)?.map_err(|error| std::io::Error::from(error.why))?;
        let mut file = tokio::fs::File::from_std(file);
        while let Some(piece) = answer.piece().await {
            file.write_all(&piece?).await?;
        }
        Ok(file.flush().await?)
    }
}

/// The event's media that the connector at `url` hosts.
pub(super) fn hosted(event: &InboundEvent, url: &str) -> Vec<usize> {
    let Some(ours) = origin(RelayUrl::new(url).enroll_base()) else { return Vec::new() };
    let kept = |address: &str| origin(address).is_some_and(|origin| origin == ours);
    let addresses = event.media_urls.iter().enumerate();
    addresses.filter(|(_, address)| kept(address)).map(|(index, _)| index).take(MAX_FILES).collect()
}

/// Scheme, host and port of an HTTP address without a user in it.
fn origin(address: &str) -> Option<(String, String, u16)> {
    let uri: Uri = address.parse().ok()?;
    let scheme = uri.scheme_str()?.to_lowercase();
    let default = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = uri.authority()?;
    let plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    plain.then(|| (scheme, authority.host().to_lowercase(), authority.port_u16().unwrap_or(default)))
}

/// A fresh name, with the file name ending of the address if that is harmless, because agents use it.
fn file_name(address: &str) -> String {
    let path = address.parse::<Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
    let ending = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    let harmless =
        |ending: &&str| (1..=8).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let ending = ending.filter(harmless).map(|ending| format!(".{}", ending.to_lowercase())).unwrap_or_default();
    format!("{}{ending}", uuid::Uuid::now_v7().simple())
}

/// Whether a name is one that [`file_name`] makes.
fn is_ours(name: &str) -> bool {
    let (stem, ending) = name.split_once('.').map_or((name, None), |(stem, ending)| (stem, Some(ending)));
    let hex = stem.len() == 32 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = hex.then(|| uuid::Uuid::try_parse(stem).ok()).flatten();
    let harmless = |ending: &str| {
        (1..=8).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    id.is_some_and(|id| id.get_version_num() == 7) && ending.is_none_or(harmless)
}

/// Deletes files with names of [`file_name`] above the limits. Blocks.
fn sweep(folder: &Path, now: SystemTime) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Other files are not deleted, nor are links to them.
        if !entry.file_name().to_str().is_some_and(is_ours) {
            continue;
        }
        // A file that was deleted meanwhile needs no deletion.
        let Ok(found) = entry.metadata() else { continue };
        if found.is_file() {
            files.push((found.modified()?, found.len(), entry.path()));
        }
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    let mut kept = 0_u64;
    for (number, (modified, bytes, path)) in files.into_iter().enumerate() {
        kept = kept.saturating_add(bytes);
        let age = now.duration_since(modified).unwrap_or_default();
        if age > KEPT_FOR || kept > KEPT_BYTES || number >= KEPT_FILES {
            match fs::remove_file(path) {
                // Several links sweep the same folder.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(addresses: &[&str]) -> InboundEvent {
        let media_urls = addresses.iter().map(|address| (*address).to_owned()).collect();
        InboundEvent { media_urls, ..InboundEvent::default() }
    }

    #[test]
    fn only_the_connectors_own_origin_is_fetched_from() {
        let own = ["https://c.example/m/1", "HTTPS://C.EXAMPLE:443/m/2?x=1"];
        assert_eq!(hosted(&event(&own), "wss://c.example/relay"), [0, 1]);
        for other in [
            "http://c.example/m",
            "https://c.example:444/m",
            "https://c.example.evil/m",
            "https://evil/c.example",
            "https://u@c.example/m",
            "https://c.example@evil/m",
            "//c.example/m",
            "/m",
            "file:///etc/passwd",
            "",
        ] {
            assert!(hosted(&event(&[other]), "wss://c.example/relay").is_empty(), "{other}");
        }
        assert_eq!(hosted(&event(&["http://127.0.0.1:9/a"]), "ws://127.0.0.1:9"), [0]);
        assert_eq!(hosted(&event(&["https://c.example/m"; 20]), "https://c.example").len(), MAX_FILES);
    }

    #[test]
    fn a_file_keeps_a_harmless_ending_and_no_other_part_of_its_address() {
        let name = file_name("https://c.example/a/photo.JPG?x=.exe");
        assert_eq!(name.split_once('.').map(|(_, ending)| ending), Some("jpg"));
        for odd in ["https://c.example/..%2f..%2fx", "https://c.example/a.b/c", "https://c.example/a.tar-gz", "x"] {
            assert!(!file_name(odd).contains(['.', '/', '%']), "{odd}: {}", file_name(odd));
        }
    }

    #[test]
    fn files_above_the_limits_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let [old, big, new] = ["https://c/a.jpg", "https://c/b", "https://c/c.png"].map(file_name);
        let theirs = ["notes.txt", ".env", "0123.jpg", "cafe0123cafe0123cafe0123cafe0123.jpg"];
        for (name, bytes) in
            [(&*old, 1), (&*big, KEPT_BYTES), (&*new, 1)].into_iter().chain(theirs.map(|name| (name, 1)))
        {
            fs::File::create(path(name)).unwrap().set_len(bytes).unwrap();
        }
        let link = format!("{}.jpg", uuid::Uuid::now_v7().simple());
        std::os::unix::fs::symlink(path("notes.txt"), path(&link)).unwrap();
        let now = SystemTime::now();
        let set = |name: &str, age: u64| {
            let file = fs::File::options().append(true).open(path(name)).unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
        };
        set(&old, 24 * 3_600 + 60);
        set(&big, 60);
        for name in theirs {
            set(name, 48 * 3_600);
        }
        sweep(folder.path(), now).unwrap();
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<_> = names.collect();
        let mut expected: Vec<_> = theirs.map(str::to_owned).into_iter().chain([new, link]).collect();
        left.sort_unstable();
        expected.sort_unstable();
        assert_eq!(left, expected, "the newest files up to the limit stay, and foreign files stay");
        sweep(&folder.path().join("missing"), now).unwrap();
    }

    #[test]
    fn no_number_of_small_files_makes_the_folder_grow() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..KEPT_FILES + 5 {
            fs::File::create(folder.path().join(file_name("https://c/a"))).unwrap();
        }
        sweep(folder.path(), SystemTime::now()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT_FILES);
    }
}
