//! Every state of the source and of a target, and all that may be observed of them, for the tables of
//! the transition function.

use std::sync::Arc;

use api_types::backup::VeleroBackupStatus;
use api_types::external::velero;
use api_types::phase::EntryPhase;
use api_types::restore::VeleroRestoreStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::detail::{choose, claim_source, claim_target};
use super::facts::{Link, Member, Seen, Source, Target, Terms};
use super::fixtures::{
    BACKUP, REFUSED_EARLY, RESTORE, at, backup, down, place, problem, refused, source, target,
    terms, uid_of,
};
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

/// The values of one combination, and what comes next for it: while new things may begin, and once they
/// may not.
pub(super) type Said = (Vec<&'static str>, [String; 2]);

/// Holds a table against what is said of every combination. Its first line names the columns. Each other
/// line is about all combinations of the values that it names, `any` or `any but` some; each combination
/// must have exactly one line.
pub(super) fn tells_all(table: &str, said: &[Said]) {
    let line = |line| str::split(line, '|').map(str::trim).collect();
    let lines: Vec<Vec<&str>> = table.trim().lines().map(line).collect();
    let (header, rows) = lines.split_first().unwrap();
    let columns = header.len() - 2;
    for row in rows {
        assert_eq!(row.len(), columns + 2, "{row:?}");
        for (at, cell) in row[..columns].iter().enumerate() {
            let unknown = names(cell).find(|name| said.iter().all(|(of, _)| of[at] != *name));
            assert_eq!(unknown, None, "{row:?}");
        }
    }
    let is_about = |row: &[&str], values: &[&str]| {
        let mut pairs = row.iter().zip(values);
        pairs.all(|(cell, value)| names(cell).any(|name| name == *value) != cell.starts_with("any"))
    };
    let mut wrong = Vec::new();
    for (values, told) in said {
        assert_eq!(values.len(), columns, "{values:?}");
        let about = rows.iter().map(|row| row.split_at(columns));
        let about = about.filter(|(row, _)| is_about(row, values));
        let expected: Vec<_> = about.map(|(_, outcome)| outcome).collect();
        if expected != [told] {
            wrong.push(format!(
                "{values:?}: {told:?}, and in the table {expected:?}"
            ));
        }
    }
    let first = wrong.iter().take(20).collect::<Vec<_>>();
    assert!(first.is_empty(), "{} are wrong: {first:#?}", wrong.len());
}

/// The values that a cell names.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    let listed = cell.strip_prefix("any but ").unwrap_or(cell);
    listed.split(", ").filter(|name| *name != "any")
}

/// What is said under these terms, and when it is late or cancelled: `#` is which of the two.
pub(super) fn in_all_terms(terms: &Terms, say: impl Fn(&Terms) -> String) -> [String; 2] {
    let stopped = |cancel, now, why: &str| {
        let terms = Terms {
            cancel,
            now,
            ..terms.clone()
        };
        say(&terms).replace(why, "#")
    };
    let late = stopped(false, at(3600), "DeadlineExceeded");
    assert_eq!(late, stopped(true, at(60), "Cancelled"));
    assert_eq!(late, stopped(true, at(3600), "Cancelled"));
    [say(terms), late]
}

/// The phase that an entry has then: only an end and what Velero says change it.
pub(super) fn phase_after<O>(
    next: &Next<O>,
    velero: fn(&O) -> &str,
    before: EntryPhase,
) -> EntryPhase {
    match next {
        Next::Fail(_) => EntryPhase::Failed,
        Next::Follow(object) => match velero(object) {
            "New" if before == EntryPhase::Pending => EntryPhase::Pending,
            "Completed" => EntryPhase::Completed,
            "PartiallyFailed" => EntryPhase::PartiallyFailed,
            "Failed" => EntryPhase::Failed,
            _ => EntryPhase::InProgress,
        },
        _ => before,
    }
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

/// Velero refused it for what it had not seen yet, and another one may be tried.
pub(super) const REFUSED_LONG: &str = "refused long ago";

pub(super) fn observations<O>(present: impl Fn(&str) -> Arc<O>) -> Vec<(&'static str, Seen<O>)> {
    vec![
        ("unknown", Seen::Unknown),
        ("not shown", Seen::NotShown),
        ("waiting", Seen::Present(present("New"))),
        ("running", Seen::Present(present("InProgress"))),
        ("completed", Seen::Present(present("Completed"))),
        ("partial", Seen::Present(present("PartiallyFailed"))),
        ("failed", Seen::Present(present("Failed"))),
        ("refused", Seen::Present(present(REFUSED_EARLY))),
        (REFUSED_LONG, Seen::Present(present(REFUSED_EARLY))),
        ("absent", Seen::Absent),
        ("taken", Seen::Taken),
        ("lost", Seen::Lost),
        ("no answer", Seen::Failed(problem("Unreachable"))),
        ("no name", Seen::NoName(problem("NameTaken"))),
    ]
}

/// All that may be observed of a source.
pub(super) fn backups() -> Vec<(&'static str, Seen<velero::Backup>)> {
    let mut all = observations(backup);
    all.push(("in bucket", Seen::Present(refused())));
    all
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

/// A member in every trouble, and in none.
pub(super) fn all_members() -> Vec<(&'static str, Spoil)> {
    let mut all = members();
    all.push(("well", Box::new(|_| ())));
    all
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

/// A source whose backup was completed, and is past its ttl.
pub(super) fn expired() -> Source {
    let mut expired = source_in(EntryPhase::Completed, true);
    let status = expired
        .stored
        .backup_status_in_cluster
        .get_or_insert_default();
    status.expiration = Some(Time(at(60)));
    expired
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

/// Its Restore has ended, and what that says of its errors is awaited.
pub(super) fn awaited() -> Target {
    let [_, _, _, mut awaited, _] = targets();
    let status = awaited
        .stored
        .restore_status_in_cluster
        .get_or_insert_default();
    status.phase = Some("PartiallyFailed".to_owned());
    awaited
}

pub(super) fn of_target(source: &Source, target: Target, terms: &Terms) -> String {
    word(&step(source, &[target], terms).targets[0])
}
