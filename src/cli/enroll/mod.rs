//! `caduceus enroll`: exchanges a single-use enrollment token for a gateway's credentials and writes them into `.env`.

mod write_env;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use actix_web::rt::System;
use caduceus_actors::profile::inspect::{Inspection, inspect};
use caduceus_actors::relay::identity::NoIdentity;
use caduceus_actors::relay::post::{self, PostError};
use caduceus_actors::relay::provision::{ProvisionError, default_gateway_id, granted};
use caduceus_actors::settings::{Environment, Settings, SettingsError, find_home};
use caduceus_contract::wire::provisioning::{EnrollRequest, GatewayGrant};
use caduceus_contract::wire::url::{NotDialable, RelayUrl};
use secrecy::{ExposeSecret as _, SecretString};

use crate::out;
use write_env::{EnvWriteError, write_env};

/// Longest token that is read from a file.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// Exit code: there is nothing to enroll with, or a hosted installation, which is enrolled by its host.
const MISSING: u8 = 1;
/// Exit code: the identity cannot be proven; log in.
const IDENTITY: u8 = 3;
/// Exit code: the connector refused.
const REFUSED: u8 = 4;

/// Enroll this gateway with a connector, and write the credentials into the home's `.env`.
///
/// Exits with 0; 1 when no token or no address was given, or the installation is hosted; 3 when no identity can be proven; 4 when
/// the connector refuses; 75 when it cannot be reached; 78 when the home cannot be used or written to.
#[derive(Debug, clap::Args)]
pub(crate) struct EnrollArguments {
    /// The enrollment token, or `-` to read it from standard input. Every user of this machine can read the arguments of a process:
    /// use `-`, --token-file or `GATEWAY_RELAY_ENROLL_TOKEN`.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file", allow_hyphen_values = true)]
    token: Option<String>,
    /// File that holds the enrollment token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Address of the connector; else `GATEWAY_RELAY_URL`, else `gateway.relay_url` of `config.yaml`.
    #[arg(long, value_name = "URL")]
    connector_url: Option<String>,
    /// Name of this gateway; `gw-` and the name of the host if not given.
    #[arg(long, value_name = "ID")]
    gateway_id: Option<String>,
    /// Address at which the connector can wake this gateway while its machine is suspended.
    #[arg(long, value_name = "URL")]
    wake_url: Option<String>,
    /// Home directory; `HERMES_HOME`, else `~/.hermes`, if not given.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

/// Why the gateway is not enrolled. The home is unchanged, unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
enum EnrollError {
    #[error("this is a managed installation: its host enrolls it and sets the relay's credentials")]
    Managed,
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("there is no enrollment token; pass --token-file FILE or --token -, or set GATEWAY_RELAY_ENROLL_TOKEN")]
    NoToken,
    #[error("the enrollment token in {} cannot be read", .0.display())]
    UnreadableToken(PathBuf, #[source] std::io::Error),
    #[error(
        "there is no address of a connector; pass --connector-url URL, or set GATEWAY_RELAY_URL or gateway.relay_url"
    )]
    NoUrl,
    #[error("the connector's address cannot be used")]
    BadUrl(#[from] NotDialable),
    #[error("you are not logged in to the portal; log in with `hermes auth add nous`, and try again")]
    NotLoggedIn,
    #[error("no identity token is available")]
    NoIdentity(#[source] NoIdentity),
    #[error("the connector did not accept your identity (401); log in with `hermes auth add nous`, and try again")]
    Unauthorized,
    #[error("{}", .0.as_deref().unwrap_or("the enrollment token is invalid, expired, used already, or another tenant's (403)"))]
    Forbidden(Option<String>),
    #[error("the connector answered with status {0}{sentence}", sentence = .1.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Status(u16, Option<String>),
    #[error("the connector at {0} cannot be reached")]
    Unreachable(String, #[source] PostError),
    #[error("the connector's answer holds no secret")]
    NoSecret,
    #[error("the credentials could not be written to {}; the token is spent, and a new one is needed", .0.display())]
    Unwritten(PathBuf, #[source] EnvWriteError),
}

impl EnrollError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Managed | Self::NoToken | Self::UnreadableToken(..) | Self::NoUrl | Self::BadUrl(_) => MISSING,
            Self::NotLoggedIn | Self::NoIdentity(_) => IDENTITY,
            Self::Unauthorized | Self::Forbidden(_) | Self::Status(..) | Self::NoSecret => REFUSED,
            Self::Unreachable(..) => crate::cli::TRY_AGAIN,
            Self::Settings(_) | Self::Unwritten(..) => crate::cli::CONFIGURATION,
        }
    }
}

pub(crate) fn run(arguments: &EnrollArguments) -> ExitCode {
    match enroll(arguments) {
        Ok(report) => {
            out::print(&report);
            ExitCode::SUCCESS
        }
        Err(error) => super::failure::fail(&error, error.exit_code()),
    }
}

