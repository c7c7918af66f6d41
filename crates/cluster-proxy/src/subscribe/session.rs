//! One `Subscribe` stream: what the client asks for on one side, its queue on the other.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use api_types::key::ClusterKey;
use jiff::{SignedDuration, Timestamp};
use proxy_client::proto::{
    self, SubscribeFrame, SubscribeRequest, subscribe_frame::F, subscribe_request::Op,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::{Code, Status, Streaming};

use super::{
    queue::Queue,
    selection::{Selection, cluster_key},
    subscription::Subscription,
};
use crate::{
    error::{CallError, Retryable},
    inventory::cluster_ref,
    link::{Link, status::timestamp},
    policy::{Access, Cluster, Grant, Verb},
    request::{name, path::Gvr},
    server::{is_too_large, too_large},
    services::{Core, narrowed, projection},
    watch::{WatchKey, selector},
};

const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(10);
const STALE: SignedDuration = SignedDuration::from_secs(90);
const SUBSCRIPTIONS_MAX: usize = 64;
const CLUSTERS_MAX: usize = 10_000;

type Output = mpsc::Sender<Result<SubscribeFrame, Status>>;

/// A stream of one caller.
struct Session {
    core: Arc<Core>,
    caller: String,
    queue: Arc<Queue>,
    subscriptions: HashMap<u32, Subscription>,
}

/// Runs a stream to its end.
pub async fn run(
    core: Arc<Core>,
    caller: String,
    mut input: Streaming<SubscribeRequest>,
    output: Output,
) {
    let first = timeout(OPEN_TIMEOUT, input.message());
    let Some(first) = core.stop.run_until_cancelled(first).await else {
        let _ = output.send(Err(draining().into())).await;
        return;
    };
    let open = match first {
        Ok(Ok(Some(SubscribeRequest {
            op: Some(Op::Open(open)),
        }))) => open,
        Ok(Ok(None) | Err(_)) => return,
        Ok(Ok(Some(_))) | Err(_) => {
            let error = CallError::invalid("op", "the first message must be Open, within 10 s");
            let _ = output.send(Err(error.into())).await;
            return;
        }
    };
    tracing::debug!(caller, client = %open.client_name, "subscribe stream opened");
    let frame_max = usize::try_from(open.max_frame_bytes).unwrap_or(0);
    let session = Session {
        core,
        caller,
        queue: Queue::new(frame_max),
        subscriptions: HashMap::new(),
    };
    if let Err(error) = session.follow(input, &output).await {
        let _ = output.send(Err(error.into())).await;
    }
}

impl Session {
    async fn follow(
        mut self,
        mut input: Streaming<SubscribeRequest>,
        output: &Output,
    ) -> Result<(), CallError> {
        let mut registry = self.core.registry.changes();
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.core.stop.clone();
        loop {
            let frame = tokio::select! {
                () = stop.cancelled() => return Err(draining()),
                message = input.message() => match message {
                    Ok(Some(SubscribeRequest { op: Some(op) })) => {
                        self.handle(op, output).await?;
                        continue;
                    }
                    Ok(Some(_)) => continue,
                    Err(status) if is_too_large(&status) => return Err(too_large()),
                    // The client is gone, or done.
                    Ok(None) | Err(_) => return Ok(()),
                },
                changed = registry.changed() => {
                    if changed.is_err() {
                        return Err(draining());
                    }
                    self.reconcile_all(output).await;
                    continue;
                }
                _ = heartbeat.tick() => {
                    // A changed policy also ends what it no longer allows.
                    self.reconcile_all(output).await;
                    self.core.metrics.coalesced(self.queue.take_coalesced());
                    self.heartbeat()
                }
                frame = self.queue.next() => frame,
            };
            // Waits here while the client does not read; meanwhile the queue coalesces.
            let sent = tokio::select! {
                sent = output.send(Ok(frame)) => sent,
                () = stop.cancelled() => return Err(draining()),
            };
            if sent.is_err() {
                return Ok(());
            }
            for read in self.queue.take_read() {
                self.core.metrics.delivered(read.elapsed());
            }
        }
    }

    async fn handle(&mut self, op: Op, output: &Output) -> Result<(), CallError> {
        match op {
            Op::Open(_) => Err(CallError::invalid("op", "Open comes once")),
            Op::Add(add) => {
                let sub_id = add.sub_id;
                match self.add(add) {
                    Ok(()) => self.reconcile(sub_id, output).await,
                    Err(error) => refuse(output, sub_id, None, &error).await,
                }
                Ok(())
            }
            Op::Remove(remove) if remove.clusters.is_empty() => {
                self.end(remove.sub_id);
                Ok(())
            }
            Op::Remove(remove) => {
                let gone = remove
                    .clusters
                    .into_iter()
                    .map(|cluster| cluster_key(Some(cluster)))
                    .collect::<Result<HashSet<_>, _>>();
                match gone {
                    Ok(gone) => {
                        if let Some(subscription) = self.subscriptions.get_mut(&remove.sub_id) {
                            subscription.exclude(gone);
                        }
                        self.reconcile(remove.sub_id, output).await;
                    }
                    Err(error) => refuse(output, remove.sub_id, None, &error).await,
                }
                Ok(())
            }
            Op::Retarget(retarget) => {
                match Selection::from_proto(retarget.clusters) {
                    Ok(selection) => {
                        if let Some(subscription) = self.subscriptions.get_mut(&retarget.sub_id) {
                            subscription.retarget(selection);
                        }
                        self.reconcile(retarget.sub_id, output).await;
                    }
                    Err(error) => refuse(output, retarget.sub_id, None, &error).await,
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, add: proto::Add) -> Result<(), CallError> {
        if self.subscriptions.contains_key(&add.sub_id) {
            return Err(CallError::invalid("sub_id", "is in use on this stream"));
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(too_many("64 subscriptions on one stream"));
        }
        let gvr = Gvr::from_proto(add.gvr)?;
        if !add.namespace.is_empty() {
            name::namespace(&add.namespace)?;
        }
        name::selector("label_selector", &add.label_selector)?;
        let (selector, filter) = selector::split("label_selector", &add.label_selector)?;
        let access = watching(&gvr, &add.namespace);
        self.core.allow_anywhere(&self.caller, access)?;
        // What the policy grants on each member narrows it there.
        let most = Grant {
            metadata_only: false,
        };
        let projection = projection(add.projection, &gvr, most)?;
        let key = WatchKey {
            gvr,
            namespace: add.namespace,
            selector,
            projection,
        };
        let subscription = Subscription::new(key, filter, Selection::from_proto(add.clusters)?);
        self.subscriptions.insert(add.sub_id, subscription);
        Ok(())
    }

    fn end(&mut self, sub_id: u32) {
        if let Some(subscription) = self.subscriptions.remove(&sub_id) {
            subscription.close();
        }
    }

    async fn reconcile_all(&mut self, output: &Output) {
        let ids: Vec<u32> = self.subscriptions.keys().copied().collect();
        for sub_id in ids {
            self.reconcile(sub_id, output).await;
        }
    }

    /// Makes a subscription's attachments equal to its set of clusters, as far as the policy covers it.
    async fn reconcile(&mut self, sub_id: u32, output: &Output) {
        let Some(watched) = self.subscriptions.get(&sub_id).map(|s| s.key().clone()) else {
            return;
        };
        let policy = self.core.policy.current();
        let rights = policy.rights(&self.caller, watching(&watched.gvr, &watched.namespace));
        if let Err(error) = rights.anywhere() {
            if let Some(subscription) = self.subscriptions.remove(&sub_id) {
                subscription.close();
            }
            return refuse(output, sub_id, None, &error).await;
        }
        let Some(subscription) = self.subscriptions.get_mut(&sub_id) else {
            return;
        };
        let may = |link: &Link| {
            let cluster = Cluster {
                key: link.key(),
                labels: &link.labels(),
            };
            let granted = rights.on(cluster);
            granted.map(|grant| narrowed(watched.projection, grant))
        };
        let links = self.core.registry.links();
        let denied = |error: &CallError| self.core.metrics.denied(&self.caller, error);
        for (key, error) in subscription.let_go(&links, &may) {
            denied(&error);
            removed(output, sub_id, &key).await;
            refuse(output, sub_id, Some(&key), &error).await;
        }
        let (missing, left_out) = subscription.missing(&links, &may);
        for (key, error) in left_out {
            denied(&error);
            refuse(output, sub_id, Some(&key), &error).await;
        }
        let mut free = CLUSTERS_MAX.saturating_sub(subscription.len());
        for member in missing {
            if free == 0 {
                let error = too_many("10000 clusters in one subscription");
                return refuse(output, sub_id, Some(member.link.key()), &error).await;
            }
            free -= 1;
            subscription.attach(sub_id, member, &self.queue);
        }
        if self.core.registry.is_synced() {
            for key in subscription.newly_unknown(&links) {
                let error = CallError::unknown_cluster(&key);
                refuse(output, sub_id, Some(&key), &error).await;
            }
        }
    }

    fn heartbeat(&self) -> SubscribeFrame {
        let now = Timestamp::now();
        let mut oldest: HashMap<&ClusterKey, Timestamp> = HashMap::new();
        for (key, as_of) in self.subscriptions.values().flat_map(Subscription::as_of) {
            let known = oldest.entry(key).or_insert(as_of);
            *known = as_of.min(*known);
        }
        let stale = oldest
            .into_iter()
            .filter(|(_, as_of)| now.duration_since(*as_of) > STALE)
            .map(|(key, as_of)| proto::Stale {
                cluster: Some(cluster_ref(key)),
                as_of: Some(timestamp(as_of)),
            })
            .collect();
        SubscribeFrame {
            f: Some(F::Heartbeat(proto::Heartbeat {
                server_time: Some(timestamp(now)),
                stale,
            })),
        }
    }
}

async fn refuse(output: &Output, sub_id: u32, cluster: Option<&ClusterKey>, error: &CallError) {
    let frame = SubscribeFrame {
        f: Some(F::Error(proto::SubError {
            sub_id,
            cluster: cluster.map(cluster_ref),
            error: Some(error.to_proto()),
        })),
    };
    // The client is gone: the stream's end is noticed by its loop.
    let _ = output.send(Ok(frame)).await;
}

/// At once, where the queue's word would come after what is said next.
async fn removed(output: &Output, sub_id: u32, cluster: &ClusterKey) {
    let frame = SubscribeFrame {
        f: Some(F::Removed(proto::ClusterRemoved {
            sub_id,
            cluster: Some(cluster_ref(cluster)),
        })),
    };
    // As in `refuse`.
    let _ = output.send(Ok(frame)).await;
}

fn watching<'a>(gvr: &'a Gvr, namespace: &'a str) -> Access<'a> {
    Access {
        verb: Verb::Watch,
        gvr,
        subresource: "",
        namespace,
        name: "",
    }
}

fn too_many(what: &str) -> CallError {
    CallError::proxy(
        Code::ResourceExhausted,
        "TOO_MANY_SUBSCRIPTIONS",
        format!("more than {what} are not served"),
    )
}

/// The proxy is going away.
pub fn draining() -> CallError {
    CallError::proxy(Code::Unavailable, "DRAINING", "the proxy is shutting down")
        .retry(Retryable::Yes, Some(Duration::from_secs(1)))
}
