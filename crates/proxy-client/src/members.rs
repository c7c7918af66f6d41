//! The door to all members: channels to the proxy, shared by everything that is made from them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use api_types::key::ClusterKey;
use tonic::metadata::{Ascii, MetadataValue};

use crate::{
    api::{MemberApi, MemberResource},
    call::Caller,
    endpoint::{Endpoint, Purpose},
    ensure::{SecretSpec, Served, Written},
    error::Error,
    inventory::Inventory,
    watch::{MemberWatch, Mux, Selection},
};

/// Why no client could be made. A proxy that is down is no such reason: channels connect lazily.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The caller's name does not fit into gRPC metadata.
    #[error("caller name {0:?} is empty or not plain ASCII")]
    Caller(String),
    /// The transport refuses the address.
    #[error("endpoint {endpoint} cannot be used")]
    Transport {
        /// The address.
        endpoint: Endpoint,
        /// What the transport says.
        source: tonic::transport::Error,
    },
}

/// All members, reached through cluster-proxy. Cheap to clone; needs a tokio runtime.
///
/// Calls share one connection; watches of all types share one stream on a second one.
#[derive(Clone)]
pub struct Members {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    caller: Caller,
    mux: Arc<Mux>,
    inventory: OnceLock<Inventory>,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("endpoint", &self.inner.endpoint)
            .finish_non_exhaustive()
    }
}

impl Members {
    /// Prepares channels to the proxy; they connect on first use and again after each loss.
    /// `caller` is the name that the proxy's policy knows this process by.
    pub fn connect(endpoint: &Endpoint, caller: &str) -> Result<Self, ConnectError> {
        let name: MetadataValue<Ascii> = match caller.parse() {
            Ok(name) if !caller.is_empty() => name,
            _ => return Err(ConnectError::Caller(caller.to_owned())),
        };
        let channel = |purpose| {
            endpoint
                .channel(purpose)
                .map_err(|source| ConnectError::Transport {
                    endpoint: endpoint.clone(),
                    source,
                })
        };
        let calls = Caller::new(name.clone(), channel(Purpose::Calls)?);
        let watches = channel(Purpose::Watches)?;
        let inner = Inner {
            endpoint: endpoint.clone(),
            mux: Arc::new(Mux::new(name, watches)),
            caller: calls,
            inventory: OnceLock::new(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Where the proxy is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// Objects of type `K` on one member.
    pub fn api<K: MemberResource>(&self, cluster: &ClusterKey) -> MemberApi<K> {
        MemberApi::new(self.inner.caller.clone(), cluster.clone())
    }

    /// Follows objects of type `K` on the selected members, as long as a handle exists.
    pub fn watch<K: MemberResource>(&self, selection: Selection) -> MemberWatch<K> {
        MemberWatch::start(&self.inner.mux, selection)
    }

    /// Follows the members themselves, from the first call on.
    pub fn inventory(&self) -> Inventory {
        self.inner
            .inventory
            .get_or_init(|| Inventory::start(self.inner.caller.clone()))
            .clone()
    }

    /// What a member serves, of one group or of all.
    pub async fn discover(
        &self,
        cluster: &ClusterKey,
        group: Option<&str>,
    ) -> Result<Vec<Served>, Error> {
        self.inner.caller.discover(cluster, group).await
    }

    /// Creates a namespace on a member or adds labels to it.
    pub async fn ensure_namespace(
        &self,
        cluster: &ClusterKey,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Written, Error> {
        self.inner
            .caller
            .ensure_namespace(cluster, name, labels)
            .await
    }

    /// Writes a Secret of ours to a member. It cannot be read back.
    pub async fn ensure_secret(
        &self,
        cluster: &ClusterKey,
        secret: &SecretSpec,
    ) -> Result<Written, Error> {
        self.inner.caller.ensure_secret(cluster, secret).await
    }
}
