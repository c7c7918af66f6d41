//! What the hub's Migrates say at the moment of a scrape. Kept nowhere, so that a restart changes
//! nothing.

use std::fmt;

use api_types::migrate::Migrate;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use velero_kit::operation::metrics::phases;

/// The store that is counted.
#[derive(Debug)]
pub struct Stored(pub Store<Migrate>);

impl Collector for Stored {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        phases(&mut encoder, &self.0)
    }
}
