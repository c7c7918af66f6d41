//! The writes to members: each with a result of its own, none of which delays another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::condition::reason;
use api_types::external::velero::{Backup, BackupStorageLocation};
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use controller_kit::event::Severity;
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, PatchKind, SecretSpec};
use serde_json::json;
use tokio::time::Instant;
use velero_kit::NAMESPACE;
use velero_kit::identity::Owner;
use velero_kit::problem::Problem;
use velero_kit::{location, owned};

use super::known::Known;
use super::leave::Leave;
use super::mark::Marks;
use super::memory;
use super::status;
use super::validate::{Order, Plan, Stand};
use crate::context::Context;
use crate::operation::calls::{self, Answer, Call};
use crate::operation::member::Link;
use crate::operation::objects;

/// What came of each call; a cluster that has not answered yet is not in it.
pub type Answers = BTreeMap<ClusterKey, Result<(), Problem>>;

const DEFAULT: &str = labels::DEFAULT_STORAGE_LOCATION;
/// How often a location is written that others change at the same time.
const ATTEMPTS: usize = 3;
/// More strangers than this in one place need not be named.
const STRANGERS: usize = 16;

/// Does what is planned.
pub async fn apply(ctx: &Arc<Context>, known: &Known, plan: &Plan) -> Answers {
    let mut calls = Vec::new();
    for planned in &plan.clusters {
        let member = &planned.member;
        let Link::Up { member_uid } = &member.link else {
            continue;
        };
        let errand = Errand {
            ctx: Arc::clone(ctx),
            fleet: Arc::clone(&known.fleet),
            owner: known.owner.clone(),
            key: member.key.clone(),
            member_uid: member_uid.clone(),
        };
        let key = member.key.clone();
        match &planned.stand {
            Stand::Kept(keep) if !keep.order.is_empty() => {
                let order = keep.order.clone();
                let purpose = purpose(&order);
                // Before it begins: from now on a release has to look for its marks.
                if order.location.is_some() {
                    errand.remember(|store| store.marks = memory::Marks::Begun);
                }
                let call = async move { Answer::Stored(errand.keep(order).await) };
                calls.push(Call::new(key, purpose, call));
            }
            Stand::Leaving(Leave::Release) => {
                let call = async move { Answer::Stored(errand.release().await) };
                calls.push(Call::new(key, "release".to_owned(), call));
            }
            _ => {}
        }
    }
    let answers = calls::answers(ctx, &known.owner, calls).await;
    let stored = answers
        .into_iter()
        .filter_map(|(key, answer)| match answer {
            Answer::Stored(result) => Some((key, result)),
            _ => None,
        });
    stored.collect()
}

/// What tells an order from another one; no part of a Secret.
fn purpose(order: &Order) -> String {
    let Order {
        secret,
        location,
        survey,
    } = order;
    let version = secret.as_ref().map(|(version, _)| version);
    let location = location
        .as_ref()
        .map(|location| json!(location).to_string());
    format!("store {version:?} {location:?} {survey:?}")
}

/// One way to one member.
struct Errand {
    ctx: Arc<Context>,
    fleet: Arc<Fleet>,
    owner: Owner,
    key: ClusterKey,
    member_uid: String,
}

impl Errand {
    async fn keep(self, order: Order) -> Result<(), Problem> {
        let Order {
            secret,
            location,
            survey,
        } = order;
        let before = match &location {
            Some(_) => self.current().await?,
            None => None,
        };
        if let Some(problem) = before
            .as_ref()
            .and_then(|found| self.marks().taken(&found.metadata))
        {
            return Err(problem);
        }
        // The Secret first: Velero looks at a new location at once.
        if let Some((version, spec)) = secret {
            self.write_secret(version, &spec).await?;
        }
        if let Some(wanted) = location {
            self.write_location(before, &wanted).await?;
        }
        match survey {
            Some(synced) => self.survey(synced).await,
            None => Ok(()),
        }
    }

