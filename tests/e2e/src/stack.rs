//! A bed with our processes on it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proxy_client::{Endpoint, Members};
use testbed::{Access, Bed, BedBuilder, Member, Relay, apply_yaml, install_crds};

use crate::cluster::Attached;
use crate::examples;
use crate::service::Service;
use crate::tenant::Tenant;

/// What a [`Stack`] is to consist of.
#[derive(Debug)]
pub struct StackBuilder {
    bed: BedBuilder,
    otlp_endpoint: Option<String>,
    backup_timings: Option<String>,
    fleet_timings: Option<String>,
    member_rate: Option<u32>,
    detach_tenants: bool,
}

impl StackBuilder {
    /// Adds a member with Velero. Those go before members without.
    #[must_use]
    pub fn velero_member(mut self, name: &str) -> Self {
        self.bed = self.bed.member(name).velero();
        self
    }

    /// Adds a member without Velero.
    #[must_use]
    pub fn bare_member(mut self, name: &str) -> Self {
        self.bed = self.bed.member(name);
        self
    }

    /// Where logs and kubeconfigs go, instead of a new folder below `target/testbed`.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.bed = self.bed.dir(dir);
        self
    }

    /// Where our processes send their traces.
    #[must_use]
    pub fn otlp_endpoint(mut self, endpoint: &str) -> Self {
        self.otlp_endpoint = Some(endpoint.to_owned());
        self
    }

    /// Other waits for backup-controller and migrate-controller, as their flag `--timings` takes them.
    #[must_use]
    pub fn backup_timings(mut self, json: &str) -> Self {
        self.backup_timings = Some(json.to_owned());
        self
    }

    /// Other waits for fleet-controller, as its flag `--timings` takes them.
    #[must_use]
    pub fn fleet_timings(mut self, json: &str) -> Self {
        self.fleet_timings = Some(json.to_owned());
        self
    }

    /// Detaches the clusters of each tenant once it is dropped, but of the namespace `default`. Else
    /// each test would leave connections and watches to be served until the last one has ended.
    #[must_use]
    pub fn detach_tenants(mut self) -> Self {
        self.detach_tenants = true;
        self
    }

    /// So many calls a second to each member, instead of the proxy's default.
    #[must_use]
    pub fn member_rate(mut self, per_second: u32) -> Self {
        self.member_rate = Some(per_second);
        self
    }

    /// Starts the bed, installs our CRDs, starts our processes, and deploys the demo application on
    /// every member with Velero. Returns when all of it is ready.
    pub async fn start(self) -> Result<Stack> {
        let bed = self.start_bed().await?;
        self.start_services(bed).await
    }

    /// Only the bed, for who wants to tell how long each part takes.
    pub async fn start_bed(&self) -> Result<Bed> {
        let bed = self.bed.clone().start().await?;
        bed.write_info()?;
        Ok(bed)
    }

    /// The rest of [`StackBuilder::start`].
    pub async fn start_services(self, bed: Bed) -> Result<Stack> {
        install_crds(&bed.hub().client()?, &examples::root().join("deploy/crds")).await?;
        let demo = examples::read(examples::DEMO)?;
        for member in bed
            .members()
            .iter()
            .filter(|member| member.velero().is_ok())
        {
            apply_yaml(&member.client()?, &demo)
                .await
                .with_context(|| format!("cannot deploy the demo on {}", member.name()))?;
        }
        let listen = format!("{}:{}", bed.address(), bed.next_port());
        let common = self.common(&listen);
        let proxy = vec![
            "--listen".to_owned(),
            listen.clone(),
            // Members of a bed live on loopback addresses, which the proxy avoids otherwise.
            "--allow-address".to_owned(),
            "127.0.0.0/8".to_owned(),
        ];
        let rate = self.member_rate.iter();
        let rate = rate.flat_map(|rate| ["--member-rate".to_owned(), rate.to_string()]);
        let proxy = [proxy, rate.collect(), self.telemetry()].concat();
        let fleet = [common.clone(), timings(self.fleet_timings.as_deref())].concat();
        let backup = [common, timings(self.backup_timings.as_deref())].concat();
        let (proxy, fleet, backup_controller, migrate_controller) = tokio::try_join!(
            Service::start(&bed, "cluster-proxy", "cluster-proxy", &proxy),
            Service::start(&bed, "fleet-controller", "fleet-controller", &fleet),
            Service::start(&bed, "backup-controller", "backup-controller", &backup),
            Service::start(&bed, "migrate-controller", "migrate-controller", &backup),
        )?;
        Ok(Stack {
            bed,
            detach_tenants: self.detach_tenants,
            proxy_endpoint: format!("http://{listen}"),
            backup_args: backup,
            proxy,
            fleet_controller: fleet,
            backup_controller,
            migrate_controller,
        })
    }

    fn common(&self, listen: &str) -> Vec<String> {
        let proxy = vec!["--proxy-endpoint".to_owned(), format!("http://{listen}")];
        [proxy, self.telemetry()].concat()
    }

    fn telemetry(&self) -> Vec<String> {
        let endpoint = self.otlp_endpoint.iter();
        endpoint
            .flat_map(|endpoint| ["--otlp-endpoint".to_owned(), endpoint.clone()])
            .collect()
    }
}

