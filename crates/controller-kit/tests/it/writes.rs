//! Statuses and finalizers: no write is lost, and none hits the wrong object.

use controller_kit::hub::{self, WriteError};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{Widget, WidgetStatus, client, widget};

const MANAGER: &str = "test-controller";

fn api(client: &Client) -> Api<Widget> {
    Api::namespaced(client.clone(), "default")
}

#[tokio::test]
async fn a_status_is_written_whole_and_only_from_the_version_it_was_computed_from() {
    let client = client().await;
    let seen = widget(&client, "status").await;
    let version = seen.resource_version();
    let both = json!({ "phase": "Pending", "message": "waits" });
    let written = hub::apply_status(&client, &seen, &both, MANAGER, version.as_deref())
        .await
        .unwrap();
    let stored = api(&client).get("status").await.unwrap();
    assert_eq!(stored.resource_version().as_deref(), Some(written.as_str()));

    let other = json!({ "phase": "Completed" });
    let stale = hub::apply_status(&client, &seen, &other, MANAGER, version.as_deref()).await;
    assert!(matches!(stale, Err(WriteError::Conflict(_))), "{stale:?}");
    let same = hub::apply_status(&client, &seen, &both, MANAGER, version.as_deref()).await;
    assert!(
        matches!(same, Err(WriteError::Conflict(_))),
        "also when nothing would change"
    );

    hub::apply_status(&client, &seen, &other, MANAGER, Some(&written))
        .await
        .unwrap();
    let stored = api(&client).get("status").await.unwrap();
    let expected = WidgetStatus {
        phase: Some("Completed".into()),
        message: None,
    };
    assert_eq!(
        stored.status,
        Some(expected),
        "what is not repeated is dropped"
    );
}

#[tokio::test]
async fn a_status_that_can_never_be_stored_is_told_apart() {
    let client = client().await;
    let seen = widget(&client, "wrong-status").await;
    let wrong = json!({ "phase": 5 });
    let error = hub::apply_status(&client, &seen, &wrong, MANAGER, None)
        .await
        .unwrap_err();
    assert!(matches!(error, WriteError::Rejected(..)), "{error}");
    assert!(
        error.to_string().contains("Widget default/wrong-status"),
        "{error}"
    );
}

#[tokio::test]
async fn a_status_that_is_too_large_to_be_stored_is_told_apart() {
    let client = client().await;
    let seen = widget(&client, "large-status").await;
    // The API server takes 3 MiB, its client of etcd sends 2 MiB, and etcd takes 1.5 MiB.
    for kib in [1_700, 2_100] {
        let large = json!({ "message": "x".repeat(kib << 10) });
        let error = hub::apply_status(&client, &seen, &large, MANAGER, None)
            .await
            .unwrap_err();
        assert!(matches!(error, WriteError::Rejected(..)), "{error:?}");
    }
}

#[tokio::test]
async fn a_status_never_reaches_another_object_of_the_same_name() {
    let client = client().await;
    let first = widget(&client, "replaced").await;
    let status = json!({ "phase": "Completed" });
    api(&client)
        .delete("replaced", &DeleteParams::default())
        .await
        .unwrap();
    let gone = hub::apply_status(&client, &first, &status, MANAGER, None)
        .await
        .unwrap_err();
    assert!(matches!(gone, WriteError::Gone(_)), "{gone}");

    widget(&client, "replaced").await;
    let version = first.resource_version();
    let taken = hub::apply_status(&client, &first, &status, MANAGER, version.as_deref())
        .await
        .unwrap_err();
    assert!(matches!(taken, WriteError::Conflict(_)), "{taken}");
    assert!(api(&client).get("replaced").await.unwrap().status.is_none());
}

#[tokio::test]
async fn finalizers_are_added_and_removed_without_touching_others() {
    let client = client().await;
    let bare = widget(&client, "finalizers").await;
    let (ours, theirs) = ("test.kurator.dev/ours", "test.kurator.dev/theirs");
    assert!(
        hub::add_finalizer(&client, &bare, ours)
            .await
            .unwrap()
            .is_some()
    );
    let raced = hub::add_finalizer(&client, &bare, theirs)
        .await
        .unwrap_err();
    assert!(
        matches!(raced, WriteError::Conflict(_)),
        "it was computed from no finalizers: {raced}"
    );

    let seen = api(&client).get("finalizers").await.unwrap();
    assert!(
        hub::add_finalizer(&client, &seen, ours)
            .await
            .unwrap()
            .is_none(),
        "it is there"
    );
    hub::add_finalizer(&client, &seen, theirs).await.unwrap();
    let both = api(&client).get("finalizers").await.unwrap();
    assert_eq!(both.finalizers(), [ours, theirs]);

    api(&client)
        .delete("finalizers", &DeleteParams::default())
        .await
        .unwrap();
    let late = hub::add_finalizer(&client, &both, "test.kurator.dev/late")
        .await
        .unwrap_err();
    assert!(
        matches!(late, WriteError::Conflict(_)),
        "no finalizer for what is going: {late}"
    );

    hub::remove_finalizer(&client, &both, ours).await.unwrap();
    let raced = hub::remove_finalizer(&client, &both, theirs)
        .await
        .unwrap_err();
    assert!(
        matches!(raced, WriteError::Conflict(_)),
        "its place in the list changed: {raced}"
    );
    let left = api(&client).get("finalizers").await.unwrap();
    assert_eq!(left.finalizers(), [theirs]);
    hub::remove_finalizer(&client, &left, theirs).await.unwrap();
    assert!(api(&client).get_opt("finalizers").await.unwrap().is_none());
    let gone = hub::remove_finalizer(&client, &left, theirs).await.unwrap();
    assert_eq!(gone, None, "nothing is left to do");
}

#[tokio::test]
async fn a_label_is_set_only_on_the_object_as_it_was_seen() {
    let client = client().await;
    let seen = widget(&client, "labels").await;
    let label = "test.kurator.dev/fleet";
    hub::set_label(&client, &seen, label, Some("north"), MANAGER)
        .await
        .unwrap();
    let raced = hub::set_label(&client, &seen, label, Some("south"), MANAGER)
        .await
        .unwrap_err();
    assert!(matches!(raced, WriteError::Conflict(_)), "{raced}");
    let labelled = api(&client).get("labels").await.unwrap();
    assert_eq!(labelled.labels()[label], "north");
    hub::set_label(&client, &labelled, label, None, MANAGER)
        .await
        .unwrap();
    assert!(
        api(&client)
            .get("labels")
            .await
            .unwrap()
            .labels()
            .is_empty()
    );
}

#[tokio::test]
async fn two_managers_keep_their_own_fields() {
    let client = client().await;
    let seen = widget(&client, "managers").await;
    let theirs = PatchParams::apply("another").force();
    let body = json!({
        "apiVersion": "test.kurator.dev/v1", "kind": "Widget",
        "metadata": { "name": "managers" }, "status": { "message": "theirs" },
    });
    api(&client)
        .patch_status("managers", &theirs, &Patch::Apply(&body))
        .await
        .unwrap();
    let ours = json!({ "phase": "Pending" });
    hub::apply_status(&client, &seen, &ours, MANAGER, None)
        .await
        .unwrap();
    let status = api(&client).get("managers").await.unwrap().status.unwrap();
    assert_eq!(status.message.as_deref(), Some("theirs"));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
}
