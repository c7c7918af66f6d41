//! etcd, kube-apiserver and kube-controller-manager of one cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::{Client, Config};

use crate::address::port;
use crate::folder::write_private;
use crate::kubeconfig::{self, Access, Tokens, client_from};
use crate::pki::Pki;
use crate::process::{Process, Program};
use crate::site::Site;
use crate::wait::wait_ok;

/// On two loaded cores a few control planes at once take 20 s.
const READY: Duration = Duration::from_secs(90);
const READY_PROBE: Duration = Duration::from_secs(2);
const CONTROLLERS: &str =
    "namespace-controller,garbage-collector-controller,serviceaccount-controller";

/// One running cluster: a control plane without nodes.
#[derive(Debug)]
pub struct ControlPlane {
    name: String,
    url: String,
    pki: Pki,
    tokens: Tokens,
    tokens_path: PathBuf,
    kubeconfig_path: PathBuf,
    controller_manager: Option<Process>,
    apiserver: Process,
    etcd: Process,
    etcd_data: PathBuf,
}

impl ControlPlane {
    /// `index` chooses the ports: 0 is the hub, members follow.
    pub(crate) async fn start(
        bed: &Site,
        name: &str,
        index: usize,
        controllers: bool,
    ) -> Result<Self> {
        let site = bed.part(name)?;
        let (etcd_port, port) = (port::cluster(index), port::cluster(index) + 1);
        let url = format!("https://{}:{port}", site.ip);
        let pki = Pki::create(&site.dir.join("pki"), name, site.ip)?;
        let tokens = Tokens::random();
        let tokens_path = site.dir.join("tokens.csv");
        write_private(&tokens_path, &tokens.csv(None))?;
        let kubeconfig_path = bed.dir.join(format!("{name}.kubeconfig"));
        let kubeconfig = kubeconfig::render(name, &url, &pki, &tokens, Access::Token(0));
        write_private(&kubeconfig_path, &kubeconfig)?;

        let etcd_url = format!("http://{}:{etcd_port}", site.ip);
        let etcd = site.spawn(etcd(&site, name, &etcd_url)?)?;
        let apiserver = site.spawn(apiserver(&site, name, &etcd_url, port, &pki)?)?;
        let mut cluster = Self {
            name: name.to_owned(),
            url,
            pki,
            tokens,
            tokens_path,
            kubeconfig_path,
            controller_manager: None,
            apiserver,
            etcd,
            etcd_data: etcd_data(&site),
        };
        cluster.wait_ready().await?;
        if controllers {
            // Only now: it gives up if it finds no API server within 10 s.
            let program = controller_manager(&site, name, &cluster.kubeconfig_path)?;
            cluster.controller_manager = Some(site.spawn(program)?);
        }
        Ok(cluster)
    }

