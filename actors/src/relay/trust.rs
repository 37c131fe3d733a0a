//! Whom we trust to be a connector over TLS: whoever the system does, and one private authority more where one is set.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use awc::http::Version;
use awc::{Client, Connector};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tracing::warn;

/// Longest connect and longest TLS handshake. Who calls has a limit of their own; awc's 5 s are too short for a slow name server.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Whom to trust. Cheap to clone; clones share what was read.
#[derive(Clone, Default)]
pub struct Trust(Arc<Inner>);

#[derive(Default)]
struct Inner {
    authority: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<ClientConfig>>,
}

/// Whoever trusts the same is the same.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.0.authority == other.0.authority
    }
}

impl Eq for Trust {}

/// Why a file is no authority. The text says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthority {
    /// It is in another format, or empty.
    #[error("it holds no certificate in PEM form")]
    Empty,
    /// It begins like one.
    #[error("one of its certificates is broken")]
    Broken,
}

/// The certificates of the system cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's root certificates cannot be used")]
pub struct NoRoots;

impl Trust {
    /// Trusts the authorities in `pem` too.
    ///
    /// # Errors
    /// [`BadAuthority`] unless it holds certificates and nothing broken.
    pub fn with_authority(pem: &[u8]) -> Result<Self, BadAuthority> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let authority = read.map_err(|_| BadAuthority::Broken)?;
        if authority.is_empty() {
            return Err(BadAuthority::Empty);
        }
        let mut trial = RootCertStore::empty();
        authority
            .iter()
            .try_for_each(|certificate| trial.add(certificate.clone()))
            .map_err(|_| BadAuthority::Broken)?;
        Ok(Self(Arc::new(Inner { authority, config: OnceLock::new() })))
    }

    /// A client of this thread: HTTP/1.1 alone, for over HTTP/2 there is no upgrade; no redirect is followed, for a token would go
    /// with it; no limit of time but for the connection.
    ///
    /// # Errors
    /// [`NoRoots`]; a machine without any certificates.
    pub fn client(&self) -> Result<Client, NoRoots> {
        // Reading the certificates takes long enough to do it once.
        thread_local!(static LAST: RefCell<Option<(Trust, Client)>> = const { RefCell::new(None) });
        LAST.with_borrow_mut(|last| match last {
            Some((of, client)) if Arc::ptr_eq(&of.0, &self.0) => Ok(client.clone()),
            _ => Ok(last.insert((self.clone(), self.fresh_client()?)).1.clone()),
        })
    }

    fn fresh_client(&self) -> Result<Client, NoRoots> {
        let config = Arc::clone(self.0.config.get_or_init(|| Arc::new(self.0.read())));
        // awc reads the system's certificates itself at first, and panics where there are none.
        catch_unwind(AssertUnwindSafe(|| {
            let connector = Connector::new()
                .max_http_version(Version::HTTP_11)
                // Last, for limiting the version puts a configuration of awc's own in the place of ours.
                .rustls_0_23(config)
                .timeout(CONNECT_LIMIT)
                .handshake_timeout(CONNECT_LIMIT);
            Client::builder().connector(connector).disable_timeout().disable_redirects().finish()
        }))
        .map_err(|_| NoRoots)
    }
}

impl Inner {
    fn read(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            warn!(%error, "some of the system's root certificates cannot be read");
        }
        roots.add_parsable_certificates(system.certs.into_iter().chain(self.authority.iter().cloned()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the suites of every version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("authorities", &self.0.authority.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_authority_says_so_and_shows_nothing() {
        for (pem, why) in [
            ("", BadAuthority::Empty),
            ("hunter2", BadAuthority::Empty),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", BadAuthority::Broken),
            ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", BadAuthority::Broken),
        ] {
            assert_eq!(Trust::with_authority(pem.as_bytes()).unwrap_err(), why, "{pem}");
        }
    }
}
