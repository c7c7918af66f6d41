//! Names of our objects on members, and label values: pure, and the same for ever, since an object
//! that was created under a name must be found again by a later version.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest name of a member object: longer ones do not fit a label value.
pub const MAX_NAME: usize = 63;
/// Longest name of a Schedule, whose runs get 15 more characters.
pub const MAX_SCHEDULE_NAME: usize = 48;

const HASH_DIGITS: usize = 10;

/// What a member object is for: the middle part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The Velero Backup or Schedule of a Backup.
    Backup,
    /// The Velero Restore of a Restore.
    Restore,
    /// The Velero Backup or Restore of a Migrate.
    Migrate,
}

impl Purpose {
    /// As names have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Migrate => "migrate",
        }
    }
}

/// The visible name, Kurator v0.5.0's: `<cluster>-<purpose>-<namespace>-<name>`.
pub fn full_name(cluster: &str, purpose: Purpose, namespace: &str, name: &str) -> String {
    format!("{cluster}-{}-{namespace}-{name}", purpose.as_str())
}

/// The names to try for an object, best first: the full name if it fits into `limit`, then three with
/// a suffix that depends on the owner's uid. When even the last is taken, the entry fails.
pub fn candidates(full: &str, owner_uid: &str, limit: usize) -> Vec<String> {
    let plain = (full.len() <= limit).then(|| full.to_owned());
    let suffixed = (0..3).map(|attempt| suffixed(full, owner_uid, limit, attempt));
    plain.into_iter().chain(suffixed).collect()
}

/// The name to try after `taken`; `None` when there is none left.
pub fn next_candidate(full: &str, owner_uid: &str, limit: usize, taken: &str) -> Option<String> {
    let mut names = candidates(full, owner_uid, limit).into_iter();
    names.find(|name| name == taken)?;
    names.next()
}

// The full name is hashed with the uid, because two long cluster names can share their beginning.
fn suffixed(full: &str, owner_uid: &str, limit: usize, attempt: u32) -> String {
    let text = if attempt == 0 {
        format!("{owner_uid}/{full}")
    } else {
        format!("{owner_uid}/{full}/{attempt}")
    };
    let kept = head(full, limit.saturating_sub(HASH_DIGITS + 1)).trim_end_matches(['-', '.']);
    format!("{kept}-{}", hash(&text, HASH_DIGITS))
}

/// A text as a label value: itself up to 63 characters, else shortened with a hash of the whole.
pub fn label_value(text: &str) -> String {
    if text.len() <= MAX_NAME {
        return text.to_owned();
    }
    let kept = head(text, MAX_NAME - HASH_DIGITS - 1).trim_end_matches(['-', '.', '_']);
    format!("{kept}-{}", hash(text, HASH_DIGITS))
}

/// A text as a value of Velero's own labels, shortened as Velero does.
pub fn velero_label_value(text: &str) -> String {
    if text.len() <= MAX_NAME {
        return text.to_owned();
    }
    format!("{}{}", head(text, 57), hash(text, 6))
}

/// The read-only location for reading what lies at another place.
pub fn location_name(endpoint: &str, bucket: &str, prefix: &str) -> String {
    format!(
        "{LOCATION_PREFIX}{}",
        hash(&format!("{endpoint}/{bucket}/{prefix}"), HASH_DIGITS)
    )
}

/// What every read-only location's name begins with.
pub const LOCATION_PREFIX: &str = "kurator-from-";

/// The name of a hub ConfigMap's copy on a member. It changes with the content, so that a run
/// under way keeps the content it began with.
pub fn copy_name(name: &str, content: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(content));
    let kept = head(name, 253 - HASH_DIGITS - 1).trim_end_matches(['-', '.']);
    format!("{kept}-{}", head(&digest, HASH_DIGITS))
}

/// A run of a Schedule, or one that is asked for by annotation: `<schedule>-<YYYYMMDDhhmmss>`.
pub fn run_name(schedule: &str, start: Timestamp) -> String {
    format!("{schedule}-{}", start.strftime("%Y%m%d%H%M%S"))
}

/// Identifies a member: 16 hex digits of the SHA-256 of the uid of its namespace `kube-system`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(String);

impl MemberId {
    /// The id of the member whose `kube-system` has this uid.
    pub fn from_uid(uid: &str) -> Self {
        Self(hash(uid, 16))
    }

    /// An id as people write it; `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |c: &u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 16 && text.as_bytes().iter().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// As labels have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hash(text: &str, digits: usize) -> String {
    let mut digest = hex::encode(Sha256::digest(text));
    digest.truncate(digits);
    digest
}