fn timings(json: Option<&str>) -> Vec<String> {
    json.into_iter()
        .flat_map(|json| ["--timings".to_owned(), json.to_owned()])
        .collect()
}

/// A bed, and on its hub our processes.
#[derive(Debug)]
pub struct Stack {
    backup_controller: Service,
    migrate_controller: Service,
    fleet_controller: Service,
    proxy: Service,
    proxy_endpoint: String,
    backup_args: Vec<String>,
    detach_tenants: bool,
    // After the processes: they end first.
    bed: Bed,
}

impl Stack {
    /// A stack called `name`, which shows in the path of its logs.
    pub fn builder(name: &str) -> StackBuilder {
        StackBuilder {
            bed: Bed::builder(name),
            otlp_endpoint: None,
            backup_timings: None,
            fleet_timings: None,
            member_rate: None,
            detach_tenants: false,
        }
    }

    /// The control planes, Velero and the object store.
    pub fn bed(&self) -> &Bed {
        &self.bed
    }

    /// The member called `name`.
    pub fn member(&self, name: &str) -> Result<&Member> {
        self.bed.member(name)
    }

    /// cluster-proxy.
    pub fn proxy(&self) -> &Service {
        &self.proxy
    }

    /// fleet-controller.
    pub fn fleet_controller(&self) -> &Service {
        &self.fleet_controller
    }

    /// backup-controller.
    pub fn backup_controller(&self) -> &Service {
        &self.backup_controller
    }

    /// migrate-controller.
    pub fn migrate_controller(&self) -> &Service {
        &self.migrate_controller
    }

    /// Where cluster-proxy listens.
    pub fn proxy_endpoint(&self) -> &str {
        &self.proxy_endpoint
    }

    /// Starts one more backup-controller or migrate-controller called `name`, like the first but for
    /// these arguments.
    pub async fn another(&self, binary: &str, name: &str, args: &[&str]) -> Result<Service> {
        let args = args.iter().map(|arg| (*arg).to_owned());
        let args: Vec<String> = self.backup_args.iter().cloned().chain(args).collect();
        Service::start(&self.bed, name, binary, &args).await
    }

    /// A client of cluster-proxy that says it is `caller`.
    pub fn members(&self, caller: &str) -> Result<Members> {
        let endpoint: Endpoint = self.proxy_endpoint.parse()?;
        Ok(Members::connect(&endpoint, caller)?)
    }

    /// How to attach the member called `name`, through the relay that all share.
    pub fn attach(&self, name: &str) -> Result<Attached> {
        Ok(Attached::new(
            name,
            &self.member(name)?.relayed_kubeconfig(),
        ))
    }

    /// The same through a relay of its own: cutting it touches nobody else.
    pub fn attach_with_relay(&self, name: &str) -> Result<(Attached, Relay)> {
        let member = self.member(name)?;
        let relay = self.bed.relay_to(member)?;
        let kubeconfig = member
            .control_plane()
            .kubeconfig_at(&relay.url(), Access::Token(0));
        Ok((Attached::new(name, &kubeconfig), relay))
    }

    /// A namespace with these clusters and a fleet of them, once all is ready.
    pub async fn tenant(&self, namespace: &str, clusters: &[Attached]) -> Result<Tenant> {
        let tenant = self.empty_tenant(namespace).await?;
        for cluster in clusters {
            tenant.attach(cluster).await?;
        }
        let names: Vec<&str> = clusters
            .iter()
            .map(|cluster| cluster.name.as_str())
            .collect();
        tenant.create_fleet(&names).await?;
        tenant.wait_fleet_ready().await?;
        Ok(tenant)
    }

    /// A namespace with nothing in it yet.
    pub async fn empty_tenant(&self, namespace: &str) -> Result<Tenant> {
        let hub = self.bed.hub();
        let tenant = Tenant::create(hub.client()?, namespace, self.bed.dir()).await?;
        Ok(if self.detach_tenants && namespace != "default" {
            tenant.detached_when_dropped(hub.config()?)
        } else {
            tenant
        })
    }

    /// Logs and kubeconfigs.
    pub fn dir(&self) -> &Path {
        self.bed.dir()
    }

    /// Ends everything, our processes first and gently.
    pub async fn stop(self) -> Result<()> {
        let Self {
            backup_controller,
            migrate_controller,
            fleet_controller,
            proxy,
            bed,
            ..
        } = self;
        tokio::try_join!(
            backup_controller.stop(),
            migrate_controller.stop(),
            fleet_controller.stop(),
            proxy.stop()
        )?;
        bed.stop().await
    }
}
