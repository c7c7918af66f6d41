//! The task of one shared watch: LIST, then WATCH, again and again, over reconnects and 410s.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http_body_util::BodyExt;
use proxy_client::proto::link_state;
use rand::RngExt;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{
    SharedWatch, SyncReason, WatchKey,
    cache::{Change, cost, is_older},
    event::{Event, Page, parse_event, parse_page},
    lines::{LINE_MAX, LineSplitter},
    selector,
};
use crate::{
    error::{CallError, Retryable, WriteOutcome},
    json::{Projected, Projection, TypeHint},
    link::{
        Link, Session,
        breaker::{backoff, jitter},
        connection::Connection,
        exchange::{self, Accept, PAGE_MAX, Request},
    },
    request::{answer::Asked, deadline::Deadline, path::Path},
};

const PAGE_SIZE: &str = "500";
const PAGE_DEADLINE: Duration = Duration::from_mins(1);
const HEADERS_DEADLINE: Duration = Duration::from_secs(10);
/// A refusal by RBAC or a full cache is tried again this slowly.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// A watch that ends sooner than this is not reopened at once.
const SHORT_WATCH: Duration = Duration::from_secs(1);

/// What ended a round.
enum Stop {
    /// The resource version is too old: list again, send differences.
    Gone,
    /// The member is not the one it was.
    Reincarnated,
    /// All watches of the link together hold too much.
    OverBudget,
    /// Anything else.
    Failed(CallError),
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}

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
        failures: 0,
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
            upstream.set_state(state, reason, Weak::new());
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
                Ok(()) => continue,
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

