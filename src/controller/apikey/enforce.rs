//! Says whether what a key's status tells is in force everywhere: the condition Enforced.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use super::progress::{self, Settled};
use super::{Context, Error, apply};
use crate::clock::since_boot;
use crate::controller::{key_ref, post_params};
use crate::core::enforced::judgement::{Behind, Judgement, Waiting};
use crate::resources::ApiKey;
use crate::resources::condition::{self, ENFORCED, Statement};

/// How long nothing is said: healthy verifiers need a fraction of it, and each word is a write.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the names of those who are waited for are brought up to date.
const RENEW: Duration = Duration::from_secs(10);

/// Processes that a message names; more of them are counted.
const NAMED: usize = 5;

/// Concludes a look at a key at which nothing else is left to be done. `object` is as it is stored; whoever has
/// applied the version of `settled` honours it. Answers when to look again.
pub(super) async fn conclude(
    context: &Context,
    object: ApiKey,
    settled: Settled,
    now: Timestamp,
) -> Result<Action, Error> {
    let at_rest = progress::wake_at(settled.next_look, now);
    if is_enforced(&object) {
        context.progress.enforced(&object);
        return Ok(at_rest);
    }
    // Versions are numbers (KEP-5504); of one that is not nothing can be said.
    let Some(version) = settled.version else { return Ok(at_rest) };
    match context.judging.judge(version, key_ref(&object)).await.map_err(Error::Judging)? {
        Judgement::Enforced => {
            let enforced = Statement { kind: ENFORCED, holds: Some(true), reason: "Enforced", message: EVERYWHERE };
            let written = write(context, object, enforced, now).await?;
            context.progress.enforced(&written);
            Ok(at_rest)
        }
        Judgement::Waiting(waiting) => {
            let waited = context.progress.unenforced_for(&object, since_boot());
            let left = PATIENCE.saturating_sub(waited);
            if left.is_zero() {
                tell(context, object, &waiting.behind, now).await?;
            }
            let again = if left.is_zero() { RENEW } else { left };
            Ok(Action::requeue(again.min(until(&waiting)).min(until_look(settled.next_look, now))))
        }
    }
}

const EVERYWHERE: &str = "no process that judges keys accepts what this generation forbids, now or later";

/// Whether the condition speaks of the present generation already.
pub(super) fn is_enforced(object: &ApiKey) -> bool {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    let mut enforced = conditions.filter(|condition| condition.type_ == ENFORCED && condition.status == "True");
    enforced.any(|condition| condition.observed_generation == object.metadata.generation)
}

/// Names those who are waited for, unless the condition does so already.
async fn tell(context: &Context, object: ApiKey, behind: &[Behind], now: Timestamp) -> Result<(), Error> {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    let said = conditions.into_iter().find(|condition| {
        condition.type_ == ENFORCED
            && condition.status == "False"
            && condition.observed_generation == object.metadata.generation
    });
    if said.is_some_and(|said| names_in(&said.message) == names_of(behind)) {
        return Ok(());
    }
    let message = message(behind, now);
    let waiting = Statement { kind: ENFORCED, holds: Some(false), reason: "WaitingForVerifiers", message: &message };
    let written = write(context, object, waiting, now).await?;
    context.progress.told(&written);
    Ok(())
}

async fn write(
    context: &Context,
    mut object: ApiKey,
    statement: Statement<'_>,
    now: Timestamp,
) -> Result<ApiKey, Error> {
    let generation = object.metadata.generation;
    condition::set(&mut object.status.get_or_insert_default().conditions, statement, generation, now);
    // With its resourceVersion: what was changed meanwhile has to be judged first.
    let written = context.api_of(&object).replace_status(&object.name_any(), &post_params(), &object).await;
    written.map_err(|error| Error::Apply(apply::Error::Status(error)))
}

/// `a (last heard of 2026-01-01T00:00:00Z), b (…)`: an instant stays true while nothing is heard, an age does not.
fn message(behind: &[Behind], now: Timestamp) -> String {
    let named = behind.iter().take(NAMED).map(|Behind { name, unchanged_for }| {
        let heard = now.checked_sub(*unchanged_for).unwrap_or(now).round(jiff::Unit::Second).unwrap_or(now);
        format!("{name} (last heard of {heard})")
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match behind.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("may still be accepted by {named}{more}; a process that is not heard of stops by itself")
}

/// As [`names_in`] finds them.
fn names_of(behind: &[Behind]) -> Vec<&str> {
    behind.iter().take(NAMED).map(|behind| &*behind.name).collect()
}

/// The names in a [`message`].
fn names_in(message: &str) -> Vec<&str> {
    let before = message.split(" (last heard of ");
    let mut names: Vec<_> = before.filter_map(|text| text.rsplit(' ').next()).collect();
    // What follows the last instant is no name.
    names.pop();
    names
}

fn until(waiting: &Waiting) -> Duration {
    waiting.at_the_latest.map_or(RENEW, |at| at.saturating_sub(since_boot()))
}

fn until_look(next_look: Option<Timestamp>, now: Timestamp) -> Duration {
    next_look.map_or(RENEW, |at| at.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(names: &[&str]) -> Vec<Behind> {
        names.iter().map(|name| Behind { name: (*name).into(), unchanged_for: Duration::from_secs(45) }).collect()
    }

    #[test]
    fn those_who_are_waited_for_are_named_with_when_they_were_heard_of() {
        let now: Timestamp = "2026-01-01T00:01:00.9Z".parse().unwrap();
        let two = behind(&["pod-a-1c", "pod-b-2d"]);
        let expected = "may still be accepted by pod-a-1c (last heard of 2026-01-01T00:00:16Z), \
                        pod-b-2d (last heard of 2026-01-01T00:00:16Z); a process that is not heard of stops by itself";
        assert_eq!(message(&two, now), expected);
        let many = behind(&["a", "b", "c", "d", "e", "f", "g"]);
        assert!(message(&many, now).contains("e (last heard of 2026-01-01T00:00:16Z) and 2 more; "));
    }

    #[test]
    fn a_message_is_written_again_only_for_other_names() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        for names in [&["a"][..], &["pod-a-1c", "pod-b-2d"], &["a", "b", "c", "d", "e", "f"]] {
            let behind = behind(names);
            assert_eq!(names_in(&message(&behind, now)), names_of(&behind));
        }
        assert_eq!(names_in("something else"), [""; 0]);
    }
}
