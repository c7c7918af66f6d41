//! Whatever members show, in whatever order: what was promised holds.

use api_types::aggregate;
use api_types::backup::{BackupDetail, BackupStatus};
use api_types::condition::{self, ConditionStatus, SUCCEEDED, reason};
use api_types::phase::{EntryPhase, Phase};
use proptest::prelude::*;
use serde_json::json;

use super::Problem;
use super::apply::Applied;
use super::fixtures::{
    NAME, at, backup, deadline, down, fresh, location, named_object, up, validated,
};
use super::pass::Row;
use super::plan::{Entry, Link, Next, Served, Terms, answered, plan};
use super::status::{status, succeeded};

/// What is seen of one member in one pass, and what it would answer.
#[derive(Debug, Clone)]
struct Look {
    link: u8,
    velero: Served,
    location: Option<&'static str>,
    synced: bool,
    /// Phase of the object in the watch, and whether Kubernetes is removing it.
    object: Option<(&'static str, bool)>,
    answer: u8,
    problem: bool,
    stuck: bool,
}

const PHASES: [&str; 11] = [
    "",
    "New",
    "Queued",
    "InProgress",
    "FinalizingPartiallyFailed",
    "Completed",
    "PartiallyFailed",
    "Failed",
    "FailedValidation",
    "Deleting",
    "SomethingOf2030",
];

prop_compose! {
    fn any_look()(
        link in 0..6_u8,
        velero in prop::sample::select(vec![Served::Yes, Served::Yes, Served::Unknown, Served::No, Served::Refused]),
        location in prop::option::weighted(0.9, prop::sample::select(vec!["Available", "Available", "", "Unavailable"])),
        synced in prop::bool::weighted(0.8),
        object in prop::option::of((prop::sample::select(&PHASES[..]), prop::bool::weighted(0.1))),
        answer in 0..4_u8,
        problem in prop::bool::weighted(0.1),
        stuck in prop::bool::weighted(0.1),
    ) -> Look {
        Look { link, velero, location, synced, object, answer, problem, stuck }
    }
}

impl Look {
    fn entry(&self, stored: BackupDetail) -> Entry {
        let mut entry = fresh(&stored.cluster_name);
        entry.facts.link = match self.link {
            0 => down(reason::UNREACHABLE, Some(1)),
            1 => down(reason::CREDENTIALS_INVALID, None),
            2 => Link::Up {
                member_uid: "another".to_owned(),
            },
            _ => up(),
        };
        entry.facts.velero = self.velero;
        entry.facts.location = self.location.map(location);
        entry.facts.objects_synced = self.synced;
        let name = stored.backup_name_in_cluster.as_deref().unwrap_or(NAME);
        entry.facts.objects = self
            .object
            .iter()
            .map(|(phase, going)| {
                let mut object = velero(name, phase);
                object.metadata.deletion_timestamp = going.then(|| k8s_time(0));
                std::sync::Arc::new(object)
            })
            .collect();
        entry.problem = self
            .problem
            .then(|| Problem::new(reason::CLUSTER_NOT_IN_FLEET, "not a member"));
        entry.stuck = self
            .stuck
            .then(|| Problem::new(reason::NO_PROGRESS, "nothing moves"));
        entry.stored = stored;
        entry
    }

    fn answer(&self, name: &str) -> Applied {
        match self.answer {
            0 => Applied::Present(Box::new(velero(name, "New"))),
            1 => Applied::Absent,
            2 => Applied::Taken,
            _ => Applied::Failed(Problem::new(reason::UNREACHABLE, "it timed out")),
        }
    }
}

fn k8s_time(second: i64) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second))
}

fn velero(name: &str, phase: &str) -> api_types::external::velero::Backup {
    (*named_object(name, json!({ "phase": phase }))).clone()
}

/// What a pass does with one entry, with the member played by the look.
fn row(look: &Look, stored: BackupDetail, terms: &Terms<'_>) -> Row {
    let mut entry = look.entry(stored);
    let mut next = plan(&entry, terms);
    if let (Next::Claim, Link::Up { member_uid }) = (&next, &entry.facts.link) {
        entry.stored.member_uid = Some(member_uid.clone());
        entry.stored.backup_name_in_cluster = Some(NAME.to_owned());
        next = Next::Create { expired: false };
    }
    if let Next::Create { .. } | Next::Confirm = next {
        let name = entry.claimed_name().unwrap_or_default().to_owned();
        if let Some(after) = answered(&entry, &next, look.answer(&name)) {
            next = after;
        } else {
            entry.stored.backup_name_in_cluster = Some(format!("{name}-x"));
            next = Next::Create { expired: false };
        }
    }
    Row::new(entry, next)
}

fn pass(before: &BackupStatus, looks: &[Look], second: i64) -> BackupStatus {
    let terms = Terms {
        location: "default",
        hold: None,
        deadline: deadline(),
        now: at(second),
    };
    let rows: Vec<Row> = looks
        .iter()
        .enumerate()
        .map(|(n, look)| {
            let name = format!("member-{n}");
            let stored = before.backup_details.get(n).cloned();
            row(look, stored.unwrap_or_else(|| fresh(&name).stored), &terms)
        })
        .collect();
    status(&backup(before.clone()), &rows, &validated(), at(second))
}

