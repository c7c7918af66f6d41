//! A target: in every state, in every situation, with every observation. The tables are what the function
//! says, read line by line.

use api_types::migrate::PartialFailure;
use api_types::phase::EntryPhase;

use super::super::facts::{Link, Results};
use super::super::fixtures::{
    BACKUP, RESTORE, at, backup, down, problem, restore, source, target, terms,
};
use super::super::look::claimed_source;
use super::super::matrix::{
    REFUSED_LONG, Said, all_members, awaited, cancelled, expired, gates, in_all_terms, late,
    members, observations, of_target, phase_after, source_in, targets, tells_all, word,
};
use super::*;

/// A target in this state for every state of the source, in every trouble of its member, with every
/// observation and whatever is known of its copy of the backup.
fn said_of(state: &Target) -> Vec<Said> {
    let readables = [
        ("not asked", Readable::NotAsked),
        ("no", Readable::No(problem("BackupNotSynced"))),
        ("never", Readable::No(problem("BackupNotRestorable"))),
        ("yes", Readable::Yes),
    ];
    let mut said = Vec::new();
    for (gate, source) in gates().into_iter().chain([("expired", expired())]) {
        for (trouble, spoil) in all_members() {
            for (seen_as, seen) in observations(|phase| restore(RESTORE, phase)) {
                for (copy, readable) in &readables {
                    let mut target = state.clone();
                    (target.seen, target.readable) = (seen.clone(), readable.clone());
                    target.rested = seen_as == REFUSED_LONG;
                    spoil(&mut target.member);
                    let next = in_all_terms(&terms(), |terms| next_of(&source, &target, terms));
                    said.push((vec![gate, trouble, seen_as, *copy], next));
                }
            }
        }
    }
    assert_eq!(said.len(), 5 * 6 * 14 * 4);
    said
}

/// What comes next, held against what the entry says.
fn next_of(source: &Source, target: &Target, terms: &Terms) -> String {
    let step = step(source, std::slice::from_ref(target), terms);
    let next = &step.targets[0];
    let phase = phase_after(next, velero::Restore::phase, target.stored.phase);
    assert_eq!(step.target_details[0].phase, phase, "{next:?}");
    word(next)
}

#[test]
fn a_target_that_is_not_claimed_in_every_situation_with_every_observation() {
    let [new, ..] = targets();
    let table = "
        source | member | seen | readable | next | late or cancelled
        any | any | no name | any | fail:NameTaken | fail:NameTaken
        lost | any | any but no name | any | fail:SourceBackupFailed | fail:SourceBackupFailed
        expired | any | any but no name | any but never | fail:BackupExpired | fail:BackupExpired
        coming, open, expired | any | any but no name | never | fail:BackupNotRestorable | fail:BackupNotRestorable
        shut | any | any but no name | never | fail:BackupNotRestorable | fail:#
        shut, coming, open | down | any but no name | any but never | wait:Unreachable | fail:#
        shut, coming, open | no velero | any but no name | any but never | wait:VeleroNotInstalled | fail:#
        shut, coming, open | first look | any but no name | any but never | wait:WaitingForClusters | fail:#
        shut, coming, open | no cluster | any but no name | any but never | wait:ClusterNotFound | fail:#
        shut | well, replaced | any but no name | any but never | wait:SourceNotReady | fail:#
        coming, open | well, replaced | any but no name | any but never | claim | fail:#";
    tells_all(table, &said_of(&new));
}

#[test]
fn a_target_that_is_claimed_in_every_situation_with_every_observation() {
    let [_, claimed, ..] = targets();
    let table = "
        source | member | seen | readable | next | late or cancelled
        any | any | no name | any | fail:NameTaken | fail:NameTaken
        any | replaced | any but no name | any | fail:MemberReplaced | fail:MemberReplaced
        lost | any but replaced | any but no name | any | fail:SourceBackupFailed | fail:SourceBackupFailed
        expired | any but replaced | any but no name | any but never | fail:BackupExpired | fail:BackupExpired
        coming, open, expired | any but replaced | any but no name | never | fail:BackupNotRestorable | fail:BackupNotRestorable
        shut | any but replaced | any but no name | never | fail:BackupNotRestorable | fail:#
        shut, coming, open | down | any but no name | any but never | wait:Unreachable | fail:#
        shut, coming, open | no velero | any but no name | any but never | wait:VeleroNotInstalled | fail:#
        shut, coming, open | first look | any but no name | any but never | wait:WaitingForClusters | fail:#
        shut, coming, open | no cluster | any but no name | any but never | wait:ClusterNotFound | fail:#
        shut | well | any but no name | any but never | wait:SourceNotReady | fail:#
        coming | well | any but no name | any but never | prepare | fail:#
        open | well | any but no name | not asked | transfer | fail:#
        open | well | any but no name | no | look:BackupNotSynced | fail:#
        open | well | any but no name | yes | choose | fail:#";
    tells_all(table, &said_of(&claimed));
}

