//! Following hub objects into a store, unhindered by objects that cannot be read, and telling what
//! changed once the store shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt, future};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watching};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// One change: what the object was and what it is.
#[derive(Clone, Debug)]
pub struct Change<K> {
    /// `None` when it is new.
    pub old: Option<Arc<K>>,
    /// `None` when it is gone.
    pub new: Option<Arc<K>>,
}

/// What the watches of the hub have brought: which kinds are complete, and which objects cannot be
/// read. Clones share it.
#[derive(Clone, Debug)]
pub struct Intake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    unreadable: Mutex<Unreadable>,
    /// A store can wake only one of those who wait for it (`Store::wait_until_ready`), so that
    /// whoever else waits does it here.
    complete: watch::Sender<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Unreadable {
    /// Why.
    why: BTreeMap<ObjectId, String>,
    /// Those of a new list, while it arrives.
    listed: BTreeSet<ObjectId>,
}

/// Kind, namespace and name.
type ObjectId = (String, String, String);

impl Default for Intake {
    fn default() -> Self {
        Self(Arc::new(Inner {
            unreadable: Mutex::default(),
            complete: watch::Sender::default(),
        }))
    }
}

impl Intake {
    /// Waits until so many kinds have been read completely.
    pub async fn complete(&self, kinds: usize) {
        let mut complete = self.0.complete.subscribe();
        // the sender lives in `self`
        _ = complete.wait_for(|complete| complete.len() >= kinds).await;
    }

    /// Why an object cannot be read, if it cannot.
    pub fn why<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<String> {
        self.unreadable()
            .why
            .get(&id::<K>(namespace, name))
            .cloned()
    }

    /// The names of all objects of one kind in a namespace that cannot be read.
    pub fn all<K: Resource<DynamicType = ()>>(&self, namespace: &str) -> Vec<String> {
        let kind = K::kind(&());
        let unreadable = self.unreadable();
        let here = unreadable
            .why
            .keys()
            .filter(|(known, within, _)| *known == kind && within == namespace);
        here.map(|(_, _, name)| name.clone()).collect()
    }

    fn came<K: Resource<DynamicType = ()>>(&self, object: &DeserializeGuard<K>) {
        let id = id_of(object);
        match &object.0 {
            Ok(_) => _ = self.unreadable().why.remove(&id),
            Err(invalid) => {
                tracing::warn!(
                    kind = id.0,
                    namespace = id.1,
                    name = id.2,
                    error = invalid.error,
                    "this object cannot be read and is left alone: mend or delete it"
                );
                let mut unreadable = self.unreadable();
                unreadable.listed.insert(id.clone());
                unreadable.why.insert(id, invalid.error.clone());
            }
        }
    }

    fn went<K: Resource<DynamicType = ()>>(&self, object: &DeserializeGuard<K>) {
        self.unreadable().why.remove(&id_of(object));
    }

    fn list_begins<K: Resource<DynamicType = ()>>(&self) {
        let kind = K::kind(&());
        self.unreadable()
            .listed
            .retain(|(known, _, _)| *known != kind);
    }

    /// What a new list does not repeat is gone.
    fn list_ends<K: Resource<DynamicType = ()>>(&self) {
        let kind = K::kind(&());
        let Unreadable { why, listed } = &mut *self.unreadable();
        why.retain(|id, _| id.0 != kind || listed.contains(id));
    }

    /// The store has taken over a whole list.
    fn stored<K: Resource<DynamicType = ()>>(&self) {
        let kind = K::kind(&()).into_owned();
        self.0
            .complete
            .send_if_modified(|complete| complete.insert(kind));
    }

    fn unreadable(&self) -> MutexGuard<'_, Unreadable> {
        self.0
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn id_of<K: Resource<DynamicType = ()>>(object: &DeserializeGuard<K>) -> ObjectId {
    let meta = object.meta();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (
        K::kind(&()).into_owned(),
        text(&meta.namespace),
        text(&meta.name),
    )
}

fn id<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> ObjectId {
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
    intake: Intake,
    changed: impl Fn(Change<K>) + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let reader = writer.as_reader();
    let told = intake.clone();
    watching(api, watcher::Config::default())
        .default_backoff()
        .filter_map(move |event| {
            let event = match event {
                Ok(event) => readable(event, &intake).map(Ok),
                Err(error) => Some(Err(error)),
            };
            future::ready(event)
        })
        .inspect(move |event| match event {
            Ok(event) => {
                for change in apply(&mut writer, &reader, event) {
                    changed(change);
                }
                if matches!(event, Event::InitDone) {
                    told.stored::<K>();
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "the hub's watch broke off and is taken up again");
            }
        })
}

/// The event without an object that cannot be read: it must not hide the others.
fn readable<K>(event: Event<DeserializeGuard<K>>, intake: &Intake) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()>,
{
    match &event {
        Event::Apply(object) | Event::InitApply(object) => intake.came(object),
        Event::Delete(object) => intake.went(object),
        Event::Init => intake.list_begins::<K>(),
        Event::InitDone => intake.list_ends::<K>(),
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
    use api_types::fleet::{Fleet, FleetSpec};
    use kube::runtime::reflector;

    use super::*;

    const NAMESPACE: &str = "oslo";

    fn named(name: &str) -> Fleet {
        let mut fleet = Fleet::new(name, FleetSpec::default());
        fleet.metadata.namespace = Some(NAMESPACE.into());
        fleet
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
        let intake = Intake::default();
        let decode = |spec: serde_json::Value| -> DeserializeGuard<Fleet> {
            let metadata = serde_json::json!({"name": "north", "namespace": NAMESPACE});
            serde_json::from_value(serde_json::json!({
                "apiVersion": "fleet.kurator.dev/v1alpha1", "kind": "Fleet", "metadata": metadata, "spec": spec,
            }))
            .unwrap()
        };
        let (bad, good) = (serde_json::json!({"clusters": 5}), serde_json::json!({}));

        assert!(readable(Event::Apply(decode(bad.clone())), &intake).is_none());
        assert!(intake.why::<Fleet>(NAMESPACE, "north").is_some());
        assert_eq!(intake.all::<Fleet>(NAMESPACE), ["north"]);
        assert!(readable(Event::Apply(decode(good)), &intake).is_some());
        assert_eq!(intake.why::<Fleet>(NAMESPACE, "north"), None);

        readable(Event::Apply(decode(bad.clone())), &intake);
        readable(Event::Delete(decode(bad.clone())), &intake);
        assert_eq!(intake.why::<Fleet>(NAMESPACE, "north"), None);

        readable(Event::Apply(decode(bad)), &intake);
        readable::<Fleet>(Event::Init, &intake);
        assert!(
            intake.why::<Fleet>(NAMESPACE, "north").is_some(),
            "until the list is complete"
        );
        readable::<Fleet>(Event::InitDone, &intake);
        assert_eq!(intake.why::<Fleet>(NAMESPACE, "north"), None);
    }
}
