//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

use std::fmt;
use std::sync::Arc;

use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::migrate::Migrate;
use controller_kit::follow::{Change, follow};
use controller_kit::kind::Kind;
use controller_kit::reconcile::Observer;
use futures::future;
use kube::ResourceExt;
use kube::runtime::reflector::store::Writer;
use tokio_util::sync::CancellationToken;
use velero_kit::operation::follow::{self as watch, first_view, fleet_moved, touch};
use velero_kit::operation::kind;

use crate::context::Context;
use crate::migrate;

/// The writing ends of the stores of hub objects.
#[derive(Default)]
pub struct Feeds {
    pub migrates: Writer<Migrate>,
    pub fleets: Writer<Fleet>,
    pub clusters: Writer<AttachedCluster>,
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds").finish_non_exhaustive()
    }
}

/// Runs until `shutdown`; passes under way are finished first.
pub async fn run(ctx: Arc<Context>, feeds: Feeds, observer: Observer, shutdown: CancellationToken) {
    let Feeds {
        migrates,
        fleets,
        clusters,
    } = feeds;
    let tasks = watch::start(&ctx, fleets, clusters, fleet_changed);
    first_view(&ctx, future::ready(())).await;
    let migrates = Kind {
        objects: follow(&ctx.client, migrates, ctx.intake.clone(), |_| ()),
        store: ctx.migrates.clone(),
        triggers: ctx.trigger.stream(),
        concurrency: kind::CONCURRENCY,
        observer,
    };
    let reconcile = |ctx, object| async move { Box::pin(migrate::reconcile(&ctx, object)).await };
    kind::run(&ctx, migrates, shutdown, reconcile).await;
    drop(tasks);
}

fn fleet_changed(ctx: &Context, change: &Change<Fleet>) {
    let Some((namespace, name)) = fleet_moved(change) else {
        return;
    };
    touch(&ctx.migrates, &ctx.trigger, |migrate| {
        let spec = &migrate.spec;
        let fleets = [&spec.source_cluster.fleet, &spec.target_cluster.fleet];
        migrate.namespace().as_deref() == Some(&namespace) && fleets.contains(&&name)
    });
}

/// Starts passes over the unfinished Migrates that work, or may come to work, on this member.
pub(crate) fn touch_cluster(ctx: &Context, key: &ClusterKey) {
    touch(&ctx.migrates, &ctx.trigger, |migrate| {
        may_work_on(migrate, key)
    });
}

pub(crate) fn touch_all(ctx: &Context) {
    touch(&ctx.migrates, &ctx.trigger, |_| true);
}

/// Whether a Migrate works on this member, or may come to, since its clusters are not fixed yet. Its
/// targets look for the backup in the source.
fn may_work_on(migrate: &Migrate, key: &ClusterKey) -> bool {
    if migrate.namespace().as_deref() != Some(key.namespace.as_str()) {
        return false;
    }
    let Some(status) = migrate.status.as_ref() else {
        return true;
    };
    let source = status.source_cluster_status.iter();
    let source = source.map(|source| &source.cluster_name);
    let targets = status.target_cluster_status.iter();
    let mut names = source.chain(targets.map(|target| &target.cluster_name));
    status.start_time.is_none() || names.any(|name| *name == key.name)
}
