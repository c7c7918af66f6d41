//! Member names and times on the wire.

use api_types::key::{ClusterKey, ClusterKind};
use jiff::Timestamp;

use crate::proto;

/// The wire form of a member's name.
pub fn cluster_ref(key: &ClusterKey) -> proto::ClusterRef {
    proto::ClusterRef {
        namespace: key.namespace.clone(),
        kind: key.kind.to_string(),
        name: key.name.clone(),
    }
}

/// The member that a message names; an empty kind means `Cluster`. None when no name is given or
/// the kind is unknown.
pub fn cluster_key(wire: &proto::ClusterRef) -> Option<ClusterKey> {
    let kind = match wire.kind.as_str() {
        "" => ClusterKind::Cluster,
        kind => kind.parse().ok()?,
    };
    if wire.name.is_empty() {
        return None;
    }
    Some(ClusterKey::new(&wire.namespace, kind, &wire.name))
}

/// A time on the wire, unless it is absent or out of range.
pub(crate) fn timestamp(wire: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let wire = wire?;
    Timestamp::new(wire.seconds, wire.nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_wire_and_an_unknown_kind_is_refused() {
        let key = ClusterKey::attached("default", "oslo");
        assert_eq!(cluster_key(&cluster_ref(&key)), Some(key.clone()));

        let mut wire = cluster_ref(&key);
        wire.kind = String::new();
        assert_eq!(cluster_key(&wire).unwrap().kind, ClusterKind::Cluster);
        wire.kind = "Toaster".into();
        assert_eq!(cluster_key(&wire), None);
        assert_eq!(cluster_key(&proto::ClusterRef::default()), None);
    }
}
