//! Every state with every observation, in every trouble of the member and under all terms: what must
//! never be done is not, whatever the tables say.

use api_types::phase::EntryPhase;
use velero_kit::operation::Detail;

use super::super::fixtures::{RESTORE, problem, restore, terms, uid_of};
use super::super::matrix::{
    all_members, backups, cancelled, gates, late, observations, sources, targets,
};
use super::*;

#[test]
fn no_source_is_begun_that_must_not_be() {
    let locations = [None, Some(problem("StorageLocationUnavailable"))];
    let mut looked_at = 0;
    for state in sources() {
        for (seen_as, seen) in backups() {
            for location in &locations {
                for (trouble, spoil) in all_members() {
                    for terms in [terms(), late(), cancelled()] {
                        let mut source = state.clone();
                        source.seen = seen.clone();
                        if let Some(problem) = location {
                            source.location = Err(problem.clone());
                        }
                        spoil(&mut source.member);
                        let what = (seen_as, location, trouble, terms.now);
                        check_source(&source, &terms, &what);
                        looked_at += 1;
                    }
                }
            }
        }
    }
    assert_eq!(looked_at, 4 * 15 * 2 * 6 * 3);
}

fn check_source(source: &Source, terms: &Terms, what: &dyn Debug) {
    let step = step(source, &[], terms);
    let (next, detail, before) = (&step.source, &step.source_detail, &source.stored);
    let stopped = terms.cancel || terms.now >= terms.deadline;
    let known = before.backup_status_in_cluster.is_some();
    if matches!(next, Next::Claim | Next::Create | Next::Survey) {
        let ready = answers(&source.member, &source.seen) && source.location.is_ok();
        assert!(!stopped && ready && !known, "{what:?} {next:?}");
        let claimed = source.claimed().is_some();
        assert_eq!(claimed, matches!(next, Next::Create), "{what:?}");
    }
    stays_as_it_ended(next, (before, detail), what);
    // The gate opens only on what Velero says.
    if matches!(step.gate, Gate::Open(_)) && !before.phase.is_final() {
        let ended = matches!(&source.seen, Seen::Present(object) if object.phase() == "Completed");
        assert!(ended, "{what:?}");
    }
    // Once its object was seen it ends only by what is known of that.
    if known && matches!(source.seen, Seen::Unknown) && !is_replaced(&source.member, "oslo") {
        let same = detail.phase.is_final() == before.phase.is_final();
        assert!(same, "{what:?} {next:?}");
    }
}

fn stays_as_it_ended<O, D>(next: &Next<O>, (before, after): (&D, &D), what: &dyn Debug)
where
    D: Detail + Debug,
{
    let ended = before.phase().is_final();
    assert_eq!(matches!(next, Next::Final), ended, "{what:?}");
    assert!(!ended || before == after, "{what:?} {after:?}");
}

/// Whether a member answers, or has done so in this pass.
fn answers<O>(member: &Member, seen: &Seen<O>) -> bool {
    member.is_up() || matches!(seen, Seen::Absent)
}

fn is_replaced(member: &Member, name: &str) -> bool {
    member.is_replaced(&uid_of(name))
}

#[test]
fn no_target_is_begun_that_must_not_be() {
    let all_terms = [terms(), late(), cancelled()];
    let readables = [
        Readable::NotAsked,
        Readable::No(problem("BackupNotSynced")),
        Readable::No(problem("BackupExpired")),
        Readable::Yes,
    ];
    let mut looked_at = 0;
    for (gate, source) in gates() {
        for state in targets() {
            for (seen_as, seen) in observations(|phase| restore(RESTORE, phase)) {
                for readable in &readables {
                    for (trouble, spoil) in all_members() {
                        for terms in &all_terms {
                            let mut target = state.clone();
                            (target.seen, target.readable) = (seen.clone(), readable.clone());
                            spoil(&mut target.member);
                            let what = (gate, seen_as, readable, trouble, terms.now);
                            check(&source, &target, terms, &what);
                            looked_at += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(looked_at, 4 * 5 * 14 * 4 * 6 * 3);
}

fn check(source: &Source, target: &Target, terms: &Terms, what: &dyn Debug) {
    let step = step(source, std::slice::from_ref(target), terms);
    let (next, detail) = (&step.targets[0], &step.target_details[0]);
    let before = &target.stored;
    let stopped = terms.cancel || terms.now >= terms.deadline;
    let begins = matches!(next, Next::Claim | Next::Choose | Next::Create);
    let ready = !stopped && answers(&target.member, &target.seen);
    assert!(!begins || ready, "{what:?} {next:?}");
    assert!(
        !matches!(next, Next::Claim) || target.claimed().is_none(),
        "{what:?}"
    );
    if matches!(next, Next::Choose | Next::Create) {
        let open = matches!(step.gate, Gate::Open(_));
        assert!(
            open && target.readable == Readable::Yes,
            "{what:?} {next:?}"
        );
        assert_eq!(
            target.has_chosen(),
            matches!(next, Next::Create),
            "{what:?}"
        );
        assert!(
            before.restore_status_in_cluster.is_none(),
            "{what:?} {next:?}"
        );
    }
    stays_as_it_ended(next, (before, detail), what);
    // Who may have a Restore ends only by what is known of it.
    let unknown = matches!(target.seen, Seen::Unknown) && before.member_uid.is_some();
    if target.has_chosen() && unknown && !is_replaced(&target.member, "bergen") {
        assert_eq!(
            detail.phase.is_final(),
            before.phase.is_final(),
            "{what:?} {next:?}"
        );
    }
    if detail.phase == EntryPhase::Completed && !before.phase.is_final() {
        let ended = matches!(&target.seen, Seen::Present(object) if object.phase() == "Completed");
        assert!(ended, "{what:?}");
    }
    let plain = matches!(detail.phase, EntryPhase::Completed | EntryPhase::InProgress);
    assert!(
        plain || detail.reason.is_some() || before.phase.is_final(),
        "{what:?}"
    );
}
