//! The quickstart: the main job on an embedded default, with its progress shown.

mod full;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject};
use serde::Serialize;
use serde_json::{Value, json};
use testbed::apply_yaml;

use crate::cluster::MemberView;
use crate::examples;
use crate::follow::{Followed, follow};
use crate::operation::Operation;
use crate::screen::{Screen, after};
use crate::stack::Stack;
use crate::tenant::Tenant;

pub use full::run_full;

const MEMBERS: [&str; 2] = ["kurator-member1", "kurator-member2"];
const DEADLINE: Duration = Duration::from_mins(3);
/// What is promised for the time between Velero's end and the hub's status.
const PROMISE: Duration = Duration::from_secs(1);

/// Starts everything in `dir` and gives it back when it is ready for work.
pub async fn start(screen: &Screen, dir: &Path) -> Result<Stack> {
    screen.step("starting a hub, two member clusters, Velero in both, and object storage");
    let builder = MEMBERS
        .iter()
        .fold(Stack::builder("quickstart"), |stack, name| {
            stack.velero_member(name)
        });
    let builder = builder.dir(dir);
    let bed = builder.start_bed().await?;
    screen.step("starting cluster-proxy and the three controllers");
    let stack = builder.start_services(bed).await?;
    screen.step("all of it is ready");
    Ok(stack)
}

/// Applies the examples, follows the announcement's Backup to its end, and shows what came of it.
/// An error unless every cluster completed.
pub async fn run(screen: &mut Screen, stack: &Stack) -> Result<Shop> {
    let tenant = stack.empty_tenant("default").await?;
    let hub = tenant.hub();
    apply_yaml(
        hub,
        &examples::kubeconfig_secrets(|name| stack.member(name))?,
    )
    .await?;
    for example in [examples::CLUSTERS, examples::FLEET] {
        apply(screen, hub, example).await?;
    }
    tenant.wait_fleet_ready().await?;
    screen.step("both clusters are attached, their fleet is Ready");

    let members = stack.bed().members().iter().map(MemberView::of);
    let shop = Shop {
        members: members.collect::<Result<_>>()?,
        tenant,
    };
    let applied = apply(screen, shop.tenant.hub(), examples::SELECT_LABELS).await?;
    shop.follow(screen, &shop.tenant.backups(), applied).await?;
    Ok(shop)
}

/// The hub's namespace of the quickstart, and its members.
#[derive(Debug)]
pub struct Shop {
    tenant: Tenant,
    members: Vec<MemberView>,
}

impl Shop {
    fn member(&self, name: &str) -> Result<&MemberView> {
        let found = self.members.iter().find(|member| member.name == name);
        found.with_context(|| format!("there is no {name}"))
    }

    /// Follows what was just applied to its end, and shows its status and times. An error unless
    /// every cluster completed.
    async fn follow<O: Operation + Serialize>(
        &self,
        screen: &mut Screen,
        api: &Api<O>,
        applied: Vec<DynamicObject>,
    ) -> Result<O> {
        let object = applied.into_iter().next();
        let object = object.context("the example holds no object")?;
        let kind = O::kind(&());
        let operation = object
            .try_parse()
            .with_context(|| format!("the example is no {kind}"))?;
        screen.text("");
        let shown = |state: &Followed<O>| screen.progress(state);
        let followed = follow(api, operation, &self.members, DEADLINE, shown).await;
        screen.end_progress();
        let followed = followed?;
        // The last write may come after the one that showed the outcome.
        let operation = api.get(&followed.operation.name_any()).await?;
        screen.text(&format!("\n{}", status_block(&operation)?));
        screen.text(&times(&kind, &followed));
        if !followed.is_success() {
            bail!(
                "the {kind} did not complete in every cluster: {}",
                followed.explain()
            );
        }
        Ok(operation)
    }
}

/// Where everything is and what to try.
pub fn next_steps(stack: &Stack) -> Result<String> {
    let bed = stack.bed();
    let kubectl = bed.tools().path("kubectl")?;
    let kubectl = if on_path("kubectl") {
        PathBuf::from("kubectl")
    } else {
        kubectl
    };
    let kubectl = kubectl.display();
    let mut lines = vec!["Kubeconfigs and logs:".to_owned()];
    let hub = bed.hub().kubeconfig_path();
    lines.push(format!("  {:16} {}", "hub", hub.display()));
    for member in bed.members() {
        let path = member.control_plane().kubeconfig_path();
        lines.push(format!("  {:16} {}", member.name(), path.display()));
    }
    lines.push(format!("  {:16} {}", "logs", bed.dir().display()));
    let example = |name: &str| examples::path(name).display().to_string();
    lines.extend([
        String::new(),
        "What to try next:".to_owned(),
        format!("  export KUBECONFIG={}", hub.display()),
        format!("  {kubectl} get kurator-dev"),
        format!("  {kubectl} describe kbk select-labels"),
        format!(
            "  {kubectl} apply -f {}",
            example("backup/backup-minimal.yaml")
        ),
        format!("  {kubectl} wait --for=condition=Succeeded backups.backup.kurator.dev/minimal"),
        format!(
            "  {kubectl} apply -f {}",
            example("backup/restore-minimal.yaml")
        ),
        format!("  {kubectl} get krs minimal"),
        format!(
            "  {kubectl} apply -f {}",
            example("backup/migrate-select-labels.yaml")
        ),
        format!("  {kubectl} get kmg select-labels"),
        format!("  {kubectl} explain backups.backup.kurator.dev.spec"),
    ]);
    if let Some(member) = bed.members().first() {
        let member = member
            .control_plane()
            .kubeconfig_path()
            .display()
            .to_string();
        lines.push(format!(
            "  {kubectl} --kubeconfig {member} -n velero get backups.velero.io"
        ));
    }
    Ok(lines.join("\n"))
}

async fn apply(screen: &Screen, hub: &kube::Client, example: &str) -> Result<Vec<DynamicObject>> {
    screen.step(&format!("kubectl apply -f tests/examples/{example}"));
    let applied = apply_yaml(hub, &examples::read(example)?).await;
    applied.with_context(|| format!("tests/examples/{example}"))
}

/// The status as `kubectl get -o yaml` has it.
fn status_block<O: Serialize>(operation: &O) -> Result<String> {
    // By way of a value, whose keys are sorted.
    let whole: Value = serde_json::to_value(operation).context("an unprintable status")?;
    let text = serde_saphyr::to_string(&json!({ "status": whole["status"] }));
    text.context("an unprintable status")
}

fn times<O>(kind: &str, followed: &Followed<O>) -> String {
    let since = |then: Option<Instant>| {
        then.map_or_else(String::new, |then| {
            format!(
                "{:.2} s",
                then.saturating_duration_since(followed.started)
                    .as_secs_f64()
            )
        })
    };
    let mut lines = vec![format!("Times since the {kind} was applied:")];
    for (name, row) in &followed.rows {
        let lag = row.lag();
        let verdict = match lag {
            Some(lag) if lag <= PROMISE => "",
            Some(_) => ", LATER THAN THE SECOND THAT IS PROMISED",
            None => ", never both seen",
        };
        lines.push(format!(
            "  {name:16} Velero done {:>8}, shown on the hub {}{verdict}",
            since(row.done),
            lag.map(after).unwrap_or_default(),
        ));
    }
    lines.join("\n") + "\n"
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
