//! A token from a file that a person names.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use caduceus_actors::files::workers::Owner;
use caduceus_actors::files::{FileWorker, Purpose, Symlinks, small};
use zeroize::Zeroizing;

/// How long the other end of a pipe may take, such as a password manager that asks a person first.
const PIPE_TIMEOUT: Duration = Duration::from_mins(1);
/// The paths under which a shell passes an opened file: `--token-file <(pass show token)`.
const OPENED: [&str; 3] = ["/dev/stdin", "/dev/fd/", "/proc/self/fd/"];

/// Reads the file, which may have `limit` bytes.
///
/// A named pipe, a device or a directory is refused: opening it could wait without limit. What the caller has opened already is read,
/// whatever it is, for a minute at most.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let opened = path.to_str().is_some_and(|path| OPENED.iter().any(|place| path.starts_with(place)));
    let place = path.to_owned();
    let reading = FileWorker::of(path, Purpose::Secrets, Owner::Profile).begin(move || {
        if opened {
            read_opened(&place, limit)
        } else {
            Ok(small::read(&place, limit, Symlinks::Follow).map_err(|error| error.why)?.bytes)
        }
    });
    reading.wait(Instant::now() + PIPE_TIMEOUT).map_err(|error| io::Error::new(io::ErrorKind::TimedOut, error))?
}

#[expect(
    clippy::disallowed_methods,
    reason = "the caller has opened it already; only the read can wait, and it has a limit"
)]
fn read_opened(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(limit + 1).unwrap_or_default()));
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}
