use api_types::common::StoragePlace;
use velero_kit::identity;
use velero_kit::problem::Problem;

use super::super::fixtures::{
    HUB, at, first, id, keep, known, member, of_another, planned, settled, uid,
};
use super::super::known::Written;
use super::super::memory::{Store, Survey};
use super::*;
use crate::operation::member::HubObject;

fn blocked(plan: &Plan) -> (PluginPhase, &'static str) {
    match &first(plan).stand {
        Stand::Blocked(phase, problem) => (*phase, problem.reason),
        other => panic!("it is {other:?}"),
    }
}

#[test]
fn a_member_without_a_location_gets_the_secret_and_the_location() {
    let known = known(vec![member("oslo")]);
    let plan = planned(&known);
    assert!(plan.needs_finalizer(&known.fleet));
    let keep = keep(&plan);
    let (version, secret) = keep.order.secret.as_ref().unwrap();
    assert_eq!(version, "north-velero-s3@v1");
    assert_eq!(
        (&*secret.namespace, &*secret.name),
        ("velero", "north-velero-s3")
    );
    assert_eq!(secret.labels[labels::OWNER_UID], "uid-of-north");
    let location = keep.order.location.as_ref().unwrap();
    assert_eq!(
        location.spec.object_storage.prefix.as_deref(),
        Some("team-a/oslo")
    );
    assert!(!location.is_read_only());
    assert_eq!(
        identity::hub_object(&location.metadata),
        Some(("Fleet", "team-a", "north"))
    );
    assert_eq!(
        location.metadata.annotations.as_ref().unwrap()[labels::HUB_UID],
        HUB
    );
    assert!(
        !format!("{plan:?}").contains("SK"),
        "a value is in {plan:?}"
    );
    assert!(!format!("{known:?}").contains("SK"), "a value is in it");
}

#[test]
fn a_member_that_has_all_of_it_is_left_alone() {
    let known = known(vec![settled(member("oslo"), "Available")]);
    let plan = planned(&known);
    assert!(keep(&plan).order.is_empty(), "{plan:?}");
    assert!(!plan.needs_finalizer(&known.fleet));
    assert_eq!(plan.again, None);
}

#[test]
fn a_new_version_of_the_secret_is_written_and_an_old_write_is_repeated() {
    let mut settled = settled(member("oslo"), "Available");
    let mut known = known(vec![settled.clone()]);
    known.source.as_mut().unwrap().version = "v2".to_owned();
    let plan = planned(&known);
    let (version, _) = keep(&plan).order.secret.as_ref().unwrap();
    assert_eq!(version, "north-velero-s3@v2");
    assert!(keep(&plan).order.location.is_none());

    known.source.as_mut().unwrap().version = "v1".to_owned();
    assert!(keep(&planned(&known)).order.is_empty());
    let later = Instant::now() + Timings::default().credentials_written;
    let plan = validate(&known, &Timings::default(), later);
    assert!(keep(&plan).order.secret.is_some());

    settled.memory = Store::default();
    known.members = vec![settled];
    assert!(keep(&planned(&known)).order.secret.is_some());
}

#[test]
fn what_is_in_the_way_of_a_member_is_said_in_order() {
    type Change = fn(&mut Member);
    let table: [(Change, PluginPhase, &str); 6] = [
        (
            |of| of.listed = false,
            PluginPhase::Pending,
            "ClusterNotInFleet",
        ),
        (
            |of| of.hub = HubObject::Absent,
            PluginPhase::Pending,
            "ClusterNotFound",
        ),
        (
            |of| {
                of.link = Link::Down {
                    problem: Problem::new(reason::UNREACHABLE, "no answer"),
                    since: None,
                }
            },
            PluginPhase::Pending,
            "Unreachable",
        ),
        (
            |of| of.velero = Served::No,
            PluginPhase::Pending,
            "VeleroNotInstalled",
        ),
        (
            |of| of.velero = Served::Unknown,
            PluginPhase::Pending,
            "WaitingForCluster",
        ),
        (
            |of| of.locations = vec![Arc::new(of_another("team-b", "south"))],
            PluginPhase::Failed,
            "NameTaken",
        ),
    ];
    for (change, phase, reason) in table {
        let mut oslo = member("oslo");
        change(&mut oslo);
        assert_eq!(blocked(&planned(&known(vec![oslo]))), (phase, reason));
    }
}

#[test]
fn a_location_of_before_the_hub_was_written_down_is_marked_anew() {
    let mut oslo = settled(member("oslo"), "Available");
    let mut old = (**oslo.default_location().unwrap()).clone();
    let annotations = old.metadata.annotations.get_or_insert_default();
    assert_eq!(annotations.remove(labels::HUB_UID).as_deref(), Some(HUB));
    oslo.locations = vec![Arc::new(old.clone())];
    let known = known(vec![oslo.clone()]);
    assert!(keep(&planned(&known)).order.location.is_some());

    let annotations = old.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::HUB_UID.to_owned(), "another".to_owned());
    oslo.locations = vec![Arc::new(old)];
    let known = super::super::fixtures::known(vec![oslo]);
    assert_eq!(
        blocked(&planned(&known)),
        (PluginPhase::Failed, "NameTaken")
    );
}

#[test]
fn a_fleet_of_this_name_follows_the_one_before_it() {
    let mut oslo = member("oslo");
    oslo.locations = vec![Arc::new(of_another("team-a", "north"))];
    let known = known(vec![oslo]);
    assert!(keep(&planned(&known)).order.location.is_some());
}

