//! A cluster of three: slots that move while they are charged, and a server that is replaced by its replica.

use keyturn::core::ratelimit::Rule;
use keyturn::verify::store::{LimitStore, StoreCharge, StoreError};

use super::{LONG, admits, answers, connected, request, settings};
use crate::support::redis::{Cluster, Options, Redis, SLOTS};

/// A tag whose limits are kept by the server of that number.
async fn tag_kept_by(cluster: &Cluster, number: u32) -> (String, u32) {
    for attempt in 0.. {
        let tag = format!("owner-{attempt}");
        let slot: u32 = cluster.servers[0].ask(&format!("CLUSTER KEYSLOT {{{tag}}}")).await.unwrap();
        if slot / SLOTS.div_ceil(3) == number {
            return (tag, slot);
        }
    }
    unreachable!("every server has a third of the slots")
}

async fn id(server: &Redis) -> String {
    server.ask("CLUSTER MYID").await.unwrap()
}

/// Begins to move a slot.
async fn open(slot: u32, from: &Redis, to: &Redis) {
    to.tell(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from).await)).await;
    from.tell(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to).await)).await;
}

/// Moves one limit of the tag's.
async fn migrate(tag: &str, limit: &str, from: &Redis, to: &Redis) {
    let key = format!("keyturn:{{{tag}}}:{limit}:{}", LONG.as_millis());
    from.tell(&format!("MIGRATE {} {} {key} 0 5000", to.address().ip(), to.address().port())).await;
}

#[tokio::test]
async fn limits_are_counted_wherever_they_are_kept() {
    let cluster = Cluster::start(Options::default()).await;
    // Any one of the servers leads to the others.
    let store = connected(settings(&cluster.urls()[..1])).await;
    for owner in 0..100 {
        let tag = format!("owner-{owner}");
        assert!(admits(&store, &tag, 2).await.unwrap());
        assert!(admits(&store, &tag, 2).await.unwrap());
        assert!(!admits(&store, &tag, 2).await.unwrap());
    }
    for server in &cluster.servers {
        assert!(server.ask::<u32>("DBSIZE").await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_slot_is_followed_while_it_moves_and_after_it_has() {
    let cluster = Cluster::start(Options::default()).await;
    let [from, to, _] = &cluster.servers[..] else { panic!("there are three") };
    let (tag, slot) = tag_kept_by(&cluster, 0).await;
    let store = connected(settings(&cluster.urls())).await;
    assert!(admits(&store, &tag, 4).await.unwrap());

    open(slot, from, to).await;
    assert!(admits(&store, &tag, 4).await.unwrap(), "what has not moved yet is where it was");
    migrate(&tag, "k:requests", from, to).await;
    assert!(admits(&store, &tag, 4).await.unwrap(), "ASK is followed");
    // A server that asks is not asked again without that, and the script may be unknown where it leads.
    to.tell("SCRIPT FLUSH").await;
    let mut look = request(&tag, 4);
    look.commit = false;
    assert!(store.charge(look).await.unwrap().admitted);

    for server in &cluster.servers {
        server.tell(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to).await)).await;
    }
    assert!(admits(&store, &tag, 4).await.unwrap(), "MOVED is followed");
    assert!(!admits(&store, &tag, 4).await.unwrap(), "no charge was lost or made twice");
}

#[tokio::test]
async fn limits_of_which_some_have_moved_are_charged_when_all_have() {
    let cluster = Cluster::start(Options::default()).await;
    let [from, to, _] = &cluster.servers[..] else { panic!("there are three") };
    let (tag, slot) = tag_kept_by(&cluster, 0).await;
    let store = connected(settings(&cluster.urls())).await;
    let mut both = request(&tag, 2);
    both.charges.push(StoreCharge { key: "k:other".into(), rule: Rule::new(2, LONG), cost: 1 });
    assert!(store.charge(both.clone()).await.unwrap().admitted);

    open(slot, from, to).await;
    migrate(&tag, "k:other", from, to).await;
    let Err(StoreError::Failed(cause)) = store.charge(both.clone()).await else { panic!("they are apart") };
    assert!(cause.to_string().to_lowercase().contains("tryagain"), "{cause}");
    migrate(&tag, "k:requests", from, to).await;
    assert!(store.charge(both.clone()).await.unwrap().admitted, "nothing was charged while they were apart");
    assert!(!store.charge(both).await.unwrap().admitted);
}

#[tokio::test]
async fn a_replica_takes_over_from_a_server_that_is_killed() {
    let mut cluster = Cluster::start(Options::default()).await.with_replica(Options::default()).await;
    let (tag, _) = tag_kept_by(&cluster, 0).await;
    let (other, _) = tag_kept_by(&cluster, 1).await;
    let store = connected(settings(&cluster.urls()[..3])).await;
    assert!(admits(&store, &tag, 2).await.unwrap());
    // Until the replica has what is to be continued.
    let replica = &cluster.servers[3];
    crate::support::wait::eventually("the charge is replicated", async || {
        let size: u32 = replica.ask("DBSIZE").await.map_err(|error| error.to_string())?;
        if size == 1 { Ok(()) } else { Err(format!("{size} keys")) }
    })
    .await;
    cluster.servers[0].kill().await;
    assert!(admits(&store, &other, 2).await.unwrap(), "who has to do with others only does not notice");
    assert!(answers(&store, &request(&tag, 2)).await.admitted, "what was charged goes on to count");
    assert!(!admits(&store, &tag, 2).await.unwrap());
}

#[tokio::test]
async fn several_servers_that_are_no_cluster_are_not_used() {
    let servers = [Redis::start().await, Redis::start().await];
    let store = super::start(settings(&servers.each_ref().map(Redis::url)));
    super::is_in_trouble(&store, "does not say that it is part of a cluster").await;
    assert!(admits(&store, "owner-1", 1).await.is_err());
}
