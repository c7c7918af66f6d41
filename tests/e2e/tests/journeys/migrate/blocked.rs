//! A Migrate whose backup is to go with it, and whose source is cut off.

use anyhow::ensure;
use api_types::common::DeletionPolicy;
use api_types::condition::{self, ConditionStatus};
use api_types::migrate::{Migrate, MigrateSpec};
use api_types::phase::Phase;
use e2e::{PATIENCE, Tenant, await_gone};
use testbed::wait_ok;

use super::{
    assert_nothing_restored, backups_of, begin, conditions, delete, from, in_phase, is_phase,
    migrates, only, ready_reason, stored_name, wait,
};
use crate::restore::Held;
use crate::world::{ONE, force, left_behind, spare, stack, stored};

const NAME: &str = "migrate-blocked";

#[tokio::test]
async fn a_source_that_is_cut_off_blocks_the_deletion_until_somebody_gives_up_on_it() {
    let spare = spare().await;
    let stack = stack().await;
    let (source, relay) = stack.attach_with_relay(spare.name).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), source];
    let tenant = stack.tenant(NAME, &clusters).await.unwrap();
    Held::deploy(&spare.view.client, NAME).await;
    let spec = MigrateSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..from(spare.name, &[ONE], only(NAME))
    };
    begin(&tenant, NAME, spec).await;
    let migrate = in_phase(&tenant, NAME, Phase::Completed).await;
    let name = stored_name(&migrate);

    relay.cut();
    delete(&tenant, NAME).await;
    // What is in the target goes meanwhile.
    let blocked = |seen: &Migrate| {
        let told = condition::find(conditions(seen), condition::READY);
        let told = told.map_or("", |ready| &ready.message);
        is_phase(seen, Phase::Deleting)
            && ready_reason(seen) == "DeletionBlocked"
            && told.contains(spare.name)
            && !told.contains(ONE)
    };
    let what = "DeletionBlocked by the source only";
    let seen = wait(&tenant, NAME, what, blocked).await;
    let stalled = condition::find(conditions(&seen), "Stalled").unwrap();
    assert_eq!(stalled.status, ConditionStatus::True);
    tells_of_the_block(&tenant, spare.name).await;
    assert_nothing_restored(&migrate, &[ONE]).await;
    assert_eq!(
        backups_of(&migrate, spare.name).await,
        std::slice::from_ref(&name)
    );

    let api = migrates(&tenant);
    force(&api, NAME).await.unwrap();
    await_gone(&api, NAME, PATIENCE).await.unwrap();
    let note = left_behind(&tenant, NAME).await;
    let object = format!("{}: velero.io/Backup {name} ", spare.name);
    assert!(note.contains(&object) && !note.contains(ONE), "{note}");
    // What was named is there.
    assert_eq!(
        backups_of(&migrate, spare.name).await,
        std::slice::from_ref(&name)
    );
    assert!(!stored(spare.name, &name).await.is_empty());
}

async fn tells_of_the_block(tenant: &Tenant, cluster: &str) {
    wait_ok("the event about the block", PATIENCE, async || {
        let events = tenant.events(NAME).await?;
        let told = events.iter().any(|event| {
            let note = event.note.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some("DeletionBlocked") && note.contains(cluster)
        });
        ensure!(told, "there are {events:?}");
        Ok(())
    })
    .await
    .unwrap();
}
