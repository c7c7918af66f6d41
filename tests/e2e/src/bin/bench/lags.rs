//! How long after Velero's end the hub shows it, of Backups and of Restores.

use std::time::Duration;

use anyhow::{Result, ensure};
use api_types::restore::{RestorePolicy, RestoreSpec};
use e2e::follow::{Followed, Row, follow};
use e2e::operation::Operation;
use e2e::specs::demo_backup;
use e2e::{MemberView, PATIENCE, Stack, Tenant};

use super::{MEMBERS, remove_demo};

/// Where the demo application is, and where it is restored to.
const NAMESPACE: &str = "kurator-backup";
const COPY: &str = "bench-restored";

/// One time per member and operation.
#[derive(Default)]
pub(crate) struct Lags {
    /// Of Backups.
    pub(crate) backups: Vec<Duration>,
    /// Of Restores of them.
    pub(crate) restores: Vec<Duration>,
    /// Name of the last Velero Backup in the first member.
    pub(crate) last: String,
}

/// Makes so many Backups of both members, one after the other, each restored beside the original.
pub(crate) async fn measure(stack: &Stack, tenant: &Tenant, backups: u32) -> Result<Lags> {
    let members: Vec<MemberView> = stack
        .bed()
        .members()
        .iter()
        .map(MemberView::of)
        .collect::<Result<_>>()?;
    let mut lags = Lags::default();
    for number in 0..backups.max(1) {
        let name = format!("bench-{number}");
        let backup = tenant.back_up(&name, demo_backup()).await?;
        let followed = follow(&tenant.backups(), backup, &members, PATIENCE, |_| {}).await?;
        lags.backups.extend(times(&followed)?);
        let entry = followed.rows.get(MEMBERS[0]).map(|row| &row.entry);
        lags.last = entry
            .and_then(|entry| entry.object.clone())
            .unwrap_or_default();

        let restore = tenant.restore(&name, beside(&name)).await?;
        let followed = follow(&tenant.restores(), restore, &members, PATIENCE, |_| {}).await?;
        lags.restores.extend(times(&followed)?);
        // Else the next Backup would take the copy too: all rounds are to be alike.
        for member in &members {
            remove_demo(member, COPY).await?;
        }
    }
    Ok(lags)
}

fn times<O: Operation>(followed: &Followed<O>) -> Result<Vec<Duration>> {
    ensure!(followed.is_success(), "{}", followed.explain());
    Ok(followed.rows.values().filter_map(Row::lag).collect())
}

/// Restores a Backup in its own clusters, into a namespace beside the original.
fn beside(backup: &str) -> RestoreSpec {
    let mapping = [(NAMESPACE.to_owned(), COPY.to_owned())];
    RestoreSpec {
        backup_name: backup.to_owned(),
        policy: Some(RestorePolicy {
            namespace_mapping: mapping.into(),
            ..RestorePolicy::default()
        }),
        ..RestoreSpec::default()
    }
}
