//! The announcement of maintenance that an operator leaves in a home.

/// What people are to read, without the blanks around it; `None` if there is nothing.
#[must_use]
pub fn announcement(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_the_text_without_blanks_around_it_and_a_blank_file_has_none() {
        assert_eq!(announcement(" back at 8\n"), Some("back at 8"));
        assert_eq!(announcement(" \n"), None);
    }
}
