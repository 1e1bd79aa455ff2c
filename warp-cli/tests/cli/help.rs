//! The examples that `--help` shows, each run as it stands there.

use std::path::Path;
use std::process::Command;

use crate::shell;

/// The commands that show examples, in an order in which each finds what it needs.
const COMMANDS: [&str; 10] =
    ["put", "get", "list", "entangle", "quantum", "export", "import", "backup", "verify", "repair"];

fn help(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_warp")).args([command, "--help"]).output().unwrap();
    assert!(output.status.success(), "{command}");
    String::from_utf8(output.stdout).unwrap()
}

fn run(example: &str, at: &Path) {
    let output = shell(example, at);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{example}: {:?}: {errors}", output.status);
}

#[test]
fn the_examples_of_the_help_work_one_after_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        let help = help(command);
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("none: {command}"));
        let examples: Vec<&str> = examples.lines().collect();
        assert!((1..=3).contains(&examples.len()), "{command}: {examples:?}");
        assert!(examples[0].starts_with(&format!("  warp {command}")), "{command}: {}", examples[0]);
        for example in examples {
            run(example.trim_start(), scratch.path());
        }
    }
}
