//! The trusted certificates of servers: those of the system, and one private authority if configured.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tracing::warn;

/// The roots of TLS. Cheap to clone; clones share what was read. The system's are read once, by the first call.
#[derive(Clone, Default)]
pub struct TlsRoots(Arc<SharedRoots>);

#[derive(Default)]
struct SharedRoots {
    authority: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<ClientConfig>>,
}

/// Why a file is not a valid authority. The text contains none of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// It is in another format, or empty.
    #[error("it has no certificate in PEM form")]
    Empty,
    /// One of its certificates is invalid.
    #[error("one of its certificates is invalid")]
    Broken,
}

impl TlsRoots {
    /// Adds the authorities in `pem`.
    ///
    /// # Errors
    /// [`AuthorityError`] unless it has only valid certificates.
    pub fn with_authority(pem: &[u8]) -> Result<Self, AuthorityError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let authority = read.map_err(|_| AuthorityError::Broken)?;
        if authority.is_empty() {
            return Err(AuthorityError::Empty);
        }
        let mut trial = RootCertStore::empty();
        authority
            .iter()
            .try_for_each(|certificate| trial.add(certificate.clone()))
            .map_err(|_| AuthorityError::Broken)?;
        Ok(Self(Arc::new(SharedRoots { authority, config: OnceLock::new() })))
    }

    /// Whether both share what was read.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// For HTTP/1.1 alone: HTTP/2 has no upgrade.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(self.0.config.get_or_init(|| Arc::new(self.0.read())))
    }
}

impl SharedRoots {
    fn read(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            warn!(%error, "some of the system's root certificates cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            warn!("the system has no root certificates; the bundled ones are used");
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots.add_parsable_certificates(self.authority.iter().cloned());
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

/// The same file gives equal roots.
impl PartialEq for TlsRoots {
    fn eq(&self, other: &Self) -> bool {
        self.0.authority == other.0.authority
    }
}

impl Eq for TlsRoots {}

impl fmt::Debug for TlsRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsRoots").field("authorities", &self.0.authority.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_authority_is_an_error_without_its_content() {
        for (pem, why) in [
            ("", AuthorityError::Empty),
            ("hunter2", AuthorityError::Empty),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", AuthorityError::Broken),
            ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", AuthorityError::Broken),
        ] {
            assert_eq!(TlsRoots::with_authority(pem.as_bytes()).unwrap_err(), why, "{pem}");
        }
    }
}
