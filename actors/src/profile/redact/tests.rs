use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

fn holding(values: &[(&str, &str)]) -> Redactor {
    let redactor = Redactor::default();
    let values: Vec<_> = values.iter().map(|(name, value)| (*name, SecretString::from(*value))).collect();
    redactor.replace("work", values.iter().map(|(name, value)| (*name, value)));
    redactor
}

#[test]
fn a_value_is_replaced_at_every_position() {
    let redactor = holding(&[("A_KEY", "hunter2-hunter2"), ("B_KEY", "swordfish")]);
    assert_eq!(redactor.redact("a=hunter2-hunter2,swordfish!"), "a=[redacted:A_KEY],[redacted:B_KEY]!");
    assert!(matches!(redactor.redact("nothing to hide, really"), Cow::Borrowed(_)));
}

#[test]
fn a_short_value_is_not_replaced() {
    assert_eq!(holding(&[("A", "1234567")]).redact("1234567890"), "1234567890");
}

#[test]
fn the_tail_of_an_overlapping_value_is_not_left() {
    let redactor = holding(&[("A", "abcdefgh"), ("B", "efghijklmn")]);
    assert_eq!(redactor.redact("-abcdefghijklmn-"), "-[redacted:A]-");
}

#[test]
fn encoded_forms_are_replaced_too() {
    let secret = "päss/wörd+\"quoted\" 1";
    let redactor = holding(&[("K", secret)]);
    let forms = [
        hex::encode(secret),
        hex::encode_upper(secret),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        secret.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat(),
        serde_json::to_string(secret).unwrap(),
        format!("{secret:?}"),
    ];
    for form in forms {
        let clean = redactor.redact(&form).into_owned();
        assert!(clean.contains("[redacted:K]"), "{form} became {clean}");
    }
}

#[test]
fn values_of_a_source_are_wiped_when_it_is_replaced_or_removed() {
    let redactor = holding(&[("OLD", "old-old-old")]);
    let new = SecretString::from("new-new-new");
    redactor.replace("work", [("NEW", &new)]);
    assert_eq!(redactor.redact("old-old-old new-new-new"), "old-old-old [redacted:NEW]");
    redactor.remove("work");
    assert!(redactor.read().index.is_empty() && redactor.read().holders.is_empty());
}

#[test]
fn replaced_values_stay_as_long_as_a_lease_on_them() {
    let redactor = holding(&[("OLD", "old-old-old")]);
    let (one, other) = (redactor.lease("work"), redactor.lease("work"));
    redactor.replace("work", [("NEW", &SecretString::from("new-new-new"))]);
    drop(one);
    assert_eq!(redactor.redact("old-old-old new-new-new"), "[redacted:OLD] [redacted:NEW]");
    drop(other);
    assert_eq!(redactor.redact("old-old-old new-new-new"), "old-old-old [redacted:NEW]");
}

#[test]
fn a_lease_that_ends_first_wipes_nothing() {
    let redactor = holding(&[("KEY", "old-old-old")]);
    drop(redactor.lease("work"));
    drop(redactor.lease("unknown"));
    assert_eq!(redactor.redact("old-old-old"), "[redacted:KEY]");
    let lease = redactor.lease("work");
    redactor.remove("work");
    assert_eq!(redactor.redact("old-old-old"), "[redacted:KEY]");
    drop(lease);
    assert!(redactor.read().index.is_empty() && redactor.read().holders.is_empty());
}

#[test]
fn a_value_added_to_a_lease_stays_as_long_as_the_lease_and_its_clones() {
    let redactor = holding(&[("KEY", "old-old-old")]);
    let lease = redactor.lease("work");
    let token = redactor.lease_value("TOKEN", &SecretString::from("new-new-new"));
    lease.extend(&token);
    lease.extend(&token);
    drop(token);
    redactor.remove("work");
    let clone = lease.clone();
    drop(lease);
    assert_eq!(redactor.redact("old-old-old new-new-new"), "[redacted:KEY] [redacted:TOKEN]");
    drop(clone);
    assert!(redactor.read().index.is_empty() && redactor.read().holders.is_empty());
}

