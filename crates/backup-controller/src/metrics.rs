//! What the hub's objects say at the moment of a scrape. Kept nowhere, so that a restart changes
//! nothing and an object that is gone is gone here too.

use std::fmt;

use api_types::backup::Backup;
use api_types::restore::Restore;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use velero_kit::operation::metrics::phases;

/// The stores that are counted.
#[derive(Debug)]
pub struct Stored {
    pub backups: Store<Backup>,
    pub restores: Store<Restore>,
}

impl Collector for Stored {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        phases(&mut encoder, &self.backups)?;
        phases(&mut encoder, &self.restores)?;
        last_successes(&mut encoder, &self.backups)
    }
}

/// One series a Backup that has succeeded: what an alarm about a backup that grows old looks at.
fn last_successes(encoder: &mut DescriptorEncoder<'_>, store: &Store<Backup>) -> fmt::Result {
    let mut gauge = encoder.encode_descriptor(
        "kurator_backup_last_success_timestamp_seconds",
        "When a Backup last completed in every cluster, by status.lastSuccessTime",
        None,
        MetricType::Gauge,
    )?;
    for backup in store.state() {
        let status = backup.status.as_ref();
        let Some(time) = status.and_then(|status| status.last_success_time.as_ref()) else {
            continue;
        };
        let (namespace, name) = (backup.namespace().unwrap_or_default(), backup.name_any());
        gauge
            .encode_family(&[("namespace", namespace), ("backup", name)])?
            .encode_gauge(&time.0.as_second())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use api_types::backup::BackupStatus;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use api_types::phase::Phase;

    use super::*;
    use crate::backup::fixtures::{at, backup};

    #[test]
    fn a_scrape_tells_what_the_objects_say_then_and_nothing_of_what_is_gone() {
        let (backups, mut writer) = reflector::store();
        let (restores, _) = reflector::store();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Stored { backups, restores }));
        let shown = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let named = |name: &str, phase, success| {
            let mut backup = backup(BackupStatus {
                phase: Some(phase),
                last_success_time: success,
                ..BackupStatus::default()
            });
            backup.metadata.name = Some(name.to_owned());
            backup
        };
        let done = named("done", Phase::Completed, Some(Time(at(7))));
        writer.apply_watcher_event(&Event::Apply(done.clone()));
        writer.apply_watcher_event(&Event::Apply(named("fails", Phase::Failed, None)));
        let success = format!(
            r#"kurator_backup_last_success_timestamp_seconds{{namespace="team-a",backup="done"}} {}"#,
            at(7).as_second()
        );
        let text = shown();
        for line in [
            r#"kurator_backup_objects{phase="Completed"} 1"#,
            r#"kurator_backup_objects{phase="Failed"} 1"#,
            &success,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"backup="fails""#), "{text}");

        writer.apply_watcher_event(&Event::Delete(done));
        let text = shown();
        assert!(!text.contains("Completed"), "{text}");
        assert!(!text.contains(r#"backup="done""#), "{text}");
    }
}
