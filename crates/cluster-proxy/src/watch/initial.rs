//! How a watch begins: with all there is, as the first events of a watch (`WatchList`) where the
//! member can do that, else by LIST.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::timeout;
use tonic::Code;

use super::{
    cache::{ObjectId, cost},
    event::{Event, OBJECT_MAX, Page, parse_event, parse_page},
    stop::{Stop, TOO_LARGE, ended},
    stream::OpenWatch,
    upstream::Upstream,
};
use crate::{
    error::{CallError, Retryable, WriteOutcome},
    json::Projected,
    link::{
        Session,
        exchange::{self, Accept, PAGE_MAX, Request},
        load::LOAD_MAX,
    },
    request::deadline::Deadline,
};

const PAGE_SIZE: &str = "500";
const PAGE_DEADLINE: Duration = Duration::from_mins(1);
/// The bookmark after the initial events must come within this.
const INITIAL_WAIT: Duration = Duration::from_secs(10);

/// What the first events of a watch come to.
#[derive(Debug, Default)]
struct Collected {
    objects: HashMap<ObjectId, Projected>,
    /// What they cost.
    bytes: usize,
}

impl Collected {
    fn put(&mut self, object: Projected) {
        self.bytes += cost(&object);
        let known = self.objects.insert(ObjectId::from(&object), object);
        self.bytes -= known.as_ref().map_or(0, cost);
    }

    fn remove(&mut self, gone: &Projected) {
        let known = self.objects.remove(&ObjectId::from(gone));
        self.bytes -= known.as_ref().map_or(0, cost);
    }
}

impl Upstream {
    /// Reads the whole collection; gives the watch that goes on after it, if there is one already.
    pub(super) async fn read_all(
        &mut self,
        session: &Arc<Session>,
    ) -> Result<Option<OpenWatch>, Stop> {
        // The question whether a type has come waits for nobody: right after an installation there is
        // next to nothing.
        let read = if self.not_served {
            timeout(LOAD_MAX, self.read(session)).await
        } else {
            // An expired watch, which is why a copy is read again, is no failure by itself.
            let known = self.with(|cache| cache.is_synced()).unwrap_or(true);
            let failed = self.failures > u32::from(known);
            let (gate, load) = self.link.first_load(&self.key, failed);
            Box::pin(gate.run(load, self.read(session))).await
        };
        read.unwrap_or_else(|_| {
            let limit = LOAD_MAX.as_secs();
            let message = format!("the member did not send all within {limit} s");
            let error = CallError::deadline(message, WriteOutcome::NotSent);
            self.report(&error);
            Err(Stop::Failed(error))
        })
    }

    async fn read(&mut self, session: &Arc<Session>) -> Result<Option<OpenWatch>, Stop> {
        // After failures of any kind the older way is tried too.
        if self.failures < 2
            && self.link.may_watch_list()
            && let Some(open) = self.watch_list(session).await?
        {
            return Ok(Some(open));
        }
        self.list(session).await?;
        Ok(None)
    }

    /// None if the member cannot do that, which is remembered.
    async fn watch_list(&mut self, session: &Arc<Session>) -> Result<Option<OpenWatch>, Stop> {
        let why = match timeout(INITIAL_WAIT, self.initial_events(session)).await {
            Ok(Ok(open)) => return Ok(Some(open)),
            // That says nothing about what the member can do.
            Ok(Err(Stop::LineTooLong(_))) => return Ok(None),
            Ok(Err(Stop::Gone)) => "410 Gone".to_owned(),
            Ok(Err(Stop::Failed(error))) if is_unsupported(&error) => error.message.clone(),
            Ok(Err(stop)) => {
                if let Stop::Failed(error) = &stop {
                    self.link.report(Err(error));
                }
                return Err(stop);
            }
            Err(_) => "no end of the initial events within 10 s".to_owned(),
        };
        // A connection that died in between says nothing about what the member can do.
        if session.connection.is_open() && session.connection.silence() < INITIAL_WAIT {
            tracing::info!(cluster = %self.link.key(), why, "no WatchList: using LIST");
            self.link.no_watch_list();
        }
        Ok(None)
    }

    async fn initial_events(&mut self, session: &Arc<Session>) -> Result<OpenWatch, Stop> {
        let mut open = self.open(session).await?;
        let kind = self.link.known_kind(&self.key.gvr).unwrap_or_default();
        let mut all = Collected::default();
        loop {
            let Some(line) = open.next_line().await? else {
                return Err(Stop::Failed(cut_short(&open)));
            };
            let event = parse_event(&line, self.key.projection, self.hint(&kind))
                .map_err(|e| CallError::malformed(e, WriteOutcome::NotSent))?;
            self.link.seen();
            match event {
                Event::Upsert(object) if self.belongs(&object) => {
                    all.put(object);
                    self.reading(all.bytes)?;
                }
                Event::Delete(gone) => all.remove(&gone),
                Event::Bookmark {
                    revision,
                    ends_initial: true,
                } => {
                    self.replace(all.objects.into_values().collect(), revision)?;
                    return Ok(open);
                }
                Event::Error { code, message } => return Err(ended(code, &message)),
                Event::Upsert(_) | Event::Unbelievable => self.link.metrics().foreign_event(),
                Event::Bookmark { .. } => {}
            }
        }
    }

