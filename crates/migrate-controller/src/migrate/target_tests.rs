//! A target in every state with every observation: nothing claimed, claimed, its backup written down,
//! its object seen, ended.

use api_types::migrate::PartialFailure;
use api_types::phase::EntryPhase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::facts::Results;
use super::super::fixtures::{
    BACKUP, RESTORE, at, backup, down, problem, restore, source, target, terms,
};
use super::super::matrix::{
    cancelled, gates, late, members, observations, of_target, same, source_in, table, targets, word,
};
use super::*;

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
    assert_eq!(problem.reason, "InvalidSpec");
    assert!(problem.message.contains("map shop"), "{problem:?}");
    assert_ne!(word(&of(&unmoved, target("bergen"))), "fail");
}

#[test]
fn a_target_without_a_restore_for_every_state_of_the_source() {
    let readables = [
        ("not asked", Readable::NotAsked),
        ("no", Readable::No(problem("BackupNotSynced"))),
        ("yes", Readable::Yes),
    ];
    let said = |terms: &Terms| {
        let mut rows = Vec::new();
        for (gate, source) in gates() {
            for (name, readable) in &readables {
                let [new, claimed, chosen, ..] = targets();
                let cells = [new, claimed, chosen].map(|mut target| {
                    target.readable = readable.clone();
                    of_target(&source, target, terms)
                });
                rows.push([vec![gate.to_owned(), (*name).to_owned()], cells.to_vec()].concat());
            }
        }
        table(rows)
    };
    let plain = "
        shut | not asked | wait:SourceNotReady | wait:SourceNotReady | hold
        shut | no | wait:SourceNotReady | wait:SourceNotReady | hold
        shut | yes | wait:SourceNotReady | wait:SourceNotReady | hold
        coming | not asked | claim | prepare | hold
        coming | no | claim | prepare | hold
        coming | yes | claim | prepare | hold
        open | not asked | claim | transfer | transfer
        open | no | claim | look:BackupNotSynced | look:BackupNotSynced
        open | yes | claim | choose | create
        lost | not asked | fail:SourceBackupFailed | fail:SourceBackupFailed | confirm
        lost | no | fail:SourceBackupFailed | fail:SourceBackupFailed | confirm
        lost | yes | fail:SourceBackupFailed | fail:SourceBackupFailed | confirm";
    same("plain", &said(&terms()), plain);
    for (terms, why) in [(late(), "DeadlineExceeded"), (cancelled(), "Cancelled")] {
        let mut rows = Vec::new();
        for gate in ["shut", "coming", "open", "lost"] {
            let end = match gate {
                "lost" => "SourceBackupFailed",
                _ => why,
            };
            for (name, _) in &readables {
                rows.push(format!(
                    "{gate} | {name} | fail:{end} | fail:{end} | confirm"
                ));
            }
        }
        same(why, &said(&terms), &rows.join("\n"));
    }
}

#[test]
fn a_target_whose_backup_is_written_down_with_every_observation() {
    let [.., (_, open), _] = gates();
    let said = |terms: &Terms| {
        let mut rows = Vec::new();
        for (name, seen) in observations(|phase| restore(RESTORE, phase)) {
            let [_, _, chosen, known, done] = targets();
            let cells = [chosen, known, done].map(|mut target| {
                target.seen = seen.clone();
                target.readable = Readable::Yes;
                of_target(&open, target, terms)
            });
            rows.push([vec![name.to_owned()], cells.to_vec()].concat());
        }
        table(rows)
    };
    let plain = "
        unknown | hold | hold | final
        not shown | create | confirm | final
        waiting | follow | follow | final
        running | follow | follow | final
        completed | follow | follow | final
        partial | follow | follow | final
        failed | follow | follow | final
        absent | create | fail:ObjectDisappeared | final
        taken | rename | fail:ObjectDisappeared | final
        lost | retry:Unreachable | retry:Unreachable | final
        no answer | retry:Unreachable | retry:Unreachable | final
        no name | fail:NameTaken | fail:NameTaken | final";
    same("plain", &said(&terms()), plain);
    for (terms, why) in [(late(), "DeadlineExceeded"), (cancelled(), "Cancelled")] {
        let stopped = "
            unknown | hold | hold | final
            not shown | confirm | confirm | final
            waiting | follow | follow | final
            running | follow | follow | final
            completed | follow | follow | final
            partial | follow | follow | final
            failed | follow | follow | final
            absent | fail:# | fail:ObjectDisappeared | final
            taken | fail:# | fail:ObjectDisappeared | final
            lost | fail:# | fail:# | final
            no answer | retry:Unreachable | retry:Unreachable | final
            no name | fail:NameTaken | fail:NameTaken | final"
            .replace('#', why);
        same(why, &said(&terms), &stopped);
    }
}

#[test]
fn a_target_whose_member_is_in_trouble() {
    let [.., (_, open), _] = gates();
    let mut rows = Vec::new();
    for (name, spoil) in members() {
        let cells = targets().map(|mut target| {
            spoil(&mut target.member);
            target.readable = Readable::Yes;
            of_target(&open, target, &terms())
        });
        rows.push([vec![name.to_owned()], cells.to_vec()].concat());
    }
    let expected = "
        down | wait:Unreachable | wait:Unreachable | hold | hold | final
        replaced | claim | fail:MemberReplaced | fail:MemberReplaced | fail:MemberReplaced | final
        no velero | wait:VeleroNotInstalled | wait:VeleroNotInstalled | wait:VeleroNotInstalled | wait:VeleroNotInstalled | final
        first look | wait:WaitingForClusters | wait:WaitingForClusters | create | confirm | final
        no cluster | wait:ClusterNotFound | wait:ClusterNotFound | create | confirm | final";
    same("members", &table(rows), expected);
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

/// Nothing that may be asked of a target makes one more Restore of what is not there any more.
#[test]
fn a_backup_that_is_past_its_ttl_or_not_to_be_restored_ends_who_has_no_restore() {
    let [.., (_, mut open), _] = gates();
    let status = open.stored.backup_status_in_cluster.get_or_insert_default();
    status.expiration = Some(Time(at(90)));
    let at_time = |second: i64| Terms {
        now: at(second),
        ..terms()
    };
    let of = |number: usize, seen: Seen<_>, readable: Readable, now: i64| {
        let mut target = targets()[number].clone();
        (target.seen, target.readable) = (seen, readable);
        of_target(&open, target, &at_time(now))
    };
    let present = || Seen::Present(restore(RESTORE, "InProgress"));
    for (readable, now, why) in [
        (Readable::Yes, 90, "BackupExpired"),
        (Readable::No(problem("BackupExpired")), 60, "BackupExpired"),
        (
            Readable::No(problem("BackupNotRestorable")),
            60,
            "BackupNotRestorable",
        ),
    ] {
        let of = |number, seen| of(number, seen, readable.clone(), now);
        for number in [0, 1] {
            assert_eq!(of(number, Seen::NotShown), format!("fail:{why}"));
        }
        assert_eq!(of(2, Seen::NotShown), "confirm");
        assert_eq!(of(2, Seen::Absent), format!("fail:{why}"));
        assert_eq!(of(2, Seen::Unknown), "hold");
        assert_eq!(of(2, present()), "follow");
        assert_eq!(of(3, present()), "follow");
        assert_eq!(of(4, present()), "final");
    }
    assert_eq!(of(1, Seen::NotShown, Readable::Yes, 89), "choose");
    assert_eq!(of(2, Seen::NotShown, Readable::Yes, 89), "create");
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
