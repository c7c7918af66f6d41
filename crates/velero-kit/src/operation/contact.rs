//! Whether cluster-proxy can be asked. Without it the members' states are those of before, and say
//! nothing for long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Since when cluster-proxy has not answered, if it does not.
#[derive(Debug, Default)]
pub struct Contact(Mutex<Option<Silence>>);

#[derive(Debug, Clone, Copy)]
struct Silence {
    at: Instant,
    since: Timestamp,
}

impl Contact {
    /// Notes whether it answers now. While it does not: how much of the grace is left, in which a
    /// restart of it changes nothing on the hub.
    pub fn note(&self, answers: bool, grace: Duration) -> Option<Duration> {
        let mut silence = self.lock();
        if answers {
            *silence = None;
            return None;
        }
        let silence = silence.get_or_insert_with(|| Silence {
            at: Instant::now(),
            since: super::conclude::now(),
        });
        Some(grace.saturating_sub(silence.at.elapsed()))
    }

    /// Since when it has not answered, once the grace is over.
    pub fn silent_since(&self, grace: Duration) -> Option<Timestamp> {
        let silence = (*self.lock())?;
        (silence.at.elapsed() >= grace).then_some(silence.since)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Silence>> {
        // Nothing is changed in steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_counts_from_its_beginning_once_the_grace_is_over_and_ends_at_once() {
        let grace = Duration::from_secs(30);
        let contact = Contact::default();
        assert_eq!(contact.note(true, grace), None);
        assert_eq!(contact.note(false, grace), Some(grace));
        let began = super::super::conclude::now();
        tokio::time::advance(Duration::from_secs(10)).await;
        // Another sign of the same silence.
        assert_eq!(contact.note(false, grace), Some(Duration::from_secs(20)));
        assert_eq!(contact.silent_since(grace), None);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(contact.note(false, grace), Some(Duration::ZERO));
        assert!(
            contact
                .silent_since(grace)
                .is_some_and(|since| since <= began)
        );
        assert_eq!(contact.note(true, grace), None);
        assert_eq!(contact.silent_since(grace), None);
    }
}
