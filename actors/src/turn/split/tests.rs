//! Splitting of replies.

use proptest::prelude::*;

use super::*;

fn parts(text: &str, limit: usize) -> Vec<String> {
    split(text, limit, LenUnit::Chars)
}

/// What a reader gets: no white space, no lines that are fences.
fn essence<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let lines = texts.into_iter().flat_map(str::lines).filter(|line| ticks_of(line).is_none());
    lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn a_text_that_fits_is_left_as_it_is() {
    assert_eq!(parts("one\n two ", 9), ["one\n two "]);
    assert_eq!(parts("", 9), [""; 0]);
    assert_eq!(parts(" \n ", 1), [""; 0]);
}

#[test]
fn a_cut_falls_at_a_line_end_then_at_a_word_end_then_anywhere() {
    assert_eq!(parts("one two\nthree four", 11), ["one two", "three four"]);
    assert_eq!(parts("one two three", 8), ["one two", "three"]);
    assert_eq!(parts("one two three", 7), ["one two", "three"]);
    assert_eq!(parts("abcdefgh", 3), ["abc", "def", "gh"]);
    assert_eq!(parts("a\n    indented", 13), ["a", "    indented"]);
}

#[test]
fn utf16_counts_code_units_and_never_halves_a_character() {
    assert_eq!(split("😀😀😀", 4, LenUnit::Utf16), ["😀😀", "😀"]);
    assert_eq!(split("😀😀😀", 3, LenUnit::Utf16), ["😀", "😀", "😀"]);
    assert_eq!(split("😀a", 1, LenUnit::Utf16), ["😀", "a"]);
    assert_eq!(split("😀😀😀", 3, LenUnit::Chars), ["😀😀😀"]);
}

#[test]
fn a_fence_is_closed_and_opened_again_with_its_language() {
    let text = "```rust\nlet a = 1;\nlet b = 2;\nlet c = 3;\n```\nend";
    assert_eq!(parts(text, 35), ["```rust\nlet a = 1;\nlet b = 2;\n```", "```rust\nlet c = 3;\n```\nend"]);
}

#[test]
fn a_fence_that_ends_at_the_cut_is_not_opened_again() {
    let text = "```\nlet a = 1;\nlet b = 2;\n```\nand then some more text";
    assert_eq!(parts(text, 30), ["```\nlet a = 1;\nlet b = 2;\n```", "and then some more text"]);
    assert_eq!(parts(text, 29), ["```\nlet a = 1;\nlet b = 2;\n```", "and then some more text"]);
}

#[test]
fn a_fence_is_not_opened_to_hold_nothing() {
    let text = "some words before it\n```python\nprint(1)\nprint(2)\n```";
    assert_eq!(parts(text, 38), ["some words before it", "```python\nprint(1)\nprint(2)\n```"]);
}

#[test]
fn code_in_one_long_word_is_cut_rather_than_left_out_of_its_fence() {
    assert_eq!(parts("\n```\nabcdefghijkl\n```", 14), ["\n```\nabcde\n```", "```\nfghijk\n```", "```\nl\n```"]);
}

#[test]
fn code_keeps_its_indentation_across_a_cut() {
    let text = "```\nif a:\n    b()\n    c()\n```";
    assert_eq!(parts(text, 21), ["```\nif a:\n    b()\n```", "```\n    c()\n```"]);
}

#[test]
fn backticks_within_a_line_are_no_fence() {
    assert_eq!(ticks_of("```x``` y"), None);
    assert_eq!(ticks_of("  ````rs"), Some("````"));
    assert_eq!(ticks_of("``"), None);
}

fn reply() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[a-z ]{0,30}",
        "[a-z😀é]{0,60}",
        Just("```".to_owned()),
        Just("```rust".to_owned()),
        Just("````".to_owned()),
        Just("    indented".to_owned()),
        Just(String::new()),
    ];
    prop::collection::vec(line, 0..25).prop_map(|lines| lines.join("\n"))
}

fn units() -> impl Strategy<Value = LenUnit> {
    prop_oneof![Just(LenUnit::Chars), Just(LenUnit::Utf16)]
}

proptest! {
    #[test]
    fn nothing_is_lost_and_every_part_is_within_the_limit(text in reply(), limit in 40_usize..120, unit in units()) {
        let parts = split(&text, limit, unit);
        for part in &parts {
            prop_assert!(unit.len(part) <= limit, "{part:?}");
            prop_assert!(!part.trim().is_empty());
        }
        prop_assert_eq!(essence(parts.iter().map(String::as_str)), essence([text.as_str()]));
    }

    #[test]
    fn every_part_but_the_last_closes_its_fences(text in reply(), limit in 40_usize..120) {
        let parts = split(&text, limit, LenUnit::Chars);
        for part in parts.iter().rev().skip(1) {
            prop_assert_eq!(state_after(part, None), None, "{:?}", part);
        }
    }

    #[test]
    fn a_tiny_limit_ends_too_and_loses_no_letter(text in reply(), limit in 0_usize..40, unit in units()) {
        let parts = split(&text, limit, unit);
        prop_assert!(parts.iter().all(|part| unit.len(part) <= limit.max(2)));
        let letters = |text: &str| text.chars().filter(char::is_ascii_lowercase).count();
        prop_assert!(parts.iter().map(|part| letters(part)).sum::<usize>() >= letters(&text));
    }

    #[test]
    fn any_text_survives(text in "(?s).{0,300}", limit in 1_usize..50, unit in units()) {
        let parts = split(&text, limit, unit);
        prop_assert!(parts.iter().all(|part| unit.len(part) <= limit.max(2)));
        if !text.contains('`') {
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(solid(&parts.concat()), solid(&text));
        }
    }
}
