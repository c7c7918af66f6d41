use bytes::Bytes;
use jiff::Timestamp;
use proto::{link_state, subscribe_frame::F};

use super::*;

fn object(name: &str, revision: u32, size: usize) -> Arc<Projected> {
    Arc::new(Projected {
        api_version: "velero.io/v1".into(),
        kind: "Backup".into(),
        name: name.into(),
        namespace: "velero".into(),
        uid: format!("uid-{name}"),
        resource_version: revision.to_string(),
        generation: 1,
        json: Bytes::from(vec![b' '; size]),
    })
}

fn lane(queue: &Arc<Queue>, cluster: &str) -> Lane {
    queue.lane(LaneLabel {
        sub_id: 1,
        cluster: ClusterKey::attached("ns", cluster),
        gvr: proto::Gvr::default(),
    })
}

/// A short text for each frame: what it is, of which cluster, with which objects.
fn drain(queue: &Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.try_next())
        .map(|frame| {
            let name = |c: &Option<proto::ClusterRef>| c.as_ref().unwrap().name.clone();
            match frame.f.unwrap() {
                F::SyncStart(f) => format!("{} start {}", name(&f.cluster), f.reason),
                F::SyncEnd(f) => format!("{} end {}", name(&f.cluster), f.resource_version),
                F::Batch(f) => {
                    let up = f
                        .upserts
                        .iter()
                        .map(|o| format!("+{}@{}", o.name, o.resource_version));
                    let down = f.deletes.iter().map(|o| format!("-{}", o.name));
                    let all: Vec<String> = up.chain(down).collect();
                    format!("{} {}", name(&f.cluster), all.join(" "))
                }
                F::Link(f) => format!("{} link {}", name(&f.cluster), f.state().as_str_name()),
                F::Error(f) => format!("{} error {}", name(&f.cluster), f.error.unwrap().reason),
                F::Removed(f) => format!("{} removed", name(&f.cluster)),
                F::Heartbeat(_) => "heartbeat".into(),
            }
        })
        .collect()
}

#[test]
fn a_later_state_replaces_the_one_that_waits() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    lane.upsert(&object("a", 1, 10));
    lane.upsert(&object("b", 2, 10));
    lane.upsert(&object("a", 3, 10));
    assert_eq!(drain(&queue), ["m1 +a@3 +b@2"]);
    assert_eq!(queue.take_coalesced(), 1);
    assert!(drain(&queue).is_empty());
}

#[test]
fn a_deletion_is_never_lost_even_when_the_object_waits() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    lane.upsert(&object("a", 1, 10));
    let _ = lane.delete(&object("a", 1, 10), "2");
    assert_eq!(drain(&queue), ["m1 -a"]);
    let _ = lane.delete(&object("a", 2, 10), "3");
    lane.upsert(&object("a", 4, 10));
    assert_eq!(drain(&queue), ["m1 +a@4"]);
}

#[test]
fn deletions_go_out_before_updates_that_waited_longer() {
    let queue = Queue::new(FRAME_MIN);
    let lane = lane(&queue, "m1");
    for name in ["a", "b", "c"] {
        lane.upsert(&object(name, 1, 10 * FRAME_MIN));
    }
    let _ = lane.delete(&object("z", 1, 10), "2");
    // It waits as an update, and is gone before that was said.
    let _ = lane.delete(&object("c", 1, 10), "3");
    assert_eq!(drain(&queue), ["m1 -c -z", "m1 +a@1", "m1 +b@1"]);
}

#[test]
fn a_deletion_does_not_overtake_the_end_of_a_snapshot() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    let snapshot = [object("a", 5, 10), object("b", 6, 10)];
    lane.sync(SyncReason::Initial, snapshot.iter(), "7");
    lane.upsert(&object("c", 8, 10));
    let _ = lane.delete(&object("c", 8, 10), "9");
    let _ = lane.delete(&object("a", 5, 10), "10");
    assert_eq!(
        drain(&queue),
        ["m1 start INITIAL", "m1 +b@6 -a", "m1 end 7", "m1 -c"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_delay_of_an_event_counts_from_the_first_that_was_not_sent() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    lane.sync(SyncReason::Initial, [object("a", 1, 10)].iter(), "1");
    assert_eq!(drain(&queue).len(), 3);
    assert_eq!(queue.take_read(), [], "a snapshot is no event");
    let first = Instant::now();
    lane.upsert(&object("a", 2, 10));
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    lane.upsert(&object("a", 3, 10));
    let _ = lane.delete(&object("b", 3, 10), "4");
    let second = Instant::now();
    assert!(queue.try_next().is_some());
    assert_eq!(queue.take_read(), [second, first]);
    assert_eq!(queue.take_read(), []);
}

#[test]
fn a_snapshot_stands_between_start_and_end_and_later_changes_follow() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    lane.upsert(&object("stale", 1, 10));
    let snapshot = [object("a", 5, 10), object("b", 6, 10)];
    lane.sync(SyncReason::Initial, snapshot.iter(), "7");
    lane.upsert(&object("a", 8, 10));
    lane.upsert(&object("c", 9, 10));
    assert_eq!(
        drain(&queue),
        ["m1 start INITIAL", "m1 +a@8 +b@6", "m1 end 7", "m1 +c@9"]
    );
}

