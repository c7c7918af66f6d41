//! A world for the property tests: a source and two targets, what Velero does there, and what happens
//! around the passes.

use api_types::common::StoragePlace;
use api_types::migrate::{Migrate, MigrateStatus, PartialFailure};
use api_types::names::Purpose;
use proptest::prelude::*;
use velero_kit::operation::{Detail, is_settled, objects};

use super::super::dereference::Known;
use super::super::facts::Link;
use super::super::fixtures::{
    at, backup, down, key, member, migrate, place, refused, restore, source, target, terms,
};
use super::super::{owner_in_source, owner_in_target};
use super::*;

pub(super) const NAMES: [&str; 3] = ["oslo", "bergen", "turku"];

/// The first name of the object of a member.
pub(super) fn name_of(number: usize) -> String {
    format!("{}-migrate-team-a-leave-oslo", NAMES[number])
}

/// The object of a name whose folder is in the bucket: Velero has refused it.
const REFUSED: &str = "in the bucket";

/// A Velero object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) name: String,
    /// Velero's.
    pub(super) phase: &'static str,
}

pub(super) fn shown_backup(of: &Object) -> Arc<velero::Backup> {
    let mut shown = match of.phase {
        REFUSED => refused(),
        phase => backup(phase),
    };
    Arc::make_mut(&mut shown).metadata.name = Some(of.name.clone());
    shown
}

pub(super) fn shown_restore(of: &Object) -> Arc<velero::Restore> {
    restore(&of.name, of.phase)
}

/// A member and the one object that it is to have.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) down: bool,
    replaced: bool,
    /// While it is there.
    pub(super) object: Option<Object>,
    /// Names of all objects that were made.
    pub(super) made: Vec<String>,
    /// Names that cannot be had: in a target somebody else's, in the source in the bucket.
    pub(super) held: Vec<String>,
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
    /// The source's location is given another place.
    Relocate,
    Readable(bool),
    Time(i64),
    Cancel,
}

/// One pass, and how it goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    /// The process ends after so many writes and rounds of calls.
    pub(super) ends_after: usize,
    pub(super) loss: Loss,
    pub(super) sight: Sight,
    /// Source and targets tell in time what they serve.
    pub(super) told: bool,
}

impl Pass {
    pub(super) const WELL: Self = Self {
        ends_after: 99,
        loss: Loss::Nothing,
        sight: Sight::Clear,
        told: true,
    };
}

/// What is lost where something is created.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Loss {
    Nothing,
    Answer,
    /// It is not made, and it is only known that it is not there.
    Call,
}

/// What the watches show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sight {
    Clear,
    /// Nothing yet.
    Blind,
    /// Not yet what was made.
    Late,
}

pub(super) struct World {
    pub(super) migrate: Migrate,
    pub(super) places: [Place; 3],
    pub(super) readable: bool,
    pub(super) cancel: bool,
    pub(super) partial: PartialFailure,
    pub(super) now: i64,
    /// How often the source's location has moved.
    moves: usize,
    /// Where Velero stores the backup: where its location was when it began.
    pub(super) lies_at: Option<StoragePlace>,
    /// The location has moved beside an object, and no pass has looked since. That Velero begins or a
    /// watch lags just then cannot be told from the order of things, and does not happen here.
    pub(super) moved_unseen: bool,
}

impl World {
    /// `held`: how many of its names each member cannot give.
    pub(super) fn new(partial: PartialFailure, held: [usize; 3]) -> Self {
        let migrate = migrate(serde_json::json!({}));
        let mut places = [(); 3].map(|()| Place::default());
        for (number, place) in places.iter_mut().enumerate() {
            let names = std::iter::successors(Some(name_of(number)), |name| {
                next_name(&migrate, number, name).ok()
            });
            place.held = names.take(held[number]).collect();
        }
        Self {
            migrate,
            places,
            readable: true,
            cancel: false,
            partial,
            now: 1,
            moves: 0,
            lies_at: None,
            moved_unseen: false,
        }
    }

    pub(super) fn stored(&self) -> MigrateStatus {
        self.migrate.status.clone().unwrap_or_default()
    }

    /// Where the source's location is.
    pub(super) fn location(&self) -> StoragePlace {
        StoragePlace {
            prefix: format!("place-{}", self.moves),
            ..place()
        }
    }

