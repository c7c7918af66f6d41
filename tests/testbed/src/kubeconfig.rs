//! Kubeconfigs as people get them: CA inline, token or client certificate inline.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::pki::Pki;

/// As whom a kubeconfig or a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An administrator with static token 0 or 1; two, so that one can replace the other.
    Token(usize),
    /// An administrator with a client certificate.
    Certificate,
    /// A user who is authenticated but may do nothing.
    Unprivileged,
}

/// A new client for the text of a kubeconfig.
pub async fn client_from(kubeconfig: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).context("not a kubeconfig")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context("an unusable kubeconfig")?;
    Client::try_from(config).context("cannot make a client from a kubeconfig")
}

/// The bearer tokens of one control plane.
#[derive(Debug)]
pub(crate) struct Tokens {
    admin: [String; 2],
    unprivileged: String,
}

impl Tokens {
    pub(crate) fn random() -> Self {
        let token = || hex::encode(rand::random::<[u8; 16]>());
        Self {
            admin: [token(), token()],
            unprivileged: token(),
        }
    }

    /// Any index is one of the two.
    pub(crate) fn admin(&self, index: usize) -> &str {
        &self.admin[index % 2]
    }

    pub(crate) fn unprivileged(&self) -> &str {
        &self.unprivileged
    }

    /// The API server's token file, without the token `revoked`.
    pub(crate) fn csv(&self, revoked: Option<usize>) -> String {
        let admins = self.admin.iter().enumerate();
        let mut lines: Vec<String> = admins
            .filter(|(index, _)| Some(*index) != revoked.map(|index| index % 2))
            .map(|(index, token)| format!("{token},admin-{index},admin-{index},system:masters"))
            .collect();
        lines.push(format!("{},nobody,nobody", self.unprivileged));
        lines.join("\n") + "\n"
    }
}

/// The kubeconfig of `cluster` at `url`.
pub(crate) fn render(
    cluster: &str,
    url: &str,
    pki: &Pki,
    tokens: &Tokens,
    access: Access,
) -> String {
    let user = match access {
        Access::Token(index) => format!("token: {}", tokens.admin(index)),
        Access::Unprivileged => format!("token: {}", tokens.unprivileged()),
        Access::Certificate => format!(
            "client-certificate-data: {}\n    client-key-data: {}",
            STANDARD.encode(&pki.admin_cert_pem),
            STANDARD.encode(&pki.admin_key_pem)
        ),
    };
    let ca = STANDARD.encode(&pki.ca_pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    server: {url}
    certificate-authority-data: {ca}
users:
- name: admin
  user:
    {user}
contexts:
- name: {cluster}
  context:
    cluster: {cluster}
    user: admin
current-context: {cluster}
"
    )
}
