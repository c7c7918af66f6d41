//! The passes over the world of the property tests. They do what a pass does, and hold what is done
//! and said against what is so.

use api_types::aggregate::{OperationKind, transition_allowed};
use api_types::condition::{self, SOURCE_READY};
use api_types::migrate::{MigrateStatus, PartialFailure};
use api_types::phase::Phase;
use proptest::prelude::*;
use velero_kit::operation::{Detail, is_settled};

use super::super::dereference::Known;
use super::super::facts::Link;
use super::super::fixtures::{at, problem};
use super::super::status::{Entries, status};
use super::world::{
    Loss, Object, Pass, Sight, World, name_of, next_name, shown_backup, shown_restore,
};
use super::*;

/// As many as a pass has.
const ROUNDS: usize = 12;

impl World {
    pub(super) fn pass(&mut self, pass: Pass) -> Result<(), TestCaseError> {
        if is_settled(&self.migrate) {
            return self.stays(pass.sight);
        }
        let mut known = self.known(pass.sight);
        for round in 0..ROUNDS {
            if round == pass.ends_after {
                return Ok(());
            }
            let step = step(&known.source, &known.targets, &known.terms);
            let goes_on = if matches!(step.source, Next::Survey) {
                survey(&mut known, pass)?
            } else if self.write_down(&step, &mut known)? {
                self.write(&known, pass.sight)?;
                true
            } else {
                self.ask(&step, &mut known, pass.loss)?
            };
            if !goes_on {
                break;
            }
        }
        self.write(&known, pass.sight)
    }

    /// Nothing is begun, done or said any more, whatever is seen and whenever.
    fn stays(&self, sight: Sight) -> Result<(), TestCaseError> {
        let before = self.stored();
        let known = self.known(sight);
        let long_after = Terms {
            cancel: true,
            now: at(1_000_000),
            ..known.terms.clone()
        };
        for terms in [known.terms, long_after] {
            let step = step(&known.source, &known.targets, &terms);
            prop_assert!(matches!(step.source, Next::Final), "{:?}", step.source);
            for next in &step.targets {
                prop_assert!(matches!(next, Next::Final), "{next:?}");
            }
            let entries = Entries {
                source: step.source_detail,
                targets: step.target_details,
            };
            prop_assert_eq!(Some(&entries.source), before.source_cluster_status.as_ref());
            prop_assert_eq!(&entries.targets, &before.target_cluster_status);
            prop_assert_eq!(&status(&self.migrate, entries, &terms), &before);
        }
        Ok(())
    }

