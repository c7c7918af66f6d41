//! cluster-proxy: the one process that holds member clusters' credentials.
//!
//! Controllers reach members only through its gRPC API (`clusterproxy.v1`). It stores nothing and
//! starts no write of its own.

pub mod args;
pub mod credentials;
pub mod error;
pub mod files;
pub mod inventory;
pub mod json;
pub mod link;
pub mod metrics;
pub mod policy;
pub mod request;
pub mod server;
pub mod services;
pub mod subscribe;
pub mod trace;
pub mod watch;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use controller_kit::{
    http::{self, Readiness},
    hub, shutdown,
};
use prometheus_client::registry::Registry as MetricRegistry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    args::Args,
    credentials::address::AddressPolicy,
    inventory::{Registry, hub::HubSource},
    link::{LinkContext, gate::ConnectGate, load::LoadGate},
    metrics::{LinkCollector, Metrics},
    policy::store::PolicyStore,
    server::Bound,
    services::Core,
};

/// A proxy whose sockets are bound.
#[derive(Debug)]
pub struct Proxy {
    /// Where the API is served, unless on a Unix socket.
    pub address: Option<SocketAddr>,
    /// Where health and metrics are served.
    pub http_address: SocketAddr,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The members.
    pub members: Arc<Registry>,
    core: Arc<Core>,
    bound: Bound,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// Binds, loads the policy and starts to follow the hub.
    pub async fn start(args: Args, stop: CancellationToken) -> anyhow::Result<Self> {
        let Args {
            listen,
            policy,
            print_member_access: _,
            allow_address,
            refuse_address,
            allow_insecure_members,
            rate,
            metrics_cluster_limit,
            http,
            hub,
            telemetry: _,
        } = args;
        let (policy, follower) = PolicyStore::load(policy.as_deref())?;
        let client = hub::client(hub.kubeconfig.as_deref()).await?;
        files::reserve(inventory::hub::count(&client).await)?;
        let bound = Bound::bind(&listen).await?;
        let mut metric_registry = MetricRegistry::default();
        let metrics = Metrics::register(&mut metric_registry);
        let registry = Registry::new(LinkContext {
            source: Arc::new(HubSource::new(client.clone())),
            addresses: Arc::new(AddressPolicy::new(allow_address, refuse_address)),
            gate: Arc::new(ConnectGate::default()),
            loads: Arc::new(LoadGate::default()),
            calls: Arc::default(),
            rate: rate.into(),
            allow_insecure: allow_insecure_members,
            metrics: Arc::clone(&metrics),
        });
        let links = LinkCollector::new(Arc::clone(&registry), metrics_cluster_limit);
        metric_registry.register_collector(Box::new(links));
        let readiness = Readiness::waiting_for(&[inventory::hub::CHECK]);
        let http = http::serve(
            http.http_address,
            readiness.clone(),
            metric_registry,
            stop.clone(),
        )
        .await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(inventory::hub::run(
            client,
            Arc::clone(&registry),
            readiness,
            stop.clone(),
        ));
        if let Some(follower) = follower {
            tasks.spawn(follower.run(Arc::clone(&metrics), stop.clone()));
        }
        Ok(Self {
            address: bound.address(),
            http_address: http.address,
            members: Arc::clone(&registry),
            core: Core::new(registry, policy, Arc::clone(&metrics), stop),
            metrics,
            bound,
            tasks,
        })
    }

    /// Serves until the token is cancelled; calls in flight get a moment to end.
    pub async fn serve(self) -> anyhow::Result<()> {
        let Self {
            core,
            bound,
            mut tasks,
            ..
        } = self;
        let registry = Arc::clone(&core.registry);
        let stop = core.stop.clone();
        let served = shutdown::graceful(&stop, server::serve(core, bound)).await;
        registry.stop();
        tasks.shutdown().await;
        served.unwrap_or(Ok(()))
    }
}

/// The manifests of the account that members need for the policy that would be in force.
pub fn member_access(args: &Args) -> anyhow::Result<String> {
    let (policy, _) = PolicyStore::load(args.policy.as_deref())?;
    Ok(policy::rbac::member_access(&policy.current()))
}

/// Runs the process until it is told to end.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let stop = shutdown::on_signal().context("listen for signals")?;
    let proxy = Proxy::start(args, stop).await?;
    let api = proxy.address.map(tracing::field::display);
    tracing::info!(api, http = %proxy.http_address, "serving");
    proxy.serve().await
}
