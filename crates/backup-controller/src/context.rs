//! What every pass can use.

use std::fmt;

use api_types::backup::{Backup, BackupStatus};
use api_types::cluster::AttachedCluster;
use api_types::external::velero;
use api_types::fleet::Fleet;
use api_types::restore::{Restore, RestoreStatus};
use controller_kit::event::Events;
use controller_kit::follow::Intake;
use controller_kit::lease::Leadership;
use controller_kit::trigger::Trigger;
use kube::runtime::reflector::Store;
use proxy_client::{Inventory, MemberWatch, Members};

use crate::locations::Sweeps;
use crate::locations::settled::Settled;
use crate::metrics::Metrics;
use crate::operation::State;
use crate::operation::calls::Slow;
use crate::operation::contact::Contact;
use crate::operation::memory::Memory;
use crate::plugin::memory::Stores;
use crate::timings::Timings;

/// Clients, local stores and this process's memory.
pub struct Context {
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
    /// Backups of the hub.
    pub hub_backups: Store<Backup>,
    /// Restores of the hub.
    pub hub_restores: Store<Restore>,
    /// Fleets of the hub.
    pub fleets: Store<Fleet>,
    /// Every AttachedCluster of the hub.
    pub clusters: Store<AttachedCluster>,
    /// How complete these four are.
    pub intake: Intake,
    /// Velero Backups that hub Backups own.
    pub backups: MemberWatch<velero::Backup>,
    /// Velero Schedules that hub Backups own.
    pub schedules: MemberWatch<velero::Schedule>,
    /// Velero Restores that hub Restores own.
    pub restores: MemberWatch<velero::Restore>,
    /// Requests to delete Velero Backups.
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
    pub memory: Memory,
    /// Members that are not waited for.
    pub slow: Slow,
    /// Starts passes over Backups for what is not seen on the hub.
    pub backup_trigger: Trigger<Backup>,
    /// The same over Restores.
    pub restore_trigger: Trigger<Restore>,
    /// The same over the storage of Fleets.
    pub fleet_trigger: Trigger<Fleet>,
    /// What is remembered of the members' storage.
    pub stores: Stores,
    /// Members whose read-only locations are to be looked at.
    pub sweeps: Sweeps,
    /// Which locations show what lies at their place.
    pub settled: Settled,
    /// Whether this process may write.
    pub leadership: Leadership,
}

impl Context {
    /// Starts a pass over the hub object of this kind, if it is one of ours.
    pub fn trigger_owner(&self, kind: &str, namespace: &str, name: &str) {
        match kind {
            BackupStatus::KIND => self.backup_trigger.fire(namespace, name),
            RestoreStatus::KIND => self.restore_trigger.fire(namespace, name),
            "Fleet" => self.fleet_trigger.fire(namespace, name),
            _ => {}
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}
