//! Whatever happens in which order, and wherever a process dies: each step is taken once, in its
//! order, and what is told is true.

use api_types::migrate::PartialFailure;
use api_types::phase::Phase;
use proptest::prelude::*;
use velero_kit::operation::is_settled;

use super::world::{Event, Loss, Pass, Sight, World};

fn any_pass() -> impl Strategy<Value = Pass> {
    let losses = vec![Loss::Nothing, Loss::Nothing, Loss::Answer, Loss::Call];
    let sights = vec![Sight::Clear, Sight::Clear, Sight::Blind, Sight::Late];
    (
        prop_oneof![3 => Just(99_usize), 2 => 0..10_usize],
        prop::sample::select(losses),
        prop::sample::select(sights),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(ends_after, loss, sight, told)| Pass {
            ends_after,
            loss,
            sight,
            told,
        })
}

fn any_event() -> impl Strategy<Value = Event> {
    let ends = prop::sample::select(vec!["Completed", "Completed", "PartiallyFailed", "Failed"]);
    prop_oneof![
        8 => any_pass().prop_map(Event::Pass),
        2 => (0..3_usize).prop_map(Event::Turn),
        1 => (0..30_usize).prop_map(|number| match number {
            0..3 => Event::Replace(number),
            _ => Event::Time(1),
        }),
        5 => (0..3_usize, ends).prop_map(|(number, end)| Event::Velero(number, end)),
        1 => (0..12_usize).prop_map(|number| match number {
            0..3 => Event::Remove(number),
            3 => Event::Cancel,
            4 => Event::Time(3600),
            _ => Event::Time(60),
        }),
        1 => prop_oneof![any::<bool>().prop_map(Event::Readable), Just(Event::Relocate)],
    ]
}

/// How many of its names a member cannot give; of four.
fn any_held() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0_usize), 1 => 1..5_usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn each_step_is_taken_once_and_in_order_whatever_happens_and_it_ends_for_good(
        events in prop::collection::vec(any_event(), 0..60),
        carries_on in any::<bool>(),
        held in [any_held(), any_held(), any_held()],
    ) {
        let partial = if carries_on {
            PartialFailure::Continue
        } else {
            PartialFailure::Stop
        };
        let mut world = World::new(partial, held);
        for event in events {
            world.happen(event)?;
        }
        world.mend();
        for _ in 0..16 {
            world.pass(Pass::WELL)?;
            for number in 0..3 {
                world.go_on(number, "Completed");
            }
        }
        prop_assert!(is_settled(&world.migrate), "{:?}", world.migrate.status);
        // What becomes of the members afterwards is nothing to it.
        for number in 0..3 {
            world.happen(Event::Remove(number))?;
            world.pass(Pass::WELL)?;
            world.happen(Event::Replace(number))?;
            world.pass(Pass::WELL)?;
            world.happen(Event::Turn(number))?;
            world.pass(Pass::WELL)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn names_that_others_have_and_a_location_that_moves_keep_nothing_from_completing(
        held in [0..4_usize, 0..4_usize, 0..4_usize],
        moves in prop::collection::vec(any::<bool>(), 16),
    ) {
        let mut world = World::new(PartialFailure::Stop, held);
        for moves in moves {
            // Written down, but not created.
            world.pass(Pass { ends_after: 2, ..Pass::WELL })?;
            if moves {
                world.happen(Event::Relocate)?;
            }
            world.pass(Pass::WELL)?;
            for number in 0..3 {
                world.go_on(number, "Completed");
            }
        }
        prop_assert_eq!(world.stored().phase, Some(Phase::Completed));
        for (place, held) in world.places.iter().zip([held[0], 0, 0]) {
            prop_assert_eq!(place.made.len(), held + 1);
        }
    }
}

#[test]
fn without_trouble_all_of_it_completes() {
    for order in [[0, 1, 2], [2, 1, 0]] {
        let mut world = World::new(PartialFailure::Stop, [0; 3]);
        for _ in 0..8 {
            world.pass(Pass::WELL).unwrap();
            for number in order {
                world.go_on(number, "Completed");
            }
        }
        assert_eq!(world.stored().phase, Some(Phase::Completed));
        for place in &world.places {
            assert_eq!(place.made.len(), 1);
        }
    }
}
