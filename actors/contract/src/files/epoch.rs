//! The boot of the machine, which distinguishes a drain marker of a previous one.

use std::fmt;

/// `<boot id>:<start time of process 1>`. Constant while process 1 runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch(String);

/// The position of the start time after the command in `/proc/1/stat`: field 22, and the command is field 2.
const START_TIME_AFTER_COMMAND: usize = 19;

impl Epoch {
    /// Combines the two texts as the original does: either may be missing, `None` if both are.
    #[must_use]
    pub fn from_parts(boot_id: Option<&str>, stat: Option<&str>) -> Option<Self> {
        let boot_id = boot_id.map_or("", str::trim);
        let started = stat.and_then(start_time).unwrap_or("");
        if boot_id.is_empty() && started.is_empty() { None } else { Some(Self(format!("{boot_id}:{started}"))) }
    }

    /// An epoch as written in a marker; the empty text is none.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The form in a marker.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The start time in the text of a `/proc/<pid>/stat`, in ticks since the machine started.
#[must_use]
pub fn start_time(stat: &str) -> Option<&str> {
    // The command may itself contain spaces and brackets, hence the last one.
    let (_, tail) = stat.rsplit_once(')')?;
    tail.split_whitespace().nth(START_TIME_AFTER_COMMAND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_does_not_shift_the_fields() {
        let fields: Vec<String> = (3..=30).map(|field| field.to_string()).collect();
        let stat = format!("1 (evil) x) {}", fields.join(" "));
        assert_eq!(Epoch::from_parts(Some("b-1\n"), Some(&stat)).unwrap().as_str(), "b-1:22");
    }

    #[test]
    fn one_part_is_enough_for_an_epoch_and_none_is_not() {
        assert_eq!(Epoch::from_parts(Some("b"), None).unwrap().as_str(), "b:");
        assert_eq!(Epoch::from_parts(Some("b"), Some("1 (init) S 0")).unwrap().as_str(), "b:");
        assert_eq!(Epoch::from_parts(Some(" "), Some("")), None);
        assert_eq!(Epoch::from_text(""), None);
    }
}
