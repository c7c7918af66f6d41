//! Which Restores read a Backup that is to be deleted with its data?
//!
//! A Restore writes down the run that it has chosen, and then looks whether the Backup is being
//! deleted; a Backup that is being deleted looks for such a note. Each looks at the hub itself and
//! after its own mark is there, so that one of the two sees the other, whatever their caches say.

use api_types::backup::Backup;
use api_types::restore::Restore;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use velero_kit::identity::Owner;

use super::Error;
use crate::context::Context;

/// Restores that are read at a time.
const PAGE: u32 = 50;

/// The name of a Restore that has not ended and reads this Backup, which is being deleted.
pub async fn find(ctx: &Context, owner: &Owner) -> Result<Option<String>, Error> {
    let known = ctx.hub_restores.state();
    if let Some(reader) = known.iter().find(|restore| reads(restore, owner)) {
        return Ok(Some(named(reader)));
    }
    if ctx.memory.with(&owner.uid, |memory| memory.own.unread) {
        return Ok(None);
    }
    let api = Api::<Restore>::namespaced(ctx.client.clone(), &owner.namespace);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = api.list(&page).await?;
        if let Some(reader) = found.items.iter().find(|restore| reads(restore, owner)) {
            return Ok(Some(named(reader)));
        }
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => break,
        }
    }
    ctx.memory
        .with(&owner.uid, |memory| memory.own.unread = true);
    Ok(None)
}

fn named(restore: &Restore) -> String {
    format!("Restore {}", restore.name_any())
}

/// Whether a Restore has chosen a run of this Backup for a cluster where it has not ended.
fn reads(restore: &Restore, owner: &Owner) -> bool {
    restore.namespace().as_deref() == Some(owner.namespace.as_str())
        && restore.spec.backup_name == owner.name
        && restore.status.iter().any(|status| {
            status
                .restore_details
                .iter()
                .any(|detail| detail.backup_name_in_cluster.is_some() && !detail.phase.is_final())
        })
}

/// Whether a Backup is being deleted together with its data.
pub fn goes_with_data(backup: &Backup) -> bool {
    backup.metadata.deletion_timestamp.is_some()
        && backup.spec.deletion_policy == api_types::common::DeletionPolicy::Delete
}

#[cfg(test)]
mod tests {
    use api_types::phase::EntryPhase;
    use api_types::restore::{RestoreDetail, RestoreSpec, RestoreStatus};

    use super::*;
    use crate::backup::fixtures::backup;

    fn restore(backup: &str, chosen: Option<&str>, phase: EntryPhase) -> Restore {
        let spec = RestoreSpec {
            backup_name: backup.to_owned(),
            ..RestoreSpec::default()
        };
        let mut restore = Restore::new("reader", spec);
        restore.metadata.namespace = Some("team-a".to_owned());
        restore.status = Some(RestoreStatus {
            restore_details: vec![RestoreDetail {
                backup_name_in_cluster: chosen.map(str::to_owned),
                phase,
                ..RestoreDetail::default()
            }],
            ..RestoreStatus::default()
        });
        restore
    }

    #[test]
    fn only_a_restore_that_has_chosen_a_run_and_not_ended_reads_it() {
        let owner = crate::backup::owner(&backup(api_types::backup::BackupStatus::default()));
        let name = owner.name.as_str();
        let table = [
            (name, Some("run"), EntryPhase::Pending, true),
            (name, Some("run"), EntryPhase::InProgress, true),
            (name, Some("run"), EntryPhase::Deleting, true),
            (name, Some("run"), EntryPhase::Completed, false),
            (name, Some("run"), EntryPhase::Failed, false),
            (name, None, EntryPhase::Pending, false),
            ("another", Some("run"), EntryPhase::InProgress, false),
        ];
        for (backup, chosen, phase, expected) in table {
            let restore = restore(backup, chosen, phase);
            assert_eq!(
                reads(&restore, &owner),
                expected,
                "{backup} {chosen:?} {phase:?}"
            );
        }
        let mut elsewhere = restore(name, Some("run"), EntryPhase::InProgress);
        elsewhere.metadata.namespace = Some("team-b".to_owned());
        assert!(!reads(&elsewhere, &owner));
    }
}
