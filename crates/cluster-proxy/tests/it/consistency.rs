//! Answers from what watches hold: when they are given, and what is said about them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use proxy_client::proto::{
    self, Freshness, cluster_status::State, get_request::Consistency, projection::Mode,
};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    fake::Reply,
    hostile,
    rig::{CALLER, Rig, SOON, bed, configmap, gvr, info, request, request_as},
    view::View,
};

const MAPS: (&str, &str) = ("", "configmaps");

fn get(rig: &Rig, name: &str, consistency: Consistency) -> proto::GetRequest {
    proto::GetRequest {
        target: rig.target("m1", name),
        consistency: consistency.into(),
        ..Default::default()
    }
}

fn list(rig: &Rig, labels: &str, consistency: Consistency) -> proto::ListRequest {
    proto::ListRequest {
        cluster: rig.cluster("m1"),
        gvr: gvr("", "v1", "configmaps"),
        namespace: "default".into(),
        label_selector: labels.into(),
        consistency: consistency.into(),
        ..Default::default()
    }
}

async fn read(rig: &Rig, get: proto::GetRequest) -> Result<(Value, Freshness), Status> {
    let object = rig.access().get(request(get)).await?.into_inner();
    let body = serde_json::from_slice(&object.json).unwrap();
    Ok((body, object.freshness.unwrap()))
}

