//! The log: one line an event on standard error, every secret replaced on its way out.

use std::io::{self, LineWriter, Stderr};
use std::sync::Mutex;

use caduceus_actors::profile::Redactor;
use caduceus_actors::profile::redact::RedactingWriter;
use caduceus_actors::supervision::install_panic_hook;
use tracing_subscriber::EnvFilter;

/// In which form the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sets up the log and the panic hook. `filter` is in the form of `RUST_LOG`, which wins over it.
pub(crate) fn init(redactor: &Redactor, filter: &str, format: LogFormat) {
    let writer = RedactingWriter::new(redactor.clone(), LineWriter::new(io::stderr()));
    let writer: Mutex<RedactingWriter<LineWriter<Stderr>>> = Mutex::new(writer);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let redactor = redactor.clone();
    install_panic_hook(move |text| redactor.redact(text).into_owned());
}
