//! Events, as the API server keeps them.

use controller_kit::event::{Event, Events, Severity};
use k8s_openapi::api::{core::v1::ObjectReference, events::v1::Event as Stored};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{client, widget};

#[tokio::test]
async fn events_of_several_clusters_are_kept_apart_and_cut_to_size() {
    let client = client().await;
    let widget = widget(&client, "eventful").await;
    let events = Events::new(client.clone(), "test-controller", None);
    let unreachable = |cluster: &str| Event {
        severity: Severity::Warning,
        reason: "Unreachable",
        action: "Follow",
        note: format!("{cluster} does not answer: {}", "å".repeat(2000)),
        related: Some(ObjectReference {
            kind: Some("AttachedCluster".into()),
            name: Some(cluster.into()),
            namespace: Some("default".into()),
            ..Default::default()
        }),
    };
    for cluster in ["oslo", "bergen", "oslo"] {
        events.publish_cluster(&widget, unreachable(cluster));
    }
    events.flush().await;

    let stored = Api::<Stored>::namespaced(client, "default");
    let stored = stored.list(&ListParams::default()).await.unwrap();
    let uid = widget.uid();
    let of_widget = |event: &&Stored| {
        event
            .regarding
            .as_ref()
            .is_some_and(|regarding| regarding.uid == uid)
    };
    let mut seen: Vec<_> = stored
        .iter()
        .filter(of_widget)
        .map(|event| {
            assert_eq!(event.type_.as_deref(), Some("Warning"));
            assert_eq!(
                event.reporting_controller.as_deref(),
                Some("test-controller")
            );
            assert!(event.note.as_ref().unwrap().len() < 1024);
            let cluster = event.related.clone().unwrap().name.unwrap();
            (cluster, event.series.as_ref().map(|series| series.count))
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [("bergen".to_owned(), None), ("oslo".to_owned(), Some(2))]
    );
}