#[test]
fn a_target_whose_backup_is_written_down_in_every_situation_with_every_observation() {
    let [_, _, chosen, ..] = targets();
    let table = "
        source | member | seen | readable | next | late or cancelled
        any | any | no name | any | fail:NameTaken | fail:NameTaken
        any | replaced | any but no name | any | fail:MemberReplaced | fail:MemberReplaced
        any | any but replaced | completed, partial, failed | any | follow | follow
        any | any but replaced, no velero | waiting, running | any | follow | follow
        any | any but replaced | no answer | any | retry:Unreachable | retry:Unreachable
        any | any but replaced, no velero | unknown | any | hold | hold
        any | down | not shown | any | hold | hold
        lost | no velero | unknown, not shown, waiting, running | any | confirm | confirm
        expired | no velero | unknown, not shown, waiting, running | any | confirm | confirm
        shut, coming, open | no velero | unknown, not shown, waiting, running | never | confirm | confirm
        shut, coming, open | no velero | unknown, not shown, waiting, running | any but never | wait:VeleroNotInstalled | confirm
        lost | any but replaced | absent, taken, lost, refused, refused long ago | any | fail:SourceBackupFailed | fail:#
        expired | any but replaced | absent, taken, lost, refused, refused long ago | any but never | fail:BackupExpired | fail:#
        any but lost | any but replaced | absent, taken, lost, refused, refused long ago | never | fail:BackupNotRestorable | fail:#
        shut, coming, open | any but replaced | taken | any but never | rename | fail:#
        shut, coming, open | any but replaced, no velero, down | refused | any but never | retry:StorageLocationUnavailable | fail:#
        shut, coming, open | any but replaced, no velero, down | refused long ago | any but never | rename | fail:#
        shut, coming, open | down | refused, refused long ago | any but never | hold | fail:#
        shut, coming, open | no velero | refused, refused long ago | any but never | wait:VeleroNotInstalled | fail:#
        shut, coming, open | any but replaced | lost | any but never | retry:Unreachable | fail:#
        shut, coming | any but replaced | absent | any but never | hold | fail:#
        open | any but replaced | absent | not asked | transfer | fail:#
        open | any but replaced | absent | no | look:BackupNotSynced | fail:#
        open | any but replaced | absent | yes | create | fail:#
        lost, expired | well, first look, no cluster | not shown | any | confirm | confirm
        shut, coming, open | well, first look, no cluster | not shown | never | confirm | confirm
        shut, coming | well, first look, no cluster | not shown | any but never | hold | confirm
        open | well, first look, no cluster | not shown | not asked | transfer | confirm
        open | well, first look, no cluster | not shown | no | look:BackupNotSynced | confirm
        open | well, first look, no cluster | not shown | yes | create | confirm";
    tells_all(table, &said_of(&chosen));
}

#[test]
fn a_target_whose_restore_was_seen_in_every_situation_with_every_observation() {
    let [_, _, _, seen, _] = targets();
    let table = "
        source | member | seen | readable | next | late or cancelled
        any | any | no name | any | fail:NameTaken | fail:NameTaken
        any | replaced | any but no name | any | fail:MemberReplaced | fail:MemberReplaced
        any | any but replaced | completed, partial, failed | any | follow | follow
        any | any but replaced, no velero | waiting, running | any | follow | follow
        any | any but replaced | absent, taken | any | fail:ObjectDisappeared | fail:ObjectDisappeared
        any | any but replaced | no answer | any | retry:Unreachable | retry:Unreachable
        any | any but replaced, no velero | unknown | any | hold | hold
        any | down | not shown | any | hold | hold
        any | well, first look, no cluster | not shown | any | confirm | confirm
        lost | no velero | unknown, not shown, waiting, running | any | confirm | confirm
        expired | no velero | unknown, not shown, waiting, running | any | confirm | confirm
        shut, coming, open | no velero | unknown, not shown, waiting, running | never | confirm | confirm
        shut, coming, open | no velero | unknown, not shown, waiting, running | any but never | wait:VeleroNotInstalled | confirm
        lost | any but replaced | lost, refused, refused long ago | any | fail:SourceBackupFailed | fail:#
        expired | any but replaced | lost, refused, refused long ago | any but never | fail:BackupExpired | fail:#
        any but lost | any but replaced | lost, refused, refused long ago | never | fail:BackupNotRestorable | fail:#
        shut, coming, open | any but replaced | lost | any but never | retry:Unreachable | fail:#
        shut, coming, open | any but replaced, no velero, down | refused | any but never | retry:StorageLocationUnavailable | fail:#
        shut, coming, open | any but replaced, no velero, down | refused long ago | any but never | rename | fail:#
        shut, coming, open | down | refused, refused long ago | any but never | hold | fail:#
        shut, coming, open | no velero | refused, refused long ago | any but never | wait:VeleroNotInstalled | fail:#";
    tells_all(table, &said_of(&seen));
}

