//! Fetches one file that a member has linked to. The link is not trusted, nor is what it leads to:
//! only the Fleet's own store is asked, redirects are not followed, and little is read.

use std::sync::Arc;

use api_types::fleet::{BackupLocation, Fleet};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::results::{self, NotAllowed, Origins, Unreadable};

/// Files that are inflated at a time: each may need 32 MiB.
static INFLATING: Semaphore = Semaphore::const_new(2);

/// Why the results of a restore were not read. No text holds the link, which lets anyone read the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// A call to the member failed.
    #[error("the member could not be asked for a link")]
    Call(#[source] Box<proxy_client::Error>),
    /// Another owner's request, or one for another file, has the name of ours.
    #[error("the name of the DownloadRequest is taken")]
    NotOurs,
    /// Velero refused the request.
    #[error("Velero gives no link")]
    Refused,
    /// The link leads elsewhere.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The certificate authorities cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The store could not be reached, or broke off.
    #[error("the store did not answer")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store answered with something else than the file. A redirect is not followed.
    #[error("the store answered {0}")]
    Answer(StatusCode),
    /// The file is larger than [`results::MAX_COMPRESSED`].
    #[error("the file is larger than {} bytes", results::MAX_COMPRESSED)]
    TooLarge,
    /// The file is not Velero's, or too large once inflated.
    #[error("the file cannot be used")]
    Unreadable(#[from] Unreadable),
    /// It was not done in time.
    #[error("it took too long")]
    TooSlow,
}

/// The object storage of a Fleet.
#[derive(Debug)]
pub struct Store {
    origins: Origins,
    /// Certificate authority of the endpoint, PEM in base64.
    ca_cert: Option<String>,
}

impl Store {
    /// The store of this Fleet, if it names one whose files can be fetched.
    pub fn of(fleet: &Fleet) -> Option<Self> {
        let plugins = fleet.spec.plugin.as_ref()?;
        Self::at(&plugins.backup.as_ref()?.storage.location)
    }

    fn at(location: &BackupLocation) -> Option<Self> {
        let origins = Origins::of(location);
        (!origins.is_empty()).then(|| Self {
            origins,
            ca_cert: location.ca_cert.clone(),
        })
    }

    /// The first error lines of the results that a member's link leads to, until `end` at the latest.
    pub(super) async fn read(&self, link: &str, end: Instant) -> Result<Vec<String>, Unread> {
        let read = timeout_at(end, self.lines(link)).await;
        read.unwrap_or(Err(Unread::TooSlow))
    }

    async fn lines(&self, link: &str) -> Result<Vec<String>, Unread> {
        let link = self.origins.admit(link)?;
        let file = self.fetch(&link).await?;
        // Never closed, and nobody holds it for longer than inflating takes.
        let _turn = INFLATING.acquire().await.ok();
        let lines = tokio::task::spawn_blocking(move || results::error_lines(&file));
        let lines = lines
            .await
            .map_err(|error| Unread::Connection(error.into()))?;
        Ok(lines?)
    }

    async fn fetch(&self, link: &Url) -> Result<Bytes, Unread> {
        let request = Request::get(link.as_str())
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Empty::<Bytes>::new())
            .map_err(|error| Unread::Connection(error.into()))?;
        // No proxy of the environment is used, and no connection is kept.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(self.connector(link).await?);
        let answer = client
            .request(request)
            .await
            .map_err(|error| Unread::Connection(error.into()))?;
        if answer.status() != StatusCode::OK {
            return Err(Unread::Answer(answer.status()));
        }
        let body = answer.into_body();
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if declared > results::MAX_COMPRESSED {
            return Err(Unread::TooLarge);
        }
        let body = Limited::new(body, results::MAX_COMPRESSED).collect().await;
        body.map(http_body_util::Collected::to_bytes)
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Unread::TooLarge
                } else {
                    Unread::Connection(error)
                }
            })
    }

    async fn connector(&self, link: &Url) -> Result<HttpsConnector<HttpConnector>, Unread> {
        let failed = |error: &dyn std::fmt::Display| Unread::Tls(error.to_string());
        let roots = if link.scheme() == "https" {
            let ca_cert = self.ca_cert.clone();
            // Reads the files of this machine's authorities.
            let roots = tokio::task::spawn_blocking(move || roots(ca_cert.as_deref()));
            roots.await.map_err(|error| failed(&error))??
        } else {
            RootCertStore::empty()
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build())
    }
}

/// This machine's certificate authorities, and the one of the Fleet.
fn roots(ca_cert: Option<&str>) -> Result<RootCertStore, Unread> {
    let mut roots = RootCertStore::empty();
    // Some may be unreadable; what they would have vouched for is not trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca_cert) = ca_cert {
        let broken = |error: &dyn std::fmt::Display| {
            Unread::Tls(format!("the Fleet's caCert is not PEM in base64: {error}"))
        };
        let pem = STANDARD.decode(ca_cert).map_err(|error| broken(&error))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| broken(&error))?;
            roots.add(certificate).map_err(|error| broken(&error))?;
        }
    }
    Ok(roots)
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
