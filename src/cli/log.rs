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
use caduceus_actors::settings::Environment;
use caduceus_supervision::install_panic_hook;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
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

/// The variable with a filter, such as `info,caduceus_actors::relay=debug`: levels, each for a module and those below it.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Sets up the log and the panic hook. Lines below `level` are not logged, unless `RUST_LOG` has a filter; one that cannot be
/// read is reported in the log.
pub(crate) fn init(redactor: &Redactor, environment: &Environment, level: LevelFilter, format: LogFormat) {
    let sink = LOG.get_or_init(|| {
        let queue = LogQueue::default();
        // Without a thread the lines are counted, once the queue is full, and the gateway serves.
        let _ =
            queue.start(Box::new(|bytes| Stream::Error.write(bytes)), Box::new(move |lost| lost_lines(lost, format)));
        LogSink { redactor: redactor.clone(), queue, format }
    });
    let (filter, unusable) = filter_of(environment.own.get(FILTER_VARIABLE).map(String::as_str), level);
    // Its internal errors would bypass the queue.
    let log = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(sink)
        .with_ansi(false)
        .log_internal_errors(false);
    let limit = LIMIT.get_or_init(LogLimit::new).clone();
    match format {
        LogFormat::Text => log.finish().with(filter).with(limit).init(),
        LogFormat::Json => log.json().finish().with(filter).with(limit).init(),
    }
    let redactor = redactor.clone();
    install_panic_hook(move |text| redactor.redact(text).into_owned());
    if let Some(error) = unusable {
        tracing::warn!(%error, level = %level, "RUST_LOG is not a filter of the log, and is ignored");
    }
}

/// The filter of the given variable, and why it is not used.
fn filter_of(variable: Option<&str>, level: LevelFilter) -> (Targets, Option<ParseError>) {
    let default = Targets::new().with_default(level);
    match variable.filter(|filter| !filter.trim().is_empty()).map(str::parse) {
        None => (default, None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (default, Some(error)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_variable_has_a_level_for_a_module_and_those_below_it() {
        let (filter, unusable) = filter_of(Some("warn,caduceus_actors::relay=debug"), LevelFilter::INFO);
        assert!(unusable.is_none());
        assert!(filter.would_enable("caduceus_actors::relay::actor", &Level::DEBUG));
        assert!(!filter.would_enable("caduceus_actors::drain", &Level::INFO));
    }

    #[test]
    fn without_a_filter_the_level_of_the_command_holds() {
        for variable in [None, Some(""), Some("  ")] {
            let (filter, unusable) = filter_of(variable, LevelFilter::ERROR);
            assert!(unusable.is_none());
            assert!(filter.would_enable("caduceus", &Level::ERROR) && !filter.would_enable("caduceus", &Level::WARN));
        }
    }

    #[test]
    fn an_unusable_filter_is_reported_and_ignored() {
        for variable in ["info,caduceus=loud", "caduceus[span{field=1}]=debug", "info=debug=trace"] {
            let (filter, unusable) = filter_of(Some(variable), LevelFilter::INFO);
            assert!(unusable.is_some(), "{variable}");
            assert!(filter.would_enable("caduceus", &Level::INFO) && !filter.would_enable("caduceus", &Level::DEBUG));
        }
    }
}
