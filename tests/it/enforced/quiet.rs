//! A cluster in which nothing happens, and whose etcd says so every ten minutes only.

use super::world::MAX_STALENESS;
use crate::support::keyturn::Keyturn;
use crate::support::own_cluster::OwnCluster;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// The kinds that no permit asks about.
const QUIET: [&str; 5] = ["protectedapis", "apikeytiers", "apikeyroles", "apikeyowners", "namespaces"];

/// A kind that is heard of, again and again, is younger than it was a moment ago, again and again.
#[tokio::test]
async fn a_kind_that_never_changes_is_heard_of_all_the_same() {
    let cluster = OwnCluster::start().await;
    cluster.kubectl(&["apply", "--server-side", "-k", "config/rbac"]);
    let account = |name: &str| cluster.account("keyturn-system", name);
    let mut controller = Keyturn::start_as("controller", &account("keyturn-controller"), &[]);
    controller.ready().await;
    let mut verifier = Keyturn::start_as("verifier", &account("keyturn-verifier"), &[MAX_STALENESS]);
    verifier.ready().await;
    // It has made the pepper. Whatever else it reads would be a help.
    controller.signal(Signal::TERM);
    controller.process().ended().await;

    for kind in QUIET {
        let metric = format!("keyturn_watch_age_seconds{{kind=\"{kind}\"}}");
        let mut ages = vec![verifier.metric(&metric).await.expect("the kind is listed")];
        let mut rejuvenations = 0;
        eventually(&format!("{kind} are heard of three times more"), async || {
            let age = verifier.metric(&metric).await?;
            rejuvenations += usize::from(ages.last() > Some(&age));
            ages.push(age);
            if rejuvenations >= 3 { Ok(()) } else { Err(format!("{rejuvenations} times; it is {age} s old")) }
        })
        .await;
    }
    verifier.ready().await;
}
