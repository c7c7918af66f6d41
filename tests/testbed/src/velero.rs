//! Velero of one member, as a process beside its control plane.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::address::port;
use crate::apply::{apply_crds, apply_yaml};
use crate::control_plane::ControlPlane;
use crate::folder;
use crate::process::{Process, Program};
use crate::s3::S3;
use crate::site::Site;
use crate::wait::wait_ok;

/// The bucket in which every member has its own prefix.
pub(crate) const BUCKET: &str = "velero";
const NAMESPACE: &str = "velero";
const PLUGIN: &str = "velero-plugin-for-aws";
/// A first list that the API server does not answer ends after its own minute, and Velero asks again.
const READY: Duration = Duration::from_secs(150);

/// A Velero server with the storage location `default`.
#[derive(Debug)]
pub struct Velero {
    process: Process,
    prefix: String,
}

impl Velero {
    pub(crate) async fn start(
        bed: &Site,
        cluster: &ControlPlane,
        index: usize,
        s3: &S3,
    ) -> Result<Self> {
        let site = bed.part(cluster.name())?;
        let client = cluster.client()?;
        apply_crds(&client, &crds(&site)?)
            .await
            .with_context(|| format!("cannot install Velero's CRDs on {}", cluster.name()))?;
        s3.create_bucket(BUCKET)?;
        let prefix = cluster.name().to_owned();
        apply_yaml(&client, &manifests(s3, &prefix))
            .await
            .with_context(|| format!("cannot prepare Velero on {}", cluster.name()))?;
        let velero = Self {
            process: site.spawn(server(&site, cluster, index)?)?,
            prefix,
        };
        velero.wait_available(&client).await?;
        Ok(velero)
    }

    /// The bucket of the storage location `default`.
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// The prefix of the storage location `default`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The server's process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills the server with its plugins.
    pub async fn kill(&self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts the server again and waits until it answers.
    pub async fn start_again(&self, client: &Client) -> Result<()> {
        self.process.start()?;
        self.wait_answering(client).await?;
        self.wait_available(client).await
    }

    /// Kills the server and starts it again.
    pub async fn restart(&self, client: &Client) -> Result<()> {
        self.kill().await?;
        self.start_again(client).await
    }

    /// Makes the server look into all locations, which it does when it starts, and else once a minute or
    /// two. What it works on ends first: a restart would fail it.
    pub async fn look(&self, client: &Client) -> Result<()> {
        self.wait("an end of what Velero works on", async || {
            for kind in ["Backup", "Restore"] {
                for object in api(client, kind).list(&ListParams::default()).await? {
                    let phase = object.data.pointer("/status/phase");
                    let runs = phase.is_some_and(|phase| phase == "InProgress");
                    ensure!(!runs, "{kind} {} runs", object.name_any());
                }
            }
            Ok(())
        })
        .await?;
        self.restart(client).await
    }

    /// Waits until the storage location `default` is available.
    pub async fn wait_available(&self, client: &Client) -> Result<()> {
        let locations = api(client, "BackupStorageLocation");
        self.wait("Velero's storage location", async || {
            let location = locations.get("default").await?;
            let phase = location.data.pointer("/status/phase");
            ensure!(
                phase.is_some_and(|phase| phase == "Available"),
                "its status is {:?}",
                location.data.get("status")
            );
            Ok(())
        })
        .await
    }

    /// Waits until the server answers a request: a status may be left over from before a restart.
    async fn wait_answering(&self, client: &Client) -> Result<()> {
        let requests = api(client, "ServerStatusRequest");
        let mut request = DynamicObject::new("", &resource("ServerStatusRequest"));
        request.metadata.name = None;
        request.metadata.generate_name = Some("testbed-".to_owned());
        request.data = json!({ "spec": {} });
        let created = requests.create(&PostParams::default(), &request).await?;
        let name = created.metadata.name.context("a request without a name")?;
        self.wait("an answer of Velero", async || {
            let request = requests.get(&name).await?;
            let phase = request.data.pointer("/status/phase");
            ensure!(
                phase.is_some_and(|phase| phase == "Processed"),
                "the request's phase is {phase:?}"
            );
            Ok(())
        })
        .await?;
        requests.delete(&name, &DeleteParams::default()).await.ok();
        Ok(())
    }

    async fn wait(&self, what: &str, mut probe: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        let waited = wait_ok(what, READY, async || match self.process.check() {
            Err(ended) => Ok(Err(ended)),
            Ok(()) => Ok(Ok(probe().await?)),
        });
        waited.await.map_err(|error| self.process.explain(&error))?
    }
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("velero.io", "v1", kind))
}

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), NAMESPACE, &resource(kind))
}

