//! Reads of what watches hold, in place of asking the member.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Filter, ObjectId, SharedWatch, WatchKey,
    cache::{Objects, is_at_least},
    selector::expand,
};
use crate::{
    error::CallError,
    json::{self, JsonError, Projected, Projection, TypeHint},
    link::Link,
    request::{path::Gvr, selector},
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The type.
    pub gvr: &'a Gvr,
    /// Empty: all namespaces, or the type has none.
    pub namespace: &'a str,
    /// Which part of the objects.
    pub projection: Projection,
    /// What is held must be of this version or a later one.
    pub at_least: Option<&'a str>,
}

/// What was found, and how long ago the watch last heard of the member.
#[derive(Debug)]
pub struct Held<T> {
    /// An object, or a collection.
    pub found: T,
    /// Its age.
    pub age: Duration,
}

/// A collection.
#[derive(Debug)]
pub struct HeldList {
    /// In order of namespace and name, as members list.
    pub items: Vec<Projected>,
    /// The version of the collection.
    pub revision: String,
}

impl Wanted<'_> {
    fn is_new_enough(&self, revision: &str) -> bool {
        self.at_least
            .is_none_or(|least| is_at_least(revision, least))
    }

    /// Whether a watch holds the objects, if it selects them.
    fn is_held_by(&self, key: &WatchKey) -> bool {
        key.gvr == *self.gvr
            && (key.namespace.is_empty() || key.namespace == self.namespace)
            && key.projection.holds(self.projection)
    }

    /// An object as it was asked for.
    fn cut(&self, key: &WatchKey, object: &Projected) -> Result<Projected, JsonError> {
        if key.projection == self.projection {
            return Ok(object.clone());
        }
        let hint = TypeHint {
            api_version: &object.api_version,
            kind: &object.kind,
        };
        json::project(json::text(&object.json)?, self.projection, hint)
    }
}

impl SharedWatch {
    /// Reads what is held, all of one moment.
    fn read<T>(&self, read: impl FnOnce(&Objects, &str) -> Option<T>) -> Option<Held<T>> {
        let cache = self.cache();
        let (objects, revision) = cache.held()?;
        let found = read(objects, revision)?;
        let age = Timestamp::now().duration_since(cache.as_of());
        Some(Held {
            found,
            age: age.try_into().unwrap_or_default(),
        })
    }
}

impl Link {
    /// An object that a watch holds, from the one that heard of the member last.
    pub fn held_object(&self, wanted: Wanted<'_>, name: &str) -> Option<Held<Projected>> {
        let id = ObjectId {
            namespace: wanted.namespace.to_owned(),
            name: name.to_owned(),
        };
        let watches = self.shared_watches(|key| wanted.is_held_by(key));
        let found = watches.iter().filter_map(|(key, watch)| {
            let held = watch.read(|objects, _| {
                let object = objects.get(&id)?;
                let new = wanted.is_new_enough(&object.resource_version);
                new.then(|| Arc::clone(object))
            })?;
            Some(Held {
                found: wanted.cut(key, &held.found).ok()?,
                age: held.age,
            })
        });
        found.min_by_key(|held| held.age)
    }