#[test]
fn one_source_does_not_change_another() {
    let redactor = holding(&[("A", "abcdefgh")]);
    redactor.replace("other", [("B", &SecretString::from("abcdefgh"))]);
    redactor.remove("other");
    assert_eq!(redactor.redact("abcdefgh"), "[redacted:A]");
}

#[test]
fn debug_shows_no_value() {
    assert_eq!(format!("{:?}", holding(&[("A", "abcdefgh")])), "Redactor");
}

/// Realistic secrets.
const SECRETS: [(&str, &str); 11] = [
    ("plain", "sk-Abc123XyzQwertyLong0987654321"),
    ("dollar", "pa$$w0rd!`back`tick-77"),
    ("markup", "tok<en>&\"mix\"-of/slash+plus=88"),
    ("apostrophes", "it's-a-sec'ret-value-99"),
    ("letters", "schlüssel-päßwort-ключ-🔑-12"),
    ("backslashes", r"C:\Temp\new\secret-55"),
    ("blanks", "  two  words with space  "),
    ("short", "aZ3$%é\"'"),
    ("url", "postgres://svc:S3cret/Db%20Passw0rd@db.internal:5432/prod"),
    ("json", r#"{"type":"service_account","private_key":"PRIVKEYabcdefghijklmnop0123456789","client":"x"}"#),
    (
        "pem",
        r"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\nggSjAgEAAoIBAQC7VJTUt9Us8cKjMzEfYyji\n-----END PRIVATE KEY-----\n",
    ),
];

type Spelling = (&'static str, fn(&str) -> String);

/// Encodings of any text, which can be nested.
const ESCAPES: [Spelling; 18] = [
    ("json", |text| serde_json::to_string(text).unwrap()),
    ("json in an object", |text| serde_json::json!({ "key": text }).to_string()),
    ("json with slashes", |text| serde_json::to_string(text).unwrap().replace('/', r"\/")),
    ("json in ASCII", |text| utf16(text, |c| !c.is_ascii(), false)),
    ("json in ASCII, upper case", |text| utf16(text, |c| !c.is_ascii(), true)),
    ("json of Go", |text| utf16(text, |c| "<>&".contains(c), false)),
    ("json, all by number", |text| utf16(text, |_| true, true)),
    ("debug", |text| format!("{text:?}")),
    ("percent", |text| percent(text, false)),
    ("percent, lower case", |text| percent(text, true)),
    ("percent, all", |text| format!("%{}", pairs(text, "%"))),
    ("html", |text| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace('"', "&quot;").replace('\'', "&#x27;")
    }),
    ("html by number", |text| {
        text.chars().map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("&#{};", u32::from(c)) }).collect()
    }),
    ("shell, single quotes", |text| format!("'{}'", text.replace('\'', "'\"'\"'"))),
    ("shell, single quotes and a backslash", |text| format!("'{}'", text.replace('\'', r"'\''"))),
    ("shell, double quotes", |text| {
        let escaped = |c: char| if "\\\"$`".contains(c) { format!("\\{c}") } else { c.to_string() };
        format!("\"{}\"", text.chars().map(escaped).collect::<String>())
    }),
    ("shell, backslashes", |text| {
        let plain = |c: char| c.is_alphanumeric() || "-_./:=".contains(c) || !c.is_ascii();
        text.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\{c}") }).collect()
    }),
    ("a table", |text| format!("\"{}\"", text.replace('"', "\"\""))),
];

/// Spellings of a value.
const ENCODINGS: [Spelling; 13] = [
    ("as it is", ToOwned::to_owned),
    ("hex", |text| hex::encode(text)),
    ("HEX", |text| hex::encode_upper(text)),
    ("hex of both cases", |text| {
        let digits = hex::encode(text);
        digits.chars().enumerate().map(|(at, c)| if at % 2 == 0 { c } else { c.to_ascii_uppercase() }).collect()
    }),
    ("hex with colons", |text| pairs(text, ":")),
    ("HEX with dashes", |text| pairs(text, "-").to_uppercase()),
    ("hex with blanks", |text| pairs(text, " ")),
    ("hex of openssl", |text| lines(&pairs(text, ":"), 45, "\n    ")),
    ("base64", |text| STANDARD.encode(text)),
    ("base64 of URLs", |text| URL_SAFE_NO_PAD.encode(text)),
    ("base64 in something longer", |text| STANDARD.encode(format!("user:{text}tail"))),
    ("base64 in lines", |text| lines(&STANDARD.encode(format!("x{text}")), 16, "\r\n")),
    ("base64 of URLs in lines", |text| lines(&URL_SAFE_NO_PAD.encode(format!("{text}x")), 20, "\n  ")),
];

