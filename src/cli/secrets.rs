//! `caduceus secrets`: audits the names that profiles hold, makes and checks secrets. Only a newly made value is shown.

mod audit;
mod gather;

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use caduceus_actors::profile::strength;
use caduceus_actors::settings::{Environment, Settings, find_home};
use rustls::crypto::SecureRandom;
use zeroize::Zeroizing;

use super::dumps::try_forbid_dumps;
use super::failure::fail;
use crate::out::{self, print, print_json};

/// Exit code: something was found, or the secret is too weak.
const FOUND: u8 = 1;
/// Far above any real secret.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Audit the secrets of the profiles, make a strong secret, check one.
#[derive(Debug, clap::Args)]
pub(crate) struct SecretsArguments {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretsCommand {
    /// Show which names each profile holds, lacks and gives to its agent, and what is wrong with them. Never shows a value.
    ///
    /// Exits with 0 if nothing is found, with 1 if something is, with 78 if the home cannot be audited.
    Audit(AuditArguments),
    /// Print a new secret of 256 random bits.
    Generate,
    /// Read a secret from standard input and print whether it is strong enough, and why not.
    ///
    /// Exits with 0 if it is, with 1 if not.
    Check(Check),
}

#[derive(Debug, clap::Args)]
struct AuditArguments {
    /// Home directory; `HERMES_HOME`, else `~/.hermes`, if not given.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Check {
    /// Fewest characters, as `dashboard.drain_auth.min_secret_chars` has it; a value below the default has no effect.
    #[arg(long, value_name = "N", default_value_t = strength::MIN_CHARS)]
    min_chars: usize,
}

pub(crate) fn run(arguments: SecretsArguments) -> ExitCode {
    try_forbid_dumps();
    match arguments.command {
        SecretsCommand::Audit(arguments) => audit(arguments),
        SecretsCommand::Generate => generate(),
        SecretsCommand::Check(arguments) => check(&arguments, io::stdin().lock()),
    }
}

fn audit(arguments: AuditArguments) -> ExitCode {
    let environment = Environment::capture();
    let home = find_home(arguments.home, &environment);
    let settings = match Settings::load(&home, environment) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, super::CONFIGURATION),
    };
    let Some(key) = random() else { return no_randomness() };
    let report = audit::report(&gather::facts(&settings), &key);
    if arguments.json {
        print_json(&report.json(&settings.home, settings.multiplex), true);
    } else {
        print(&report.text(&settings.home));
    }
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) }
}

fn generate() -> ExitCode {
    let Some(secret) = random() else { return no_randomness() };
    print(&Zeroizing::new(format!("{}\n", *text_of(&secret))));
    ExitCode::SUCCESS
}

fn text_of(secret: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(secret))
}

fn check(arguments: &Check, input: impl Read) -> ExitCode {
    match read_secret(input).and_then(|secret| assess(&secret, arguments.min_chars)) {
        Ok(()) => {
            print("strong: the secret passes\n");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            print(&format!("{reason}\n"));
            ExitCode::from(FOUND)
        }
    }
}

/// The reason begins with a stable word.
fn assess(secret: &str, min_chars: usize) -> Result<(), String> {
    strength::assess(secret.trim(), min_chars).map_err(|weakness| format!("{}: {weakness}", weakness.word()))
}

fn read_secret(input: impl Read) -> Result<Zeroizing<String>, String> {
    // Full capacity at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_SECRET_BYTES + 1).unwrap_or_default()));
    let read = input.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("unreadable: standard input cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("long: that is more than {MAX_SECRET_BYTES} bytes, too many for a secret"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "unreadable: that is not UTF-8".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Random bits; 256 of them make a secret.
pub(super) fn random<const BYTES: usize>() -> Option<Zeroizing<[u8; BYTES]>> {
    let mut bits = Zeroizing::new([0; BYTES]);
    let source: &dyn SecureRandom = rustls::crypto::ring::default_provider().secure_random;
    source.fill(&mut *bits).ok().map(|()| bits)
}

pub(super) fn no_randomness() -> ExitCode {
    out::print_error("the system gives no random bits");
    ExitCode::from(super::TRY_AGAIN)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn generated_secrets_are_unique_and_strong_enough() {
        let secrets: BTreeSet<String> = (0..200).map(|_| text_of(&random().unwrap()).to_string()).collect();
        assert_eq!(secrets.len(), 200);
        for secret in secrets {
            assert_eq!(secret.len(), 43);
            assert_eq!(assess(&secret, 1), Ok(()), "{secret}");
        }
    }

    #[test]
    fn reading_ends_at_the_limit() {
        assert!(read_secret(io::repeat(b'x')).unwrap_err().starts_with("long: "));
        assert!(read_secret(&b"\xff"[..]).unwrap_err().starts_with("unreadable: "));
        assert_eq!(read_secret(&b" s \n"[..]).unwrap().as_str(), " s \n");
    }
}