#[test]
fn credentials_that_cannot_be_used_keep_a_member_from_getting_them_and_leave_what_works() {
    let missing = Problem::new(reason::CREDENTIALS_NOT_FOUND, "there is no Secret s3");
    let mut known = known(vec![member("oslo")]);
    known.source = Err(missing.clone());
    assert_eq!(
        blocked(&planned(&known)),
        (PluginPhase::Pending, "CredentialsNotFound")
    );
    known.source = Ok(super::super::known::Source::default());
    assert_eq!(
        blocked(&planned(&known)),
        (PluginPhase::Failed, "CredentialsIncomplete")
    );

    known.members = vec![settled(member("oslo"), "Available")];
    known.source = Err(missing.clone());
    let plan = planned(&known);
    assert_eq!(keep(&plan).credential, Some(missing));
    assert!(keep(&plan).order.is_empty());
}

#[test]
fn a_provider_that_cannot_be_set_up_is_said_of_each_cluster() {
    let mut known = known(vec![member("oslo")]);
    let config = known.config.as_mut().unwrap();
    "azure".clone_into(&mut config.storage.location.provider);
    assert_eq!(
        blocked(&planned(&known)),
        (PluginPhase::Failed, "ProviderUnsupported")
    );
}

#[test]
fn what_is_changed_back_at_once_is_not_applied_at_once() {
    let mut oslo = member("oslo");
    oslo.memory.applied = Some(Instant::now());
    let plan = planned(&known(vec![oslo]));
    assert!(keep(&plan).order.location.is_none());
    let again = plan.again.unwrap();
    assert!(again <= Timings::default().retry && again > Duration::ZERO);
}

/// A location that is as it shall be, where backups of these members lie.
fn surveyed(ids: &[&str]) -> Member {
    let mut oslo = settled(member("oslo"), "Available");
    let place = location::storage(oslo.default_location().unwrap());
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    oslo.memory.survey.sight(&place, None);
    oslo.memory.survey.looked(at(1), ids);
    oslo
}

#[test]
fn another_member_s_backups_make_the_location_read_only_until_they_are_adopted() {
    let bergen = id("bergen").to_string();
    let known_with = |oslo: Member| known(vec![oslo]);
    let plan = planned(&known_with(surveyed(&[&bergen])));
    let keep_it = keep(&plan);
    let problem = keep_it.collision.as_ref().unwrap();
    assert_eq!(problem.reason, "StoreCollision");
    assert!(
        problem
            .message
            .contains(&format!("kurator.dev/adopt-store: {bergen}")),
        "{problem:?}"
    );
    let closed = keep_it.order.location.as_ref().unwrap();
    assert!(closed.is_read_only());
    assert_eq!(location::collision(closed), Some(problem.message.as_str()));

    let mut adopts = surveyed(&[&bergen]);
    adopts.adopted.insert(id("bergen"));
    let plan = planned(&known_with(adopts.clone()));
    assert!(keep(&plan).collision.is_none() && keep(&plan).order.is_empty());

    let turku = id("turku").to_string();
    let mut two = surveyed(&[&bergen, &turku]);
    two.adopted = adopts.adopted;
    let plan = planned(&known_with(two));
    let problem = keep(&plan).collision.as_ref().unwrap();
    assert!(problem.message.contains(&turku), "{problem:?}");
}

#[test]
fn a_restart_does_not_open_a_location_that_was_closed() {
    let mut oslo = surveyed(&["0123456789abcdef"]);
    let closed = keep(&planned(&known(vec![oslo.clone()]))).location.clone();
    oslo.locations = vec![Arc::new(closed)];
    oslo.memory.survey = Survey::default();
    let plan = planned(&known(vec![oslo.clone()]));
    assert!(keep(&plan).collision.is_some() && keep(&plan).order.is_empty());

    // The first sync that is seen to end may have begun before.
    let place = location::storage(oslo.default_location().unwrap());
    oslo.memory.survey.sight(&place, None);
    oslo.memory.survey.looked(at(1), [].into());
    let plan = planned(&known(vec![oslo.clone()]));
    assert!(keep(&plan).collision.is_some() && keep(&plan).order.is_empty());
    oslo.memory.survey.looked(at(2), [].into());
    let plan = planned(&known(vec![oslo]));
    assert!(keep(&plan).collision.is_none() && keep(&plan).order.location.is_some());
}

#[test]
fn another_cluster_that_writes_there_is_a_collision_and_the_same_one_twice_is_none() {
    let written = |member_id: MemberId, prefix: &str| Written {
        by: api_types::key::ClusterKey::attached("team-b", "bergen"),
        member: member_id,
        place: StoragePlace {
            provider: "velero.io/aws".to_owned(),
            endpoint: "https://s3.example.org/".to_owned(),
            bucket: "fleet-backups".to_owned(),
            prefix: prefix.to_owned(),
        },
    };
    let collides = |written: Written| {
        let mut known = known(vec![member("oslo")]);
        known.written = vec![written];
        keep(&planned(&known)).collision.is_some()
    };
    assert!(collides(written(id("bergen"), "team-a/oslo/")));
    assert!(!collides(written(id("bergen"), "team-a/turku")));
    assert!(!collides(written(
        MemberId::from_uid(&uid("oslo")),
        "team-a/oslo"
    )));
}

#[test]
fn shared_by_all_means_that_nobody_s_backups_are_strange() {
    let mut oslo = surveyed(&["0123456789abcdef"]);
    oslo.survey = Some(at(2));
    let mut known = known(vec![oslo]);
    known.config.as_mut().unwrap().storage.location.layout = Some(StorageLayout::Shared);
    let plan = planned(&known);
    assert!(keep(&plan).collision.is_none() && keep(&plan).order.survey.is_none());
    let location = keep(&plan).order.location.as_ref().unwrap();
    assert_eq!(location.spec.object_storage.prefix.as_deref(), Some(""));
}
