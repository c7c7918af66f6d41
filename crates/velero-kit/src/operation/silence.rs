//! Noticing that Velero is silent about an object that does not move.

use std::sync::Arc;
use std::time::Duration;

use crate::identity::Owner;
use crate::{NAMESPACE, probe, problem::Problem};
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::MemberId;
use kube::Resource;
use tokio::time::Instant;
use tracing::Instrument;

use super::context::{Context, Process};
use super::memory::Probe;
use super::timings::Timings;

/// Looks at an unfinished object: asks Velero whether it lives once it has not changed for long.
/// Returns what is known of the silence, and when to look again.
pub fn watch(
    ctx: &Arc<Context<impl Process>>,
    owner: &Owner,
    (key, member_uid): (&ClusterKey, &str),
    object: &impl Resource,
) -> (Option<Problem>, Duration) {
    let timings = &ctx.timings;
    let (unchanged, probe) = ctx.memory.with(&owner.uid, |memory| {
        let of = memory.clusters.entry(key.clone()).or_default();
        let unchanged = of.unchanged(object);
        let due = unchanged >= timings.velero_silence && of.probe.is_due(timings.probe_again);
        if due && !of.asking {
            of.asking = true;
            ask(ctx, owner, key, &MemberId::from_uid(member_uid));
        }
        (unchanged, of.probe)
    });
    let again = match timings.velero_silence.checked_sub(unchanged) {
        Some(wait) if !wait.is_zero() => wait,
        _ => timings.probe_again,
    };
    (stuck(key, probe, unchanged, timings), again)
}

/// Whether a call that had failed when the object came to be as it is would be tried again by now.
pub fn has_rested(
    ctx: &Context<impl Process>,
    owner_uid: &str,
    key: &ClusterKey,
    object: &impl Resource,
) -> bool {
    let unchanged = ctx.memory.with(owner_uid, |memory| {
        let of = memory.clusters.entry(key.clone()).or_default();
        of.unchanged(object)
    });
    unchanged >= ctx.timings.retry
}

/// What silence means, by Velero's last answer.
fn stuck(
    key: &ClusterKey,
    probe: Probe,
    unchanged: Duration,
    timings: &Timings,
) -> Option<Problem> {
    let name = &key.name;
    match probe {
        // A late answer may be about an object that has moved since.
        _ if unchanged < timings.velero_silence => None,
        Probe::Silent(_) => Some(Problem::new(
            reason::VELERO_NOT_RESPONDING,
            format!("Velero in {name} does not answer: look at its Deployment in namespace velero"),
        )),
        Probe::Answered(_) if unchanged >= timings.no_progress => Some(Problem::new(
            reason::NO_PROGRESS,
            format!(
                "nothing has moved for long although Velero in {name} answers: restart Velero there"
            ),
        )),
        _ => None,
    }
}

/// Asks beside the passes; the answer starts a new one.
fn ask(ctx: &Arc<Context<impl Process>>, owner: &Owner, key: &ClusterKey, member: &MemberId) {
    let ctx = Arc::clone(ctx);
    let labels = owner.labels(key, member);
    let (key, owner) = (key.clone(), owner.clone());
    let question = async move {
        let api = ctx
            .members
            .api::<velero::ServerStatusRequest>(&key)
            .namespace(NAMESPACE);
        let name = question_name(&owner, &key);
        let patience = ctx.timings.probe_answer;
        let answer = probe::ask(&api, &name, labels, ctx.manager(), patience).await;
        let probe = match answer {
            Ok(probe::Answer::Given) => Probe::Answered(Instant::now()),
            Ok(probe::Answer::Missing) => Probe::Silent(Instant::now()),
            Ok(probe::Answer::Lost) => Probe::Unasked(Instant::now()),
            Err(error) => {
                tracing::debug!(cluster = %key, %error, "could not ask Velero whether it lives");
                Probe::Unasked(Instant::now())
            }
        };
        ctx.memory.amend(&owner.uid, |memory| {
            let of = memory.clusters.entry(key.clone()).or_default();
            (of.probe, of.asking) = (probe, false);
        });
        ctx.trigger_owner(owner.kind, &owner.namespace, &owner.name);
    };
    tokio::spawn(question.in_current_span());
}

/// What we ask Velero is named so: one question of a kind at a time for a hub object and a member.
pub fn question_name(owner: &Owner, key: &ClusterKey) -> String {
    format!("kurator-{}-{}", owner.uid, member_suffix(key))
}

/// Keeps the names of two members apart that share one API server, as a fleet may by mistake.
fn member_suffix(key: &ClusterKey) -> String {
    let mut name = api_types::names::label_value(&key.name);
    name.truncate(20);
    name.trim_end_matches(['-', '.', '_']).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_only_told_as_what_velero_s_last_answer_makes_of_it() {
        let timings = Timings::default();
        let at = Instant::now();
        let table = [
            (Probe::None, 3600, None),
            (Probe::Unasked(at), 3600, None),
            (Probe::Silent(at), 29, None),
            (Probe::Silent(at), 30, Some("VeleroNotResponding")),
            (Probe::Silent(at), 3600, Some("VeleroNotResponding")),
            (Probe::Answered(at), 29, None),
            (Probe::Answered(at), 30 * 60 - 1, None),
            (Probe::Answered(at), 30 * 60, Some("NoProgress")),
        ];
        let oslo = ClusterKey::attached("team-a", "oslo");
        for (probe, seconds, expected) in table {
            let unchanged = Duration::from_secs(seconds);
            let problem = stuck(&oslo, probe, unchanged, &timings);
            assert_eq!(
                problem.as_ref().map(|problem| problem.reason),
                expected,
                "{probe:?} after {seconds} s"
            );
            assert!(problem.is_none_or(|problem| problem.message.contains("oslo")));
        }
    }

    #[test]
    fn a_question_s_name_fits_beside_a_uid_whatever_the_member_is_called() {
        for name in ["oslo", &"n".repeat(253), "a-very-long-member.-name"] {
            let suffix = member_suffix(&ClusterKey::attached("team-a", name));
            assert!(suffix.len() <= 20, "{suffix}");
            assert!(
                suffix.ends_with(|c: char| c.is_ascii_alphanumeric()),
                "{suffix}"
            );
        }
    }
}
