//! The script that charges the limits of one request, as a command and as the reply to it.

use jiff::Timestamp;
use redis::{Cmd, Value};

use crate::core::ratelimit::Cells;
use crate::verify::store::{StoreAnswer, StoreRequest};

/// The script itself, of which the file's own head says what it takes and answers.
pub(super) const SOURCE: &str = include_str!("charge.lua");

/// A reply that the script never gives.
#[derive(Debug, thiserror::Error)]
#[error("reading the reply of the script")]
pub(super) struct NotAnAnswer;

/// Keys and arguments of the script for one request.
pub(super) struct Call {
    keys: Vec<String>,
    arguments: Vec<u64>,
}

impl Call {
    pub(super) fn new(request: &StoreRequest) -> Self {
        let StoreRequest { tag, charges, commit } = request;
        // The braces are the hash tag: whatever stands in them alone decides where a cluster keeps the key.
        let keys = charges.iter().map(|charge| {
            let window = charge.rule.window_milliseconds();
            format!("keyturn:{{{tag}}}:{}:{window}", charge.key)
        });
        let arguments = charges
            .iter()
            .flat_map(|charge| [charge.rule.limit().into(), charge.rule.window_milliseconds(), charge.cost.into()]);
        Self { keys: keys.collect(), arguments: std::iter::once(u64::from(*commit)).chain(arguments).collect() }
    }

    /// A key that is in the same slot as all others; `None` if there is none at all.
    pub(super) fn key(&self) -> Option<&str> {
        self.keys.first().map(String::as_str)
    }

    /// Runs the script that the server knows by its digest.
    pub(super) fn by_digest(&self, digest: &str) -> Cmd {
        self.command("EVALSHA", digest)
    }

    /// Runs the script, and has the server know it from now on.
    pub(super) fn in_full(&self) -> Cmd {
        self.command("EVAL", SOURCE)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}

/// What the script has answered.
///
/// # Errors
/// It is no reply to that many charges.
pub(super) fn answer(reply: &Value, charges: usize) -> Result<StoreAnswer, NotAnAnswer> {
    let Value::Array(values) = reply else { return Err(NotAnAnswer) };
    let numbers = values.iter().map(|value| match value {
        Value::Int(number) => Some(*number),
        _ => None,
    });
    let numbers: Vec<i64> = numbers.collect::<Option<_>>().ok_or(NotAnAnswer)?;
    let [admitted, now, ref cells @ ..] = numbers[..] else { return Err(NotAnAnswer) };
    let cells = cells.chunks(3).map(cells_of).collect::<Option<smallvec::SmallVec<_>>>().ok_or(NotAnAnswer)?;
    let at = Timestamp::from_millisecond(now).map_err(|_| NotAnAnswer)?;
    if cells.len() != charges {
        return Err(NotAnAnswer);
    }
    Ok(StoreAnswer { admitted: admitted == 1, at, cells })
}

fn cells_of(numbers: &[i64]) -> Option<Cells> {
    let &[number, current, previous] = numbers else { return None };
    Some(Cells::new(number.try_into().ok()?, current.try_into().ok()?, previous.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smallvec::smallvec;

    use super::*;
    use crate::core::ratelimit::Rule;
    use crate::verify::store::StoreCharge;

    fn integers(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect())
    }

    #[test]
    fn what_the_script_never_answers_is_no_answer() {
        for reply in [
            Value::Okay,
            integers(&[]),
            integers(&[1]),
            integers(&[1, 1_000]),
            integers(&[1, 1_000, 7, 1]),
            integers(&[1, 1_000, 7, 1, -1]),
            integers(&[1, 1_000, 7, 1 << 32, 0]),
            integers(&[1, 1_000, 7, 1, 0, 7, 1, 0]),
            integers(&[1, i64::MAX, 7, 1, 0]),
            Value::Array(vec![Value::Int(1), Value::Int(1_000), Value::Nil, Value::Int(1), Value::Int(0)]),
        ] {
            assert!(answer(&reply, 1).is_err(), "{reply:?}");
        }
    }

    #[test]
    fn an_answer_tells_time_and_cells() {
        let cells = smallvec![Cells::new(7, 1, 0), Cells::new(1_700_000_000_000, u32::MAX, 2)];
        let expected =
            StoreAnswer { admitted: false, at: Timestamp::from_millisecond(1_700_000_000_001).unwrap(), cells };
        let reply = integers(&[0, 1_700_000_000_001, 7, 1, 0, 1_700_000_000_000, u32::MAX.into(), 2]);
        assert_eq!(answer(&reply, 2).unwrap(), expected);
    }

    #[test]
    fn keys_share_a_hash_tag_and_differ_by_window() {
        let charge = |key: &str, seconds, cost| StoreCharge {
            key: key.into(),
            rule: Rule::new(10, Duration::from_secs(seconds)),
            cost,
        };
        let charges = smallvec![charge("k:requests", 60, 1), charge("t:burst", 1, 5)];
        let call = Call::new(&StoreRequest { tag: "uid-1".into(), charges, commit: false });
        assert_eq!(call.key(), Some("keyturn:{uid-1}:k:requests:60000"));
        assert_eq!(call.keys[1], "keyturn:{uid-1}:t:burst:1000");
        let command = String::from_utf8(call.by_digest("d1").get_packed_command()).unwrap();
        let words: Vec<_> = command.split("\r\n").skip(2).step_by(2).collect();
        let keys = ["keyturn:{uid-1}:k:requests:60000", "keyturn:{uid-1}:t:burst:1000"];
        let expected = [&["EVALSHA", "d1", "2"], &keys[..], &["0", "10", "60000", "1", "10", "1000", "5"]].concat();
        assert_eq!(words, expected);
    }
}
