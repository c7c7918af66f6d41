//! The times that are promised, measured on a bed: a member's change to the hub's status, a call
//! through the proxy against a direct one, and how long a fault takes to show; and how long a Migrate
//! takes against Velero's own work in it.

mod lags;
mod migrates;

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api_types::external::velero;
use clap::Parser;
use e2e::quantile::quantile;
use e2e::screen::Screen;
use e2e::{MemberView, PATIENCE, Stack, Tenant, await_gone};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams};
use proxy_client::{Error, MemberApi};
use testbed::{Relay, client_from};

const MEMBERS: [&str; 2] = ["kurator-member1", "kurator-member2"];
/// A member that is cut off is `Unreachable` within this time.
const CUT: Duration = Duration::from_secs(15);
/// A member that is back is `Ready` within this time of the breaker's next probe.
const READY: Duration = Duration::from_secs(5);
/// How often the proxy is asked when it will probe next.
const ASK: Duration = Duration::from_millis(100);
/// Velero's end is on the hub within this time.
const SHOWN: Duration = Duration::from_secs(1);
/// fleet-controller delays what flaps; here every change is to be seen.
const NO_DAMPING: &str = r#"{"flapWindow": 0}"#;
/// Calls are made one after the other as fast as they are answered; none is to wait for its turn.
const MEMBER_RATE: u32 = 100_000;

