//! What is to be done for each cluster, and what is in its way. Pure.

use std::sync::Arc;
use std::time::Duration;

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::{BackupConfig, Fleet, StorageLayout};
use api_types::labels;
use api_types::names::MemberId;
use api_types::phase::PluginPhase;
use jiff::Timestamp;
use proxy_client::SecretSpec;
use tokio::time::Instant;
use velero_kit::owned::{self, CREDENTIAL_KEY, Parts, Provider};
use velero_kit::problem::Problem;
use velero_kit::{NAMESPACE, location};

use super::collision;
use super::known::{Known, Member};
use super::layout::{self, Decision, Seen};
use super::leave::{self, Leave};
use crate::operation::member::{self, Link, Served};
use crate::operation::sooner;
use crate::timings::Timings;

/// What a pass is to do.
#[derive(Debug)]
pub struct Plan {
    /// The layout; `None`: the plugin is not asked for.
    pub layout: Option<Decision>,
    /// As the members of [`Known`], in their order.
    pub clusters: Vec<Planned>,
    /// When to look again, if nothing changes before.
    pub again: Option<Duration>,
}

/// One cluster.
#[derive(Debug)]
pub struct Planned {
    pub member: Member,
    pub stand: Stand,
}

/// How far a cluster is.
#[derive(Debug)]
pub enum Stand {
    /// Nothing can be done there now.
    Blocked(PluginPhase, Problem),
    /// Its storage is kept.
    Kept(Box<Keep>),
    /// Its storage is given up.
    Leaving(Leave),
}

/// How a cluster's storage shall be.
#[derive(Debug)]
pub struct Keep {
    pub place: StoragePlace,
    pub location: BackupStorageLocation,
    /// What is there, if it is as it shall be.
    pub found: Option<Arc<BackupStorageLocation>>,
    /// What somebody else has set there and is to go.
    pub leftovers: Vec<String>,
    /// Somebody else's backups lie there, or may.
    pub collision: Option<Problem>,
    /// The hub's Secret cannot be used; what is there stays.
    pub credential: Option<Problem>,
    /// What is to be done there now.
    pub order: Order,
}

/// What is to be done on a member.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The Secret to write, and its version.
    pub secret: Option<(String, SecretSpec)>,
    /// The location to apply.
    pub location: Option<BackupStorageLocation>,
    /// The sync after which to look whose backups lie there.
    pub survey: Option<Timestamp>,
}

impl Order {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.secret.is_none() && self.location.is_none() && self.survey.is_none()
    }
}

impl Plan {
    /// Whether the finalizer has to come before what is to be written.
    pub fn needs_finalizer(&self, fleet: &Fleet) -> bool {
        let writes = self.clusters.iter().any(|planned| {
            matches!(&planned.stand, Stand::Kept(keep)
                if keep.order.secret.is_some() || keep.order.location.is_some())
        });
        writes && !super::is_held(fleet) && fleet.metadata.deletion_timestamp.is_none()
    }

    /// Whether nothing is asked for and nothing is left.
    pub fn is_over(&self) -> bool {
        let gone = |planned: &Planned| {
            matches!(
                &planned.stand,
                Stand::Leaving(Leave::Gone | Leave::LetGo(_))
            )
        };
        self.layout.is_none() && self.clusters.iter().all(gone)
    }
}

/// Decides all of it.
pub fn validate(known: &Known, timings: &Timings, now: Instant) -> Plan {
    let mut again = None;
    let layout = known.config.as_ref().map(|config| decide(known, config));
    let clusters = known.members.iter().map(|member| {
        let stand = match (&known.config, &layout) {
            (Some(config), Some(layout)) if member.wanted => {
                let of = Of {
                    known,
                    config,
                    member,
                    timings,
                    now,
                };
                of.stand(layout, &mut again)
            }
            _ => Stand::Leaving(leave::decide(known, member)),
        };
        Planned {
            member: member.clone(),
            stand,
        }
    });
    let clusters = clusters.collect();
    Plan {
        layout,
        clusters,
        again,
    }
}

fn decide(known: &Known, config: &BackupConfig) -> Decision {
    let storage = &config.storage.location;
    let wanted = known.members.iter().filter(|member| member.wanted);
    let seen: Vec<(&str, Seen)> = wanted
        .filter(|member| member.listed)
        .map(|member| (member.key.name.as_str(), seen(member, config)))
        .collect();
    layout::decide(storage, super::stored(&known.fleet), &seen)
}

fn seen(member: &Member, config: &BackupConfig) -> Seen {
    let storage = &config.storage.location;
    let mut locations = member.locations.iter();
    match member.velero {
        Served::Unknown | Served::Refused => Seen::Unknown,
        Served::Yes if locations.any(|found| owned::is_at_root(found, storage)) => Seen::Root,
        Served::Yes | Served::No => Seen::Elsewhere,
    }
}

/// One cluster with all that it is judged by.
struct Of<'a> {
    known: &'a Known,
    config: &'a BackupConfig,
    member: &'a Member,
    timings: &'a Timings,
    now: Instant,
}

