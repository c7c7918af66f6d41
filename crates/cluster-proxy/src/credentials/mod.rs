//! A member's kubeconfig: data that is checked, never a programme that is run.
//!
//! kube's types are used to parse it and for nothing else; what a kubeconfig may ask for (run a
//! programme, read a file, speak plain HTTP, skip verification) is refused with the field's name.

pub mod address;
pub mod source;
mod tls;

use std::{fmt, sync::Arc};

use http::HeaderValue;
use jiff::Timestamp;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

/// The largest kubeconfig that is read.
const SIZE_MAX: usize = 64 * 1024;

/// Why a kubeconfig is of no use.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CredentialError {
    /// It cannot be read or lacks something.
    #[error("{0}")]
    Invalid(String),
    /// It asks for what the proxy does not do.
    #[error("{field} is refused: {why}")]
    Refused {
        /// The kubeconfig's field.
        field: &'static str,
        /// The reason, and what to do instead.
        why: &'static str,
    },
}

/// Who says that a member may go unverified; both must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insecure {
    /// `--allow-insecure-members`.
    pub flag: bool,
    /// The annotation of the hub object.
    pub annotation: bool,
}

/// What is needed to speak to one member.
pub struct Credentials {
    /// Host name or address of the server.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Path prefix of the server's URL, without a trailing slash.
    pub base_path: String,
    /// The name that the member's certificate must carry.
    pub server_name: ServerName<'static>,
    /// Verifies the member, identifies us.
    pub tls: Arc<rustls::ClientConfig>,
    /// `Authorization`, when a token is used.
    pub authorization: Option<HeaderValue>,
    /// The earliest expiry of certificate and token.
    pub expiry: Option<Timestamp>,
    /// The member is not verified: whoever answers at its address gets our credentials.
    pub insecure: bool,
    /// Tells versions apart without keeping them.
    pub digest: [u8; 32],
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads and judges the content of a Secret's key.
    pub fn parse(bytes: &[u8], insecure: Insecure) -> Result<Self, CredentialError> {
        if bytes.len() > SIZE_MAX {
            return Err(CredentialError::Refused {
                field: "kubeconfig",
                why: "it is larger than 64 KiB",
            });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8 text"))?;
        // The parser's message may quote the text, so it is not passed on.
        let config =
            Kubeconfig::from_yaml(text).map_err(|_| invalid("it is not a kubeconfig in YAML"))?;
        let (cluster, user) = select(&config)?;
        refuse_cluster(cluster, insecure)?;
        refuse_user(user)?;
        let server = Server::parse(cluster)?;
        let token = token(user)?;
        let (tls, certificate_expiry) = tls::client_config(cluster, user)?;
        if token.is_none() && certificate_expiry.is_none() {
            return Err(invalid(
                "the user has neither a token nor a client certificate with its key",
            ));
        }
        let expiry = [
            certificate_expiry,
            token.as_deref().and_then(|text| jwt_expiry(text)),
        ]
        .into_iter()
        .flatten()
        .min();
        let authorization = token.as_deref().map(|text| bearer(text)).transpose()?;
        Ok(Self {
            host: server.host,
            port: server.port,
            base_path: server.base_path,
            server_name: server.name,
            tls: Arc::new(tls),
            authorization,
            expiry,
            insecure: is_insecure(cluster),
            digest: Sha256::digest(bytes).into(),
        })
    }
}

fn invalid(message: impl Into<String>) -> CredentialError {
    CredentialError::Invalid(message.into())
}

/// The current context's cluster and user; all others are ignored.
fn select(config: &Kubeconfig) -> Result<(&Cluster, &AuthInfo), CredentialError> {
    let current = config
        .current_context
        .as_deref()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| invalid("current-context is not set"))?;
    let context = config
        .contexts
        .iter()
        .find(|c| c.name == current)
        .and_then(|c| c.context.as_ref())
        .ok_or_else(|| invalid(format!("context {current:?} does not exist")))?;
    let mut clusters = config.clusters.iter().filter(|c| c.name == context.cluster);
    let user_name = context.user.as_deref().unwrap_or_default();
    let mut users = config.auth_infos.iter().filter(|u| u.name == user_name);
    let cluster = clusters.next().and_then(|c| c.cluster.as_ref());
    let user = users.next().and_then(|u| u.auth_info.as_ref());
    if clusters.next().is_some() || users.next().is_some() {
        return Err(invalid("two clusters or two users have the same name"));
    }
    Ok((
        cluster.ok_or_else(|| invalid(format!("cluster {:?} does not exist", context.cluster)))?,
        user.ok_or_else(|| invalid(format!("user {user_name:?} does not exist")))?,
    ))
}