#[test]
fn a_target_whose_restore_has_ended_in_every_situation_with_every_observation() {
    let table = "
        source | member | seen | readable | next | late or cancelled
        any | any | no name | any | fail:NameTaken | fail:NameTaken
        any | any | any but no name | any | follow | follow";
    tells_all(table, &said_of(&awaited()));
    let [.., ended] = targets();
    let table = "
        source | member | seen | readable | next | late or cancelled
        any | any | any | any | final | final";
    tells_all(table, &said_of(&ended));
}

#[test]
fn a_target_that_is_lost_before_its_restore_fails_at_the_deadline_and_after_it_never() {
    let [.., (_, open), _] = gates();
    let of = |number: usize, terms: &Terms| {
        let mut lost = targets()[number].clone();
        lost.member.link = down();
        lost.seen = Seen::Unknown;
        let step = step(&open, &[lost], terms);
        let detail = &step.target_details[0];
        (detail.phase, detail.reason.clone().unwrap_or_default())
    };
    for number in [0, 1] {
        assert_eq!(
            of(number, &terms()),
            (EntryPhase::Pending, "Unreachable".to_owned())
        );
        assert_eq!(
            of(number, &late()),
            (EntryPhase::Failed, "DeadlineExceeded".to_owned())
        );
    }
    // Nobody can say whether the Restore was made.
    assert_eq!(
        of(2, &late()),
        (EntryPhase::Pending, "Unreachable".to_owned())
    );
    assert_eq!(
        of(3, &late()),
        (EntryPhase::InProgress, "Unreachable".to_owned())
    );
}

#[test]
fn a_source_that_is_lost_after_its_backup_is_complete_stops_nobody() {
    let [.., (_, mut open), _] = gates();
    for (_, spoil) in members() {
        spoil(&mut open.member);
        let [_, mut claimed, ..] = targets();
        claimed.readable = Readable::Yes;
        assert_eq!(of_target(&open, claimed, &terms()), "choose");
    }
}

#[test]
fn a_partial_source_opens_the_gate_only_with_continue() {
    let mut partial = source_in(EntryPhase::InProgress, true);
    partial.seen = Seen::Present(backup("PartiallyFailed"));
    let carry_on = Terms {
        partial_failure: PartialFailure::Continue,
        ..terms()
    };
    let [_, mut claimed, ..] = targets();
    claimed.notes.warning = Some(problem("ApiVersionNotServed"));
    let stop = step(&partial, std::slice::from_ref(&claimed), &terms());
    assert_eq!(word(&stop.targets[0]), "fail:SourceBackupPartiallyFailed");
    // What it ends with is not hidden by what else there is to say.
    let told = stop.target_details[0].reason.as_deref();
    assert_eq!(told, Some("SourceBackupPartiallyFailed"));
    let on = step(&partial, &[claimed], &carry_on);
    assert_eq!(word(&on.targets[0]), "transfer");
    let Gate::Open(run) = on.gate else {
        panic!("{:?}", on.gate);
    };
    assert_eq!(
        (run.name.as_str(), run.started, run.partial),
        (BACKUP, Some(at(30)), true)
    );
}

#[test]
fn a_source_that_never_began_takes_its_targets_along_with_its_own_reason() {
    for (terms, why) in [(late(), "DeadlineExceeded"), (cancelled(), "Cancelled")] {
        let [new, claimed, ..] = targets();
        let step = step(&source(), &[new, claimed], &terms);
        let words: Vec<String> = step.targets.iter().map(word).collect();
        assert_eq!(words, [format!("fail:{why}"), format!("fail:{why}")]);
        assert!(matches!(step.gate, Gate::Lost(problem) if problem.reason == why));
    }
}

