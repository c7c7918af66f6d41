//! The one stack that all tests share, and the members that are there to be broken.

use std::fmt::Debug;

use anyhow::{Context, Result, bail, ensure};
use api_types::aggregate::VeleroPhase;
use api_types::backup::{Backup, BackupSpec};
use api_types::condition::ConditionStatus;
use api_types::external::velero;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use e2e::{Attached, MemberView, PATIENCE, Stack, Tenant, await_object, condition_status, entry};
use futures::future::select_all;
use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use testbed::{Member, Velero, wait_ok};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::otlp;

/// Members with Velero, for everybody.
pub(crate) const ONE: &str = "kurator-member1";
pub(crate) const TWO: &str = "kurator-member2";
/// Members with Velero that tests break, each by one test at a time.
const SPARES: [&str; 3] = ["spare1", "spare2", "spare3"];
/// A member without Velero.
pub(crate) const BARE: &str = "bare";

/// Short waits, so that no test waits for minutes.
const BACKUP_TIMINGS: &str = r#"{
    "veleroSilence": 5000, "noProgress": 12000, "probeAnswer": 5000, "probeAgain": 5000,
    "deletionStalled": 10000, "runMissed": 8000, "locationAge": 2000
}"#;

/// Started by the first test. If that fails, all fail at once, and for the same reason.
pub(crate) async fn stack() -> &'static Stack {
    static STACK: OnceCell<Result<Stack, String>> = OnceCell::const_new();
    let start = async || {
        let stack = Stack::builder("e2e")
            .velero_member(ONE)
            .velero_member(TWO)
            .velero_member(SPARES[0])
            .velero_member(SPARES[1])
            .velero_member(SPARES[2])
            .bare_member(BARE)
            .detach_tenants()
            .backup_timings(BACKUP_TIMINGS)
            .otlp_endpoint(otlp::receiver().endpoint());
        stack.start().await.map_err(|error| format!("{error:#}"))
    };
    match STACK.get_or_init(start).await {
        Ok(stack) => stack,
        Err(error) => panic!("no stack: {error}"),
    }
}

/// A namespace with a fleet of the two members that are there for everybody.
pub(crate) async fn tenant(namespace: &str) -> Tenant {
    tenant_of(namespace, &[ONE, TWO]).await
}

/// A namespace with a fleet of these members.
pub(crate) async fn tenant_of(namespace: &str, members: &[&str]) -> Tenant {
    let stack = stack().await;
    let clusters: Vec<Attached> = members
        .iter()
        .map(|name| stack.attach(name).unwrap())
        .collect();
    stack.tenant(namespace, &clusters).await.unwrap()
}

/// A direct look into a member.
pub(crate) async fn view(member: &str) -> MemberView {
    MemberView::of(stack().await.member(member).unwrap()).unwrap()
}

/// The keys in the bucket that belong to the Velero Backup `name` of a member.
pub(crate) async fn stored(member: &str, name: &str) -> Vec<String> {
    let bed = stack().await.bed();
    let velero = bed.member(member).unwrap().velero().unwrap();
    let folder = format!("{}/backups/{name}/", velero.prefix());
    bed.s3().unwrap().objects(velero.bucket(), &folder).unwrap()
}

/// The name of the Velero Backup in the entry of a cluster.
pub(crate) fn name_in(backup: &Backup, cluster: &str) -> String {
    let entry = entry(backup, cluster).unwrap();
    entry.backup_name_in_cluster.clone().unwrap()
}

