//! The source: in every state, in every situation, with every observation. The tables are what the
//! function says, read line by line.

use api_types::common::StoragePlace;
use api_types::phase::EntryPhase;

use super::super::fixtures::{place, problem, source, terms};
use super::super::matrix::{
    REFUSED_LONG, Said, Spoil, all_members, backups, in_all_terms, late, phase_after, sources,
    tells_all, word,
};
use super::*;

/// Something in which a source is.
type Situation = Box<dyn Fn(&mut Source, &mut Terms)>;

/// Every trouble of its member, and whatever else keeps a backup from being made where it is.
fn situations() -> Vec<(&'static str, Situation)> {
    let of_member = |(name, spoil): (_, Spoil)| -> (_, Situation) {
        (name, Box::new(move |source, _| spoil(&mut source.member)))
    };
    let mut all: Vec<_> = all_members().into_iter().map(of_member).collect();
    let others: [(_, Situation); 4] = [
        (
            "no location",
            Box::new(|of, _| of.location = Err(problem("StorageLocationUnavailable"))),
        ),
        ("moved", Box::new(|of, _| of.location = Ok(elsewhere()))),
        (
            "no targets",
            Box::new(|_, terms| terms.no_targets = Some(problem("NoClusters"))),
        ),
        ("not surveyed", Box::new(|_, terms| terms.surveyed = false)),
    ];
    all.extend(others);
    all
}

fn elsewhere() -> StoragePlace {
    StoragePlace {
        prefix: "elsewhere".to_owned(),
        ..place()
    }
}

/// What comes next, held against what the entry says and the targets wait for.
fn next_of(source: &Source, terms: &Terms) -> String {
    let step = step(source, &[], terms);
    let detail = &step.source_detail;
    let phase = phase_after(&step.source, velero::Backup::phase, source.stored.phase);
    assert_eq!(detail.phase, phase, "{:?}", step.source);
    let gate = match &step.gate {
        Gate::Shut => "shut",
        Gate::Coming => "coming",
        Gate::Open(_) => "open",
        Gate::Lost(_) => "lost",
    };
    let expected = match phase {
        EntryPhase::Completed => "open",
        EntryPhase::PartiallyFailed | EntryPhase::Failed => "lost",
        _ if source.claimed().is_some() => "coming",
        _ => "shut",
    };
    assert_eq!(gate, expected, "{:?}", step.source);
    word(&step.source)
}

fn said_of(state: &Source) -> Vec<Said> {
    let mut said = Vec::new();
    for (situation, comes) in situations() {
        for (seen_as, seen) in backups() {
            let (mut source, mut terms) = (state.clone(), terms());
            (source.seen, source.rested) = (seen, seen_as == REFUSED_LONG);
            comes(&mut source, &mut terms);
            let next = in_all_terms(&terms, |terms| next_of(&source, terms));
            said.push((vec![situation, seen_as], next));
        }
    }
    assert_eq!(said.len(), 10 * 15);
    said
}

#[test]
fn a_source_that_is_not_claimed_in_every_situation_with_every_observation() {
    let [new, ..] = sources();
    let table = "
        source                | seen            | next                            | late or cancelled
        any                   | no name         | fail:NameTaken                  | fail:NameTaken
        well, replaced, moved | any but no name | claim                           | fail:#
        not surveyed          | any but no name | survey                          | fail:#
        down                  | any but no name | wait:Unreachable                | fail:#
        no velero             | any but no name | wait:VeleroNotInstalled         | fail:#
        first look            | any but no name | wait:WaitingForClusters         | fail:#
        no cluster            | any but no name | wait:ClusterNotFound            | fail:#
        no location           | any but no name | wait:StorageLocationUnavailable | fail:#
        no targets            | any but no name | wait:NoClusters                 | fail:#";
    tells_all(table, &said_of(&new));
}