fn is_insecure(cluster: &Cluster) -> bool {
    cluster.insecure_skip_tls_verify == Some(true)
}

fn refuse_cluster(cluster: &Cluster, insecure: Insecure) -> Result<(), CredentialError> {
    let inline = "the proxy opens no files: put the data inline";
    let unverified = match insecure {
        Insecure {
            annotation: true, ..
        } => {
            "members are verified: add certificate-authority-data, or start the proxy with \
             --allow-insecure-members"
        }
        Insecure { flag: true, .. } => {
            "members are verified: add certificate-authority-data, or annotate the hub object with \
             cluster.kurator.dev/insecure-skip-tls-verify=true"
        }
        Insecure { .. } => "members are always verified: add certificate-authority-data",
    };
    refuse(&[
        (
            cluster.certificate_authority.is_some(),
            "certificate-authority",
            inline,
        ),
        (
            is_insecure(cluster) && !(insecure.flag && insecure.annotation),
            "insecure-skip-tls-verify",
            unverified,
        ),
        (
            is_insecure(cluster) && cluster.certificate_authority_data.is_some(),
            "insecure-skip-tls-verify",
            "it and certificate-authority-data exclude each other",
        ),
        (
            cluster.proxy_url.is_some(),
            "proxy-url",
            "members are reached directly",
        ),
    ])
}

fn refuse_user(user: &AuthInfo) -> Result<(), CredentialError> {
    let inline = "the proxy opens no files: put the data inline";
    let plugin = "the proxy runs no programmes: use a client certificate or a token";
    let basic = "use a client certificate or a token";
    let impersonate = "the proxy acts as the user itself";
    refuse(&[
        (user.exec.is_some(), "exec", plugin),
        (user.auth_provider.is_some(), "auth-provider", plugin),
        (user.token_file.is_some(), "tokenFile", inline),
        (
            user.client_certificate.is_some(),
            "client-certificate",
            inline,
        ),
        (user.client_key.is_some(), "client-key", inline),
        (user.username.is_some(), "username", basic),
        (user.password.is_some(), "password", basic),
        (user.impersonate.is_some(), "as", impersonate),
        (user.impersonate_uid.is_some(), "as-uid", impersonate),
        (user.impersonate_groups.is_some(), "as-groups", impersonate),
        (
            user.impersonate_user_extra.is_some(),
            "as-user-extra",
            impersonate,
        ),
    ])
}

fn refuse(rules: &[(bool, &'static str, &'static str)]) -> Result<(), CredentialError> {
    match rules.iter().find(|(hit, ..)| *hit) {
        Some(&(_, field, why)) => Err(CredentialError::Refused { field, why }),
        None => Ok(()),
    }
}

struct Server {
    host: String,
    port: u16,
    base_path: String,
    name: ServerName<'static>,
}

impl Server {
    fn parse(cluster: &Cluster) -> Result<Self, CredentialError> {
        let text = cluster
            .server
            .as_deref()
            .ok_or_else(|| invalid("the cluster has no server"))?;
        let url = Url::parse(text).map_err(|e| invalid(format!("server is not a URL: {e}")))?;
        refuse(&[
            (
                url.scheme() != "https",
                "server",
                "it must be an https:// URL",
            ),
            (
                !url.username().is_empty() || url.password().is_some(),
                "server",
                "it must not contain a user",
            ),
            (
                url.query().is_some() || url.fragment().is_some(),
                "server",
                "it must not have a query or fragment",
            ),
        ])?;
        let host = url
            .host_str()
            .ok_or_else(|| invalid("server has no host"))?
            .trim_matches(['[', ']'])
            .to_owned();
        let name = cluster
            .tls_server_name
            .clone()
            .unwrap_or_else(|| host.clone());
        Ok(Self {
            port: url.port_or_known_default().unwrap_or(443),
            base_path: url.path().trim_end_matches('/').to_owned(),
            name: ServerName::try_from(name)
                .map_err(|_| invalid("tls-server-name is not a host name"))?,
            host,
        })
    }
}

fn token(user: &AuthInfo) -> Result<Option<Zeroizing<String>>, CredentialError> {
    let token = user.token.as_ref().map(|t| t.expose_secret().trim());
    match token {
        Some("") => Err(invalid("the user's token is empty")),
        token => Ok(token.map(|text| Zeroizing::new(text.to_owned()))),
    }
}

fn bearer(token: &str) -> Result<HeaderValue, CredentialError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| invalid("the user's token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The `exp` claim of a token that happens to be a JWT; not verified, only shown.
fn jwt_expiry(token: &str) -> Option<Timestamp> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

#[cfg(test)]
mod tests;