    /// A collection that a watch holds; an error if the selector is none. At most `limit` items.
    pub fn held_list(
        &self,
        wanted: Wanted<'_>,
        labels: &str,
        limit: Option<usize>,
    ) -> Result<Option<Held<HeldList>>, CallError> {
        let uid = self.status().member_uid;
        let labels = expand(labels, &uid)?;
        let selected = selector::parse("label_selector", &labels)?;
        let watches = self.shared_watches(|key| {
            let same = || expand(&key.selector, &uid).is_ok_and(|selector| selector == labels);
            wanted.is_held_by(key) && (key.selector.is_empty() || same())
        });
        let found = watches.iter().filter_map(|(key, watch)| {
            let filter = if key.selector.is_empty() {
                Filter::of(selected.clone())
            } else {
                Filter::default()
            };
            let held = watch.read(|objects, revision| {
                let new = wanted.is_new_enough(revision);
                new.then(|| {
                    (
                        objects.values().cloned().collect::<Vec<_>>(),
                        revision.to_owned(),
                    )
                })
            })?;
            let (objects, revision) = held.found;
            let mut items = Vec::new();
            for object in objects {
                let inside = wanted.namespace.is_empty() || object.namespace == wanted.namespace;
                if inside && filter.matches(&object) {
                    items.push(wanted.cut(key, &object).ok()?);
                }
            }
            if limit.is_some_and(|limit| items.len() > limit) {
                return None;
            }
            items.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            Some(Held {
                found: HeldList { items, revision },
                age: held.age,
            })
        });
        Ok(found.min_by_key(|held| held.age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, projection: Projection) -> WatchKey {
        WatchKey {
            gvr: Gvr::new("", "v1", "configmaps").unwrap(),
            namespace: namespace.to_owned(),
            selector: String::new(),
            projection,
        }
    }

    fn wanted<'a>(gvr: &'a Gvr, namespace: &'a str, projection: Projection) -> Wanted<'a> {
        Wanted {
            gvr,
            namespace,
            projection,
            at_least: None,
        }
    }

    #[test]
    fn a_watch_holds_its_namespace_or_all_and_no_more_than_its_part_of_the_objects() {
        use Projection::{Full, Metadata, SecretMetadata, WithManagedFields};
        let maps = Gvr::new("", "v1", "configmaps").unwrap();
        let held = |asked, projection, watch: (&str, Projection)| {
            wanted(&maps, asked, projection).is_held_by(&key(watch.0, watch.1))
        };
        assert!(held("a", Full, ("a", Full)) && held("a", Full, ("", Full)));
        assert!(held("", Full, ("", Full)));
        assert!(!held("", Full, ("a", Full)) && !held("b", Full, ("a", Full)));
        assert!(held("a", Metadata, ("a", Full)) && held("a", Full, ("a", WithManagedFields)));
        assert!(!held("a", Full, ("a", Metadata)) && !held("a", WithManagedFields, ("a", Full)));
        assert!(held("a", SecretMetadata, ("a", SecretMetadata)));
        assert!(!held("a", SecretMetadata, ("a", Full)) && !held("a", Full, ("a", SecretMetadata)));
        let pods = Gvr::new("", "v1", "pods").unwrap();
        assert!(!wanted(&pods, "a", Full).is_held_by(&key("a", Full)));
    }

    #[test]
    fn versions_are_new_enough_only_where_they_are_integers() {
        let maps = Gvr::new("", "v1", "configmaps").unwrap();
        let judge = |least: &str, revision: &str| {
            let mut wanted = wanted(&maps, "a", Projection::Full);
            wanted.at_least = Some(least);
            wanted.is_new_enough(revision)
        };
        assert!(judge("9", "10") && judge("10", "10"));
        assert!(judge("99999999999999999999998", "99999999999999999999999"));
        for (least, revision) in [("11", "10"), ("x", "10"), ("1", "x"), ("", "1"), ("1", "")] {
            assert!(!judge(least, revision), "{least} {revision}");
        }
        assert!(wanted(&maps, "a", Projection::Full).is_new_enough("anything"));
    }

    #[test]
    fn a_whole_object_is_cut_to_what_was_asked_for() {
        let maps = Gvr::new("", "v1", "configmaps").unwrap();
        let hint = TypeHint {
            api_version: "v1",
            kind: "ConfigMap",
        };
        let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"a"},"data":{"k":"v"}}"#;
        let whole = json::project(text, Projection::Full, hint).unwrap();
        let cut = wanted(&maps, "a", Projection::Metadata).cut(&key("a", Projection::Full), &whole);
        let live = json::project(text, Projection::Metadata, hint).unwrap();
        assert_eq!(cut.unwrap(), live);
    }
}
