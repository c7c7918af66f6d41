//! What every pass can use.

use std::sync::Arc;

use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::migrate::{Migrate, MigrateStatus};
use controller_kit::trigger::Trigger;
use kube::runtime::reflector::Store;
use tokio::time::Instant;
use velero_kit::deletion::Step;
use velero_kit::operation::State;
use velero_kit::operation::calls::{self, NotNow};
use velero_kit::operation::context::{self, Process};
use velero_kit::operation::objects::Applied;
use velero_kit::problem::Problem;

use crate::controller;
use crate::migrate::facts::Notes;
use crate::migrate::survey::{Moved, Survey};

/// Clients, local stores and this process's memory.
pub type Context = context::Context<MigrateController>;

/// One call to one member.
pub type Call = calls::Call<Answer>;

/// One pass over one Migrate.
pub type Draft<'a> = velero_kit::operation::draft::Draft<'a, MigrateController, Migrate>;

/// This process.
#[derive(Debug, Clone, Copy, Default)]
pub struct MigrateController;

/// What only this process has.
#[derive(Debug)]
pub struct Own {
    /// Migrates of the hub.
    pub migrates: Store<Migrate>,
    /// Starts passes over Migrates for what is not seen on the hub.
    pub trigger: Trigger<Migrate>,
}

/// What is remembered of a Migrate.
#[derive(Debug, Default)]
pub struct OfMigrate {
    /// What its members are asked before anything is made, until the source is claimed.
    pub survey: Option<Survey>,
}

/// What is remembered of one of its members.
#[derive(Debug, Default)]
pub struct OfMember {
    /// What a target says of itself besides.
    pub notes: Notes,
    /// When the survey began that it was told in.
    pub told: Option<Instant>,
    /// Its location for reading the source's place was opened before the backup had ended.
    pub prepared: bool,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub enum Answer {
    /// What is migrated, as the source has it.
    Moved(Arc<Moved>),
    /// What a target lacks of that, and which namespaces it comes into.
    Notes(Notes),
    /// The name that is free.
    Name(Result<String, Problem>),
    /// The Velero Backup that is there under the claimed name.
    Backup(Applied<velero::Backup>),
    /// The Velero Restore that is there under the claimed name.
    Restore(Applied<velero::Restore>),
    /// Whether a target can read the source's place, or the backup in it; as seen then.
    Readable(Result<(), NotNow>, Instant),
    /// How far the deletion of the Velero Backup is.
    Step(Result<Step, Problem>),
    /// What the deletion of Velero Restores waits for, if anything.
    Removed(Result<Option<Problem>, Problem>),
}

impl Process for MigrateController {
    const MANAGER: &'static str = labels::MIGRATE_MANAGER;
    const BACKUPS: &'static str = labels::MIGRATE_NAME;
    const RESTORES: &'static str = labels::MIGRATE_NAME;

    type Own = Own;
    type Answer = Answer;
    type OfOperation = OfMigrate;
    type OfCluster = OfMember;

    fn trigger_owner(own: &Own, kind: &str, namespace: &str, name: &str) {
        if kind == MigrateStatus::KIND {
            own.trigger.fire(namespace, name);
        }
    }

    fn touch_cluster(ctx: &Context, key: &ClusterKey) {
        controller::touch_cluster(ctx, key);
    }

    fn touch_all(ctx: &Context) {
        controller::touch_all(ctx);
    }
}
