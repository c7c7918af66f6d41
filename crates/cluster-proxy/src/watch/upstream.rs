//! The task of one shared watch: all there is, then what changes, again and again, over reconnects
//! and 410s.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use proxy_client::proto::link_state;
use rand::RngExt;
use tokio::time::{Instant, sleep};

use super::{
    SharedWatch, WatchKey,
    cache::{Cache, Change, is_older},
    event::{Event, parse_event},
    proof::Proven,
    selector,
    stop::{Stop, ended},
    stream::OpenWatch,
};
use crate::{
    error::{CallError, WriteOutcome},
    json::{Projected, Projection, TypeHint},
    link::{
        Link, Session,
        connection::LastRead,
        exchange::{self, Accept, Request},
    },
    request::{answer::Asked, path::Path},
};

const HEADERS_DEADLINE: Duration = Duration::from_secs(10);
/// A watch that ends sooner than this is not reopened at once.
pub(super) const SHORT_WATCH: Duration = Duration::from_secs(1);
/// One that stands for this long has not failed.
const LONG_WATCH: Duration = Duration::from_secs(10);

/// Runs for as long as someone is attached.
pub(super) async fn run(link: Arc<Link>, watch: Weak<SharedWatch>, key: WatchKey) {
    let mut upstream = Upstream {
        what: key.gvr.to_string(),
        api_version: key.gvr.api_version(),
        link,
        watch,
        key,
        member_uid: None,
        revision: None,
        proven: Proven::default(),
        failures: 0,
        opened: None,
        not_served: false,
    };
    let mut sessions = upstream.link.sessions();
    let mut status = upstream.link.follow();
    loop {
        let Some(session) = sessions.borrow_and_update().clone() else {
            let (state, reason) = {
                let status = status.borrow_and_update();
                // Between two connections a link that is up is only down for a moment.
                let state = match status.link_state() {
                    link_state::State::Up => link_state::State::Down,
                    state => state,
                };
                (state, status.condition.reason)
            };
            upstream.set_state(state, reason, None);
            tokio::select! {
                changed = sessions.changed() => if changed.is_err() { return },
                changed = status.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let stop = tokio::select! {
            stop = upstream.follow(&session) => stop,
            // Lost or replaced: what was read so far stands, and the next one resumes from it.
            changed = sessions.changed() => match changed {
                Ok(()) => {
                    upstream.settle();
                    continue;
                }
                Err(_) => return,
            },
        };
        let pause = upstream.stopped(stop);
        tokio::select! {
            () = sleep(pause) => {}
            changed = sessions.changed() => if changed.is_err() { return },
        }
    }
}

pub(super) struct Upstream {
    pub(super) link: Arc<Link>,
    watch: Weak<SharedWatch>,
    pub(super) key: WatchKey,
    pub(super) what: String,
    api_version: String,
    /// The member that the cache is a copy of.
    pub(super) member_uid: Option<Arc<str>>,
    /// Where to resume; None asks for a list.
    pub(super) revision: Option<String>,
    pub(super) proven: Proven,
    /// In a row, without a watch that stood in between.
    pub(super) failures: u32,
    /// Since when the watch stands.
    opened: Option<Instant>,
    pub(super) not_served: bool,
}

impl Upstream {
    /// Lists if need be, and watches until something stops it.
    async fn follow(&mut self, session: &Arc<Session>) -> Stop {
        match &self.member_uid {
            Some(uid) if *uid != session.member_uid => return Stop::Reincarnated,
            _ => self.member_uid = Some(Arc::clone(&session.member_uid)),
        }
        if self.selector(session).is_err() {
            return Stop::Failed(selector::no_identity());
        }
        if let Err(stop) = self.prove_revision(session).await {
            return stop;
        }
        loop {
            let begun = match &self.revision {
                Some(_) => None,
                None => match Box::pin(self.read_all(session)).await {
                    Ok(begun) => {
                        self.proven = Proven::on(session);
                        begun
                    }
                    Err(stop) => return stop,
                },
            };
            let started = Instant::now();
            let streamed = self.stream(session, begun).await;
            self.settle();
            if let Err(stop) = streamed {
                // Lists are calls, which count for the breaker by themselves.
                if let Stop::Failed(error) = &stop {
                    self.link.report(Err(error));
                }
                return stop;
            }
            if started.elapsed() < SHORT_WATCH {
                sleep(SHORT_WATCH).await;
            }
        }
    }

    /// Watches until the member ends it.
    async fn stream(
        &mut self,
        session: &Arc<Session>,
        begun: Option<OpenWatch>,
    ) -> Result<(), Stop> {
        let mut open = match begun {
            Some(open) => open,
            None => self.open(session).await?,
        };
        self.served();
        self.opened = Some(Instant::now());
        let live = Arc::clone(open.connection.last_read());
        self.set_state(link_state::State::Up, "Connected", Some(live));
        self.with(Cache::clear_error);
        let kind = self.link.known_kind(&self.key.gvr).unwrap_or_default();
        while let Some(line) = open.next_line().await? {
            self.line(&line, &kind)?;
        }
        Ok(())
    }

    /// Opens a watch from the known resource version, or one that begins with all there is.
    pub(super) async fn open(&self, session: &Session) -> Result<OpenWatch, Stop> {
        let seconds: u32 = rand::rng().random_range(240..=480);
        let path = self
            .path(session)?
            .with("watch", "1")
            .with("allowWatchBookmarks", "true")
            .with("timeoutSeconds", &seconds.to_string());
        let path = match &self.revision {
            Some(revision) => path.with("resourceVersion", revision),
            None => path
                .with("sendInitialEvents", "true")
                .with("resourceVersionMatch", "NotOlderThan"),
        };
        let request = Request::get(path, self.accept(Accept::Metadata));
        let deadline = Instant::now() + HEADERS_DEADLINE;
        let (connection, place) = self.link.watch_connection(session).await?;
        let head = exchange::send(&connection, &request, deadline).await?;
        if !head.status().is_success() {
            let answer = exchange::read(head, &request, deadline).await?;
            return Err(match answer.success(self.asked()) {
                Err(error) if error.http_code == Some(410) => Stop::Gone,
                Err(error) => Stop::Failed(error),
                Ok(_) => CallError::malformed("not a watch", WriteOutcome::NotSent).into(),
            });
        }
        self.link.report(Ok(()));
        self.link.metrics().upstream_watch();
        let counted = self.link.metrics().member_stream();
        let lasts = Duration::from_secs(seconds.into());
        Ok(OpenWatch::new(
            head.into_body(),
            lasts,
            connection,
            place,
            counted,
        ))
    }

    fn line(&mut self, line: &[u8], kind: &str) -> Result<(), Stop> {
        let event = parse_event(line, self.key.projection, self.hint(kind))
            .map_err(|e| CallError::malformed(e, WriteOutcome::NotSent))?;
        self.link.seen();
        let revision = match event {
            Event::Error { code, message } => return Err(ended(code, &message)),
            Event::Unbelievable => {
                self.link.metrics().foreign_event();
                return Ok(());
            }
            Event::Bookmark { revision, .. } => {
                if self.is_older(&revision) {
                    return Err(Stop::Reincarnated);
                }
                self.with(|cache| cache.bookmark(revision.clone()));
                revision
            }
            Event::Upsert(object) | Event::Delete(object) if !self.belongs(&object) => {
                self.link.metrics().foreign_event();
                return Ok(());
            }
            Event::Upsert(object) => {
                let revision = object.resource_version.clone();
                match self.with(|cache| cache.upsert(object)) {
                    Some(Ok(change)) => self.link.metrics().event(change == Change::Stale),
                    _ => return Err(Stop::OverBudget),
                }
                revision
            }
            Event::Delete(object) => {
                self.with(|cache| cache.delete(&object));
                self.link.metrics().event(false);
                object.resource_version
            }
        };
        if !revision.is_empty() && !self.is_older(&revision) {
            self.revision = Some(revision);
        }
        Ok(())
    }

    /// Ends a round: what was half read is given up, and a watch that stood for a while makes good the
    /// failures before it.
    pub(super) fn settle(&mut self) {
        self.with(Cache::stop_reading);
        let stood = |at: Instant| at.elapsed() >= LONG_WATCH;
        if self.opened.take().is_some_and(stood) {
            self.failures = 0;
        }
    }

    /// The member serves the type.
    pub(super) fn served(&mut self) {
        if std::mem::take(&mut self.not_served) {
            self.link.follow_catalogue(&self.key.gvr, true);
        } else {
            self.link.compare_catalogue(&self.key.gvr, true);
        }
    }

    pub(super) fn path(&self, session: &Session) -> Result<Path, CallError> {
        let selector = self.selector(session)?;
        let path = Path::collection(&self.key.gvr, &self.key.namespace)?;
        Ok(path.with("labelSelector", &selector))
    }

    fn selector(&self, session: &Session) -> Result<String, CallError> {
        selector::expand(&self.key.selector, &session.member_uid)
    }

    pub(super) fn accept(&self, metadata: Accept) -> Accept {
        match self.key.projection {
            Projection::Full | Projection::WithManagedFields => Accept::Json,
            Projection::Metadata | Projection::SecretMetadata => metadata,
        }
    }

    pub(super) fn hint<'a>(&'a self, kind: &'a str) -> TypeHint<'a> {
        TypeHint {
            api_version: &self.api_version,
            kind,
        }
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        Asked::read(&self.key.gvr)
    }

    /// A subscriber never sees an object from outside of its subscription, whatever a member sends.
    pub(super) fn belongs(&self, object: &Projected) -> bool {
        !object.name.is_empty()
            && (self.key.namespace.is_empty() || object.namespace == self.key.namespace)
    }

    fn is_older(&self, revision: &str) -> bool {
        self.revision
            .as_deref()
            .is_some_and(|known| is_older(revision, known))
    }

    pub(super) fn report(&self, error: &CallError) {
        self.with(|cache| cache.set_error(error));
    }

    pub(super) fn set_state(
        &self,
        state: link_state::State,
        reason: &str,
        live: Option<Arc<LastRead>>,
    ) {
        self.with(|cache| cache.set_state(state, reason, live));
    }

    /// None once nobody is attached any more.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Cache) -> T) -> Option<T> {
        self.watch.upgrade().map(|watch| f(&mut watch.cache()))
    }
}
