//! Every state of the source and of a target, and all that may be observed of them, for the tables of
//! the transition function.

use std::sync::Arc;

use api_types::backup::VeleroBackupStatus;
use api_types::phase::EntryPhase;
use api_types::restore::VeleroRestoreStatus;

use super::detail::{choose, claim_source, claim_target};
use super::facts::{Link, Member, Seen, Source, Target, Terms};
use super::fixtures::{BACKUP, RESTORE, at, down, place, problem, source, target, terms, uid_of};
use super::transition::{Next, Run, step};

pub(super) fn word<O>(next: &Next<O>) -> String {
    match next {
        Next::Wait(problem) => format!("wait:{}", problem.reason),
        Next::Look(problem) => format!("look:{}", problem.reason),
        Next::Retry(problem) => format!("retry:{}", problem.reason),
        Next::Fail(problem) => format!("fail:{}", problem.reason),
        Next::Final => "final".to_owned(),
        Next::Survey => "survey".to_owned(),
        Next::Claim => "claim".to_owned(),
        Next::Prepare => "prepare".to_owned(),
        Next::Transfer => "transfer".to_owned(),
        Next::Choose => "choose".to_owned(),
        Next::Move => "move".to_owned(),
        Next::Create => "create".to_owned(),
        Next::Rename => "rename".to_owned(),
        Next::Confirm => "confirm".to_owned(),
        Next::Follow(_) => "follow".to_owned(),
        Next::Hold => "hold".to_owned(),
    }
}

/// Puts rows of words under each other.
pub(super) fn table(rows: Vec<Vec<String>>) -> String {
    let line = |row: Vec<String>| row.join(" | ");
    rows.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn same(what: &str, said: &str, expected: &str) {
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        expected,
        "{what}:\n{said}"
    );
}

pub(super) fn late() -> Terms {
    Terms {
        now: at(3600),
        ..terms()
    }
}

pub(super) fn cancelled() -> Terms {
    Terms {
        cancel: true,
        ..late()
    }
}

/// Nothing claimed; claimed; its object was seen; it has ended.
pub(super) fn sources() -> [Source; 4] {
    let new = source();
    let mut claimed = source();
    claim_source(&mut claimed.stored, &uid_of("oslo"), BACKUP);
    claimed.stored.storage = Some(place());
    let mut seen = claimed.clone();
    seen.stored.backup_status_in_cluster = Some(VeleroBackupStatus::default());
    seen.stored.phase = EntryPhase::InProgress;
    let mut done = seen.clone();
    done.stored.phase = EntryPhase::Completed;
    [new, claimed, seen, done]
}

pub(super) fn observations<O>(present: impl Fn(&str) -> Arc<O>) -> Vec<(&'static str, Seen<O>)> {
    vec![
        ("unknown", Seen::Unknown),
        ("not shown", Seen::NotShown),
        ("waiting", Seen::Present(present("New"))),
        ("running", Seen::Present(present("InProgress"))),
        ("completed", Seen::Present(present("Completed"))),
        ("partial", Seen::Present(present("PartiallyFailed"))),
        ("failed", Seen::Present(present("Failed"))),
        ("absent", Seen::Absent),
        ("taken", Seen::Taken),
        ("lost", Seen::Lost),
        ("no answer", Seen::Failed(problem("Unreachable"))),
        ("no name", Seen::NoName(problem("NameTaken"))),
    ]
}

/// What becomes of a member.
pub(super) type Spoil = Box<dyn Fn(&mut Member)>;

/// A member that is out of reach, another one, without Velero, not looked at yet, not to be used.
pub(super) fn members() -> Vec<(&'static str, Spoil)> {
    vec![
        ("down", Box::new(|member| member.link = down())),
        (
            "replaced",
            Box::new(|member| {
                member.link = Link::Up {
                    member_uid: "another".to_owned(),
                };
            }),
        ),
        (
            "no velero",
            Box::new(|member| member.no_velero = Some(problem("VeleroNotInstalled"))),
        ),
        (
            "first look",
            Box::new(|member| member.no_velero = Some(problem("WaitingForClusters"))),
        ),
        (
            "no cluster",
            Box::new(|member| member.problem = Some(problem("ClusterNotFound"))),
        ),
    ]
}

pub(super) fn source_in(phase: EntryPhase, claimed: bool) -> Source {
    let [new, mut of, ..] = sources();
    if !claimed {
        return new;
    }
    of.stored.phase = phase;
    of.seen = Seen::Unknown;
    of
}

/// A source that has not begun, is awaited, may be restored, and never will be.
pub(super) fn gates() -> [(&'static str, Source); 4] {
    let mut shut = source_in(EntryPhase::Pending, false);
    shut.member.link = down();
    [
        ("shut", shut),
        ("coming", source_in(EntryPhase::InProgress, true)),
        ("open", source_in(EntryPhase::Completed, true)),
        ("lost", source_in(EntryPhase::Failed, true)),
    ]
}

/// Nothing claimed; claimed; its backup written down; its object seen; ended.
pub(super) fn targets() -> [Target; 5] {
    let new = target("bergen");
    let mut claimed = target("bergen");
    claim_target(&mut claimed.stored, &uid_of("bergen"), RESTORE);
    let mut chosen = claimed.clone();
    let run = Run {
        name: BACKUP.to_owned(),
        started: Some(at(30)),
        expires: None,
        partial: false,
    };
    choose(&mut chosen.stored, "oslo", &run);
    let mut seen = chosen.clone();
    seen.stored.restore_status_in_cluster = Some(VeleroRestoreStatus::default());
    seen.stored.phase = EntryPhase::InProgress;
    let mut done = seen.clone();
    done.stored.phase = EntryPhase::PartiallyFailed;
    [new, claimed, chosen, seen, done]
}

pub(super) fn of_target(source: &Source, target: Target, terms: &Terms) -> String {
    word(&step(source, &[target], terms).targets[0])
}