/// Checks everything that a Backup must say that completed in these clusters.
pub(crate) fn assert_completed(backup: &Backup, clusters: &[&str]) {
    let status = backup.status.as_ref().unwrap();
    let names: Vec<&str> = status
        .backup_details
        .iter()
        .map(|entry| entry.cluster_name.as_str())
        .collect();
    assert_eq!(names, clusters);
    for entry in &status.backup_details {
        assert_eq!(entry.phase, EntryPhase::Completed, "{entry:?}");
        assert_eq!(entry.reason, None, "{entry:?}");
        let velero = entry.backup_status_in_cluster.as_ref().unwrap();
        assert_eq!(velero.phase.as_deref(), Some("Completed"), "{entry:?}");
    }
    assert_eq!(status.phase, Some(Phase::Completed));
    let all = clusters.len();
    let summary = status.summary.as_ref().unwrap();
    assert_eq!(summary.display, format!("{all}/{all}"));
    assert_eq!(usize::try_from(summary.completed).unwrap(), all);
    for condition in ["Ready", "Succeeded"] {
        assert_eq!(
            condition_status(backup, condition),
            Some(ConditionStatus::True)
        );
    }
    for condition in ["Reconciling", "Stalled"] {
        assert_eq!(condition_status(backup, condition), None);
    }
    assert!(status.start_time.is_some() && status.completion_time.is_some());
}

/// Checks that a Backup has exactly one Velero Backup in a member, the one that its entry names.
pub(crate) async fn assert_one_object(backup: &Backup, member: &str) {
    let view = view(member).await;
    let found = view.backup_names_of(&backup.uid().unwrap()).await.unwrap();
    assert_eq!(found, [name_in(backup, member)], "in {member}");
}

/// Waits for what the event says that an object left behind.
pub(crate) async fn left_behind(tenant: &Tenant, object: &str) -> String {
    wait_ok("the event about what stays", PATIENCE, async || {
        let events = tenant.events(object).await?;
        let mut events = events.into_iter();
        let left = events.find(|event| event.reason.as_deref() == Some("ObjectsLeftBehind"));
        left.and_then(|event| event.note).context("there is none")
    })
    .await
    .unwrap()
}

/// Gives up on what the deletion of an object waits for.
pub(crate) async fn force<K>(api: &Api<K>, name: &str) -> kube::Result<K>
where
    K: Clone + Debug + DeserializeOwned,
{
    let force = json!({ "metadata": { "annotations": { labels::FORCE_DELETE: "true" } } });
    api.patch(name, &PatchParams::default(), &Patch::Merge(force))
        .await
}

/// A finalizer of somebody else.
const HELD: &str = "e2e.kurator.dev/held";

/// Keeps an object from being gone once it is deleted, until it is let go.
pub(crate) async fn hold<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    set_finalizers(api, name, |finalizers| finalizers.push(HELD.to_owned())).await;
}

/// Ends [`hold`].
pub(crate) async fn let_go<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    set_finalizers(api, name, |finalizers| finalizers.retain(|of| of != HELD)).await;
}

/// Changes the finalizers of an object as it is now: others change them too.
async fn set_finalizers<K>(api: &Api<K>, name: &str, change: impl Fn(&mut Vec<String>))
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    wait_ok("a change of finalizers", PATIENCE, async || {
        let now = api.get(name).await?;
        let mut finalizers = now.finalizers().to_vec();
        change(&mut finalizers);
        let version = now.resource_version();
        let patch = json!({
            "metadata": { "finalizers": finalizers, "resourceVersion": version },
        });
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    })
    .await
    .unwrap();
}

/// Waits until a type is served.
pub(crate) async fn wait_established(api: &Api<CustomResourceDefinition>, name: &str) {
    let served = |of: &CustomResourceDefinition| {
        let conditions = of.status.as_ref().and_then(|of| of.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|of| of.type_ == "Established" && of.status == "True")
    };
    await_object(api, name, "Established", PATIENCE, served)
        .await
        .unwrap();
}

/// Waits until a member refuses to make this, with these words. Nothing is made.
pub(crate) async fn wait_refused<K>(api: &Api<K>, object: &K, words: &str)
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    wait_ok("the rule to hold", PATIENCE, async || {
        let refused = api.create(&dry_run, object).await;
        ensure!(refused.is_err_and(|error| error.to_string().contains(words)));
        Ok(())
    })
    .await
    .unwrap();
}

