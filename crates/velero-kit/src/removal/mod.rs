//! Removing Velero's objects from members: each step is taken after a look at what is there.

pub mod all;
pub mod backups;
pub mod places;
pub mod restores;
