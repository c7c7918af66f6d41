//! Whose the location on a member is, by the marks that a Fleet makes on it. Pure.

use api_types::condition::reason;
use api_types::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use velero_kit::identity::{self, Owner};
use velero_kit::problem::Problem;

/// A Fleet as the owner of a location: a member may serve two hubs whose Fleets have one name.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    pub owner: &'a Owner,
    /// Uid of the hub's `kube-system`.
    pub hub: &'a str,
}

/// The hub that has marked an object; earlier versions have not said it.
fn hub(meta: &ObjectMeta) -> Option<&str> {
    let annotations = meta.annotations.as_ref()?;
    annotations.get(labels::HUB_UID).map(String::as_str)
}

/// Whether a Fleet of this hub has marked an object.
pub fn is_of_hub(meta: &ObjectMeta, uid: &str) -> bool {
    identity::owner_uid(meta).is_some() && hub(meta).is_none_or(|hub| hub == uid)
}

impl Marks<'_> {
    /// Whether this Fleet has marked an object.
    pub fn are_on(self, meta: &ObjectMeta) -> bool {
        identity::owner_uid(meta) == Some(self.owner.uid.as_str()) && is_of_hub(meta, self.hub)
    }

    /// Why a location is not for this Fleet, if it is another's.
    pub fn taken(self, meta: &ObjectMeta) -> Option<Problem> {
        let uid = identity::owner_uid(meta)?;
        let Owner {
            kind,
            namespace,
            name,
            ..
        } = self.owner;
        let named = identity::hub_object(meta);
        let is_former = || named == Some((*kind, namespace.as_str(), name.as_str()));
        let is_ours = match hub(meta) {
            // A Fleet of this name that was there before is followed by this one.
            Some(hub) => hub == self.hub && (uid == self.owner.uid || is_former()),
            None => uid == self.owner.uid,
        };
        if is_ours {
            return None;
        }
        let whose = named.map_or_else(
            || format!("the owner {uid}"),
            |(kind, namespace, name)| format!("{kind} {namespace}/{name}"),
        );
        let of_hub = match hub(meta) {
            Some(hub) if hub != self.hub => format!(" of another hub ({hub})"),
            None if is_former() => " of another hub, or of one before it".to_owned(),
            _ => String::new(),
        };
        Some(Problem::new(
            reason::NAME_TAKEN,
            format!(
                "location {} there belongs to {whose}{of_hub}: take the cluster out of one of the \
                 two, or remove the label {} from it",
                labels::DEFAULT_STORAGE_LOCATION,
                labels::OWNER_UID
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{HUB, known, of_another};
    use super::*;

    /// What a Fleet thinks of a location with these marks.
    fn taken(namespace: &str, name: &str, uid: &str, hub: Option<&str>) -> Option<String> {
        let mut meta = of_another(namespace, name).metadata;
        let labels = meta.labels.get_or_insert_default();
        labels.insert(labels::OWNER_UID.to_owned(), uid.to_owned());
        let annotations = meta.annotations.get_or_insert_default();
        annotations.remove(labels::HUB_UID);
        annotations.extend(hub.map(|hub| (labels::HUB_UID.to_owned(), hub.to_owned())));
        let known = known(Vec::new());
        let marks = known.marks();
        let problem = marks.taken(&meta);
        if uid == known.owner.uid {
            assert_eq!(marks.are_on(&meta), problem.is_none(), "{problem:?}");
        } else {
            assert!(!marks.are_on(&meta));
        }
        problem.map(|problem| {
            assert_eq!(problem.reason, "NameTaken");
            problem.message
        })
    }

    #[test]
    fn a_location_is_of_one_fleet_of_one_hub() {
        const OWN: &str = "uid-of-north";
        assert_eq!(taken("team-a", "north", OWN, Some(HUB)), None);
        assert_eq!(taken("team-a", "north", "former", Some(HUB)), None);
        assert_eq!(taken("team-a", "north", OWN, None), None, "an old mark");
        let said = taken("team-b", "south", "other", Some(HUB)).unwrap();
        assert!(said.contains("Fleet team-b/south:"), "{said}");
        let said = taken("team-a", "north", "other", Some("hub-2")).unwrap();
        assert!(said.contains("another hub (hub-2)"), "{said}");
        assert!(taken("team-a", "north", OWN, Some("hub-2")).is_some());
        let said = taken("team-a", "north", "other", None).unwrap();
        assert!(said.contains("another hub"), "{said}");
    }
}
