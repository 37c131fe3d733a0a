//! The interfaces that the program provides to the connector: HTTP calls to gateways, and storage for its state.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use zeroize::Zeroizing;

/// Calls gateways over HTTP, without following redirects.
pub trait Post: Debug + Send + Sync {
    /// Makes the call and returns the status of the response. The body of the response is not read.
    ///
    /// # Errors
    /// [`GatewayCallError`] if there is no response, or it is a redirect.
    fn send(&self, call: GatewayCall) -> LocalBoxFuture<'static, Result<u16, GatewayCallError>>;
}

/// One call to a gateway.
#[derive(Debug)]
pub struct GatewayCall {
    /// The URL.
    pub url: String,
    /// Timeout of the whole call.
    pub timeout: Duration,
    /// The body of a POST; `None` makes the call a GET.
    pub delivery: Option<SignedDocument>,
}

/// A JSON document and its signature.
#[derive(Debug)]
pub struct SignedDocument {
    /// The document as it is signed.
    pub body: String,
    /// The signed time, in Unix seconds.
    pub timestamp: i64,
    /// The signature, in hexadecimal.
    pub signature: String,
}

/// Why a call has no usable status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayCallError {
    /// The response is a redirect.
    #[error("{reason}")]
    Redirect {
        /// The status of the response.
        status: u16,
        /// The response, as a sentence.
        reason: String,
    },
    /// There is no response.
    #[error("{0}")]
    Failed(String),
}

/// Storage for the state of the connector across restarts. Its functions block.
pub trait Disk: Debug + Send + Sync {
    /// The file, for logs and errors.
    fn path(&self) -> &Path;

    /// The content last written, secrets included; `None` if nothing was written.
    ///
    /// # Errors
    /// The error of the system if the file exists and cannot be read.
    fn read(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>>;

    /// Replaces the content atomically; the file is readable by its owner only.
    ///
    /// # Errors
    /// The error of the system; the old content stays.
    fn replace(&self, bytes: &[u8]) -> io::Result<()>;
}
