//! One limit that several stores hammer at, each with connections and threads of its own, as processes do.

use std::sync::Arc;

use futures::future::join_all;
use keyturn::store::Settings;
use keyturn::verify::store::StoreError;

use super::{admits, connected, settings};
use crate::support::redis::Redis;

#[test]
#[expect(clippy::print_stdout, reason = "the figure is what the test is run for")]
fn together_they_admit_exactly_the_limit() {
    const LIMIT: u32 = 2_000;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Redis::start());
    let url = Arc::new(server.url());
    let stores: Vec<_> = (0..4)
        .map(|_| {
            let url = Arc::clone(&url);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(hammer(&url, LIMIT))
            })
        })
        .collect();
    let admitted: Vec<_> = stores.into_iter().map(|store| store.join().unwrap()).collect();
    let sum: u32 = admitted.iter().sum();
    println!("of a limit of {LIMIT}, 4 stores admitted {sum}: {admitted:?}");
    assert_eq!(sum, LIMIT);
}

/// Asks for more than there is from 16 tasks at once, and counts what is admitted.
async fn hammer(url: &str, limit: u32) -> u32 {
    let patient = std::time::Duration::from_secs(30);
    let store = connected(Settings { timeout: patient, ..settings(&[url.to_owned()]) }).await;
    let tasks = (0..16).map(|_| async {
        let mut admitted = 0;
        for _ in 0..100 {
            admitted += u32::from(admits(&store, "owner-1", limit).await?);
        }
        Ok::<_, StoreError>(admitted)
    });
    let counts: Result<Vec<u32>, _> = join_all(tasks).await.into_iter().collect();
    counts.expect("the server answers").iter().sum()
}
