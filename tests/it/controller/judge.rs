//! A verifier process beside the controller, and what it says about strings.

use super::world::World;
use crate::support::http::{Answer, HttpClient};
use crate::support::keyturn::Keyturn;
use crate::support::wait::eventually;

pub(super) struct Judge {
    verifier: Keyturn,
    client: HttpClient,
    target: String,
}

impl Judge {
    pub(super) async fn start(world: &World) -> Self {
        let mut verifier = Keyturn::start("verifier", world.namespace(), &["--drain-delay=0s"]);
        verifier.ready().await;
        let client = HttpClient::new(verifier.auth());
        Self { verifier, client, target: format!("/auth/nginx/{}/transcripts", world.namespace().name()) }
    }

    /// Presents a string as clients of the API do.
    pub(super) async fn ask(&self, string: &str) -> Result<Answer, String> {
        let bearer = format!("Bearer {string}");
        let headers = [
            ("x-original-method", "GET"),
            ("x-original-uri", "/"),
            ("x-real-ip", "127.0.0.1"),
            ("authorization", &*bearer),
        ];
        self.client.get(&self.target, &headers).await
    }

    /// The name of the key that lets the string in, or the code of the denial.
    pub(super) async fn says(&self, string: &str) -> String {
        let answer = self.ask(string).await.unwrap_or_else(|error| panic!("asking the verifier: {error}"));
        let said = if answer.status.is_success() { "x-apikey-name" } else { "x-auth-code" };
        answer.header(said).unwrap_or_else(|| panic!("{said} is missing from {answer:?}")).to_owned()
    }

    /// Waits until that is said of the string.
    pub(super) async fn comes_to_say(&self, string: &str, expected: &str) {
        eventually(&format!("{expected} is said"), async || match self.says(string).await {
            said if said == expected => Ok(()),
            said => Err(said),
        })
        .await;
    }

    pub(super) fn client(&self) -> (HttpClient, String) {
        (self.client.clone(), self.target.clone())
    }

    pub(super) fn log(&mut self) -> String {
        self.verifier.process().log()
    }
}