fn utf16(text: &str, by_number: fn(char) -> bool, upper: bool) -> String {
    let unit = |unit: &u16| if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
    let character = |c: char| {
        if by_number(c) {
            c.encode_utf16(&mut [0; 2]).iter().map(unit).collect()
        } else {
            let quoted = serde_json::to_string(&c).unwrap();
            quoted[1..quoted.len() - 1].to_owned()
        }
    };
    text.chars().map(character).collect()
}

fn percent(text: &str, lower: bool) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ if lower => format!("%{byte:02x}"),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn pairs(text: &str, between: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

fn lines(text: &str, width: usize, between: &str) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    lines.join(between)
}

/// The redacted form of a line with a spelling only.
fn left(redactor: &Redactor, spelling: &str) -> String {
    redactor.redact(&format!("before {spelling} after\n")).into_owned()
}

/// Whether the rest shows none of the value: at most the quotes around it, and `around` bytes of its context.
fn is_clean(left: &str, spelling: &str, around: usize) -> bool {
    let rest = left.replace("[redacted:K]", "").replace("before ", "").replace(" after\n", "");
    left.contains("[redacted:K]") && rest.len() <= 28.max(spelling.len() / 8) + around
}

#[test]
fn no_secret_is_left_in_any_spelling() {
    let mut kept = Vec::new();
    for (kind, secret) in SECRETS {
        let redactor = holding(&[("K", secret)]);
        for (encoding, encode) in ENCODINGS {
            let encoded = encode(secret);
            // Of something longer up to 16 characters of base64, each as long as `\u0041`.
            let around = if encoding.starts_with("base64 ") { 96 } else { 0 };
            for spelling in std::iter::once(encoded.clone()).chain(ESCAPES.map(|(_, escape)| escape(&encoded))) {
                let left = left(&redactor, &spelling);
                if !is_clean(&left, &spelling, around) {
                    kept.push(format!("{kind}, {encoding}: {spelling:?} became {left:?}"));
                }
            }
        }
    }
    assert!(kept.is_empty(), "{} spellings:\n{}", kept.len(), kept.join("\n"));
}

#[test]
fn a_value_with_a_line_end_at_any_position_is_found() {
    for (kind, secret) in SECRETS {
        let redactor = holding(&[("K", secret)]);
        let inside = secret.trim().char_indices().skip(1).map(|(at, _)| at);
        for (at, end) in inside.flat_map(|at| [(at, "\r"), (at, "\n"), (at, "\r\n")]) {
            let spelling = format!("{}{end}{}", &secret.trim()[..at], &secret.trim()[at..]);
            let left = left(&redactor, &spelling);
            assert!(is_clean(&left, &spelling, 0), "{kind}: {spelling:?} became {left:?}");
        }
    }
}