/// A turn with a member that is there to be broken.
pub(crate) struct Spare {
    pub(crate) name: &'static str,
    member: &'static Member,
    pub(crate) view: MemberView,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for a turn with one of several things, and says with which.
pub(crate) async fn turn<const N: usize>(
    turns: &'static [Mutex<()>; N],
) -> (usize, MutexGuard<'static, ()>) {
    let waiting = turns.iter().map(|turn| Box::pin(turn.lock()));
    let (turn, which, _) = select_all(waiting).await;
    (which, turn)
}

/// Waits for a turn with any of them, and gives the member as if it were new.
pub(crate) async fn spare() -> Spare {
    static TURNS: [Mutex<()>; SPARES.len()] = [const { Mutex::const_new(()) }; SPARES.len()];
    let stack = stack().await;
    let (which, turn) = turn(&TURNS).await;
    let name = SPARES[which];
    let member = stack.member(name).unwrap();
    let spare = Spare {
        name,
        member,
        view: MemberView::of(member).unwrap(),
        _turn: turn,
    };
    spare.mend().await.unwrap();
    spare
}

impl Drop for Spare {
    /// Also when a test fails: a frozen Velero holds up all that others have there.
    fn drop(&mut self) {
        self.velero().process().thaw().ok();
    }
}

impl Spare {
    pub(crate) fn member(&self) -> &'static Member {
        self.member
    }

    pub(crate) fn velero(&self) -> &'static Velero {
        self.member.velero().unwrap()
    }

    /// Its control plane may be dead, and Velero frozen, dead, or wedged by what the turn before did.
    async fn mend(&self) -> Result<()> {
        self.member.control_plane().start_again().await?;
        self.velero().restart(&self.view.client).await
    }

    /// Makes Velero hang in the middle of what it does for `backup`.
    pub(crate) async fn freeze_during(&self, backup: &Backup) -> Result<velero::Backup> {
        self.freeze_while_backing_up(&backup.uid().context("no uid")?)
            .await
    }

    /// The same for any owner of a Velero Backup.
    pub(crate) async fn freeze_while_backing_up(&self, owner_uid: &str) -> Result<velero::Backup> {
        let backups: Api<velero::Backup> = self.view.velero();
        let owned = format!("{}={owner_uid}", labels::OWNER_UID);
        let config = watcher::Config::default().labels(&owned);
        let seen = watcher::watcher(backups.clone(), config)
            .default_backoff()
            .applied_objects();
        let running = seen.try_filter(|object| {
            let running = VeleroPhase::of(object.phase()) == VeleroPhase::Running;
            async move { running }
        });
        pin_mut!(running);
        let found = tokio::time::timeout(PATIENCE, running.next()).await;
        let object = found
            .context("Velero does not begin")?
            .context("the watch ended")??;
        self.velero().process().freeze()?;
        let now = backups.get(&object.name_any()).await?;
        ensure!(
            !VeleroPhase::of(now.phase()).is_final(),
            "Velero was faster: {}",
            now.phase()
        );
        Ok(now)
    }

    /// Makes a Backup in `tenant` and freezes Velero in the middle of it. Velero may win that race:
    /// then it is tried with another name.
    pub(crate) async fn frozen_backup(
        &self,
        tenant: &Tenant,
        name: &str,
        spec: &BackupSpec,
    ) -> Result<(Backup, velero::Backup)> {
        for attempt in 0..5 {
            let backup = tenant
                .back_up(&format!("{name}-{attempt}"), spec.clone())
                .await?;
            match self.freeze_during(&backup).await {
                Ok(object) => return Ok((backup, object)),
                Err(_) => self.velero().process().thaw()?,
            }
        }
        bail!("Velero was faster five times")
    }
}

/// Waits until nothing of a Backup is left in a member.
pub(crate) async fn wait_nothing_left(view: &MemberView, owner_uid: &str) -> Result<()> {
    let what = format!("an end of all that belongs to {owner_uid} in {}", view.name);
    wait_ok(&what, PATIENCE, async || {
        let names = view.backup_names_of(owner_uid).await?;
        ensure!(names.is_empty(), "there are {names:?}");
        Ok(())
    })
    .await
}
