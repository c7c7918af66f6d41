//! Fleets: members, counts, labels, claims, plugins.

use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::phase::FleetPhase;
use serde_json::json;

use crate::space::{Space, fleet_message, label, listed, ready, unreachable};
use crate::world::shared;

async fn counts(space: &Space, name: &str, display: &str) -> Fleet {
    space
        .until(name, |fleet: &Fleet| {
            let shown = fleet
                .status
                .as_ref()
                .and_then(|status| status.display.as_ref());
            shown.is_some_and(|shown| shown.clusters == display)
        })
        .await
}

#[tokio::test]
async fn a_fleet_counts_and_names_its_members_and_marks_them() {
    let space = shared().await.space("counts").await;
    space.attach_ready("bergen").await;
    let members = json!([
        {"kind": "AttachedCluster", "name": "bergen"},
        {"kind": "AttachedCluster", "name": "hamar"},
        {"name": "moss"},
    ]);
    space
        .create::<Fleet>("north", json!({"clusters": members}))
        .await;
    let fleet = counts(&space, "north", "1/3").await;
    let status = fleet.status.clone().unwrap();
    assert_eq!(status.phase, Some(FleetPhase::Running));
    assert_eq!((status.ready_clusters, status.un_ready_clusters), (1, 2));
    let reasons: Vec<_> = status
        .members
        .iter()
        .map(|member| member.reason.as_deref())
        .collect();
    assert_eq!(
        reasons,
        [None, Some("ClusterNotFound"), Some("ClusterNotFound")]
    );
    assert_eq!(
        fleet_message(&fleet),
        "clusters not ready: hamar (ClusterNotFound), moss (ClusterNotFound)"
    );
    space.event("north", "MembersNotReady").await;

    space.attach_ready("hamar").await;
    counts(&space, "north", "2/3").await;
    space
        .merge::<Fleet>(
            "north",
            json!({"spec": {"clusters": listed(&["bergen", "hamar"])}}),
        )
        .await;
    let fleet = space.until_fleet_is("north", "Ready").await;
    assert_eq!(fleet.status.unwrap().phase, Some(FleetPhase::Ready));
    space.event("north", "Ready").await;

    space.script.say(&space.key("hamar"), unreachable());
    let fleet = counts(&space, "north", "1/2").await;
    assert!(
        fleet_message(&fleet).contains("hamar (Unreachable)"),
        "{}",
        fleet_message(&fleet)
    );
    space.script.say(&space.key("hamar"), ready());
    counts(&space, "north", "2/2").await;
}

#[tokio::test]
async fn the_label_and_the_finalizer_come_and_the_label_goes() {
    let space = shared().await.space("labels").await;
    space.attach_ready("bergen").await;
    space.fleet("north", &["bergen"]).await;
    let marked = |cluster: &AttachedCluster| label(cluster) == Some("north");
    let cluster = space.until("bergen", marked).await;
    let cluster = match cluster.metadata.finalizers {
        Some(_) => cluster,
        None => {
            space
                .until("bergen", |cluster: &AttachedCluster| {
                    cluster.metadata.finalizers.is_some()
                })
                .await
        }
    };
    assert_eq!(
        cluster.metadata.finalizers.unwrap(),
        ["cluster.kurator.dev"]
    );
    let claimed = |cluster: &AttachedCluster| {
        cluster
            .status
            .as_ref()
            .and_then(|status| status.fleet.as_deref())
            == Some("north")
    };
    space.until("bergen", claimed).await;

    space
        .merge::<Fleet>("north", json!({"spec": {"clusters": []}}))
        .await;
    let cluster = space
        .until("bergen", |cluster: &AttachedCluster| {
            label(cluster).is_none() && !claimed(cluster)
        })
        .await;
    assert_eq!(
        cluster.metadata.finalizers.unwrap(),
        ["cluster.kurator.dev"],
        "kept while it lives"
    );
    let fleet = space.until_fleet_is("north", "NoClusters").await;
    assert_eq!(fleet.status.unwrap().phase, Some(FleetPhase::Pending));
    space.event("north", "MemberLeft").await;
}

