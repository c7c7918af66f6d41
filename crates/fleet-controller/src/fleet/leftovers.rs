//! What a Fleet leaves behind when its deletion is forced. Pure.

use api_types::common::Leftover;

use crate::operation::{Begun, Entry, Holder};
use crate::text;

/// How many are named: what the schema allows.
pub const MOST: usize = 100;

/// One entry for each cluster where a holder may have made something, and one without a cluster for
/// a holder that names none.
pub fn leftovers(begun: &[Begun]) -> Vec<Leftover> {
    begun.iter().flat_map(of_holder).take(MOST).collect()
}

/// The same in one text.
pub fn told(leftovers: &[Leftover]) -> String {
    let told = leftovers.iter().map(|left| {
        let Leftover {
            cluster_name,
            kind,
            name,
            message,
            ..
        } = left;
        match cluster_name.as_str() {
            "" => format!("{kind} {name} ({message})"),
            cluster => format!("{cluster}: {kind} {name} ({message})"),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

fn of_holder(Begun { holder, clusters }: &Begun) -> Vec<Leftover> {
    let need = &holder.need;
    if clusters.is_empty() {
        let message = format!("{need}: it names no cluster of the fleet");
        return vec![leftover(holder, &Entry::default(), &message)];
    }
    let message = format!("{need}: what it made there does not go with the fleet");
    let each = clusters.iter();
    each.map(|cluster| leftover(holder, cluster, &message))
        .collect()
}

fn leftover(holder: &Holder, cluster: &Entry, message: &str) -> Leftover {
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
    Leftover {
        cluster_name: text(&cluster.cluster_name),
        cluster_kind: text(&cluster.cluster_kind),
        kind: holder.kind.clone().into_owned(),
        name: holder.name.clone(),
        message: text::cut(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Need;

    fn begun(name: &str, need: Need, clusters: usize) -> Begun {
        let entry = |n| Entry {
            cluster_name: Some(format!("member-{n}").into()),
            cluster_kind: Some("AttachedCluster".into()),
        };
        Begun {
            holder: Holder {
                kind: "Backup".into(),
                name: name.into(),
                need,
            },
            clusters: (0..clusters).map(entry).collect(),
        }
    }

    #[test]
    fn each_cluster_of_each_holder_is_named() {
        let left = leftovers(&[
            begun("nightly", Need::Scheduled, 2),
            begun("torn", Need::Unreadable, 0),
        ]);
        let message = "scheduled: what it made there does not go with the fleet";
        let first = Leftover {
            cluster_name: "member-0".into(),
            cluster_kind: "AttachedCluster".into(),
            kind: "Backup".into(),
            name: "nightly".into(),
            message: message.into(),
        };
        assert_eq!(left[0], first);
        assert_eq!(
            told(&left),
            format!(
                "member-0: Backup nightly ({message}); member-1: Backup nightly ({message}); \
                 Backup torn (cannot be read: it names no cluster of the fleet)"
            )
        );
    }

    #[test]
    fn no_more_are_named_than_the_schema_allows() {
        let many = [
            begun("nightly", Need::Scheduled, 70),
            begun("weekly", Need::Scheduled, 70),
        ];
        assert_eq!(leftovers(&many).len(), 100);
    }
}
