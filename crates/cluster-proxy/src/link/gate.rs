//! How fast connections are made, over all members.
//!
//! The only thing that links wait for together. Members that failed recently have places of their
//! own, so that dead ones do not keep live ones waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use super::breaker::BACKOFF_CAP;

const HEALTHY: usize = 64;
const SUSPECT: usize = 8;
/// 200 reconnects a second.
const SPACING: Duration = Duration::from_millis(5);
/// 50 a second: when many members fail at once, our own network is the likely cause, and it comes
/// back for all of them at once.
const SPACING_MASS: Duration = Duration::from_millis(20);
/// For the same reason members are then asked again sooner.
const BACKOFF_CAP_MASS: Duration = Duration::from_secs(10);
const RECENT: Duration = Duration::from_secs(30);
/// In a small fleet a few dead members are just that.
const MASS_MIN: usize = 5;

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The first contact with a member, or one more connection to a member that is up.
    New,
    /// To a member that was connected a moment ago.
    Again,
    /// To a member that failed recently.
    Suspect,
}

/// Places and pace of all connects.
#[derive(Debug)]
pub struct ConnectGate {
    healthy: Arc<Semaphore>,
    suspect: Arc<Semaphore>,
    /// Never held across an await.
    pace: Mutex<Pace>,
}

impl Default for ConnectGate {
    fn default() -> Self {
        Self {
            healthy: Arc::new(Semaphore::new(HEALTHY)),
            suspect: Arc::new(Semaphore::new(SUSPECT)),
            pace: Mutex::default(),
        }
    }
}

impl ConnectGate {
    /// Counts a member in for as long as its seat is held.
    pub fn join(self: &Arc<Self>) -> Seat {
        Seat {
            gate: Arc::clone(self),
            id: self.pace(Pace::join),
        }
    }