    /// Its name, which is also the name of its context in kubeconfigs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its API server listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An administrator's kubeconfig with token 0.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_at(&self.url, Access::Token(0))
    }

    /// A file that holds [`ControlPlane::kubeconfig`].
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig_path
    }

    /// A kubeconfig for another user, or for another way to the same API server (a relay).
    pub fn kubeconfig_at(&self, url: &str, access: Access) -> String {
        kubeconfig::render(&self.name, url, &self.pki, &self.tokens, access)
    }

    /// The CA of its serving certificate, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.pki.ca_pem
    }

    /// An administrator's token: 0 or 1.
    pub fn token(&self, index: usize) -> &str {
        self.tokens.admin(index)
    }

    /// The token of a user who may do nothing.
    pub fn unprivileged_token(&self) -> &str {
        self.tokens.unprivileged()
    }

    /// A new client of an administrator. It belongs to the runtime that calls this.
    pub fn client(&self) -> Result<Client> {
        self.client_as(self.token(0))
    }

    /// A new client with `token`.
    pub fn client_as(&self, token: &str) -> Result<Client> {
        Client::try_from(self.config_as(token)?)
            .with_context(|| format!("cannot make a client of {}", self.name))
    }

    /// What a client of an administrator is made from, in whatever runtime.
    pub fn config(&self) -> Result<Config> {
        self.config_as(self.token(0))
    }

    fn config_as(&self, token: &str) -> Result<Config> {
        let url = self.url.parse().context("the API server's address")?;
        let mut config = Config::new(url);
        config.root_cert = Some(vec![self.pki.ca_der.clone()]);
        config.auth_info.token = Some(token.to_owned().into());
        Ok(config)
    }

    /// The API server's process.
    pub fn apiserver(&self) -> &Process {
        &self.apiserver
    }

    /// etcd's process.
    pub fn etcd(&self) -> &Process {
        &self.etcd
    }

    /// The folder with all that the cluster knows.
    pub fn etcd_data(&self) -> &Path {
        &self.etcd_data
    }

    /// Kills the API server; ended gently it would wait a minute for its watchers.
    pub async fn stop_apiserver(&self) -> Result<()> {
        self.apiserver.kill().await
    }

    /// Starts the API server again and waits until it is ready.
    pub async fn start_apiserver(&self) -> Result<()> {
        self.apiserver.start()?;
        self.wait_ready().await
    }

    /// Kills and starts the API server.
    pub async fn restart_apiserver(&self) -> Result<()> {
        self.stop_apiserver().await?;
        self.start_apiserver().await
    }

    /// Makes the API server, which restarts, refuse administrator's token `index` from now on.
    pub async fn revoke_token(&self, index: usize) -> Result<()> {
        write_private(&self.tokens_path, &self.tokens.csv(Some(index)))?;
        self.restart_apiserver().await
    }

    /// Starts all of it again, with what etcd holds, and waits until it is ready. What runs goes on.
    pub async fn start_again(&self) -> Result<()> {
        if !self.etcd.is_running() {
            self.etcd.start()?;
        }
        if !self.apiserver.is_running() {
            self.start_apiserver().await?;
        }
        // Only now: it gives up if it finds no API server within 10 s.
        match &self.controller_manager {
            Some(process) if !process.is_running() => process.start(),
            _ => Ok(()),
        }
    }

    /// Kills all of it.
    pub async fn stop(&self) -> Result<()> {
        if let Some(controller_manager) = &self.controller_manager {
            controller_manager.kill().await?;
        }
        self.apiserver.kill().await?;
        self.etcd.kill().await
    }

    async fn wait_ready(&self) -> Result<()> {
        // With the certificate: a token may have been revoked.
        let kubeconfig = self.kubeconfig_at(&self.url, Access::Certificate);
        let client = client_from(&kubeconfig).await?;
        let what = format!("the API server of {}", self.name);
        let waited = wait_ok(&what, READY, async || {
            // Nothing more can come of a process that has ended: that is an answer, too.
            if let Err(ended) = self.etcd.check().and_then(|()| self.apiserver.check()) {
                return Ok(Err(ended));
            }
            let request = http::Request::get("/readyz").body(Vec::new())?;
            tokio::time::timeout(READY_PROBE, client.request_text(request)).await??;
            Ok(Ok(()))
        });
        waited
            .await
            .map_err(|error| self.apiserver.explain(&error))?
    }
}

fn etcd_data(site: &Site) -> PathBuf {
    site.scratch.join("etcd")
}

fn etcd(site: &Site, cluster: &str, url: &str) -> Result<Program> {
    let log = site.dir.join("etcd.log");
    let name = format!("etcd of {cluster}");
    Ok(Program::new(&name, site.tools.path("etcd")?, log)
        .arg("--data-dir")
        .arg(etcd_data(site))
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        .args(["--unsafe-no-fsync", "--log-level", "error"]))
}

fn apiserver(site: &Site, cluster: &str, etcd_url: &str, port: u16, pki: &Pki) -> Result<Program> {
    let log = site.dir.join("kube-apiserver.log");
    let name = format!("kube-apiserver of {cluster}");
    let ip = site.ip;
    Ok(Program::new(&name, site.tools.path("kube-apiserver")?, log)
        .arg(format!("--etcd-servers={etcd_url}"))
        .arg(format!("--bind-address={ip}"))
        .arg(format!("--advertise-address={ip}"))
        // A loopback address is not allowed in the Endpoints that it would write.
        .arg("--endpoint-reconciler-type=none")
        .arg(format!("--secure-port={port}"))
        .arg(format!("--cert-dir={}", site.scratch.display()))
        .arg(format!("--tls-cert-file={}", pki.file("apiserver.crt")))
        .arg(format!(
            "--tls-private-key-file={}",
            pki.file("apiserver.key")
        ))
        .arg(format!("--client-ca-file={}", pki.file("ca.crt")))
        .arg("--authorization-mode=RBAC")
        .arg(format!(
            "--token-auth-file={}",
            site.dir.join("tokens.csv").display()
        ))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-account-key-file={}", pki.file("sa.pub")))
        .arg(format!(
            "--service-account-signing-key-file={}",
            pki.file("sa.key")
        ))
        .arg("--service-cluster-ip-range=10.0.0.0/24")
        .arg("--disable-admission-plugins=ServiceAccount")
        .args(["--allow-privileged", "--profiling=false"]))
}

fn controller_manager(site: &Site, cluster: &str, kubeconfig: &Path) -> Result<Program> {
    let log = site.dir.join("kube-controller-manager.log");
    let name = format!("kube-controller-manager of {cluster}");
    let path = site.tools.path("kube-controller-manager")?;
    Ok(Program::new(&name, path, log)
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args(["--leader-elect=false", "--secure-port=0"])
        .args([
            "--use-service-account-credentials=false",
            "--profiling=false",
        ])
        .arg(format!("--controllers={CONTROLLERS}")))
}
