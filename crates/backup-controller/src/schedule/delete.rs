//! Deleting a scheduled Backup: its Schedules stop first, in every cluster that has or had one; then
//! its runs stay or go, as the policy says.

use std::sync::Arc;
use std::time::Duration;

use api_types::backup::{Backup, BackupDetail};
use api_types::common::DeletionPolicy;
use api_types::condition::reason;
use api_types::key::ClusterKey;
use api_types::names::MemberId;
use controller_kit::reconcile::Outcome;
use velero_kit::deletion::Step;
use velero_kit::identity::Owner;

use super::{Error, Problem, apply};
use crate::backup::delete::{Left, left_by, location, member};
use crate::backup::readers;
use crate::context::Context;
use crate::operation::calls::{self, Answer, Call};
use crate::operation::deletion;
use crate::operation::objects::Target;

/// What the deletion waits for in one cluster.
#[derive(Debug, Clone)]
pub struct Cleared {
    /// `None`: nothing that has to go is there any more.
    pub waits_for: Option<Problem>,
    /// When to look again.
    pub again: Duration,
}

/// Nothing is left there.
const DONE: Cleared = Cleared {
    waits_for: None,
    again: Duration::ZERO,
};

/// Where to look, if anything was ever made there, or why that cannot be done now.
type Place = Result<Option<Target>, Problem>;

/// What is to be cleared beside the Schedules.
#[derive(Debug, Clone)]
enum Runs {
    /// They stay until their ttl.
    Stay,
    /// Somebody reads them.
    Held(String),
    /// They go.
    Go,
}

/// One pass over a scheduled Backup that is being deleted.
pub async fn reconcile(ctx: &Arc<Context>, backup: Backup, owner: Owner) -> Result<Outcome, Error> {
    if !deletion::is_held(ctx, &backup, &owner) {
        return Ok(Outcome::Done);
    }
    let runs = match backup.spec.deletion_policy {
        DeletionPolicy::Retain => Runs::Stay,
        DeletionPolicy::Delete => match readers::find(ctx, &owner).await? {
            Some(reader) => Runs::Held(reader),
            None => Runs::Go,
        },
    };
    let left = look_everywhere(ctx, &backup, &owner, &runs).await;
    deletion::go_on(ctx, backup, owner, left).await
}

/// Every cluster that has, or had, something of this Backup.
fn everywhere(backup: &Backup) -> Vec<BackupDetail> {
    let status = backup.status.clone().unwrap_or_default();
    let mut all = status.backup_details;
    for former in status.former_clusters {
        let known = all.iter().any(|detail| {
            detail.cluster_name == former.cluster_name
                && detail.cluster_kind == former.cluster_kind
                && detail.member_uid == former.member_uid
        });
        if !known {
            all.push(BackupDetail {
                cluster_name: former.cluster_name,
                cluster_kind: former.cluster_kind,
                member_uid: former.member_uid,
                ..BackupDetail::default()
            });
        }
    }
    all
}

/// Takes the next step in each cluster, at the same time.
async fn look_everywhere(
    ctx: &Arc<Context>,
    backup: &Backup,
    owner: &Owner,
    runs: &Runs,
) -> Vec<Left> {
    let places: Vec<_> = everywhere(backup)
        .into_iter()
        .map(|detail| (place(ctx, owner, &detail), detail))
        .collect();
    let location = location(backup);
    // Of the members that one name has had, one answers at most: no two calls share a cluster.
    let call = |(place, detail): &(Place, BackupDetail)| {
        let Ok(Some(target)) = place else { return None };
        let (ctx, owner, detail) = (Arc::clone(ctx), owner.clone(), detail.clone());
        let (runs, location, target) = (runs.clone(), location.to_owned(), target.clone());
        let purpose = format!("clear {runs:?} of {}", target.member);
        Some(Call::new(target.key.clone(), purpose, async move {
            Answer::Cleared(look(&ctx, &owner, (&target, &detail), &runs, &location).await)
        }))
    };
    let calls = places.iter().filter_map(call).collect();
    let mut answers = calls::answers(ctx, owner, calls).await;
    let left = |(place, detail): (Place, BackupDetail)| {
        let cleared = match place {
            Ok(Some(target)) => match answers.remove(&target.key) {
                Some(Answer::Cleared(cleared)) => cleared,
                _ => Err(deletion::pending(&calls::unanswered(&target.key))),
            },
            Ok(None) => Ok(DONE),
            Err(problem) => Err(problem),
        };
        let (problem, again) = match cleared {
            Ok(cleared) => (cleared.waits_for, cleared.again),
            Err(problem) => (Some(problem), ctx.timings.look_again),
        };
        Left {
            detail,
            problem,
            let_go: false,
            again,
        }
    };
    places.into_iter().map(left).collect()
}

/// Where the Schedule of an entry is to be looked for: one where no run has begun has it all the same.
fn place(ctx: &Context, owner: &Owner, detail: &BackupDetail) -> Place {
    let mut named = detail.clone();
    named.backup_name_in_cluster = Some("the Schedule".to_owned());
    deletion::place(ctx, owner, &named)
}

