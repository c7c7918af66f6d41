//! The gRPC services. Each call passes the same steps: caller, policy, link, member, answer.

mod access;
mod consistency;
mod ensure;
mod inventory;
mod list;
mod read;
mod subscribe;
mod write;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use api_types::key::ClusterKey;
use proxy_client::proto;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response, Status, metadata::MetadataMap};
use tracing::{Instrument, field};

use self::access::Call;
pub use self::{
    access::MemberAccessService, inventory::InventoryService, subscribe::MemberWatchService,
};
use crate::{
    error::{CallError, Retryable, code_label},
    inventory::Registry,
    json::Projection,
    link::{Link, latency, status::State},
    metrics::Metrics,
    policy::{Access, Cluster, Grant, store::PolicyStore},
    request::{deadline::Deadline, name, path::Gvr},
    trace,
};

const CALLER: &str = "x-kurator-caller";
const STREAMS_PER_CALLER: usize = 4;
const START_WAIT: Duration = Duration::from_secs(3);

/// What all services share.
#[derive(Debug)]
pub struct Core {
    /// The members.
    pub registry: Arc<Registry>,
    /// The policy in force.
    pub policy: Arc<PolicyStore>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Cancelled at shutdown.
    pub stop: CancellationToken,
    streams: Mutex<HashMap<String, usize>>,
}

/// One open Subscribe stream of a caller.
#[derive(Debug)]
pub struct StreamSlot {
    core: Arc<Core>,
    caller: String,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.core.metrics.stream(false);
        let mut streams = self
            .core
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = streams.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.caller);
            }
        }
    }
}

impl Core {
    /// The shared part of the services.
    pub fn new(
        registry: Arc<Registry>,
        policy: Arc<PolicyStore>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            registry,
            policy,
            metrics,
            stop,
            streams: Mutex::default(),
        })
    }

    /// The caller's name; the policy must know it.
    pub fn caller(&self, metadata: &MetadataMap) -> Result<String, CallError> {
        let caller = metadata
            .get(CALLER)
            .and_then(|value| value.to_str().ok())
            .filter(|caller| name::caller(caller).is_ok())
            .ok_or_else(|| {
                CallError::proxy(
                    Code::Unauthenticated,
                    "NO_CALLER",
                    format!("metadata {CALLER} must name the caller"),
                )
                .retry(Retryable::AfterFix, None)
            })?;
        self.policy
            .current()
            .knows(caller)
            .inspect_err(|error| self.metrics.denied(caller, error))?;
        Ok(caller.to_owned())
    }

    /// Whether there may be a member where the caller may do this.
    pub fn allow_anywhere(&self, caller: &str, access: Access<'_>) -> Result<(), CallError> {
        let policy = self.policy.current();
        let allowed = policy.rights(caller, access).anywhere();
        allowed.inspect_err(|error| self.metrics.denied(caller, error))
    }

    /// The member's link and what the caller may do there, if it may do this.
    async fn open(
        &self,
        call: &Call,
        key: &ClusterKey,
        access: Access<'_>,
    ) -> Result<(Arc<Link>, Grant), CallError> {
        // What is allowed nowhere need not wait for the member.
        self.allow_anywhere(&call.caller, access)?;
        let link = self.link(key, call.deadline).await?;
        let policy = self.policy.current();
        let grant = policy.rights(&call.caller, access).on(Cluster {
            key,
            labels: &link.labels(),
        });
        let grant = grant.inspect_err(|error| self.metrics.denied(&call.caller, error))?;
        Ok((link, grant))
    }

    /// The member's link. Just after the start of the proxy this waits a moment for the hub and for
    /// the first contact, so that a restart is no failure.
    pub async fn link(&self, key: &ClusterKey, deadline: Deadline) -> Result<Arc<Link>, CallError> {
        let until = deadline.within(START_WAIT);
        if self.registry.link(key).is_none() {
            self.synced(deadline).await?;
        }
        let link = self.registry.link(key);
        let link = link.ok_or_else(|| CallError::unknown_cluster(key))?;
        let mut status = link.follow();
        let tried = status.wait_for(|status| status.condition.state != State::Connecting);
        // If it is still being tried, the call itself says so.
        let _ = timeout_at(until, tried).await;
        Ok(link)
    }

    /// Waits until the hub was read: before that, not finding a member says nothing.
    async fn synced(&self, deadline: Deadline) -> Result<(), CallError> {
        timeout_at(deadline.within(START_WAIT), self.registry.synced())
            .await
            .map_err(|_| CallError::not_synced())
    }

    /// A place for another Subscribe stream of this caller.
    pub fn stream_slot(self: &Arc<Self>, caller: &str) -> Result<StreamSlot, CallError> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let count = streams.entry(caller.to_owned()).or_default();
        if *count >= STREAMS_PER_CALLER {
            return Err(CallError::proxy(
                Code::ResourceExhausted,
                "TOO_MANY_STREAMS",
                format!("{caller} has {STREAMS_PER_CALLER} Subscribe streams already"),
            )
            .retry(Retryable::Yes, Some(Duration::from_secs(5))));
        }
        *count += 1;
        self.metrics.stream(true);
        Ok(StreamSlot {
            core: Arc::clone(self),
            caller: caller.to_owned(),
        })
    }

    /// Runs a call: in a span below the caller's, counted, with its error as a status.
    pub async fn observed<T>(
        &self,
        rpc: &'static str,
        metadata: &MetadataMap,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<Response<T>, Status> {
        let span = tracing::info_span!(
            "proxy_call",
            otel.name = rpc,
            rpc,
            caller = field::Empty,
            cluster = field::Empty,
            target = field::Empty,
            code = field::Empty
        );
        trace::adopt(&span, metadata);
        let started = std::time::Instant::now();
        let call = latency::measured(call.instrument(span.clone()));
        let (result, at_member) = trace::scope(metadata, call).await;
        let took = started.elapsed();
        let code = result.as_ref().map_or_else(|e| e.code, |_| Code::Ok);
        span.record("code", code_label(code));
        self.metrics.call(rpc, code_label(code), took.as_secs_f64());
        // What never reached a member says nothing about the way to one.
        if at_member > Duration::ZERO {
            self.metrics.added(rpc, took.saturating_sub(at_member));
        }
        result.map(Response::new).map_err(|error| {
            tracing::debug!(parent: &span, %error, "call failed");
            error.into()
        })
    }
}

