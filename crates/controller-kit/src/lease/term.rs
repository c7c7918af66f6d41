//! A replica's time as the leader: what it writes into the Lease, and when it has to stop.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{DURATION, Held, Holder, RETRY_PAUSE, candidate, code};
use crate::text::chain;

/// So long after a renewal was begun the next one is.
const RENEW: Duration = Duration::from_secs(10);
/// So long after the last one was begun its holder stops, before anyone else may take the Lease.
const GIVE_UP: Duration = Duration::from_secs(17);

impl Holder {
    /// Runs until leadership is lost, and tells why.
    pub(super) async fn renew(&self, held: &mut Held) -> String {
        loop {
            sleep_until(held.written + RENEW).await;
            match timeout_at(held.written + GIVE_UP, self.renewed(held)).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return reason.to_owned(),
                Err(_elapsed) => return "it could not be renewed".to_owned(),
            }
        }
    }

    /// Tries until the renewal is written or turns out to be vain.
    async fn renewed(&self, held: &mut Held) -> Result<(), &'static str> {
        loop {
            let written = Instant::now();
            match self.write(&renewed(held.lease.clone())).await {
                Ok(lease) => {
                    *held = Held { lease, written };
                    return Ok(());
                }
                Err(error) if code(&error) == Some(404) => return Err("it was deleted"),
                Err(error) if code(&error) == Some(409) => self.reread(held).await?,
                Err(error) => self.warn(&error),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Somebody has written the Lease: another replica, a person, or an earlier try of ours.
    async fn reread(&self, held: &mut Held) -> Result<(), &'static str> {
        match self.api.get_opt(&self.name).await {
            Ok(Some(lease)) if candidate::holder(&lease) == Some(&self.identity) => {
                held.lease = lease;
                Ok(())
            }
            Ok(Some(_)) => Err("another replica took it"),
            Ok(None) => Err("it was deleted"),
            Err(error) => {
                self.warn(&error);
                Ok(())
            }
        }
    }

    fn warn(&self, error: &kube::Error) {
        tracing::warn!(
            lease = self.lease,
            error = chain(error),
            "lease not renewed"
        );
    }
}

/// The Lease in the hands of a new holder. `leaseTransitions` counts every change of holder.
pub(super) fn taken(mut lease: Lease, identity: &str) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    let now = MicroTime(Timestamp::now());
    if spec.holder_identity.as_deref() != Some(identity) {
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        spec.acquire_time = Some(now);
    }
    spec.holder_identity = Some(identity.to_owned());
    renewed(lease)
}

fn renewed(mut lease: Lease) -> Lease {
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_default();
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    lease
}

/// The Lease of nobody, with its count.
pub(super) fn given_back(mut lease: Lease) -> Lease {
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.acquire_time = None;
    spec.renew_time = None;
    spec.lease_duration_seconds = None;
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_holder_is_counted_and_a_renewal_is_none() {
        let count = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions.unwrap();
        let first = taken(Lease::default(), "first");
        assert_eq!(count(&first), 1);
        assert_eq!(count(&taken(first.clone(), "first")), 1);
        assert_eq!(count(&renewed(first.clone())), 1);
        let free = given_back(first);
        assert_eq!((count(&free), candidate::holder(&free)), (1, None));
        assert_eq!(count(&taken(free, "second")), 2);
    }

    #[test]
    fn a_holder_stops_before_another_may_begin_also_after_one_try_that_hung() {
        let hung = super::super::CONNECT_TIMEOUT + super::super::ANSWER_TIMEOUT;
        assert!(RENEW + hung + RETRY_PAUSE < GIVE_UP);
        assert!(GIVE_UP < DURATION);
    }
}