    /// Writes names, the location's place and runs into what is known. True: there was something.
    fn write_down(&self, step: &Step, known: &mut Known) -> Result<bool, TestCaseError> {
        let Known {
            source,
            targets,
            terms,
        } = known;
        let link = &source.member.link;
        let mut changed = true;
        match (&step.source, link) {
            (Next::Claim, Link::Up { member_uid }) => {
                prop_assert!(terms.surveyed, "claimed before anybody was asked");
                detail::claim_source(&mut source.stored, member_uid, &name_of(0));
                source.stored.storage = source.location.clone().ok();
            }
            (Next::Claim, Link::Down { .. }) => {
                return Err(TestCaseError::fail("a member that is silent was claimed"));
            }
            (Next::Rename, _) => match self.rename(0, &source.stored)? {
                Some((uid, next)) => {
                    detail::claim_source(&mut source.stored, &uid, &next);
                    source.seen = Seen::NotShown;
                }
                None => source.seen = Seen::NoName(problem(reason::NAME_TAKEN)),
            },
            (Next::Move, _) => source.stored.storage = source.location.clone().ok(),
            _ => changed = false,
        }
        for (at, next) in step.targets.iter().enumerate() {
            let target = &mut targets[at];
            match (next, &target.member.link, &step.gate) {
                (Next::Claim, Link::Up { member_uid }, _) => {
                    detail::claim_target(&mut target.stored, member_uid, &name_of(at + 1));
                }
                (Next::Choose, _, Gate::Open(run)) => {
                    detail::choose(&mut target.stored, "oslo", run);
                }
                (Next::Rename, ..) => match self.rename(at + 1, &target.stored)? {
                    Some((uid, next)) => {
                        detail::claim_target(&mut target.stored, &uid, &next);
                        target.seen = Seen::NotShown;
                    }
                    None => target.seen = Seen::NoName(problem(reason::NAME_TAKEN)),
                },
                (Next::Claim | Next::Choose, ..) => {
                    return Err(TestCaseError::fail("written down without cause"));
                }
                (Next::Move | Next::Survey, ..) => {
                    return Err(TestCaseError::fail("a target has no location"));
                }
                _ => continue,
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Member and next name of an entry whose name cannot be had, if there is one left.
    fn rename(
        &self,
        number: usize,
        entry: &impl Detail,
    ) -> Result<Option<(String, String)>, TestCaseError> {
        let taken = entry.object_name().unwrap_or_default();
        let held = &self.places[number].held;
        prop_assert!(held.iter().any(|name| name == taken), "{taken} is free");
        let uid = entry.member_uid().unwrap_or_default().to_owned();
        let next = next_name(&self.migrate, number, taken).ok();
        Ok(next.map(|next| (uid, next)))
    }

    /// Writes the status with what was written down, if it may be written.
    fn write(&mut self, known: &Known, sight: Sight) -> Result<(), TestCaseError> {
        let step = step(&known.source, &known.targets, &known.terms);
        let entries = Entries {
            source: step.source_detail,
            targets: step.target_details,
        };
        let next = status(&self.migrate, entries, &known.terms);
        let before = self.stored();
        if let (Some(from), Some(to)) = (before.phase, next.phase) {
            prop_assert!(
                transition_allowed(OperationKind::Migrate, from, to),
                "{from:?} {to:?}"
            );
        }
        let was_ready = condition::is_true(&before.conditions, SOURCE_READY);
        prop_assert!(!was_ready || condition::is_true(&next.conditions, SOURCE_READY));
        if let (Some(old), Some(new)) = (
            before.source_cluster_status.as_ref(),
            next.source_cluster_status.as_ref(),
        ) {
            keeps(old, new)?;
        }
        let targets = before.target_cluster_status.iter();
        for (old, new) in targets.zip(&next.target_cluster_status) {
            keeps(old, new)?;
        }
        self.is_so(&next)?;
        self.migrate.status = Some(next);
        if sight == Sight::Clear && !self.places[0].down {
            self.moved_unseen = false;
        }
        Ok(())
    }

    /// What is told of a Migrate is so.
    fn is_so(&self, told: &MigrateStatus) -> Result<(), TestCaseError> {
        let source = told.source_cluster_status.as_ref();
        if let Some(source) = source
            && source.velero_phase().is_some_and(|phase| phase != "New")
        {
            prop_assert_eq!(&source.storage, &self.lies_at);
        }
        let ended = |number: usize| self.places[number].object.as_ref().map(|of| of.phase);
        let all = (0..3).all(|number| ended(number) == Some("Completed"));
        prop_assert!(
            told.phase != Some(Phase::Completed) || all,
            "{:?}",
            self.places
        );
        Ok(())
    }

    /// Asks the members. True: there is something new.
    fn ask(&mut self, step: &Step, known: &mut Known, loss: Loss) -> Result<bool, TestCaseError> {
        let mut is_new = false;
        if let Some(seen) = self.call(&step.source, 0, loss, shown_backup)? {
            (known.source.seen, is_new) = (seen, true);
        }
        for (at, next) in step.targets.iter().enumerate() {
            let target = &mut known.targets[at];
            if let Some(seen) = self.call(next, at + 1, loss, shown_restore)? {
                (target.seen, is_new) = (seen, true);
            }
            if matches!(next, Next::Transfer) {
                target.readable = if self.readable {
                    Readable::Yes
                } else {
                    Readable::No(problem(reason::BACKUP_NOT_SYNCED))
                };
                is_new = true;
            }
        }
        Ok(is_new)
    }

    /// Does what is to be done on a member; the answer.
    fn call<O>(
        &mut self,
        next: &Next<O>,
        number: usize,
        loss: Loss,
        show: fn(&Object) -> Arc<O>,
    ) -> Result<Option<Seen<O>>, TestCaseError> {
        let create = matches!(next, Next::Create);
        if !create && !matches!(next, Next::Confirm) {
            return Ok(None);
        }
        let name = self.claimed(number).unwrap_or_default();
        let taken = number > 0 && self.places[number].held.contains(&name);
        if create {
            self.may_begin(number)?;
            if loss == Loss::Call {
                return Ok(Some(Seen::Lost));
            }
            if !taken {
                self.create(number, &name)?;
            }
            if loss == Loss::Answer {
                return Ok(Some(Seen::Failed(problem(reason::UNREACHABLE))));
            }
        }
        let object = self.places[number].object.as_ref();
        Ok(Some(match object.filter(|object| object.name == name) {
            _ if taken => Seen::Taken,
            Some(object) => Seen::Present(show(object)),
            None => Seen::Absent,
        }))
    }

    /// Holds what is about to be created against what is so, and what is on the hub.
    fn may_begin(&self, number: usize) -> Result<(), TestCaseError> {
        prop_assert!(!self.cancel && self.now < 3600, "nothing new begins");
        let stored = self.stored();
        if number == 0 {
            let storage = stored.source_cluster_status.and_then(|of| of.storage);
            prop_assert_eq!(storage, Some(self.location()));
            return Ok(());
        }
        let of_source = self.places[0].object.as_ref().map(|of| of.phase);
        let usable = of_source == Some("Completed")
            || of_source == Some("PartiallyFailed") && self.partial == PartialFailure::Continue;
        prop_assert!(usable, "restored from {of_source:?}");
        let told = condition::is_true(&stored.conditions, SOURCE_READY);
        prop_assert!(told, "restored before the source was said to be ready");
        let chosen = &stored.target_cluster_status[number - 1].backup_name_in_cluster;
        let made = self.places[0].object.as_ref().map(|of| &of.name);
        prop_assert_eq!(chosen.as_ref(), made);
        Ok(())
    }

    fn create(&mut self, number: usize, name: &str) -> Result<(), TestCaseError> {
        prop_assert!(!name.is_empty(), "no name was written down");
        let place = &mut self.places[number];
        if place.object.as_ref().is_some_and(|of| of.name == name) {
            return Ok(());
        }
        prop_assert!(!place.made.iter().any(|made| made == name), "made again");
        let all_refused = place.made.iter().all(|made| place.held.contains(made));
        prop_assert!(all_refused, "two are made: {place:?}");
        place.made.push(name.to_owned());
        place.object = Some(Object {
            name: name.to_owned(),
            phase: "New",
        });
        Ok(())
    }
}

/// Asks what the members serve. True: they have told in time.
fn survey(known: &mut Known, pass: Pass) -> Result<bool, TestCaseError> {
    let fresh = known.source.claimed().is_none() && !known.terms.surveyed;
    prop_assert!(fresh, "asked once more");
    known.terms.surveyed = pass.told;
    Ok(pass.told)
}

/// An entry that has ended stays as it is, one that was begun begins nowhere else.
fn keeps<D: Detail + Debug>(old: &D, new: &D) -> Result<(), TestCaseError> {
    prop_assert!(!old.phase().is_final() || old == new, "{old:?} {new:?}");
    let moved = old.member_uid().is_some() && old.member_uid() != new.member_uid();
    prop_assert!(!moved, "{old:?} {new:?}");
    let began = old.velero_phase().is_some_and(|phase| phase != "New");
    let renamed = old.object_name() != new.object_name();
    prop_assert!(!(began && renamed), "{old:?} {new:?}");
    Ok(())
}