    /// The name that is written down for the object of a member.
    pub(super) fn claimed(&self, number: usize) -> Option<String> {
        let status = self.migrate.status.as_ref()?;
        let name = match number.checked_sub(1) {
            None => status.source_cluster_status.as_ref()?.object_name(),
            Some(at) => status.target_cluster_status.get(at)?.object_name(),
        };
        name.map(str::to_owned)
    }

    /// Whether the hub has seen the object of a member.
    fn was_seen(&self, number: usize) -> bool {
        let status = self.stored();
        match number.checked_sub(1) {
            None => status
                .source_cluster_status
                .is_some_and(|of| of.backup_status_in_cluster.is_some()),
            Some(at) => status
                .target_cluster_status
                .get(at)
                .is_some_and(|of| of.restore_status_in_cluster.is_some()),
        }
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

    fn seen<O>(&self, number: usize, sight: Sight, show: fn(&Object) -> Arc<O>) -> Seen<O> {
        let place = &self.places[number];
        let claimed = self.claimed(number);
        let object = place.object.as_ref();
        let object = object.filter(|object| Some(&object.name) == claimed.as_ref());
        match (object, sight) {
            _ if place.down => Seen::Unknown,
            (_, Sight::Blind) => Seen::Unknown,
            (_, Sight::Late) if !self.moved_unseen => Seen::NotShown,
            (Some(object), _) => Seen::Present(show(object)),
            (None, _) => Seen::NotShown,
        }
    }

    /// What a pass begins with.
    pub(super) fn known(&self, sight: Sight) -> Known {
        let stored = self.stored().source_cluster_status;
        let source = Source {
            stored: stored.unwrap_or_else(|| source().stored),
            member: self.member(0),
            location: Ok(self.location()),
            seen: self.seen(0, sight, shown_backup),
            ..source()
        };
        let targets = (1..3).map(|number| {
            let fresh = target(NAMES[number]);
            let stored = self.stored().target_cluster_status;
            let stored = stored.get(number - 1).cloned();
            Target {
                stored: stored.unwrap_or_else(|| fresh.stored.clone()),
                member: self.member(number),
                seen: self.seen(number, sight, shown_restore),
                ..fresh
            }
        });
        Known {
            source,
            targets: targets.collect(),
            terms: Terms {
                cancel: self.cancel,
                now: at(self.now),
                partial_failure: self.partial,
                surveyed: false,
                ..terms()
            },
        }
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
            Event::Remove(number) if self.was_seen(number) => self.lose(number),
            Event::Remove(_) => {}
            Event::Relocate => {
                self.moves += 1;
                self.moved_unseen = self.places[0].object.is_some();
            }
            Event::Readable(can) => self.readable = can,
            Event::Time(seconds) => self.now += seconds,
            Event::Cancel => self.cancel = true,
        }
        Ok(())
    }

    /// An object goes. One that has ended stays, so that what is told can be held against it, until all
    /// is told.
    fn lose(&mut self, number: usize) {
        let settled = is_settled(&self.migrate);
        let object = &mut self.places[number].object;
        let stays = |of: &Object| of.phase == REFUSED || VeleroPhase::of(of.phase).is_final();
        *object = object.take().filter(|of| !settled && stays(of));
    }

    pub(super) fn go_on(&mut self, number: usize, end: &'static str) {
        let place = self.location();
        let Place { object, held, .. } = &mut self.places[number];
        let Some(object) = object else { return };
        object.phase = match object.phase {
            "New" if number == 0 && self.moved_unseen => "New",
            "New" if number == 0 && held.contains(&object.name) => REFUSED,
            "New" => "InProgress",
            "InProgress" => end,
            other => other,
        };
        if number == 0 && object.phase == "InProgress" {
            self.lies_at.get_or_insert(place);
        }
    }

    /// All is well from now on.
    pub(super) fn mend(&mut self) {
        self.readable = true;
        for place in &mut self.places {
            place.down = false;
        }
    }
}

/// The name to claim after this one.
pub(super) fn next_name(migrate: &Migrate, number: usize, taken: &str) -> Result<String, Problem> {
    let owner = match number {
        0 => owner_in_source(migrate),
        _ => owner_in_target(migrate),
    };
    objects::next_name(&owner, Purpose::Migrate, &key(NAMES[number]), taken)
}
