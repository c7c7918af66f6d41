//! Subscribe: many members in one stream.

use std::time::Duration;

use api_types::names::MemberId;
use k8s_openapi::{
    api::core::v1::ConfigMap,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use proxy_client::proto::{self, link_state::State as Link, subscribe_request::Op};
use serde_json::json;
use testbed::{Member, wait_for};

use crate::{
    rig::{CALLER, Rig, SOON, bed, configmap, crd, metrics, request},
    view::View,
};

const MAPS: (&str, &str) = ("", "configmaps");

fn maps(member: &Member) -> Api<ConfigMap> {
    Api::namespaced(member.client().unwrap(), "default")
}

async fn put(api: &Api<ConfigMap>, name: &str, value: &str, labels: serde_json::Value) {
    let mut body = configmap(name, value);
    body["metadata"]["labels"] = labels;
    let manager = PatchParams::apply("tests").force();
    api.patch(name, &manager, &Patch::Apply(body))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_deletions_of_two_members_arrive_in_one_stream() {
    let rig = Rig::start(bed().await, "changes").await;
    let (one, two) = (rig.attach("m1").await, rig.attach("m2").await);
    let (one, two) = (maps(one), maps(two));
    let labels = json!({"set": "changes"});
    put(&one, "before", "1", labels.clone()).await;

    let mut view = View::open(&rig, CALLER, MAPS, "set=changes").await;
    view.until("snapshots", SOON, |v| v.synced.len() == 2).await;
    assert!(view.has("m1", "before") && !view.has("m2", "before"));
    // Real members begin a watch with all there is.
    assert_eq!(rig.metrics.lists(), 0);
    assert_eq!(
        view.links.values().collect::<Vec<_>>(),
        [&Link::Up, &Link::Up]
    );

    put(&two, "after", "1", labels.clone()).await;
    view.until("a new object", SOON, |v| v.has("m2", "after"))
        .await;
    put(&one, "before", "2", labels.clone()).await;
    view.until("a change", SOON, |v| v.value("m1", "before") == Some("2"))
        .await;
    one.delete("before", &DeleteParams::default())
        .await
        .unwrap();
    view.until("a deletion", SOON, |v| !v.has("m1", "before"))
        .await;
    // An object that no longer matches the selector is gone too.
    put(&two, "after", "1", json!({})).await;
    view.until("a relabelled object to go", SOON, |v| !v.has("m2", "after"))
        .await;
    assert_eq!(view.snapshots.len(), 2);

    let remove = proto::Remove {
        sub_id: 1,
        clusters: rig.cluster("m2").into_iter().collect(),
    };
    view.send(Op::Remove(remove)).await;
    view.until("m2 to leave", SOON, |v| v.removed.contains("m2"))
        .await;
    view.until("a heartbeat", SOON, |v| v.heartbeats > 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_with_the_members_id_leaves_copies_behind() {
    let rig = Rig::start(bed().await, "ids").await;
    let (one, two) = (rig.attach("m1").await, rig.attach("m2").await);
    let (one, two) = (maps(one), maps(two));
    let uid = rig.status("m1").await.unwrap().member_uid;
    let id = MemberId::from_uid(&uid);
    let labels = json!({"set": "ids", "kurator.dev/member": id.as_str()});
    put(&one, "original", "1", labels.clone()).await;
    put(&two, "copy", "1", labels).await;
    let selector = "set=ids,kurator.dev/member=$(member)";
    let mut view = View::open(&rig, CALLER, MAPS, selector).await;
    view.until("snapshots", SOON, |v| v.synced.len() == 2).await;
    assert!(view.has("m1", "original") && !view.has("m2", "copy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subscribers_share_one_upstream_watch() {
    let rig = Rig::start(bed().await, "shared").await;
    let one = maps(rig.attach("m1").await);
    rig.attach("m2").await;
    let mut first = View::open(&rig, CALLER, MAPS, "set=shared").await;
    let mut second = View::open(&rig, "other-tester", MAPS, "set=shared").await;
    for view in [&mut first, &mut second] {
        view.until("snapshots", SOON, |v| v.synced.len() == 2).await;
    }
    let upstream = async || {
        let text = metrics(&rig.http).await;
        let line = text
            .lines()
            .find(|l| l.starts_with("kurator_proxy_upstream_watches "));
        line.and_then(|l| l.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!(
        upstream().await.as_deref(),
        Some("2"),
        "one for each member"
    );
    put(&one, "shared", "1", json!({"set": "shared"})).await;
    for view in [&mut first, &mut second] {
        view.until("the object", SOON, |v| v.has("m1", "shared"))
            .await;
    }
    let text = metrics(&rig.http).await;
    let streams = text
        .lines()
        .find(|l| l.starts_with("kurator_proxy_member_streams "));
    assert_eq!(streams, Some("kurator_proxy_member_streams 2"), "{text}");
    let member = "kurator_proxy_member_latency_seconds{cluster=\"AttachedCluster shared/m1\"}";
    assert!(text.contains(member), "{text}");
    for some in ["member_connections", "event_delay_seconds_count"] {
        let zero = format!("kurator_proxy_{some} 0\n");
        assert!(
            text.contains(&zero[..zero.len() - 2]) && !text.contains(&zero),
            "{text}"
        );
    }
    drop(first);
    put(&one, "shared", "2", json!({"set": "shared"})).await;
    let changed = |v: &View| v.value("m1", "shared") == Some("2");
    second.until("the change", SOON, changed).await;
    drop(second);
    wait_for("the watches to end", SOON, async || {
        (upstream().await.as_deref() == Some("0")).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_of_foreign_labels_share_a_watch_and_move_objects_between_subscribers() {
    let rig = Rig::start(bed().await, "filters").await;
    let one = maps(rig.attach("m1").await);
    rig.attach("m2").await;
    put(&one, "filters", "1", json!({"set": "filters-a"})).await;
    let mut first = View::open(&rig, CALLER, MAPS, "set=filters-a").await;
    let others = "set in (filters-b, filters-c),!absent";
    let mut second = View::open(&rig, "other-tester", MAPS, others).await;
    for view in [&mut first, &mut second] {
        view.until("snapshots", SOON, |v| v.synced.len() == 2).await;
    }
    assert!(first.has("m1", "filters") && second.objects.is_empty());
    put(&one, "filters", "2", json!({"set": "filters-b"})).await;
    first
        .until("it to go", SOON, |v| !v.has("m1", "filters"))
        .await;
    second
        .until("it to come", SOON, |v| {
            v.value("m1", "filters") == Some("2")
        })
        .await;
    one.delete("filters", &DeleteParams::default())
        .await
        .unwrap();
    second
        .until("the deletion", SOON, |v| v.objects.is_empty())
        .await;
    assert_eq!(rig.metrics.upstream_watches(), 2, "one for each member");

    first.add(&rig, 2, MAPS, "kurator.dev/filters").await;
    wait_for("watches with our own label", SOON, async || {
        (rig.metrics.upstream_watches() == 4).then_some(())
    })
    .await
    .unwrap();
    let invalid = (String::new(), "INVALID_REQUEST".to_owned());
    first.add(&rig, 3, MAPS, "not a selector").await;
    first
        .until("the refusal", SOON, |v| v.errors.contains(&invalid))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_installed_later_is_noticed() {
    let rig = Rig::start(bed().await, "later").await;
    let member = rig.attach("m1").await;
    rig.attach("m2").await;
    let widgets = ("stable.example.com", "widgets");
    let mut view = View::open(&rig, CALLER, widgets, "").await;
    let absent = |v: &View| v.links.get("m1") == Some(&Link::GvrNotServed);
    view.until("GVR_NOT_SERVED", SOON, absent).await;

    let client = member.client().unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = crd("stable.example.com", "widgets", "Widget");
    crds.create(&PostParams::default(), &crd).await.unwrap();
    let served = |v: &View| v.synced.contains("m1") && v.links.get("m1") == Some(&Link::Up);
    view.until("the new type", Duration::from_secs(15), served)
        .await;
    let group = "stable.example.com".to_owned();
    wait_for("the group in the inventory", SOON, async || {
        let status = rig.status("m1").await.unwrap();
        status.served_groups.contains(&group).then_some(())
    })
    .await
    .unwrap();
    assert!(!view.synced.contains("m2"));
    crds.delete("widgets.stable.example.com", &DeleteParams::default())
        .await
        .unwrap();
    view.until("the type to go", SOON, absent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_subscribed_is_told_and_the_stream_lives_on() {
    let rig = Rig::start(bed().await, "refused").await;
    let one = maps(rig.attach("m1").await);
    let mut view = View::open(&rig, CALLER, ("apps", "deployments"), "").await;
    let denied = (String::new(), "NOT_ALLOWED".to_owned());
    view.until("the denial", SOON, |v| v.errors.contains(&denied))
        .await;
    view.add(&rig, 2, MAPS, "set=refused").await;
    let unknown = ("m2".to_owned(), "CLUSTER_UNKNOWN".to_owned());
    view.until("m2 to be unknown", SOON, |v| v.errors.contains(&unknown))
        .await;
    put(&one, "refused", "1", json!({"set": "refused"})).await;
    view.until("m1's object", SOON, |v| v.has("m1", "refused"))
        .await;
    // A member that comes later joins without being asked for again.
    rig.attach("m2").await;
    view.until("m2's snapshot", SOON, |v| v.synced.contains("m2"))
        .await;

    let (requests, input) = tokio::sync::mpsc::channel(2);
    for client_name in [String::new(), "x".repeat(5 << 20)] {
        let open = proto::Open {
            client_name,
            max_frame_bytes: 0,
        };
        let op = Some(Op::Open(open));
        requests.send(proto::SubscribeRequest { op }).await.unwrap();
    }
    let input = tokio_stream::wrappers::ReceiverStream::new(input);
    let mut frames = rig
        .watch()
        .subscribe(request(input))
        .await
        .unwrap()
        .into_inner();
    let refused = loop {
        if let Err(status) = frames.message().await.map(Option::unwrap) {
            break status;
        }
    };
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);

    let mut streams = vec![view];
    for _ in 0..3 {
        streams.push(View::open(&rig, CALLER, MAPS, "").await);
    }
    let (_requests, input) = tokio::sync::mpsc::channel(1);
    let input = tokio_stream::wrappers::ReceiverStream::new(input);
    let fifth = rig.watch().subscribe(request(input)).await.unwrap_err();
    assert_eq!(fifth.code(), tonic::Code::ResourceExhausted);
}