/// The first bytes of a text, never half a character.
fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "6f1c1f6e-6f0b-4d0a-9a4e-0d8f5f3c2b11";

    #[test]
    fn a_name_that_fits_stays_and_gets_suffixes_only_when_taken() {
        let full = full_name(
            "kurator-member1",
            Purpose::Backup,
            "default",
            "select-labels",
        );
        let names = candidates(&full, UID, MAX_NAME);
        assert_eq!(names[0], "kurator-member1-backup-default-select-labels");
        assert_eq!(
            names[1],
            "kurator-member1-backup-default-select-labels-8a9f990ea6"
        );
        assert_eq!(
            names[2],
            "kurator-member1-backup-default-select-labels-fab0cd173f"
        );
        assert_eq!(names.len(), 4);
    }

    #[test]
    fn a_schedule_is_shortened_to_48_characters() {
        let full = full_name(
            "kurator-member1",
            Purpose::Backup,
            "default",
            "nightly-database-backups-of-eu",
        );
        let names = candidates(&full, UID, MAX_SCHEDULE_NAME);
        assert_eq!(names[0], "kurator-member1-backup-default-nightl-0673d1bb81");
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn a_long_name_is_shortened_to_63_characters() {
        let full = full_name(
            "prod-eu-west-1-team-platform",
            Purpose::Restore,
            "payments-production",
            "before-upgrade-2026",
        );
        let names = candidates(&full, UID, MAX_NAME);
        assert_eq!(
            names[0],
            "prod-eu-west-1-team-platform-restore-payments-produc-bd71e29142"
        );
    }

    #[test]
    fn label_values_are_shortened_with_a_hash_of_the_whole() {
        assert_eq!(label_value("select-labels"), "select-labels");
        assert_eq!(
            label_value("backup-of-all-databases-in-the-european-production-clusters-2026"),
            "backup-of-all-databases-in-the-european-production-c-e2e3ba58ee"
        );
    }

    #[test]
    fn velero_label_values_keep_57_characters_and_6_digits() {
        let long = "a".repeat(64);
        let short = velero_label_value(&long);
        assert_eq!(short.len(), 63);
        assert!(short.starts_with(&"a".repeat(57)));
        assert_eq!(velero_label_value(&"a".repeat(63)), "a".repeat(63));
    }

    #[test]
    fn the_name_after_the_last_is_none() {
        let full = "kurator-member1-backup-default-select-labels";
        let mut name = full.to_owned();
        let mut seen = vec![name.clone()];
        while let Some(next) = next_candidate(full, UID, MAX_NAME, &name) {
            seen.push(next.clone());
            name = next;
        }
        assert_eq!(seen, candidates(full, UID, MAX_NAME));
    }

    #[test]
    fn runs_carry_their_start_in_utc() {
        let start: Timestamp = "2026-11-23T04:30:05+02:00".parse().unwrap();
        assert_eq!(run_name("nightly", start), "nightly-20261123023005");
    }

    #[test]
    fn copies_and_locations_are_named_by_what_they_hold() {
        assert_ne!(
            copy_name("skip-caches", b"a"),
            copy_name("skip-caches", b"b")
        );
        assert!(copy_name("skip-caches", b"a").starts_with("skip-caches-ca978112ca"));
        let here = location_name("https://s3.example.org", "backups", "production/oslo");
        assert_eq!(here.len(), LOCATION_PREFIX.len() + 10);
        assert_ne!(
            here,
            location_name("https://s3.example.org", "backups", "production/bergen")
        );
    }

    #[test]
    fn a_member_id_is_16_hex_digits() {
        let id = MemberId::from_uid(UID);
        assert_eq!(id.as_str().len(), 16);
        assert!(id.as_str().chars().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(id, MemberId::from_uid("another"));
        assert_eq!(MemberId::parse(id.as_str()), Some(id));
        for text in [
            "",
            "0123456789ABCDEF",
            "0123456789abcdef0",
            "0123456789abcde)",
        ] {
            assert_eq!(MemberId::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_fits_and_is_a_dns_name(
            full in "[a-z0-9]([a-z0-9.-]{0,150}[a-z0-9])?",
            uid in "[0-9a-f-]{36}",
            schedule in any::<bool>(),
        ) {
            let limit = if schedule { MAX_SCHEDULE_NAME } else { MAX_NAME };
            let names = candidates(&full, &uid, limit);
            for name in &names {
                prop_assert!(name.len() <= limit, "{name}");
                prop_assert!(name.ends_with(|c: char| c.is_ascii_alphanumeric()), "{name}");
                prop_assert!(!name.contains("-.") || full.contains("-."), "{name}");
            }
            let mut unique = names.clone();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(unique.len(), names.len());
        }

        #[test]
        fn every_label_value_fits(text in "[a-z0-9]([a-zA-Z0-9._-]{0,250}[a-z0-9])?") {
            prop_assert!(label_value(&text).len() <= 63);
            prop_assert!(velero_label_value(&text).len() <= 63);
        }
    }
}
