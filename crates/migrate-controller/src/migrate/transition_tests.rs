//! The source in every state with every observation. The tables are what the function says, read line
//! by line: nothing claimed, claimed, its object seen, ended.

use api_types::common::StoragePlace;

use super::super::fixtures::{backup, place, problem, source, terms};
use super::super::matrix::{cancelled, late, members, observations, same, sources, table, word};
use super::*;

fn said_of_sources(terms: &Terms) -> String {
    let mut rows = Vec::new();
    for (name, seen) in observations(backup) {
        let cell = |state: Source| {
            let source = Source {
                seen: seen.clone(),
                ..state
            };
            word(&step(&source, &[], terms).source)
        };
        let cells = sources().map(cell);
        rows.push([vec![name.to_owned()], cells.to_vec()].concat());
    }
    table(rows)
}

#[test]
fn a_source_in_every_state_with_every_observation() {
    let plain = "
        unknown | claim | hold | hold | final
        not shown | claim | create | confirm | final
        waiting | claim | follow | follow | final
        running | claim | follow | follow | final
        completed | claim | follow | follow | final
        partial | claim | follow | follow | final
        failed | claim | follow | follow | final
        absent | claim | create | fail:ObjectDisappeared | final
        taken | claim | rename | fail:ObjectDisappeared | final
        lost | claim | retry:Unreachable | retry:Unreachable | final
        no answer | claim | retry:Unreachable | retry:Unreachable | final
        no name | fail:NameTaken | fail:NameTaken | fail:NameTaken | final";
    same("plain", &said_of_sources(&terms()), plain);
    for (terms, why) in [(late(), "DeadlineExceeded"), (cancelled(), "Cancelled")] {
        let stopped = "
            unknown | fail:# | hold | hold | final
            not shown | fail:# | confirm | confirm | final
            waiting | fail:# | follow | follow | final
            running | fail:# | follow | follow | final
            completed | fail:# | follow | follow | final
            partial | fail:# | follow | follow | final
            failed | fail:# | follow | follow | final
            absent | fail:# | fail:# | fail:ObjectDisappeared | final
            taken | fail:# | fail:# | fail:ObjectDisappeared | final
            lost | fail:# | fail:# | fail:# | final
            no answer | fail:# | retry:Unreachable | retry:Unreachable | final
            no name | fail:NameTaken | fail:NameTaken | fail:NameTaken | final"
            .replace('#', why);
        same(why, &said_of_sources(&terms), &stopped);
    }
}

#[test]
fn a_source_whose_member_is_in_trouble() {
    let mut rows = Vec::new();
    for (name, spoil) in members() {
        for (shown, seen) in [
            ("not shown", Seen::NotShown),
            ("running", Seen::Present(backup("InProgress"))),
            ("completed", Seen::Present(backup("Completed"))),
        ] {
            let cells = sources().map(|mut state| {
                spoil(&mut state.member);
                state.seen = seen.clone();
                word(&step(&state, &[], &terms()).source)
            });
            rows.push([vec![name.to_owned(), shown.to_owned()], cells.to_vec()].concat());
        }
    }
    let expected = "
        down | not shown | wait:Unreachable | hold | hold | final
        down | running | wait:Unreachable | follow | follow | final
        down | completed | wait:Unreachable | follow | follow | final
        replaced | not shown | claim | fail:MemberReplaced | fail:MemberReplaced | final
        replaced | running | claim | fail:MemberReplaced | fail:MemberReplaced | final
        replaced | completed | claim | fail:MemberReplaced | fail:MemberReplaced | final
        no velero | not shown | wait:VeleroNotInstalled | wait:VeleroNotInstalled | wait:VeleroNotInstalled | final
        no velero | running | wait:VeleroNotInstalled | wait:VeleroNotInstalled | wait:VeleroNotInstalled | final
        no velero | completed | wait:VeleroNotInstalled | follow | follow | final
        first look | not shown | wait:WaitingForClusters | wait:WaitingForClusters | confirm | final
        first look | running | wait:WaitingForClusters | follow | follow | final
        first look | completed | wait:WaitingForClusters | follow | follow | final
        no cluster | not shown | wait:ClusterNotFound | create | confirm | final
        no cluster | running | wait:ClusterNotFound | follow | follow | final
        no cluster | completed | wait:ClusterNotFound | follow | follow | final";
    same("members", &table(rows), expected);
}

#[test]
fn a_name_whose_folder_is_in_the_bucket_is_given_up_for_the_next() {
    let [_, mut claimed, ..] = sources();
    let mut object = velero::Backup::clone(&backup("Failed"));
    object.status["failureReason"] = "backup already exists in object storage".into();
    claimed.seen = Seen::Present(Arc::new(object));
    assert_eq!(word(&step(&claimed, &[], &terms()).source), "rename");
    assert_eq!(
        word(&step(&claimed, &[], &cancelled()).source),
        "fail:Cancelled"
    );
}

#[test]
fn a_source_waits_for_its_location_its_targets_and_the_survey() {
    let mut without_location = source();
    without_location.location = Err(problem("StorageLocationUnavailable"));
    let no_targets = Terms {
        no_targets: Some(problem("NoClusters")),
        ..terms()
    };
    let not_surveyed = Terms {
        surveyed: false,
        ..terms()
    };
    let of = |source: &Source, terms: &Terms| word(&step(source, &[], terms).source);
    assert_eq!(
        of(&without_location, &terms()),
        "wait:StorageLocationUnavailable"
    );
    assert_eq!(of(&source(), &no_targets), "wait:NoClusters");
    assert_eq!(of(&source(), &not_surveyed), "survey");
    assert_eq!(
        of(&without_location, &not_surveyed),
        "wait:StorageLocationUnavailable"
    );
    let [_, mut claimed, ..] = sources();
    claimed.location = Err(problem("StorageLocationUnavailable"));
    assert_eq!(of(&claimed, &terms()), "wait:StorageLocationUnavailable");
    // Past the deadline the last cause is quoted.
    let Next::Fail(late) = step(&without_location, &[], &late()).source else {
        panic!("it is late");
    };
    assert!(
        late.message
            .contains("the matter is StorageLocationUnavailable"),
        "{late:?}"
    );
}

#[test]
fn a_location_that_moves_before_the_backup_is_made_is_written_down_anew() {
    let [new, mut claimed, mut seen, _] = sources();
    let of = |source: &Source| word(&step(source, &[], &terms()).source);
    for source in [&mut claimed, &mut seen] {
        source.location = Ok(StoragePlace {
            prefix: "elsewhere".to_owned(),
            ..place()
        });
    }
    assert_eq!(of(&new), "claim");
    assert_eq!(of(&claimed), "move");
    claimed.seen = Seen::Absent;
    assert_eq!(of(&claimed), "move");
    claimed.seen = Seen::Present(backup("InProgress"));
    assert_eq!(of(&claimed), "follow");
    assert_eq!(of(&seen), "confirm", "it lies where it was made");
    claimed.seen = Seen::NotShown;
    claimed.stored.storage = claimed.location.clone().ok();
    assert_eq!(of(&claimed), "create");
    claimed.stored.storage = Some(StoragePlace {
        prefix: "/elsewhere/".to_owned(),
        ..place()
    });
    assert_eq!(of(&claimed), "create", "the same, written otherwise");
}
