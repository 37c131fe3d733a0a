//! The steps of a refresh, for tests that stop or kill the process at one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The steps of a refresh at which a test may kill the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefreshStep {
    /// The lock is held.
    Locked,
    /// The file has been read under it.
    Read,
    /// The token is about to be presented, and that is noted.
    BeforeSend,
    /// An answer was received, or certainly will not be.
    Answered,
    /// The new file is written under another name.
    TemporaryWritten,
    /// The new file is in place.
    Renamed,
}

impl FromStr for RefreshStep {
    type Err = String;

    /// Parses the name of a step as `Debug` shows it.
    fn from_str(name: &str) -> Result<Self, String> {
        let steps = [Self::Locked, Self::Read, Self::BeforeSend, Self::Answered, Self::TemporaryWritten, Self::Renamed];
        steps.into_iter().find(|step| format!("{step:?}") == name).ok_or_else(|| format!("there is no step {name}"))
    }
}

/// Called at every step, on the refreshing thread; does nothing unless a test sets it.
#[derive(Clone, Default)]
pub struct StepHook(Option<Arc<dyn Fn(RefreshStep) + Send + Sync>>);

impl StepHook {
    /// Calls `hook` at every step.
    pub fn new(hook: impl Fn(RefreshStep) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(super) fn reached(&self, step: RefreshStep) {
        if let Some(hook) = &self.0 {
            hook(step);
        }
    }
}

impl fmt::Debug for StepHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "StepHook(set)" } else { "StepHook" })
    }
}
