//! `keyturn seal-open`: the string that was sealed to somebody's public key.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::options::SealOpen;
use crate::core::key::PlainKey;
use crate::seal::{Label, OpenError, PemError, PrivateKey};

/// Longest input that is read, in bytes: more than the API server stores of one object.
const LONGEST_INPUT: u64 = 4 << 20;

/// Why nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("reading the private key in {}", .0.display())]
    Key(PathBuf, #[source] PemError),
    #[error("reading an ApiKey as JSON or YAML; pipe `kubectl get apikey NAME -o json` in")]
    Parse(#[source] serde_saphyr::Error),
    #[error("the ApiKey has no status.id; wait until its first version is minted")]
    NoId,
    #[error("the ApiKey has no sealed string; it was acknowledged, its onceTtl has passed, or delivery is not Sealed")]
    NothingSealed,
    #[error("the ApiKey has no sealed string of version {0}; leave --number out to open the newest one")]
    NotSealed(u32),
    #[error("version {number}")]
    Open { number: u32, source: OpenError },
    #[error("printing the string")]
    Print(#[source] io::Error),
}

/// As much of an ApiKey as is needed, so that one of any later version can be read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiKey {
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    id: Option<String>,
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    number: u32,
    sealed: Option<String>,
}

/// Prints the string, and a line feed after it.
pub(super) fn run(options: &SealOpen) -> Result<(), Error> {
    let pem = Zeroizing::new(read_file(&options.key_file)?);
    let private = PrivateKey::from_pem(pem.as_bytes()).map_err(|error| Error::Key(options.key_file.clone(), error))?;
    let string = if let (Some(sealed), Some(key_id), Some(number)) = (&options.sealed, &options.id, options.number) {
        open(&private, sealed, key_id, number)?
    } else {
        let text = options.apikey.as_deref().map_or_else(read_standard_input, read_file)?;
        from_api_key(&private, &text, options.number)?
    };
    writeln!(io::stdout().lock(), "{}", string.expose()).map_err(Error::Print)
}

fn read_file(path: &Path) -> Result<String, Error> {
    File::open(path).and_then(read).map_err(|error| Error::Read(path.to_owned(), error))
}

fn read_standard_input() -> Result<String, Error> {
    read(io::stdin().lock()).map_err(|error| Error::Read(PathBuf::from("standard input"), error))
}

fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST_INPUT).read_to_string(&mut text)?;
    Ok(text)
}

fn from_api_key(private: &PrivateKey, text: &str, number: Option<u32>) -> Result<PlainKey, Error> {
    let key: ApiKey = serde_saphyr::from_str(text).map_err(Error::Parse)?;
    let key_id = key.status.id.ok_or(Error::NoId)?;
    let wanted = key.status.versions.into_iter().filter(|version| number.is_none_or(|number| version.number == number));
    let newest = wanted.filter_map(|version| Some((version.number, version.sealed?))).max_by_key(|(number, _)| *number);
    let (number, sealed) = newest.ok_or_else(|| number.map_or(Error::NothingSealed, Error::NotSealed))?;
    open(private, &sealed, &key_id, number)
}

fn open(private: &PrivateKey, sealed: &str, key_id: &str, number: u32) -> Result<PlainKey, Error> {
    private.open(sealed, Label { key_id, version: number }).map_err(|source| Error::Open { number, source })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn private_key() -> PrivateKey {
        PrivateKey::from_pem(include_bytes!("../../tests/data/sealed/private-key.pem")).unwrap()
    }

    fn known(member: &str) -> Value {
        let answer = include_str!("../../tests/data/sealed/known-answer.json");
        serde_json::from_str::<Value>(answer).unwrap()[member].clone()
    }

    fn api_key(versions: Value) -> String {
        json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "ci"},
            "spec": {"later": [1]}, "status": {"id": known("keyId"), "versions": versions},
        })
        .to_string()
    }

    #[test]
    fn what_cannot_be_opened_is_said_with_a_remedy() {
        for (text, number, remedy) in [
            ("a: b: c".to_owned(), None, "pipe `kubectl get apikey NAME -o json` in"),
            (json!({"status": {}}).to_string(), None, "wait until its first version is minted"),
            ("{}".to_owned(), None, "wait until its first version is minted"),
            (api_key(json!([{"number": 1, "delivery": "Done"}])), None, "it was acknowledged"),
            (api_key(json!([{"number": 2, "sealed": known("sealed")}])), Some(1), "leave --number out"),
            (api_key(json!([{"number": 3, "sealed": known("sealed")}])), None, "version 3"),
        ] {
            let error = from_api_key(&private_key(), &text, number).unwrap_err().to_string();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }

    #[test]
    fn the_newest_sealed_version_is_opened_unless_one_is_named() {
        let older = json!({"number": 1, "sealed": "AQ=="});
        let text = api_key(json!([{"number": 3, "state": "Current"}, {"number": 2, "sealed": known("sealed")}, older]));
        for number in [None, Some(2)] {
            let string = from_api_key(&private_key(), &text, number).unwrap();
            assert_eq!(Some(string.expose()), known("string").as_str());
        }
    }

    #[test]
    fn an_api_key_may_be_yaml() {
        let (id, sealed) = (known("keyId"), known("sealed"));
        let text = format!("status:\n  id: {id}\n  versions:\n  - number: 2\n    sealed: {sealed}\n");
        let string = from_api_key(&private_key(), &text, None).unwrap();
        assert_eq!(Some(string.expose()), known("string").as_str());
    }
}
