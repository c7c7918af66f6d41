//! What comes after the Backup: the application is lost in both members and comes back.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams};

use super::{Shop, apply};
use crate::await_object::await_gone;
use crate::cluster::MemberView;
use crate::examples;
use crate::screen::Screen;
use crate::tenant::PATIENCE;

/// What `tests/examples/application/busybox.yaml` holds.
const NAMESPACE: &str = "kurator-backup";
const POD: &str = "busybox";
const SETTINGS: &str = "busybox-settings";

/// Deletes the application in every member, restores it and shows that it is back.
pub async fn run_full(screen: &mut Screen, shop: &Shop) -> Result<()> {
    lose(screen, shop).await?;
    let applied = apply(screen, shop.tenant.hub(), examples::RESTORE_MINIMAL).await?;
    shop.follow(screen, &shop.tenant.restores(), applied)
        .await?;
    for member in &shop.members {
        show(screen, member).await?;
    }
    Ok(())
}

/// Deletes the application in every member.
async fn lose(screen: &Screen, shop: &Shop) -> Result<()> {
    for member in &shop.members {
        screen.step(&format!(
            "deleting namespace {NAMESPACE} in {}, with all that is in it",
            member.name
        ));
        let pods: Api<Pod> = Api::namespaced(member.client.clone(), NAMESPACE);
        // There is no kubelet that would end the Pod.
        let now = DeleteParams::default().grace_period(0);
        pods.delete(POD, &now).await?;
        let namespaces: Api<Namespace> = Api::all(member.client.clone());
        namespaces
            .delete(NAMESPACE, &DeleteParams::default())
            .await?;
        await_gone(&namespaces, NAMESPACE, PATIENCE).await?;
    }
    Ok(())
}

/// Says what is in a member now. An error unless the whole application is there.
async fn show(screen: &Screen, member: &MemberView) -> Result<()> {
    let client = || member.client.clone();
    let missing = |what| format!("{what} did not come back to {}", member.name);
    let pod = Api::<Pod>::namespaced(client(), NAMESPACE).get(POD).await;
    pod.with_context(|| missing(POD))?;
    let settings = Api::<ConfigMap>::namespaced(client(), NAMESPACE);
    let settings = settings.get(SETTINGS).await;
    let settings = settings.with_context(|| missing(SETTINGS))?;
    let greeting = settings
        .data
        .and_then(|data| data.get("greeting").cloned())
        .with_context(|| missing("the greeting"))?;
    screen.step(&format!(
        "{} has Pod {POD} and ConfigMap {SETTINGS} with greeting {greeting:?}",
        member.name
    ));
    Ok(())
}
