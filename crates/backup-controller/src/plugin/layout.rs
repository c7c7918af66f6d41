//! How the clusters of a Fleet share the bucket: decided once, from what they have. Pure.

use api_types::condition::reason;
use api_types::fleet::{BackupLocation, PluginStatus, StorageLayout};
use velero_kit::problem::Problem;

/// The key of the decision in the plugin's details.
pub const LAYOUT: &str = "layout";
/// The key of the endpoint in a cluster's details.
pub const ENDPOINT: &str = "endpoint";
/// The key of the bucket there.
pub const BUCKET: &str = "bucket";
/// The key of the folder there.
pub const PREFIX: &str = "prefix";

/// How many names a message lists.
const NAMES: usize = 3;

/// The layout, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Decided, now or before.
    Decided(StorageLayout),
    /// As before, though the spec asks for the other one, and why.
    Kept(StorageLayout, Problem),
    /// Not yet, or never with this spec.
    Open(Problem),
}

impl Decision {
    /// The layout, if there is one.
    pub fn layout(&self) -> Option<StorageLayout> {
        match self {
            Self::Decided(layout) | Self::Kept(layout, _) => Some(*layout),
            Self::Open(_) => None,
        }
    }
}

/// What one member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It has not answered.
    Unknown,
    /// A location at the root of the bucket.
    Root,
    /// None there.
    Elsewhere,
}

/// As manifests write it.
pub fn name(layout: StorageLayout) -> &'static str {
    match layout {
        StorageLayout::PerCluster => "PerCluster",
        StorageLayout::Shared => "Shared",
    }
}

fn parse(name: &str) -> Option<StorageLayout> {
    [StorageLayout::PerCluster, StorageLayout::Shared]
        .into_iter()
        .find(|layout| self::name(*layout) == name)
}

/// Decides. `stored` is our entry, which keeps what was decided; `members` are the clusters that get
/// the plugin, by name.
pub fn decide(
    storage: &BackupLocation,
    stored: Option<&PluginStatus>,
    members: &[(&str, Seen)],
) -> Decision {
    let kept = stored
        .and_then(|stored| stored.details.get(LAYOUT))
        .and_then(|name| parse(name));
    match (kept, storage.layout) {
        (Some(kept), Some(asked)) if kept != asked && in_use(storage, stored) => {
            Decision::Kept(kept, both(storage, kept))
        }
        (_, Some(asked)) => Decision::Decided(asked),
        (Some(kept), None) => settled(storage, kept),
        (None, None) => first(storage, members),
    }
}

/// Whether a cluster stores in this bucket already.
fn in_use(storage: &BackupLocation, stored: Option<&PluginStatus>) -> bool {
    let mut clusters = stored.into_iter().flat_map(|stored| &stored.clusters);
    clusters.any(|cluster| {
        let detail = |key| cluster.details.get(key).map_or("", String::as_str);
        detail(BUCKET) == storage.bucket
            && detail(ENDPOINT).trim_end_matches('/') == storage.endpoint.trim_end_matches('/')
    })
}

/// The first folder beside Velero's own makes every location at the root of a bucket unusable.
fn both(storage: &BackupLocation, kept: StorageLayout) -> Problem {
    Problem::new(
        reason::INVALID_SPEC,
        format!(
            "layout stays {}: bucket {} cannot hold both; choose another bucket with the layout, or \
             set it back",
            name(kept),
            storage.bucket
        ),
    )
}

fn settled(storage: &BackupLocation, layout: StorageLayout) -> Decision {
    if layout == StorageLayout::Shared && !storage.prefix.is_empty() {
        return Decision::Open(Problem::new(
            reason::INVALID_SPEC,
            format!(
                "clusters store at the root of bucket {}, and spec has a prefix: remove it, or \
                 choose another bucket with layout PerCluster",
                storage.bucket
            ),
        ));
    }
    Decision::Decided(layout)
}