async fn read_all(rig: &Rig, list: proto::ListRequest) -> Result<(Vec<Value>, Freshness), Status> {
    let mut chunks = rig.access().list(request(list)).await?.into_inner();
    let mut items = Vec::new();
    loop {
        let chunk = chunks.message().await?.unwrap();
        let bodies = chunk.items.iter().map(|item| &item.json);
        items.extend(bodies.map(|json| serde_json::from_slice::<Value>(json).unwrap()));
        if chunk.last {
            assert!(!chunk.resource_version.is_empty());
            return Ok((items, chunk.freshness.unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_watch_holds_is_an_answer_to_who_may_ask_and_takes_it() {
    let rig = Rig::start(bed().await, "held").await;
    let member = rig.attach("m1").await;
    let direct: Api<ConfigMap> = Api::namespaced(member.client().unwrap(), "default");
    let mut body = configmap("held", "1");
    body["metadata"]["labels"] = json!({"set": "held"});
    let map = serde_json::from_value(body).unwrap();
    direct.create(&PostParams::default(), &map).await.unwrap();

    let cached = || get(&rig, "held", Consistency::Cached);
    let (_, fresh) = read(&rig, cached()).await.unwrap();
    assert!(!fresh.from_cache && fresh.link_up, "nobody watches yet");
    let mut view = View::open(&rig, CALLER, MAPS, "set=held").await;
    view.until("the object", SOON, |v| v.has("m1", "held"))
        .await;

    let (held, fresh) = read(&rig, cached()).await.unwrap();
    assert!(fresh.from_cache && fresh.link_up, "{fresh:?}");
    assert_eq!(held["data"]["k"], "1");
    let (live, fresh) = read(&rig, get(&rig, "held", Consistency::Live))
        .await
        .unwrap();
    assert!(!fresh.from_cache && fresh.link_up);
    assert_eq!(fresh.age, Some(prost_types::Duration::default()));
    assert_eq!(held, live);
    let metadata = proto::GetRequest {
        projection: Some(proto::Projection {
            mode: Mode::Metadata.into(),
        }),
        ..cached()
    };
    let (held, fresh) = read(&rig, metadata).await.unwrap();
    assert!(fresh.from_cache && held.get("data").is_none(), "{held}");
    assert_eq!(held["kind"], "ConfigMap");

    // The watch is of everything, so any selector can be answered.
    let (items, fresh) = read_all(&rig, list(&rig, "set in (held)", Consistency::Cached))
        .await
        .unwrap();
    assert!(fresh.from_cache, "{fresh:?}");
    assert_eq!((items.len(), &items[0]["data"]["k"]), (1, &json!("1")));
    let fields = proto::ListRequest {
        field_selector: "metadata.name=held".into(),
        ..list(&rig, "", Consistency::Cached)
    };
    let (items, fresh) = read_all(&rig, fields).await.unwrap();
    assert!(
        !fresh.from_cache && items.len() == 1,
        "fields are the member's"
    );

    let absent = read(&rig, get(&rig, "held-not", Consistency::Cached))
        .await
        .unwrap_err();
    assert_eq!(
        info(&absent).domain,
        "kubernetes",
        "absence is the member's word"
    );
    // Who may watch may not therefore get.
    let other = request_as("other-tester", cached());
    let denied = rig.access().get(other).await.unwrap_err();
    assert_eq!(info(&denied).reason, "NOT_ALLOWED");
    let any = read(&rig, get(&rig, "held", Consistency::Any)).await;
    assert_eq!(any.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_never_older_than_it_may_be() {
    let rig = Rig::start(bed().await, "not-older").await;
    let member = rig.attach("m1").await;
    let direct: Api<ConfigMap> = Api::namespaced(member.client().unwrap(), "default");
    let map = serde_json::from_value(configmap("not-older", "0")).unwrap();
    let mut map = direct.create(&PostParams::default(), &map).await.unwrap();
    let mut view = View::open(&rig, CALLER, MAPS, "").await;
    view.until("the object", SOON, |v| v.has("m1", "not-older"))
        .await;
    let at_least = |version: &str| proto::GetRequest {
        min_resource_version: version.into(),
        ..get(&rig, "not-older", Consistency::NotOlderThan)
    };
    for value in 1..=20 {
        let value = value.to_string();
        map.data = Some([("k".to_owned(), value.clone())].into());
        map = direct
            .replace("not-older", &PostParams::default(), &map)
            .await
            .unwrap();
        let version = map.metadata.resource_version.as_deref().unwrap();
        // Whoever answers, the watch or the member.
        let (body, _) = read(&rig, at_least(version)).await.unwrap();
        assert_eq!(body["data"]["k"], value);
        let listed = proto::ListRequest {
            min_resource_version: version.into(),
            ..list(&rig, "", Consistency::NotOlderThan)
        };
        let (items, _) = read_all(&rig, listed).await.unwrap();
        let named = |item: &&Value| item["metadata"]["name"] == "not-older";
        assert_eq!(items.iter().find(named).unwrap()["data"]["k"], value);
    }
    let version = map.metadata.resource_version.unwrap();
    view.until("the last", SOON, |v| {
        v.value("m1", "not-older") == Some("20")
    })
    .await;
    let (_, fresh) = read(&rig, at_least(&version)).await.unwrap();
    assert!(fresh.from_cache, "what is new enough is not asked for");
    let future = (version.parse::<u64>().unwrap() + 1_000_000_000).to_string();
    for incomparable in [future.as_str(), "abc"] {
        let (_, fresh) = read(&rig, at_least(incomparable)).await.unwrap();
        assert!(!fresh.from_cache, "{incomparable}");
    }
    direct
        .delete("not-older", &DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_an_answer_while_the_member_is_gone_and_secrets_have_no_data_in_it() {
    let rig = Rig::start(bed().await, "held-down").await;
    let (member, relay) = rig.attach_with_relay("m1").await;
    let secrets: Api<Secret> = Api::namespaced(member.client().unwrap(), "default");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "held-down"},
        "stringData": {"k": "canary-data"}});
    let secret = serde_json::from_value(secret).unwrap();
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let mut view = View::open(&rig, CALLER, ("", "secrets"), "").await;
    view.until("the Secret", SOON, |v| {
        v.objects.contains_key(&("m1".into(), "held-down".into()))
    })
    .await;
    relay.cut();
    rig.until("m1", State::Unreachable, SOON).await;

    let of_secret = |consistency| {
        let mut get = get(&rig, "held-down", consistency);
        get.target.as_mut().unwrap().gvr = gvr("", "v1", "secrets");
        get
    };
    let (body, fresh) = read(&rig, of_secret(Consistency::Cached)).await.unwrap();
    assert!(fresh.from_cache && !fresh.link_up, "{fresh:?}");
    assert!(fresh.age.unwrap() != prost_types::Duration::default());
    assert_eq!(body["metadata"]["name"], "held-down");
    assert!(!body.to_string().contains("canary"), "{body}");
    assert!(body.get("data").is_none());
    let of_secrets = proto::ListRequest {
        gvr: gvr("", "v1", "secrets"),
        ..list(&rig, "", Consistency::Cached)
    };
    let (items, fresh) = read_all(&rig, of_secrets).await.unwrap();
    assert!(fresh.from_cache && !fresh.link_up && !items.is_empty());
    assert!(items.iter().all(|item| item.get("data").is_none()));
    let live = read(&rig, of_secret(Consistency::Live)).await.unwrap_err();
    assert_eq!(info(&live).reason, "CLUSTER_UNREACHABLE");
    secrets
        .delete("held-down", &DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_told_which_version_a_list_may_have() {
    const PATH: &str = "/api/v1/namespaces/default/configmaps";
    let (rig, fake) = hostile::start("versions").await;
    let page = json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "continue": "next"}, "items": [configmap("x", "1")]});
    fake.reply(PATH, Reply::Json(200, page));
    let two = proto::ListRequest {
        min_resource_version: "5".into(),
        limit: 2,
        ..list(&rig, "", Consistency::NotOlderThan)
    };
    let (items, fresh) = read_all(&rig, two).await.unwrap();
    assert!(items.len() == 2 && !fresh.from_cache);
    let asked = fake.seen(PATH);
    assert_eq!(asked.len(), 2);
    let first = "resourceVersion=5&resourceVersionMatch=NotOlderThan&limit=2";
    assert!(asked[0].path.contains(first), "{}", asked[0].path);
    assert!(
        !asked[1].path.contains("resourceVersion"),
        "{}",
        asked[1].path
    );

    let all = json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "7"}, "items": [configmap("x", "1")]});
    fake.reply(PATH, Reply::Json(200, all));
    read_all(&rig, list(&rig, "", Consistency::Any))
        .await
        .unwrap();
    let asked = fake.seen(PATH);
    assert!(
        asked[2].path.contains("?resourceVersion=0&limit="),
        "{}",
        asked[2].path
    );

    // A version that the member has not reached speaks against the caller alone.
    let future = json!({"kind": "Status", "reason": "Timeout", "code": 504, "details":
        {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large"}]}});
    fake.reply(PATH, Reply::Json(504, future));
    for _ in 0..10 {
        let ahead = proto::ListRequest {
            min_resource_version: "9".into(),
            ..list(&rig, "", Consistency::NotOlderThan)
        };
        let mut ahead = request(ahead);
        // Too short for a try after the hint.
        ahead.set_timeout(Duration::from_secs(2));
        let refused = rig.access().list(ahead).await.unwrap_err();
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
        assert_eq!(info(&refused).reason, "TIMEOUT");
        assert!(refused.get_details_retry_info().is_some());
    }
    assert_eq!(rig.status("m1").await.unwrap().state(), State::Ready);
}
