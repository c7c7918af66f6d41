//! A world for the property tests: a source and two targets, what Velero does there, and what happens
//! around the passes. It holds what is done and said against what is so.

use api_types::aggregate::{OperationKind, transition_allowed};
use api_types::condition::{self, SOURCE_READY};
use api_types::migrate::{Migrate, MigrateStatus, PartialFailure};
use api_types::names::Purpose;
use api_types::phase::Phase;
use proptest::prelude::*;
use velero_kit::operation::{is_settled, objects};

use super::super::facts::Link;
use super::super::fixtures::{at, backup, down, member, migrate, restore, source, target, terms};
use super::super::owner_in_source;
use super::super::status::{Entries, status};
use super::*;

const NAMES: [&str; 3] = ["oslo", "bergen", "turku"];

/// Name of the object of a member.
fn name_of(number: usize) -> String {
    format!("{}-migrate-team-a-leave-oslo", NAMES[number])
}

/// A member and the one object that it is to have.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) down: bool,
    replaced: bool,
    /// Velero's phase of the object, while it is there.
    object: Option<&'static str>,
    pub(super) created: usize,
    /// How many of its names have their folder in the bucket.
    pub(super) taken: usize,
}

/// The object of a name whose folder is in the bucket: Velero has refused it.
const REFUSED: &str = "in the bucket";

/// A Velero Backup as it is shown.
fn shown(phase: &str) -> Arc<velero::Backup> {
    if phase != REFUSED {
        return backup(phase);
    }
    let mut object = velero::Backup::clone(&backup("Failed"));
    object.status["failureReason"] = "backup already exists in object storage".into();
    Arc::new(object)
}

/// What happens around the passes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
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
pub(super) struct Pass {
    /// The process ends after so many writes and rounds of calls.
    pub(super) ends_after: usize,
    /// The answer to creating something is lost.
    pub(super) lossy: bool,
    /// The watches have not shown anything yet.
    pub(super) blind: bool,
}

pub(super) struct World {
    pub(super) migrate: Migrate,
    pub(super) places: [Place; 3],
    pub(super) readable: bool,
    cancel: bool,
    partial: PartialFailure,
    now: i64,
}

impl World {
    pub(super) fn new(partial: PartialFailure) -> Self {
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

    pub(super) fn stored(&self) -> MigrateStatus {
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
            seen: self.seen(0, blind, shown),
            ..source()
        }
    }

    fn target(&self, number: usize, blind: bool) -> Target {
        let fresh = target(NAMES[number]);
        let stored = self.stored().target_cluster_status;
        let stored = stored.get(number - 1).cloned();
        let name = name_of(number);
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
            let told = condition::is_true(&self.stored().conditions, SOURCE_READY);
            prop_assert!(told, "restored before the source was said to be ready");
            let target = &self.stored().target_cluster_status[number - 1];
            prop_assert!(target.backup_name_in_cluster.is_some(), "{target:?}");
        }
        let place = &mut self.places[number];
        if place.object.is_none() {
            place.object = Some(if place.taken > 0 { REFUSED } else { "New" });
            place.created += 1;
            prop_assert_eq!(place.created, 1);
        }
        Ok(lossy.then(|| Problem::new(reason::UNREACHABLE, "the answer was lost")))
    }

    pub(super) fn pass(&mut self, pass: Pass) -> Result<(), TestCaseError> {
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
                detail::claim_source(&mut entries.source, member_uid, &name_of(0));
                entries.source.storage = of_source.location.clone().ok();
            }
            let mut renamed = None;
            if matches!(step.source, Next::Rename) {
                renamed = Some(self.rename(&mut entries.source)?);
            }
            for (number, next) in step.targets.iter().enumerate() {
                let of = &mut entries.targets[number];
                match (next, &targets[number].member.link, &step.gate) {
                    (Next::Claim, Link::Up { member_uid }, _) => {
                        detail::claim_target(of, member_uid, &name_of(number + 1));
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
            if let Some(seen) = renamed {
                (of_source.seen, goes_on) = (seen, true);
            }
            if let Some(seen) = self.call(&step.source, 0, pass.lossy, shown)? {
                (of_source.seen, goes_on) = (seen, true);
            }
            for (number, next) in step.targets.iter().enumerate() {
                let name = name_of(number + 1);
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

    /// Claims the next name for the backup, and what is known of that.
    fn rename(&mut self, entry: &mut BackupDetail) -> Result<Seen<velero::Backup>, TestCaseError> {
        let place = &mut self.places[0];
        prop_assert_eq!(place.object, Some(REFUSED));
        let owner = owner_in_source(&self.migrate);
        let taken = entry.backup_name_in_cluster.clone().unwrap_or_default();
        let next = objects::next_name(&owner, Purpose::Migrate, &source().key, &taken);
        let uid = entry.member_uid.clone().unwrap_or_default();
        Ok(match next {
            Ok(name) => {
                detail::claim_source(entry, &uid, &name);
                (place.object, place.created) = (None, 0);
                place.taken -= 1;
                Seen::NotShown
            }
            Err(problem) => Seen::NoName(problem),
        })
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

    pub(super) fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
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
        *object = object.filter(|phase| *phase == REFUSED || VeleroPhase::of(phase).is_final());
    }

    pub(super) fn go_on(&mut self, number: usize, end: &'static str) {
        let place = &mut self.places[number];
        place.object = match place.object {
            Some("New") => Some("InProgress"),
            Some("InProgress") => Some(end),
            other => other,
        };
    }
}