/// Takes the next step in one cluster.
async fn look(
    ctx: &Context,
    owner: &Owner,
    (target, detail): (&Target, &BackupDetail),
    runs: &Runs,
    location: &str,
) -> Result<Cleared, Problem> {
    let (key, member) = (&target.key, &target.member);
    let stopped = apply::stop(ctx, owner, key, member).await;
    let stopped = stopped.map_err(|problem| deletion::pending(&problem))?;
    let waits = |why: String| Cleared {
        waits_for: Some(Problem::new(reason::DELETION_PENDING, why)),
        again: ctx.timings.look_again,
    };
    if stopped.schedules {
        return Ok(waits("the Velero Schedule is going away".to_owned()));
    }
    match runs {
        Runs::Stay => Ok(DONE),
        Runs::Held(reader) => Ok(waits(format!(
            "{reader} still reads this Backup: wait for it or delete it"
        ))),
        Runs::Go => clear_runs(ctx, owner, detail, (key, member), location).await,
    }
}

async fn clear_runs(
    ctx: &Context,
    owner: &Owner,
    detail: &BackupDetail,
    place: (&ClusterKey, &MemberId),
    location: &str,
) -> Result<Cleared, Problem> {
    let known = names(detail);
    let steps = member::look_at_all(ctx, owner, place, known, location).await;
    let steps = steps.map_err(|error| deletion::pending(&Problem::from(&error)))?;
    Ok(all_of(steps, ctx.timings.look_again))
}

/// The runs that the status knows, be they there or not.
fn names(detail: &BackupDetail) -> Vec<String> {
    let older = detail.runs.iter().map(|run| run.name.clone());
    let newest = detail.backup_name_in_cluster.clone();
    newest.into_iter().chain(older).collect()
}

/// What all steps together leave to wait for: a failure is told first.
fn all_of(steps: Vec<(String, Step)>, look_again: Duration) -> Cleared {
    let count = steps.len();
    let mut again = look_again;
    let mut told: Option<Problem> = None;
    for (name, step) in steps {
        let (problem, wait) = left_by(Ok(step), look_again);
        again = again.min(wait);
        let Some(problem) = problem else { continue };
        let worse = problem.reason == reason::DELETION_FAILED;
        if told.is_none() || worse {
            let text = format!("{count} runs are left; {name}: {}", problem.message);
            told = Some(Problem::new(problem.reason, text));
        }
        if worse {
            break;
        }
    }
    Cleared {
        waits_for: told,
        again,
    }
}

#[cfg(test)]
mod tests {
    use api_types::backup::{BackupRun, FormerCluster};

    use super::*;
    use crate::schedule::fixtures::{backup, placed};

    #[test]
    fn clusters_that_left_are_cleared_too_and_each_once() {
        let mut backup = backup();
        let status = backup.status.get_or_insert_default();
        status.backup_details = vec![placed().stored];
        let former = |name: &str, uid: &str| FormerCluster {
            cluster_name: name.to_owned(),
            cluster_kind: "AttachedCluster".to_owned(),
            member_uid: Some(uid.to_owned()),
            storage: None,
        };
        status.former_clusters = vec![
            former("bergen", "u"),
            former("oslo", crate::backup::fixtures::MEMBER_UID),
        ];
        let all = everywhere(&backup);
        let names: Vec<&str> = all
            .iter()
            .map(|detail| detail.cluster_name.as_str())
            .collect();
        assert_eq!(names, ["oslo", "bergen"]);
    }

    #[test]
    fn every_run_of_the_status_must_be_gone() {
        let mut detail = placed().stored;
        assert_eq!(names(&detail), Vec::<String>::new());
        detail.backup_name_in_cluster = Some("new".to_owned());
        detail.runs = vec![BackupRun {
            name: "old".to_owned(),
            ..BackupRun::default()
        }];
        assert_eq!(names(&detail), ["new", "old"]);
    }

    #[test]
    fn a_failed_deletion_of_one_run_is_told_before_those_that_go_on() {
        let look_again = Duration::from_secs(10);
        let wait = |seconds| Step::Wait {
            why: "Velero is deleting the backup".to_owned(),
            again: Duration::from_secs(seconds),
        };
        assert!(all_of(Vec::new(), look_again).waits_for.is_none());
        let going = all_of(
            vec![("a".to_owned(), wait(300)), ("b".to_owned(), wait(3))],
            look_again,
        );
        assert_eq!(going.again, Duration::from_secs(3));
        assert!(
            going
                .waits_for
                .unwrap()
                .message
                .starts_with("2 runs are left; a:")
        );
        let failed = Step::Failed {
            why: "bucket is read-only".to_owned(),
            again: Duration::from_secs(20),
        };
        let steps = vec![("a".to_owned(), wait(300)), ("b".to_owned(), failed)];
        let told = all_of(steps, look_again).waits_for.unwrap();
        assert_eq!(told.reason, "DeletionFailed");
        assert!(told.message.contains("b: bucket is read-only"), "{told:?}");
    }
}
