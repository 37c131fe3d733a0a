//! The address of the gateway, and the token for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix_web::http::Uri;
use actix_web::rt::time::sleep;
use caduceus_actors::http_client::HttpClient;
use caduceus_actors::settings::{Environment, client_of_command, find_home};
use caduceus_actors::status::state_file;
use caduceus_contract::status::lifecycle::GatewayState;
use secrecy::SecretString;

use super::{CommandError, GatewayClient};
use crate::cli::{lock, token};

/// The variable that names the turn of an agent, and so of a command that the agent runs.
const TURN: &str = "CADUCEUS_TURN_ID";
/// How long a starting gateway may take to publish its address.
const START_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval of polling meanwhile.
const POLL: Duration = Duration::from_millis(20);
/// Far above any real token.
const MAX_TOKEN: u64 = 64 * 1024;

/// The gateway that a command refers to.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct GatewaySelector {
    /// Home directory of the gateway; `HERMES_HOME`, else `~/.hermes`, if not given.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    home: Option<PathBuf>,
    /// Address of the gateway, instead of finding it by its home.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File that holds the token, instead of `HERMES_DASHBOARD_DRAIN_SECRET` in the environment.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The gateway of a command, before the first request.
pub(in crate::cli) struct Contact {
    /// The home; `None` where the gateway was named by its address.
    pub(in crate::cli) home: Option<PathBuf>,
    url: Option<String>,
    token: Option<SecretString>,
    http: HttpClient,
    /// The turn that runs the command, if one does.
    pub(in crate::cli) turn: Option<String>,
}

/// Whether a gateway holds the lock of a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Presence {
    /// No gateway does.
    Absent,
    /// A gateway does.
    Present {
        /// It has not published its address yet.
        starting: bool,
        /// Its address, if it publishes one: the original's gateway does not.
        address: Option<String>,
    },
}

impl GatewaySelector {
    /// Reads the environment and the token's file.
    pub(in crate::cli) fn find(self) -> Result<Contact, CommandError> {
        let mut environment = Environment::capture();
        let given = self.token_file.map(|path| read_token(&path)).transpose()?;
        let token = given.or_else(|| environment.take_drain_secret());
        let turn = environment.own.get(TURN).cloned();
        let http = client_of_command(&environment, &mut Vec::new());
        if let Some(url) = self.url {
            let url = Some(checked(&url).ok_or(CommandError::Address)?);
            return Ok(Contact { home: None, url, token, http, turn });
        }
        let path = find_home(self.home, &environment);
        let home = path.canonicalize().map_err(|source| CommandError::Home { path, source })?;
        Ok(Contact { home: Some(home), url: None, token, http, turn })
    }
}

impl Contact {
    pub(in crate::cli) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The client for the gateway; `None` if no gateway holds the home, or one that publishes no address.
    pub(in crate::cli) async fn client(&self) -> Result<Option<GatewayClient>, CommandError> {
        let started_at = Instant::now();
        let address = loop {
            match (&self.url, self.presence()?) {
                (Some(url), _) => break Some(url.clone()),
                (None, Presence::Absent) => break None,
                (None, Presence::Present { starting: true, .. }) if started_at.elapsed() < START_TIMEOUT => {
                    sleep(POLL).await;
                }
                (None, Presence::Present { address, .. }) => break address,
            }
        };
        Ok(address.map(|address| GatewayClient::new(self.http.clone(), address, self.token.clone())))
    }

    /// Whether the home is held; unknown for a gateway that was named by its address.
    pub(in crate::cli) fn presence(&self) -> Result<Presence, CommandError> {
        let Some(home) = &self.home else { return Ok(Presence::Absent) };
        presence_of(home).map_err(|source| CommandError::Home { path: home.clone(), source })
    }

    /// Why there is no [`Contact::client`].
    pub(in crate::cli) fn no_gateway(&self) -> CommandError {
        let home = self.home.as_deref().unwrap_or(Path::new("")).display();
        match self.presence() {
            Err(error) => error,
            Ok(Presence::Absent) => CommandError::NoGateway(format!("none holds the home {home}")),
            Ok(Presence::Present { .. }) => {
                CommandError::NoAnswer(format!("one holds the home {home} and publishes no address"))
            }
        }
    }
}

fn presence_of(home: &Path) -> io::Result<Presence> {
    if !lock::is_held(home)? {
        return Ok(Presence::Absent);
    }
    let holder = lock::holder(home);
    // The record of another process is not used: the process that listens there now would receive the token.
    let found = state_file::read(home);
    let record = found.filter(|found| Some(found.written) == holder);
    let starting =
        record.as_ref().is_none_or(|found| found.http.is_none() && found.state == Some(GatewayState::Starting));
    let address = record.and_then(|found| found.http).and_then(|url| checked(&url)).map(|url| reachable(&url));
    Ok(Presence::Present { starting, address })
}

fn read_token(path: &Path) -> Result<SecretString, CommandError> {
    let unusable = |why: &str| CommandError::Token { path: path.to_owned(), why: why.to_owned() };
    let contents = token::read(path, MAX_TOKEN).map_err(|why| unusable(&why.to_string()))?;
    let token = std::str::from_utf8(&contents).map_err(|_| unusable("it is not UTF-8"))?.trim();
    if token.is_empty() {
        return Err(unusable("it is empty"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("it has spaces or characters that a header cannot hold"));
    }
    Ok(token.into())
}

/// The address without a slash at its end, if it is an HTTP address without credentials.
fn checked(url: &str) -> Option<String> {
    let uri: Uri = url.trim().parse().ok()?;
    let authority = uri.authority()?.as_str();
    let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none() && !authority.contains('@');
    plain.then(|| format!("{}://{authority}{}", uri.scheme_str().unwrap_or("http"), uri.path().trim_end_matches('/')))
}

/// The address to dial: loopback for a gateway that listens on all addresses.
fn reachable(url: &str) -> String {
    let address = url.strip_prefix("http://").and_then(|authority| authority.parse::<SocketAddr>().ok());
    let Some(mut address) = address.filter(|address| address.ip().is_unspecified()) else { return url.to_owned() };
    address.set_ip(match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    });
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_http_address_without_credentials() {
        assert_eq!(checked("http://127.0.0.1:8652/").unwrap(), "http://127.0.0.1:8652");
        assert_eq!(checked(" https://gate.example/under ").unwrap(), "https://gate.example/under");
        for bad in
            ["", "gate.example", "ftp://gate.example", "http://", "http://me:secret@gate.example", "http://a/?t=s"]
        {
            assert_eq!(checked(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_gateway_on_all_addresses_is_dialled_on_loopback() {
        assert_eq!(reachable("http://0.0.0.0:1"), "http://127.0.0.1:1");
        assert_eq!(reachable("http://[::]:1"), "http://[::1]:1");
        assert_eq!(reachable("http://10.0.0.1:1"), "http://10.0.0.1:1");
    }

    #[test]
    fn a_token_is_one_word_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, why) in [("", "empty"), (" \n", "empty"), ("two words", "spaces"), ("schlüssel", "characters")] {
            std::fs::write(&path, text).unwrap();
            let error = read_token(&path).unwrap_err().to_string();
            assert!(error.contains(why) && (text.trim().is_empty() || !error.contains(text)), "{error}");
        }
        std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
        assert!(read_token(&path).is_err());
        std::fs::write(&path, "token\n").unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(&read_token(&path).unwrap()), "token");
    }
}
