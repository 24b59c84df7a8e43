//! What was handed out of quotas.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Account, Chunk, Ledger, MOST, Need, QuotaAccount, Refusal, share};

/// Lines of quotas in one ledger: with the one of credits what the schema has room for. A key and its tier have at
/// most 16 quotas, in two periods each.
pub const MOST_LINES: usize = 63;

/// What was handed out of one quota in one period.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuotaLine {
    pub account: QuotaAccount,
    pub reserved: u64,
}

impl QuotaAccount {
    /// Whether both are periods, of the same length, of the same quota.
    fn continues(&self, other: &Self) -> bool {
        self.of == other.of && self.name == other.name && self.period.period() == other.period.period()
    }

    fn is_before(&self, other: &Self) -> bool {
        self.period.begin() < other.period.begin()
    }
}

impl Ledger {
    pub(super) fn reserve_quota(
        &mut self,
        account: QuotaAccount,
        limit: u64,
        need: Need,
        living: usize,
    ) -> Result<Chunk, Refusal> {
        let reserved = self.reserved(&account);
        let left = limit.min(MOST).saturating_sub(reserved);
        let Some(amount) = share(left, need, living) else {
            return Err(Refusal::Exhausted { until: Some(account.period.end()) });
        };
        self.open(&account)?.reserved = reserved.saturating_add(amount);
        Ok(Chunk {
            begins: Some(account.period.begin()),
            lapses: Some(account.period.end()),
            ledger: Arc::clone(&self.uid),
            account: Account::Quota(account),
            amount,
            refilled: 0,
        })
    }

    /// What was handed out of a quota in one period.
    pub(super) fn reserved(&self, account: &QuotaAccount) -> u64 {
        self.quotas.iter().find(|line| line.account == *account).map_or(0, |line| line.reserved)
    }

    /// The line of an account, a new one if it has none.
    fn open(&mut self, account: &QuotaAccount) -> Result<&mut QuotaLine, Refusal> {
        if let Some(at) = self.quotas.iter().position(|line| line.account == *account) {
            return self.quotas.get_mut(at).ok_or(Refusal::Behind);
        }
        let others = self.quotas.iter().filter(|line| line.account.continues(account));
        // Before these two there may have been one that is forgotten, and must not begin anew.
        if others.clone().count() >= 2 && others.clone().all(|line| account.is_before(&line.account)) {
            return Err(Refusal::Behind);
        }
        let outlived = match others.clone().count() {
            0 | 1 if self.quotas.len() < MOST_LINES => None,
            0 | 1 => Some(self.longest_over(account).ok_or(Refusal::Behind)?),
            _ => others.min_by_key(|line| line.account.period.begin()).map(|line| line.account.clone()),
        };
        self.quotas.retain(|line| Some(&line.account) != outlived.as_ref());
        self.quotas.push(QuotaLine { account: account.clone(), reserved: 0 });
        self.quotas.last_mut().ok_or(Refusal::Behind)
    }

    /// Of the lines that are over when `account` begins, the one that has been for longest: of a quota that nobody
    /// has any more, for those that somebody has are fewer.
    fn longest_over(&self, account: &QuotaAccount) -> Option<QuotaAccount> {
        let lines = self.quotas.iter().map(|line| &line.account);
        let over = lines.filter(|line| line.period.end() <= account.period.begin());
        over.min_by_key(|line| line.period.end()).cloned()
    }

    pub(super) fn give_back_quota(&mut self, account: &QuotaAccount, amount: u64, now: Timestamp) -> bool {
        let line = self.quotas.iter_mut().find(|line| line.account == *account);
        match line.filter(|_| now < account.period.end()) {
            Some(line) => {
                line.reserved = line.reserved.saturating_sub(amount);
                true
            }
            None => false,
        }
    }
}
