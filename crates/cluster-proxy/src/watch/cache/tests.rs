use api_types::key::ClusterKey;
use bytes::Bytes;
use proxy_client::proto::subscribe_frame::F;

use super::*;
use crate::subscribe::queue::{LaneLabel, Queue};

fn object(name: &str, uid: &str, revision: &str) -> Projected {
    Projected {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: name.into(),
        namespace: "n".into(),
        uid: uid.into(),
        resource_version: revision.into(),
        generation: 0,
        json: Bytes::from_static(b"{}"),
    }
}

fn cache() -> Cache {
    Cache::new(Arc::default())
}

fn subscriber(queue: &Arc<Queue>) -> Lane {
    queue.lane(LaneLabel {
        sub_id: 1,
        cluster: ClusterKey::attached("ns", "m"),
        gvr: proto::Gvr::default(),
    })
}

/// Names and revisions that the queue holds, in order; frames without data by their kind.
fn said(queue: &Queue) -> Vec<String> {
    let mut out = Vec::new();
    while let Some(frame) = queue.try_next() {
        match frame.f.unwrap() {
            F::Batch(batch) => {
                let up = batch
                    .upserts
                    .iter()
                    .map(|o| format!("+{}@{}", o.name, o.resource_version));
                let down = batch.deletes.iter().map(|o| format!("-{}", o.name));
                let mut all: Vec<String> = up.chain(down).collect();
                all.sort();
                out.append(&mut all);
            }
            F::SyncStart(start) => out.push(format!("start {}", start.reason)),
            F::SyncEnd(_) => out.push("end".into()),
            _ => {}
        }
    }
    out
}

#[test]
fn a_relist_tells_only_the_differences() {
    let (queue, mut cache) = (Queue::new(0), cache());
    cache.attach(subscriber(&queue));
    let first = vec![
        object("a", "1", "1"),
        object("b", "2", "2"),
        object("c", "3", "3"),
    ];
    cache.replace(first, "3".into()).unwrap();
    assert_eq!(
        said(&queue),
        ["start INITIAL", "+a@1", "+b@2", "+c@3", "end"]
    );
    let second = vec![
        object("a", "1", "1"),
        object("b", "2", "5"),
        object("d", "4", "6"),
    ];
    cache.replace(second, "6".into()).unwrap();
    assert_eq!(said(&queue), ["+b@5", "+d@6", "-c"]);
}

#[test]
fn a_subscriber_that_comes_later_gets_the_snapshot_without_another_list() {
    let mut cache = cache();
    cache
        .replace(vec![object("a", "1", "1")], "1".into())
        .unwrap();
    cache.upsert(object("a", "1", "4")).unwrap();
    let queue = Queue::new(0);
    cache.attach(subscriber(&queue));
    assert_eq!(said(&queue), ["start INITIAL", "+a@4", "end"]);
}

#[test]
fn a_reset_forces_a_full_snapshot_with_its_reason() {
    let (queue, mut cache) = (Queue::new(0), cache());
    cache.attach(subscriber(&queue));
    cache
        .replace(vec![object("a", "1", "9")], "9".into())
        .unwrap();
    said(&queue);
    cache.reset(SyncReason::MemberReincarnated);
    cache
        .replace(vec![object("a", "7", "2")], "2".into())
        .unwrap();
    assert_eq!(said(&queue), ["start MEMBER_REINCARNATED", "+a@2", "end"]);
}

#[test]
fn duplicates_and_steps_back_in_time_are_dropped() {
    let (queue, mut cache) = (Queue::new(0), cache());
    cache.attach(subscriber(&queue));
    cache
        .replace(vec![object("a", "1", "10")], "10".into())
        .unwrap();
    said(&queue);
    assert_eq!(cache.upsert(object("a", "1", "10")).unwrap(), Change::Stale);
    assert_eq!(cache.upsert(object("a", "1", "9")).unwrap(), Change::Stale);
    assert_eq!(
        cache.upsert(object("a", "1", "11")).unwrap(),
        Change::Applied
    );
    assert_eq!(
        cache.upsert(object("a", "new", "3")).unwrap(),
        Change::Applied
    );
    assert_eq!(cache.delete(&object("z", "9", "12")), Change::Stale);
    assert_eq!(said(&queue), ["+a@3"]);
}

#[test]
fn the_budget_is_the_links_and_is_given_back() {
    let link: Arc<AtomicUsize> = Arc::default();
    let mut large = object("a", "1", "1");
    large.json = Bytes::from(vec![b' '; 10 * 1024 * 1024]);
    let mut one = Cache::new(Arc::clone(&link));
    one.replace(vec![large.clone()], "1".into()).unwrap();
    let mut two = Cache::new(Arc::clone(&link));
    assert!(two.replace(vec![large.clone()], "1".into()).is_err());
    assert!(two.upsert(large.clone()).is_err());
    drop(one);
    assert_eq!(link.load(Ordering::Relaxed), 0);
    two.replace(vec![large.clone()], "1".into()).unwrap();
    two.delete(&large);
    assert_eq!(link.load(Ordering::Relaxed), 0);
}

#[test]
fn versions_are_compared_as_integers_of_any_size() {
    assert!(is_older("9", "10"));
    assert!(is_older("18446744073709551616", "18446744073709551617"));
    assert!(!is_older("10", "9"));
    assert!(!is_older("abc", "abd"));
    assert!(!is_older("", "1"));
}
