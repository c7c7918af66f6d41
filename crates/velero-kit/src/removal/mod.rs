//! Removing Velero's objects from members: each step is taken after a look at what is there.

pub mod all;
pub mod backups;
pub mod places;
pub mod restores;

use api_types::key::ClusterKey;
use proxy_client::{MemberResource, Preconditions};

use crate::operation::context::{Context, Process};
use crate::operation::objects;

/// Removes an object that Velero refused. Nothing was written under it, so a plain deletion leaves
/// nothing behind.
pub async fn drop_stray<O: MemberResource>(
    ctx: &Context<impl Process>,
    key: &ClusterKey,
    stray: &O,
) {
    let name = stray.meta().name.clone().unwrap_or_default();
    let only_if = Preconditions {
        uid: stray.meta().uid.clone(),
        resource_version: None,
    };
    let api = objects::velero::<O>(ctx, key);
    if let Err(error) = api.delete(&name, &only_if).await {
        let kind = O::kind(&());
        tracing::warn!(cluster = %key, %kind, %name, %error, "a refused object stays for now");
    }
}