/// Measures the times that are promised.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Args {
    /// Backups, each of two members and restored in both, whose end and whose Restore's end are timed
    #[arg(long, default_value_t = 20)]
    backups: u32,
    /// Reads through the proxy, and as many without it
    #[arg(long, default_value_t = 2000)]
    reads: u32,
    /// Times that a member is cut off
    #[arg(long, default_value_t = 3)]
    faults: u32,
    /// Runs of the announcement's Migrate, from one member to the other
    #[arg(long, default_value_t = 20)]
    migrates: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let screen = Screen::default();
    match bench(Args::parse(), &screen).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            screen.text("\nnot all that is promised was kept");
            ExitCode::FAILURE
        }
        Err(error) => {
            screen.text(&format!("bench failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all was in time that is promised.
async fn bench(args: Args, screen: &Screen) -> Result<bool> {
    let Args {
        backups,
        reads,
        faults,
        migrates,
    } = args;
    screen.step("starting a hub and two members");
    let builder = MEMBERS.iter().fold(Stack::builder("bench"), |stack, name| {
        stack.velero_member(name)
    });
    let builder = builder.fleet_timings(NO_DAMPING).member_rate(MEMBER_RATE);
    let stack = builder.start().await?;
    let one = stack.attach(MEMBERS[0])?;
    let (two, relay) = stack.attach_with_relay(MEMBERS[1])?;
    let tenant = stack.tenant("bench", &[one, two]).await?;

    screen.step(&format!("{backups} Backups of two members, each restored"));
    let lags = lags::measure(&stack, &tenant, backups).await?;
    screen.step(&format!(
        "{reads} reads of one object, with and without the proxy"
    ));
    let (direct, proxied) = read_times(&stack, &tenant, &lags.last, reads).await?;
    screen.step(&format!("{migrates} Migrates from one member to the other"));
    let migrates = migrates::measure(&stack, &tenant, migrates).await?;
    screen.step(&format!("{faults} cuts of one member"));
    let faults = fault_times(&stack, &tenant, &relay, faults).await?;

    let promised = [
        Promised::of("Velero done -> shown on the hub", SHOWN, lags.backups),
        Promised::of("restore shown after Velero's end", SHOWN, lags.restores),
        Promised::of("member cut -> Unreachable", CUT, faults.cuts),
        Promised::of("breaker's next probe -> Ready", READY, faults.probes),
    ];
    screen.text("");
    let head = ["median", "p90", "p99", "max"].map(str::to_owned);
    screen.text(&row("", &head, ""));
    for promise in &promised {
        screen.text(&promise.row());
    }
    screen.text(&times("member back -> Ready", &faults.heals, ""));
    screen.text(&times("read, direct", &direct, ""));
    screen.text(&times("read, through the proxy", &proxied, ""));
    screen.text(&ratios("  ratio", &direct, &proxied));
    for row in migrates.rows() {
        screen.text(&row);
    }
    stack.stop().await?;
    Ok(promised.iter().all(Promised::is_kept))
}

/// Times that are promised to be within a limit.
struct Promised {
    what: &'static str,
    limit: Duration,
    samples: Vec<Duration>,
}

impl Promised {
    fn of(what: &'static str, limit: Duration, samples: Vec<Duration>) -> Self {
        Self {
            what,
            limit,
            samples,
        }
    }

    fn is_kept(&self) -> bool {
        self.samples.iter().all(|sample| *sample <= self.limit)
    }

    fn row(&self) -> String {
        let missed = if self.is_kept() { "" } else { "  MISSED" };
        let note = format!("promised: {}{missed}", time(self.limit));
        times(self.what, &self.samples, &note)
    }
}

/// Removes the demo application from a namespace of a member.
async fn remove_demo(member: &MemberView, namespace: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(member.client.clone(), namespace);
    let settings: Api<ConfigMap> = Api::namespaced(member.client.clone(), namespace);
    // There is no kubelet that would end the Pod.
    let now = DeleteParams::default().grace_period(0);
    pods.delete("busybox", &now).await?;
    settings.delete("busybox-settings", &now).await?;
    await_gone(&pods, "busybox", PATIENCE).await?;
    await_gone(&settings, "busybox-settings", PATIENCE).await
}

/// The same object, read in turns so that both see the same machine.
async fn read_times(
    stack: &Stack,
    tenant: &Tenant,
    name: &str,
    reads: u32,
) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let client = client_from(&stack.member(MEMBERS[0])?.relayed_kubeconfig()).await?;
    let direct: Api<velero::Backup> = Api::namespaced(client, "velero");
    let members = stack.members("backup-controller")?;
    let proxied = members
        .api::<velero::Backup>(&tenant.key(MEMBERS[0]))
        .namespace("velero");
    // Connections are made before the clock runs.
    direct.get(name).await?;
    proxied.get(name).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..reads {
        let started = Instant::now();
        direct.get(name).await?;
        without.push(started.elapsed());
        let started = Instant::now();
        proxied.get(name).await?;
        with.push(started.elapsed());
    }
    Ok((without, with))
}

/// What one member's cuts took.
#[derive(Default)]
struct Faults {
    /// From the cut to `Unreachable`.
    cuts: Vec<Duration>,
    /// From the way being free again to `Ready`.
    heals: Vec<Duration>,
    /// Of these, the part from the breaker's probe on.
    probes: Vec<Duration>,
}

async fn fault_times(stack: &Stack, tenant: &Tenant, relay: &Relay, faults: u32) -> Result<Faults> {
    let members = stack.members("backup-controller")?;
    let member = members
        .api::<velero::Backup>(&tenant.key(MEMBERS[1]))
        .namespace("velero");
    let mut times = Faults::default();
    for _ in 0..faults {
        relay.cut();
        let started = Instant::now();
        let gone = tenant.wait_cluster(MEMBERS[1], false).await;
        gone.context("after a cut")?;
        times.cuts.push(started.elapsed());
        relay.heal();
        let started = Instant::now();
        let mut probe = started;
        let back = tenant.wait_cluster(MEMBERS[1], true);
        tokio::select! {
            back = back => back.context("after it healed")?,
            never = follow_probe(&member, &mut probe) => match never {},
        };
        times.heals.push(started.elapsed());
        times.probes.push(probe.elapsed());
    }
    Ok(times)
}

/// Keeps in `probe` when the proxy tried, or will try, the member next, as its refusals say.
async fn follow_probe(member: &MemberApi<velero::Backup>, probe: &mut Instant) -> Infallible {
    loop {
        if let Err(Error::Unreachable(refusal)) = member.get("none").await
            && let Some(wait) = refusal.retry_after
        {
            *probe = Instant::now() + wait;
        }
        tokio::time::sleep(ASK).await;
    }
}

const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 1.0];

fn times(what: &str, samples: &[Duration], note: &str) -> String {
    let cells = SHARES.map(|share| quantile(samples, share).map(time).unwrap_or_default());
    row(what, &cells, &format!("{} samples  {note}", samples.len()))
}

fn ratios(what: &str, direct: &[Duration], proxied: &[Duration]) -> String {
    let cells = SHARES.map(
        |share| match (quantile(direct, share), quantile(proxied, share)) {
            (Some(direct), Some(proxied)) => {
                format!("{:.2}", proxied.as_secs_f64() / direct.as_secs_f64())
            }
            _ => String::new(),
        },
    );
    row(what, &cells, "")
}

fn row(what: &str, cells: &[String; 4], note: &str) -> String {
    let [a, b, c, d] = cells;
    format!("{what:34} {a:>9} {b:>9} {c:>9} {d:>9}   {note}")
        .trim_end()
        .to_owned()
}

fn time(time: Duration) -> String {
    if time < Duration::from_millis(10) {
        format!("{:.2} ms", time.as_secs_f64() * 1000.0)
    } else if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
