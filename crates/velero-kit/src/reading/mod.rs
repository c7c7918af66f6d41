//! Reading backups: which one is to be restored, whose it is, and how a target comes to see it. What
//! another member has stored is read through a location that is made for it.

pub mod elsewhere;
#[cfg(test)]
mod fixtures;
pub mod look;
pub mod opening;
pub mod origin;
pub mod settled;
pub mod wanted;
