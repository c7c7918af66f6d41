//! The TLS side of a kubeconfig.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kube::config::{AuthInfo, Cluster};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::{CredentialError, invalid, is_insecure};
use crate::request::answer::clean;

/// Bytes of a certificate's name that are passed on.
const NAME_MAX: usize = 160;

/// Builds a configuration that verifies the member and, with a certificate, identifies us. The
/// second part is the certificate's expiry.
pub(super) fn client_config(
    cluster: &Cluster,
    user: &AuthInfo,
) -> Result<(ClientConfig, Option<Timestamp>), CredentialError> {
    let verifier: Arc<dyn ServerCertVerifier> = if is_insecure(cluster) {
        Arc::new(Unverified(provider()?))
    } else {
        Arc::new(Verifier::new(roots(cluster)?)?)
    };
    let builder = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let (mut config, expiry) = match identity(user)? {
        Some((chain, key)) => {
            let expiry = chain.first().and_then(|cert| not_after(cert));
            let config = builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| invalid(format!("client certificate and key do not fit: {e}")))?;
            // A certificate whose date cannot be read still counts as one.
            (config, expiry.or(Some(Timestamp::MAX)))
        }
        None => (builder.with_no_client_auth(), None),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((config, expiry))
}

fn roots(cluster: &Cluster) -> Result<RootCertStore, CredentialError> {
    const FIELD: &str = "certificate-authority-data";
    let data = cluster
        .certificate_authority_data
        .as_deref()
        .filter(|data| !data.is_empty())
        .ok_or_else(|| invalid(format!("{FIELD} is missing: members are verified with it")))?;
    let pem = decode(FIELD, data)?;
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&pem) {
        let cert = cert.map_err(|_| invalid(format!("{FIELD} is not PEM")))?;
        roots
            .add(cert)
            .map_err(|e| invalid(format!("{FIELD} holds an unusable certificate: {e}")))?;
    }
    if roots.is_empty() {
        return Err(invalid(format!("{FIELD} holds no PEM certificate")));
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(user: &AuthInfo) -> Result<Option<Identity>, CredentialError> {
    const CERT: &str = "client-certificate-data";
    const KEY: &str = "client-key-data";
    let (cert, key) = match (&user.client_certificate_data, &user.client_key_data) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(invalid(format!("{KEY} is missing"))),
        (None, Some(_)) => return Err(invalid(format!("{CERT} is missing"))),
    };
    let chain = CertificateDer::pem_slice_iter(&decode(CERT, cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| invalid(format!("{CERT} is not PEM")))?;
    if chain.is_empty() {
        return Err(invalid(format!("{CERT} holds no PEM certificate")));
    }
    let key = PrivateKeyDer::from_pem_slice(&decode(KEY, key.expose_secret())?)
        .map_err(|_| invalid(format!("{KEY} holds no PEM private key")))?;
    Ok(Some((chain, key)))
}

fn decode(field: &str, data: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let compact: Zeroizing<String> =
        Zeroizing::new(data.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    STANDARD
        .decode(compact.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| invalid(format!("{field} is not base64")))
}

fn provider() -> Result<Arc<CryptoProvider>, CredentialError> {
    CryptoProvider::get_default()
        .cloned()
        .ok_or_else(|| invalid("the proxy has no cryptography to speak TLS with"))
}

/// Believes every certificate; only its key is checked. Never without a flag and an annotation.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// rustls' own verifier, whose refusals also say which certificate it saw.
#[derive(Debug)]
struct Verifier(Arc<WebPkiServerVerifier>);

/// A refused certificate.
#[derive(Debug, thiserror::Error)]
#[error("subject {subject}, issuer {issuer}, not after {not_after}: {why}")]
struct Refused {
    why: CertificateError,
    subject: String,
    issuer: String,
    not_after: String,
}

impl Verifier {
    fn new(roots: RootCertStore) -> Result<Self, CredentialError> {
        WebPkiServerVerifier::builder(Arc::new(roots))
            .build()
            .map(Self)
            .map_err(|e| invalid(format!("certificate-authority-data cannot be used: {e}")))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| explain(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn explain(error: rustls::Error, cert: &CertificateDer<'_>) -> rustls::Error {
    let rustls::Error::InvalidCertificate(why) = error else {
        return error;
    };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(cert) else {
        return rustls::Error::InvalidCertificate(why);
    };
    let refused = Refused {
        why,
        subject: short(&parsed.subject().to_string()),
        issuer: short(&parsed.issuer().to_string()),
        not_after: not_after(cert).map_or_else(|| "an unknown date".to_owned(), |t| t.to_string()),
    };
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
}

/// A name that leaves room for the rest, whatever the certificate says.
fn short(name: &str) -> String {
    let kept = name.floor_char_boundary(NAME_MAX);
    let cut = if kept < name.len() { "…" } else { "" };
    clean(&format!("{}{cut}", &name[..kept]))
}

fn not_after(cert: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(cert).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_refused_certificate_is_named_however_long_its_names_are() {
        for (name, shown) in [
            ("bergen".to_owned(), "CN=bergen,"),
            ("ø\n".repeat(4000), "…,"),
        ] {
            let mut params = CertificateParams::new(["bergen".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_after = rcgen::date_time_ymd(2031, 2, 3);
            let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let why = CertificateError::UnknownIssuer;
            let error = explain(rustls::Error::InvalidCertificate(why), cert.der());
            let rustls::Error::InvalidCertificate(CertificateError::Other(told)) = error else {
                panic!("{error:?}");
            };
            let told = told.0.to_string();
            assert!(told.len() < 600, "{told}");
            assert_eq!(told.matches(shown).count(), 2, "subject and issuer: {told}");
            assert!(told.contains("not after 2031-02-03T00:00:00Z:"), "{told}");
            assert!(!told.contains('\n'), "{told}");
        }
    }
}
