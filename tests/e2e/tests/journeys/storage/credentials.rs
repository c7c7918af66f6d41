//! The Secret of a fleet's storage.

use anyhow::ensure;
use api_types::fleet::Fleet;
use e2e::PATIENCE;
use serde_json::json;
use testbed::{S3, wait_ok};

use super::bed::{
    BERGEN, OSLO, cluster, create_fleet, credential, keys, member_credential, reason, turn,
    wait_fleet, wait_plugin_ready, write_credentials,
};

#[tokio::test]
async fn credentials_and_a_bucket_that_come_late_are_waited_for_and_a_new_key_reaches_the_members()
{
    const NAME: &str = "storage-late";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let bucket = "storage-late-bucket";
    let location = json!({ "layout": "PerCluster", "bucket": bucket });
    create_fleet(&tenant, &turn.location(&tenant, &location)).await;
    let both = |fleet: &Fleet, word: &str| {
        [OSLO, BERGEN]
            .iter()
            .all(|name| reason(fleet, name) == word)
    };
    let absent = |fleet: &Fleet| both(fleet, "CredentialsNotFound");
    wait_fleet(&tenant, "a wait for the Secret", absent).await;
    write_credentials(&tenant, &json!({ "access-key": S3::ACCESS_KEY })).await;
    let half = |fleet: &Fleet| both(fleet, "CredentialsIncomplete");
    let fleet = wait_fleet(&tenant, "a wait for the other key", half).await;
    let said = cluster(&fleet, OSLO).unwrap().message.clone().unwrap();
    assert!(said.contains("secret-key"), "{said}");
    let locations = turn.locations(OSLO);
    assert!(locations.get_opt("default").await.unwrap().is_none());

    write_credentials(&tenant, &keys()).await;
    let no_bucket = |fleet: &Fleet| both(fleet, "StorageLocationUnavailable");
    let fleet = wait_fleet(&tenant, "a wait for the bucket", no_bucket).await;
    let of = cluster(&fleet, BERGEN).unwrap();
    assert!(of.message.as_ref().unwrap().contains(BERGEN), "{of:?}");
    assert!(of.details["storageLocationMessage"].contains("NoSuchBucket"));
    turn.stack
        .bed()
        .s3()
        .unwrap()
        .create_bucket(bucket)
        .unwrap();
    wait_plugin_ready(&tenant).await;

    let with_token = json!({ "access-key": "a", "secret-key": "b", "session-token": "c" });
    write_credentials(&tenant, &with_token).await;
    let expected = format!("{}aws_session_token=c\n", credential("a", "b"));
    wait_ok("the new key", PATIENCE, async || {
        for member in [OSLO, BERGEN] {
            ensure!(
                member_credential(&turn, member).await == expected,
                "not yet in {member}"
            );
        }
        Ok(())
    })
    .await
    .unwrap();
    let fleet = serde_json::to_string(&wait_plugin_ready(&tenant).await).unwrap();
    for value in [S3::SECRET_KEY, "aws_session_token"] {
        assert!(!fleet.contains(value), "{fleet}");
    }
}