    /// Reads the whole collection, page by page, and hands it to the cache.
    async fn list(&mut self, session: &Arc<Session>) -> Result<(), Stop> {
        let mut all: Vec<Projected> = Vec::new();
        let (mut token, mut bytes) = (String::new(), 0);
        let mut left = self.reading(bytes)?;
        let kind = self.link.known_kind(&self.key.gvr).unwrap_or_default();
        let revision = loop {
            let page = self.page(session, &token, &kind, page_max(left)).await?;
            if page.oversized > 0 {
                self.report(&exchange::too_large(OBJECT_MAX, WriteOutcome::NotSent));
            }
            for _ in 0..page.unbelievable {
                self.link.metrics().foreign_event();
            }
            let items = page.items.into_iter().filter(|item| self.belongs(item));
            for item in items {
                bytes += cost(&item);
                all.push(item);
            }
            token = page.continue_token;
            left = self.reading(bytes)?;
            if token.is_empty() {
                break page.resource_version;
            }
        };
        self.replace(all, revision)?;
        self.served();
        self.link.metrics().list();
        Ok(())
    }

    async fn page(
        &self,
        session: &Session,
        token: &str,
        kind: &str,
        max_body: usize,
    ) -> Result<Page, Stop> {
        let path = self
            .path(session)?
            .with("limit", PAGE_SIZE)
            .with("continue", token);
        let request = Request {
            max_body,
            ..Request::get(path, self.accept(Accept::MetadataList))
        };
        let deadline = Deadline::after(PAGE_DEADLINE);
        let answer = match self.link.call(&request, self.asked(), deadline).await {
            Err(error) if error.http_code == Some(410) => return Err(Stop::Gone),
            Err(error) if error.reason == TOO_LARGE => return Err(Stop::OverBudget),
            other => other?,
        };
        let hint = self.hint(kind);
        parse_page(&answer.body, self.key.projection, hint).map_err(|e| {
            let error = CallError::malformed(e, WriteOutcome::NotSent);
            self.link.report(Err(&error));
            Stop::Failed(error)
        })
    }

    /// How much more may come after this much.
    fn reading(&self, bytes: usize) -> Result<usize, Stop> {
        if let Some(Ok(left)) = self.with(|cache| cache.reading(bytes)) {
            return Ok(left);
        }
        self.link.loaded(&self.key, bytes);
        Err(Stop::OverBudget)
    }

    fn replace(&mut self, all: Vec<Projected>, revision: String) -> Result<(), Stop> {
        if revision.is_empty() {
            let error =
                CallError::malformed("a list without resourceVersion", WriteOutcome::NotSent);
            return Err(Stop::Failed(error));
        }
        self.link.loaded(&self.key, all.iter().map(cost).sum());
        let replaced = self.with(|cache| cache.replace(all, revision.clone()));
        if !matches!(replaced, Some(Ok(()))) {
            return Err(Stop::OverBudget);
        }
        self.revision = Some(revision);
        Ok(())
    }
}

/// How large a page may be when this much of the budget is left: `managedFields`, which are cut out,
/// may well be as large as the rest, and an object that is too large is only left out.
fn page_max(left: usize) -> usize {
    PAGE_MAX.min(2 * left + OBJECT_MAX)
}

/// Servers before 1.32 refuse the parameters or do not know them.
fn is_unsupported(error: &CallError) -> bool {
    matches!(error.http_code, Some(400 | 422))
        || error.reason == "MEMBER_MALFORMED"
        || error.code == Code::DeadlineExceeded
}

fn cut_short(open: &OpenWatch) -> CallError {
    let message = "the watch ended before all was sent";
    if open.connection.is_open() {
        return CallError::malformed(message, WriteOutcome::NotSent);
    }
    CallError::proxy(Code::Unavailable, "WATCH_ENDED", message).retry(Retryable::Yes, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_or_goes_again_while_a_watch_begins_costs_nothing() {
        let object = |name: &str, size: usize| Projected {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: name.into(),
            namespace: "n".into(),
            uid: name.into(),
            resource_version: "1".into(),
            generation: 0,
            json: vec![b' '; size].into(),
        };
        let mut all = Collected::default();
        all.put(object("kept", 10));
        let cost = all.bytes;
        all.put(object("kept", 10));
        all.put(object("gone", 1000));
        all.put(object("gone", 2000));
        all.remove(&object("gone", 1));
        all.remove(&object("unknown", 1));
        assert_eq!((all.objects.len(), all.bytes), (1, cost));
    }

    #[test]
    fn a_page_is_no_larger_than_what_the_budget_can_take() {
        const MIB: usize = 1024 * 1024;
        assert_eq!(page_max(16 * MIB), PAGE_MAX);
        assert_eq!(page_max(2 * MIB), 8 * MIB);
        assert_eq!(page_max(0), OBJECT_MAX);
    }
}
