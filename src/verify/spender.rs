//! Who has quotas or credits, for whoever has more of them handed out.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use smallvec::SmallVec;

use super::account::Account;
use super::entry::Entry;
use super::owners::OwnerAccount;
use super::purse::{Standing, need};
use crate::core::ledger::{Budget, Chunk, Refusal};

pub use super::purse::Want;

/// A key or an owner.
#[derive(Clone, Debug)]
pub enum Spender {
    Key(SpendingKey),
    Owner(SpendingOwner),
}

/// A key that has quotas or credits.
#[derive(Clone, Debug)]
pub struct SpendingKey(pub(super) Arc<Entry>);

/// An owner that has quotas.
#[derive(Clone, Debug)]
pub struct SpendingOwner(pub(super) Arc<OwnerAccount>);

/// What was missing when a request was judged: to be had handed out before it is judged again.
#[derive(Debug)]
pub struct Shortage {
    pub spenders: SmallVec<[Spender; 2]>,
    /// Credits that the request spends.
    pub credits: u32,
}

/// Has chunks of quotas and credits handed out.
pub trait Supplier: Send + Sync {
    /// Waits until whatever was missing was handed out or refused, so that the request can be judged again; `false`: it
    /// will not come. Whoever waits may give up at any time.
    fn supply(&self, shortage: Shortage) -> BoxFuture<'_, bool>;
}

impl Spender {
    /// metadata.namespace of the key or ApiKeyOwner.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Key(SpendingKey(entry)) => entry.namespace(),
            Self::Owner(SpendingOwner(owner)) => &owner.object.namespace,
        }
    }

    /// metadata.uid of the key or ApiKeyOwner.
    #[must_use]
    pub fn uid(&self) -> &str {
        match self {
            Self::Key(SpendingKey(entry)) => entry.uid(),
            Self::Owner(SpendingOwner(owner)) => &owner.uid,
        }
    }

    /// Uid of the ApiKeyUsage that its status names; `None`: there is none yet.
    #[must_use]
    pub fn usage(&self) -> Option<String> {
        self.with(|account| Some(account.purse.as_ref()?.usage()?.to_owned()))
    }

    /// What has to be reserved for a request that spends so many credits.
    #[must_use]
    pub fn wants(&self, credits: u32, now: Timestamp) -> SmallVec<[Want; 2]> {
        self.with(|account| {
            let allowance = Arc::clone(account.allowance());
            let Some(purse) = &mut account.purse else { return SmallVec::new() };
            let budgets = allowance.budgets.iter().enumerate();
            let want = budgets.filter_map(|(at, budget)| match purse.standing(at, need(budget, credits), now) {
                Standing::Short(need) => Some(Want { budget: budget.clone(), need }),
                _ => None,
            });
            want.collect()
        })
    }

    /// The budgets of which something was spent since then, and nothing is held for the next period.
    #[must_use]
    pub fn wants_next(&self, since: Timestamp) -> SmallVec<[Budget; 2]> {
        self.with(|account| {
            let purse = account.purse.as_ref();
            let places = purse.into_iter().flat_map(|purse| purse.without_next(since));
            let quotas = places.filter_map(|at| account.allowance().budgets.get(at));
            quotas.filter(|budget| matches!(budget, Budget::Quota { .. })).cloned().collect()
        })
    }

    /// Takes what was reserved for `want`, or that there was not so much. Gives back what came from another ApiKeyUsage
    /// than the status names by now, or for a budget that is gone.
    #[must_use]
    pub fn deposit(&self, usage: &str, want: &Want, reserved: Result<Chunk, Refusal>, now: Timestamp) -> Option<Chunk> {
        self.with(|account| match account.place_of(usage, &want.budget) {
            Some((at, purse)) => {
                purse.deposit(at, want.need, reserved, now);
                None
            }
            None => reserved.ok(),
        })
    }

    /// As [`Spender::deposit`], for the period after this one.
    #[must_use]
    pub fn deposit_next(&self, usage: &str, budget: &Budget, chunk: Chunk) -> Option<Chunk> {
        self.with(|account| match account.place_of(usage, budget) {
            Some((at, purse)) => {
                purse.deposit_next(at, chunk);
                None
            }
            None => Some(chunk),
        })
    }

    /// Takes out what nobody has spent from since then, and what has lapsed with something left in it.
    #[must_use]
    pub fn take_idle(&self, since: Timestamp, now: Timestamp) -> SmallVec<[(Budget, Chunk); 1]> {
        self.with(|account| {
            let taken = account.purse.as_mut().map(|purse| purse.take_idle(since, now)).unwrap_or_default();
            let budgets = &account.allowance().budgets;
            taken.into_iter().filter_map(|(at, chunk)| Some((budgets.get(at)?.clone(), chunk))).collect()
        })
    }

    /// Whether anything is held that could be spent or given back.
    #[must_use]
    pub fn holds_something(&self) -> bool {
        self.with(|account| account.purse.as_ref().is_some_and(|purse| !purse.is_empty()))
    }

    fn with<R>(&self, act: impl FnOnce(&mut Account) -> R) -> R {
        match self {
            Self::Key(SpendingKey(entry)) => act(entry.counters.open().account()),
            Self::Owner(SpendingOwner(owner)) => act(&mut owner.open()),
        }
    }
}
