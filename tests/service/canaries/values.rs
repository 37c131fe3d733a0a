//! The planted secrets, by owner.

use std::collections::BTreeMap;
use std::iter::repeat_with;

/// Secrets of each profile.
pub(super) const SECRETS: usize = 20;
/// The profile whose agent also has the token of a grant.
pub(super) const GRANTED: &str = "granted";
/// The variables of the process that every agent gets.
pub(super) const PASSED: &str = "PASSED_PROXY";
/// Variables that a child must not get, although `env_pass` names them.
pub(super) const NEVER: [&str; 7] = [
    "CADUCEUS_PLANTED",
    "GATEWAY_RELAY_SECRET",
    "GATEWAY_RELAY_DELIVERY_KEY",
    "HERMES_DASHBOARD_DRAIN_SECRET",
    "HONCHO_OAUTH_CLIENT_SECRET",
    "NOTIFY_SOCKET",
    "RUST_LOG",
];

/// Every value by its owner and name. Owners other than profiles: `deployment`, `process`, `passed`, `grant`, `caller`, and `planted`,
/// whose values are not secrets and show that a place was scanned.
#[derive(Debug, Default)]
pub(super) struct CanaryValues(pub(super) BTreeMap<String, BTreeMap<String, String>>);

impl CanaryValues {
    /// Makes random secrets for `profiles` and all other owners, and the planted texts.
    pub(super) fn of(profiles: &[String]) -> Self {
        let mut values = Self::default();
        for profile in profiles {
            for number in 0..SECRETS {
                values.add(profile, &format!("CANARY_{number}"), shaped(number));
            }
        }
        values.add(GRANTED, "HONCHO_API_KEY", format!("hch-at-{}", letters(30)));
        values.add("grant", "refreshToken", format!("hch-rt-{}", letters(30)));
        values.add("deployment", "GATEWAY_RELAY_DELIVERY_KEY", hex::encode(letters(32)));
        values.add("deployment", "HERMES_DASHBOARD_DRAIN_SECRET", letters(43));
        values.add("deployment", "HONCHO_OAUTH_CLIENT_SECRET", letters(43));
        values.add("process", "OPENAI_API_KEY", letters(43));
        values.add("process", "CADUCEUS_PLANTED", letters(43));
        values.add("process", "NOTIFY_SOCKET", format!("/nowhere/{}", letters(43)));
        values.add("passed", PASSED, format!("{}@proxy.invalid/{}", letters(20), letters(20)));
        values.add("caller", "bearer", letters(43));
        for plant in ["argument", "chat", "path", "actor"] {
            values.add("planted", plant, letters(20).to_lowercase());
        }
        values
    }

    pub(super) fn add(&mut self, owner: &str, name: &str, value: String) {
        self.0.entry(owner.to_owned()).or_default().insert(name.to_owned(), value);
    }

    pub(super) fn get(&self, owner: &str, name: &str) -> &str {
        &self.0[owner][name]
    }

    /// The `.env` of a profile. The reader removes one pair of quotes from each value and changes nothing else.
    pub(super) fn env_file(&self, profile: &str) -> String {
        let own = self.0[profile].iter().filter(|(name, _)| name.starts_with("CANARY_"));
        own.map(|(name, value)| format!("{name}=\"{value}\"\n")).collect::<Vec<_>>().concat()
    }
}

/// This many random letters and digits.
pub(super) fn letters(count: usize) -> String {
    repeat_with(fastrand::alphanumeric).take(count).collect()
}

/// A secret of a usual shape. Each begins and ends with random characters, so that a piece of it is recognized.
fn shaped(number: usize) -> String {
    let (head, tail) = (letters(16), letters(16));
    match number {
        0 => format!("{head}-_{tail}"),
        1 => format!("{head}$HOME${{PATH}}$$(id){tail}"),
        2 => format!("{head}\"quoted\" 'twice'{tail}"),
        3 => format!("  {head} with spaces {tail}  "),
        4 => format!("{head}%41%zz%{tail}"),
        5 => format!("{head}pässwörd ключ 🔑{tail}"),
        6 => letters(8),
        7 => format!("{head}{}{tail}", letters(268)),
        8 => format!("{head}\\back\\\\slash\t\u{1b}[31m{tail}"),
        9 => format!("{head}+/+/=={tail}=="),
        10 => format!("{head}: {{\"key\": [1, \"two\"]}}{tail}"),
        11 => format!("{head}:@db.invalid/name?ssl=1&x=y#{tail}"),
        12 => format!("{head}#no comment{tail}"),
        _ => letters(24 + number),
    }
}
