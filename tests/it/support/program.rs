//! Programs that are run to their end, from the repository's root.

use std::process::Command;

/// What it prints; otherwise what it complained about.
pub(crate) fn printed(command: &mut Command) -> Result<String, String> {
    let output = command.current_dir(super::root()).output();
    let output = output.unwrap_or_else(|error| panic!("running {}: {error}", command.get_program().display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
