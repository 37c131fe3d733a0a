//! Splitting of replies.

use proptest::prelude::*;

use super::*;

fn parts(text: &str, limit: usize) -> Vec<String> {
    split(text, limit, LenUnit::Chars)
}

/// The text for a reader: no white space, no lines that are fences, no marks of quotes.
fn essence<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let lines = texts.into_iter().flat_map(str::lines).filter(|line| !fence::looks_like_one(line));
    lines.flat_map(str::chars).filter(|c| !c.is_whitespace() && *c != '>').collect()
}

/// Whether a reader of `part` alone sees a fence that is not closed.
fn leaves_open(part: &str, limit: usize) -> bool {
    let mut open = None;
    for line in part.lines() {
        open = fence::step(open.as_ref(), line, limit, LenUnit::Chars).0;
    }
    open.is_some_and(|fence| !fence.close.is_empty())
}

#[test]
fn a_text_that_fits_is_unchanged() {
    assert_eq!(parts("one\n two ", 9), ["one\n two "]);
    assert_eq!(parts("\n \n  one", 9), ["  one"]);
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
fn no_empty_fence_is_opened() {
    let text = "some words before it\n```python\nprint(1)\nprint(2)\n```";
    assert_eq!(parts(text, 38), ["some words before it", "```python\nprint(1)\nprint(2)\n```"]);
}

#[test]
fn code_in_one_long_word_is_split_inside_its_fence() {
    assert_eq!(parts("\n```\nabcdefghijkl\n```", 14), ["```\nabcdef\n```", "```\nghijkl\n```"]);
}

#[test]
fn code_keeps_its_indentation_across_a_cut() {
    let text = "```\nif a:\n    b()\n    c()\n```";
    assert_eq!(parts(text, 21), ["```\nif a:\n    b()\n```", "```\n    c()\n```"]);
}

#[test]
fn backticks_within_a_line_are_no_fence() {
    assert_eq!(parts("```x``` and\nmore of it", 15), ["```x``` and", "more of it"]);
}

#[test]
fn every_kind_of_fence_is_closed_and_opened_again() {
    for (open, close) in [
        ("```", "```"),
        ("```rust", "```"),
        ("~~~", "~~~"),
        ("~~~ python x`y", "~~~"),
        ("````md", "````"),
        ("~~~~~", "~~~~~"),
    ] {
        let text = format!("{open}\n1111 1111\n2222 2222\n3333 3333\n{close}\nend");
        let parts = parts(&text, 34);
        assert!(parts.len() > 1, "{open}");
        let inner =
            parts.iter().rev().skip(1).all(|part| part.starts_with(open) && part.ends_with(&format!("\n{close}")));
        assert!(inner, "{parts:?}");
        assert!(parts.iter().all(|part| part.chars().count() <= 34 && !leaves_open(part, 34)), "{parts:?}");
        assert!(parts.concat().ends_with("end"), "{parts:?}");
    }
}

#[test]
fn a_fence_in_a_quote_stays_in_the_quote() {
    let text = "> ```rs\n> let a = 1;\n> let b = 2;\n> ```\nend";
    assert_eq!(parts(text, 27), ["> ```rs\n> let a = 1;\n> ```", "> ```rs\n> let b = 2;\n> ```", "end"]);
    let word = format!("> ```\n> {}\n> ```", "x".repeat(40));
    let parts = parts(&word, 30);
    assert!(
        parts.iter().all(|part| part.lines().all(|line| line.starts_with('>')) && !leaves_open(part, 30)),
        "{parts:?}"
    );
    assert_eq!(essence(parts.iter().map(String::as_str)), "x".repeat(40));
}

#[test]
fn a_fence_that_ends_with_its_quote_is_not_opened_again() {
    let text = "> ```\n> some code\noutside of it, in plain words";
    assert_eq!(parts(text, 30), ["> ```\n> some code\n> ```", "outside of it, in plain words"]);
}

#[test]
fn adjacent_fences_are_closed_before_a_cut() {
    let text = "> ```sh\n```rust\na aa\n```rust\n    indented\n```\n> ```sh\n- ```\n\n> quoted code";
    let opened_over_and_over = "> ```sh\n- ```\n```\n".repeat(20);
    let out_of_quotes: String =
        (0..12).rev().map(|depth| format!("{}```\n", ">".repeat(depth))).collect::<Vec<_>>().concat() + "a b c";
    for text in [text, &opened_over_and_over, &out_of_quotes] {
        for limit in 40..120 {
            for step in [1, 2, 3, 1000] {
                let parts = piece_by_piece(text, step, limit);
                let open = parts.iter().rev().skip(1).find(|part| leaves_open(part, limit));
                assert!(open.is_none(), "{limit}, {step}: {open:?} of {parts:?}");
                assert_eq!(essence(parts.iter().map(String::as_str)), essence([text]), "{limit}, {step}: {parts:?}");
            }
        }
    }
}

#[test]
fn a_fence_of_another_kind_inside_a_fence_is_code() {
    let text = "````\n```\n~~~\n> ````\nlet a = 1;\nlet b = 2;\n````\nend of it";
    let parts = parts(text, 40);
    assert_eq!(parts[0], "````\n```\n~~~\n> ````\nlet a = 1;\n````");
    assert_eq!(parts[1], "````\nlet b = 2;\n````\nend of it");
}

#[test]
fn a_fence_in_a_list_item_is_recognised() {
    let text = "1. ```sh\n   one two\n   three\n   ```\n2. next";
    let parts = parts(text, 27);
    assert!(parts.iter().all(|part| !leaves_open(part, 27)), "{parts:?}");
    assert!(parts.last().unwrap().ends_with("2. next"), "{parts:?}");
}

#[test]
fn no_cut_makes_a_fence_of_backticks_within_a_line() {
    for text in ["some words ```x``` and so on", "aaaa bbbb ```code", "aaaa bbbb cccc~~~", "some > ``` b"] {
        for limit in 8..20 {
            let parts = parts(text, limit);
            let begins = |part: &String| fence::looks_like_one(part) && !text.starts_with(part.as_str());
            assert!(!parts.iter().skip(1).any(begins), "{limit} {parts:?}");
        }
    }
}

#[test]
fn a_grapheme_cluster_is_never_cut_in_two() {
    use unicode_segmentation::UnicodeSegmentation as _;
    let clusters = ["👨‍👩‍👧‍👦", "e\u{301}", "🇩🇪", "👍🏽", "각", "क्षि", "\r\n", "1️⃣", "a", " \u{301}"];
    for unit in [LenUnit::Chars, LenUnit::Utf16] {
        for seed in 0..clusters.len() {
            let text: String = (0..60).map(|at| clusters[(at * (seed + 1) + at * at) % clusters.len()]).collect();
            let whole: Vec<&str> = text.graphemes(true).filter(|cluster| !cluster.trim().is_empty()).collect();
            for limit in 11..40 {
                let parts = split(&text, limit, unit);
                assert!(parts.iter().all(|part| unit.len(part) <= limit));
                let cut: Vec<&str> = parts.iter().flat_map(|part| part.graphemes(true)).collect();
                let cut: Vec<&str> = cut.into_iter().filter(|cluster| !cluster.trim().is_empty()).collect();
                assert_eq!(cut, whole, "{limit} {unit:?}");
            }
        }
    }
}

#[test]
fn a_cluster_that_is_longer_than_a_message_is_cut_between_characters() {
    let cluster = format!("a{}", "\u{301}".repeat(50));
    let parts = parts(&cluster, 20);
    assert_eq!(parts.concat(), cluster);
    assert!(parts.iter().all(|part| part.chars().count() <= 20));
}

/// A splitter that is given the text in pieces, as an agent writes it.
fn piece_by_piece(text: &str, step: usize, limit: usize) -> Vec<String> {
    let (mut splitter, mut written, mut parts) = (ReplySplitter::new(limit, LenUnit::Chars), String::new(), Vec::new());
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(step) {
        written.extend(piece);
        parts.extend(std::iter::from_fn(|| splitter.full(&written, false)));
        let _ = splitter.tail(&written);
    }
    parts.extend(std::iter::from_fn(|| splitter.full(&written, true)));
    parts.extend(splitter.rest(&written).map(|rest| rest.content));
    parts
}

#[test]
fn a_fence_whose_end_arrives_later_is_not_opened_again() {
    let text = "```\nlet a = 1;\nlet b = 2;\n```\nand then some more text";
    for step in 1..40 {
        assert_eq!(piece_by_piece(text, step, 30), parts(text, 30), "{step}");
    }
}

/// CPU time of this thread in nanoseconds.
fn worked() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// The least work of `run` in several attempts.
fn work(run: impl Fn()) -> u64 {
    let tries = (0..3).map(|_| {
        let before = worked();
        run();
        worked() - before
    });
    tries.min().unwrap().max(1)
}

/// Worst cases: nothing to cut at, only places to cut at, clusters and fences without end.
fn hard(pattern: &str, length: usize) -> String {
    let repeated = pattern.repeat(length / pattern.len());
    format!("x{repeated}x")
}

const HARD: [&str; 13] =
    ["\u{a0}", " ", "\n", "a", "a ", "é", "\u{301}", "🇩", "```\n", "> ```\n> a\n", "``` ", " \u{301}", "\u{200d}👩"];

/// Eight times the text is eight times the work, or some more; if it were examined again for each part, it would be 64 times.
const MOST_FOR_EIGHT: u64 = 24;

#[test]
fn the_work_grows_with_the_text_and_not_with_its_square() {
    for pattern in HARD {
        for limit in [200, 4096] {
            let (short, long) = (hard(pattern, 48 * 1024), hard(pattern, 8 * 48 * 1024));
            let run = |text: &str| drop(split(text, limit, LenUnit::Utf16));
            let (less, more) = (work(|| run(&short)), work(|| run(&long)));
            println!("{pattern:?} cut at {limit}: {less} ns and {more} ns, ×{}", more / less);
            assert!(more / less < MOST_FOR_EIGHT || more < 20_000_000, "{pattern:?} {limit}: {less} and {more} ns");
        }
    }
}

fn reply() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[a-z ]{0,30}",
        "[a-z😀é]{0,60}",
        Just("```".to_owned()),
        Just("```rust".to_owned()),
        Just("````".to_owned()),
        Just("~~~".to_owned()),
        Just("> ```sh".to_owned()),
        Just("> quoted code".to_owned()),
        Just("- ```".to_owned()),
        Just("    indented".to_owned()),
        Just(String::new()),
    ];
    prop::collection::vec(line, 0..25).prop_map(|lines| lines.join("\n"))
}