fn first(storage: &BackupLocation, members: &[(&str, Seen)]) -> Decision {
    if members.is_empty() {
        return Decision::Open(Problem::new(
            reason::WAITING_FOR_CLUSTER,
            "the layout waits for the first cluster: add one, or set storage.location.layout",
        ));
    }
    if members.iter().any(|(_, seen)| *seen == Seen::Root) {
        return settled(storage, StorageLayout::Shared);
    }
    let silent = members.iter().filter(|(_, seen)| *seen == Seen::Unknown);
    let silent: Vec<&str> = silent.map(|(name, _)| *name).collect();
    if silent.is_empty() {
        return Decision::Decided(StorageLayout::PerCluster);
    }
    let shown = silent.iter().take(NAMES).copied().collect::<Vec<_>>();
    let more = match silent.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Decision::Open(Problem::new(
        reason::WAITING_FOR_CLUSTER,
        format!(
            "the layout waits for an answer of {}{more}: reach them, or set storage.location.layout",
            shown.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use api_types::fleet::PluginClusterStatus;

    use super::*;

    fn storage(layout: Option<StorageLayout>) -> BackupLocation {
        BackupLocation {
            layout,
            ..velero_kit::fixtures::storage()
        }
    }

    fn kept(layout: &str, bucket: &str) -> PluginStatus {
        let of = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        PluginStatus {
            details: [of(LAYOUT, layout)].into(),
            clusters: vec![PluginClusterStatus {
                details: [of(ENDPOINT, "https://s3.example.org/"), of(BUCKET, bucket)].into(),
                ..PluginClusterStatus::default()
            }],
            ..PluginStatus::default()
        }
    }

    use StorageLayout::{PerCluster, Shared};

    #[test]
    fn the_first_decision_waits_for_all_unless_one_is_at_the_root() {
        let unset = storage(None);
        let of = |members: &[(&str, Seen)]| decide(&unset, None, members);
        let (oslo, bergen) = (("oslo", Seen::Elsewhere), ("bergen", Seen::Unknown));
        let Decision::Open(problem) = of(&[]) else {
            panic!("nobody was asked");
        };
        assert_eq!(problem.reason, "WaitingForCluster");
        assert_eq!(of(&[oslo]), Decision::Decided(PerCluster));
        assert_eq!(
            of(&[bergen, ("turku", Seen::Root)]),
            Decision::Decided(Shared)
        );
        let Decision::Open(problem) = of(&[oslo, bergen]) else {
            panic!("it cannot be known");
        };
        assert_eq!(problem.reason, "WaitingForCluster");
        assert!(problem.message.contains("bergen"), "{problem:?}");
        assert!(!problem.message.contains("oslo"), "{problem:?}");
    }

    #[test]
    fn a_layout_that_is_set_needs_no_answer() {
        let set = storage(Some(PerCluster));
        let members = [("oslo", Seen::Unknown), ("turku", Seen::Root)];
        assert_eq!(decide(&set, None, &members), Decision::Decided(PerCluster));
    }

    #[test]
    fn what_was_decided_stays_whatever_the_members_have_later() {
        let unset = storage(None);
        let stored = kept("PerCluster", "fleet-backups");
        let members = [("oslo", Seen::Root), ("bergen", Seen::Unknown)];
        assert_eq!(
            decide(&unset, Some(&stored), &members),
            Decision::Decided(PerCluster)
        );
        let stored = kept("Shared", "fleet-backups");
        let members = [("oslo", Seen::Elsewhere)];
        assert_eq!(
            decide(&unset, Some(&stored), &members),
            Decision::Decided(Shared)
        );
    }

    #[test]
    fn the_other_layout_needs_another_bucket() {
        let asked = storage(Some(PerCluster));
        let Decision::Kept(Shared, problem) =
            decide(&asked, Some(&kept("Shared", "fleet-backups")), &[])
        else {
            panic!("one bucket cannot hold both");
        };
        assert_eq!(problem.reason, "InvalidSpec");
        assert_eq!(
            decide(&asked, Some(&kept("Shared", "another")), &[]),
            Decision::Decided(PerCluster)
        );
        assert_eq!(
            decide(&asked, Some(&kept("PerCluster", "fleet-backups")), &[]),
            Decision::Decided(PerCluster)
        );
    }

    #[test]
    fn a_prefix_and_the_root_of_the_bucket_contradict_each_other() {
        let prefixed = BackupLocation {
            prefix: "production".to_owned(),
            ..storage(None)
        };
        let root = [("oslo", Seen::Root)];
        let decision = decide(&prefixed, None, &root);
        assert!(
            matches!(&decision, Decision::Open(problem) if problem.reason == "InvalidSpec"),
            "{decision:?}"
        );
        assert_eq!(decision.layout(), None);
    }
}
