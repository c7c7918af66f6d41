use api_types::common::StringMap;
use serde_json::json;

use super::*;
use crate::fixtures;

fn storage() -> BackupLocation {
    BackupLocation {
        region: "eu-north-1".to_owned(),
        prefix: "production".to_owned(),
        ..fixtures::storage()
    }
}

fn built(storage: &BackupLocation, prefix: &str) -> BackupStorageLocation {
    let parts = Parts {
        storage,
        prefix: prefix.to_owned(),
        secret: "north-velero-s3".to_owned(),
        read_only: false,
    };
    let metadata = ObjectMeta {
        name: Some("default".to_owned()),
        labels: Some([("kurator.dev/owner-uid".to_owned(), "u".to_owned())].into()),
        ..ObjectMeta::default()
    };
    build(metadata, parts)
}

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, ByteString> {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), ByteString((*value).into()));
    pairs.iter().map(pair).collect()
}

#[test]
fn each_cluster_has_its_path_and_a_shared_layout_has_none() {
    let oslo = ClusterKey::attached("team-a", "oslo");
    let mut storage = storage();
    let of = |storage: &BackupLocation, layout| prefix(storage, layout, &oslo);
    assert_eq!(
        of(&storage, StorageLayout::PerCluster),
        "production/team-a/oslo"
    );
    assert_eq!(of(&storage, StorageLayout::Shared), "");
    storage.prefix.clear();
    assert_eq!(of(&storage, StorageLayout::PerCluster), "team-a/oslo");
}

#[test]
fn a_location_says_all_that_the_fleet_says_and_names_its_secret() {
    let spec = serde_json::to_value(built(&storage(), "production/team-a/oslo").spec).unwrap();
    assert_eq!(
        spec,
        json!({
            "provider": "aws",
            "objectStorage": { "bucket": "fleet-backups", "prefix": "production/team-a/oslo" },
            "config": {
                "s3Url": "https://s3.example.org",
                "region": "eu-north-1",
                "s3ForcePathStyle": "true",
            },
            "credential": { "name": "north-velero-s3", "key": "cloud" },
            "accessMode": "ReadWrite",
        })
    );
}

#[test]
fn typed_fields_win_over_config_and_path_style_is_a_default_beside_an_endpoint_only() {
    let config = |pairs: &[(&str, &str)]| -> StringMap {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    };
    let mut storage = storage();
    storage.config = config(&[
        ("s3Url", "https://other.example.org"),
        ("s3ForcePathStyle", "false"),
        ("kmsKeyId", "k"),
    ]);
    let spec = built(&storage, "x").spec;
    assert_eq!(spec.config["s3Url"], "https://s3.example.org");
    assert_eq!(spec.config["s3ForcePathStyle"], "false");
    assert_eq!(spec.config["kmsKeyId"], "k");

    storage.config.clear();
    storage.endpoint.clear();
    let spec = built(&storage, "x").spec;
    assert_eq!(spec.config, config(&[("region", "eu-north-1")]));
}

#[test]
fn only_what_is_set_here_counts_as_drift() {
    let wanted = built(&storage(), "");
    let as_found = |change: &dyn Fn(&mut BackupStorageLocation)| {
        let mut found = wanted.clone();
        change(&mut found);
        is_as_wanted(&found, &wanted)
    };
    assert!(as_found(&|_| {}));
    assert!(as_found(&|found| found.spec.default = Some(true)));
    assert!(as_found(&|found| found.spec.object_storage.prefix = None));
    assert!(as_found(&|found| found.spec.access_mode = None));
    assert!(as_found(&|found| {
        found.spec.config.insert("publicUrl".into(), "x".into());
    }));
    assert!(!as_found(&|found| {
        found.spec.config.remove("region");
    }));
    assert!(!as_found(&|found| {
        found.spec.config.insert("kmsKeyId".into(), "k".into());
    }));
    assert!(!as_found(
        &|found| found.spec.object_storage.ca_cert = Some("QQ==".into())
    ));
    assert!(!as_found(
        &|found| found.spec.object_storage.prefix = Some("x".into())
    ));
    assert!(!as_found(
        &|found| "b".clone_into(&mut found.spec.object_storage.bucket)
    ));
    assert!(!as_found(
        &|found| found.spec.access_mode = Some("ReadOnly".into())
    ));
    assert!(!as_found(&|found| found.spec.credential = None));
    assert!(!as_found(&|found| found.metadata.labels = None));
}

