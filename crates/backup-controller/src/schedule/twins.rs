//! Two clusters of the hub that are one and the same. Pure.

use std::collections::BTreeMap;

use api_types::condition::reason;
use api_types::key::ClusterKey;

use super::Problem;
use super::pass::Row;
use super::plan::Next;

/// They would take the one Schedule from each other for ever: the one that was claimed first has it.
pub fn one_each(rows: &mut [Row]) {
    let mut holders: BTreeMap<String, ClusterKey> = BTreeMap::new();
    for is_claimed in [true, false] {
        for row in rows.iter_mut() {
            let Some(uid) = row.entry.facts.member_uid().map(str::to_owned) else {
                continue;
            };
            if (row.entry.stored.member_uid.as_ref() == Some(&uid)) != is_claimed {
                continue;
            }
            let key = &row.entry.key;
            let holder = holders.entry(uid).or_insert_with(|| key.clone());
            if holder != key {
                row.next = Next::Wait(Problem::new(
                    reason::DUPLICATE_MEMBER,
                    format!(
                        "it is the same cluster as {}: take one of the two out",
                        holder.name
                    ),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::fixtures::key;
    use crate::operation::member::Link;
    use crate::schedule::fixtures::placed;
    use crate::schedule::plan::Entry;

    fn row(name: &str, edit: impl FnOnce(&mut Entry)) -> Row {
        let mut entry = placed();
        entry.key = key(name);
        edit(&mut entry);
        Row::new(entry, Next::Put)
    }

    #[test]
    fn of_two_names_of_one_cluster_the_claimed_one_has_the_schedule() {
        let unclaimed = |entry: &mut Entry| entry.stored.member_uid = None;
        let mut rows = [row("alias", unclaimed), row("oslo", |_| {})];
        one_each(&mut rows);
        assert!(matches!(rows[1].next, Next::Put));
        let Next::Wait(problem) = &rows[0].next else {
            panic!("{:?}", rows[0].next)
        };
        assert_eq!(problem.reason, "DuplicateMember");
        assert!(problem.message.contains("oslo"), "{problem:?}");

        let other = |entry: &mut Entry| {
            entry.facts.link = Link::Up {
                member_uid: "another".to_owned(),
            };
            entry.stored.member_uid = Some("another".to_owned());
        };
        let mut rows = [row("oslo", |_| {}), row("bergen", other)];
        one_each(&mut rows);
        assert!(rows.iter().all(|row| matches!(row.next, Next::Put)));
    }
}
