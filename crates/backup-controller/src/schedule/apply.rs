//! The writes to members: each cluster on its own, and decided on what a live read shows.

use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{self, MemberId, Purpose};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, MemberApi, Preconditions};
use velero_kit::identity::Owner;
use velero_kit::problem::Problem;

use super::build::{self, Change};
use super::former::Left;
use super::inherited;
use super::plan::Accepted;
use super::run_now::Owed;
use crate::backup::apply::drop_carried;
use crate::context::Context;
use crate::operation::objects::{self, Applied, Target};

/// The longest name that Kubernetes takes for an object.
const MAX_OBJECT_NAME: usize = 253;

/// What is to be done on one member.
#[derive(Debug, Clone)]
pub struct Order {
    pub key: ClusterKey,
    pub member: MemberId,
    /// The Schedule that is wanted; its name counts only if one is there.
    pub schedule: velero::Schedule,
    /// The ConfigMap that it refers to.
    pub config_map: Option<ConfigMap>,
    /// The run that it owes.
    pub run: Option<Owed>,
}

/// What is there after it was done.
#[derive(Debug, Clone)]
pub struct Placed {
    pub schedule: velero::Schedule,
    /// What the member made of it, if not what was wanted.
    pub accepted: Option<Accepted>,
    /// The run that was asked for.
    pub run: Option<velero::Backup>,
}

/// Sees to it that the member has the one Schedule that is wanted, and makes the run that it owes.
pub async fn carry_out(ctx: &Context, owner: &Owner, order: &Order) -> Result<Placed, Problem> {
    if let Some(source) = &order.config_map {
        objects::carry_over(ctx, owner, &target(order, String::new()), source).await?;
    }
    let schedule = put(ctx, owner, order).await?;
    let wanted = &order.schedule.spec;
    let accepted = (schedule.spec != *wanted).then(|| Accepted {
        wanted: wanted.clone(),
        got: schedule.spec.clone(),
    });
    // The calls before may have waited for their turn.
    let run = match order.run.filter(|run| Timestamp::now() <= run.until) {
        Some(run) => make_run(ctx, owner, order, build::run(&schedule, run.at)).await?,
        None => None,
    };
    Ok(Placed {
        schedule,
        accepted,
        run,
    })
}

fn target(order: &Order, name: String) -> Target {
    Target {
        key: order.key.clone(),
        member: order.member.clone(),
        name,
    }
}

fn schedules(ctx: &Context, key: &ClusterKey) -> MemberApi<velero::Schedule> {
    objects::velero::<velero::Schedule>(ctx, key)
}

/// Selects what this owner has on a member, and no copy of another member's.
pub fn of_owner(owner: &Owner, member: &MemberId) -> ListOptions {
    ListOptions {
        labels: Some(format!(
            "{}={},{}={member}",
            labels::OWNER_UID,
            owner.uid,
            labels::MEMBER,
        )),
        ..ListOptions::default()
    }
}

async fn put(ctx: &Context, owner: &Owner, order: &Order) -> Result<velero::Schedule, Problem> {
    let api = schedules(ctx, &order.key);
    let mut found = api
        .list(&of_owner(owner, &order.member))
        .await
        .map_err(|error| Problem::from(&error))?;
    found.sort_by_key(ResourceExt::name_any);
    let mut found = found.into_iter();
    let Some(live) = found.next() else {
        return create(&api, owner, order).await;
    };
    for surplus in found {
        remove(&api, &surplus).await?;
    }
    let former = carried(&live).map(str::to_owned);
    let placed = change(&api, owner, order, live).await?;
    if let Some(former) = former.filter(|former| carried(&placed) != Some(former)) {
        drop_carried(ctx, &order.key, &owner.uid, &former).await;
    }
    Ok(placed)
}

/// Name of the carried ConfigMap that a Schedule refers to.
fn carried(schedule: &velero::Schedule) -> Option<&str> {
    let policy = schedule.spec.template.resource_policy.as_ref();
    policy.map(|policy| policy.name.as_str())
}

/// Makes one that is there what it should be.
async fn change(
    api: &MemberApi<velero::Schedule>,
    owner: &Owner,
    order: &Order,
    live: velero::Schedule,
) -> Result<velero::Schedule, Problem> {
    let name = live.name_any();
    let mut wanted = order.schedule.clone();
    wanted.metadata.name = Some(name.clone());
    match build::change(&live, &wanted) {
        Change::None => return Ok(live),
        Change::Apply => {
            // Applied to that very object: one that is gone meanwhile is not made again by this.
            wanted.metadata.uid.clone_from(&live.metadata.uid);
            let applied = apply(api, &wanted).await?;
            // Older types of Velero leave out what they do not know: it is all that can be had.
            if build::is_part_of(&applied.spec, &wanted.spec) {
                return Ok(applied);
            }
            // A field that somebody added is not ours, and so applying does not take it away.
            remove(api, &applied).await?;
        }
        Change::Renew => remove(api, &live).await?,
    }
    create(api, owner, order).await
}

