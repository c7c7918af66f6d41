//! One Migrate: validate, decide, build, status. All of it pure.
//!
//! A pass dereferences what it works on, validates the spec, and then asks [`transition::step`] what
//! to do: what is to be written down is written with the status, what is to be asked of members is
//! asked, and the answers go into the next question.

pub mod build;
pub mod detail;
mod entry;
pub mod facts;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod look;
#[cfg(test)]
mod matrix;
pub mod preflight;
mod progress;
pub mod removal;
pub mod status;
pub mod transition;
pub mod validate;

use api_types::labels;
use api_types::migrate::Migrate;
use kube::ResourceExt;
use velero_kit::identity::Owner;

/// The identity of what is made in the source. It has the source's fleet.
pub fn owner_in_source(migrate: &Migrate) -> Owner {
    owner(migrate, &migrate.spec.source_cluster.fleet)
}

/// The identity of what is made in targets. It has the targets' fleet.
pub fn owner_in_target(migrate: &Migrate) -> Owner {
    owner(migrate, &migrate.spec.target_cluster.fleet)
}

fn owner(migrate: &Migrate, fleet: &str) -> Owner {
    Owner {
        kind: "Migrate",
        name_label: labels::MIGRATE_NAME,
        namespace: migrate.namespace().unwrap_or_default(),
        name: migrate.name_any(),
        uid: migrate.uid().unwrap_or_default(),
        fleet: fleet.to_owned(),
    }
}
