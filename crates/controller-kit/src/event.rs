//! Events on hub objects: published in the background, bounded, never in the way of a reconcile.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use crate::text::{chain, truncate};

/// The API takes notes of less than 1 kB.
const NOTE_BYTES: usize = 1000;
const QUEUE: usize = 256;
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// A process that ends gives its lease back; a hub that does not answer must not hold that up.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

const WINDOW: Duration = Duration::from_mins(1);
const EVENTS_PER_WINDOW: u32 = 10;
/// Objects whose events are counted at the same time; cluster events of others are dropped.
const COUNTED_OBJECTS: usize = 1024;

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It is.
    Normal,
    /// It is not.
    Warning,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Whether it is as it should be.
    pub severity: Severity,
    /// One word, `UpperCamelCase`.
    pub reason: &'static str,
    /// What the controller was doing, one word.
    pub action: &'static str,
    /// A sentence; cut below 1 kB.
    pub note: String,
    /// The object that the event is about beside the one it is shown at, such as a cluster.
    pub related: Option<ObjectReference>,
}

/// Publishes events of one process. Clones share queue and limits.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Order>,
    limiter: Arc<Mutex<Limiter>>,
}

enum Order {
    Publish(Box<(ObjectReference, Event)>),
    Flush(oneshot::Sender<()>),
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events reported by `controller`, a constant such as `backup-controller`; `instance` tells
    /// replicas apart.
    pub fn new(client: Client, controller: &str, instance: Option<String>) -> Self {
        let reporter = Reporter {
            controller: controller.to_owned(),
            instance,
        };
        let recorder = Recorder::new(client, reporter);
        Self::with_sink(move |regarding, event| {
            let recorder = recorder.clone();
            async move { publish(&recorder, &regarding, event).await }
        })
    }

    fn with_sink<F>(sink: impl Fn(ObjectReference, Event) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let (queue, mut orders) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            while let Some(order) = orders.recv().await {
                match order {
                    Order::Publish(order) => sink(order.0, order.1).await,
                    // whoever asked may have stopped waiting
                    Order::Flush(done) => _ = done.send(()),
                }
            }
        });
        Self {
            queue,
            limiter: Arc::default(),
        }
    }

    /// Publishes an event about the object itself, such as a change of its phase.
    pub fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, event: Event) {
        self.enqueue(object.object_ref(&()), event);
    }

    /// Publishes an event about one cluster of the object: at most 10 an object and minute, then
    /// one with the count of the others.
    pub fn publish_cluster<K: Resource<DynamicType = ()>>(&self, object: &K, event: Event) {
        let regarding = object.object_ref(&());
        let verdict = self
            .limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(&key(&regarding), Instant::now());
        match verdict {
            Verdict::Publish => self.enqueue(regarding, event),
            Verdict::Count => {}
            Verdict::FirstOver { window_ends } => {
                tokio::spawn(self.clone().sum_up(regarding, event, window_ends));
            }
        }
    }

    /// Waits until what was published so far has been sent, for 3 s at most; for the end of a process.
    pub async fn flush(&self) {
        let flushed = async {
            let (done, sent) = oneshot::channel();
            if self.queue.send(Order::Flush(done)).await.is_ok() {
                // an error says that the task is gone, and nothing more will be sent
                let _ = sent.await;
            }
        };
        if timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
            tracing::warn!("the last events were not published in time");
        }
    }

    async fn sum_up(self, regarding: ObjectReference, first: Event, window_ends: Instant) {
        sleep_until(window_ends).await;
        let count = self
            .limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close(&key(&regarding));
        let note = format!(
            "{count} more events of clusters within a minute; first: {}",
            first.note
        );
        let event = Event {
            note,
            related: None,
            ..first
        };
        self.enqueue(regarding, event);
    }

    fn enqueue(&self, regarding: ObjectReference, event: Event) {
        let reason = event.reason;
        let order = Order::Publish(Box::new((regarding, event)));
        if self.queue.try_send(order).is_err() {
            tracing::warn!(reason, "event dropped: too many at once");
        }
    }
}

async fn publish(recorder: &Recorder, regarding: &ObjectReference, event: Event) {
    let reason = event.reason;
    let event = KubeEvent {
        type_: match event.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        },
        reason: event.reason.to_owned(),
        note: Some(truncate(&event.note, NOTE_BYTES)),
        action: event.action.to_owned(),
        secondary: event.related,
    };
    let failure = match timeout(PUBLISH_TIMEOUT, recorder.publish(&event, regarding)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => chain(&error),
        Err(_elapsed) => "the hub does not answer".to_owned(),
    };
    let name = regarding.name.as_deref().unwrap_or_default();
    tracing::warn!(
        reason,
        object = name,
        error = failure,
        "event not published"
    );
}

