//! An error and its causes in one line.

use std::error::Error;

/// The text of an error and those of its causes. A cause that the text before it ends with is not repeated.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum TestError {
        #[error("the disk is full")]
        Cause,
        #[error("cannot write")]
        Silent(#[source] Box<TestError>),
        #[error("cannot save: {0}")]
        Repeats(#[source] Box<TestError>),
    }

    #[test]
    fn each_cause_is_in_the_line_once() {
        let silent = TestError::Silent(Box::new(TestError::Cause));
        assert_eq!(error_chain(&silent), "cannot write: the disk is full");
        let repeats = TestError::Repeats(Box::new(TestError::Silent(Box::new(TestError::Cause))));
        assert_eq!(error_chain(&repeats), "cannot save: cannot write: the disk is full");
    }
}
