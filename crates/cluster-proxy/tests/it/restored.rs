//! A member whose etcd goes back to an earlier state.

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use testbed::{Bed, Member};
use tokio::sync::OnceCell;

use crate::{
    fake::Reply,
    hostile::{MAPS, TYPE, WATCH, list, object, start},
    rig::{CALLER, Rig, SOON, configmap, new_bed},
    view::View,
};

/// More than an API server writes by itself while it starts.
const WRITES: u32 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_went_back_in_time_without_a_word_is_read_anew() {
    let (rig, fake) = start("back-in-time").await;
    fake.reply(MAPS, list("500", &[object("lost", "1", "400")]));
    fake.reply(WATCH, Reply::Open(String::new()));
    let mut view = View::open(&rig, CALLER, TYPE, "").await;
    view.until("a snapshot", SOON, |v| v.has("m1", "lost"))
        .await;
    fake.reply(MAPS, list("90", &[object("kept", "1", "80")]));
    fake.disconnect();
    view.until("the restored state", SOON, |v| v.has("m1", "kept"))
        .await;
    assert!(!view.has("m1", "lost"));
    let restored = ("m1".to_owned(), "MEMBER_REINCARNATED".to_owned());
    assert_eq!(view.snapshots.last(), Some(&restored));
}

/// A bed of its own: etcd is stopped here.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_restored_from_an_earlier_copy_is_noticed() {
    static BED: OnceCell<Bed> = OnceCell::const_new();
    let bed = BED
        .get_or_init(|| new_bed("cluster-proxy-restored", &["m1"]))
        .await;
    let rig = Rig::start(bed, "etcd").await;
    let member = rig.attach("m1").await;
    put(&maps(member), "kept", "before").await;
    let copy = tempfile::tempdir().unwrap();
    let data = member.control_plane().etcd_data();
    let backup = copy.path().join("etcd");
    without_etcd(member, || copy_folder(data, &backup)).await;

    put(&maps(member), "kept", "after").await;
    let many = maps(member);
    for _ in 0..WRITES / 2 {
        put(&many, "lost", "even").await;
        put(&many, "lost", "odd").await;
    }
    let mut view = View::open(&rig, CALLER, TYPE, "").await;
    view.until("all", SOON, |v| {
        v.value("m1", "lost") == Some("odd") && v.value("m1", "kept") == Some("after")
    })
    .await;

    without_etcd(member, || {
        std::fs::remove_dir_all(data).unwrap();
        copy_folder(&backup, data);
    })
    .await;
    view.until("the restored state", 2 * SOON, |v| {
        v.synced.contains("m1") && v.value("m1", "kept") == Some("before")
    })
    .await;
    assert!(!view.has("m1", "lost"));
    let restored = ("m1".to_owned(), "MEMBER_REINCARNATED".to_owned());
    assert_eq!(view.snapshots.last(), Some(&restored));
    // From here on nothing is missed.
    put(&maps(member), "kept", "again").await;
    view.until("news", SOON, |v| v.value("m1", "kept") == Some("again"))
        .await;
}

fn maps(member: &Member) -> Api<ConfigMap> {
    Api::namespaced(member.client().unwrap(), "default")
}

async fn put(maps: &Api<ConfigMap>, name: &str, value: &str) {
    let body = Patch::Apply(configmap(name, value));
    let manager = PatchParams::apply("tests").force();
    maps.patch(name, &manager, &body).await.unwrap();
}

async fn without_etcd(member: &Member, work: impl FnOnce()) {
    let plane = member.control_plane();
    plane.stop_apiserver().await.unwrap();
    plane.etcd().stop(Duration::from_secs(10)).await.unwrap();
    work();
    plane.etcd().start().unwrap();
    plane.start_apiserver().await.unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
