//! A hub, the stand-in for the proxy, and the controller's process.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use testbed::{Bed, Process, Program, install_crds, wait_ok};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::script::Proxy;
use crate::space::Space;

/// Nothing here takes this long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A hub with everything on it.
pub(crate) struct World {
    pub(crate) bed: Bed,
    pub(crate) proxy: Mutex<Proxy>,
    pub(crate) controller: Controller,
}

/// The one that tests share which disturb nobody.
pub(crate) async fn shared() -> &'static World {
    static SHARED: OnceCell<World> = OnceCell::const_new();
    let timings = r#"{"flapWindow": 3000, "detailPace": 100}"#;
    SHARED.get_or_init(|| World::start("fleet", timings)).await
}

impl World {
    pub(crate) async fn start(name: &str, timings: &str) -> Self {
        let bed = Bed::builder(name)
            .hub_without_controllers()
            .start()
            .await
            .unwrap();
        prepare(&bed).await;
        let proxy = Proxy::start();
        let controller = Controller::start(&bed, &proxy.endpoint(), timings).await;
        Self {
            bed,
            proxy: Mutex::new(proxy),
            controller,
        }
    }

    /// A namespace of its own for one test.
    pub(crate) async fn space(&self, namespace: &str) -> Space {
        let client = self.bed.hub().client().unwrap();
        let script = self.proxy.lock().unwrap().script.clone();
        Space::make(client, namespace, script).await
    }
}

/// Installs our kinds on the hub.
pub(crate) async fn prepare(bed: &Bed) {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    install_crds(&bed.hub().client().unwrap(), &crds)
        .await
        .unwrap();
}

/// The controller's process.
pub(crate) struct Controller {
    process: Process,
    address: String,
}

impl Controller {
    pub(crate) async fn start(bed: &Bed, proxy: &str, timings: &str) -> Self {
        Self::start_as(bed, bed.hub().kubeconfig_path(), proxy, timings).await
    }

    /// The same as the user of a kubeconfig.
    pub(crate) async fn start_as(bed: &Bed, kubeconfig: &Path, proxy: &str, timings: &str) -> Self {
        let address = format!("{}:{}", bed.address(), bed.next_port());
        let log = bed.dir().join("fleet-controller.log");
        let program = Program::new(
            "fleet-controller",
            env!("CARGO_BIN_EXE_fleet-controller"),
            log,
        )
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--proxy-endpoint", proxy])
        .args(["--http-address", &address])
        .args(["--timings", timings])
        .args(["--log", "info,fleet_controller=debug,controller_kit=debug"]);
        let process = bed.spawn(program).unwrap();
        let controller = Self { process, address };
        controller.ready().await;
        controller
    }

    async fn ready(&self) {
        wait_ok("the controller", DEADLINE, async || {
            self.process.check()?;
            let answer = self.get("/readyz").await?;
            anyhow::ensure!(answer.contains(" 200 "), "{answer}");
            Ok(())
        })
        .await
        .map_err(|error| self.process.explain(&error))
        .unwrap();
    }

    /// Kills it, starts it again, and waits until it has looked at everything.
    pub(crate) async fn restart(&self) {
        self.process.kill().await.unwrap();
        self.process.start().unwrap();
        self.ready().await;
        wait_ok("passes over what was there before", DEADLINE, async || {
            let metrics = self.get("/metrics").await?;
            let passes = |kind: &str| {
                let label = format!("kurator_reconcile_total{{kind=\"{kind}\"");
                metrics.contains(&label)
            };
            anyhow::ensure!(passes("Fleet") && passes("AttachedCluster"), "{metrics}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Asks it to end as Kubernetes does, and waits; one that has to be killed fails the test.
    pub(crate) async fn stop(&self, grace: Duration) {
        let status = self.process.stop(grace).await.unwrap();
        assert!(status.success(), "{status}");
    }

    /// The answer of its health and metrics server.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: kurator\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}
