//! Does Velero answer? A `ServerStatusRequest` is its own question for that.

use std::time::Duration;

use api_types::external::velero::ServerStatusRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proxy_client::{Error, MemberApi, Preconditions};
use tokio::time::{Instant, sleep};

use crate::NAMESPACE;
use crate::identity::Labels;

/// Time between two looks at an open question; Velero answers in about 0.6 s.
const LOOK: Duration = Duration::from_millis(500);

/// Asks Velero on one member and waits for its answer. `true`: it answered within `patience`.
/// A question that stays open is taken back; Velero removes answered ones itself.
///
/// # Errors
/// When the member refuses the question or does not answer at all, which says nothing about Velero.
pub async fn ask(
    api: &MemberApi<ServerStatusRequest>,
    name: &str,
    labels: Labels,
    manager: &str,
    patience: Duration,
) -> Result<bool, Error> {
    let question = ServerStatusRequest {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..ServerStatusRequest::default()
    };
    match api.create(&question, manager).await {
        Ok(_) | Err(Error::AlreadyExists(_)) => {}
        Err(error) => return Err(error),
    }
    let end = Instant::now() + patience;
    while Instant::now() < end {
        sleep(LOOK).await;
        match api.get_opt(name).await? {
            Some(answer) if answer.phase() == "Processed" => return Ok(true),
            // Only Velero removes it while we wait, after it has answered.
            None => return Ok(true),
            Some(_) => {}
        }
    }
    api.delete(name, &Preconditions::default()).await?;
    Ok(false)
}