fn is_final(status: &BackupStatus) -> bool {
    aggregate::is_final(status.phase, succeeded(status))
}

fn check_step(before: &BackupStatus, after: &BackupStatus) -> Result<(), TestCaseError> {
    if is_final(before) {
        prop_assert_eq!(before, after);
    }
    if let (Some(from), Some(to)) = (before.phase, after.phase) {
        let kind = aggregate::OperationKind::OneTime;
        prop_assert!(
            aggregate::transition_allowed(kind, from, to),
            "{from:?} to {to:?}"
        );
    }
    for (old, new) in before.backup_details.iter().zip(&after.backup_details) {
        if old.phase.is_final() {
            prop_assert_eq!(old, new);
        }
        if old.phase != EntryPhase::Pending {
            prop_assert_ne!(new.phase, EntryPhase::Pending);
        }
        if old.member_uid.is_some() {
            prop_assert_eq!(&old.member_uid, &new.member_uid);
            prop_assert!(new.backup_name_in_cluster.is_some());
        }
    }
    if before.start_time.is_some() {
        prop_assert_eq!(&before.start_time, &after.start_time);
    }
    Ok(())
}

fn check_state(status: &BackupStatus, requested: usize) -> Result<(), TestCaseError> {
    let details = &status.backup_details;
    prop_assert_eq!(details.len(), requested);
    for detail in details {
        prop_assert!(detail.phase != EntryPhase::Pending || detail.reason.is_some());
        prop_assert!(detail.phase != EntryPhase::Failed || detail.reason.is_some());
        prop_assert!(detail.message.as_ref().is_none_or(|text| text.len() <= 256));
        let claimed = detail.member_uid.is_some();
        prop_assert_eq!(claimed, detail.backup_name_in_cluster.is_some());
        prop_assert!(claimed || detail.backup_status_in_cluster.is_none());
        prop_assert!(!claimed || status.start_time.is_some());
        prop_assert!(!detail.phase.is_final() || detail.unreachable_since.is_none());
    }
    let all_completed = details.iter().all(|d| d.phase == EntryPhase::Completed);
    let completed = status.phase == Some(Phase::Completed);
    prop_assert_eq!(completed, requested > 0 && all_completed);
    prop_assert_eq!(succeeded(status), is_final(status).then_some(completed));
    prop_assert_eq!(status.completion_time.is_some(), is_final(status));
    let all_final = details.iter().all(|detail| detail.phase.is_final());
    prop_assert_eq!(is_final(status), all_final && requested > 0);
    let Some(summary) = &status.summary else {
        return Err(TestCaseError::fail("no summary"));
    };
    prop_assert_eq!(usize::try_from(summary.total), Ok(requested));
    let both = condition::is_true(&status.conditions, condition::RECONCILING)
        && condition::is_true(&status.conditions, condition::STALLED);
    prop_assert!(!both);
    let Some(ready) = condition::find(&status.conditions, condition::READY) else {
        return Err(TestCaseError::fail("no condition Ready"));
    };
    prop_assert_eq!(ready.status == ConditionStatus::True, completed);
    prop_assert!(ready.message.len() <= 256);
    Ok(())
}

proptest! {
    #[test]
    fn no_order_of_observations_makes_a_status_lie_or_take_back_an_end(
        (clusters, passes) in (1..4_usize).prop_flat_map(|clusters| {
            let looks = prop::collection::vec(any_look(), clusters);
            (Just(clusters), prop::collection::vec((looks, 0..900_i64), 1..25))
        }),
    ) {
        let (mut before, mut second) = (BackupStatus::default(), 0);
        for (looks, later) in passes {
            second += later;
            let after = pass(&before, &looks, second);
            check_step(&before, &after)?;
            check_state(&after, clusters)?;
            before = after;
        }
    }

    #[test]
    fn a_succeeded_condition_is_written_once(passes in prop::collection::vec(any_look(), 1..30)) {
        let mut before = BackupStatus::default();
        let mut first = None;
        for (n, look) in passes.into_iter().enumerate() {
            before = pass(&before, &[look], i64::try_from(n).unwrap() * 300);
            let now = condition::find(&before.conditions, SUCCEEDED).cloned();
            if first.is_some() {
                prop_assert_eq!(&now, &first);
            }
            first = now;
        }
    }

    #[test]
    fn past_the_deadline_a_reachable_member_always_ends_an_entry_without_an_object(
        passes in prop::collection::vec(any_look(), 0..10),
    ) {
        let mut before = BackupStatus::default();
        for look in passes {
            before = pass(&before, &[look], 0);
        }
        let calm = Look {
            link: 5,
            velero: Served::Yes,
            location: Some("Available"),
            synced: true,
            object: None,
            answer: 1,
            problem: false,
            stuck: false,
        };
        for second in [3600, 3601] {
            before = pass(&before, std::slice::from_ref(&calm), second);
        }
        prop_assert!(is_final(&before), "{:?}", before.backup_details);
    }
}