struct Upstream {
    link: Arc<Link>,
    watch: Weak<SharedWatch>,
    key: WatchKey,
    what: String,
    api_version: String,
    /// The member that the cache is a copy of.
    member_uid: Option<Arc<str>>,
    /// Where to resume; None asks for a list.
    revision: Option<String>,
    failures: u32,
    not_served: bool,
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
        loop {
            if self.revision.is_none()
                && let Err(stop) = self.list(session).await
            {
                return stop;
            }
            let started = Instant::now();
            if let Err(stop) = self.stream(session).await {
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

    /// Reads the whole collection, page by page, and hands it to the cache.
    async fn list(&mut self, session: &Arc<Session>) -> Result<(), Stop> {
        let mut all: Vec<Projected> = Vec::new();
        let (mut token, mut bytes) = (String::new(), 0);
        let kind = self.link.known_kind(&self.key.gvr).unwrap_or_default();
        let revision = loop {
            let page = self.page(session, &token, &kind).await?;
            if page.oversized > 0 {
                self.report(&exchange::too_large(
                    super::event::OBJECT_MAX,
                    WriteOutcome::NotSent,
                ));
            }
            let items = page.items.into_iter().filter(|item| self.belongs(item));
            for item in items {
                bytes += cost(&item);
                all.push(item);
            }
            token = page.continue_token;
            if !self.with(|cache| cache.fits(bytes)).unwrap_or(false) {
                return Err(Stop::OverBudget);
            }
            if token.is_empty() {
                break page.resource_version;
            }
        };
        if revision.is_empty() {
            let error =
                CallError::malformed("a list without resourceVersion", WriteOutcome::NotSent);
            return Err(Stop::Failed(error));
        }
        let replaced = self.with(|cache| cache.replace(all, revision.clone()));
        if !matches!(replaced, Some(Ok(()))) {
            return Err(Stop::OverBudget);
        }
        self.revision = Some(revision);
        self.served(&session.connection);
        Ok(())
    }

    async fn page(&self, session: &Session, token: &str, kind: &str) -> Result<Page, Stop> {
        let path = self
            .path(session)?
            .with("limit", PAGE_SIZE)
            .with("continue", token);
        let request = Request {
            max_body: PAGE_MAX,
            ..Request::get(path, self.accept(Accept::MetadataList))
        };
        let deadline = Deadline::after(PAGE_DEADLINE);
        let answer = match self.link.call(&request, self.asked(), deadline).await {
            Err(error) if error.http_code == Some(410) => return Err(Stop::Gone),
            other => other?,
        };
        let hint = self.hint(kind);
        parse_page(&answer.body, self.key.projection, hint).map_err(|e| {
            let error = CallError::malformed(e, WriteOutcome::NotSent);
            self.link.report(Err(&error));
            Stop::Failed(error)
        })
    }

    /// Watches from the known resource version until the member ends it.
    async fn stream(&mut self, session: &Arc<Session>) -> Result<(), Stop> {
        let seconds = rand::rng().random_range(240..=480).to_string();
        let path = self
            .path(session)?
            .with("watch", "1")
            .with("allowWatchBookmarks", "true")
            .with(
                "resourceVersion",
                self.revision.as_deref().unwrap_or_default(),
            )
            .with("timeoutSeconds", &seconds);
        let request = Request::get(path, self.accept(Accept::Metadata));
        let deadline = Instant::now() + HEADERS_DEADLINE;
        let (connection, _place) = self.link.watch_connection(session).await?;
        let head = exchange::send(&connection, &request, deadline).await?;
        if !head.status().is_success() {
            let answer = exchange::read(head, &request, deadline).await?;
            return match answer.success(self.asked()) {
                Err(error) if error.http_code == Some(410) => Err(Stop::Gone),
                Err(error) => Err(Stop::Failed(error)),
                Ok(_) => Ok(()),
            };
        }
        self.served(&connection);
        self.link.report(Ok(()));
        self.link.metrics().upstream_watch();
        let kind = self.link.known_kind(&self.key.gvr).unwrap_or_default();
        let mut body = head.into_body();
        let mut lines = LineSplitter::new(LINE_MAX);
        while let Some(frame) = body.frame().await {
            // How a stream ends does not matter: the connection's own end is the supervisor's.
            let Ok(frame) = frame else { break };
            let Some(data) = frame.data_ref() else {
                continue;
            };
            lines.push(data);
            while let Some(line) = lines
                .next_line()
                .map_err(|e| CallError::malformed(e, WriteOutcome::NotSent))?
            {
                self.line(&line, &kind)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], kind: &str) -> Result<(), Stop> {
        let event = parse_event(line, self.key.projection, self.hint(kind))
            .map_err(|e| CallError::malformed(e, WriteOutcome::NotSent))?;
        self.link.seen();
        let revision = match event {
            Event::Error { code: 410, .. } => return Err(Stop::Gone),
            Event::Error { message, .. } => {
                let message = crate::request::answer::clean(&message);
                return Err(Stop::Failed(
                    CallError::proxy(Code::Unavailable, "WATCH_ENDED", message)
                        .retry(Retryable::Yes, Some(Duration::from_secs(1))),
                ));
            }
            Event::Bookmark(revision) => {
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

    /// Makes the state fit what happened, and says how long to wait.
    fn stopped(&mut self, stop: Stop) -> Duration {
        self.failures += 1;
        let error = match stop {
            Stop::Gone => {
                self.revision = None;
                return backoff(self.failures.saturating_sub(2), jitter()) / 10;
            }
            Stop::Reincarnated => {
                self.member_uid = None;
                self.revision = None;
                self.with(|cache| cache.reset(SyncReason::MemberReincarnated));
                return Duration::ZERO;
            }
            Stop::OverBudget => {
                self.revision = None;
                self.with(|cache| cache.reset(SyncReason::Relist));
                self.report(&over_budget(&self.what));
                return REFUSED_PAUSE;
            }
            Stop::Failed(error) => error,
        };
        tracing::debug!(cluster = %self.link.key(), what = %self.what, %error, "watch stopped");
        match (error.reason.as_str(), error.http_code) {
            ("GVR_NOT_SERVED", _) => {
                self.revision = None;
                self.set_state(
                    link_state::State::GvrNotServed,
                    "GVR_NOT_SERVED",
                    Weak::new(),
                );
                if !std::mem::replace(&mut self.not_served, true) {
                    self.link.follow_catalogue(&self.key.gvr, false);
                }
                // Soon enough to notice an installation within 10 s.
                Duration::from_secs(4) + Duration::from_secs(4).mul_f64(jitter())
            }
            (_, Some(401)) => {
                if let Some(session) = self.link.sessions().borrow().as_ref() {
                    self.link
                        .unauthorized(session.connection.credentials().digest);
                }
                REFUSED_PAUSE
            }
            (_, Some(400..=499)) | ("NO_MEMBER_IDENTITY", _) => {
                self.report(&error);
                error.retry_after.unwrap_or(REFUSED_PAUSE)
            }
            _ => error
                .retry_after
                .unwrap_or_default()
                .max(backoff(self.failures.min(4), jitter())),
        }
    }

    /// The member serves the type and the stream stands.
    fn served(&mut self, connection: &Arc<Connection>) {
        self.failures = 0;
        self.with(super::cache::Cache::clear_error);
        let live = Arc::downgrade(connection);
        self.set_state(link_state::State::Up, "Connected", live);
        if std::mem::take(&mut self.not_served) {
            self.link.follow_catalogue(&self.key.gvr, true);
        }
    }

    fn path(&self, session: &Session) -> Result<Path, CallError> {
        let selector = self.selector(session)?;
        let path = Path::collection(&self.key.gvr, &self.key.namespace)?;
        Ok(path.with("labelSelector", &selector))
    }

    fn selector(&self, session: &Session) -> Result<String, CallError> {
        selector::expand(&self.key.selector, &session.member_uid)
    }

    fn accept(&self, metadata: Accept) -> Accept {
        match self.key.projection {
            Projection::Full | Projection::WithManagedFields => Accept::Json,
            Projection::Metadata | Projection::SecretMetadata => metadata,
        }
    }

    fn hint<'a>(&'a self, kind: &'a str) -> TypeHint<'a> {
        TypeHint {
            api_version: &self.api_version,
            kind,
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            what: &self.what,
            write: false,
            secret: self.key.gvr.is_secret(),
        }
    }

    /// A subscriber never sees an object from outside of its subscription, whatever a member sends.
    fn belongs(&self, object: &Projected) -> bool {
        !object.name.is_empty()
            && (self.key.namespace.is_empty() || object.namespace == self.key.namespace)
    }

    fn is_older(&self, revision: &str) -> bool {
        self.revision
            .as_deref()
            .is_some_and(|known| is_older(revision, known))
    }

    fn report(&self, error: &CallError) {
        self.with(|cache| cache.set_error(error));
    }

    fn set_state(&self, state: link_state::State, reason: &str, live: Weak<Connection>) {
        self.with(|cache| cache.set_state(state, reason, live));
    }

    /// None once nobody is attached any more.
    fn with<T>(&self, f: impl FnOnce(&mut super::cache::Cache) -> T) -> Option<T> {
        self.watch.upgrade().map(|watch| f(&mut watch.cache()))
    }
}

fn over_budget(what: &str) -> CallError {
    CallError::proxy(
        Code::ResourceExhausted,
        "CACHE_BUDGET",
        format!(
            "watching {what} needs more than the 16 MiB that a member may use: narrow the selector"
        ),
    )
    .retry(Retryable::AfterFix, None)
}
