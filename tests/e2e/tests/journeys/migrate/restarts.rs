//! Each of our processes killed at each transition of a Migrate: every step is done once.

use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::migrate::Migrate;
use api_types::phase::Phase;
use e2e::{PATIENCE, Service, Stack, Tenant, await_gone, await_object};

use super::{
    assert_made_once, assert_nothing_made, begin, delete, from, in_phase, is_phase, is_running,
    migrates, of_source, of_target, only, source_ready, stored_name, wait,
};
use crate::restarts::{hub, tenant};
use crate::restore::Held;
use crate::world::{ONE, Spare, spare, stored, view};

#[tokio::test]
async fn migrate_controller_may_be_killed_at_each_transition() {
    let (hub, _turn) = hub().await;
    let names = ("kill-migrate", "kill-migrate-back");
    killed_at_each_transition(hub, hub.migrate_controller(), names).await;
}

#[tokio::test]
async fn cluster_proxy_may_be_killed_at_each_transition_of_a_migrate() {
    let (hub, _turn) = hub().await;
    let names = ("kill-proxy-migrate", "kill-proxy-migrate-back");
    killed_at_each_transition(hub, hub.proxy(), names).await;
}

#[tokio::test]
async fn fleet_controller_may_be_killed_at_each_transition_of_a_migrate() {
    let (hub, _turn) = hub().await;
    let names = ("kill-fleet-migrate", "kill-fleet-migrate-back");
    killed_at_each_transition(hub, hub.fleet_controller(), names).await;
}

/// It works on no Migrate, but sweeps the locations that they read from.
#[tokio::test]
async fn backup_controller_may_be_killed_at_each_transition_of_a_migrate() {
    let (hub, _turn) = hub().await;
    let names = ("kill-backup-migrate", "kill-backup-migrate-back");
    killed_at_each_transition(hub, hub.backup_controller(), names).await;
}

/// Two Migrates at once, there and back: the member whose Velero can be stopped is the source of the
/// one and the target of the other.
struct Both {
    tenant: Tenant,
    spare: Spare,
    there: &'static str,
    back: &'static str,
    /// The namespace that the second one comes into, where Velero waits for us.
    held: Held,
}

async fn killed_at_each_transition(
    hub: &Stack,
    victim: &Service,
    (there, back): (&'static str, &'static str),
) {
    let spare = spare().await;
    let tenant = tenant(hub, there, &spare).await;
    Held::deploy(&spare.view.client, there).await;
    Held::deploy(&view(ONE).await.client, back).await;
    let held = Held::deploy(&spare.view.client, back).await;
    held.hold().await;
    let both = Both {
        tenant,
        spare,
        there,
        back,
        held,
    };
    both.begin(victim).await;
    both.back_up(victim).await;
    both.restore(victim).await;
    both.delete(victim).await;
}

impl Both {
    /// Dead when they are made, and again as soon as it is written down what they begin.
    async fn begin(&self, victim: &Service) {
        let Self {
            tenant,
            spare,
            there,
            back,
            ..
        } = self;
        victim.kill().await.unwrap();
        spare.velero().process().freeze().unwrap();
        let mut spec = from(spare.name, &[ONE], only(there));
        spec.deletion_policy = DeletionPolicy::Delete;
        begin(tenant, there, spec).await;
        begin(tenant, back, from(ONE, &[spare.name], only(back))).await;
        victim.start_again().await.unwrap();
        let claimed = |seen: &Migrate| {
            let status = seen.status.as_ref();
            status.is_some_and(|status| status.start_time.is_some())
        };
        for name in [there, back] {
            wait(tenant, name, "a claim", claimed).await;
        }
        victim.restart().await.unwrap();
    }

    /// While one backup is made and past its end, and before the other one is restored.
    async fn back_up(&self, victim: &Service) {
        let begun = |seen: &Migrate| of_source(seen).backup_status_in_cluster.is_some();
        let seen = wait(&self.tenant, self.there, "a Velero Backup", begun).await;
        let what = "a ready source";
        wait(&self.tenant, self.back, what, source_ready).await;
        victim.kill().await.unwrap();
        self.spare.velero().process().thaw().unwrap();
        let objects = self.spare.view.velero::<velero::Backup>();
        let done = |object: &velero::Backup| object.phase() == "Completed";
        await_object(&objects, &stored_name(&seen), "Completed", PATIENCE, done)
            .await
            .unwrap();
        victim.start_again().await.unwrap();
    }

    /// As soon as it is written down what is restored; while it is restored, and past its end.
    async fn restore(&self, victim: &Service) {
        let Self { tenant, spare, .. } = self;
        let chosen = |seen: &Migrate| {
            let target = of_target(seen, ONE);
            target.is_some_and(|target| target.backup_name_in_cluster.is_some())
        };
        wait(tenant, self.there, "a chosen backup", chosen).await;
        victim.restart().await.unwrap();
        let runs = |seen: &Migrate| is_running(seen, spare.name);
        let seen = wait(tenant, self.back, "a restore that runs", runs).await;
        victim.kill().await.unwrap();
        self.held.release().await;
        let target = of_target(&seen, spare.name).unwrap();
        let name = target.restore_name_in_cluster.clone().unwrap();
        let objects = spare.view.velero::<velero::Restore>();
        let done = |object: &velero::Restore| object.phase() == "Completed";
        await_object(&objects, &name, "Completed", PATIENCE, done)
            .await
            .unwrap();
        victim.start_again().await.unwrap();
        let there = in_phase(tenant, self.there, Phase::Completed).await;
        assert_made_once(&there, spare.name, &[ONE]).await;
        let back = in_phase(tenant, self.back, Phase::Completed).await;
        assert_made_once(&back, ONE, &[spare.name]).await;
        self.held.assert_restored().await;
        let client = view(ONE).await.client;
        Held::at(&client, self.there).assert_restored().await;
    }

    /// In the middle of a deletion, which cannot end without Velero; the other one has ended.
    async fn delete(&self, victim: &Service) {
        let Self { tenant, spare, .. } = self;
        let api = migrates(tenant);
        let gone = api.get(self.there).await.unwrap();
        let ended = api.get(self.back).await.unwrap();
        spare.velero().process().freeze().unwrap();
        delete(tenant, self.there).await;
        let waits = |seen: &Migrate| is_phase(seen, Phase::Deleting);
        wait(tenant, self.there, "a deletion that waits", waits).await;
        victim.kill().await.unwrap();
        spare.velero().process().thaw().unwrap();
        victim.start_again().await.unwrap();
        await_gone(&api, self.there, PATIENCE).await.unwrap();
        assert_nothing_made(&gone, &[ONE, spare.name]).await;
        let left = stored(spare.name, &stored_name(&gone)).await;
        assert_eq!(left, Vec::<String>::new());
        let later = api.get(self.back).await.unwrap();
        assert_eq!(later.status, ended.status);
        assert_made_once(&later, ONE, &[spare.name]).await;
    }
}
