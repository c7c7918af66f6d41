//! Whatever happens in which order, and wherever a process dies: each step is taken once, in its
//! order, and what is told is true.

use api_types::aggregate::{OperationKind, transition_allowed};
use api_types::condition::{self, SOURCE_READY};
use api_types::migrate::{Migrate, MigrateStatus, PartialFailure};
use api_types::phase::Phase;
use proptest::prelude::*;

use super::super::build;
use super::super::facts::Link;
use super::super::fixtures::{at, backup, down, member, migrate, restore, source, target, terms};
use super::super::status::{Entries, is_settled, status};
use super::*;

const NAMES: [&str; 3] = ["oslo", "bergen", "turku"];

/// A member and the one object that it is to have.
#[derive(Debug, Clone, Default)]
struct Place {
    down: bool,
    replaced: bool,
    /// Velero's phase of the object, while it is there.
    object: Option<&'static str>,
    created: usize,
}

/// What happens around the passes.
#[derive(Debug, Clone, Copy)]
enum Event {
    Pass(Pass),
    Turn(usize),
    Replace(usize),
    /// Velero goes on, to this if it ends.
    Velero(usize, &'static str),
    /// Somebody removes the object on the member.
    Remove(usize),
    Readable(bool),
    Time(i64),
    Cancel,
}

/// One pass, and how it goes wrong.
#[derive(Debug, Clone, Copy)]
struct Pass {
    /// The process ends after so many writes and rounds of calls.
    ends_after: usize,
    /// The answer to creating something is lost.
    lossy: bool,
    /// The watches have not shown anything yet.
    blind: bool,
}

struct World {
    migrate: Migrate,
    places: [Place; 3],
    readable: bool,
    cancel: bool,
    partial: PartialFailure,
    now: i64,
}

impl World {
    fn new(partial: PartialFailure) -> Self {
        Self {
            migrate: migrate(serde_json::json!({})),
            places: [(); 3].map(|()| Place::default()),
            readable: true,
            cancel: false,
            partial,
            now: 1,
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            cancel: self.cancel,
            now: at(self.now),
            partial_failure: self.partial,
            ..terms()
        }
    }

    fn stored(&self) -> MigrateStatus {
        self.migrate.status.clone().unwrap_or_default()
    }

    fn member(&self, number: usize) -> Member {
        let place = &self.places[number];
        let mut member = member(NAMES[number]);
        if place.down {
            member.link = down();
        } else if place.replaced {
            member.link = Link::Up {
                member_uid: "another".to_owned(),
            };
        }
        member
    }

    fn seen<O>(&self, number: usize, blind: bool, make: impl Fn(&str) -> Arc<O>) -> Seen<O> {
        let place = &self.places[number];
        match place.object {
            _ if blind || place.down => Seen::Unknown,
            Some(phase) => Seen::Present(make(phase)),
            None => Seen::NotShown,
        }
    }

    fn source(&self, blind: bool) -> Source {
        let stored = self.stored().source_cluster_status;
        Source {
            stored: stored.unwrap_or_else(|| source().stored),
            member: self.member(0),
            seen: self.seen(0, blind, backup),
            ..source()
        }
    }

    fn target(&self, number: usize, blind: bool) -> Target {
        let fresh = target(NAMES[number]);
        let stored = self.stored().target_cluster_status;
        let stored = stored.get(number - 1).cloned();
        let name = format!("{}-migrate-team-a-leave-oslo", NAMES[number]);
        Target {
            stored: stored.unwrap_or_else(|| fresh.stored.clone()),
            member: self.member(number),
            seen: self.seen(number, blind, |phase| restore(&name, phase)),
            ..fresh
        }
    }

    /// Writes a status, if it may be written.
    fn write(&mut self, next: MigrateStatus) -> Result<(), TestCaseError> {
        let before = self.stored();
        if let (Some(from), Some(to)) = (before.phase, next.phase) {
            prop_assert!(
                transition_allowed(OperationKind::Migrate, from, to),
                "{from:?} {to:?}"
            );
        }
        if is_settled(&self.migrate) {
            prop_assert_eq!(&before, &next);
        }
        let was_ready = condition::is_true(&before.conditions, SOURCE_READY);
        prop_assert!(!was_ready || condition::is_true(&next.conditions, SOURCE_READY));
        for (old, new) in before
            .target_cluster_status
            .iter()
            .zip(&next.target_cluster_status)
        {
            prop_assert!(!old.phase.is_final() || old == new, "{old:?} {new:?}");
        }
        if next.phase == Some(Phase::Completed) {
            let all = self
                .places
                .iter()
                .all(|place| place.object == Some("Completed"));
            prop_assert!(all, "{:?}", self.places);
        }
        self.migrate.status = Some(next);
        Ok(())
    }

    fn create(&mut self, number: usize, lossy: bool) -> Result<Option<Problem>, TestCaseError> {
        prop_assert!(!self.cancel && self.now < 3600, "nothing new begins");
        if number > 0 {
            let of_source = self.places[0].object;
            let usable = of_source == Some("Completed")
                || of_source == Some("PartiallyFailed") && self.partial == PartialFailure::Continue;
            prop_assert!(usable, "restored from {of_source:?}");
        }
        let place = &mut self.places[number];
        if place.object.is_none() {
            place.object = Some("New");
            place.created += 1;
            prop_assert_eq!(place.created, 1);
        }
        Ok(lossy.then(|| Problem::new(reason::UNREACHABLE, "the answer was lost")))
    }