/// The projection that a caller gets: what it asked for, narrowed by the policy.
pub fn projection(
    asked: Option<proto::Projection>,
    gvr: &Gvr,
    grant: Grant,
) -> Result<Projection, CallError> {
    use proto::projection::Mode;
    let mode = asked.unwrap_or_default().mode;
    let mode = Mode::try_from(mode)
        .map_err(|_| CallError::invalid("projection.mode", "is not a known mode"))?;
    let asked = match mode {
        _ if gvr.is_secret() => Projection::SecretMetadata,
        Mode::Full => Projection::Full,
        Mode::WithManagedFields => Projection::WithManagedFields,
        Mode::Metadata => Projection::Metadata,
    };
    Ok(narrowed(asked, grant))
}

/// As much of a projection as the policy grants.
pub fn narrowed(asked: Projection, grant: Grant) -> Projection {
    match asked {
        Projection::Full | Projection::WithManagedFields if grant.metadata_only => {
            Projection::Metadata
        }
        asked => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::projection::Mode;

    #[test]
    fn a_secret_is_never_projected_to_its_data() {
        let secrets = Gvr::new("", "v1", "secrets").unwrap();
        let pods = Gvr::new("", "v1", "pods").unwrap();
        let open = Grant {
            metadata_only: false,
        };
        let narrow = Grant {
            metadata_only: true,
        };
        for mode in [Mode::Full, Mode::WithManagedFields, Mode::Metadata] {
            let asked = Some(proto::Projection { mode: mode.into() });
            assert_eq!(
                projection(asked, &secrets, open).unwrap(),
                Projection::SecretMetadata
            );
            assert_eq!(
                projection(asked, &pods, narrow).unwrap(),
                Projection::Metadata
            );
        }
        assert_eq!(projection(None, &pods, open).unwrap(), Projection::Full);
        let unknown = Some(proto::Projection { mode: 99 });
        assert!(projection(unknown, &pods, open).is_err());
    }
}
