//! Which Fleets does a change concern, whose plugin this process serves?

use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use controller_kit::follow::Change;
use kube::ResourceExt;

use crate::context::Context;
use crate::plugin;

/// A Fleet itself changed.
pub(super) fn changed(ctx: &Context, change: &Change<Fleet>) {
    if let Some(fleet) = change.new.as_ref().or(change.old.as_ref()) {
        // One that has gone has its memory forgotten.
        if change.new.is_none() {
            let uid = fleet.uid().unwrap_or_default();
            ctx.memory.forget(&uid);
            ctx.stores.forget(&uid);
        } else if plugin::concerns(fleet) {
            fire(ctx, fleet);
        }
    }
}

/// Something of a member changed: starts passes over the Fleets that have it, or had.
pub(super) fn touch(ctx: &Context, key: &ClusterKey) {
    touch_all(ctx, |fleet| {
        let here = fleet.namespace().as_deref() == Some(key.namespace.as_str());
        let listed = || fleet.spec.clusters.iter().any(|of| of.selects(key));
        let entries = || {
            plugin::stored(fleet)
                .into_iter()
                .flat_map(|of| &of.clusters)
        };
        here && (listed() || entries().any(|of| of.cluster_name == key.name))
    });
}

/// Starts passes over all of them that are wanted.
pub(super) fn touch_all(ctx: &Context, wanted: impl Fn(&Fleet) -> bool) {
    for fleet in ctx.fleets.state() {
        if plugin::concerns(&fleet) && wanted(&fleet) {
            fire(ctx, &fleet);
        }
    }
}

fn fire(ctx: &Context, fleet: &Fleet) {
    let namespace = fleet.namespace().unwrap_or_default();
    ctx.fleet_trigger.fire(&namespace, &fleet.name_any());
}
