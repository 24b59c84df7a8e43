//! What the keys of one owner use up together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use super::account::Account;
use super::allowance::{Allowance, Own, Shadow};
use crate::core::owner::{Owner, OwnerDirectory};
use crate::core::policy::ObjectName;

/// Everything that is counted for one owner. It outlives every edit of the ApiKeyOwner.
#[derive(Debug)]
pub(super) struct OwnerAccount {
    /// The ApiKeyOwner.
    pub(super) object: ObjectName,
    /// Its uid.
    pub(super) uid: Arc<str>,
    account: Mutex<Account>,
}

impl OwnerAccount {
    fn new(owner: &Owner, allowance: &Arc<Allowance>) -> Self {
        let account = Mutex::new(Account::new(Arc::clone(allowance)));
        Self { object: owner.object.clone(), uid: Arc::clone(&owner.uid), account }
    }

    /// Nobody else reads or changes it meanwhile. Whoever holds counters of a key as well has opened those before.
    pub(super) fn open(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an owner's allowance is for one of its keys.
#[derive(Clone, Debug)]
pub(super) struct OwnerShare {
    pub(super) account: Arc<OwnerAccount>,
    pub(super) allowance: Arc<Allowance>,
    /// Uid of the owner's ApiKeyUsage, once there is one.
    pub(super) usage: Option<Arc<str>>,
    pub(super) shadow: Shadow,
}

impl OwnerShare {
    /// Whether the owner has quotas that count for the key.
    pub(super) fn has_budgets(&self) -> bool {
        (0..self.allowance.budgets.len()).any(|at| !self.shadow.hides_budget(at))
    }
}

impl PartialEq for OwnerShare {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.account, &other.account)
            && Arc::ptr_eq(&self.allowance, &other.allowance)
            && self.usage == other.usage
            && self.shadow == other.shadow
    }
}

/// The accounts of all owners that keys share something of, by the ApiKeyOwner's uid.
#[derive(Debug, Default)]
pub(super) struct OwnerAccounts(HashMap<Arc<str>, Arc<OwnerAccount>, RandomState>);

impl OwnerAccounts {
    /// What a key shares of its owner, who has that allowance; `None` if there is nothing to be shared.
    pub(super) fn share(&mut self, own: &Own<'_>, owner: &Owner, allowance: Arc<Allowance>) -> Option<OwnerShare> {
        if allowance.is_empty() {
            return None;
        }
        let account =
            self.0.entry(Arc::clone(&owner.uid)).or_insert_with(|| Arc::new(OwnerAccount::new(owner, &allowance)));
        Some(OwnerShare {
            account: Arc::clone(account),
            allowance,
            usage: owner.usage.clone(),
            shadow: Shadow::of(own, owner),
        })
    }

    /// Forgets the accounts of ApiKeyOwners that are gone.
    pub(super) fn forget_gone(&mut self, owners: &OwnerDirectory) {
        self.0.retain(|uid, account| owners.knows(&account.object, uid));
    }
}
