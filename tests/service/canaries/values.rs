//! The secrets that are planted, by whom they belong to.

use std::collections::BTreeMap;
use std::iter::repeat_with;

/// Secrets of each profile.
pub(super) const SECRETS: usize = 20;
/// The profile whose agent has a grant's token besides.
pub(super) const GRANTED: &str = "granted";
/// What every agent is given of the environment of the process.
pub(super) const PASSED: &str = "PASSED_PROXY";
/// What a child must not be given, although `env_pass` names it.
pub(super) const NEVER: [&str; 7] = [
    "CADUCEUS_PLANTED",
    "GATEWAY_RELAY_SECRET",
    "GATEWAY_RELAY_DELIVERY_KEY",
    "HERMES_DASHBOARD_DRAIN_SECRET",
    "HONCHO_OAUTH_CLIENT_SECRET",
    "NOTIFY_SOCKET",
    "RUST_LOG",
];

/// Every value by its owner and name. Owners that are no profile: `deployment`, `process`, `passed`, `grant`, `caller`, and `planted`,
/// whose values are no secrets and show that a place was looked at.
#[derive(Debug, Default)]
pub(super) struct Values(pub(super) BTreeMap<String, BTreeMap<String, String>>);

impl Values {
    /// Makes up the secrets of `profiles` and of everybody else, and the plants.
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

    /// The `.env` of a profile. One pair of quotes is taken off each value, and nothing else is changed.
    pub(super) fn env_file(&self, profile: &str) -> String {
        let own = self.0[profile].iter().filter(|(name, _)| name.starts_with("CANARY_"));
        own.map(|(name, value)| format!("{name}=\"{value}\"\n")).collect::<Vec<_>>().concat()
    }
}

/// So many letters and digits at random.
pub(super) fn letters(count: usize) -> String {
    repeat_with(fastrand::alphanumeric).take(count).collect()
}

/// A secret of one of the shapes that people have. Each begins and ends at random, so that a piece of it is known again.
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
