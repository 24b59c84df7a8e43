//! A server that is away, slow or full: requests fail at once or after a short time, no more of them wait than may,
//! and all is well again by itself.

use futures::future::join_all;
use keyturn::store::Settings;
use keyturn::verify::store::{LimitStore, StoreError};

use super::{admits, answers, connected, connected_to, is_connected, is_in_trouble, request, settings, start};
use crate::support::process::Signal;
use crate::support::redis::Redis;

#[tokio::test]
async fn a_server_that_is_killed_fails_requests_at_once_and_is_found_again() {
    let mut server = Redis::start().await;
    let store = connected_to(&server).await;
    assert!(admits(&store, "owner-1", 1).await.unwrap());
    assert!(!admits(&store, "owner-1", 1).await.unwrap());
    server.kill().await;
    is_in_trouble(&store, "is not connected").await;
    for _ in 0..100 {
        assert!(matches!(admits(&store, "owner-1", 1).await, Err(StoreError::Disconnected)));
    }
    server.restart().await;
    is_connected(&store).await;
    assert!(admits(&store, "owner-1", 1).await.unwrap(), "what a server forgets is not counted any more");
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut server = Redis::start().await;
    server.kill().await;
    let store = start(settings(&[server.url()]));
    is_in_trouble(&store, "Connection refused").await;
    assert!(matches!(admits(&store, "owner-1", 1).await, Err(StoreError::Disconnected)));
    server.restart().await;
    is_connected(&store).await;
    assert!(admits(&store, "owner-1", 1).await.unwrap());
}

#[tokio::test]
async fn while_a_server_stalls_no_more_requests_wait_than_may() {
    const MOST: usize = 8;
    let server = Redis::start().await;
    let store = connected(Settings { max_waiting: MOST, ..settings(&[server.url()]) }).await;
    server.signal(Signal::STOP);
    let mut most_waiting = 0;
    let asked = join_all((0..500).map(|_| async {
        let result = store.charge(request("owner-1", 1_000)).await;
        (result, store.waiting())
    }));
    let watched = async {
        loop {
            most_waiting = most_waiting.max(store.waiting());
            tokio::task::yield_now().await;
        }
    };
    let results = tokio::select! {
        biased;
        results = asked => results,
        () = watched => unreachable!("it goes on for ever"),
    };
    let mut timed_out = 0;
    for (result, waiting) in results {
        assert!(waiting <= MOST, "{waiting} wait");
        match result {
            Err(StoreError::TimedOut) => timed_out += 1,
            Err(StoreError::Busy | StoreError::Disconnected) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(most_waiting <= MOST, "{most_waiting} waited");
    assert!(timed_out <= MOST, "{timed_out} timed out");
    is_in_trouble(&store, "").await;
    // By now everybody knows, and nobody waits.
    assert!(matches!(admits(&store, "owner-1", 1_000).await, Err(StoreError::Disconnected)));
    assert_eq!(store.waiting(), 0);
    server.signal(Signal::CONT);
    is_connected(&store).await;
    assert!(admits(&store, "owner-2", 1).await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_full_charges_nothing_and_works_again_when_it_has_room() {
    let server = Redis::start().await;
    let store = connected_to(&server).await;
    server.tell("CONFIG SET maxmemory-policy noeviction").await;
    server.tell("CONFIG SET maxmemory 1").await;
    let Err(StoreError::Failed(cause)) = admits(&store, "owner-1", 1).await else { panic!("it is full") };
    assert!(cause.to_string().contains("OOM"), "{cause}");
    assert_eq!(server.ask::<u32>("DBSIZE").await.unwrap(), 0);
    assert_eq!(store.trouble(), None, "it is connected");
    server.tell("CONFIG SET maxmemory 0").await;
    assert!(admits(&store, "owner-1", 1).await.unwrap());
}

#[tokio::test]
async fn a_script_that_is_forgotten_is_brought_again() {
    let server = Redis::start().await;
    let store = connected_to(&server).await;
    for _ in 0..3 {
        server.tell("SCRIPT FLUSH").await;
        assert!(admits(&store, "owner-1", 6).await.unwrap());
        assert!(admits(&store, "owner-1", 6).await.unwrap());
    }
    assert!(!admits(&store, "owner-1", 6).await.unwrap(), "nothing was charged twice, and nothing lost");
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_left_and_found_again() {
    let server = Redis::start().await;
    let store = connected_to(&server).await;
    server.tell("REPLICAOF 127.0.0.1 1").await;
    let Err(StoreError::Failed(cause)) = admits(&store, "owner-1", 1).await else { panic!("a replica takes nothing") };
    assert!(cause.to_string().contains("read only replica"), "{cause}");
    server.tell("REPLICAOF NO ONE").await;
    assert!(answers(&store, &request("owner-1", 1)).await.admitted);
}
