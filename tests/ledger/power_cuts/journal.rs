//! The journal of the preloaded library (`journal.c`): what happened to the files of the ledger, and what was sent to the connector.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The numbers of a record before its payload.
const HEADER: usize = 32;

/// The names in the directory, with their inodes.
pub(super) type Names = Vec<(String, u64)>;

/// One call that succeeded.
#[derive(Debug)]
pub(super) enum Record {
    /// A gateway began, and found these files.
    Begun(Names),
    /// A file got its name, or was first used.
    Named {
        inode: u64,
        name: String,
    },
    Written {
        inode: u64,
        offset: usize,
        bytes: Range<usize>,
    },
    Truncated {
        inode: u64,
        size: usize,
    },
    Synced {
        inode: u64,
    },
    DirectorySynced(Names),
    Renamed {
        from: String,
        to: String,
    },
    Linked {
        from: String,
        to: String,
    },
    Unlinked {
        name: String,
    },
    /// Bytes were about to be sent over the connection from this port.
    Sent {
        port: u64,
        bytes: Range<usize>,
    },
    /// Of the last bytes over this connection only the first ones were sent.
    SentInPart {
        port: u64,
        length: usize,
    },
}

/// A frame that left the gateway.
#[derive(Debug)]
pub(super) struct SentFrame {
    /// The record with its last byte.
    pub(super) at: usize,
    pub(super) frame: Value,
}

/// All records, in order.
pub(super) struct Journal {
    bytes: Vec<u8>,
    pub(super) records: Vec<Record>,
}

/// Builds the library in `directory`; returns its path.
pub(super) fn build_library(directory: &Path) -> std::path::PathBuf {
    let library = directory.join("journal.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ledger/journal.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").output();
    let built = built.expect("a C compiler: the build of the program needs it too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

impl Journal {
    pub(super) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let mut records = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let number =
                |index: usize| u64::from_ne_bytes(bytes[at + 8 * index..at + 8 * index + 8].try_into().unwrap());
            let [kind, id, offset, length] = [number(0), number(1), number(2), number(3)];
            let size = |number: u64| usize::try_from(number).unwrap();
            let payload = at + HEADER..at + HEADER + size(length);
            at = payload.end;
            let text = || String::from_utf8(bytes[payload.clone()].to_vec()).unwrap();
            let pair = || text().split_once('\n').map(|(from, to)| (from.to_owned(), to.to_owned())).unwrap();
            records.push(match u8::try_from(kind).unwrap() {
                b'P' => Record::Begun(names(&text())),
                b'N' => Record::Named { inode: id, name: text() },
                b'W' => Record::Written { inode: id, offset: size(offset), bytes: payload },
                b'T' => Record::Truncated { inode: id, size: size(offset) },
                b'S' => Record::Synced { inode: id },
                b'D' => Record::DirectorySynced(names(&text())),
                b'R' => {
                    let (from, to) = pair();
                    Record::Renamed { from, to }
                }
                b'L' => {
                    let (from, to) = pair();
                    Record::Linked { from, to }
                }
                b'U' => Record::Unlinked { name: text() },
                b'X' => Record::Sent { port: id, bytes: payload },
                b'Y' => Record::SentInPart { port: id, length: size(offset) },
                kind => panic!("a record {kind}"),
            });
        }
        Self { bytes, records }
    }

    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    /// The frames that left the gateway, in order.
    pub(super) fn sent_frames(&self) -> Vec<SentFrame> {
        let mut streams: HashMap<u64, ClientStream> = HashMap::new();
        let mut frames = Vec::new();
        for (at, record) in self.records.iter().enumerate() {
            match record {
                // Ports are used again.
                Record::Begun(_) => streams.clear(),
                Record::Sent { port, bytes } => {
                    let in_full = match self.records.get(at + 1) {
                        Some(Record::SentInPart { port: of, length }) if of == port => *length,
                        _ => bytes.len(),
                    };
                    let stream = streams.entry(*port).or_default();
                    if self.bytes(bytes).starts_with(b"GET ") {
                        *stream = ClientStream::default();
                    }
                    stream.bytes.extend_from_slice(&self.bytes(bytes)[..in_full]);
                    frames.extend(stream.take_frames().into_iter().map(|frame| SentFrame { at, frame }));
                }
                _ => {}
            }
        }
        frames
    }
}

fn names(listing: &str) -> Names {
    let line = |line: &str| line.split_once('\t').map(|(name, inode)| (name.to_owned(), inode.parse().unwrap()));
    listing.lines().filter_map(line).collect()
}

/// What a client sent over one WebSocket, after its request.
#[derive(Default)]
struct ClientStream {
    bytes: Vec<u8>,
    is_open: bool,
}

impl ClientStream {
    /// The JSON lines of the text frames that are complete.
    fn take_frames(&mut self) -> Vec<Value> {
        if !self.is_open {
            let Some(end) = self.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Vec::new() };
            self.bytes.drain(..end + 4);
            self.is_open = true;
        }
        let mut frames = Vec::new();
        while let Some((opcode, content, length)) = self.next_frame() {
            self.bytes.drain(..length);
            if opcode == 1 {
                frames.extend(content.split('\n').filter_map(|line| serde_json::from_str::<Value>(line).ok()));
            }
        }
        frames
    }

    /// Opcode, content and length of the first frame, if it is complete. A client masks what it sends.
    fn next_frame(&self) -> Option<(u8, String, usize)> {
        let [first, second] = *self.bytes.first_chunk::<2>()?;
        assert!(second & 0x80 != 0, "a frame of a client is masked");
        let (length, at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(self.bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(self.bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
            short => (usize::from(short), 2),
        };
        let mask: [u8; 4] = self.bytes.get(at..at + 4)?.try_into().ok()?;
        let content = self.bytes.get(at + 4..at + 4 + length)?;
        let plain: Vec<u8> = content.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        Some((first & 0x0f, String::from_utf8_lossy(&plain).into_owned(), at + 4 + length))
    }
}
