use api_types::external::velero;

use super::*;
use crate::operation::fixtures::Plain;

fn version(uid: &str, version: &str) -> velero::Backup {
    let mut object = velero::Backup::default();
    object.metadata.uid = Some(uid.to_owned());
    object.metadata.resource_version = Some(version.to_owned());
    object
}

#[tokio::test(start_paused = true)]
async fn an_object_is_silent_for_as_long_as_its_version_stays() {
    let mut of = OfCluster::<Plain>::default();
    let second = Duration::from_secs(1);
    assert_eq!(of.unchanged(&version("a", "1")), Duration::ZERO);
    tokio::time::advance(second).await;
    assert_eq!(of.unchanged(&version("a", "1")), second);
    for changed in [version("a", "2"), version("b", "2")] {
        of.probe = Probe::Silent(Instant::now());
        assert_eq!(of.unchanged(&changed), Duration::ZERO);
        assert_eq!(of.probe, Probe::None, "an answer from before says nothing");
        tokio::time::advance(second).await;
        assert_eq!(of.unchanged(&changed), second);
    }
}

#[tokio::test(start_paused = true)]
async fn velero_is_asked_at_once_and_then_at_a_pace_whatever_came_of_it() {
    let pace = Duration::from_mins(1);
    assert!(Probe::None.is_due(pace));
    let now = Instant::now();
    let asked = [
        Probe::Answered(now),
        Probe::Silent(now),
        Probe::Unasked(now),
    ];
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(asked.iter().all(|probe| !probe.is_due(pace)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(asked.iter().all(|probe| probe.is_due(pace)));
}

#[test]
fn what_is_forgotten_is_as_if_it_had_never_been_seen() {
    let memory = Memory::<Plain>::default();
    let remember = |uid: &str| {
        memory.with(uid, |known| {
            let before = known.deletion.clone();
            known.deletion = Some(("waits".to_owned(), Timestamp::UNIX_EPOCH));
            before
        })
    };
    assert_eq!(remember("a"), None);
    assert_eq!(remember("b"), None);
    assert!(remember("a").is_some());
    memory.forget("a");
    memory.amend("a", |_| panic!("a late answer brings nothing back"));
    assert_eq!(remember("a"), None);
    memory.amend("a", |known| known.deletion = None);
    assert_eq!(remember("a"), None);
    assert!(remember("b").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_next_pass_waits_as_long_as_the_writes_of_the_last_one_ask_for() {
    let least = Duration::from_millis(100);
    for (took, rest) in [(1, 100), (50, 100), (700, 1400)] {
        let mut known = Remembered::<Plain>::default();
        assert_eq!(known.begin_pass(least), None, "nothing was written");
        known.written = Some(Written {
            at: Instant::now(),
            took: Duration::from_millis(took),
        });
        let rest = Duration::from_millis(rest);
        assert_eq!(known.begin_pass(least), Some(rest));
        assert_eq!(
            known.pass, 1,
            "an answer that waits is still for the next pass"
        );
        tokio::time::advance(rest / 4).await;
        assert_eq!(known.begin_pass(least), Some(rest / 4 * 3));
        tokio::time::advance(rest / 4 * 3).await;
        assert_eq!(known.begin_pass(least), None);
        assert_eq!(known.pass, 2);
    }
}
