//! What a member serves: asked when it connects, and again when an answer shows that it changed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    Link,
    call::exchange_on,
    connection::Connection,
    exchange::{Accept, PAGE_MAX, Request},
};
use crate::{
    error::{CallError, WriteOutcome},
    json,
    request::{
        answer::Asked,
        deadline::Deadline,
        path::{Gvr, Path},
    },
};

/// A cached answer is believed for this long.
const FRESH: Duration = Duration::from_secs(10);
const LEGACY_MAX: usize = 256;
const LAG_TRIES: u32 = 5;
const LAG_PAUSE: Duration = Duration::from_secs(1);

/// One resource type that a member serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The type.
    pub gvr: Gvr,
    /// Its kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Kubernetes' verbs.
    pub verbs: Vec<String>,
}

/// All that a member serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue(Vec<Served>);

impl Catalogue {
    /// Every type, or those of one group.
    pub fn types<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Served> {
        self.0
            .iter()
            .filter(move |served| group.is_empty() || served.gvr.group() == group)
    }

    /// The kind of a type.
    pub fn kind(&self, gvr: &Gvr) -> Option<&str> {
        self.0
            .iter()
            .find(|served| served.gvr == *gvr)
            .map(|served| served.kind.as_str())
    }

    /// The groups' names, sorted, without the core group.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self
            .0
            .iter()
            .map(|served| served.gvr.group().to_owned())
            .filter(|group| !group.is_empty())
            .collect();
        groups.sort();
        groups.dedup();
        groups
    }
}

#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// The newest answer and when it was asked for. Held while asking, so that many callers make one
    /// request.
    cached: Mutex<Option<(Instant, Arc<Catalogue>)>>,
    latest: arc_swap::ArcSwapOption<Catalogue>,
    /// A task asks again, or waits until it may.
    refreshing: AtomicBool,
}

impl Link {
    /// What the member serves, at most 10 s old.
    pub async fn catalogue(
        self: &Arc<Self>,
        deadline: Deadline,
    ) -> Result<Arc<Catalogue>, CallError> {
        self.catalogue_within(FRESH, deadline).await
    }

    async fn catalogue_within(
        self: &Arc<Self>,
        age: Duration,
        deadline: Deadline,
    ) -> Result<Arc<Catalogue>, CallError> {
        let Ok(mut cached) = timeout_at(deadline.instant(), self.discovery.cached.lock()).await
        else {
            let message = "discovery of the member's types takes too long";
            return Err(CallError::deadline(message, WriteOutcome::NotSent));
        };
        if let Some((at, catalogue)) = cached.as_ref()
            && at.elapsed() < age
            && self.status.borrow().is_up()
        {
            return Ok(Arc::clone(catalogue));
        }
        let asked = Instant::now();
        let catalogue = Arc::new(self.ask_catalogue(deadline).await?);
        self.remember_catalogue(&catalogue);
        *cached = Some((asked, Arc::clone(&catalogue)));
        Ok(catalogue)
    }

    /// The kind of a type from the newest catalogue, without asking.
    pub fn known_kind(&self, gvr: &Gvr) -> Option<String> {
        let latest = self.discovery.latest.load();
        latest.as_ref()?.kind(gvr).map(str::to_owned)
    }

    fn is_known(&self, gvr: &Gvr, served: bool) -> bool {
        let latest = self.discovery.latest.load();
        latest
            .as_ref()
            .is_some_and(|catalogue| catalogue.kind(gvr).is_some() == served)
    }

