//! Which files the compiler never sees, since no `mod` line leads to them.

use std::collections::BTreeSet;

use super::imports::without_comments_and_literals;

/// The `files` that no chain of `mod name;` lines reaches from `entrances`.
pub(super) fn orphans(files: &[String], entrances: &[&str], read: impl Fn(&str) -> String) -> Vec<String> {
    let mut unreached: BTreeSet<&str> = files.iter().map(String::as_str).collect();
    let mut open: Vec<String> = entrances.iter().map(|&entrance| entrance.to_owned()).collect();
    while let Some(file) = open.pop() {
        if unreached.remove(file.as_str()) {
            open.extend(declared(&file, &read(&file)));
        }
    }
    unreached.into_iter().map(str::to_owned).collect()
}

/// The files of the modules that `file` declares with `mod name;`.
fn declared(file: &str, text: &str) -> Vec<String> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let folder = match name.trim_end_matches(".rs") {
        "lib" | "main" => folder.to_owned(),
        name => format!("{folder}/{name}"),
    };
    let code = without_comments_and_literals(text);
    code.split([';', '{', '}'])
        .filter_map(|statement| {
            let mut words = statement.split_whitespace().rev();
            let name = words.next()?;
            (words.next()? == "mod").then(|| format!("{folder}/{name}.rs"))
        })
        .collect()
}
