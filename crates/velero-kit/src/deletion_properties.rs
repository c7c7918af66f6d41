//! Whatever is seen, in whatever order: no guess.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::tests::{backup, request, waits};
use super::*;
use crate::fixtures::at;

#[derive(Debug, Clone)]
struct Look {
    backup: Option<(&'static str, u8, bool)>,
    request: Option<(u32, &'static str, bool)>,
    synced: Option<i64>,
    later: i64,
    restarted: bool,
}

const PHASES: [&str; 10] = [
    "",
    "New",
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
        backup in prop::option::of((prop::sample::select(&PHASES[..]), 0..3_u8, prop::bool::weighted(0.1))),
        request in prop::option::of((0..4_u32, prop::sample::select(&["", "New", "InProgress", "Processed"][..]), any::<bool>())),
        synced in prop::option::weighted(0.8, 0..3_i64),
        later in prop::sample::select(&[0_i64, 1, 60, 400][..]),
        restarted in prop::bool::weighted(0.05),
    ) -> Look {
        Look { backup, request, synced, later, restarted }
    }
}

/// What an observer who only follows the looks knows.
#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "what was seen, each for itself"
)]
struct Known {
    backup: bool,
    request_beside_it: bool,
    absent: bool,
    /// What `lastSyncedTime` was since it was found absent, each value that differs from the last.
    syncs: Vec<i64>,
    /// At the first look that found it absent it was set.
    synced_then: bool,
    dropped: Option<u8>,
}

fn check(look: &Look, step: &Step, known: &Known) -> Result<(), TestCaseError> {
    let Some((phase, uid, going)) = look.backup else {
        let acts = matches!(step, Step::Request { .. } | Step::DeletePlainly);
        prop_assert!(!acts, "{:?} without a Backup", step);
        if *step == Step::Done {
            let seen_gone = known.backup && known.request_beside_it && look.request.is_none();
            let mut syncs = known.syncs.clone();
            syncs.extend(look.synced);
            syncs.dedup();
            let synced = known.absent && syncs.len() > 1 + usize::from(known.synced_then);
            prop_assert!(seen_gone || synced);
        }
        return Ok(());
    };
    prop_assert_ne!(step, &Step::Done);
    let done = matches!(phase, "Completed" | "PartiallyFailed" | "Deleting");
    let failed = matches!(phase, "Failed" | "FailedValidation");
    match step {
        Step::Request { .. } => {
            let back = failed && known.dropped.is_some_and(|dropped| dropped != uid);
            prop_assert!(!going && (done || back), "{} requested", phase);
        }
        Step::DeletePlainly => {
            prop_assert!(!going && !done && !is_running(phase), "{} deleted", phase);
        }
        _ => {}
    }
    if is_running(phase) {
        prop_assert!(waits(step));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_order_of_looks_makes_it_guess(looks in prop::collection::vec(any_look(), 1..40)) {
        let (mut memory, mut known, mut now) = (Memory::default(), Known::default(), 0);
        for look in looks {
            if look.restarted {
                (memory, known) = (Memory::default(), Known::default());
            }
            now += look.later;
            let backup = look.backup.map(|(phase, uid, going)| {
                let mut backup = backup(phase);
                backup.metadata.uid = Some(uid.to_string());
                backup.metadata.deletion_timestamp = going
                    .then(|| Time(at(now)));
                backup
            });
            let request = look.request.map(|(number, phase, failed)| {
                request(number, phase, if failed { &["it failed"] } else { &[] })
            });
            let seen = Observed {
                backup: backup.as_ref(),
                request: request.as_ref(),
                last_synced: look.synced.map(at),
            };
            let step = next(&mut memory, seen, at(now));
            check(&look, &step, &known)?;
            if let Some((_, uid, _)) = look.backup {
                known.backup = true;
                known.absent = false;
                known.request_beside_it |= look.request.is_some();
                if step == Step::DeletePlainly {
                    known.dropped = Some(uid);
                }
            } else {
                if !known.absent {
                    (known.absent, known.synced_then) = (true, look.synced.is_some());
                    known.syncs.clear();
                }
                known.syncs.extend(look.synced);
            }
        }
    }

    #[test]
    fn two_syncs_after_the_last_look_always_end_a_deletion_of_what_is_absent(
        looks in prop::collection::vec(any_look(), 0..20),
    ) {
        let mut memory = Memory::default();
        for look in looks {
            let backup = look.backup.map(|(phase, ..)| backup(phase));
            let seen = Observed {
                backup: backup.as_ref(),
                last_synced: look.synced.map(at),
                ..Observed::default()
            };
            next(&mut memory, seen, at(0));
        }
        let synced = |second| Observed { last_synced: Some(at(second)), ..Observed::default() };
        next(&mut memory, synced(100), at(100));
        next(&mut memory, synced(160), at(160));
        prop_assert_eq!(next(&mut memory, synced(220), at(220)), Step::Done);
    }
}
