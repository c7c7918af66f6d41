//! What every pass can use.

use api_types::backup::{Backup, BackupStatus};
use api_types::external::velero;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::restore::{Restore, RestoreStatus};
use controller_kit::trigger::Trigger;
use kube::runtime::reflector::Store;
use proxy_client::MemberWatch;
use velero_kit::operation::context::{self, Process};

use crate::controller;
use crate::locations::Sweeps;
use crate::operation::State;
use crate::operation::calls::Answer;
use crate::plugin::memory::Stores;
use crate::schedule::plan::Accepted;
use crate::schedule::turn::Turn;

/// Clients, local stores and this process's memory.
pub type Context = context::Context<BackupController>;

/// This process.
#[derive(Debug, Clone, Copy, Default)]
pub struct BackupController;

/// What only this process has.
#[derive(Debug)]
pub struct Own {
    /// Backups of the hub.
    pub hub_backups: Store<Backup>,
    /// Restores of the hub.
    pub hub_restores: Store<Restore>,
    /// Velero Schedules that hub Backups own.
    pub schedules: MemberWatch<velero::Schedule>,
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
}

/// What is remembered of a Backup.
#[derive(Debug, Default)]
pub struct OfBackup {
    /// It is being deleted, and since then a live look has shown no Restore that reads it.
    pub unread: bool,
}

/// What is remembered of one cluster of a scheduled Backup.
#[derive(Debug, Default)]
pub struct OfSchedule {
    /// What the member made of the last Schedule that was applied, if not what was wanted.
    pub accepted: Option<Accepted>,
    /// The member of which a live look has shown that no Schedule is there any more.
    pub stopped: Option<String>,
    /// Since when Velero may start the next run of its Schedule.
    pub turn: Turn,
}

impl Process for BackupController {
    const MANAGER: &'static str = labels::BACKUP_MANAGER;
    const BACKUPS: &'static str = labels::BACKUP_NAME;
    const RESTORES: &'static str = labels::RESTORE_NAME;

    type Own = Own;
    type Answer = Answer;
    type OfOperation = OfBackup;
    type OfCluster = OfSchedule;

    fn trigger_owner(own: &Own, kind: &str, namespace: &str, name: &str) {
        match kind {
            BackupStatus::KIND => own.backup_trigger.fire(namespace, name),
            RestoreStatus::KIND => own.restore_trigger.fire(namespace, name),
            "Fleet" => own.fleet_trigger.fire(namespace, name),
            _ => {}
        }
    }

    fn object_changed(ctx: &Context, kind: &str, namespace: &str, name: &str) {
        controller::object_changed(ctx, kind, namespace, name);
    }

    fn touch_cluster(ctx: &Context, key: &ClusterKey) {
        controller::touch_cluster(ctx, key);
    }

    fn touch_synced(ctx: &Context, key: &ClusterKey) {
        controller::touch_synced(ctx, key);
    }

    fn touch_all(ctx: &Context) {
        controller::touch_all(ctx);
    }
}