impl Of<'_> {
    fn stand(&self, layout: &Decision, again: &mut Option<Duration>) -> Stand {
        match self.kept(layout) {
            Ok((keep, wait)) => {
                *again = sooner(*again, wait);
                Stand::Kept(Box::new(keep))
            }
            Err((phase, problem)) => Stand::Blocked(phase, problem),
        }
    }

    fn kept(&self, layout: &Decision) -> Result<(Keep, Option<Duration>), (PluginPhase, Problem)> {
        let pending = |problem| (PluginPhase::Pending, problem);
        let failed = |problem| (PluginPhase::Failed, problem);
        let id = self.reachable().map_err(pending)?;
        let provider = Provider::parse(&self.config.storage.location.provider).map_err(failed)?;
        let layout = match layout {
            Decision::Decided(layout) | Decision::Kept(layout, _) => *layout,
            Decision::Open(problem) if problem.reason == reason::INVALID_SPEC => {
                return Err(failed(problem.clone()));
            }
            Decision::Open(problem) => return Err(pending(problem.clone())),
        };
        let found = self.member.default_location();
        if let Some(problem) = found.and_then(|found| self.known.marks().taken(&found.metadata)) {
            return Err(failed(problem));
        }
        let credential = self.known.source.clone().and_then(|source| {
            let name = &self.config.storage.secret_name;
            let text = provider.credential(name, &source.data)?;
            Ok((source.version, text))
        });
        let ours = found.is_some_and(|found| self.known.owner.owns(&found.metadata, &id));
        if let (Err(problem), false) = (&credential, ours) {
            return Err(match problem.reason {
                reason::CREDENTIALS_INCOMPLETE => failed(problem.clone()),
                _ => pending(problem.clone()),
            });
        }
        Ok(self.keep(layout, provider, &id, credential))
    }

    /// The member's id, if it can be worked on.
    fn reachable(&self) -> Result<MemberId, Problem> {
        let Member { key, velero, .. } = self.member;
        if !self.member.listed {
            return Err(Problem::new(
                reason::CLUSTER_NOT_IN_FLEET,
                format!(
                    "{} is no member of the fleet: list it in spec.clusters",
                    key.name
                ),
            ));
        }
        if let Some(problem) = member::no_cluster(key, self.member.hub) {
            return Err(problem);
        }
        let member_uid = match &self.member.link {
            Link::Up { member_uid } => member_uid,
            Link::Down { problem, .. } => return Err(problem.clone()),
        };
        match member::no_velero(key, *velero) {
            Some(problem) if problem.reason == reason::WAITING_FOR_CLUSTERS => Err(Problem {
                reason: reason::WAITING_FOR_CLUSTER,
                ..problem
            }),
            Some(problem) => Err(problem),
            None => Ok(MemberId::from_uid(member_uid)),
        }
    }

    fn keep(
        &self,
        layout: StorageLayout,
        provider: Provider,
        id: &MemberId,
        credential: Result<(String, Vec<u8>), Problem>,
    ) -> (Keep, Option<Duration>) {
        let (owner, key) = (&self.known.owner, &self.member.key);
        let storage = &self.config.storage.location;
        let secret = provider.secret_name(&owner.name);
        let build = |collision: Option<&Problem>| {
            let parts = Parts {
                storage,
                prefix: owned::prefix(storage, layout, key),
                secret: secret.clone(),
                read_only: collision.is_some(),
            };
            let mut metadata = owner.metadata(labels::DEFAULT_STORAGE_LOCATION, key, id);
            let annotations = metadata.annotations.get_or_insert_default();
            annotations.insert(labels::HUB_UID.to_owned(), self.known.hub.clone());
            if let Some(why) = collision {
                annotations.insert(labels::STORE_COLLISION.to_owned(), why.message.clone());
            }
            owned::build(metadata, parts)
        };
        let place = location::storage(&build(None));
        let found = self.member.default_location();
        let collision = match layout {
            StorageLayout::PerCluster => collision::find(self.known, self.member, &place, id),
            StorageLayout::Shared => None,
        };
        let location = build(collision.as_ref());
        let leftovers = found.map(|found| owned::leftovers(found, &location));
        let found = found.filter(|found| owned::is_as_wanted(found, &location));
        let (credential, secret) = match credential {
            Ok((version, text)) => (None, self.secret_order(&version, secret, text, id)),
            Err(problem) => (Some(problem), None),
        };
        let (apply, wait) = match found {
            Some(_) => (None, None),
            None => self.paced(&location),
        };
        let keep = Keep {
            place,
            found: found.cloned(),
            leftovers: leftovers.unwrap_or_default(),
            collision,
            credential,
            order: Order {
                secret,
                location: apply,
                survey: self
                    .member
                    .survey
                    .filter(|_| layout == StorageLayout::PerCluster),
            },
            location,
        };
        (keep, wait)
    }

    /// What somebody else keeps changing back is not fought over at the speed of the network.
    fn paced(
        &self,
        location: &BackupStorageLocation,
    ) -> (Option<BackupStorageLocation>, Option<Duration>) {
        let applied = self.member.memory.applied;
        let since = applied.map(|at| self.now.saturating_duration_since(at));
        let left = since.map_or(Duration::ZERO, |since| {
            self.timings.retry.saturating_sub(since)
        });
        if left.is_zero() {
            (Some(location.clone()), None)
        } else {
            (None, Some(left))
        }
    }

    /// The Secret, if its content may not be there.
    fn secret_order(
        &self,
        version: &str,
        name: String,
        text: Vec<u8>,
        id: &MemberId,
    ) -> Option<(String, SecretSpec)> {
        let version = format!("{name}@{version}");
        let kept = self.timings.credentials_written;
        let fresh = self
            .member
            .memory
            .credential
            .as_ref()
            .is_some_and(|(known, at)| {
                *known == version && self.now.saturating_duration_since(*at) < kept
            });
        let labels = self.known.owner.labels(&self.member.key, id);
        let spec = SecretSpec {
            namespace: NAMESPACE.to_owned(),
            name,
            data: [(CREDENTIAL_KEY.to_owned(), text)].into(),
            labels,
            ..SecretSpec::default()
        };
        (!fresh).then_some((version, spec))
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
