//! A balance that requests spend.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::acceptance::Rejection;
use crate::core::budget;
use crate::resources::{parse, rules};

/// What may be spent; the remainder is granted + refilled - spent.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credits {
    /// Total granted in this epoch.
    #[schemars(range(min = 0, max = 1_000_000_000_000_000_i64))]
    pub granted: u64,
    /// Raise it together with a new `granted` to set the balance outright.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000_000_000_i64))]
    pub epoch: u64,
    /// Sets the balance to an amount, again and again, when it is below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refill: Option<Refill>,
}

/// A refill at midnight UTC.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = day_with_monthly_only())]
pub struct Refill {
    /// Daily or Monthly.
    pub interval: RefillInterval,
    /// What the balance is set to when it is below.
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_i64))]
    pub amount: u64,
    /// Day of the month, 1 to 31; 31 is the month's last day. With Monthly, and only with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31))]
    pub day: Option<u32>,
}

/// How often a balance is refilled: Daily or Monthly.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RefillInterval {
    #[default]
    Daily,
    Monthly,
}

impl Credits {
    /// # Errors
    /// A value that the schema should have refused.
    pub(super) fn parse(&self) -> Result<budget::Credits, Rejection> {
        let refill = self.refill.as_ref().map(Refill::parse).transpose()?;
        Ok(budget::Credits { granted: self.granted, epoch: self.epoch, refill })
    }
}

impl Refill {
    fn parse(&self) -> Result<budget::Refill, Rejection> {
        if self.amount == 0 {
            return Err(parse::invalid("spec.credits.refill.amount", "0 refills nothing; make it 1 or more"));
        }
        let day = self.day.map(|day| u8::try_from(day).unwrap_or(u8::MAX));
        let interval = match (self.interval, day) {
            (RefillInterval::Daily, None) => budget::Interval::Daily,
            (RefillInterval::Monthly, Some(day @ 1..=31)) => budget::Interval::Monthly { day },
            (RefillInterval::Daily | RefillInterval::Monthly, _) => {
                let cause = "does not go with the interval; give a day, 1 to 31, with Monthly and none with Daily";
                return Err(parse::invalid("spec.credits.refill.day", cause));
            }
        };
        Ok(budget::Refill { interval, amount: self.amount })
    }
}

fn day_with_monthly_only() -> kube::core::Rule {
    rules::rule(
        "has(self.day) == (self.interval == 'Monthly')",
        "'spec.credits.refill.day does not go with interval ' + self.interval + '; give a day, 1 to 31, with Monthly and none with Daily'",
    )
}