    /// A watched type came or went: asks until discovery, which lags behind on the server, says so
    /// too.
    pub fn follow_catalogue(self: &Arc<Self>, gvr: &Gvr, served: bool) {
        if self.is_known(gvr, served) {
            return;
        }
        let (link, gvr) = (Arc::clone(self), gvr.clone());
        let stop = self.stopped().clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            for _ in 0..LAG_TRIES {
                // Types come in numbers: their tasks share what one of them asked.
                let asked = link.catalogue_within(LAG_PAUSE, Deadline::after(FRESH));
                match asked.await {
                    Ok(catalogue) if catalogue.kind(&gvr).is_some() == served => return,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(cluster = %link.key, %error, "discovery failed");
                    }
                }
                sleep(LAG_PAUSE).await;
            }
        }));
    }

    /// An answer showed whether a type is served: where the catalogue says otherwise, it is asked
    /// for again.
    pub fn compare_catalogue(self: &Arc<Self>, gvr: &Gvr, served: bool) {
        if !self.is_known(gvr, served) {
            self.refresh_catalogue();
        }
    }

    /// Asks again in a task of its own, one at a time and at most every 10 s.
    pub(super) fn refresh_catalogue(self: &Arc<Self>) {
        if self.discovery.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let link = Arc::clone(self);
        let stop = self.stopped().clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let asked = link
                .discovery
                .cached
                .lock()
                .await
                .as_ref()
                .map(|(at, _)| *at);
            if let Some(asked) = asked {
                sleep_until(asked + FRESH).await;
            }
            if let Err(error) = link.catalogue(Deadline::after(FRESH)).await {
                tracing::debug!(cluster = %link.key, %error, "discovery failed");
                sleep(FRESH).await;
            }
            link.discovery.refreshing.store(false, Ordering::Release);
        }));
    }

    /// The catalogue of a fresh connection; false if it could not be had like this. Then what was
    /// known of the last one stays.
    pub(super) async fn first_catalogue(&self, connection: &Connection) -> bool {
        let asked = Instant::now();
        match aggregated_on(connection).await {
            Ok(Some(catalogue)) => {
                let catalogue = Arc::new(catalogue);
                self.remember_catalogue(&catalogue);
                // Whoever asks at this moment asks over the last connection.
                if let Ok(mut cached) = self.discovery.cached.try_lock() {
                    *cached = Some((asked, catalogue));
                }
                true
            }
            // An old server, to be asked group by group once calls may be made.
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(cluster = %self.key, %error, "discovery failed");
                false
            }
        }
    }

    fn remember_catalogue(&self, catalogue: &Arc<Catalogue>) {
        self.discovery.latest.store(Some(Arc::clone(catalogue)));
        let groups = catalogue.groups();
        self.status.send_if_modified(|status| {
            let changed = *status.groups != *groups;
            if changed {
                status.groups = Arc::from(groups);
            }
            changed
        });
    }

    async fn ask_catalogue(self: &Arc<Self>, deadline: Deadline) -> Result<Catalogue, CallError> {
        let mut all = Vec::new();
        for root in ["/api", "/apis"] {
            let request = root_request(root);
            let answer = self.call(&request, ASKED, deadline).await?;
            match parse_aggregated(&answer.body)? {
                Some(served) => all.extend(served),
                None => return self.ask_legacy(deadline).await,
            }
        }
        Ok(Catalogue(all))
    }

    /// For servers without aggregated discovery (before 1.26): one request a group version.
    async fn ask_legacy(self: &Arc<Self>, deadline: Deadline) -> Result<Catalogue, CallError> {
        let groups: GroupList = self.read_json("/apis", deadline).await?;
        let mut versions = vec![(String::new(), "v1".to_owned())];
        for group in groups.groups {
            for version in group.versions {
                versions.push((group.name.clone(), version.version));
            }
        }
        let mut all = Vec::new();
        for (group, version) in versions.into_iter().take(LEGACY_MAX) {
            let Ok(path) = Path::group_version(&group, &version) else {
                continue;
            };
            let request = Request::get(path, Accept::Json);
            let answer = self.call(&request, ASKED, deadline).await?;
            let list: ResourceList = parse(&answer.body)?;
            all.extend(list.resources.into_iter().filter_map(|r| {
                let gvr = Gvr::new(&group, &version, &r.name).ok()?;
                Some(Served {
                    gvr,
                    kind: r.kind,
                    namespaced: r.namespaced,
                    verbs: r.verbs,
                })
            }));
        }
        Ok(Catalogue(all))
    }

    async fn read_json<T: for<'a> Deserialize<'a>>(
        self: &Arc<Self>,
        path: &'static str,
        deadline: Deadline,
    ) -> Result<T, CallError> {
        let request = Request::get(Path::fixed(path), Accept::Json);
        let answer = self.call(&request, ASKED, deadline).await?;
        parse(&answer.body)
    }
}

