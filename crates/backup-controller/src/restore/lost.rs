//! A Restore whose Backup is not on the hub any more, as when the hub itself was lost and the Fleet is
//! there again by GitOps: the runs say themselves whose they are, by their annotations, and those of
//! Kurator v0.5.0 by their names.

use api_types::backup::{Backup, BackupStatus};
use api_types::condition::reason;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::labels;
use api_types::names::{Purpose, full_name, label_value, velero_label_value};
use api_types::restore::SourceCluster;
use jiff::Timestamp;
use kube::{Api, ResourceExt};
use proxy_client::ListOptions;
use velero_kit::identity::{self, Owner};
use velero_kit::reading::{elsewhere, opening};
use velero_kit::{copy, point};

use super::Problem;
use super::origin::{Origin, is_made_in};
use super::source::{Source, Which};
use crate::context::Context;
use crate::operation::State;
use crate::operation::calls::NotNow;
use crate::operation::objects::{self, Target};

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Lost {
    /// The namespace of the hub's Backup.
    namespace: String,
    /// Its name.
    backup: String,
    /// The cluster that was backed up.
    cluster: SourceCluster,
    /// Which run.
    which: Which,
    /// When it began, once it has been chosen.
    started: Option<Timestamp>,
}

impl Lost {
    /// What a Restore of this source looks for; `None`: its Backup is there, or it names no cluster.
    pub fn new(source: &Source, namespace: &str, which: Which) -> Option<Self> {
        Some(Self {
            namespace: namespace.to_owned(),
            backup: source.name.clone(),
            cluster: source.cluster.clone().filter(|_| source.is_lost())?,
            which,
            started: None,
        })
    }

    /// The same run, once it has been chosen.
    #[must_use]
    pub fn begun(self, started: Option<Timestamp>) -> Self {
        Self { started, ..self }
    }

    /// Whether this is a run of the Backup in the cluster.
    fn is(&self, found: &velero::Backup) -> bool {
        self.says_so(found) || self.is_of_v050(found)
    }

    /// Whether a run says so of itself.
    fn says_so(&self, found: &velero::Backup) -> bool {
        let of_hub = (
            BackupStatus::KIND,
            self.namespace.as_str(),
            self.backup.as_str(),
        );
        let annotations = found.metadata.annotations.as_ref();
        let cluster = annotations
            .and_then(|annotations| annotations.get(labels::CLUSTER_REF))
            .and_then(|cluster| cluster.split_once('/'));
        let of_cluster = cluster.is_some_and(|(kind, name)| {
            let named = &self.cluster;
            name == named.name && (named.kind.is_empty() || named.kind == kind)
        });
        identity::hub_object(&found.metadata) == Some(of_hub) && of_cluster
    }

    /// Whether Kurator v0.5.0 has made this run, which says nothing of itself: exactly its labels, and
    /// exactly the name, of the run or of its Schedule, that spells cluster, namespace and Backup. Where
    /// the word between them is in one of them too, others may be spelt alike.
    fn is_of_v050(&self, found: &velero::Backup) -> bool {
        let (labels, annotations) = (found.labels(), found.annotations());
        let says = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
        let newer = [labels::OWNER_UID, labels::MEMBER];
        let newer = newer.iter().any(|key| labels.contains_key(*key))
            || annotations.contains_key(labels::HUB_OBJECT);
        let cluster = &self.cluster.name;
        let word = Purpose::Backup.as_str();
        let mut parts = cluster.split('-').chain(self.namespace.split('-'));
        let is_unique = parts.all(|part| part != word);
        let full = full_name(cluster, Purpose::Backup, &self.namespace, &self.backup);
        let named = found.metadata.name.as_ref() == Some(&full)
            || says(labels::VELERO_SCHEDULE_NAME, &velero_label_value(&full));
        let ours = says(labels::BACKUP_NAME, &self.backup) && says(labels::PLUGIN, "backup");
        is_unique && named && ours && !newer
    }

