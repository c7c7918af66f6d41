//! What of a backup is restored, in the terms that Velero's Restore has.

pub use velero_kit::scope::{Scope, scope};