#[test]
fn a_backup_is_restored_until_its_ttl_is_over() {
    let open = expired();
    let of = |number: usize, second: i64| {
        let mut target = targets()[number].clone();
        target.readable = Readable::Yes;
        let terms = Terms {
            now: at(second),
            ..terms()
        };
        of_target(&open, target, &terms)
    };
    assert_eq!([of(1, 59), of(2, 59)], ["choose", "create"]);
    assert_eq!([of(1, 60), of(2, 60)], ["fail:BackupExpired", "confirm"]);
}

#[test]
fn a_target_that_waits_says_what_would_keep_it_from_reading_and_where_it_goes() {
    let [_, (_, coming), ..] = gates();
    let said = |target: &Target| {
        let step = step(&coming, std::slice::from_ref(target), &terms());
        let detail = step.target_details.into_iter().next().unwrap();
        (
            detail.reason.unwrap(),
            detail.message.unwrap(),
            detail.phase,
        )
    };
    let [_, mut claimed, ..] = targets();
    let plain = (
        "SourceNotReady".to_owned(),
        "waits for the backup of oslo".to_owned(),
        EntryPhase::Pending,
    );
    assert_eq!(said(&claimed), plain);
    claimed.notes.namespaces = Some("creates namespaces shop".to_owned());
    let (_, told, _) = said(&claimed);
    assert_eq!(
        told,
        "waits for the backup of oslo; creates namespaces shop"
    );
    // Another process knows it only from the hub.
    (claimed.stored.reason, claimed.stored.message) = (Some(plain.0), Some(told.clone()));
    claimed.notes.namespaces = None;
    assert_eq!(said(&claimed).1, told);
    claimed.storage = Some(problem("StorageLocationUnavailable"));
    assert_eq!(said(&claimed).0, "StorageLocationUnavailable");
    // It does not stop it: only a look tells whether the backup can be read.
    assert_eq!(of_target(&coming, claimed, &terms()), "prepare");
}

#[test]
fn one_target_has_no_say_in_what_is_done_about_another() {
    let [.., (_, open), _] = gates();
    let mut well = targets()[2].clone();
    well.readable = Readable::Yes;
    let alone = of_target(&open, well.clone(), &terms());
    for (_, spoil) in members() {
        let mut bad = target("turku");
        spoil(&mut bad.member);
        let step = step(&open, &[bad, well.clone()], &terms());
        assert_eq!(word(&step.targets[1]), alone);
    }
}

#[test]
fn a_restore_whose_results_are_awaited_ends_as_it_ended_whatever_becomes_of_it() {
    let [.., (_, open), _] = gates();
    let [_, _, _, mut ended, _] = targets();
    ended.seen = Seen::Present(restore(RESTORE, "PartiallyFailed"));
    ended.results = Results::Awaited;
    let first = step(&open, &[ended.clone()], &terms())
        .target_details
        .remove(0);
    assert_eq!(first.phase, EntryPhase::InProgress);
    ended.stored = first;
    ended.results = Results::Lines(vec!["shop: quota".to_owned()].into());
    for seen in [Seen::Unknown, Seen::NotShown, Seen::Absent] {
        ended.seen = seen;
        let detail = step(&open, &[ended.clone()], &terms())
            .target_details
            .remove(0);
        assert_eq!(detail.phase, EntryPhase::PartiallyFailed);
        assert!(detail.message.unwrap().contains("shop: quota"));
    }
}

#[test]
fn the_source_under_another_name_is_no_target_unless_all_of_it_is_moved() {
    let of = |terms: &Terms, target: Target| step(&source(), &[target], terms).targets.remove(0);
    let mut twin = target("bergen");
    twin.member.link = source().member.link;
    let moved = terms();
    assert_eq!(
        word(&of(&moved, twin.clone())),
        word(&of(&moved, target("bergen")))
    );
    let unmoved = Terms {
        unmoved: Some("map shop in policy.namespaceMapping".to_owned()),
        ..terms()
    };
    let Next::Fail(problem) = of(&unmoved, twin) else {
        panic!("it would be restored onto itself");
    };
    let mut replaced = claimed_source(Seen::Present(backup("Completed")));
    let was = replaced.stored.member_uid.replace("another".to_owned());
    let replaced_by = |uid: &str| {
        let mut other = target("bergen");
        other.member.link = Link::Up {
            member_uid: uid.to_owned(),
        };
        replaced.is_same_cluster(&other.member)
    };
    assert!(replaced_by("another") && !replaced_by(&was.unwrap()));
    assert_eq!(problem.reason, "InvalidSpec");
    assert!(problem.message.contains("map shop"), "{problem:?}");
    let other = target("bergen");
    assert_eq!(word(&of(&unmoved, other.clone())), word(&of(&moved, other)));
}
