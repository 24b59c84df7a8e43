//! Who may import whom, and that no file is forgotten. One table; every breach is one line with its place.

mod copies;
pub(crate) mod imports;
mod modules;

use std::fs;
use std::path::{Path, PathBuf};

use imports::{Import, imports};

/// What a folder of `src/` (or the file of that name) may import.
struct Rule {
    folder: &'static str,
    /// Folders of ours besides itself.
    ours: &'static [&'static [&'static str]],
    /// Paths of other crates that it must not name.
    never: &'static [&'static str],
}

const KUBERNETES: &[&str] = &["kube", "k8s_openapi"];
const BOTH: &[&str] = &["axum", "hyper", "hyper_util", "k8s_openapi", "kube", "tonic"];
const SERVERS: &[&str] = &["axum", "hyper", "hyper_util", "tonic"];
/// Everything through which the world gets in, time and entropy included.
const WORLD: &[&str] = &[
    "axum",
    "clap",
    "getrandom",
    "http",
    "hyper",
    "hyper_util",
    "k8s_openapi",
    "kube",
    "prometheus_client",
    "prost",
    "rand",
    "rustix",
    "schemars",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "tokio_util",
    "tonic",
    "tower",
    "tracing",
    "tracing_subscriber",
];

/// Clock, entropy, counters and logs: for those who act, not for those who decide.
const LEAVES: &[&str] = &["clock", "entropy", "metrics", "secret_file", "telemetry"];

const RULES: &[Rule] = &[
    rule("core", &[], WORLD),
    rule("resources", &[&["core"]], SERVERS),
    rule("verify", &[&["core"]], BOTH),
    rule("feed", &[LEAVES, &["core", "resources", "verify"]], SERVERS),
    rule("transport", &[LEAVES, &["core", "spans", "tls", "verify"]], KUBERNETES),
    rule("controller", &[LEAVES, &["core", "resources", "seal"]], SERVERS),
    rule("store", &[LEAVES, &["core", "verify"]], BOTH),
    rule("shipper", &[LEAVES, &["call", "core", "tls"]], KUBERNETES),
    rule("spans", &[LEAVES, &["call", "tls"]], KUBERNETES),
    rule("call", &[&["tls"]], KUBERNETES),
    rule("clock", &[], BOTH),
    rule("entropy", &[], BOTH),
    rule("metrics", &[], BOTH),
    rule("secret_file", &[], BOTH),
    rule("seal", &[&["core"]], BOTH),
    rule("telemetry", &[], BOTH),
    rule("tls", &[], BOTH),
    rule(
        "cli",
        &[
            LEAVES,
            &[
                "call",
                "controller",
                "core",
                "feed",
                "resources",
                "seal",
                "shipper",
                "spans",
                "store",
                "tls",
                "transport",
            ],
            &["verify"],
        ],
        &[],
    ),
    // The entrances hold no logic: a library of modules, a program that calls the command line.
    rule("lib", &[], WORLD),
    rule("main", &[&["cli", "telemetry"]], BOTH),
];

const fn rule(folder: &'static str, ours: &'static [&'static [&'static str]], never: &'static [&'static str]) -> Rule {
    Rule { folder, ours, never }
}

