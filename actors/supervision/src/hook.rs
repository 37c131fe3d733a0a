//! The panic hook: one structured line for each panic, and its text, redacted, for the exit reason.
//!
//! No backtrace is captured: that takes 100 µs and more, most of the time of a restart.

use std::cell::RefCell;
use std::panic::PanicHookInfo;

use crate::incarnation::Incarnation;

thread_local! {
    static LAST_TEXT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Replaces the process's panic hook. Each panic is logged as one line with actor, generation, location and the text
/// as `redact` returns it.
///
/// `redact` runs while its thread panics, so a panic in it aborts the process.
pub fn install_panic_hook(redact: impl Fn(&str) -> String + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |info| {
        // One line, also for the text of an assertion, which has several.
        let text = redact(text_of(info)).lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        if let Some(incarnation) = Incarnation::current() {
            let (actor, generation, fenced) = (incarnation.path(), incarnation.generation(), incarnation.is_fenced());
            tracing::error!(actor, generation, fenced, %location, %text, "actor panicked");
        } else {
            tracing::error!(%location, %text, "thread panicked outside any actor");
        }
        LAST_TEXT.set(Some(text));
    }));
}

/// The redacted text of the panic that was caught last on this thread. Withheld without this hook, because it is not redacted
/// then.
pub(crate) fn take_text() -> String {
    LAST_TEXT.take().unwrap_or_else(|| "text withheld, no panic hook is installed".to_owned())
}

fn text_of<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = info.payload();
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic payload without text")
}