/// Makes it, under the first name that is free or holds one of ours that has lost its labels.
async fn create(
    api: &MemberApi<velero::Schedule>,
    owner: &Owner,
    order: &Order,
) -> Result<velero::Schedule, Problem> {
    let full = objects::full_name(owner, Purpose::Backup, &order.key);
    if let Some(former) = inherited(api, owner, &full).await? {
        // It would go on beside ours. Made anew, that runs no missed slot at once.
        remove(api, &former).await?;
    }
    for name in names::candidates(&full, &owner.uid, names::MAX_SCHEDULE_NAME) {
        let found = api.get_opt(&name).await;
        match found.map_err(|error| Problem::from(&error))? {
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                return Err(Problem::new(
                    reason::QUEUED,
                    format!("Schedule {name} is going away in {}", order.key.name),
                ));
            }
            Some(found) if !makes_our_runs(owner, &order.member, &found) => {}
            _ => {
                let mut wanted = order.schedule.clone();
                wanted.metadata.name = Some(name);
                return apply(api, &wanted).await;
            }
        }
    }
    Err(Problem::new(
        reason::NAME_TAKEN,
        format!(
            "every name for the Velero Schedule is taken in {}: rename this Backup",
            order.key.name
        ),
    ))
}

/// The Schedule that Kurator v0.5.0 made for this Backup, if it is there.
async fn inherited(
    api: &MemberApi<velero::Schedule>,
    owner: &Owner,
    full: &str,
) -> Result<Option<velero::Schedule>, Problem> {
    // Longer than any name, it was never made.
    if full.len() > MAX_OBJECT_NAME {
        return Ok(None);
    }
    let found = api.get_opt(full).await;
    let found = found.map_err(|error| Problem::from(&error))?;
    Ok(found.filter(|found| inherited::is_of(owner, full, found)))
}

/// Whether a Schedule is ours, by itself or by the runs that it makes.
fn makes_our_runs(owner: &Owner, member: &MemberId, found: &velero::Schedule) -> bool {
    let of_runs = found.spec.template.metadata.as_ref();
    let runs = kube::core::ObjectMeta {
        labels: of_runs.map(|metadata| metadata.labels.clone()),
        ..kube::core::ObjectMeta::default()
    };
    owner.owns(&found.metadata, member) || owner.owns(&runs, member)
}

async fn apply(
    api: &MemberApi<velero::Schedule>,
    wanted: &velero::Schedule,
) -> Result<velero::Schedule, Problem> {
    let name = wanted.name_any();
    let applied = api.apply(&name, wanted, labels::BACKUP_MANAGER, true).await;
    applied.map_err(|error| match error {
        CallError::Invalid(_) => Problem::new(reason::SCHEDULE_REJECTED, error.to_string()),
        other => Problem::from(&other),
    })
}

async fn remove(
    api: &MemberApi<velero::Schedule>,
    found: &velero::Schedule,
) -> Result<(), Problem> {
    let only_if = Preconditions {
        uid: found.metadata.uid.clone(),
        resource_version: None,
    };
    match api.delete(&found.name_any(), &only_if).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::from(&error)),
    }
}

async fn make_run(
    ctx: &Context,
    owner: &Owner,
    order: &Order,
    run: velero::Backup,
) -> Result<Option<velero::Backup>, Problem> {
    let target = target(order, run.name_any());
    match objects::create(ctx, owner, &target, &run).await {
        Applied::Present(made) => Ok(Some(*made)),
        Applied::Failed(problem) => Err(problem),
        Applied::Absent => Err(Problem::new(
            reason::UNREACHABLE,
            format!(
                "the answer of {} to starting a run was lost",
                order.key.name
            ),
        )),
        Applied::Taken => Err(Problem::new(
            reason::NAME_TAKEN,
            format!(
                "{} is held by another owner: ask for a run again",
                target.name
            ),
        )),
    }
}

/// Removes every Schedule of this owner from a member, that of Kurator v0.5.0 included, and says what is still there. Runs stay.
pub async fn stop(
    ctx: &Context,
    owner: &Owner,
    key: &ClusterKey,
    member: &MemberId,
) -> Result<Left, Problem> {
    let api = schedules(ctx, key);
    let unanswered = |error: CallError| Problem::from(&error);
    let mut found = match api.list(&of_owner(owner, member)).await {
        Ok(found) => found,
        // Velero's types are gone, and so are its objects. What it has stored is not.
        Err(CallError::NotServed(_)) => {
            return Ok(Left {
                schedules: false,
                runs: true,
            });
        }
        Err(error) => return Err(unanswered(error)),
    };
    let full = objects::full_name(owner, Purpose::Backup, key);
    found.extend(inherited(&api, owner, &full).await?);
    for schedule in &found {
        remove(&api, schedule).await?;
        if let Some(carried) = carried(schedule) {
            drop_carried(ctx, key, &owner.uid, carried).await;
        }
    }
    let schedules = if found.is_empty() {
        false
    } else {
        // Gone at once, unless somebody's finalizer holds one.
        let rest = api.list(&of_owner(owner, member)).await;
        !rest.map_err(unanswered)?.is_empty()
    };
    let some = ListOptions {
        limit: Some(1),
        ..of_owner(owner, member)
    };
    let runs = objects::velero::<velero::Backup>(ctx, key)
        .list(&some)
        .await;
    Ok(Left {
        schedules,
        runs: !runs.map_err(unanswered)?.is_empty(),
    })
}
