//! Many Backups at once, on a member that answers and on one that takes its time.

use std::{collections::BTreeSet, time::Duration};

use api_types::{
    backup::{Backup, BackupDetail},
    phase::EntryPhase,
};
use serde_json::Value;
use testbed::wait_ok;

use crate::{
    completed, made, stored,
    world::{DEADLINE, MEMBER, World},
};

const SLOW: &str = "bergen";
/// Longer than a pass waits for a member.
const TAKES: Duration = Duration::from_millis(1500);
/// With a second's wait in each pass, the passes over so many take longer than an answer is fresh.
const MANY: usize = 120;
const MORE: usize = 20;

fn entry<'a>(backup: &'a Backup, member: &str) -> Option<&'a BackupDetail> {
    let status = backup.status.as_ref()?;
    let mut details = status.backup_details.iter();
    details.find(|detail| detail.cluster_name == member)
}

fn ended(backup: &Backup, member: &str) -> bool {
    entry(backup, member).is_some_and(|entry| entry.phase == EntryPhase::Completed)
}

/// What was made on a member.
fn made_on(world: &World, member: &str) -> Vec<Value> {
    let of_member = |object: &Value| {
        let name = object["metadata"]["name"].as_str();
        name.is_some_and(|name| name.starts_with(member))
    };
    made(world).into_iter().filter(of_member).collect()
}

/// Waits until all Backups are as wanted. The members' watches show what is made meanwhile.
async fn until_all(world: &World, what: &str, wanted: impl Fn(&Backup) -> bool) {
    let mut shown = BTreeSet::new();
    wait_ok(what, DEADLINE, async || {
        for member in [MEMBER, SLOW] {
            let mut made = made_on(world, member);
            made.retain(|object| shown.insert(object["metadata"]["name"].to_string()));
            let stored: Vec<Value> = made.iter().map(|object| stored(object, "1")).collect();
            world.tell(member, "backups", &stored).await;
        }
        world.all(&wanted).await
    })
    .await
    .unwrap();
}

/// Shows what was made on a member as completed.
async fn complete(world: &World, member: &str) {
    let made = made_on(world, member);
    let objects: Vec<Value> = made.iter().map(completed).collect();
    world.tell(member, "backups", &objects).await;
}

async fn wait_all(what: &str, world: &World, wanted: impl Fn(&Backup) -> bool) {
    wait_ok(what, DEADLINE, async || world.all(&wanted).await)
        .await
        .unwrap();
}

#[tokio::test]
async fn many_backups_are_claimed_on_a_slow_member_and_done_on_others_without_it() {
    let world = World::of("backup-crowd", &[MEMBER, SLOW]).await;
    let delays = [(SLOW.to_owned(), TAKES)];
    world.proxy.fake.state().delays.extend(delays);
    for n in 0..MANY {
        world.backup(&format!("app-{n}")).await;
    }
    // Only a claimed name is created.
    let begun = |backup: &Backup| {
        [MEMBER, SLOW].iter().all(|member| {
            entry(backup, member).is_some_and(|entry| entry.backup_status_in_cluster.is_some())
        })
    };
    until_all(&world, "begun on both", begun).await;
    assert_eq!(made(&world).len(), 2 * MANY);
    complete(&world, MEMBER).await;
    complete(&world, SLOW).await;
    let done = |backup: &Backup| ended(backup, MEMBER) && ended(backup, SLOW);
    wait_all("completed on both", &world, done).await;

    // Now it does not answer at all.
    world.proxy.fake.state().silent.insert(SLOW.to_owned());
    for n in 0..MORE {
        world.backup(&format!("later-{n}")).await;
    }
    let begun = |backup: &Backup| {
        entry(backup, MEMBER).is_some_and(|entry| entry.backup_status_in_cluster.is_some())
    };
    until_all(&world, "begun without it", begun).await;
    complete(&world, MEMBER).await;
    let done = |backup: &Backup| ended(backup, MEMBER);
    wait_all("completed without it", &world, done).await;
    assert_eq!(made(&world).len(), 2 * MANY + MORE);
}