    /// The run that is to be restored, of all that are there.
    fn choose(
        &self,
        found: &[velero::Backup],
        target: &str,
        now: Timestamp,
    ) -> Result<velero::Backup, Problem> {
        let runs: Vec<&velero::Backup> = found.iter().filter(|found| self.is(found)).collect();
        let told = |reason, what: String| {
            let (backup, cluster) = (&self.backup, &self.cluster.name);
            let text = format!(
                "there is no Backup {backup} on the hub; in what {cluster} has stored, as seen \
                 in {target}: {what}"
            );
            Problem::new(reason, text)
        };
        let (runs, not_after) = match &self.which {
            Which::Newest(not_after) => (runs, *not_after),
            Which::Named(name) => {
                let is_chosen = |run: &&velero::Backup| {
                    run.metadata.name.as_ref() == Some(name)
                        && run.start_timestamp() == self.started
                };
                (runs.into_iter().filter(is_chosen).collect(), None)
            }
        };
        if runs.is_empty() {
            return Err(told(reason::BACKUP_NOT_FOUND, "no run of it".to_owned()));
        }
        let newest = point::newest(&runs, not_after, now);
        newest
            .cloned()
            .map_err(|problem| told(problem.reason, problem.message))
    }
}

/// Looks for the run in what the target reads at the places of the cluster.
pub async fn look(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    origin: &Origin,
    lost: &Lost,
) -> Result<velero::Backup, NotNow> {
    if lost.started.is_none() {
        is_gone(ctx, lost).await?;
    }
    let (locations, closed) = opening::open_all(ctx, owner, target, origin).await?;
    if let Some(why) = closed.filter(|_| lost.started.is_none()) {
        // What it hides may be newer.
        return Err(why);
    }
    if !locations.iter().all(copy::is_synced) {
        return Err(NotNow::Waits(Problem::new(
            reason::BACKUP_NOT_SYNCED,
            format!(
                "Velero in {} has not looked into the storage of {} yet: it looks once a minute",
                target.key.name, lost.cluster.name
            ),
        )));
    }
    let of_name = ListOptions {
        labels: Some(format!(
            "{}={}",
            labels::BACKUP_NAME,
            label_value(&lost.backup)
        )),
        ..ListOptions::default()
    };
    let api = objects::velero::<velero::Backup>(ctx, &target.key);
    let mut found = api.list(&of_name).await?;
    found.retain(|found| is_readable(found, target, &locations));
    let chosen = lost.choose(&found, &target.key.name, Timestamp::now());
    chosen.map_err(NotNow::Waits)
}

/// Whether a run lies in one of these locations, and all that belongs to it is there.
fn is_readable(
    found: &velero::Backup,
    target: &Target,
    locations: &[BackupStorageLocation],
) -> bool {
    let here = [target.member.clone()].into();
    locations.iter().any(|location| {
        let name = location.metadata.name.as_deref().unwrap_or_default();
        copy::lies_in(&found.metadata, name)
            && (copy::is_complete(found, location)
                || is_made_in(&here, found) && elsewhere::is_whole(found, location))
    })
}

/// A Backup that was created just now is not seen at once: it says more than what it left before.
async fn is_gone(ctx: &Context, lost: &Lost) -> Result<(), NotNow> {
    let backups = Api::<Backup>::namespaced(ctx.client.clone(), &lost.namespace);
    let problem = match backups.get_opt(&lost.backup).await {
        Ok(None) => return Ok(()),
        Ok(Some(_)) => Problem::new(
            reason::NO_COMPLETED_BACKUP,
            format!("Backup {} has just been created", lost.backup),
        ),
        Err(error) => Problem::new(
            reason::BACKUP_NOT_FOUND,
            format!(
                "whether Backup {} is on the hub is not known: {error}",
                lost.backup
            ),
        ),
    };
    Err(NotNow::Waits(problem))
}

#[cfg(test)]
#[path = "lost_tests.rs"]
mod tests;
