//! Reading what Velero says went wrong with single objects, for the restores of a pass.

use std::sync::Arc;
use std::time::Duration;

use api_types::external::velero;
use api_types::names::MemberId;
use velero_kit::classify;
use velero_kit::results::read::{Store, read};

use super::pass::{Pass, Row};
use super::plan::Next;
use crate::operation::member::Link;
use crate::operation::objects::Target;
use crate::operation::{destination, sooner};

impl Pass<'_> {
    /// Reads the results of each restore that has just gone wrong, beside the passes: the end of a
    /// reading starts the next one. Returns when to look again, should that be lost.
    pub(super) fn read_results(&self, rows: &mut [Row]) -> Option<Duration> {
        let mut ended: Vec<(&mut Row, Arc<velero::Restore>, MemberId)> = rows
            .iter_mut()
            .filter_map(|row| {
                let (object, member) = has_results(row)?;
                Some((row, object, member))
            })
            .collect();
        if ended.is_empty() {
            return None;
        }
        let (ctx, owner) = (self.0.ctx, &self.0.owner);
        let fleet = destination::fleet(ctx, &owner.namespace, &owner.fleet);
        let store = fleet.as_deref().and_then(Store::of).map(Arc::new);
        let mut again = None;
        for (row, object, member) in &mut ended {
            let Some(store) = &store else { continue };
            let target = Target {
                key: row.entry.key.clone(),
                member: member.clone(),
                name: object.metadata.name.clone().unwrap_or_default(),
            };
            let (results, left) = read(ctx, owner, target, store);
            row.entry.results = results;
            again = sooner(again, left);
        }
        again
    }
}

/// The Velero Restore of an entry, if Velero may have written its results and can be asked for them.
fn has_results(row: &Row) -> Option<(Arc<velero::Restore>, MemberId)> {
    let (Next::Follow(object), Link::Up { member_uid }) = (&row.next, &row.entry.facts.link) else {
        return None;
    };
    let text = object.status.get("failureReason");
    let text = text.and_then(serde_json::Value::as_str);
    let there = object.metadata.uid.is_some() && object.metadata.deletion_timestamp.is_none();
    (there && classify::restore_has_results(object.phase(), text))
        .then(|| (Arc::clone(object), MemberId::from_uid(member_uid)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{down, object, seen};
    use super::*;

    #[test]
    fn only_what_went_wrong_and_is_there_on_a_member_that_answers_is_asked_for() {
        let row = |status, change: fn(&mut velero::Restore)| {
            let mut object = Arc::unwrap_or_clone(object(status));
            object.metadata.uid = Some("a-uid".to_owned());
            change(&mut object);
            Row::new(seen(), Next::Follow(Arc::new(object)))
        };
        let partial = json!({ "phase": "PartiallyFailed", "errors": 2 });
        assert!(has_results(&row(partial.clone(), |_| ())).is_some());
        let failed = json!({ "phase": "Failed", "failureReason": "no space left" });
        assert!(has_results(&row(failed, |_| ())).is_some());

        for phase in ["", "InProgress", "Completed", "FailedValidation"] {
            let row = row(json!({ "phase": phase }), |_| ());
            assert!(has_results(&row).is_none(), "{phase}");
        }
        let gone = row(partial.clone(), |object| object.metadata.uid = None);
        assert!(has_results(&gone).is_none());
        let mut silent = row(partial, |_| ());
        silent.entry.facts.link = down("Unreachable", Some(60));
        assert!(has_results(&silent).is_none());
        assert!(has_results(&Row::new(seen(), Next::Hold)).is_none());
    }
}
