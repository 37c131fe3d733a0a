//! What the connector is handed by the program around it: how it calls gateways, and where it keeps its state.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use zeroize::Zeroizing;

/// Calls gateways over HTTP, without following redirects.
pub trait Post: Debug + Send + Sync {
    /// Makes the call and gives the status of the answer. The body of the answer is not read.
    ///
    /// # Errors
    /// [`GatewayCallError`] when there is no answer, or one that leads elsewhere.
    fn send(&self, call: GatewayCall) -> LocalBoxFuture<'static, Result<u16, GatewayCallError>>;
}

/// One call of a gateway.
#[derive(Debug)]
pub struct GatewayCall {
    /// Where to.
    pub url: String,
    /// The whole call takes no longer.
    pub timeout: Duration,
    /// What is posted; without it the call is a GET.
    pub delivery: Option<SignedDelivery>,
}

/// A JSON document and its signature.
#[derive(Debug)]
pub struct SignedDelivery {
    /// The document as it is signed.
    pub body: String,
    /// Unix seconds, as they are signed.
    pub timestamp: i64,
    /// Hexadecimal.
    pub signature: String,
}

/// Why a call has no status that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayCallError {
    /// The answer leads elsewhere.
    #[error("{reason}")]
    Redirect {
        /// The status of the answer.
        status: u16,
        /// What was answered, as a sentence.
        reason: String,
    },
    /// There is no answer.
    #[error("{0}")]
    Failed(String),
}

/// Keeps the state of the connector across restarts. Its functions block.
pub trait Disk: Debug + Send + Sync {
    /// The file, for logs and errors.
    fn path(&self) -> &Path;

    /// What was written last, secrets among it; `None` where nothing was.
    ///
    /// # Errors
    /// What the system said when the file is there and cannot be read.
    fn read(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>>;

    /// Replaces the content: readable by its owner only, and either the old content or the new, whatever happens.
    ///
    /// # Errors
    /// What the system said; the old content stays.
    fn replace(&self, bytes: &[u8]) -> io::Result<()>;
}
