//! Whether a member is well, and who it is, also while its credentials may not tell.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Ended, Supervisor};
use crate::{
    credentials::Credentials,
    link::{
        Session,
        probe::{self, Unproven},
        status::Condition,
    },
};

/// So many tries fail before a member that was known counts as one that does not tell. Right after
/// its start an API server may refuse what it grants a moment later, and so it is while a right is
/// taken away and given again.
const TRIES: u32 = 4;
const UNREADABLE: &str =
    "the credentials may not read namespace kube-system, so the member has no identity";

impl Supervisor {
    /// Judges what a fresh connection says of the member's identity. Without one, all copies of the
    /// member's objects are given up, so that a single 403 is not believed of a known member.
    pub(super) fn judge(
        &mut self,
        uid: Option<&str>,
        credentials: &Credentials,
    ) -> Result<(), Unproven> {
        if uid.is_some() {
            self.identified = Some(credentials.digest);
            self.unidentified = 0;
            self.warning = None;
            return Ok(());
        }
        let known = !self.link.status.borrow().member_uid.is_empty();
        if known && self.unidentified < TRIES {
            self.unidentified += 1;
            return Err(Unproven::Condition(Condition::unreachable(UNREADABLE)));
        }
        self.warning = Some(UNREADABLE.to_owned());
        Ok(())
    }

    /// Asks whether the member is well. An answer of any kind proves that it lives.
    pub(super) async fn check(&mut self, session: &Session) -> Option<Ended> {
        let asked = Instant::now();
        let result = probe::is_ready(&session.connection).await;
        self.link.latency.record(asked.elapsed());
        self.link.report(result.as_ref().copied());
        if let Err(error) = &result {
            match error.http_code {
                Some(401) => return Some(Ended::Unauthorized),
                Some(500..) => {
                    self.warning = Some(format!("it says that it is not ready: {}", error.message));
                    self.set_up();
                    return None;
                }
                // Not everybody may ask this.
                Some(_) => {}
                None => return None,
            }
        }
        if session.member_uid.is_empty() {
            return self.identify(session).await;
        }
        if result.is_ok() {
            self.warning = None;
            self.set_up();
        }
        None
    }

    /// Asks again who the member is; once it tells, the session gets one with its identity in its
    /// place.
    async fn identify(&mut self, session: &Session) -> Option<Ended> {
        let uid = match probe::identity(&session.connection).await {
            Ok(Some(uid)) => uid,
            Ok(None) => {
                self.warning = Some(UNREADABLE.to_owned());
                self.set_up();
                return None;
            }
            Err(error) if error.http_code == Some(401) => return Some(Ended::Unauthorized),
            Err(error) => {
                self.link.report(Err(&error));
                return None;
            }
        };
        let credentials = session.connection.credentials();
        self.identified = Some(credentials.digest);
        self.unidentified = 0;
        self.warning = None;
        let known = self.session(Arc::clone(&session.connection), Some(&uid));
        self.publish(known, credentials);
        Some(Ended::Replaced)
    }
}
