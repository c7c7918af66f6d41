//! Whether a member is still where it was, before a watch resumes on another connection.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{cache::is_older, event::parse_page, stop::Stop, upstream::Upstream};
use crate::{
    error::{CallError, WriteOutcome},
    json::Projection,
    link::{
        Session,
        exchange::{Accept, Request},
    },
    request::{deadline::Deadline, path::Path},
};

const DEADLINE: Duration = Duration::from_secs(10);

/// The connection on which a member was last seen to be where the watch is.
#[derive(Debug, Default)]
pub(super) struct Proven(Weak<Session>);

impl Proven {
    pub(super) fn on(session: &Arc<Session>) -> Self {
        Self(Arc::downgrade(session))
    }

    fn is_on(&self, session: &Arc<Session>) -> bool {
        let known = self.0.upgrade();
        known.is_some_and(|known| Arc::ptr_eq(&known, session))
    }
}

impl Upstream {
    /// A member whose etcd was restored goes back in time, and no watch tells: from a version that it
    /// has not reached again an API server sends nothing, so what happens until then would be lost.
    /// A LIST without a version gives that of etcd now; one object of it is enough.
    pub(super) async fn prove_revision(&mut self, session: &Arc<Session>) -> Result<(), Stop> {
        let Some(known) = &self.revision else {
            return Ok(());
        };
        if self.proven.is_on(session) {
            return Ok(());
        }
        let path = Path::collection(&self.key.gvr, &self.key.namespace)?.with("limit", "1");
        let request = Request::get(path, Accept::MetadataList);
        let deadline = Deadline::after(DEADLINE);
        let answer = match self.link.call(&request, self.asked(), deadline).await {
            // It may be that the credentials allow to watch only. Bookmarks are all there is then.
            Err(error) if error.http_code == Some(403) => return Ok(()),
            other => other?,
        };
        let page = parse_page(&answer.body, Projection::Metadata, self.hint("")).map_err(|e| {
            let error = CallError::malformed(e, WriteOutcome::NotSent);
            self.link.report(Err(&error));
            error
        })?;
        if is_older(&page.resource_version, known) {
            return Err(Stop::Reincarnated);
        }
        self.proven = Proven::on(session);
        Ok(())
    }
}
