//! The statuses of Backup, Restore and Migrate, seen alike.

use api_types::aggregate;
use api_types::backup::{Backup, BackupDetail, BackupStatus};
use api_types::common::{Leftover, Summary};
use api_types::condition::{self, Condition, ConditionStatus};
use api_types::labels;
use api_types::migrate::{Migrate, MigrateStatus};
use api_types::names::{self, Purpose};
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreDetail, RestoreStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde::Serialize;

use super::{Detail, Operation};

/// The fields that all statuses have.
#[derive(Debug)]
pub struct Parts<'a, D> {
    pub observed_generation: &'a mut Option<i64>,
    pub phase: &'a mut Option<Phase>,
    pub conditions: &'a mut Vec<Condition>,
    pub start_time: &'a mut Option<Time>,
    pub completion_time: &'a mut Option<Time>,
    pub summary: &'a mut Option<Summary>,
    pub details: &'a mut Vec<D>,
    pub leftovers: &'a mut Vec<Leftover>,
}

/// The status of an operation.
pub trait State: Clone + Default + PartialEq + Serialize + Send + Sync {
    /// Its entry of one cluster.
    type Detail: Detail;

    /// Name of the kind, also the action of its events.
    const KIND: &'static str;

    /// The phase.
    fn phase(&self) -> Option<Phase>;
    /// Whether the set of clusters is fixed.
    fn is_frozen(&self) -> bool;
    /// The conditions.
    fn conditions(&self) -> &[Condition];
    /// The entries.
    fn details(&self) -> &[Self::Detail];
    /// All that is to be written.
    fn parts(&mut self) -> Parts<'_, Self::Detail>;
    /// Fills in what only this kind has, once the rest is there, and keeps it storable.
    fn finish(&mut self, just_succeeded: bool);

    /// The entry of a source that is apart from the others, if there is one.
    fn source_entry(&self) -> Option<&BackupDetail> {
        None
    }

    /// The same to be written; `None`: the kind has none.
    fn source(&mut self) -> Option<&mut Option<BackupDetail>> {
        None
    }

    /// What it has reached that no phase tells, if there is such a thing and it is reached: the name of
    /// its event, and what that says.
    fn milestone(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// Drops what Velero counts outside of the entries.
    fn forget_progress(&mut self) {}

    /// The same without what Velero counts.
    #[must_use]
    fn without_progress(mut self) -> Self {
        self.forget_progress();
        let parts = self.parts();
        for detail in parts.details {
            detail.forget_progress();
        }
        if let Some(summary) = parts.summary {
            (summary.items_done, summary.items_total) = (0, 0);
            summary.items.clear();
        }
        self
    }
}

// The statuses differ in the name and type of their list of entries only.
macro_rules! common_fields {
    ($details:ident) => {
        fn phase(&self) -> Option<Phase> {
            self.phase
        }

        fn is_frozen(&self) -> bool {
            self.start_time.is_some()
        }

        fn conditions(&self) -> &[Condition] {
            &self.conditions
        }

        fn details(&self) -> &[Self::Detail] {
            &self.$details
        }

        fn parts(&mut self) -> Parts<'_, Self::Detail> {
            Parts {
                observed_generation: &mut self.observed_generation,
                phase: &mut self.phase,
                conditions: &mut self.conditions,
                start_time: &mut self.start_time,
                completion_time: &mut self.completion_time,
                summary: &mut self.summary,
                details: &mut self.$details,
                leftovers: &mut self.leftovers,
            }
        }
    };
}

impl State for BackupStatus {
    type Detail = BackupDetail;

    const KIND: &'static str = "Backup";

    common_fields!(backup_details);

