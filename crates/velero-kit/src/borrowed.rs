//! Reading another member's backups: a read-only location on the target (`DESIGN.md` 6).
//!
//! All who read one place share its location. Each marks it with an annotation of its own, under a
//! field manager of its own, so that uses come and go without anybody's knowledge of the others;
//! whoever finds a location without uses may delete it.

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;
use api_types::labels;
use api_types::names::{self, LOCATION_PREFIX};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use proxy_client::{Error, MemberApi, MemberResource};
use serde_json::{Value, json};

use crate::location;
use crate::problem::Problem;

/// The plugin's setting for the endpoint.
const ENDPOINT: &str = "s3Url";
/// The plugin's setting for the endpoint as others reach it: it belongs to that endpoint.
const PUBLIC_ENDPOINT: &str = "publicUrl";

/// One operation of a hub that reads from a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Uid of the operation.
    pub uid: String,
    /// Uid of the hub's namespace `kube-system`: a member may serve two hubs.
    pub hub: String,
    /// Kind of the operation.
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

impl Use {
    fn key(uid: &str) -> String {
        format!("{}{uid}", labels::LOCATION_USE_PREFIX)
    }

    fn value(&self) -> String {
        format!(
            "{}/{}/{}/{}",
            self.hub, self.kind, self.namespace, self.name
        )
    }

    fn read(uid: &str, value: &str) -> Option<Self> {
        let mut parts = value.splitn(4, '/').map(str::to_owned);
        let mut part = || parts.next().filter(|part| !part.is_empty());
        Some(Self {
            uid: Some(uid.to_owned()).filter(|uid| !uid.is_empty())?,
            hub: part()?,
            kind: part()?,
            namespace: part()?,
            name: part()?,
        })
    }
}

/// Whether a location of this name is one of ours for reading.
pub fn is_borrowed(name: &str) -> bool {
    name.starts_with(LOCATION_PREFIX)
}

/// Name of the location for reading a place.
pub fn name(place: &StoragePlace) -> String {
    let place = location::normal(place);
    names::location_name(&place.endpoint, &place.bucket, &place.prefix)
}

/// The location for reading `place` from a member whose own location is `own`: what is not said by
/// the place is the member's own, credentials included.
///
/// # Errors
/// When the member's own location is of another provider, whose plugin would look for the bucket
/// somewhere else.
pub fn build(
    place: &StoragePlace,
    own: &BackupStorageLocation,
) -> Result<BackupStorageLocation, Problem> {
    let (place, here) = (location::normal(place), location::storage(own));
    if location::provider(&place) != location::provider(&here) {
        return Err(Problem::new(
            reason::STORAGE_LOCATION_UNAVAILABLE,
            format!(
                "the backup lies with provider {}, and location {} here is of provider {}: restore \
                 into a cluster of the same provider",
                place.provider,
                own.name_any(),
                here.provider
            ),
        ));
    }
    let mut spec = own.spec.clone();
    spec.default = None;
    spec.access_mode = Some("ReadOnly".to_owned());
    spec.object_storage.bucket.clone_from(&place.bucket);
    spec.object_storage.prefix = Some(place.prefix.clone()).filter(|prefix| !prefix.is_empty());
    if location::normal(&here).endpoint != place.endpoint {
        spec.config.remove(PUBLIC_ENDPOINT);
        spec.config.remove(ENDPOINT);
        if !place.endpoint.is_empty() {
            spec.config
                .insert(ENDPOINT.to_owned(), place.endpoint.clone());
        }
    }
    Ok(BackupStorageLocation::new(&name(&place), spec))
}

/// Makes the location as it should be; returns it as it is on the member.
///
/// # Errors
/// When the member does not do it.
pub async fn ensure(
    api: &MemberApi<BackupStorageLocation>,
    wanted: &BackupStorageLocation,
) -> Result<BackupStorageLocation, Error> {
    let name = wanted.name_any();
    match api.get_opt(&name).await? {
        Some(found) if is_as_wanted(&found, wanted) => Ok(found),
        _ => {
            api.apply(&name, wanted, labels::LOCATION_MANAGER, true)
                .await
        }
    }
}

