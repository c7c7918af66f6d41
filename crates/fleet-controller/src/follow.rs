//! Following hub objects into a store, unhindered by objects that cannot be read, and telling what
//! changed once the store shows it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt, future};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// One change: what the object was and what it is.
#[derive(Clone, Debug)]
pub struct Change<K> {
    /// `None` when it is new.
    pub old: Option<Arc<K>>,
    /// `None` when it is gone.
    pub new: Option<Arc<K>>,
}

/// Objects of the hub that are none of the kind they are stored as, by kind, namespace and name.
#[derive(Clone, Debug, Default)]
pub struct Unreadable(Arc<Mutex<BTreeMap<(String, String, String), String>>>);

impl Unreadable {
    /// Why an object cannot be read, if it cannot.
    pub fn why<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<String> {
        self.lock().get(&id::<K>(namespace, name)).cloned()
    }

    /// Kind and name of all of one kind in a namespace.
    pub fn all<K: Resource<DynamicType = ()>>(&self, namespace: &str) -> Vec<String> {
        let kind = K::kind(&());
        let all = self.lock();
        all.keys()
            .filter(|(known, within, _)| *known == kind && within == namespace)
            .map(|(_, _, name)| name.clone())
            .collect()
    }

    fn note<K: Resource<DynamicType = ()>>(&self, object: &DeserializeGuard<K>) {
        let meta = object.meta();
        let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
        let id = id::<K>(namespace.unwrap_or_default(), name.unwrap_or_default());
        match &object.0 {
            Ok(_) => _ = self.lock().remove(&id),
            Err(invalid) => {
                tracing::warn!(
                    kind = id.0,
                    namespace,
                    name,
                    error = invalid.error,
                    "this object cannot be read and is left alone: mend or delete it"
                );
                self.lock().insert(id, invalid.error.clone());
            }
        }
    }

    fn forget<K: Resource<DynamicType = ()>>(&self, object: &DeserializeGuard<K>) {
        let meta = object.meta();
        let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
        self.lock().remove(&id::<K>(
            namespace.unwrap_or_default(),
            name.unwrap_or_default(),
        ));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String, String), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> (String, String, String) {
    (
        K::kind(&()).into_owned(),
        namespace.to_owned(),
        name.to_owned(),
    )
}

/// Keeps a store up to date while the stream is polled. It retries with back-off for ever; its
/// errors are for the log. `changed` runs after each change of the store.
pub fn follow<K>(
    client: &Client,
    mut writer: Writer<K>,
    unreadable: Unreadable,
    changed: impl Fn(Change<K>) + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let reader = writer.as_reader();
    watch(api, watcher::Config::default())
        .default_backoff()
        .filter_map(move |event| {
            let event = match event {
                Ok(event) => readable(event, &unreadable).map(Ok),
                Err(error) => Some(Err(error)),
            };
            future::ready(event)
        })
        .inspect(move |event| match event {
            Ok(event) => {
                for change in apply(&mut writer, &reader, event) {
                    changed(change);
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "the hub's watch broke off and is taken up again");
            }
        })
}

/// The event without an object that cannot be read: it must not hide the others.
fn readable<K>(event: Event<DeserializeGuard<K>>, unreadable: &Unreadable) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()>,
{
    match &event {
        Event::Apply(object) | Event::InitApply(object) => unreadable.note(object),
        Event::Delete(object) => unreadable.forget(object),
        Event::Init | Event::InitDone => {}
    }
    Some(match event {
        Event::Apply(object) => Event::Apply(object.0.ok()?),
        Event::Delete(object) => Event::Delete(object.0.ok()?),
        Event::InitApply(object) => Event::InitApply(object.0.ok()?),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    })
}

/// Applies an event to the store and tells what changed. A new list replaces the store as a whole;
/// what vanished while nobody watched is a change too.
fn apply<K>(writer: &mut Writer<K>, reader: &Store<K>, event: &Event<K>) -> Vec<Change<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    match event {
        Event::Apply(object) | Event::Delete(object) => {
            let name = ObjectRef::from_obj(object);
            let old = reader.get(&name);
            writer.apply_watcher_event(event);
            vec![Change {
                old,
                new: reader.get(&name),
            }]
        }
        Event::InitDone => {
            let before = by_name(reader);
            writer.apply_watcher_event(event);
            let mut after = by_name(reader);
            let mut changes: Vec<Change<K>> = before
                .into_iter()
                .map(|(name, old)| Change {
                    old: Some(old),
                    new: after.remove(&name),
                })
                .collect();
            changes.extend(after.into_values().map(|new| Change {
                old: None,
                new: Some(new),
            }));
            changes
        }
        Event::Init | Event::InitApply(_) => {
            writer.apply_watcher_event(event);
            Vec::new()
        }
    }
}