fn server(site: &Site, cluster: &ControlPlane, index: usize) -> Result<Program> {
    let home = site.scratch.join("velero");
    let temporary = home.join("tmp");
    let plugins = home.join("plugins");
    folder::make(&temporary)?;
    folder::make(&plugins)?;
    // A folder of its own: Velero starts every program in it.
    std::os::unix::fs::symlink(site.tools.built(PLUGIN)?, plugins.join(PLUGIN))
        .context("cannot link the AWS plugin")?;
    let first = port::cluster(index);
    let log = site.dir.join("velero.log");
    let name = format!("velero of {}", cluster.name());
    Ok(Program::new(&name, site.tools.built("velero")?, log)
        .env("HOME", &home)
        .env("TMPDIR", &temporary)
        // Velero empties and rewrites the location's credentials file for each use. A plugin that
        // reads it at that moment fails its backup, unless it finds them here.
        .env("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)
        .arg("server")
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig_path())
        .args(["-n", NAMESPACE, "--plugin-dir"])
        .arg(plugins)
        .arg("--metrics-address")
        .arg(format!("{}:{}", site.ip, first + 3))
        .arg("--profiler-address")
        .arg(format!("{}:{}", site.ip, first + 4))
        // The default of one at a time leaves an overlapping backup queued for up to a minute.
        .args([
            "--store-validation-frequency",
            "5s",
            "--concurrent-backups",
            "8",
        ]))
}

/// Velero prints its own CRDs; no cluster is asked.
fn crds(site: &Site) -> Result<String> {
    let output = Command::new(site.tools.built("velero")?)
        .args(["install", "--crds-only", "--dry-run", "-o", "yaml"])
        .env("HOME", &site.scratch)
        .env_remove("KUBECONFIG")
        .output()
        .context("cannot run velero")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("velero does not print its CRDs: {error}");
    }
    String::from_utf8(output.stdout).context("velero's CRDs are not text")
}

fn manifests(s3: &S3, prefix: &str) -> String {
    let (endpoint, region) = (s3.endpoint(), S3::REGION);
    let (access, secret) = (S3::ACCESS_KEY, S3::SECRET_KEY);
    format!(
        r#"
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
---
apiVersion: v1
kind: Secret
metadata:
  name: cloud-credentials
  namespace: {NAMESPACE}
stringData:
  cloud: |
    [default]
    aws_access_key_id={access}
    aws_secret_access_key={secret}
---
# Velero reads this Deployment for every Restore. No node runs it.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: velero
  namespace: {NAMESPACE}
spec:
  replicas: 0
  selector:
    matchLabels: {{deploy: velero}}
  template:
    metadata:
      labels: {{deploy: velero}}
    spec:
      containers:
      - name: velero
        image: velero
---
apiVersion: velero.io/v1
kind: BackupStorageLocation
metadata:
  name: default
  namespace: {NAMESPACE}
spec:
  default: true
  provider: aws
  objectStorage:
    bucket: {BUCKET}
    prefix: {prefix}
  credential:
    name: cloud-credentials
    key: cloud
  config:
    region: {region}
    s3Url: {endpoint}
    s3ForcePathStyle: "true"
"#
    )
}
