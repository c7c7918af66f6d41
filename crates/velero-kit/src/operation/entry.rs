//! The entries of Backup, Restore and Migrate, seen alike.

use crate::problem::Problem;
use api_types::aggregate::{self, Work};
use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::phase::EntryPhase;
use api_types::restore::RestoreDetail;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::member::Link;

/// The fields of an entry that change in the same way, whatever its kind is.
#[derive(Debug)]
pub struct Common<'a> {
    pub cluster_name: &'a mut String,
    pub cluster_kind: &'a mut String,
    pub phase: &'a mut EntryPhase,
    pub reason: &'a mut Option<String>,
    pub message: &'a mut Option<String>,
    pub last_transition_time: &'a mut Option<Time>,
    pub unreachable_since: &'a mut Option<Time>,
}

/// The entry of one cluster.
pub trait Detail: aggregate::Entry + Clone + Default + PartialEq + Send + Sync {
    /// What Velero does for it.
    const WORK: Work;

    /// Name of the cluster.
    fn cluster_name(&self) -> &str;
    /// Kind of the cluster.
    fn cluster_kind(&self) -> &str;
    /// The uid of the member that was claimed.
    fn member_uid(&self) -> Option<&str>;
    /// Name of the Velero object, claimed or made.
    fn object_name(&self) -> Option<&str>;
    /// The phase of the Velero object, as last seen.
    fn velero_phase(&self) -> Option<&str>;
    /// What is the matter.
    fn message(&self) -> Option<&str>;
    /// The run that is restored, for people; `None` for what restores nothing.
    fn chosen_run(&self) -> Option<String>;
    /// What is to be written.
    fn common(&mut self) -> Common<'_>;
    /// Drops what Velero counts while it works.
    fn forget_progress(&mut self);
}

// The two entries differ in the names and types of two fields.
macro_rules! detail {
    ($detail:ty, $work:expr, $name:ident, $velero:ident, $chosen:expr, $($more:ident),*) => {
        impl Detail for $detail {
            const WORK: Work = $work;

            fn cluster_name(&self) -> &str {
                &self.cluster_name
            }

            fn cluster_kind(&self) -> &str {
                &self.cluster_kind
            }

            fn member_uid(&self) -> Option<&str> {
                self.member_uid.as_deref()
            }

            fn object_name(&self) -> Option<&str> {
                self.$name.as_deref()
            }

            fn velero_phase(&self) -> Option<&str> {
                self.$velero.as_ref()?.phase.as_deref()
            }

            fn message(&self) -> Option<&str> {
                self.message.as_deref()
            }

            fn chosen_run(&self) -> Option<String> {
                let chosen: fn(&Self) -> Option<String> = $chosen;
                chosen(self)
            }

            fn common(&mut self) -> Common<'_> {
                Common {
                    cluster_name: &mut self.cluster_name,
                    cluster_kind: &mut self.cluster_kind,
                    phase: &mut self.phase,
                    reason: &mut self.reason,
                    message: &mut self.message,
                    last_transition_time: &mut self.last_transition_time,
                    unreachable_since: &mut self.unreachable_since,
                }
            }

            fn forget_progress(&mut self) {
                if let Some(copy) = &mut self.$velero {
                    copy.progress = None;
                    copy.unknown.clear();
                    $(copy.$more = None;)*
                }
            }
        }
    };
}

detail!(
    BackupDetail,
    Work::Backup,
    backup_name_in_cluster,
    backup_status_in_cluster,
    |_| None,
    queue_position
);
detail!(
    RestoreDetail,
    Work::Restore,
    restore_name_in_cluster,
    restore_status_in_cluster,
    |detail| {
        let name = detail.backup_name_in_cluster.as_deref()?;
        let source = detail.source_cluster_name.as_deref().unwrap_or_default();
        let time = detail.backup_time.as_ref();
        let time = time.map_or_else(String::new, |time| format!(", begun {}", time.0));
        let partial = detail.reason.as_deref() == Some(reason::BACKUP_PARTIALLY_FAILED);
        let partial = if partial {
            ", which is only PartiallyFailed"
        } else {
            ""
        };
        Some(format!("restores {name} of {source}{time}{partial}"))
    },
);

/// The entry of a cluster that has none yet.
pub fn fresh<D: Detail>(key: &ClusterKey) -> D {
    let mut detail = D::default();
    let common = detail.common();
    common.cluster_name.clone_from(&key.name);
    *common.cluster_kind = key.kind.to_string();
    detail
}

