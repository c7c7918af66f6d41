//! Where kubeconfigs come from.

use futures::future::BoxFuture;
use zeroize::Zeroizing;

/// Why a kubeconfig could not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SourceError {
    /// The object names no Secret.
    #[error("the object names no kubeconfig Secret")]
    NotSet,
    /// There is no such Secret.
    #[error("Secret {0} does not exist")]
    SecretNotFound(String),
    /// The Secret lacks the key.
    #[error("Secret {secret} has no key {key:?}")]
    KeyNotFound {
        /// Namespace and name.
        secret: String,
        /// The key.
        key: String,
    },
    /// The hub did not answer; what is known stays in use.
    #[error("the hub did not answer: {0}")]
    Hub(String),
}

/// Reads a kubeconfig from a Secret of the hub, live.
pub trait SecretSource: Send + Sync + 'static {
    /// The value of `key` in Secret `name`.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, SourceError>>;
}
