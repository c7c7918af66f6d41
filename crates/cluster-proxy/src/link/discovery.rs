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
    catalogue::{Catalogue, GroupList, ResourceList, Served, TYPES_MAX, parse, parse_aggregated},
    connection::Connection,
    exchange::{Accept, Request},
};
use crate::{
    error::{CallError, WriteOutcome},
    request::{
        answer::Asked,
        deadline::Deadline,
        path::{Gvr, Path},
    },
};

/// A cached answer is believed for this long.
const FRESH: Duration = Duration::from_secs(10);
const LEGACY_MAX: usize = 256;
/// All types of a member with every well-known operator take about 1 MiB.
const BODY_MAX: usize = 4 * 1024 * 1024;
const LAG_TRIES: u32 = 5;
const LAG_PAUSE: Duration = Duration::from_secs(1);

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
        Ok(Catalogue::new(all))
    }

    /// For servers without aggregated discovery (before 1.26): one request a group version.
    async fn ask_legacy(self: &Arc<Self>, deadline: Deadline) -> Result<Catalogue, CallError> {
        let groups: GroupList = self.read_json("/apis", deadline).await?;
        let mut versions = vec![(String::new(), "v1".to_owned())];
        for group in groups.groups {
            for version in group.versions {
                let legal = Path::group_version(&group.name, &version.version).is_ok();
                if legal && versions.len() < LEGACY_MAX {
                    versions.push((group.name.clone(), version.version));
                }
            }
        }
        let mut all = Vec::new();
        for (group, version) in versions {
            if all.len() >= TYPES_MAX {
                break;
            }
            let Ok(path) = Path::group_version(&group, &version) else {
                continue;
            };
            let request = get(path, Accept::Json);
            let answer = self.call(&request, ASKED, deadline).await?;
            let list: ResourceList = parse(&answer.body)?;
            all.extend(list.resources.into_iter().filter_map(|r| {
                let gvr = Gvr::new(&group, &version, &r.name);
                Served::checked(gvr, r.kind, r.namespaced, r.verbs)
            }));
        }
        Ok(Catalogue::new(all))
    }

    async fn read_json<T: for<'a> Deserialize<'a>>(
        self: &Arc<Self>,
        path: &'static str,
        deadline: Deadline,
    ) -> Result<T, CallError> {
        let request = get(Path::fixed(path), Accept::Json);
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
    Ok(Some(Catalogue::new(all)))
}

fn root_request(root: &'static str) -> Request {
    get(Path::fixed(root), Accept::Discovery)
}

fn get(path: Path, accept: Accept) -> Request {
    Request {
        max_body: BODY_MAX,
        ..Request::get(path, accept)
    }
}
