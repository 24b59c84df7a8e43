//! What a key or an owner has used up of its allowance, as far as this process knows.

use std::sync::Arc;

use super::allowance::Allowance;
use super::limits::Charged;
use super::purse::Purse;
use crate::core::ledger::Budget;

/// What was charged to limits, and what is held of budgets.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// What the rest is laid out for.
    allowance: Arc<Allowance>,
    pub(super) charged: Charged,
    /// `None`: there are no budgets. Boxed, since most keys have none.
    pub(super) purse: Option<Box<Purse>>,
}

impl Account {
    /// Nothing charged, nothing held.
    pub(super) fn new(allowance: Arc<Allowance>) -> Self {
        Self { charged: Charged::new(&allowance.limits), purse: None, allowance }
    }

    pub(super) fn allowance(&self) -> &Arc<Allowance> {
        &self.allowance
    }

    /// Follows a change of the allowance, and of the ApiKeyUsage (its uid) that holds what was reserved: what goes on
    /// counting stays.
    pub(super) fn follow(&mut self, allowance: &Arc<Allowance>, usage: Option<&str>) {
        if !Arc::ptr_eq(&self.allowance, allowance) {
            if self.allowance != *allowance {
                self.charged.follow(&self.allowance.limits, &allowance.limits);
                self.purse.iter_mut().for_each(|purse| purse.follow(&self.allowance.budgets, &allowance.budgets));
            }
            self.allowance = Arc::clone(allowance);
        }
        if self.allowance.budgets.is_empty() {
            self.purse = None;
        } else if self.purse.as_ref().is_none_or(|purse| purse.usage() != usage) {
            // What was reserved from another one is not known to this one.
            self.purse = Some(Box::new(Purse::new(usage, self.allowance.budgets.len())));
        }
    }

    /// Where what was reserved of a budget from that ApiKeyUsage (its uid) belongs.
    pub(super) fn place_of(&mut self, usage: &str, budget: &Budget) -> Option<(usize, &mut Purse)> {
        let at = self.allowance.budgets.iter().position(|other| other == budget)?;
        let purse = self.purse.as_deref_mut().filter(|purse| purse.usage() == Some(usage))?;
        Some((at, purse))
    }
}