fn by_name<K: Resource<DynamicType = ()> + Clone>(
    reader: &Store<K>,
) -> BTreeMap<(Option<String>, String), Arc<K>> {
    let objects = reader.state().into_iter();
    objects
        .map(|object| ((object.namespace(), object.name_any()), object))
        .collect()
}

#[cfg(test)]
mod tests {
    use api_types::fleet::Fleet;
    use kube::runtime::reflector;

    use super::*;
    use crate::fixture::{NAMESPACE, fleet};

    fn named(name: &str) -> Fleet {
        fleet(name, "2026-01-01T00:00:00Z", &[])
    }

    fn told(changes: &[Change<Fleet>]) -> Vec<String> {
        let mut told: Vec<String> = changes
            .iter()
            .map(|change| {
                let name = |fleet: &Option<Arc<Fleet>>| {
                    fleet
                        .as_ref()
                        .map_or_else(|| "-".to_owned(), |fleet| fleet.name_any())
                };
                format!("{}>{}", name(&change.old), name(&change.new))
            })
            .collect();
        told.sort();
        told
    }

    #[test]
    fn a_change_is_told_when_the_store_shows_it_and_a_new_list_tells_what_vanished() {
        let (reader, mut writer) = reflector::store();
        let mut send = |event| apply(&mut writer, &reader, &event);
        assert!(send(Event::Init).is_empty());
        assert!(send(Event::InitApply(named("north"))).is_empty());
        assert!(send(Event::InitApply(named("south"))).is_empty());
        assert_eq!(told(&send(Event::InitDone)), ["->north", "->south"]);
        assert_eq!(told(&send(Event::Apply(named("north")))), ["north>north"]);
        assert_eq!(told(&send(Event::Delete(named("north")))), ["north>-"]);

        send(Event::Init);
        send(Event::InitApply(named("west")));
        assert_eq!(told(&send(Event::InitDone)), ["->west", "south>-"]);
    }

    #[test]
    fn an_object_that_cannot_be_read_is_noted_until_it_is_mended_or_gone() {
        let unreadable = Unreadable::default();
        let decode = |spec: serde_json::Value| -> DeserializeGuard<Fleet> {
            let metadata = serde_json::json!({"name": "north", "namespace": NAMESPACE});
            serde_json::from_value(serde_json::json!({
                "apiVersion": "fleet.kurator.dev/v1alpha1", "kind": "Fleet", "metadata": metadata, "spec": spec,
            }))
            .unwrap()
        };
        let (bad, good) = (serde_json::json!({"clusters": 5}), serde_json::json!({}));

        assert!(readable(Event::Apply(decode(bad.clone())), &unreadable).is_none());
        assert!(unreadable.why::<Fleet>(NAMESPACE, "north").is_some());
        assert_eq!(unreadable.all::<Fleet>(NAMESPACE), ["north"]);
        assert!(readable(Event::Apply(decode(good)), &unreadable).is_some());
        assert_eq!(unreadable.why::<Fleet>(NAMESPACE, "north"), None);

        readable(Event::Apply(decode(bad.clone())), &unreadable);
        readable(Event::Delete(decode(bad)), &unreadable);
        assert_eq!(unreadable.why::<Fleet>(NAMESPACE, "north"), None);
    }
}
