use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::feed::fixtures::Verifier;
use crate::feed::fixtures::usages::{Fault, Shared};

impl Verifier {
    fn judge(&self) {
        assert_eq!(self.verify(Timestamp::from_second(1_000).unwrap()).alone().denial, None);
    }

    /// The key, if this is the first use since it was written down.
    fn used(&self) -> Option<Pending> {
        let mut used = self.index.used().take();
        assert!(used.len() < 2, "one key waits twice");
        used.pop().map(|key| Pending::new(key, Duration::ZERO))
    }
}

/// An API server where other processes write one request of their own with every write.
fn start(faults: &[Fault]) -> (Shared, Client) {
    let server = Shared::start(faults, |status| {
        let total = status["usage"]["requests"]["total"].as_u64().unwrap_or(0) + 1;
        status["usage"]["requests"] = json!({"today": 0, "thisMonth": 0, "total": total});
    });
    let client = server.client();
    (server, client)
}

fn total(server: &Shared) -> u64 {
    server.lock().status["usage"]["requests"]["total"].as_u64().unwrap_or(0)
}

/// Uses the key so often, and writes until that is done; answers the outcomes, an `Err` of which is whether it is
/// about the object.
async fn write(verifier: &Verifier, client: &Client, uses: usize) -> Vec<Result<Outcome, bool>> {
    (0..uses).for_each(|_| verifier.judge());
    let mut pending = verifier.used().expect("the key was used");
    let mut outcomes = Vec::new();
    loop {
        let outcome = pending.write(client).await.map_err(|error| error.is_about_the_object());
        outcomes.push(outcome);
        let over = matches!(outcome, Ok(Outcome::Written | Outcome::GivenUp));
        if over && !pending.key.settle() {
            return outcomes;
        }
        assert!(outcomes.len() < 100, "{outcomes:?}");
    }
}

#[tokio::test]
async fn every_request_is_stored_once_whatever_goes_wrong() {
    use Outcome::{Conflict, GivenUp, Written};
    for (faults, expected, stored) in [
        (&[][..], vec![Ok(Written)], 5),
        (&[Fault::OtherFirst], vec![Ok(Conflict), Ok(Written)], 6),
        (&[Fault::LostBefore], vec![Err(false), Ok(Written)], 5),
        (&[Fault::LostAfter], vec![Err(false), Ok(Written)], 5),
        (&[Fault::Refuse], vec![Err(true), Ok(Written)], 5),
        (&[Fault::Recreate], vec![Ok(Conflict), Ok(Written)], 5),
        (&[Fault::LostBefore, Fault::LostAfter], vec![Err(false), Err(false), Ok(Written)], 5),
        // Whether the first or the other has taken place nobody can tell: never twice.
        (&[Fault::LostBefore, Fault::OtherFirst], vec![Err(false), Ok(Conflict), Ok(GivenUp)], 1),
        (&[Fault::LostAfterAndOther], vec![Err(false), Ok(GivenUp)], 6),
    ] {
        let (server, client) = start(faults);
        let verifier = Verifier::new(|_| ());
        assert_eq!(write(&verifier, &client, 5).await, expected, "{faults:?}");
        assert_eq!(total(&server), stored, "{faults:?}");
        assert!(verifier.used().is_none());
    }
}

/// What one use leaves in an empty object, whichever process writes it.
fn one_use() -> serde_json::Value {
    let (at, requests) = ("1970-01-01T00:16:40Z", json!({"today": 1, "thisMonth": 1, "total": 1}));
    json!({"usage": {"lastUsedAt": at, "requests": requests, "versions": [{"number": 1, "lastUsedAt": at}]}})
}

#[tokio::test]
async fn another_process_that_writes_the_very_same_first_is_not_taken_for_this_one() {
    use Outcome::{Conflict, Written};
    let verifier = Verifier::new(|_| ());
    for (faults, expected, stored) in
        [(&[][..], vec![Ok(Written)], 1), (&[Fault::OtherFirst], vec![Ok(Conflict), Ok(Written)], 2)]
    {
        let server = Shared::start(faults, |status| *status = one_use());
        assert_eq!(write(&verifier, &server.client(), 1).await, expected);
        assert_eq!(total(&server), stored);
        if faults.is_empty() {
            assert_eq!(server.lock().status, one_use());
        }
    }
}

#[tokio::test]
async fn a_key_without_an_object_waits_for_one() {
    let (server, client) = start(&[]);
    server.lock().exists = false;
    let verifier = Verifier::new(|_| ());
    verifier.judge();
    let mut pending = verifier.used().unwrap();
    assert_eq!(pending.write(&client).await.unwrap(), Outcome::Missing);
    verifier.judge();
    assert!(verifier.used().is_none(), "it waits already");
    server.lock().exists = true;
    assert_eq!(pending.write(&client).await.unwrap(), Outcome::Written);
    assert_eq!((total(&server), pending.key.settle()), (2, false));
}

#[tokio::test]
async fn a_write_that_is_dropped_on_its_way_is_not_repeated() {
    let (server, client) = start(&[Fault::Hang]);
    let verifier = Verifier::new(|_| ());
    verifier.judge();
    let mut pending = verifier.used().unwrap();
    let arrived = async {
        while total(&server) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = pending.write(&client) => panic!("{outcome:?}"),
        () = arrived => {}
    }
    verifier.judge();
    assert_eq!(pending.write(&client).await.unwrap(), Outcome::Written);
    assert_eq!(total(&server), 1, "what was used meanwhile waits");
    assert!(pending.key.settle());
    assert_eq!(pending.write(&client).await.unwrap(), Outcome::Written);
    assert_eq!((total(&server), pending.key.settle()), (2, false));
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        Just(Fault::Pass),
        Just(Fault::OtherFirst),
        Just(Fault::LostBefore),
        Just(Fault::LostAfter),
        Just(Fault::LostAfterAndOther),
        Just(Fault::Refuse),
    ];
    prop::collection::vec(fault, 0..12)
}

proptest! {
    #[test]
    fn nothing_is_counted_twice_and_nothing_lost_but_what_was_given_up(faults in faults(), uses in 1..4_u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (server, client) = start(&faults);
            let verifier = Verifier::new(|_| ());
            let (mut used, mut given_up) = (0, 0);
            for _ in 0..4 {
                let outcomes = write(&verifier, &client, usize::try_from(uses).unwrap()).await;
                used += uses;
                given_up += if outcomes.contains(&Ok(Outcome::GivenUp)) { uses } else { 0 };
            }
            let stored = total(&server) - server.lock().others;
            prop_assert!(stored <= used && stored + given_up >= used, "{stored} of {used}, {given_up} given up");
            Ok(())
        })?;
    }
}