/// Velero writes `default` itself.
fn is_as_wanted(found: &BackupStorageLocation, wanted: &BackupStorageLocation) -> bool {
    let mut spec = found.spec.clone();
    spec.default = None;
    spec == wanted.spec
}

/// Marks the location as used. `false`: it has gone or was made anew meanwhile, begin again.
///
/// # Errors
/// When the member does not answer or refuses.
pub async fn claim(
    api: &MemberApi<BackupStorageLocation>,
    location: &BackupStorageLocation,
    by: &Use,
) -> Result<bool, Error> {
    let key = Use::key(&by.uid);
    if location.annotations().get(&key) == Some(&by.value()) {
        return Ok(true);
    }
    let body = json!({
        "metadata": { "uid": location.metadata.uid, "annotations": { key: by.value() } },
    });
    apply_use(api, location, &by.uid, &body).await
}

/// Takes the mark back, if it is there.
///
/// # Errors
/// When the member does not answer or refuses.
pub async fn release(
    api: &MemberApi<BackupStorageLocation>,
    location: &BackupStorageLocation,
    uid: &str,
) -> Result<(), Error> {
    let body = json!({ "metadata": { "uid": location.metadata.uid } });
    // Whether it is released or gone is the same.
    apply_use(api, location, uid, &body).await.map(drop)
}

/// Applies under the manager of one use. The uid keeps it from making a location that has gone.
async fn apply_use(
    api: &MemberApi<BackupStorageLocation>,
    location: &BackupStorageLocation,
    uid: &str,
    body: &Value,
) -> Result<bool, Error> {
    let manager = format!("{}{uid}", labels::LOCATION_USE_MANAGER_PREFIX);
    apply_where_it_is(api, &location.name_any(), body, &manager).await
}

