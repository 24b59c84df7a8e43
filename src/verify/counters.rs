//! What is kept of one key from request to request, under one lock that belongs to that key alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::Account;
use super::allowance::Allowance;
use crate::core::route::Route;
use crate::core::usage::{Bandwidth, LastUse, Usage};
use crate::core::verdict::Denial;

/// The counters of one key. They outlive every edit of it.
#[derive(Debug)]
pub struct Counters(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    account: Account,
    /// What was not written down yet.
    usage: Usage,
    /// Somebody knows that there is usage to be written down.
    known: bool,
}

impl Counters {
    /// Nothing charged, nothing used.
    #[must_use]
    pub fn new(allowance: Arc<Allowance>) -> Self {
        Self(Mutex::new(Inside { account: Account::new(allowance), usage: Usage::default(), known: false }))
    }

    /// Nobody else reads or changes them meanwhile.
    #[must_use]
    pub fn open(&self) -> Open<'_> {
        // Counters hold no invariant that a panic elsewhere could have broken half-way.
        Open(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counters under lock.
pub struct Open<'a>(MutexGuard<'a, Inside>);

impl Open<'_> {
    /// What the key has used up of its allowance.
    pub(super) fn account(&mut self) -> &mut Account {
        &mut self.0.account
    }

    /// Counts a request with that version of the key, by what came of it. Answers whether somebody has to be told that
    /// there is something to be written down.
    #[must_use]
    pub(super) fn count(
        &mut self,
        outcome: Result<(), &Denial>,
        request: LastUse,
        version: u32,
        route: Option<&Arc<Route>>,
    ) -> bool {
        match outcome {
            Ok(()) => self.0.usage.allowed(request, version, route.map(|route| &route.name)),
            // In audit mode as well, where the request passes as nobody's.
            Err(denial) => self.0.usage.denied(denial.name()),
        }
        self.is_news()
    }

    /// Counts what a proxy has reported. Answers as [`Open::count`] does.
    #[must_use]
    pub(super) fn report(&mut self, bandwidth: &Bandwidth) -> bool {
        self.0.usage.reported(bandwidth);
        self.is_news()
    }

    fn is_news(&mut self) -> bool {
        !std::mem::replace(&mut self.0.known, true)
    }

    /// What was not written down yet, and is now.
    #[must_use]
    pub(super) fn take_usage(&mut self) -> Usage {
        self.0.usage.take()
    }

    /// It was not written down after all.
    pub(super) fn put_back(&mut self, usage: &Usage) {
        self.0.usage.merge(usage);
    }

    /// It was written down. Answers whether there is more by now, which nobody has to be told of.
    #[must_use]
    pub(super) fn settle(&mut self) -> bool {
        self.0.known = !self.0.usage.is_empty();
        self.0.known
    }
}
