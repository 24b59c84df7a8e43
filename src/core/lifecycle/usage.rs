//! The ApiKeyUsage of a key is there before the first version.

use std::sync::Arc;

use super::notice::Notices;
use super::outcome::Step;
use super::world::{Record, World};
use crate::core::usage::object::Standing;

fn standing(world: &World<'_>) -> Standing {
    world.usage.standing(world.record.usage.as_ref())
}

/// Makes the one that is missing.
pub(super) fn create(world: &World<'_>) -> Option<Step> {
    matches!(standing(world), Standing::Missing).then_some(Step::CreateUsage)
}

/// Names the one that is there, by whatever is written into the status anyway.
pub(super) fn name(world: &World<'_>, step: Option<Step>) -> Option<Step> {
    let Standing::Unnamed(found) = standing(world) else { return step };
    let named = |record: Record| {
        // What was told was about the ledger of another.
        let notices = Notices { budgets: Box::default(), ..record.notices };
        Record { usage: Some(found), notices, ..record }
    };
    match step {
        Some(Step::Record { record, event }) => Some(Step::Record { record: named(record), event }),
        None => Some(Step::Record { record: named(world.record.clone()), event: None }),
        other => other,
    }
}

/// The uid of the one that is gone with what was spent.
pub(super) fn lost(world: &World<'_>) -> Option<Arc<str>> {
    match standing(world) {
        Standing::Lost(uid) => Some(uid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::{Secret, plan};
    use super::*;
    use crate::core::acceptance::accept;
    use crate::core::fixtures;
    use crate::core::policy::{ObjectName, Policies};
    use crate::core::usage::object::UsageObject;

    /// What is done next about the usage of a key that has no version: `None`, for it is left alone and the
    /// first string is staged.
    fn next(named: Option<&str>, usage: UsageObject) -> (Option<Step>, Option<Arc<str>>) {
        let key = fixtures::key();
        let api = ObjectName::new("speech", "transcripts");
        let policies = Policies { apis: [(api, Ok(Arc::new(fixtures::api())))].into(), ..Policies::default() };
        let acceptance = accept(&key, &policies);
        let record = Record { usage: named.map(Arc::from), ..Record::default() };
        let world = World { record, usage, ..fixtures::world(&key, &acceptance) };
        let plan = plan(&world, Timestamp::UNIX_EPOCH);
        (plan.step.filter(|step| *step != Step::Stage { number: 1 }), plan.report.usage_lost)
    }

    fn there(found: Option<&str>, metered: bool, reset: Option<&str>) -> UsageObject {
        UsageObject { found: found.map(Arc::from), metered, reset: reset.map(Arc::from) }
    }

    #[test]
    fn it_is_made_before_the_first_version() {
        for metered in [false, true] {
            assert_eq!(next(None, there(None, metered, None)), (Some(Step::CreateUsage), None));
            assert_eq!(next(None, there(Some("u1"), metered, None)), (None, None), "named with the first version");
            assert_eq!(next(Some("u1"), there(Some("u1"), metered, None)), (None, None));
        }
    }

    #[test]
    fn one_that_holds_nothing_is_replaced_when_it_is_lost() {
        assert_eq!(next(Some("u1"), there(None, false, None)), (Some(Step::CreateUsage), None));
        assert_eq!(next(Some("u1"), there(Some("u2"), false, None)), (None, None));
    }

    #[test]
    fn one_that_holds_what_was_spent_is_replaced_when_somebody_names_it() {
        let lost = (None, Some("u1".into()));
        for reset in [None, Some("u0"), Some("")] {
            assert_eq!(next(Some("u1"), there(None, true, reset)), lost, "{reset:?}");
            assert_eq!(next(Some("u1"), there(Some("u2"), true, reset)), lost, "{reset:?}");
        }
        assert_eq!(next(Some("u1"), there(None, true, Some("u1"))), (Some(Step::CreateUsage), None));
        assert_eq!(next(Some("u1"), there(Some("u2"), true, Some("u1"))), (None, None));
        // Once done, the same word does nothing more.
        assert_eq!(next(Some("u2"), there(Some("u2"), true, Some("u1"))), (None, None));
        assert_eq!(next(Some("u2"), there(None, true, Some("u1"))), (None, Some("u2".into())));
    }

    #[test]
    fn it_is_named_in_whatever_is_written_next() {
        let key = fixtures::key();
        let acceptance = accept(&key, &Policies::default());
        let base = || World { usage: there(Some("u1"), false, None), ..fixtures::world(&key, &acceptance) };
        let record = Record { id: Some("key_1".into()), ..Record::default() };
        let named = |record: Record| Record { usage: Some("u1".into()), ..record };
        let given = Step::Record { record: record.clone(), event: None };
        assert_eq!(name(&base(), Some(given)), Some(Step::Record { record: named(record), event: None }));
        assert_eq!(name(&base(), None), Some(Step::Record { record: named(Record::default()), event: None }));
        let other = Some(Step::DeleteStaged { number: 1 });
        assert_eq!(name(&base(), other.clone()), other);
        let kept = World { record: named(Record::default()), ..base() };
        assert_eq!((kept.secret.clone(), name(&kept, None)), (Secret::Absent, None));
    }
}
