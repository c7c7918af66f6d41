//! What a pass writes into the entries before anything is made: members and names.

use api_types::condition::reason;
use api_types::names::Purpose;

use super::Problem;
use super::pass::{Pass, Row};
use super::plan::{Entry, Next, Terms, plan};
use crate::operation::calls::{self, Answer};
use crate::operation::member::Link;
use crate::operation::objects;

impl Pass<'_> {
    /// Chooses member and name for each entry that may begin. True if there is one.
    pub(super) async fn claim(&self, rows: &mut [Row]) -> bool {
        let rows = rows
            .iter_mut()
            .filter(|row| matches!(row.next, Next::Claim));
        let rows: Vec<&mut Row> = rows.collect();
        let calls = rows
            .iter()
            .filter_map(|row| self.name_call(&row.entry))
            .collect();
        let mut answers = calls::answers(self.0.ctx, &self.0.owner, calls).await;
        let mut claimed = false;
        for row in rows {
            let key = &row.entry.key;
            row.next = match (answers.remove(key), &row.entry.facts.link) {
                (Some(Answer::Name(Ok(name))), Link::Up { member_uid }) => {
                    row.entry.stored.member_uid = Some(member_uid.clone());
                    row.entry.stored.restore_name_in_cluster = Some(name);
                    claimed = true;
                    Next::Choose
                }
                (Some(Answer::Name(Err(problem))), _) => Next::Retry(problem),
                _ => Next::Wait(calls::unanswered(key)),
            };
        }
        claimed
    }

    /// Claims the next name for each entry whose object Velero refused too early. True if there is one.
    pub(super) fn rename_refused(&self, rows: &mut [Row], terms: &Terms<'_>) -> bool {
        let mut renamed = false;
        for row in rows
            .iter_mut()
            .filter(|row| matches!(row.next, Next::Rename))
        {
            row.next = match self.rename(&mut row.entry) {
                Ok(()) => {
                    renamed = true;
                    plan(&row.entry, terms)
                }
                Err(problem) => Next::Fail(problem),
            };
        }
        renamed
    }

    /// Claims the name after the present one; the error: there is none.
    pub(super) fn rename(&self, entry: &mut Entry) -> Result<(), Problem> {
        let name = entry.claimed_name().unwrap_or_default();
        let next = objects::next_name(&self.0.owner, Purpose::Restore, &entry.key, name);
        let next = next.map_err(|problem| match entry.premature() {
            Some(why) => Problem::new(reason::RESTORE_REJECTED, why.message),
            None => problem,
        })?;
        entry.stored.restore_name_in_cluster = Some(next);
        entry.stored.restore_status_in_cluster = None;
        Ok(())
    }
}