    async fn current(&self) -> Result<Option<BackupStorageLocation>, Problem> {
        let api = objects::velero::<BackupStorageLocation>(&self.ctx, &self.key);
        api.get_opt(DEFAULT).await.map_err(|error| problem(&error))
    }

    async fn write_secret(&self, version: String, spec: &SecretSpec) -> Result<(), Problem> {
        let written = self.ctx.members.ensure_secret(&self.key, spec).await;
        written.map_err(|error| problem(&error))?;
        self.remember(|store| store.credential = Some((version, Instant::now())));
        Ok(())
    }

    /// Writes the location over what was read; begins again with what is there when that has changed.
    async fn write_location(
        &self,
        mut before: Option<BackupStorageLocation>,
        wanted: &BackupStorageLocation,
    ) -> Result<(), Problem> {
        for _ in 0..ATTEMPTS {
            if self.write_over(before.as_ref(), wanted).await? {
                return Ok(());
            }
            before = self.current().await?;
            let found = before.as_ref();
            if let Some(problem) = found.and_then(|found| self.marks().taken(&found.metadata)) {
                return Err(problem);
            }
        }
        Err(Problem::new(
            reason::INSTALLING,
            format!("location {DEFAULT} changes all the time: it is tried again"),
        ))
    }

    /// `false`: something else is there by now.
    async fn write_over(
        &self,
        before: Option<&BackupStorageLocation>,
        wanted: &BackupStorageLocation,
    ) -> Result<bool, Problem> {
        let api = objects::velero::<BackupStorageLocation>(&self.ctx, &self.key);
        let mut body = wanted.clone();
        // Another hub may have marked what was read as it was then, or may do so now.
        if let Some(before) = before {
            body.metadata.uid = before.uid();
            body.metadata.resource_version = before.resource_version();
        }
        let applied = api
            .apply(DEFAULT, &body, labels::BACKUP_MANAGER, true)
            .await;
        self.remember(|store| store.applied = Some(Instant::now()));
        let applied = match applied {
            Err(CallError::Conflict(_)) => return Ok(false),
            applied => applied.map_err(|error| problem(&error))?,
        };
        if let Some(before) = before.map(location::storage)
            && !location::is_same(&before, &location::storage(wanted))
        {
            let note = format!(
                "{}: location {DEFAULT} pointed at bucket {:?}, prefix {:?}, endpoint {:?}, provider \
                 {:?}, and is now as this Fleet says; what lies there is untouched",
                self.key.name, before.bucket, before.prefix, before.endpoint, before.provider
            );
            self.tell("StorageLocationReplaced", note);
        }
        self.clean(&applied, wanted).await
    }

    /// Removes what somebody else has set of the store: an apply leaves it.
    async fn clean(
        &self,
        applied: &BackupStorageLocation,
        wanted: &BackupStorageLocation,
    ) -> Result<bool, Problem> {
        let left = owned::leftovers(applied, wanted);
        if left.is_empty() {
            return Ok(true);
        }
        let spec = owned::without(&left);
        let by_hand = json!({ "spec": spec });
        // Only of the object that has just been read and marked.
        let patch = json!({
            "metadata": { "uid": applied.uid(), "resourceVersion": applied.resource_version() },
            "spec": spec,
        });
        let names = left.join(", ");
        let api = objects::velero::<BackupStorageLocation>(&self.ctx, &self.key);
        let patched = api
            .patch(DEFAULT, PatchKind::Merge, &patch, labels::BACKUP_MANAGER)
            .await;
        if matches!(patched, Err(CallError::Conflict(_))) {
            return Ok(false);
        }
        patched.map_err(|error| {
            let why = problem(&error);
            let message = format!(
                "the Fleet does not set {names}; there: kubectl patch bsl {DEFAULT} -n {NAMESPACE} \
                 --type merge -p '{by_hand}' ({})",
                why.message
            );
            Problem::new(why.reason, message)
        })?;
        let note = format!(
            "{}: location {DEFAULT} had {names}, which this Fleet does not set; that is removed",
            self.key.name
        );
        self.tell("StorageLocationCleared", note);
        Ok(true)
    }

