//! Things that are no files, for tests: each can lie where a file is expected.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Each kind, and a word of what is said of it.
pub(crate) const ODD: [(&str, &str); 7] = [
    ("pipe", "a named pipe"),
    ("directory", "a directory"),
    ("endless device", "a device"),
    ("socket", "a socket"),
    ("link to nothing", "a symbolic link to nothing"),
    ("link to itself", "it cannot be used"),
    ("10 GB", "larger than"),
];

/// Puts a thing of this kind at `path`. What it answers keeps it there.
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
