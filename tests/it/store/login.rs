//! Passwords and TLS: what is wrong keeps the store away, says so, and is right again once the files are.

use std::path::PathBuf;

use keyturn::store::{ConnectError, Settings};
use keyturn::verify::store::StoreError;

use super::{admits, connected, is_connected, is_in_trouble, settings, start};
use crate::support::process::scratch;
use crate::support::redis::{Certificates, Cluster, Options, Redis};

fn file(text: &str) -> PathBuf {
    let path = scratch("file");
    std::fs::write(&path, text).expect("the folder for tests can be written to");
    path
}

#[tokio::test]
async fn a_wrong_password_keeps_the_store_away_until_the_file_has_the_right_one() {
    let server = Redis::with(Options { password: Some("correct-horse"), ..Options::default() }).await;
    let password_file = file("battery-staple\n");
    let store = start(Settings { password_file: Some(password_file.clone()), ..settings(&[server.url()]) });
    is_in_trouble(&store, "authentication failed").await;
    let trouble = store.trouble().unwrap_or_default();
    assert!(!trouble.contains("battery-staple"), "{trouble}");
    assert!(matches!(admits(&store, "owner-1", 1).await, Err(StoreError::Disconnected)));
    std::fs::write(&password_file, "correct-horse\n").unwrap();
    is_connected(&store).await;
    assert!(admits(&store, "owner-1", 1).await.unwrap());
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_keeps_the_store_away_until_it_is_known() {
    let (certificates, others) = (Certificates::of("ours"), Certificates::of("theirs"));
    let server = Redis::with(Options { certificates: Some(&certificates), ..Options::default() }).await;
    let ca_file = file(&std::fs::read_to_string(others.ca()).unwrap());
    let store = start(Settings { ca_file: Some(ca_file.clone()), ..settings(&[server.url()]) });
    is_in_trouble(&store, "UnknownIssuer").await;
    assert!(matches!(admits(&store, "owner-1", 1).await, Err(StoreError::Disconnected)));
    std::fs::copy(certificates.ca(), &ca_file).unwrap();
    is_connected(&store).await;
    assert!(admits(&store, "owner-1", 1).await.unwrap());
}

#[tokio::test]
async fn a_user_of_an_access_list_needs_no_more_than_the_documentation_says() {
    let server = Redis::start().await;
    let rights = "+evalsha +eval +script|load +time +get +set +ping +cluster|slots +asking";
    server.tell(&format!("ACL SETUSER keyturn on >secret ~keyturn:* {rights}")).await;
    let (username, password_file) = (Some("keyturn".to_owned()), Some(file("secret")));
    let store = connected(Settings { username, password_file, ..settings(&[server.url()]) }).await;
    assert!(admits(&store, "owner-1", 1).await.unwrap());
    assert!(!admits(&store, "owner-1", 1).await.unwrap());
}

#[tokio::test]
async fn a_cluster_is_spoken_to_with_tls_and_a_password() {
    let certificates = Certificates::of("ours");
    let options = Options { password: Some("correct-horse"), certificates: Some(&certificates), ..Options::default() };
    let cluster = Cluster::start(options).await;
    let (password_file, ca_file) = (Some(file("correct-horse")), Some(certificates.ca()));
    let store = connected(Settings { password_file, ca_file, ..settings(&cluster.urls()) }).await;
    for owner in 0..30 {
        assert!(admits(&store, &format!("owner-{owner}"), 1).await.unwrap());
        assert!(!admits(&store, &format!("owner-{owner}"), 1).await.unwrap());
    }
}

#[tokio::test]
async fn files_that_are_missing_or_wrong_are_told_before_anything_starts() {
    let urls = ["valkeys://127.0.0.1:1".to_owned()];
    let missing = scratch("missing");
    let with_ca = |file: &PathBuf| Settings { ca_file: Some(file.clone()), ..settings(&urls) };
    let with_password = |file: &PathBuf| Settings { password_file: Some(file.clone()), ..settings(&urls) };
    assert!(matches!(with_ca(&missing).check().await, Err(ConnectError::File(file, _)) if file == missing));
    assert!(matches!(with_password(&missing).check().await, Err(ConnectError::File(file, _)) if file == missing));
    let bytes = scratch("bytes");
    std::fs::write(&bytes, [0xff]).unwrap();
    assert!(matches!(with_password(&bytes).check().await, Err(ConnectError::Text(file)) if file == bytes));
    let none = file("there is none");
    assert!(matches!(with_ca(&none).check().await, Err(ConnectError::NoCertificate(file)) if file == none));
    let broken = file("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n");
    assert!(matches!(with_ca(&broken).check().await, Err(ConnectError::Certificate(file, _)) if file == broken));
    assert!(settings(&urls).check().await.is_ok());
}