    fn finish(&mut self, just_succeeded: bool) {
        let restorable = self.backup_details.iter().filter(|detail| {
            matches!(
                detail.phase,
                EntryPhase::Completed | EntryPhase::PartiallyFailed
            )
        });
        self.expiration_time = restorable
            .filter_map(|detail| detail.backup_status_in_cluster.as_ref()?.expiration.clone())
            .min();
        if self.phase == Some(Phase::Deleting) {
            self.next_run_time = None;
        }
        if just_succeeded {
            self.last_success_time = oldest_completion(&self.backup_details);
        }
        aggregate::fit_backup(self);
    }
}

/// The oldest completion over all clusters.
fn oldest_completion(details: &[BackupDetail]) -> Option<Time> {
    let completions = details.iter().map(|detail| {
        let status = detail.backup_status_in_cluster.as_ref()?;
        status.completion_timestamp.clone()
    });
    completions.min().flatten()
}

impl State for RestoreStatus {
    type Detail = RestoreDetail;

    const KIND: &'static str = "Restore";

    common_fields!(restore_details);

    fn finish(&mut self, _just_succeeded: bool) {
        aggregate::fit_restore(self);
    }
}

/// Its entries are the targets; the source is apart from them.
impl State for MigrateStatus {
    type Detail = RestoreDetail;

    const KIND: &'static str = "Migrate";

    common_fields!(target_cluster_status);

    fn finish(&mut self, _just_succeeded: bool) {
        aggregate::fit_migrate(self);
    }

    fn source_entry(&self) -> Option<&BackupDetail> {
        self.source_cluster_status.as_ref()
    }

    fn source(&mut self) -> Option<&mut Option<BackupDetail>> {
        Some(&mut self.source_cluster_status)
    }

    fn milestone(&self) -> Option<(&'static str, &str)> {
        let ready = condition::find(&self.conditions, condition::SOURCE_READY)?;
        let holds = ready.status == ConditionStatus::True;
        holds.then_some(("SourceReady", ready.message.as_str()))
    }

    fn forget_progress(&mut self) {
        self.progress = None;
        if let Some(source) = &mut self.source_cluster_status {
            source.forget_progress();
        }
    }
}

impl Operation for Backup {
    type Status = BackupStatus;

    const FINALIZER: &'static str = labels::BACKUP_FINALIZER;
    const OBJECT: &'static str = "velero.io/Backup";

    fn state(&self) -> Option<&BackupStatus> {
        self.status.as_ref()
    }

    fn set_state(&mut self, status: BackupStatus) {
        self.status = Some(status);
    }

    /// With a schedule it is the Schedule, and with it the runs that carry its name.
    fn leftover(&self, detail: &BackupDetail) -> (&'static str, String) {
        if !self.spec.is_scheduled() {
            let name = detail.backup_name_in_cluster.clone();
            return (Self::OBJECT, name.unwrap_or_default());
        }
        let (cluster, namespace) = (&detail.cluster_name, self.namespace().unwrap_or_default());
        let full = names::full_name(cluster, Purpose::Backup, &namespace, &self.name_any());
        let uid = self.uid().unwrap_or_default();
        let names = names::candidates(&full, &uid, names::MAX_SCHEDULE_NAME);
        let first = names.into_iter().next().unwrap_or_default();
        ("velero.io/Schedule", first)
    }
}

impl Operation for Restore {
    type Status = RestoreStatus;

    const FINALIZER: &'static str = labels::RESTORE_FINALIZER;
    const OBJECT: &'static str = "velero.io/Restore";

    fn state(&self) -> Option<&RestoreStatus> {
        self.status.as_ref()
    }

    fn set_state(&mut self, status: RestoreStatus) {
        self.status = Some(status);
    }
}

impl Operation for Migrate {
    type Status = MigrateStatus;

    const FINALIZER: &'static str = labels::MIGRATE_FINALIZER;
    const OBJECT: &'static str = "velero.io/Restore";

    fn state(&self) -> Option<&MigrateStatus> {
        self.status.as_ref()
    }

    fn set_state(&mut self, status: MigrateStatus) {
        self.status = Some(status);
    }
}