/// Applies what names the uid of the very object that is meant. `false`: it has gone, and was not made.
pub(crate) async fn apply_where_it_is<K: MemberResource>(
    api: &MemberApi<K>,
    name: &str,
    body: &Value,
    manager: &str,
) -> Result<bool, Error> {
    match api.apply(name, body, manager, true).await {
        Ok(_) => Ok(true),
        Err(
            Error::NotFound(_) | Error::Conflict(_) | Error::ApplyConflict(_) | Error::Invalid(_),
        ) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A mark of use on a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Whose it is.
    By(Use),
    /// It is of this uid, and says nothing that can be read.
    Unreadable(String),
}

/// Who uses a location. A mark that cannot be read is one too: somebody made it.
pub fn uses(meta: &ObjectMeta) -> Vec<Mark> {
    let annotations = meta.annotations.iter().flatten();
    annotations
        .filter_map(|(key, value)| {
            let uid = key.strip_prefix(labels::LOCATION_USE_PREFIX)?;
            Some(Use::read(uid, value).map_or_else(|| Mark::Unreadable(uid.to_owned()), Mark::By))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> BackupStorageLocation {
        let object = json!({
            "metadata": { "name": "default", "uid": "l-1" },
            "spec": {
                "provider": "aws",
                "default": true,
                "objectStorage": { "bucket": "fleet", "prefix": "production/bergen", "caCert": "Y2E=" },
                "config": {
                    "s3Url": "https://s3.example.org",
                    "publicUrl": "https://public.example.org",
                    "region": "eu-north-1",
                },
                "credential": { "name": "production-velero-s3", "key": "cloud" },
            },
        });
        serde_json::from_value(object).unwrap()
    }

    fn oslo() -> StoragePlace {
        StoragePlace {
            provider: "velero.io/aws".to_owned(),
            endpoint: "https://s3.example.org/".to_owned(),
            bucket: "fleet".to_owned(),
            prefix: "production/oslo/".to_owned(),
        }
    }

    #[test]
    fn it_is_the_target_s_own_location_but_for_the_place_and_read_only() {
        let built = serde_json::to_value(build(&oslo(), &own()).unwrap()).unwrap();
        let expected = json!({
            "provider": "aws",
            "accessMode": "ReadOnly",
            "objectStorage": { "bucket": "fleet", "prefix": "production/oslo", "caCert": "Y2E=" },
            "config": {
                "s3Url": "https://s3.example.org",
                "publicUrl": "https://public.example.org",
                "region": "eu-north-1",
            },
            "credential": { "name": "production-velero-s3", "key": "cloud" },
        });
        assert_eq!(built["spec"], expected);
        assert_eq!(built["metadata"]["name"], json!(name(&oslo())));
        assert!(is_borrowed(&name(&oslo())) && !is_borrowed("default"));
    }

    #[test]
    fn another_endpoint_replaces_the_target_s_and_what_belongs_to_it() {
        let elsewhere = StoragePlace {
            endpoint: "http://10.0.0.7:9000".to_owned(),
            prefix: String::new(),
            ..oslo()
        };
        let built = build(&elsewhere, &own()).unwrap().spec;
        assert_eq!(built.config["s3Url"], "http://10.0.0.7:9000");
        assert_eq!(built.config.get("publicUrl"), None);
        assert_eq!(built.config["region"], "eu-north-1");
        assert_eq!(built.object_storage.prefix, None);
        let providers_own = StoragePlace {
            endpoint: String::new(),
            ..oslo()
        };
        let built = build(&providers_own, &own()).unwrap().spec;
        assert_eq!(built.config.get("s3Url"), None);
    }

    #[test]
    fn another_provider_s_bucket_of_the_same_name_is_never_read() {
        let elsewhere = StoragePlace {
            provider: "gcp".to_owned(),
            ..oslo()
        };
        let problem = build(&elsewhere, &own()).unwrap_err();
        assert_eq!(problem.reason, "StorageLocationUnavailable");
        assert!(problem.message.contains("gcp"), "{problem:?}");
    }

    #[test]
    fn one_place_has_one_name_however_it_is_written() {
        let plain = StoragePlace {
            endpoint: "https://s3.example.org".to_owned(),
            prefix: "production/oslo".to_owned(),
            ..oslo()
        };
        assert_eq!(name(&plain), name(&oslo()));
        let other = StoragePlace {
            prefix: "production/osl".to_owned(),
            ..plain.clone()
        };
        assert_ne!(name(&plain), name(&other));
    }

    #[test]
    fn velero_s_own_flip_of_default_is_no_difference() {
        let wanted = build(&oslo(), &own()).unwrap();
        let mut found = wanted.clone();
        found.spec.default = Some(false);
        assert!(is_as_wanted(&found, &wanted));
        found.spec.access_mode = Some("ReadWrite".to_owned());
        assert!(!is_as_wanted(&found, &wanted));
    }

    #[test]
    fn a_use_is_read_back_as_it_was_written() {
        let by = Use {
            uid: "u-1".to_owned(),
            hub: "h-1".to_owned(),
            kind: "Restore".to_owned(),
            namespace: "team-a".to_owned(),
            name: "shop-again".to_owned(),
        };
        let meta = ObjectMeta {
            annotations: Some(
                [
                    (Use::key(&by.uid), by.value()),
                    (
                        "use.kurator.dev/broken".to_owned(),
                        "h-1/Restore".to_owned(),
                    ),
                    (
                        "use.kurator.dev/half".to_owned(),
                        "h-1/Restore//".to_owned(),
                    ),
                    ("note".to_owned(), "a/b/c/d".to_owned()),
                ]
                .into(),
            ),
            ..ObjectMeta::default()
        };
        let broken = Mark::Unreadable("broken".to_owned());
        let half = Mark::Unreadable("half".to_owned());
        assert_eq!(uses(&meta), [broken, half, Mark::By(by)]);
        assert!(uses(&ObjectMeta::default()).is_empty());
    }
}