#[test]
fn an_empty_snapshot_still_ends() {
    let queue = Queue::new(0);
    lane(&queue, "m1").sync(SyncReason::Relist, [].iter(), "7");
    assert_eq!(drain(&queue), ["m1 start RELIST", "m1 end 7"]);
}

#[test]
fn clusters_take_turns_and_large_objects_travel_alone() {
    let queue = Queue::new(FRAME_MIN);
    let (one, two) = (lane(&queue, "m1"), lane(&queue, "m2"));
    for i in 0..3 {
        one.upsert(&object(&format!("big{i}"), i, 10 * FRAME_MIN));
    }
    two.upsert(&object("small", 1, 10));
    assert_eq!(
        drain(&queue),
        ["m1 +big0@0", "m2 +small@1", "m1 +big1@1", "m1 +big2@2"]
    );
}

#[test]
fn only_the_newest_link_state_is_told_and_before_data() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    lane.upsert(&object("a", 1, 10));
    for state in [link_state::State::Up, link_state::State::BreakerOpen] {
        lane.state(WatchState {
            state,
            reason: String::new(),
            as_of: Timestamp::now(),
        });
    }
    assert_eq!(drain(&queue), ["m1 link BREAKER_OPEN", "m1 +a@1"]);
}

#[test]
fn a_state_and_an_error_are_told_in_the_order_in_which_they_came() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    let state = || WatchState {
        state: link_state::State::Up,
        reason: String::new(),
        as_of: Timestamp::now(),
    };
    let error = || proto::Error {
        reason: "FORBIDDEN".into(),
        ..Default::default()
    };
    lane.state(state());
    lane.error(error());
    assert_eq!(drain(&queue), ["m1 link UP", "m1 error FORBIDDEN"]);
    lane.state(state());
    lane.error(error());
    lane.state(state());
    assert_eq!(drain(&queue), ["m1 error FORBIDDEN", "m1 link UP"]);
}

#[test]
fn a_removed_cluster_says_so_once_and_nothing_after() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    lane.upsert(&object("a", 1, 10));
    lane.remove();
    lane.upsert(&object("b", 2, 10));
    assert_eq!(drain(&queue), ["m1 removed"]);
    lane.upsert(&object("c", 3, 10));
    assert!(drain(&queue).is_empty());
}

#[tokio::test]
async fn a_waiting_reader_wakes_when_something_is_said() {
    let queue = Queue::new(0);
    let lane = lane(&queue, "m1");
    let reader = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.next().await }
    });
    lane.upsert(&object("a", 1, 10));
    let frame = tokio::time::timeout(std::time::Duration::from_secs(5), reader).await;
    assert!(matches!(frame.unwrap().unwrap().f, Some(F::Batch(_))));
}

/// After any sequence of events the reader's view equals the last state of each object.
#[test]
fn the_readers_view_ends_as_the_members_state() {
    let mut seed = 0x2545_f491_u32;
    let mut next = |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % n
    };
    for _ in 0..200 {
        let queue = Queue::new(FRAME_MIN);
        let lane = lane(&queue, "m1");
        let (mut truth, mut view) = (HashMap::new(), HashMap::new());
        lane.sync(SyncReason::Initial, [].iter(), "0");
        for revision in 1..60 {
            let name = format!("o{}", next(6));
            match next(4) {
                0 if truth.contains_key(&name) => {
                    let old: Arc<Projected> = truth.remove(&name).unwrap();
                    let _ = lane.delete(&old, &revision.to_string());
                }
                1 => {
                    let all: Vec<_> = truth.values().cloned().collect();
                    lane.sync(SyncReason::Relist, all.iter(), &revision.to_string());
                }
                _ => {
                    let new = object(&name, revision, next(3000) as usize);
                    lane.upsert(&new);
                    truth.insert(name, new);
                }
            }
            if next(3) == 0 {
                take(&queue, &mut view, 1);
            }
        }
        take(&queue, &mut view, usize::MAX);
        let truth: HashMap<String, String> = truth
            .values()
            .map(|o| (o.name.clone(), o.resource_version.clone()))
            .collect();
        assert_eq!(view, truth);
    }
}

/// Plays frames into a view as a client would.
fn take(queue: &Queue, view: &mut HashMap<String, String>, frames: usize) {
    for _ in 0..frames {
        let Some(frame) = queue.try_next() else {
            return;
        };
        match frame.f.unwrap() {
            F::SyncStart(_) => view.clear(),
            F::Batch(batch) => {
                for object in batch.upserts {
                    view.insert(object.name, object.resource_version);
                }
                for gone in batch.deletes {
                    view.remove(&gone.name);
                }
            }
            _ => {}
        }
    }
}
