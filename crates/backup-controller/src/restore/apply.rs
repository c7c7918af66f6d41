//! The writes to members: each with a result of its own.

use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::Purpose;
use api_types::restore::RestorePolicy;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use velero_kit::identity::{self, Owner};
use velero_kit::{NAMESPACE, carry};

use super::build;
use super::filter::Scope;
use crate::context::Context;
use crate::operation::conclude::velero_is_done;
use crate::operation::is_settled;
use crate::operation::objects::{self, Applied, Target};

/// The full name of the Velero Restore.
pub fn full_name(owner: &Owner, key: &ClusterKey) -> String {
    objects::full_name(owner, Purpose::Restore, key)
}

/// What all Velero Restores of one hub object are made from.
#[derive(Debug)]
pub struct Order {
    pub scope: Scope,
    pub policy: RestorePolicy,
    pub config_map: Option<ConfigMap>,
}

/// Creates the claimed object, after the ConfigMap that it refers to.
pub async fn create(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    run: &str,
    order: &Order,
) -> Applied<velero::Restore> {
    let carried = match &order.config_map {
        Some(source) => match objects::carry_over(ctx, owner, target, source).await {
            Ok(name) => Some(name),
            Err(problem) => return Applied::Failed(problem.of_restore()),
        },
        None => None,
    };
    let what = (run, &order.scope);
    let object = build::build(owner, target, what, &order.policy, carried.as_deref());
    match objects::create(ctx, owner, target, &object).await {
        Applied::Failed(problem) => Applied::Failed(problem.of_restore()),
        other => other,
    }
}

/// Removes a carried `ConfigMap`, unless a Restore that has not ended reads or may read it.
pub async fn drop_carried(ctx: &Context, key: &ClusterKey, done: &velero::Restore) {
    let reads = |restore: &velero::Restore| {
        let modifier = restore.spec.resource_modifier.as_ref()?;
        Some(modifier.name.clone())
    };
    let Some(name) = reads(done) else { return };
    let owner = identity::owner_uid(&done.metadata);
    let wanted = || {
        ctx.hub_restores.state().iter().any(|other| {
            other.uid().as_deref() != owner
                && !is_settled(&**other)
                && super::carries(other)
                    .is_some_and(|source| name.starts_with(&format!("{source}-")))
        })
    };
    let read = || {
        ctx.restores.list(key).iter().any(|other| {
            other.metadata.uid != done.metadata.uid
                && !velero_is_done(other.phase())
                && reads(other).as_ref() == Some(&name)
        })
    };
    let is_needed = async { Ok(wanted() || read()) };
    let copies = ctx.members.api::<ConfigMap>(key).namespace(NAMESPACE);
    // Boxed: it would make the calls large that end with this.
    let dropped = Box::pin(carry::drop_unless(&copies, &name, is_needed)).await;
    if let Err(error) = dropped {
        tracing::warn!(cluster = %key, %name, %error, "a carried ConfigMap stays behind");
    }
}
