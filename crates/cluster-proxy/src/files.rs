//! The file descriptors that the process needs.

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A member has a connection for watches and one for calls.
const PER_CLUSTER: u64 = 2;
/// Connections of callers.
const CALLERS: u64 = 64;
/// The hub, health, logs, lookups, more connections to members with many watches.
const OTHERS: u64 = 256;

/// Too few descriptors for the members there are.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{clusters} member clusters need {needed} file descriptors, but this process may open only \
     {limit}: raise the limit (RLIMIT_NOFILE, `ulimit -Hn`, LimitNOFILE= of a systemd unit)"
)]
pub struct TooFew {
    clusters: u64,
    needed: u64,
    limit: u64,
}

/// Raises the limit as far as the process may, and checks that it is enough.
pub fn reserve(clusters: usize) -> anyhow::Result<()> {
    let resource = Resource::RLIMIT_NOFILE;
    let (soft, hard) = getrlimit(resource).context("read the limit of open files")?;
    let limit = match setrlimit(resource, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays at {soft}");
            soft
        }
    };
    Ok(check(u64::try_from(clusters)?, limit)?)
}

fn check(clusters: u64, limit: u64) -> Result<(), TooFew> {
    let needed = PER_CLUSTER
        .saturating_mul(clusters)
        .saturating_add(CALLERS + OTHERS);
    if needed <= limit {
        return Ok(());
    }
    Err(TooFew {
        clusters,
        needed,
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_connections_a_member_and_a_reserve_must_fit() {
        assert_eq!(check(0, 320), Ok(()));
        assert_eq!(check(352, 1024), Ok(()));
        let refused = check(353, 1024).unwrap_err().to_string();
        assert!(
            refused.contains("353 member clusters need 1026"),
            "{refused}"
        );
        assert!(refused.contains("only 1024"), "{refused}");
        assert!(check(u64::MAX, u64::MAX - 1).is_err());
    }
}
