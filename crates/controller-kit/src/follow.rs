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
use tokio::sync::watch;

use crate::kind::HubKind;

/// One change: what the object was and what it is.
#[derive(Clone, Debug)]
pub struct Change<K> {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `None` when it is new, or could never be read.
    pub old: Option<Arc<K>>,
    /// `None` when it is gone, or could never be read. The store keeps the last state of one that can
    /// no longer be.
    pub new: Option<Arc<K>>,
    /// It cannot be read, or could not be before: who was told so must look again, even if `old` and
    /// `new` are the same.
    pub unreadable: bool,
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
    /// Those that were when it began.
    before: BTreeSet<ObjectId>,
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

    /// Whether it cannot be read, or could not be before.
    fn came<K: Resource<DynamicType = ()>>(&self, object: &DeserializeGuard<K>) -> bool {
        let id = id_of(object);
        match &object.0 {
            Ok(_) => self.unreadable().why.remove(&id).is_some(),
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
                true
            }
        }
    }

    /// Whether it could not be read.
    fn went<K: Resource<DynamicType = ()>>(&self, object: &DeserializeGuard<K>) -> bool {
        let before = self.unreadable().why.remove(&id_of(object));
        before.is_some() || object.0.is_err()
    }

    fn list_begins<K: Resource<DynamicType = ()>>(&self) {
        let kind = K::kind(&());
        let Unreadable {
            why,
            listed,
            before,
        } = &mut *self.unreadable();
        listed.retain(|(known, _, _)| *known != kind);
        before.retain(|(known, _, _)| *known != kind);
        before.extend(why.keys().filter(|(known, _, _)| *known == kind).cloned());
    }

    /// What a new list does not repeat is gone. Returns those that cannot be read, or could not be
    /// before the list: namespace and name.
    fn list_ends<K: Resource<DynamicType = ()>>(&self) -> BTreeSet<(String, String)> {
        let kind = K::kind(&());
        let Unreadable {
            why,
            listed,
            before,
        } = &mut *self.unreadable();
        why.retain(|id, _| id.0 != kind || listed.contains(id));
        let of_kind = listed.iter().chain(&*before).filter(|id| id.0 == kind);
        of_kind
            .map(|(_, namespace, name)| (namespace.clone(), name.clone()))
            .collect()
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
/// errors are for the log. `changed` runs after each change of the store, and after each of an object
/// that cannot be read.
pub fn follow<K>(
    client: &Client,
    mut writer: Writer<K>,
    intake: Intake,
    changed: impl Fn(Change<K>) + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: HubKind,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let reader = writer.as_reader();
    watching(api, watcher::Config::default())
        .default_backoff()
        .filter_map(move |event| {
            let event = match event {
                Ok(event) => {
                    let (event, told) = take_in(&mut writer, &reader, &intake, event);
                    told.into_iter().for_each(&changed);
                    if matches!(event, Some(Event::InitDone)) {
                        intake.stored::<K>();
                    }
                    event.map(Ok)
                }
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "the hub's watch broke off and is taken up again");
                    Some(Err(error))
                }
            };
            future::ready(event)
        })
}

/// Applies an event to the store. Returns it without an object that cannot be read, since that must
/// not hide the others, and what changed. A new list replaces the store as a whole; what vanished
/// while nobody watched is a change too.
fn take_in<K>(
    writer: &mut Writer<K>,
    reader: &Store<K>,
    intake: &Intake,
    event: Event<DeserializeGuard<K>>,
) -> (Option<Event<K>>, Vec<Change<K>>)
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    match event {
        Event::Apply(object) => {
            let unreadable = intake.came(&object);
            let place = Place::of(&object, unreadable);
            if let Ok(object) = object.0 {
                place.apply(writer, reader, Event::Apply(object))
            } else {
                let kept = place.get(reader);
                (None, vec![place.change(kept.clone(), kept)])
            }
        }
        Event::Delete(object) => {
            let unreadable = intake.went(&object);
            let place = Place::of(&object, unreadable);
            // With what cannot be read goes the last state that could be.
            let last = || place.get(reader).map(|last| (*last).clone());
            match object.0.ok().or_else(last) {
                Some(object) => place.apply(writer, reader, Event::Delete(object)),
                None => (None, vec![place.change(None, None)]),
            }
        }
        Event::Init => {
            intake.list_begins::<K>();
            writer.apply_watcher_event(&Event::Init);
            (Some(Event::Init), Vec::new())
        }
        Event::InitApply(object) => {
            intake.came(&object);
            let event = object.0.ok().map(Event::InitApply);
            if let Some(event) = &event {
                writer.apply_watcher_event(event);
            }
            (event, Vec::new())
        }
        Event::InitDone => {
            let before = by_name(reader);
            writer.apply_watcher_event(&Event::InitDone);
            let changes = replaced(before, by_name(reader), &intake.list_ends::<K>());
            (Some(Event::InitDone), changes)
        }
    }
}

/// What differs between two lists, and each object that could not be read in one of them.
fn replaced<K>(
    mut before: ByName<K>,
    mut after: ByName<K>,
    unreadable: &BTreeSet<(String, String)>,
) -> Vec<Change<K>> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    names
        .union(unreadable)
        .map(|name| Change {
            namespace: name.0.clone(),
            name: name.1.clone(),
            old: before.remove(name),
            new: after.remove(name),
            unreadable: unreadable.contains(name),
        })
        .collect()
}

/// The object that an event is about.
struct Place {
    namespace: String,
    name: String,
    unreadable: bool,
}

impl Place {
    fn of(object: &impl Resource, unreadable: bool) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            unreadable,
        }
    }

    fn get<K>(&self, reader: &Store<K>) -> Option<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone,
    {
        reader.get(&ObjectRef::new(&self.name).within(&self.namespace))
    }

    fn apply<K>(
        self,
        writer: &mut Writer<K>,
        reader: &Store<K>,
        event: Event<K>,
    ) -> (Option<Event<K>>, Vec<Change<K>>)
    where
        K: Resource<DynamicType = ()> + Clone,
    {
        let old = self.get(reader);
        writer.apply_watcher_event(&event);
        let new = self.get(reader);
        (Some(event), vec![self.change(old, new)])
    }

    fn change<K>(self, old: Option<Arc<K>>, new: Option<Arc<K>>) -> Change<K> {
        let Self {
            namespace,
            name,
            unreadable,
        } = self;
        Change {
            namespace,
            name,
            old,
            new,
            unreadable,
        }
    }
}

/// By namespace and name.
type ByName<K> = BTreeMap<(String, String), Arc<K>>;

fn by_name<K: Resource<DynamicType = ()> + Clone>(reader: &Store<K>) -> ByName<K> {
    let objects = reader.state().into_iter();
    objects
        .map(|object| {
            let namespace = object.namespace().unwrap_or_default();
            ((namespace, object.name_any()), object)
        })
        .collect()
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