const ASKED: Asked<'static> = Asked::of("discovery");

/// None if the server does not know aggregated discovery.
async fn aggregated_on(connection: &Connection) -> Result<Option<Catalogue>, CallError> {
    let deadline = Deadline::after(FRESH).instant();
    let mut all = Vec::new();
    for root in ["/api", "/apis"] {
        let request = root_request(root);
        let answer = exchange_on(connection, &request, ASKED, deadline).await?;
        match parse_aggregated(&answer.body)? {
            Some(served) => all.extend(served),
            None => return Ok(None),
        }
    }
    Ok(Some(Catalogue(all)))
}

fn root_request(root: &'static str) -> Request {
    Request {
        max_body: PAGE_MAX,
        ..Request::get(Path::fixed(root), Accept::Discovery)
    }
}

fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, CallError> {
    json::text(body)
        .and_then(|text| json::parse(text))
        .map_err(|e| CallError::malformed(format_args!("discovery: {e}"), WriteOutcome::NotSent))
}

/// None if the server does not know aggregated discovery.
fn parse_aggregated(body: &[u8]) -> Result<Option<Vec<Served>>, CallError> {
    let list: Aggregated = parse(body)?;
    if list.kind != "APIGroupDiscoveryList" {
        return Ok(None);
    }
    let mut all = Vec::new();
    for group in list.items {
        for version in group.versions {
            for resource in version.resources {
                let name = group.metadata.name.as_deref().unwrap_or_default();
                // A type whose name we would not send is a type we cannot serve.
                let Ok(gvr) = Gvr::new(name, &version.version, &resource.resource) else {
                    continue;
                };
                all.push(Served {
                    gvr,
                    kind: resource.response_kind.map(|k| k.kind).unwrap_or_default(),
                    namespaced: resource.scope == "Namespaced",
                    verbs: resource.verbs,
                });
            }
        }
    }
    Ok(Some(all))
}

#[derive(Deserialize)]
struct Aggregated {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    items: Vec<AggregatedGroup>,
}

#[derive(Deserialize)]
struct AggregatedGroup {
    #[serde(default)]
    metadata: GroupMeta,
    #[serde(default)]
    versions: Vec<AggregatedVersion>,
}

#[derive(Deserialize, Default)]
struct GroupMeta {
    name: Option<String>,
}

#[derive(Deserialize)]
struct AggregatedVersion {
    version: String,
    #[serde(default)]
    resources: Vec<AggregatedResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedResource {
    resource: String,
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    groups: Vec<LegacyGroup>,
}

#[derive(Deserialize)]
struct LegacyGroup {
    name: String,
    #[serde(default)]
    versions: Vec<LegacyVersion>,
}

#[derive(Deserialize)]
struct LegacyVersion {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<LegacyResource>,
}

#[derive(Deserialize)]
struct LegacyResource {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_discovery_becomes_a_catalogue() {
        let body = br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[
            {"metadata":{"name":"velero.io"},"versions":[{"version":"v1","resources":[
                {"resource":"backups","responseKind":{"group":"","version":"","kind":"Backup"},"scope":"Namespaced","verbs":["get","list"]},
                {"resource":"../evil","responseKind":{"kind":"X"},"scope":"Cluster"}]}]}]}"#;
        let catalogue = Catalogue(parse_aggregated(body).unwrap().unwrap());
        let gvr = Gvr::new("velero.io", "v1", "backups").unwrap();
        assert_eq!(catalogue.kind(&gvr), Some("Backup"));
        assert_eq!(catalogue.groups(), ["velero.io"]);
        assert_eq!(catalogue.types("velero.io").count(), 1);
        assert_eq!(catalogue.types("apps").count(), 0);
    }

    #[test]
    fn an_old_servers_answer_asks_for_the_old_way() {
        let body = br#"{"kind":"APIGroupList","groups":[]}"#;
        assert_eq!(parse_aggregated(body).unwrap(), None);
        assert!(parse_aggregated(b"<html>").is_err());
    }
}
