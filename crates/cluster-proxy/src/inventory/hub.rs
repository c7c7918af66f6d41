//! Follows each `AttachedCluster`, each `Cluster` where there are such, and the Secrets that they name.
//!
//! When the hub does not answer, what is known stays: links live on.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use api_types::{
    cluster::AttachedCluster,
    key::{ClusterKey, ClusterKind},
    labels::INSECURE,
};
use controller_kit::http::Readiness;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{DeserializeGuard, ObjectMeta, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::StreamMap;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use zeroize::Zeroizing;

use super::{Registry, Wanted, provisioned};
use crate::{
    credentials::source::{SecretSource, SourceError},
    link::{Link, LinkSpec},
};

/// The readiness check of this room.
pub const CHECK: &str = "inventory";
/// `AttachedCluster` and `Cluster`.
const KINDS: usize = 2;
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A hub that is down does not keep the proxy from starting.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads Secrets of the hub, live.
#[derive(Clone)]
pub struct HubSource {
    client: Client,
}

impl std::fmt::Debug for HubSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSource").finish_non_exhaustive()
    }
}

impl HubSource {
    /// A source on the hub.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn get(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = timeout(READ_TIMEOUT, secrets.get_opt(name))
            .await
            .map_err(|_| SourceError::Hub("no answer within 10 s".to_owned()))?
            .map_err(|e| SourceError::Hub(e.to_string()))?;
        let secret = format!("{namespace}/{name}");
        let Some(mut found) = found else {
            return Err(SourceError::SecretNotFound(secret));
        };
        match found.data.as_mut().and_then(|data| data.remove(key)) {
            Some(value) => Ok(Zeroizing::new(value.0)),
            None => Err(SourceError::KeyNotFound {
                secret,
                key: key.to_owned(),
            }),
        }
    }
}

impl SecretSource for HubSource {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, SourceError>> {
        Box::pin(self.get(namespace, name, key))
    }
}

type Guarded = DeserializeGuard<AttachedCluster>;
type SecretEvent = Result<Event<PartialObjectMeta<Secret>>, watcher::Error>;

/// How many members there are, as far as the hub tells now.
pub async fn count(client: &Client) -> usize {
    let clusters: Api<AttachedCluster> = Api::all(client.clone());
    let first = ListParams::default().limit(1);
    match timeout(COUNT_TIMEOUT, clusters.list_metadata(&first)).await {
        Ok(Ok(page)) => {
            let more = page.metadata.remaining_item_count.unwrap_or_default();
            page.items.len() + usize::try_from(more).unwrap_or_default()
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the hub's AttachedClusters cannot be counted");
            0
        }
        Err(_) => {
            tracing::warn!("the hub's AttachedClusters cannot be counted: no answer within 5 s");
            0
        }
    }
}

/// Follows the hub until stopped.
pub async fn run(
    client: Client,
    registry: Arc<Registry>,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let mut follower = Follower {
        client: client.clone(),
        registry,
        readiness,
        listed: HashMap::new(),
        known: HashSet::new(),
        secrets: StreamMap::new(),
        seen: HashMap::new(),
        versions: HashMap::new(),
    };
    let clusters: Api<Guarded> = Api::all(client.clone());
    let mut clusters = watcher(clusters, watcher::Config::default())
        .default_backoff()
        .boxed();
    // In a task of its own: whether the hub serves them at all is asked again and again.
    let (told, mut provisioned) = mpsc::channel(64);
    let _provisioned = AbortOnDropHandle::new(tokio::spawn(provisioned::run(client, told)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = clusters.next() => match event {
                Some(event) => follower.attached_event(event).await,
                None => return,
            },
            Some(news) = provisioned.recv() => match news {
                Some(event) => follower.cluster_event(ClusterKind::Cluster, event).await,
                None => follower.cannot_be_told(ClusterKind::Cluster),
            },
            Some((namespace, event)) = follower.secrets.next() => {
                follower.secret_event(&namespace, event);
            }
        }
    }
}

struct Follower {
    client: Client,
    registry: Arc<Registry>,
    readiness: Readiness,
    /// The clusters of a kind seen during a list.
    listed: HashMap<ClusterKind, HashSet<ClusterKey>>,
    /// The kinds of which it is known what there is.
    known: HashSet<ClusterKind>,
    /// One metadata watch for each namespace that has members.
    secrets: StreamMap<String, BoxStream<'static, SecretEvent>>,
    /// The Secrets seen during a list of a namespace.
    seen: HashMap<String, HashSet<String>>,
    /// Resource versions of the Secrets in use.
    versions: HashMap<(String, String), String>,
}

impl Follower {
    async fn attached_event(&mut self, event: Result<Event<Guarded>, watcher::Error>) {
        match event {
            Ok(event) => {
                let event = map(event, attached);
                self.cluster_event(ClusterKind::AttachedCluster, event)
                    .await;
            }
            Err(error) => {
                tracing::warn!(%error, "the hub's AttachedClusters cannot be followed");
                if !self.registry.is_synced() {
                    self.readiness.set(CHECK, Err(error.to_string()));
                }
            }
        }
    }

    async fn cluster_event(&mut self, kind: ClusterKind, event: Event<Found>) {
        match event {
            Event::Init => {
                self.listed.insert(kind, HashSet::new());
                return;
            }
            Event::InitApply(found) => {
                if let Some(listed) = self.listed.get_mut(&kind) {
                    listed.insert(found.key.clone());
                }
                put(&self.registry, found).await;
                return;
            }
            Event::InitDone => {
                if let Some(listed) = self.listed.remove(&kind) {
                    self.registry.retain(kind, &listed).await;
                }
                self.known.insert(kind);
            }
            Event::Apply(found) => put(&self.registry, found).await,
            Event::Delete(found) => self.registry.remove(&found.key).await,
        }
        self.follow_namespaces();
        self.is_ready();
    }

