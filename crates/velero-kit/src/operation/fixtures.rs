//! What the tests of these rooms are made of, beside what all tests have.

use api_types::common::ClusterRef;
use api_types::key::ClusterKey;

use super::context::{Context, Process};
pub(crate) use crate::fixtures::{MEMBER_UID, NAME, at, attached, backup, deadline, detail, key};

/// A process with nothing of its own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plain;

impl Process for Plain {
    const MANAGER: &'static str = "plain";
    const BACKUPS: &'static str = "backup";
    const RESTORES: &'static str = "restore";

    type Own = ();
    type Answer = String;
    type OfOperation = ();
    type OfCluster = ();

    fn trigger_owner((): &(), _: &str, _: &str, _: &str) {}

    fn touch_cluster(_: &Context<Self>, _: &ClusterKey) {}

    fn touch_all(_: &Context<Self>) {}
}

pub(crate) fn listed(kind: &str, name: &str) -> ClusterRef {
    ClusterRef {
        kind: kind.to_owned(),
        name: name.to_owned(),
        ..ClusterRef::default()
    }
}
