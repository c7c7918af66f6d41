//! The announcement's Migrate, over and over: what we add to Velero's own work.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api_types::migrate::Migrate;
use e2e::follow::{Row, follow};
use e2e::{MemberView, PATIENCE, Stack, Tenant, examples};
use kube::api::{Api, PostParams};

use super::{MEMBERS, remove_demo, time, times};

/// What is aimed at between the end of the source's backup and the Velero Restore, without volumes.
const TRANSFER: Duration = Duration::from_secs(1);
/// What is aimed at for the whole.
const WHOLE: Duration = Duration::from_secs(6);

/// What the Migrates took.
#[derive(Default)]
pub(crate) struct Times {
    /// From the source's backup `Completed` to the Velero Restore in the target.
    transfer: Vec<Duration>,
    /// From the creation of the Migrate to its end on the hub.
    whole: Vec<Duration>,
    /// Of that, what Velero worked or was waited for: its backup and its restore, each from its
    /// creation to its end.
    velero: Vec<Duration>,
}

impl Times {
    /// A line for each, and how often the goals were met.
    pub(crate) fn rows(&self) -> [String; 3] {
        let goal = |goal, samples: &[Duration]| {
            let met = samples.iter().filter(|sample| **sample <= goal).count();
            format!("goal: {}, met by {met}", time(goal))
        };
        let (transfer, whole) = (goal(TRANSFER, &self.transfer), goal(WHOLE, &self.whole));
        [
            times(
                "source Completed -> restore made",
                &self.transfer,
                &transfer,
            ),
            times("Migrate, made -> Completed", &self.whole, &whole),
            times("  of that Velero itself", &self.velero, ""),
        ]
    }

    fn take(&mut self, made: Instant, source: &Row, target: &Row) -> Result<()> {
        let missing = "Velero's work was not seen";
        let backup = source.begun.zip(source.done).context(missing)?;
        let restore = target.begun.zip(target.done).context(missing)?;
        let shown = target.shown.context("the end was not seen")?;
        let took = |(begun, done): (Instant, Instant)| done.saturating_duration_since(begun);
        self.transfer.push(took((backup.1, restore.0)));
        self.whole.push(took((made, shown)));
        self.velero.push(took(backup) + took(restore));
        Ok(())
    }
}

/// Runs it so many times, one after the other; each finds the application only in its source.
pub(crate) async fn measure(stack: &Stack, tenant: &Tenant, runs: u32) -> Result<Times> {
    let [source, target] = MEMBERS;
    let source = MemberView::of(stack.member(source)?)?;
    let target = MemberView::of(stack.member(target)?)?;
    let example: Migrate = serde_saphyr::from_str(&examples::read(examples::MIGRATE)?)?;
    let mut times = Times::default();
    for number in 0..runs {
        // What an earlier run has brought.
        remove_demo(&target, "kurator-backup").await?;
        let name = format!("bench-{number}");
        let object = Migrate::new(&name, example.spec.clone());
        let api: Api<Migrate> = tenant.api();
        let made = Instant::now();
        let migrate = api.create(&PostParams::default(), &object).await?;
        let members = [source.clone(), target.clone()];
        let followed = follow(&api, migrate, &members, PATIENCE, |_| {}).await?;
        ensure!(followed.is_success(), "{}", followed.explain());
        let row = |of: &MemberView| followed.rows.get(&of.name).context("an entry is missing");
        times.take(made, row(&source)?, row(&target)?)?;
    }
    Ok(times)
}