#[test]
fn a_source_that_is_claimed_in_every_situation_with_every_observation() {
    let [_, claimed, ..] = sources();
    let table = "
        source | seen | next | late or cancelled
        any | no name | fail:NameTaken | fail:NameTaken
        replaced | any but no name | fail:MemberReplaced | fail:MemberReplaced
        any but replaced | completed, partial, failed | follow | follow
        any but replaced, no velero | waiting, running | follow | follow
        any but replaced | in bucket, taken | rename | fail:#
        any but replaced, no velero, down | refused | retry:StorageLocationUnavailable | fail:#
        any but replaced, no velero, down | refused long ago | rename | fail:#
        down | refused, refused long ago | hold | fail:#
        no velero | refused, refused long ago | wait:VeleroNotInstalled | fail:#
        any but replaced | lost | retry:Unreachable | fail:#
        any but replaced | no answer | retry:Unreachable | retry:Unreachable
        any but replaced, no velero | unknown | hold | hold
        well, no cluster, no targets, not surveyed | not shown | create | confirm
        well, no cluster, no targets, not surveyed, down | absent | create | fail:#
        down | not shown | hold | hold
        moved | not shown | move | confirm
        moved | absent | move | fail:#
        no location | not shown | wait:StorageLocationUnavailable | confirm
        no location | absent | wait:StorageLocationUnavailable | fail:#
        first look | not shown | wait:WaitingForClusters | confirm
        first look | absent | wait:WaitingForClusters | fail:#
        no velero | unknown, not shown, waiting, running | wait:VeleroNotInstalled | confirm
        no velero | absent | wait:VeleroNotInstalled | fail:#";
    tells_all(table, &said_of(&claimed));
}

#[test]
fn a_source_whose_backup_was_seen_or_has_ended_in_every_situation_with_every_observation() {
    let [.., seen, ended] = sources();
    let table = "
        source | seen | next | late or cancelled
        any | no name | fail:NameTaken | fail:NameTaken
        replaced | any but no name | fail:MemberReplaced | fail:MemberReplaced
        any but replaced | completed, partial, failed | follow | follow
        any but replaced, no velero | waiting, running | follow | follow
        any but replaced | in bucket | rename | fail:#
        any but replaced, no velero, down | refused | retry:StorageLocationUnavailable | fail:#
        any but replaced, no velero, down | refused long ago | rename | fail:#
        down | refused, refused long ago | hold | fail:#
        no velero | refused, refused long ago | wait:VeleroNotInstalled | fail:#
        any but replaced | absent, taken | fail:ObjectDisappeared | fail:ObjectDisappeared
        any but replaced | lost | retry:Unreachable | fail:#
        any but replaced | no answer | retry:Unreachable | retry:Unreachable
        any but replaced, no velero | unknown | hold | hold
        any but replaced, no velero, down | not shown | confirm | confirm
        down | not shown | hold | hold
        no velero | unknown, not shown, waiting, running | wait:VeleroNotInstalled | confirm";
    tells_all(table, &said_of(&seen));
    let table = "
        source | seen | next | late or cancelled
        any | any | final | final";
    tells_all(table, &said_of(&ended));
}

#[test]
fn nobody_is_asked_while_there_is_no_location_and_at_the_deadline_that_is_quoted() {
    let mut without_location = source();
    without_location.location = Err(problem("StorageLocationUnavailable"));
    let not_surveyed = Terms {
        surveyed: false,
        ..terms()
    };
    assert_eq!(
        next_of(&without_location, &not_surveyed),
        "wait:StorageLocationUnavailable"
    );
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
fn a_location_that_is_written_otherwise_has_not_moved() {
    let [_, mut claimed, ..] = sources();
    claimed.location = Ok(elsewhere());
    for (prefix, next) in [
        ("production", "move"),
        ("elsewhere", "create"),
        ("/elsewhere/", "create"),
    ] {
        claimed.stored.storage = Some(StoragePlace {
            prefix: prefix.to_owned(),
            ..place()
        });
        assert_eq!(next_of(&claimed, &terms()), next, "{prefix}");
    }
    claimed.stored.storage = None;
    assert_eq!(next_of(&claimed, &terms()), "move");
}
