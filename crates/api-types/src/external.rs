//! Types of other projects' objects, hand-written: only what we set or read.

pub mod velero;
