//! The log: one line per event on standard error, with every secret redacted.
//!
//! A line is redacted and escaped by the thread that logs, then put into a bounded queue; a separate thread writes. So no reader
//! of standard error can block or end the thread that logs.

mod limit; // The rate limit of each kind of line.
mod line; // One event, one line.
mod queue; // Lines to be written, and lost lines.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use caduceus_actors::profile::Redactor;
use caduceus_supervision::install_panic_hook;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::stream::Stream;
use limit::LogLimit;
pub(crate) use line::LogFormat;
use line::{lost_lines, one_line};
use queue::LogQueue;

/// How long the last lines may take at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The log of this process, once there is one.
static LOG: OnceLock<LogSink> = OnceLock::new();
/// The rate limit of the log.
static LIMIT: OnceLock<LogLimit> = OnceLock::new();

/// Sets up the log and the panic hook. `filter` is in the form of `RUST_LOG`, which takes precedence.
pub(crate) fn init(redactor: &Redactor, filter: &str, format: LogFormat) {
    let sink = LOG.get_or_init(|| {
        let queue = LogQueue::default();
        // Without a thread the lines are counted, once the queue is full, and the gateway serves.
        let _ =
            queue.start(Box::new(|bytes| Stream::Error.write(bytes)), Box::new(move |lost| lost_lines(lost, format)));
        LogSink { redactor: redactor.clone(), queue, format }
    });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    // Its internal errors would bypass the queue.
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(sink).with_ansi(false).log_internal_errors(false);
    let limit = LIMIT.get_or_init(LogLimit::new).clone();
    match format {
        LogFormat::Text => log.finish().with(limit).init(),
        LogFormat::Json => log.json().finish().with(limit).init(),
    }
    let redactor = redactor.clone();
    install_panic_hook(move |text| redactor.redact(text).into_owned());
}

/// Writes `line` to the log. Returns whether there is a log.
pub(crate) fn write_line(line: &str) -> bool {
    let log = LOG.get();
    if let Some(log) = log {
        log.put(line.as_bytes());
    }
    log.is_some()
}

/// Lines lost since the start because standard error did not accept them.
pub(crate) fn dropped() -> u64 {
    LOG.get().map_or(0, |log| log.queue.dropped())
}

/// Logs the count of lines suppressed since the last report; called before the process ends.
pub(crate) fn report_suppressed() {
    if let Some(limit) = LIMIT.get() {
        limit.report();
    }
}

/// Waits until the lines so far are written, for at most 2 s.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        log.queue.flush(FLUSH_TIMEOUT);
    }
}

/// Takes whole events.
#[derive(Debug)]
struct LogSink {
    redactor: Redactor,
    queue: LogQueue,
    format: LogFormat,
}

impl LogSink {
    fn put(&self, event: &[u8]) {
        // First: cutting and escaping could split or change a secret.
        let clean = self.redactor.redact_bytes(event);
        self.queue.push(&one_line(&clean, self.format));
    }
}

impl<'s> MakeWriter<'s> for &'static LogSink {
    type Writer = EventWriter;

    fn make_writer(&'s self) -> Self::Writer {
        EventWriter(self)
    }
}

/// Takes one event, which the formatter writes at once.
struct EventWriter(&'static LogSink);

impl io::Write for EventWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.put(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
