use std::{sync::atomic::Ordering, time::Duration};

use api_types::key::ClusterKey;
use bytes::Bytes;
use proxy_client::proto::subscribe_frame::F;

use super::*;
use crate::{
    subscribe::queue::{LaneLabel, Queue},
    watch::selector::split,
};

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
    cache.attach(subscriber(&queue), Filter::default());
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

fn labelled(name: &str, revision: &str, team: &str) -> Projected {
    let json = format!(r#"{{"data":{{"labels":1}},"metadata":{{"labels":{{"team":"{team}"}}}}}}"#);
    Projected {
        json: Bytes::from(json),
        ..object(name, name, revision)
    }
}

/// A cache with a subscriber of all and one of team x, and their queues.
fn filtered(first: Vec<Projected>) -> (Cache, Arc<Queue>, Arc<Queue>) {
    let (all, some, mut cache) = (Queue::new(0), Queue::new(0), cache());
    cache.attach(subscriber(&all), Filter::default());
    let (upstream, filter) = split("f", "team=x").unwrap();
    assert_eq!(upstream, "");
    cache.attach(subscriber(&some), filter);
    cache.replace(first, "5".into()).unwrap();
    (cache, all, some)
}

#[test]
fn a_subscriber_with_a_filter_sees_objects_come_and_go_with_their_labels() {
    let first = vec![labelled("a", "1", "x"), labelled("b", "2", "y")];
    let (mut cache, all, some) = filtered(first);
    assert_eq!(said(&all), ["start INITIAL", "+a@1", "+b@2", "end"]);
    assert_eq!(said(&some), ["start INITIAL", "+a@1", "end"]);
    cache.upsert(labelled("b", "6", "z")).unwrap();
    assert_eq!(said(&all), ["+b@6"]);
    assert!(said(&some).is_empty(), "neither then nor now");
    cache.upsert(labelled("b", "7", "x")).unwrap();
    assert_eq!(said(&some), ["+b@7"]);
    cache.upsert(labelled("a", "8", "")).unwrap();
    assert_eq!(said(&some), ["-a"]);
    assert_eq!(said(&all), ["+a@8", "+b@7"]);
    cache.delete(&labelled("a", "9", ""));
    assert!(said(&some).is_empty(), "it was gone already");
    cache.delete(&labelled("b", "10", "x"));
    assert_eq!(said(&some), ["-b"]);
    assert_eq!(said(&all), ["-a", "-b"]);
}

#[test]
fn a_relist_tells_a_subscriber_with_a_filter_what_left_its_selection() {
    let first = vec![
        labelled("kept", "1", "x"),
        labelled("leaves", "2", "x"),
        labelled("joins", "3", "y"),
        labelled("other", "4", "y"),
        labelled("gone", "5", "x"),
    ];
    let (mut cache, all, some) = filtered(first);
    assert_eq!(said(&all).len(), 7);
    assert_eq!(said(&some).len(), 5);
    let second = vec![
        labelled("kept", "1", "x"),
        labelled("leaves", "7", "y"),
        labelled("joins", "8", "x"),
        labelled("other", "9", "z"),
    ];
    cache.replace(second, "9".into()).unwrap();
    assert_eq!(said(&some), ["+joins@8", "-gone", "-leaves"]);
    assert_eq!(said(&all), ["+joins@8", "+leaves@7", "+other@9", "-gone"]);
}

#[test]
fn a_subscriber_that_comes_later_gets_the_snapshot_without_another_list() {
    let mut cache = cache();
    cache
        .replace(vec![object("a", "1", "1")], "1".into())
        .unwrap();
    cache.upsert(object("a", "1", "4")).unwrap();
    let queue = Queue::new(0);
    cache.attach(subscriber(&queue), Filter::default());
    assert_eq!(said(&queue), ["start INITIAL", "+a@4", "end"]);
}

#[test]
fn a_reset_forces_a_full_snapshot_with_its_reason() {
    let (queue, mut cache) = (Queue::new(0), cache());
    cache.attach(subscriber(&queue), Filter::default());
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
    cache.attach(subscriber(&queue), Filter::default());
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
fn lists_that_are_being_read_share_the_budget_with_what_is_held() {
    const MIB: usize = 1024 * 1024;
    let link: Arc<AtomicUsize> = Arc::default();
    let (mut one, mut two) = (Cache::new(Arc::clone(&link)), Cache::new(Arc::clone(&link)));
    assert_eq!(one.reading(10 * MIB).unwrap(), 6 * MIB);
    assert!(two.reading(7 * MIB).is_err());
    assert_eq!(two.reading(4 * MIB).unwrap(), 2 * MIB);
    one.stop_reading();
    assert_eq!(link.load(Ordering::Relaxed), 4 * MIB);
    two.replace(vec![object("a", "1", "1")], "1".into())
        .unwrap();
    let held = link.load(Ordering::Relaxed);
    assert!(held < MIB);
    // A list that replaces what is held does not count beside it.
    assert_eq!(two.reading(16 * MIB).unwrap(), 0);
    two.stop_reading();
    assert_eq!(link.load(Ordering::Relaxed), held);
    drop((one, two));
    assert_eq!(link.load(Ordering::Relaxed), 0);
}

#[test]
fn a_subscriber_that_does_not_read_gets_a_snapshot_instead_of_endless_deletions() {
    let (queue, mut cache) = (Queue::new(0), cache());
    cache.attach(subscriber(&queue), Filter::default());
    cache
        .replace(vec![object("kept", "1", "1")], "1".into())
        .unwrap();
    said(&queue);
    for i in 2..25_000 {
        let (name, revision) = (format!("o{i}"), i.to_string());
        cache.upsert(object(&name, &name, &revision)).unwrap();
        cache.delete(&object(&name, &name, &revision));
    }
    let heard = said(&queue);
    assert_eq!(heard[..3], ["start RELIST", "+kept@1", "end"]);
    assert!(heard.len() < 10_010, "{}", heard.len());
    assert!(heard[3..].iter().all(|said| said.starts_with('-')));
    // Those that went with a list count as well.
    let many = (0..12_000).map(|i| object(&format!("p{i}"), "1", "1"));
    cache.replace(many.collect(), "30000".into()).unwrap();
    assert!(said(&queue).len() > 12_000);
    cache
        .replace(vec![object("kept", "1", "1")], "30001".into())
        .unwrap();
    let heard = said(&queue);
    assert_eq!(heard, ["start RELIST", "+kept@1", "end"]);
}

#[test]
fn versions_are_compared_as_integers_of_any_size() {
    assert!(is_older("9", "10"));
    assert!(is_older("18446744073709551616", "18446744073709551617"));
    assert!(!is_older("10", "9"));
    assert!(!is_older("abc", "abd"));
    assert!(!is_older("", "1"));
}

#[test]
fn subscribers_hear_of_the_state_again_when_an_error_is_over() {
    let (queue, mut cache) = (Queue::new(0), cache());
    cache.attach(subscriber(&queue), Filter::default());
    let up = link_state::State::Up;
    cache.set_state(up, "Connected", None);
    while queue.try_next().is_some() {}
    let heard = || {
        std::iter::from_fn(|| queue.try_next())
            .map(|frame| match frame.f.unwrap() {
                F::Link(link) => link.reason,
                F::Error(error) => error.error.unwrap().reason,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<String>>()
    };
    let forbidden = CallError::proxy(tonic::Code::PermissionDenied, "FORBIDDEN", "no");
    cache.set_error(&forbidden);
    cache.set_error(&forbidden);
    assert_eq!(heard(), ["FORBIDDEN"]);
    // It never stopped being up, as far as the cache knows.
    cache.set_state(up, "Connected", None);
    cache.clear_error();
    cache.clear_error();
    assert_eq!(heard(), ["Connected"]);
    cache.set_error(&forbidden);
    cache.set_state(link_state::State::Down, "Lost", None);
    cache.set_error(&forbidden);
    assert_eq!(heard(), ["Lost", "FORBIDDEN"], "it holds on");
}

#[tokio::test(start_paused = true)]
async fn data_is_of_the_time_of_its_last_read_whatever_becomes_of_the_connection() {
    const MINUTE: Duration = Duration::from_mins(1);
    let mut cache = cache();
    let up = link_state::State::Up;
    let age = |cache: &Cache| Timestamp::now().duration_since(cache.as_of()).as_secs();
    let last_read = Some(Arc::new(LastRead::new()));
    cache.set_state(up, "Connected", last_read);
    tokio::time::advance(2 * MINUTE).await;
    // The connection is gone already when the watch learns of it.
    cache.set_state(link_state::State::Down, "Lost", None);
    assert!((119..=125).contains(&age(&cache)), "{}", age(&cache));
    // The connection lives on without the watch.
    let living = Arc::new(LastRead::new());
    cache.set_state(up, "Connected", Some(Arc::clone(&living)));
    tokio::time::advance(MINUTE).await;
    cache.ended();
    let of = cache.as_of();
    drop(living);
    tokio::time::advance(MINUTE).await;
    cache.set_state(up, "Connected", None);
    assert_eq!(cache.as_of(), of);
    cache.replace(Vec::new(), "1".into()).unwrap();
    assert!(cache.as_of() > of, "a list is news");
}

#[test]
fn who_has_been_sent_all_there_is_knows_that_the_member_is_up() {
    let (queue, mut cache) = (Queue::new(0), cache());
    cache.attach(subscriber(&queue), Filter::default());
    cache
        .replace(vec![object("a", "1", "1")], "1".into())
        .unwrap();
    let frames = std::iter::from_fn(|| queue.try_next()).map(|frame| frame.f.unwrap());
    let frames: Vec<F> = frames.collect();
    let is_up = |frame: &F| matches!(frame, F::Link(link) if link.state() == link_state::State::Up);
    let up = frames.iter().position(is_up);
    let end = frames
        .iter()
        .position(|frame| matches!(frame, F::SyncEnd(_)));
    assert!(up.is_some() && up < end, "{frames:?}");
}
