//! The name of a Migrate that was deleted, beside what it has left in the bucket.

use api_types::common::DeletionPolicy;
use api_types::migrate::{Migrate, MigrateSpec};
use api_types::phase::Phase;
use e2e::Tenant;

use super::{assert_made_once, begin, from, in_phase, only, stored_name, wait_gone};
use crate::restore::Held;
use crate::world::{ONE, TWO, stored, tenant_of, view};

const NAME: &str = "migrate-again";

#[tokio::test]
async fn the_same_migrate_again_takes_what_is_there_now_beside_what_the_first_one_stored() {
    let tenant = tenant_of(NAME, &[ONE, TWO]).await;
    let source = Held::deploy(&view(ONE).await.client, NAME).await;
    let first = completed(&tenant).await;
    let target = Held::at(&view(TWO).await.client, NAME);
    target.assert_restored().await;
    wait_gone(&tenant, NAME).await;
    let data = stored(ONE, &stored_name(&first)).await;
    assert!(!data.is_empty());

    source.greet("changed").await;
    target.remove().await;
    let second = completed(&tenant).await;
    assert_ne!(stored_name(&first), stored_name(&second));
    let target = Held::at(&view(TWO).await.client, NAME);
    assert_eq!(target.greeting().await, "changed");
    assert!(!stored(ONE, &stored_name(&second)).await.is_empty());
    let left = stored(ONE, &stored_name(&first)).await;
    assert_eq!(left, data, "the first one's data");
}

async fn completed(tenant: &Tenant) -> Migrate {
    let spec = MigrateSpec {
        deletion_policy: DeletionPolicy::Retain,
        ..from(ONE, &[TWO], only(NAME))
    };
    begin(tenant, NAME, spec).await;
    let migrate = in_phase(tenant, NAME, Phase::Completed).await;
    assert_made_once(&migrate, ONE, &[TWO]).await;
    migrate
}
