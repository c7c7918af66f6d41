use k8s_openapi::api::core::v1::ConfigMap;

use super::*;

fn synced(store: &mut Store<ConfigMap>, name: &str) -> ClusterKey {
    let cluster = ClusterKey::attached("default", name);
    for signal in [
        Signal::SyncStart {
            cluster: cluster.clone(),
        },
        Signal::SyncEnd {
            cluster: cluster.clone(),
        },
    ] {
        store.apply(signal);
    }
    cluster
}

fn lost() -> Signal {
    Signal::Disconnected {
        message: "gone".into(),
    }
}

#[test]
fn a_member_not_mentioned_after_a_reconnect_is_forgotten_and_others_stay() {
    let mut store = Store::new("configmaps".into());
    let (oslo, bergen) = (synced(&mut store, "oslo"), synced(&mut store, "bergen"));
    store.apply(Signal::ForgetUnheard);
    assert_eq!(
        store.clusters().len(),
        2,
        "both were heard of on this stream"
    );

    assert_eq!(store.apply(lost()).len(), 2);
    assert!(store.apply(lost()).is_empty(), "a loss is announced once");
    store.apply(Signal::Connected);
    store.apply(Signal::Link {
        cluster: bergen.clone(),
        state: proto::LinkState {
            state: State::Down.into(),
            ..Default::default()
        },
    });
    store.apply(Signal::ForgetUnheard);
    assert_eq!(store.clusters(), std::slice::from_ref(&bergen));
    assert!(store.state(&bergen).synced, "down, with its data");
    assert_eq!(store.state(&oslo), WatchState::default());
}

#[test]
fn a_heartbeat_makes_data_fresh_unless_it_is_called_stale_or_the_link_is_down() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut store = Store::<ConfigMap>::new("configmaps".into());
    let (oslo, bergen) = (synced(&mut store, "oslo"), synced(&mut store, "bergen"));
    let stale = HashMap::from([(bergen.clone(), Some(at(100)))]);
    store.apply(Signal::Heartbeat {
        time: Some(at(200)),
        stale,
    });
    assert_eq!(store.state(&oslo).as_of, Some(at(200)));
    assert_eq!(store.state(&bergen).as_of, Some(at(100)));

    store.apply(lost());
    store.apply(Signal::Heartbeat {
        time: Some(at(300)),
        stale: HashMap::new(),
    });
    assert_eq!(
        store.state(&oslo).as_of,
        Some(at(200)),
        "nothing came since"
    );
}

#[test]
fn the_end_of_a_snapshot_without_its_start_deletes_nothing() {
    let mut store = Store::<ConfigMap>::new("configmaps".into());
    let oslo = synced(&mut store, "oslo");
    let batch = proto::Batch {
        upserts: vec![proto::Object {
            name: "a".into(),
            json: br#"{"metadata":{"name":"a"}}"#.to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    };
    store.apply(Signal::Batch {
        cluster: oslo.clone(),
        batch,
    });
    let end = Signal::SyncEnd {
        cluster: oslo.clone(),
    };
    assert!(store.apply(end).is_empty());
    assert_eq!(store.list(&oslo).len(), 1);
}