    fn pace<T>(&self, f: impl FnOnce(&mut Pace) -> T) -> T {
        f(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to make one connection now.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A member's part in the gate.
#[derive(Debug)]
pub struct Seat {
    gate: Arc<ConnectGate>,
    id: u64,
}

impl Seat {
    /// Waits for the turn to connect.
    pub async fn enter(&self, purpose: Purpose) -> Place {
        let places = match purpose {
            Purpose::New | Purpose::Again => &self.gate.healthy,
            Purpose::Suspect => &self.gate.suspect,
        };
        // It is never closed, so there always is one.
        let permit = Arc::clone(places).acquire_owned().await.ok();
        if purpose != Purpose::New {
            let turn = self.gate.pace(|pace| pace.turn(Instant::now()));
            sleep_until(turn).await;
        }
        Place { _permit: permit }
    }

    /// The member cannot be reached.
    pub fn failed(&self) {
        self.gate.pace(|pace| pace.failed(self.id, Instant::now()));
    }

    /// Whether it could not be reached a moment ago.
    pub fn failed_recently(&self) -> bool {
        let now = Instant::now();
        self.gate.pace(|pace| pace.failed_recently(self.id, now))
    }

    /// No wait before the next try is longer.
    pub fn backoff_cap(&self) -> Duration {
        if self.gate.pace(|pace| pace.is_mass_failure(Instant::now())) {
            BACKOFF_CAP_MASS
        } else {
            BACKOFF_CAP
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.pace(|pace| pace.leave(self.id));
    }
}

/// What the pace is decided by.
#[derive(Debug, Default)]
struct Pace {
    last_id: u64,
    members: usize,
    /// When each member failed last, if that is recent.
    failed: HashMap<u64, Instant>,
    next: Option<Instant>,
}

impl Pace {
    fn join(&mut self) -> u64 {
        self.members += 1;
        self.last_id += 1;
        self.last_id
    }

    fn leave(&mut self, id: u64) {
        self.members -= 1;
        self.failed.remove(&id);
    }

    fn failed(&mut self, id: u64, now: Instant) {
        self.failed.insert(id, now);
    }

    fn failed_recently(&self, id: u64, now: Instant) -> bool {
        let failed = self.failed.get(&id);
        failed.is_some_and(|at| now.saturating_duration_since(*at) <= RECENT)
    }

    /// More than a fifth of all members failed recently.
    fn is_mass_failure(&mut self, now: Instant) -> bool {
        self.failed
            .retain(|_, at| now.saturating_duration_since(*at) <= RECENT);
        self.failed.len() >= MASS_MIN && self.failed.len() * 5 > self.members
    }

    /// When the next reconnect may begin.
    fn turn(&mut self, now: Instant) -> Instant {
        let spacing = if self.is_mass_failure(now) {
            SPACING_MASS
        } else {
            SPACING
        };
        let turn = self.next.map_or(now, |next| next.max(now));
        self.next = Some(turn + spacing);
        turn
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, poll};

    use super::*;

    fn seats(gate: &Arc<ConnectGate>, count: usize) -> Vec<Seat> {
        (0..count).map(|_| gate.join()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn dead_members_do_not_keep_live_ones_waiting() {
        let gate = Arc::new(ConnectGate::default());
        let seats = seats(&gate, HEALTHY + 1);
        let mut held = Vec::new();
        for seat in &seats[..SUSPECT] {
            held.push(seat.enter(Purpose::Suspect).await);
        }
        let mut ninth = Box::pin(seats[SUSPECT].enter(Purpose::Suspect));
        assert!(poll!(ninth.as_mut()).is_pending());

        let mut live = Vec::new();
        for seat in &seats[..HEALTHY] {
            live.push(seat.enter(Purpose::New).now_or_never().unwrap());
        }
        let mut one_more = Box::pin(seats[HEALTHY].enter(Purpose::New));
        assert!(poll!(one_more.as_mut()).is_pending());
        live.pop();
        assert!(poll!(one_more.as_mut()).is_ready());
        held.pop();
        ninth.await;
    }

    #[tokio::test(start_paused = true)]
    async fn reconnects_are_spread_and_first_connects_are_not() {
        let gate = Arc::new(ConnectGate::default());
        let seats = seats(&gate, 200);
        let started = Instant::now();
        for seat in &seats {
            seat.enter(Purpose::New).await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        for seat in &seats {
            seat.enter(Purpose::Again).await;
        }
        assert_eq!(started.elapsed(), SPACING * 199);

        for seat in &seats[..41] {
            seat.failed();
        }
        let failed = Instant::now();
        for seat in &seats[..50] {
            seat.enter(Purpose::Suspect).await;
        }
        let took = failed.elapsed();
        assert!(took >= SPACING_MASS * 49, "{took:?}");
        assert!(took <= SPACING_MASS * 50, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mass_failure_is_one_of_more_than_a_fifth_within_half_a_minute() {
        let gate = Arc::new(ConnectGate::default());
        let mut seats = seats(&gate, 100);
        for seat in &seats[..20] {
            seat.failed();
            seat.failed();
        }
        assert_eq!(seats[0].backoff_cap(), BACKOFF_CAP);
        seats[20].failed();
        assert_eq!(seats[99].backoff_cap(), BACKOFF_CAP_MASS);
        assert!(seats[20].failed_recently() && !seats[21].failed_recently());
        // A member that is gone counts neither way.
        seats.drain(..1);
        assert_eq!(seats[0].backoff_cap(), BACKOFF_CAP_MASS);
        seats.drain(..1);
        assert_eq!(seats[0].backoff_cap(), BACKOFF_CAP);
        seats[30].failed();
        assert_eq!(seats[0].backoff_cap(), BACKOFF_CAP_MASS);
        tokio::time::advance(RECENT + Duration::from_secs(1)).await;
        assert_eq!(seats[0].backoff_cap(), BACKOFF_CAP);
        assert!(!seats[18].failed_recently() && !seats[28].failed_recently());
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_dead_members_of_a_small_fleet_are_no_mass_failure() {
        let gate = Arc::new(ConnectGate::default());
        let seats = seats(&gate, MASS_MIN);
        for seat in &seats[1..] {
            seat.failed();
        }
        assert_eq!(seats[0].backoff_cap(), BACKOFF_CAP);
        seats[0].failed();
        assert_eq!(seats[0].backoff_cap(), BACKOFF_CAP_MASS);
    }
}