fn key(regarding: &ObjectReference) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    match &regarding.uid {
        Some(uid) => uid.clone(),
        None => format!(
            "{}/{}/{}",
            part(&regarding.kind),
            part(&regarding.namespace),
            part(&regarding.name)
        ),
    }
}

/// Counts cluster events by object, in windows of a minute.
#[derive(Default)]
struct Limiter {
    windows: HashMap<String, Window>,
}

struct Window {
    ends: Instant,
    published: u32,
    held_back: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Publish,
    /// The first one over the limit: the sum is due when the window ends.
    FirstOver {
        window_ends: Instant,
    },
    Count,
}

impl Limiter {
    fn admit(&mut self, object: &str, now: Instant) -> Verdict {
        if !self.windows.contains_key(object) && self.windows.len() >= COUNTED_OBJECTS {
            self.windows.retain(|_, window| window.is_open(now));
            if self.windows.len() >= COUNTED_OBJECTS {
                return Verdict::Count;
            }
        }
        let window = self
            .windows
            .entry(object.to_owned())
            .or_insert_with(|| Window::new(now));
        if !window.is_open(now) {
            *window = Window::new(now);
        }
        if window.published < EVENTS_PER_WINDOW {
            window.published += 1;
            return Verdict::Publish;
        }
        window.held_back += 1;
        if window.held_back > 1 {
            return Verdict::Count;
        }
        Verdict::FirstOver {
            window_ends: window.ends,
        }
    }

    /// Ends a window; returns how many events it held back.
    fn close(&mut self, object: &str) -> u32 {
        self.windows
            .remove(object)
            .map_or(0, |window| window.held_back)
    }
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            ends: now + WINDOW,
            published: 0,
            held_back: 0,
        }
    }

    /// A window that held something back lives until its sum is published.
    fn is_open(&self, now: Instant) -> bool {
        now < self.ends || self.held_back > 0
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn unreachable(cluster: u32) -> Event {
        Event {
            severity: Severity::Warning,
            reason: "Unreachable",
            action: "Follow",
            note: format!("cluster {cluster} does not answer"),
            related: None,
        }
    }

    fn object(uid: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.uid = Some(uid.to_owned());
        object
    }

    fn recorded() -> (Events, mpsc::UnboundedReceiver<String>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let events = Events::with_sink(move |_, event| {
            sender.send(event.note).unwrap();
            std::future::ready(())
        });
        (events, receiver)
    }

    #[tokio::test(start_paused = true)]
    async fn ten_cluster_events_a_minute_are_published_and_then_one_with_the_count() {
        let (events, mut notes) = recorded();
        for cluster in 1..=40 {
            events.publish_cluster(&object("a"), unreachable(cluster));
        }
        events.publish_cluster(&object("b"), unreachable(99));
        events.publish(&object("a"), unreachable(0));
        for cluster in (1..=10).chain([99, 0]) {
            let expected = format!("cluster {cluster} does not answer");
            assert_eq!(notes.recv().await.unwrap(), expected);
        }
        let before = Instant::now();
        let sum = notes.recv().await.unwrap();
        assert!(sum.starts_with("30 more events of clusters"), "{sum}");
        assert!(sum.contains("cluster 11 does not answer"), "{sum}");
        assert!(before.elapsed() > WINDOW / 2);

        events.publish_cluster(&object("a"), unreachable(7));
        assert_eq!(notes.recv().await.unwrap(), "cluster 7 does not answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_waits_for_what_was_published_before() {
        let (events, mut notes) = recorded();
        for cluster in 0..50 {
            events.publish(&object("a"), unreachable(cluster));
        }
        events.flush().await;
        let mut published = 0;
        while notes.try_recv().is_ok() {
            published += 1;
        }
        assert_eq!(published, 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_does_not_wait_long_for_a_hub_that_does_not_answer() {
        let events = Events::with_sink(|_, _| std::future::pending());
        for cluster in 0..300 {
            events.publish(&object("a"), unreachable(cluster));
        }
        let before = Instant::now();
        events.flush().await;
        assert_eq!(before.elapsed(), FLUSH_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn counts_of_many_objects_stay_bounded() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        for n in 0..COUNTED_OBJECTS {
            assert_eq!(limiter.admit(&n.to_string(), now), Verdict::Publish);
        }
        assert_eq!(limiter.admit("one more", now), Verdict::Count);
        assert_eq!(limiter.admit("one more", now + WINDOW), Verdict::Publish);
        assert_eq!(limiter.windows.len(), 1, "closed windows make room");
    }
}
