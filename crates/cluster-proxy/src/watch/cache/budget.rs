//! How much the watches of one link may hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::json::Projected;

/// All watches of a link together may hold this much.
const CACHE_MAX: usize = 16 * 1024 * 1024;
/// What an object costs beside its bytes.
const OVERHEAD: usize = 256;

/// The link's cache is full.
#[derive(Debug)]
pub(in crate::watch) struct OverBudget;

/// Bytes counted on the link; given back when dropped.
#[derive(Debug)]
pub(super) struct Budget {
    link: Arc<AtomicUsize>,
    /// What is held.
    used: usize,
    /// What the link counts: while a list is read, the larger of the two.
    counted: usize,
}

impl Budget {
    pub(super) fn new(link: Arc<AtomicUsize>) -> Self {
        Self {
            link,
            used: 0,
            counted: 0,
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn set(&mut self, bytes: usize) {
        self.used = bytes;
        self.count(bytes);
    }

    pub(super) fn read(&mut self, bytes: usize) {
        self.count(self.used.max(bytes));
    }

    fn count(&mut self, bytes: usize) {
        self.link.fetch_add(bytes, Ordering::Relaxed);
        self.link.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = bytes;
    }

    /// What the link's other watches leave.
    pub(super) fn share(&self) -> usize {
        let all = self.link.load(Ordering::Relaxed);
        CACHE_MAX.saturating_sub(all.saturating_sub(self.counted))
    }

    pub(super) fn fits(&self, bytes: usize) -> bool {
        bytes <= self.share()
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What an object takes.
pub(in crate::watch) fn cost(object: &Projected) -> usize {
    object.json.len() + OVERHEAD
}