#[test]
fn what_another_writer_has_left_is_named_and_removed() {
    let wanted = built(&storage(), "");
    let mut found = wanted.clone();
    assert!(leftovers(&found, &wanted).is_empty());
    let config = &mut found.spec.config;
    config.insert("kmsKeyId".into(), "k".into());
    config.insert("a.b".into(), "c".into());
    config.insert("publicUrl".into(), "x".into());
    found.spec.object_storage.ca_cert = Some("QQ==".into());
    found.spec.object_storage.ca_cert_ref = Some(CredentialKey::default());
    let left = leftovers(&found, &wanted);
    let names = [
        "config.a.b",
        "config.kmsKeyId",
        "objectStorage.caCert",
        "objectStorage.caCertRef",
    ];
    assert_eq!(left, names);
    assert_eq!(
        without(&left),
        json!({
            "config": { "a.b": null, "kmsKeyId": null },
            "objectStorage": { "caCert": null, "caCertRef": null },
        })
    );
    let ca = BackupLocation {
        ca_cert: Some("QQ==".to_owned()),
        ..storage()
    };
    assert!(!leftovers(&found, &built(&ca, "")).contains(&"objectStorage.caCert".to_owned()));
}

#[test]
fn the_root_is_this_bucket_at_this_endpoint_without_a_path() {
    let storage = storage();
    assert!(is_at_root(&built(&storage, ""), &storage));
    assert!(!is_at_root(&built(&storage, "x"), &storage));
    let elsewhere = BackupLocation {
        endpoint: "https://elsewhere.example.org".to_owned(),
        ..storage.clone()
    };
    assert!(!is_at_root(&built(&elsewhere, ""), &storage));
    let other = BackupLocation {
        bucket: "other".to_owned(),
        ..storage.clone()
    };
    assert!(!is_at_root(&built(&other, ""), &storage));
}

#[test]
fn a_credential_is_an_ini_text_or_what_is_given_whole() {
    let text = |provider: Provider, pairs: &[(&str, &str)]| {
        let text = provider.credential("s3", &data(pairs));
        text.map(|text| String::from_utf8(text).unwrap())
    };
    let keys = [("access-key", "AK\n"), ("secret-key", "SK")];
    let plain = "[default]\naws_access_key_id=AK\naws_secret_access_key=SK\n";
    assert_eq!(text(Provider::Aws, &keys).unwrap(), plain);
    assert_eq!(text(Provider::HuaweiCloud, &keys).unwrap(), plain);
    let with_token = [keys[0], keys[1], ("session-token", "T")];
    assert_eq!(
        text(Provider::Aws, &with_token).unwrap(),
        format!("{plain}aws_session_token=T\n")
    );
    let whole = [keys[0], ("cloud", "[default]\n")];
    assert_eq!(text(Provider::Aws, &whole).unwrap(), "[default]\n");
}

#[test]
fn a_key_that_is_missing_or_no_line_is_named_and_never_quoted() {
    type Pairs = &'static [(&'static str, &'static str)];
    let table: [(Pairs, &str); 4] = [
        (
            &[("secret-key", "SK")],
            "key access-key of Secret s3 is missing",
        ),
        (
            &[("access-key", "AK")],
            "key secret-key of Secret s3 is missing",
        ),
        (
            &[("access-key", "AK"), ("secret-key", " \n")],
            "key secret-key of Secret s3 is empty",
        ),
        (
            &[("access-key", "AK\n[x]"), ("secret-key", "SK")],
            "key access-key of Secret s3 has more than one line",
        ),
    ];
    for (pairs, message) in table {
        let problem = Provider::Aws.credential("s3", &data(pairs)).unwrap_err();
        assert_eq!(problem.reason, "CredentialsIncomplete");
        assert!(problem.message.starts_with(message), "{problem:?}");
        assert!(!problem.message.contains("AK\n") && !problem.message.contains("SK"));
    }
}

#[test]
fn a_provider_that_cannot_be_set_up_is_said_and_secrets_keep_their_names() {
    let problem = Provider::parse("gcp").unwrap_err();
    assert_eq!(problem.reason, "ProviderUnsupported");
    let aws = Provider::parse("aws").unwrap();
    assert_eq!(aws.secret_name("north"), "north-velero-s3");
    let huawei = Provider::parse("huaweicloud").unwrap();
    assert_eq!(huawei.secret_name("north"), "north-velero-obs");
    assert!(aws.secret_name(&"n".repeat(253)).len() <= 253);
}