    /// The clusters of a kind cannot be listed: what is known of them stays, and the others are served.
    fn cannot_be_told(&mut self, kind: ClusterKind) {
        self.listed.remove(&kind);
        self.known.insert(kind);
        self.is_ready();
    }

    /// Says so once every kind was looked at.
    fn is_ready(&mut self) {
        if self.known.len() == KINDS && !self.registry.is_synced() {
            self.registry.set_synced();
            self.readiness.set(CHECK, Ok(()));
        }
    }

    /// Watches Secrets where there are members, and nowhere else.
    fn follow_namespaces(&mut self) {
        let links = self.registry.links();
        let wanted: HashSet<&String> = links.keys().map(|key| &key.namespace).collect();
        let followed: Vec<String> = self.secrets.keys().cloned().collect();
        for namespace in followed {
            if !wanted.contains(&namespace) {
                self.secrets.remove(&namespace);
                self.versions.retain(|(known, _), _| *known != namespace);
            }
        }
        for namespace in wanted {
            if self.secrets.contains_key(namespace) {
                continue;
            }
            let api: Api<PartialObjectMeta<Secret>> =
                Api::namespaced(self.client.clone(), namespace);
            let events = watcher(api, watcher::Config::default()).default_backoff();
            self.secrets.insert(namespace.clone(), events.boxed());
        }
    }

    fn secret_event(&mut self, namespace: &str, event: SecretEvent) {
        match event {
            Ok(Event::Init) => {
                self.seen.insert(namespace.to_owned(), HashSet::new());
            }
            Ok(Event::InitApply(secret)) => {
                if let Some(seen) = self.seen.get_mut(namespace) {
                    seen.insert(secret.name_any());
                }
                self.secret_is(namespace, &secret);
            }
            Ok(Event::Apply(secret)) => self.secret_is(namespace, &secret),
            Ok(Event::Delete(secret)) => self.secret_gone(namespace, &secret.name_any()),
            Ok(Event::InitDone) => {
                // What vanished while nobody watched sent no event.
                let seen = self.seen.remove(namespace).unwrap_or_default();
                let known = self.versions.keys();
                let gone: Vec<String> = known
                    .filter(|(place, name)| place == namespace && !seen.contains(name))
                    .map(|(_, name)| name.clone())
                    .collect();
                for name in gone {
                    self.secret_gone(namespace, &name);
                }
            }
            Err(error) => {
                tracing::warn!(namespace, %error, "Secrets of the hub cannot be followed");
            }
        }
    }

    fn secret_is(&mut self, namespace: &str, secret: &PartialObjectMeta<Secret>) {
        let name = secret.name_any();
        let users = self.users(namespace, &name);
        if users.is_empty() {
            return;
        }
        let version = secret.resource_version().unwrap_or_default();
        let id = (namespace.to_owned(), name);
        if self.versions.insert(id, version.clone()) != Some(version) {
            for link in users {
                link.secret_changed();
            }
        }
    }

    fn secret_gone(&mut self, namespace: &str, name: &str) {
        self.versions
            .remove(&(namespace.to_owned(), name.to_owned()));
        for link in self.users(namespace, name) {
            link.secret_changed();
        }
    }

    /// The links whose kubeconfig is in this Secret.
    fn users(&self, namespace: &str, name: &str) -> Vec<Arc<Link>> {
        let links = self.registry.links();
        let uses = |link: &&Arc<Link>| {
            link.key().namespace == namespace && link.secret_name().as_deref() == Some(name)
        };
        links.values().filter(uses).cloned().collect()
    }
}

async fn put(registry: &Registry, found: Found) {
    // What was known before of an object that cannot be read stays true.
    if found.readable || registry.link(&found.key).is_none() {
        registry.put(found.key, found.wanted).await;
    }
}

/// A member as the hub has it.
pub(super) struct Found {
    pub(super) key: ClusterKey,
    pub(super) wanted: Wanted,
    /// Only its metadata could be read otherwise.
    pub(super) readable: bool,
}

fn attached(cluster: Guarded) -> Found {
    let key = ClusterKey::new(
        cluster.namespace().unwrap_or_default(),
        ClusterKind::AttachedCluster,
        cluster.name_any(),
    );
    let mut wanted = from_metadata(cluster.meta());
    let readable = match cluster.0 {
        Ok(cluster) => {
            let kubeconfig = cluster.spec.kubeconfig;
            wanted.spec.secret = kubeconfig.map(|secret| (secret.name, secret.key));
            true
        }
        Err(invalid) => {
            tracing::warn!(cluster = %key, error = %invalid.error, "not a usable AttachedCluster");
            false
        }
    };
    Found {
        key,
        wanted,
        readable,
    }
}

/// The same event about something else.
pub(super) fn map<T, U>(event: Event<T>, to: impl FnOnce(T) -> U) -> Event<U> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(to(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(to(object)),
        Event::Delete(object) => Event::Delete(to(object)),
    }
}

pub(super) fn from_metadata(metadata: &ObjectMeta) -> Wanted {
    Wanted {
        uid: metadata.uid.clone().unwrap_or_default(),
        labels: metadata.labels.clone().unwrap_or_default(),
        spec: LinkSpec {
            secret: None,
            insecure: metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(INSECURE))
                .is_some_and(|value| value == "true"),
            deleting: metadata.deletion_timestamp.is_some(),
            secret_revision: 0,
        },
    }
}