/// The breaches of [`RULES`] in one file, each as `src/core/key.rs:12 uses kube; core must not`.
fn breaches(path: &str, text: &str) -> Vec<String> {
    let modules: Vec<&str> = path.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
    let folder = modules[0];
    let Some(rule) = RULES.iter().find(|rule| rule.folder == folder) else {
        return vec![format!("{path} belongs to no folder that the table in tests/it/architecture.rs knows")];
    };
    // The tests in a file may draw random numbers and the like, but lean on no other folder either.
    let forbidden = |import: &Import| -> bool {
        match import.ours() {
            Some(other) => {
                let known = RULES.iter().any(|rule| rule.folder == other);
                known && other != folder && !rule.ours.iter().any(|ours| ours.contains(&other))
            }
            None => !import.in_tests && rule.never.iter().any(|never| import.starts_with(never)),
        }
    };
    let mut found: Vec<String> = imports(&modules, text)
        .iter()
        .filter(|import| forbidden(import))
        .map(|import| format!("{path}:{} uses {}; {folder} must not", import.line, import.path))
        .collect();
    found.dedup();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below `folder`, relative to the repository.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_folder_imports_what_it_must_not() {
    let files = sources("src");
    assert!(files.iter().any(|file| file == "src/core.rs"), "the sources are not where they are looked for");
    let found: Vec<String> =
        files.iter().flat_map(|file| breaches(file, &fs::read_to_string(root().join(file)).unwrap())).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_file_is_reached_from_a_mod_line() {
    for (folder, entrances) in [("src", &["src/lib.rs", "src/main.rs"][..]), ("tests/it", &["tests/it/main.rs"])] {
        let orphans =
            modules::orphans(&sources(folder), entrances, |file| fs::read_to_string(root().join(file)).unwrap());
        assert!(orphans.is_empty(), "no `mod` line leads to {}", orphans.join(", "));
    }
}

#[test]
fn a_breach_is_noticed_however_it_is_written() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "src/core/key.rs",
            "use std::fmt;\nuse kube::Client;",
            &["src/core/key.rs:2 uses kube::Client; core must not"],
        ),
        (
            "src/core/key.rs",
            "fn f() { let x = tokio::spawn(async {}); }",
            &["src/core/key.rs:1 uses tokio::spawn; core must not"],
        ),
        (
            "src/core/key.rs",
            "use {\n std::fmt,\n std::{fs, fmt},\n};",
            &["src/core/key.rs:3 uses std::fs; core must not"],
        ),
        ("src/core/key.rs", "use kube as k;", &["src/core/key.rs:1 uses kube; core must not"]),
        ("src/core/key.rs", "use ::kube::Api;", &["src/core/key.rs:1 uses kube::Api; core must not"]),
        ("src/core.rs", "use crate::verify::Engine;", &["src/core.rs:1 uses crate::verify::Engine; core must not"]),
        ("src/core/key.rs", "use super::super::feed::x;", &["src/core/key.rs:1 uses crate::feed::x; core must not"]),
        (
            "src/core/key.rs",
            "mod tests { use super::super::super::feed; }",
            &["src/core/key.rs:1 uses crate::feed; core must not"],
        ),
        (
            "src/verify/a.rs",
            "use crate::{core::key, feed::{a, b}};",
            &[
                "src/verify/a.rs:1 uses crate::feed::a; verify must not",
                "src/verify/a.rs:1 uses crate::feed::b; verify must not",
            ],
        ),
        (
            "src/controller/a.rs",
            "crate::verify::x!(1);",
            &["src/controller/a.rs:1 uses crate::verify::x; controller must not"],
        ),
        (
            "src/attic/a.rs",
            "",
            &["src/attic/a.rs belongs to no folder that the table in tests/it/architecture.rs knows"],
        ),
    ];
    for (path, text, expected) in cases {
        assert_eq!(breaches(path, text), *expected, "{text}");
    }
}

#[test]
fn what_is_allowed_or_only_mentioned_is_no_breach() {
    let cases = [
        ("src/core/key.rs", "// use kube::Client;\n/* tokio::spawn /* nested */ */\nconst A: &str = \"kube::Api\";"),
        ("src/core/key.rs", "const A: &str = r#\"a \" kube::Api\"#; fn f<'a>(x: &'a str) -> char { '\"' }"),
        ("src/core/key.rs", "use super::digest::Digest;\nmod tests { use super::super::feed; }"),
        ("src/core/key.rs", "use std::net::IpAddr; let x = a.kube; thing::kube::x();"),
        ("src/feed/watch.rs", "use crate::core::key; use kube::Api; use super::lease;"),
        ("src/core/key.rs", "mod tests { fn f() { getrandom::fill(b); } }"),
        ("src/cli.rs", "use crate::{controller, feed, transport};"),
        ("src/main.rs", "use keyturn::cli;"),
    ];
    for (path, text) in cases {
        assert_eq!(breaches(path, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_file_without_a_mod_line_is_noticed() {
    let files = ["src/lib.rs", "src/a.rs", "src/a/b.rs", "src/a/lost.rs"].map(str::to_owned);
    let text = |file: &str| match file {
        "src/lib.rs" => "pub mod a;".to_owned(),
        "src/a.rs" => "// mod lost;\npub(crate) mod b;\nmod tests { }".to_owned(),
        _ => String::new(),
    };
    assert_eq!(modules::orphans(&files, &["src/lib.rs"], text), ["src/a/lost.rs"]);
}