fn enroll(arguments: &EnrollArguments) -> Result<String, EnrollError> {
    let environment = Environment::capture();
    let home = find_home(arguments.home.clone(), &environment);
    if is_managed(&home, &environment) {
        return Err(EnrollError::Managed);
    }
    let settings = Settings::load(&home, environment)?;
    for warning in &settings.warnings {
        out::print_error(warning);
    }
    let inspection = inspect(&settings.profiles[0], &settings);
    let token = token(arguments, &inspection)?;
    let given =
        |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let (given_url, wake_url) = (given(&arguments.connector_url), given(&arguments.wake_url));
    let url = given_url.as_deref().map(RelayUrl::new).or_else(|| inspection.relay_url()).ok_or(EnrollError::NoUrl)?;
    url.dialable()?;
    if url.is_exposed() {
        out::print_error("the connector is reached without TLS: the network can read the credentials; use https://");
    }
    let gateway_id = given(&arguments.gateway_id).unwrap_or_else(default_gateway_id);
    let granted = System::new().block_on(redeem(&settings, &inspection, &url, &token, &gateway_id))?;

    let without_slash = |url: String| url.trim_end_matches('/').to_owned();
    let mut values: Vec<(&str, SecretString)> =
        vec![("GATEWAY_RELAY_ID", granted.gateway_id.clone().into()), ("GATEWAY_RELAY_SECRET", granted.secret)];
    values.extend(granted.delivery_key.map(|key| ("GATEWAY_RELAY_DELIVERY_KEY", key)));
    values.extend(given_url.map(|url| ("GATEWAY_RELAY_URL", without_slash(url).into())));
    values.extend(wake_url.map(|url| ("GATEWAY_RELAY_WAKE_URL", without_slash(url).into())));
    let file = settings.home.join(".env");
    write_env(&file, &values).map_err(|error| EnrollError::Unwritten(file.clone(), error))?;
    Ok(report(&granted.gateway_id, granted.tenant.as_deref(), &file, &values))
}

/// A package manager or a host owns this installation, by the original's two signs.
fn is_managed(home: &Path, environment: &Environment) -> bool {
    environment.is_managed() || home.join(".managed").exists()
}

fn token(arguments: &EnrollArguments, inspection: &Inspection) -> Result<SecretString, EnrollError> {
    let read = |shown: &Path, from: &mut dyn std::io::Read| {
        let mut text = zeroize::Zeroizing::new(String::new());
        let read = from.take(MAX_TOKEN_BYTES).read_to_string(&mut text);
        read.map_err(|error| EnrollError::UnreadableToken(shown.to_owned(), error))?;
        Ok::<_, EnrollError>(SecretString::from(text.trim()))
    };
    let token = match (&arguments.token, &arguments.token_file) {
        (Some(dash), _) if dash == "-" => read(Path::new("standard input"), &mut std::io::stdin().lock())?,
        (Some(token), _) => {
            out::print_error(
                "every user of this machine can read a token in the arguments of a process; use --token-file or --token -",
            );
            token.trim().into()
        }
        (None, Some(file)) => {
            let bytes = crate::cli::token::read(file, MAX_TOKEN_BYTES);
            let bytes = bytes.map_err(|error| EnrollError::UnreadableToken(file.clone(), error))?;
            read(file, &mut bytes.as_slice())?
        }
        (None, None) => inspection.enroll_token().unwrap_or_default(),
    };
    if token.expose_secret().is_empty() { Err(EnrollError::NoToken) } else { Ok(token) }
}

async fn redeem(
    settings: &Settings,
    inspection: &Inspection,
    url: &RelayUrl,
    token: &SecretString,
    gateway_id: &str,
) -> Result<GatewayGrant, EnrollError> {
    let source = inspection.identity(&settings.home);
    let identity = source.token(&settings.client, jiff::Timestamp::now().as_second()).await;
    let identity = identity.map_err(|error| match error {
        NoIdentity::NotLoggedIn => EnrollError::NotLoggedIn,
        error => EnrollError::NoIdentity(error),
    })?;
    let body = EnrollRequest { enrollment_token: token.clone(), gateway_id: gateway_id.to_owned() };
    let answer = post::json(&settings.client, &url.enroll(), &identity, &body).await;
    let answer = answer.map_err(|error| EnrollError::Unreachable(url.enroll_base().to_owned(), error))?;
    granted(&answer, gateway_id).map_err(|refused| match refused {
        ProvisionError::Status { status: 401, .. } => EnrollError::Unauthorized,
        ProvisionError::Status { status: 403, sentence } => EnrollError::Forbidden(sentence),
        ProvisionError::Status { status, sentence } => EnrollError::Status(status, sentence),
        ProvisionError::Unreachable(error) => EnrollError::Unreachable(url.enroll_base().to_owned(), error),
        ProvisionError::NoSecret => EnrollError::NoSecret,
    })
}

/// What was written, without the secrets.
fn report(gateway_id: &str, tenant: Option<&str>, file: &Path, values: &[(&str, SecretString)]) -> String {
    let tenant = tenant.map(|tenant| format!(" for tenant {tenant}")).unwrap_or_default();
    let mut text = format!("Enrolled gateway {gateway_id}{tenant}. Written to {}:\n", file.display());
    for (name, value) in values {
        let shown = match *name {
            "GATEWAY_RELAY_SECRET" | "GATEWAY_RELAY_DELIVERY_KEY" => "<hidden>",
            _ => value.expose_secret(),
        };
        let _ = writeln!(text, "  {name}={shown}");
    }
    text.push_str("A running gateway uses them from its next dial on.\n");
    // The connector chooses the names; control characters are not shown.
    text.retain(|c| c == '\n' || !c.is_control());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_hides_secrets_and_escapes_control_characters() {
        let values = [
            ("GATEWAY_RELAY_ID", SecretString::from("gw\u{1b}]0;x\u{7}")),
            ("GATEWAY_RELAY_SECRET", "hunter2".into()),
            ("GATEWAY_RELAY_DELIVERY_KEY", "hunter3".into()),
        ];
        let shown = report("gw\u{1b}]0;x\u{7}", Some("t\u{9b}2J"), Path::new("/h/.env"), &values);
        assert!(shown.contains("gw]0;x for tenant t2J") && !shown.contains("hunter"), "{shown}");
        assert!(shown.lines().count() == 5 && shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    }
}