/// The entry of a cluster in which nothing will ever be done, for this reason.
pub fn never<D: Detail>(key: &ClusterKey, problem: &Problem, now: Timestamp) -> D {
    let mut detail = fresh(key);
    fail(&mut detail, problem);
    transition(&mut detail, EntryPhase::Pending, now);
    detail
}

/// The key of an entry, unless its kind is one that this version does not know.
pub fn key_of(namespace: &str, detail: &impl Detail) -> Option<ClusterKey> {
    let kind = detail.cluster_kind().parse::<ClusterKind>().ok()?;
    Some(ClusterKey::new(namespace, kind, detail.cluster_name()))
}

/// Writes a problem into an entry.
pub fn say(detail: &mut impl Detail, problem: &Problem) {
    let common = detail.common();
    *common.reason = Some(problem.reason.to_owned());
    *common.message = Some(truncate(&problem.message, MESSAGE_BYTES));
}

/// Ends an entry.
pub fn fail(detail: &mut impl Detail, problem: &Problem) {
    *detail.common().phase = EntryPhase::Failed;
    say(detail, problem);
}

/// Whether nothing was ever said of it.
pub fn is_new(detail: &impl Detail) -> bool {
    detail.phase() == EntryPhase::Pending && detail.reason().is_none()
}

/// Whether it says no more than that all goes its way.
pub fn is_plain(detail: &impl Detail) -> bool {
    matches!(detail.reason(), None | Some(reason::QUEUED))
}

/// Says that its Velero object is on the way.
pub fn say_being_created<D: Detail>(detail: &mut D) {
    let kind = match D::WORK {
        Work::Backup => "Backup",
        Work::Restore => "Restore",
    };
    let message = format!("the Velero {kind} is being created");
    say(detail, &Problem::new(reason::QUEUED, message));
}

/// Begins a new look at an entry: what it said of a member that did not answer is over once it does.
pub fn wake(detail: &mut impl Detail, link: &Link) {
    let common = detail.common();
    if matches!(link, Link::Up { .. }) && common.unreachable_since.take().is_some() {
        (*common.reason, *common.message) = (None, None);
    }
}

/// Ends the look: an unfinished entry of a member that does not answer keeps what was last known,
/// and says so; a change from the phase `before` is dated.
pub fn settle(detail: &mut impl Detail, link: &Link, before: EntryPhase, now: Timestamp) {
    if detail.phase().is_final() {
        *detail.common().unreachable_since = None;
    } else {
        overlay_link(detail, link, now);
    }
    transition(detail, before, now);
}

/// A claimed entry of a member that does not answer says so, and since when.
pub fn overlay_link(detail: &mut impl Detail, link: &Link, now: Timestamp) {
    let claimed = detail.member_uid().is_some();
    let Link::Down { problem, since } = link else {
        return;
    };
    if claimed || detail.reason() == Some(problem.reason) {
        say(detail, problem);
        let common = detail.common();
        if common.unreachable_since.is_none() {
            *common.unreachable_since = Some(Time(since.map_or(now, whole_seconds)));
        }
    }
}

/// Without the parts of the last second.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Marks when the phase last changed.
pub fn transition(detail: &mut impl Detail, before: EntryPhase, now: Timestamp) {
    let common = detail.common();
    if *common.phase != before || common.last_transition_time.is_none() {
        *common.last_transition_time = Some(Time(now));
    }
}

/// Says what is wrong with a Velero object that is followed: the fields of its status that cannot be
/// read, and the silence of its Velero. Neither takes back how it ended.
pub fn say_trouble(detail: &mut impl Detail, invalid: &[&str], stuck: Option<&Problem>) {
    let is_final = detail.phase().is_final();
    if !invalid.is_empty() && (detail.reason().is_none() || !is_final) {
        let fields = invalid.join(", ");
        let text = format!("Velero's status has wrong types in {fields}: check its version");
        say(detail, &Problem::new(reason::MEMBER_ANSWER_INVALID, text));
    }
    if let Some(stuck) = stuck.filter(|_| !is_final) {
        say(detail, stuck);
    }
}

/// What to say of an entry whose Velero object waits, or is in a phase that is too new.
pub fn waiting_message(phase: &str, why: Option<&str>) -> Option<String> {
    match why? {
        reason::QUEUED => Some("Velero has not started it yet".to_owned()),
        reason::UNKNOWN_PHASE => Some(format!(
            "Velero's phase {phase} is newer than this version: upgrade kurator-rs"
        )),
        _ => None,
    }
}