#[test]
fn lines_passwords_and_leaves_are_secrets_too_in_any_spelling() {
    for (kind, part) in [
        ("pem", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw"),
        ("url", "S3cret/Db Passw0rd"),
        ("url", "S3cret/Db%20Passw0rd"),
        ("json", "PRIVKEYabcdefghijklmnop0123456789"),
    ] {
        let (_, secret) = SECRETS.into_iter().find(|(name, _)| *name == kind).unwrap();
        let redactor = holding(&[("K", secret)]);
        for (escaping, escape) in ESCAPES {
            let left = left(&redactor, &escape(part));
            assert!(is_clean(&left, part, 0), "{kind}, {escaping}: {left}");
        }
    }
}

#[test]
fn a_value_that_is_short_without_its_own_escapes_is_found_plain_and_in_json() {
    let secret = "aZ3$%41\"'";
    let redactor = holding(&[("K", secret)]);
    for spelling in
        [secret.to_owned(), serde_json::to_string(secret).unwrap(), format!("{secret:?}"), percent(secret, true)]
    {
        assert!(is_clean(&left(&redactor, &spelling), &spelling, 0), "{spelling}");
    }
}

#[test]
fn an_escape_behind_a_backslash_of_an_inner_layer_is_left_to_that_layer() {
    let redactor = holding(&[("K", "pass/word-A0")]);
    assert_eq!(redactor.redact(r"\\%70ass\\&#47;word-\\%41\\%30"), "[redacted:K]");
}

#[test]
fn base64_is_found_also_where_each_of_its_lines_is_a_line_of_the_log() {
    let secret = "0123456789abcdef".repeat(12);
    let redactor = holding(&[("K", &secret)]);
    for width in [76, 64] {
        for line in lines(&STANDARD.encode(&secret), width, "\n").lines() {
            assert_eq!(left(&redactor, line), "before [redacted:K] after\n");
        }
    }
}

#[test]
fn the_text_around_a_value_is_unchanged() {
    let redactor = holding(&[("K", "pass/wörd-1")]);
    for (text, clean) in [
        (r#"{"a":"x\\pass\/w\u00f6rd-1\n","b":"\u00e4"}"#, r#"{"a":"x\\[redacted:K]\n","b":"\u00e4"}"#),
        ("?a=%41&key=pass%2fw%C3%B6rd-1&b=%42", "?a=%41&key=[redacted:K]&b=%42"),
        ("a &lt; pass&#47;wörd-1 &gt; b", "a &lt; [redacted:K] &gt; b"),
        ("x\ny 70:61:73:73:2F:77:c3:b6:72:64:2d:31 z\n", "x\ny [redacted:K] z\n"),
    ] {
        assert_eq!(redactor.redact(text), clean);
    }
}

#[test]
fn escapes_without_a_value_are_unchanged() {
    let redactor = holding(&[("K", "hunter2-hunter2")]);
    let text =
        "\\ % %zz \\u12 \\ud800 \\u{110000} \\x4 &; &#; &#x110000; &unknown; '' \"\" 00:11:22:33:44:55:66:77:88 \\";
    assert!(matches!(redactor.redact(text), Cow::Borrowed(_)));
}

#[test]
fn a_long_line_of_escapes_is_bounded_work() {
    let redactor = holding(&[("K", "hunter2-hunter2")]);
    for unit in ["\\", "%25", "&amp;", "\\u005c", "%5c", "\n", "ab:", "''"] {
        let started = std::time::Instant::now();
        let text = unit.repeat((64 << 10) / unit.len());
        assert!(matches!(redactor.redact(&text), Cow::Borrowed(_)));
        assert!(started.elapsed().as_secs() < 2, "{unit}");
    }
}

proptest! {
    #[test]
    fn a_value_inside_any_base64_is_found(secret in "[!-~]{12,40}", before in "[a-z:]{0,9}", after in "[a-z]{0,9}") {
        let redactor = holding(&[("K", &secret)]);
        let whole = STANDARD.encode(format!("{before}{secret}{after}"));
        let clean = redactor.redact(&whole).into_owned();
        prop_assert!(clean.contains("[redacted:K]"), "{} became {}", whole, clean);
    }

    #[test]
    fn no_value_survives_in_any_text(secret in "\\PC{8,30}", before in "\\PC{0,30}", after in "\\PC{0,30}") {
        let clean = holding(&[("K", &secret)]).redact(&format!("{before}{secret}{after}")).into_owned();
        prop_assert!(!clean.contains(&secret) || "[redacted:K]".contains(&secret));
    }

    #[test]
    fn no_spelling_survives_nested_escapes(
        secret in "[a-zA-Z0-9/+=$<>&\"'äß -]{12,40}",
        encoding in 0..ENCODINGS.len(),
        layers in prop::collection::vec(0..ESCAPES.len(), 0..=3),
    ) {
        let redactor = holding(&[("K", &secret)]);
        let mut spelling = ENCODINGS[encoding].1(&secret);
        let mut names = vec![ENCODINGS[encoding].0];
        for layer in layers {
            spelling = ESCAPES[layer].1(&spelling);
            names.push(ESCAPES[layer].0);
        }
        let left = left(&redactor, &spelling);
        prop_assert!(left.contains("[redacted:K]"), "{:?}: {:?} became {:?}", names, spelling, left);
    }
}