    fn pass(&mut self, pass: Pass) -> Result<(), TestCaseError> {
        if is_settled(&self.migrate) {
            return Ok(());
        }
        let mut of_source = self.source(pass.blind);
        let mut targets = [self.target(1, pass.blind), self.target(2, pass.blind)];
        let terms = self.terms();
        for round in 0..8 {
            let step = step(&of_source, &targets, &terms);
            if round == pass.ends_after {
                return Ok(());
            }
            let mut entries = Entries {
                source: step.source_detail,
                targets: step.target_details,
            };
            if matches!(step.source, Next::Claim) {
                let Link::Up { member_uid } = &of_source.member.link else {
                    return Err(TestCaseError::fail("a member that is silent was claimed"));
                };
                let name = build::names(&self.migrate, &of_source.key)[0].clone();
                detail::claim_source(&mut entries.source, member_uid, &name);
            }
            for (number, next) in step.targets.iter().enumerate() {
                let of = &mut entries.targets[number];
                match (next, &targets[number].member.link, &step.gate) {
                    (Next::Claim, Link::Up { member_uid }, _) => {
                        let name = build::names(&self.migrate, &targets[number].key)[0].clone();
                        detail::claim_target(of, member_uid, &name);
                    }
                    (Next::Choose, _, Gate::Open(run)) => detail::choose(of, "oslo", run),
                    (Next::Claim | Next::Choose, ..) => {
                        return Err(TestCaseError::fail("written down without cause"));
                    }
                    _ => {}
                }
            }
            self.write(status(&self.migrate, entries.clone(), &terms))?;
            if is_settled(&self.migrate) {
                return Ok(());
            }
            of_source.stored = entries.source;
            for (target, stored) in targets.iter_mut().zip(entries.targets) {
                target.stored = stored;
            }
            if round + 1 == pass.ends_after {
                return Ok(());
            }
            let mut goes_on = matches!(step.source, Next::Claim);
            if let Some(seen) = self.call(&step.source, 0, pass.lossy, backup)? {
                (of_source.seen, goes_on) = (seen, true);
            }
            for (number, next) in step.targets.iter().enumerate() {
                let name = format!("{}-migrate-team-a-leave-oslo", NAMES[number + 1]);
                let made = |phase: &str| restore(&name, phase);
                if let Some(seen) = self.call(next, number + 1, pass.lossy, made)? {
                    (targets[number].seen, goes_on) = (seen, true);
                }
                if matches!(next, Next::Transfer) {
                    let cannot = Problem::new(reason::BACKUP_NOT_SYNCED, "not yet");
                    targets[number].readable = if self.readable {
                        Readable::Yes
                    } else {
                        Readable::No(cannot)
                    };
                    goes_on = true;
                }
                goes_on |= matches!(next, Next::Claim | Next::Choose);
            }
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does what is to be done on a member; the answer.
    fn call<O>(
        &mut self,
        next: &Next<O>,
        number: usize,
        lossy: bool,
        make: impl Fn(&str) -> Arc<O>,
    ) -> Result<Option<Seen<O>>, TestCaseError> {
        if matches!(next, Next::Create)
            && let Some(lost) = self.create(number, lossy)?
        {
            return Ok(Some(Seen::Failed(lost)));
        }
        Ok(match next {
            Next::Create | Next::Confirm => Some(match self.places[number].object {
                Some(phase) => Seen::Present(make(phase)),
                None => Seen::Absent,
            }),
            _ => None,
        })
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Pass(pass) => self.pass(pass)?,
            Event::Turn(number) => self.places[number].down = !self.places[number].down,
            Event::Replace(number) => {
                self.places[number].replaced = true;
                self.lose(number);
            }
            Event::Velero(number, end) => self.go_on(number, end),
            Event::Remove(number) => {
                let status = self.stored();
                let target = number.checked_sub(1);
                let target = target.and_then(|at| status.target_cluster_status.get(at));
                let seen = match (number, &status.source_cluster_status) {
                    (0, Some(of)) => of.backup_status_in_cluster.is_some(),
                    _ => target.is_some_and(|of| of.restore_status_in_cluster.is_some()),
                };
                if seen {
                    self.lose(number);
                }
            }
            Event::Readable(can) => self.readable = can,
            Event::Time(seconds) => self.now += seconds,
            Event::Cancel => self.cancel = true,
        }
        Ok(())
    }

    /// An object goes. One that has ended stays, so that what is told can be held against it.
    fn lose(&mut self, number: usize) {
        let object = &mut self.places[number].object;
        *object = object.filter(|phase| VeleroPhase::of(phase).is_final());
    }

    fn go_on(&mut self, number: usize, end: &'static str) {
        let place = &mut self.places[number];
        place.object = match place.object {
            Some("New") => Some("InProgress"),
            Some("InProgress") => Some(end),
            other => other,
        };
    }
}

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
    ) {
        let mut world = World::new(if carries_on {
            PartialFailure::Continue
        } else {
            PartialFailure::Stop
        });
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
