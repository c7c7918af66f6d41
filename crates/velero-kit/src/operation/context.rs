//! What every pass can use, and what each process adds to it.

use std::fmt::{self, Debug};
use std::ops::Deref;

use api_types::cluster::AttachedCluster;
use api_types::external::velero;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use controller_kit::boot::Started;
use controller_kit::event::Events;
use controller_kit::follow::Intake;
use controller_kit::lease::Leadership;
use kube::runtime::reflector::Store;
use proxy_client::{Inventory, MemberWatch, Members, Selection};

use super::calls::Slow;
use super::contact::Contact;
use super::memory::Memory;
use super::metrics::Metrics;
use super::timings::Timings;
use crate::reading::settled::Settled;
use crate::{NAMESPACE, identity};

/// A process whose operations work on members through Velero: what it has and does in its own way.
pub trait Process: Copy + Debug + Default + Send + Sync + 'static {
    /// The field manager of its writes, on the hub and on members (`api.md` 6).
    const MANAGER: &'static str;
    /// The label that names the hub object on its Velero Backups, and on requests to delete them.
    const BACKUPS: &'static str;
    /// The same on Velero Restores.
    const RESTORES: &'static str;

    /// The stores and triggers that only it has.
    type Own: Send + Sync;
    /// What comes of a call to a member.
    type Answer: Debug + Send;
    /// What only it remembers of an operation between two passes.
    type OfOperation: Debug + Default + Send;
    /// The same of one cluster of an operation.
    type OfCluster: Debug + Default + Send;

    /// Starts a pass over the hub object of this kind, if it is one of its own.
    fn trigger_owner(own: &Self::Own, kind: &str, namespace: &str, name: &str);

    /// An object on a member that is of this hub object has changed.
    fn object_changed(ctx: &Context<Self>, kind: &str, namespace: &str, name: &str) {
        ctx.trigger_owner(kind, namespace, name);
    }

    /// Starts passes over the unfinished objects that work, or may come to work, on this member.
    fn touch_cluster(ctx: &Context<Self>, key: &ClusterKey);

    /// Starts passes over what waits for Velero in this member to have looked into the bucket:
    /// all of the member's, unless the process can tell.
    fn touch_synced(ctx: &Context<Self>, key: &ClusterKey) {
        Self::touch_cluster(ctx, key);
    }

    /// Starts passes over all objects that are not settled.
    fn touch_all(ctx: &Context<Self>);
}

/// Clients, local stores and the memory of a process. What only this process has is reached as if it
/// were a part of it.
pub struct Context<P: Process> {
    /// The hub.
    pub client: kube::Client,
    /// Uid of the hub's namespace `kube-system`: a member may serve two hubs.
    pub hub_uid: String,
    /// All members, through cluster-proxy.
    pub members: Members,
    /// The members' states.
    pub inventory: Inventory,
    /// Whether cluster-proxy can be asked.
    pub contact: Contact,
    /// Fleets of the hub.
    pub fleets: Store<Fleet>,
    /// Every AttachedCluster of the hub.
    pub clusters: Store<AttachedCluster>,
    /// How complete the stores of the hub are.
    pub intake: Intake,
    /// Velero Backups that this process's hub objects own.
    pub backups: MemberWatch<velero::Backup>,
    /// Velero Restores that they own.
    pub restores: MemberWatch<velero::Restore>,
    /// Requests to delete Velero Backups that they own.
    pub requests: MemberWatch<velero::DeleteBackupRequest>,
    /// Every BackupStorageLocation.
    pub locations: MemberWatch<velero::BackupStorageLocation>,
    /// Publishes events on hub objects.
    pub events: Events,
    /// Counts what happens.
    pub metrics: Metrics,
    /// How long to wait for what.
    pub timings: Timings,
    /// What is remembered between passes.
    pub memory: Memory<P>,
    /// Members that are not waited for.
    pub slow: Slow,
    /// Which locations show what lies at their place.
    pub settled: Settled,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// What only this process has.
    pub own: P::Own,
}

/// What a process gives its context, beside what its start has brought.
#[derive(Debug)]
pub struct Given<P: Process> {
    /// All members.
    pub members: Members,
    /// Fleets of the hub.
    pub fleets: Store<Fleet>,
    /// Every AttachedCluster of the hub.
    pub clusters: Store<AttachedCluster>,
    /// Counts what happens.
    pub metrics: Metrics,
    /// How long to wait for what.
    pub timings: Timings,
    /// What only this process has.
    pub own: P::Own,
}

impl<P: Process> Context<P> {
    /// Begins to watch the members.
    pub fn new(process: &Started, given: Given<P>) -> Self {
        let Given {
            members,
            fleets,
            clusters,
            metrics,
            timings,
            own,
        } = given;
        Self {
            inventory: members.inventory(),
            contact: Contact::default(),
            backups: members.watch(made_for(P::BACKUPS)),
            restores: members.watch(made_for(P::RESTORES)),
            requests: members.watch(made_for(P::BACKUPS)),
            locations: members.watch(of_velero()),
            members,
            hub_uid: process.hub_uid.clone(),
            fleets,
            clusters,
            intake: process.intake.clone(),
            events: process.events.clone(),
            client: process.client.clone(),
            metrics,
            timings,
            memory: Memory::default(),
            slow: Slow::default(),
            settled: Settled::default(),
            leadership: process.leadership.clone(),
            own,
        }
    }

    /// The field manager of this process's writes.
    #[allow(clippy::unused_self)] // so that callers need not name the process
    pub fn manager(&self) -> &'static str {
        P::MANAGER
    }

    /// Starts a pass over the hub object of this kind, if it is one of ours.
    pub fn trigger_owner(&self, kind: &str, namespace: &str, name: &str) {
        P::trigger_owner(&self.own, kind, namespace, name);
    }
}

/// What is watched of a type in which a label names the hub object: what was made for one, and no
/// copies of another member's.
pub fn made_for(name_label: &str) -> Selection {
    Selection {
        labels: Some(identity::selector(name_label)),
        ..of_velero()
    }
}

/// All objects of a type, where Velero has them.
fn of_velero() -> Selection {
    Selection {
        namespace: Some(NAMESPACE.to_owned()),
        ..Selection::default()
    }
}

impl<P: Process> Deref for Context<P> {
    type Target = P::Own;

    fn deref(&self) -> &P::Own {
        &self.own
    }
}

impl<P: Process> fmt::Debug for Context<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}
