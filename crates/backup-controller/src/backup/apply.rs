//! The writes to members: for many at once, bounded, and each with a result of its own.

use api_types::backup::{Backup, BackupPolicy};
use api_types::common::StoragePlace;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::Purpose;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions};
use velero_kit::identity::Owner;
use velero_kit::{NAMESPACE, carry};

use super::build::{self, Place};
use crate::context::Context;
use crate::operation::objects::{self, Target};

/// What became of creating or confirming an object on a member.
pub type Applied = objects::Applied<velero::Backup>;

/// The name that an object for this owner would have in full.
pub fn full_name(owner: &Owner, key: &ClusterKey) -> String {
    objects::full_name(owner, Purpose::Backup, key)
}

/// What the objects are built from.
#[derive(Debug)]
pub struct Order {
    pub policy: Option<BackupPolicy>,
    /// Name of the location in each member.
    pub location: String,
    /// What is carried along.
    pub config_map: Option<ConfigMap>,
}

/// Creates the claimed object, after the ConfigMap that it refers to, if its location can be used and
/// is where that is `written` down to be.
pub async fn create(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    order: &Order,
    written: Option<&StoragePlace>,
) -> Applied {
    let unmoved = objects::location_unmoved(ctx, &target.key, &order.location, written).await;
    if let Err(problem) = unmoved {
        return Applied::Failed(problem);
    }
    let carried = match &order.config_map {
        Some(source) => match objects::carry_over(ctx, owner, target, source).await {
            Ok(name) => Some(name),
            Err(problem) => return Applied::Failed(problem),
        },
        None => None,
    };
    let place = Place {
        cluster: &target.key,
        member: &target.member,
        name: &target.name,
    };
    let object = build::build(owner, place, order.policy.as_ref(), carried.as_deref());
    objects::create(ctx, owner, target, &object).await
}

/// Removes a ConfigMap that was carried for this owner, unless another Backup that has not ended, a
/// run that has not, or a Schedule of whatever owner reads or may read it.
pub async fn drop_carried(ctx: &Context, key: &ClusterKey, owner: &str, name: &str) {
    let wanted = |other: &Backup| {
        other.uid().as_deref() != Some(owner)
            && !super::is_settled(other)
            && super::carries(other).is_some_and(|source| name.starts_with(&format!("{source}-")))
    };
    let read =
        |run: &velero::Backup| carried(run) == Some(name) && !super::status::velero_is_done(run);
    let is_needed = async {
        if ctx.hub_backups.state().iter().any(|other| wanted(other))
            || ctx.backups.list(key).iter().any(|run| read(run))
        {
            return Ok(true);
        }
        // Live, since of another hub's nothing else would tell.
        let schedules = objects::velero::<velero::Schedule>(ctx, key);
        match schedules.list(&ListOptions::default()).await {
            Ok(schedules) => Ok(carry::is_scheduled(name, &schedules)),
            // With the type all objects of it went.
            Err(CallError::NotServed(_)) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let copies = ctx.members.api::<ConfigMap>(key).namespace(NAMESPACE);
    // Boxed: it would make the calls large that end with this.
    let dropped = Box::pin(carry::drop_unless(&copies, name, is_needed)).await;
    if let Err(error) = dropped {
        tracing::warn!(cluster = %key, %name, %error, "a carried ConfigMap stays behind");
    }
}

/// Name of the carried ConfigMap that a Velero Backup refers to.
pub fn carried(object: &velero::Backup) -> Option<&str> {
    let policy = object.spec.resource_policy.as_ref();
    policy.map(|policy| policy.name.as_str())
}
