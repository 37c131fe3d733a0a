//! Paths that are not regular files, for tests: each can be in the place of an expected file.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Each kind, and a part of its error text.
pub(crate) const SPECIAL: [(&str, &str); 7] = [
    ("pipe", "a named pipe"),
    ("directory", "a directory"),
    ("endless device", "a device"),
    ("socket", "a socket"),
    ("link to nothing", "a symbolic link to nothing"),
    ("link to itself", "it cannot be used"),
    ("10 GB", "larger than"),
];

/// Creates this kind at `path`. The returned value keeps it alive.
pub(crate) fn place(kind: &str, path: &Path) -> Option<UnixListener> {
    match kind {
        "pipe" => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        "directory" => fs::create_dir(path).unwrap(),
        "endless device" => symlink("/dev/zero", path).unwrap(),
        "link to nothing" => symlink("nothing/at/all", path).unwrap(),
        "link to itself" => symlink(path.file_name().unwrap(), path).unwrap(),
        "10 GB" => {
            let mut file = fs::File::create(path).unwrap();
            file.seek(SeekFrom::Start(10_000_000_000)).unwrap();
            file.write_all(b"x").unwrap();
        }
        "socket" => return Some(UnixListener::bind(path).unwrap()),
        other => panic!("{other} is no kind"),
    }
    None
}
