//! Requests without a pause, to see whether any of them fails.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::READ;
use crate::support::http::HttpClient;
use crate::support::nginx::Nginx;

const CLIENTS: usize = 4;

pub(super) struct Load {
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Starts clients that use `key`, each over a connection of its own; returns when all have been let in.
    pub(super) async fn start(nginx: &Nginx, key: &str) -> Self {
        let stop = watch::Sender::new(false);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let client = HttpClient::new(nginx.address());
            let credential = format!("Bearer {key}");
            let first = client.get(READ, &[("Authorization", &credential)]).await.unwrap();
            assert_eq!(first.status, 200, "{first:?}");
            clients.push(tokio::spawn(call_until(stop.subscribe(), client, credential)));
        }
        Self { stop, clients }
    }

    /// Stops, and returns every answer that was not 200.
    pub(super) async fn stop(self) -> Vec<String> {
        self.stop.send_replace(true);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.unwrap());
        }
        failures
    }
}

async fn call_until(stop: watch::Receiver<bool>, client: HttpClient, credential: String) -> Vec<String> {
    let mut failures = Vec::new();
    while !*stop.borrow() {
        match client.get(READ, &[("Authorization", &credential)]).await {
            Ok(answer) if answer.status == 200 => {}
            failed => failures.push(format!("{failed:?}")),
        }
    }
    failures
}