fn units() -> impl Strategy<Value = LenUnit> {
    prop_oneof![Just(LenUnit::Chars), Just(LenUnit::Utf16)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

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
            prop_assert!(!leaves_open(part, limit), "{:?}", part);
        }
    }

    #[test]
    fn a_text_in_pieces_loses_nothing_and_fits(text in reply(), limit in 40_usize..120, step in 1_usize..50) {
        let parts = piece_by_piece(&text, step, limit);
        prop_assert!(parts.iter().all(|part| part.chars().count() <= limit));
        prop_assert!(parts.iter().rev().skip(1).all(|part| !leaves_open(part, limit)), "{:?}", parts);
        prop_assert_eq!(essence(parts.iter().map(String::as_str)), essence([text.as_str()]));
    }

    #[test]
    fn a_tiny_limit_terminates_and_loses_no_letter(text in reply(), limit in 0_usize..40, unit in units()) {
        let parts = split(&text, limit, unit);
        prop_assert!(parts.iter().all(|part| unit.len(part) <= limit.max(2)));
        let letters = |text: &str| text.chars().filter(char::is_ascii_lowercase).count();
        prop_assert!(parts.iter().map(|part| letters(part)).sum::<usize>() >= letters(&text));
    }

    #[test]
    fn no_text_is_lost_or_exceeds_the_limit(text in "(?s).{0,300}", limit in 1_usize..50, unit in units()) {
        let parts = split(&text, limit, unit);
        prop_assert!(parts.iter().all(|part| unit.len(part) <= limit.max(2)));
        if !text.contains(['`', '~']) {
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(solid(&parts.concat()), solid(&text));
        }
    }
}
