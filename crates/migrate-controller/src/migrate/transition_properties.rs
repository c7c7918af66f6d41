//! Whatever happens in which order, and wherever a process dies: each step is taken once, in its
//! order, and what is told is true.

use api_types::migrate::PartialFailure;
use api_types::phase::Phase;
use proptest::prelude::*;
use velero_kit::operation::is_settled;

use super::world::{Event, Pass, World};

fn any_event() -> impl Strategy<Value = Event> {
    let ends = prop::sample::select(vec!["Completed", "Completed", "PartiallyFailed", "Failed"]);
    let pass = (
        prop_oneof![3 => Just(99_usize), 2 => 0..6_usize],
        any::<bool>(),
        any::<bool>(),
    );
    let pass = pass.prop_map(|(ends_after, a, b)| Pass {
        ends_after,
        lossy: a && b,
        blind: !a && b,
    });
    prop_oneof![
        8 => pass.prop_map(Event::Pass),
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
        1 => any::<bool>().prop_map(Event::Readable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn each_step_is_taken_once_and_in_order_whatever_happens_and_it_ends(
        events in prop::collection::vec(any_event(), 0..60),
        carries_on in any::<bool>(),
        taken in prop_oneof![4 => Just(0_usize), 1 => 1..6_usize],
    ) {
        let mut world = World::new(if carries_on {
            PartialFailure::Continue
        } else {
            PartialFailure::Stop
        });
        world.places[0].taken = taken;
        for event in events {
            world.happen(event)?;
        }
        // All is well from now on.
        world.readable = true;
        for place in &mut world.places {
            place.down = false;
        }
        for _ in 0..12 {
            world.pass(Pass { ends_after: 99, lossy: false, blind: false })?;
            for number in 0..3 {
                world.go_on(number, "Completed");
            }
        }
        prop_assert!(is_settled(&world.migrate), "{:?}", world.migrate.status);
    }

    #[test]
    fn without_trouble_all_of_it_completes(targets_first in any::<bool>()) {
        let mut world = World::new(PartialFailure::Stop);
        for _ in 0..8 {
            world.pass(Pass { ends_after: 99, lossy: false, blind: false })?;
            for number in if targets_first { [2, 1, 0] } else { [0, 1, 2] } {
                world.go_on(number, "Completed");
            }
        }
        prop_assert_eq!(world.stored().phase, Some(Phase::Completed));
        for place in &world.places {
            prop_assert_eq!(place.created, 1);
        }
    }
}