#[tokio::test]
async fn a_cluster_of_two_fleets_belongs_to_the_first_and_is_reported_on_the_second() {
    let space = shared().await.space("claims").await;
    space.attach_ready("bergen").await;
    // Made within one second they are told apart by name.
    space.fleet("ant", &["bergen"]).await;
    space.fleet("bee", &["bergen"]).await;
    let second = space.until_fleet_is("bee", "MembersNotReady").await;
    let member = &second.status.as_ref().unwrap().members[0];
    assert_eq!(member.reason.as_deref(), Some("ClaimedByOtherFleet"));
    assert!(member.message.as_deref().unwrap().contains("Fleet ant"));
    space.until_fleet_is("ant", "Ready").await;
    let owned = |fleet: &'static str| {
        move |cluster: &AttachedCluster| {
            let claimed = cluster
                .status
                .as_ref()
                .and_then(|status| status.fleet.as_deref());
            label(cluster) == Some(fleet) && claimed == Some(fleet)
        }
    };
    space.until("bergen", owned("ant")).await;
    space.event("bee", "ClaimedByOtherFleet").await;

    space.delete::<Fleet>("ant").await;
    space.until_gone::<Fleet>("ant").await;
    space.until_fleet_is("bee", "Ready").await;
    space.until("bergen", owned("bee")).await;
}

#[tokio::test]
async fn a_name_listed_twice_is_reported() {
    let space = shared().await.space("twice").await;
    space.attach_ready("bergen").await;
    let members = json!([{"kind": "AttachedCluster", "name": "bergen"}, {"kind": "Cluster", "name": "bergen"}]);
    space
        .create::<Fleet>("north", json!({"clusters": members}))
        .await;
    let fleet = counts(&space, "north", "1/2").await;
    let members = fleet.status.unwrap().members;
    assert!(members[0].ready);
    assert_eq!(members[1].reason.as_deref(), Some("DuplicateMember"));
    space.event("north", "DuplicateMember").await;
}

#[tokio::test]
async fn a_plugin_that_nobody_serves_keeps_the_fleet_from_being_ready() {
    let space = shared().await.space("plugins").await;
    space.attach_ready("bergen").await;
    let location = json!({"bucket": "b", "provider": "aws", "endpoint": "http://s3.example"});
    let backup = json!({"storage": {"location": location, "secretName": "s3"}});
    space
        .create::<Fleet>(
            "north",
            json!({"clusters": listed(&["bergen"]), "plugin": {"backup": backup}}),
        )
        .await;
    let fleet = space.until_fleet_is("north", "PluginsNotReady").await;
    let status = fleet.status.clone().unwrap();
    assert_eq!(status.phase, Some(FleetPhase::Running));
    assert_eq!(status.display.unwrap().plugins, "0/1");
    assert!(
        fleet_message(&fleet).contains("backup (NoController"),
        "{}",
        fleet_message(&fleet)
    );

    // As the plugin's own controller does: its entry, under its own manager.
    let entry = json!({"name": "backup", "phase": "Ready", "observedGeneration": fleet.metadata.generation});
    let body = json!({
        "apiVersion": "fleet.kurator.dev/v1alpha1", "kind": "Fleet", "metadata": {"name": "north"},
        "status": {"plugins": [entry]},
    });
    let params = kube::api::PatchParams::apply("kurator-backup-controller").force();
    let api: kube::Api<Fleet> = space.api();
    api.patch_status("north", &params, &kube::api::Patch::Apply(body))
        .await
        .unwrap();
    let fleet = space.until_fleet_is("north", "Ready").await;
    let status = fleet.status.unwrap();
    assert_eq!(status.display.unwrap().plugins, "1/1");
    assert_eq!(
        status.plugins.len(),
        1,
        "the entry is its controller's and stays"
    );
}

#[tokio::test]
async fn a_control_plane_is_refused() {
    let space = shared().await.space("karmada").await;
    space.attach_ready("bergen").await;
    let annotated = json!({"annotations": {"fleet.kurator.dev/controlplane": "karmada"}});
    space
        .create_with::<Fleet>("north", annotated, json!({"clusters": listed(&["bergen"])}))
        .await;
    let fleet = space
        .until_fleet_is("north", "ControlPlaneUnsupported")
        .await;
    assert_eq!(fleet.status.unwrap().phase, Some(FleetPhase::Failed));
    let without = json!({"metadata": {"annotations": {"fleet.kurator.dev/controlplane": null}}});
    space.merge::<Fleet>("north", without).await;
    space.until_fleet_is("north", "Ready").await;
}

#[tokio::test]
async fn a_member_of_kind_cluster_counts_as_the_proxy_says_and_needs_no_object_of_ours() {
    let space = shared().await.space("foreign").await;
    let made = json!([{"kind": "Cluster", "name": "made"}]);
    space
        .create::<Fleet>("north", json!({"clusters": made}))
        .await;
    counts(&space, "north", "0/1").await;
    let key = ClusterKey::new(&space.namespace, ClusterKind::Cluster, "made");
    space.script.say(&key, ready());
    counts(&space, "north", "1/1").await;
    space.until_fleet_is("north", "Ready").await;
    space.script.say(&key, unreachable());
    counts(&space, "north", "0/1").await;
}