    /// Looks whose backups Velero has found there. Only completed ones tell: Velero keeps the objects of
    /// failed ones, and some versions those of partially failed ones, when their location points
    /// elsewhere.
    async fn survey(&self, synced: Timestamp) -> Result<(), Problem> {
        let api = objects::velero::<Backup>(&self.ctx, &self.key);
        let here = ListOptions {
            labels: Some(format!("{}={DEFAULT}", labels::VELERO_STORAGE_LOCATION)),
            ..ListOptions::default()
        };
        let found = api.list(&here).await.map_err(|error| problem(&error))?;
        let own = MemberId::from_uid(&self.member_uid);
        let strangers = found
            .iter()
            .filter(|backup| backup.phase() == "Completed")
            .filter_map(|backup| backup.labels().get(labels::MEMBER))
            .filter(|id| id.as_str() != own.as_str())
            .cloned()
            .collect::<BTreeSet<String>>();
        let strangers = strangers.into_iter().take(STRANGERS).collect();
        let mut news = false;
        self.remember(|store| news = store.survey.looked(synced, strangers));
        if news {
            let Owner {
                namespace, name, ..
            } = &self.owner;
            self.ctx.fleet_trigger.fire(namespace, name);
        }
        Ok(())
    }

    /// Takes our marks off the location; the rest of it stays as it is.
    async fn release(self) -> Result<(), Problem> {
        let marked = match self.current().await? {
            Some(found) if self.marks().are_on(&found.metadata) => {
                self.take_off(&found).await?;
                true
            }
            _ => false,
        };
        self.remember(|store| store.marks = memory::Marks::Released);
        // No watch tells of what was not there.
        if !marked {
            let Owner {
                namespace, name, ..
            } = &self.owner;
            self.ctx.fleet_trigger.fire(namespace, name);
        }
        Ok(())
    }

    async fn take_off(&self, found: &BackupStorageLocation) -> Result<(), Problem> {
        let mut spec = found.spec.clone();
        spec.default = None;
        let secret = spec.credential.as_ref().map(|secret| secret.name.clone());
        // What a manager applied before and does not repeat is dropped: the labels.
        // Only from what was read: the manager of another hub's Fleet has the same name.
        let identity = json!({ "uid": found.uid(), "resourceVersion": found.resource_version() });
        let body = json!({ "metadata": identity, "spec": spec });
        let api = objects::velero::<BackupStorageLocation>(&self.ctx, &self.key);
        match api
            .apply(DEFAULT, &body, labels::BACKUP_MANAGER, true)
            .await
        {
            Ok(_) => {}
            Err(CallError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(problem(&error)),
        }
        let note = format!(
            "{}: location {DEFAULT} and Secret {} stay as they are and are not this Fleet's any more",
            self.key.name,
            secret.unwrap_or_default()
        );
        self.tell("StorageLocationReleased", note);
        Ok(())
    }

    fn marks(&self) -> Marks<'_> {
        Marks {
            owner: &self.owner,
            hub: &self.ctx.hub_uid,
        }
    }

    fn remember(&self, f: impl FnOnce(&mut super::memory::Store)) {
        let (fleet, uid) = (&self.owner.uid, &self.member_uid);
        self.ctx.stores.with(fleet, &self.key, uid, f);
    }

    fn tell(&self, reason: &'static str, note: String) {
        let event = status::of_cluster(&self.key, Severity::Normal, reason, note);
        self.ctx.events.publish_cluster(&*self.fleet, event);
    }
}

/// What a failed call means for the storage of its member.
fn problem(error: &CallError) -> Problem {
    let reason = match error {
        CallError::Refused(detail) if detail.reason == "NOT_OURS" => reason::NAME_TAKEN,
        // The only thing that must be there beforehand is Velero's namespace.
        CallError::NotFound(_) => reason::VELERO_NOT_INSTALLED,
        CallError::Invalid(_) => reason::INSTALL_FAILED,
        _ => return Problem::from(error),
    };
    Problem::new(reason, error.to_string())
}
