//! `docs/cli.md`: its examples, run in the order in which they stand there.

use std::path::Path;

use crate::shell;

const DOCUMENT: &str = include_str!("../../../docs/cli.md");
/// What stands for any text on the same line.
const ANYTHING: &str = "[..]";
const COMMANDS: [&str; 22] = [
    "put",
    "get",
    "delete",
    "ttl",
    "expire",
    "persist",
    "list",
    "export",
    "import",
    "entangle",
    "disentangle",
    "rule",
    "quantum",
    "stats",
    "physics",
    "keyspaces",
    "drop",
    "checkpoint",
    "backup",
    "verify",
    "repair",
    "log",
];

/// A command of an example, with the output that is shown for it.
struct Step {
    command: &'static str,
    expected: Vec<&'static str>,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_example = false;
    for line in DOCUMENT.lines() {
        if line.starts_with("```") {
            is_example = line == "```console";
        } else if is_example {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command, expected: Vec::new() }),
                None => steps.last_mut().expect("an example begins with a command").expected.push(line),
            }
        }
    }
    steps
}

fn run(command: &str, at: &Path) -> String {
    let output = shell(&format!("exec 2>&1; {command}"), at);
    String::from_utf8(output.stdout).unwrap()
}

/// Whether `line` is `pattern`, with any text at each `[..]`.
fn matches(line: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once(ANYTHING) else { return line == pattern };
    let Some(line) = line.strip_prefix(start) else { return false };
    (0..=line.len()).filter(|at| line.is_char_boundary(*at)).any(|at| matches(&line[at..], rest))
}

#[test]
fn the_examples_do_what_the_document_says() {
    let scratch = tempfile::tempdir().unwrap();
    for Step { command, expected } in steps() {
        let output = run(command, scratch.path());
        let lines: Vec<&str> = output.lines().collect();
        // A line may stand for several of the same shape, as many as there happen to be.
        let is_list = expected.len() == 1 && expected[0].starts_with(ANYTHING);
        let pattern = |index: usize| expected.get(if is_list { 0 } else { index });
        let is_same =
            (0..lines.len()).all(|index| pattern(index).is_some_and(|line| matches(lines[index], line)));
        let is_all = lines.len() >= expected.len();
        assert!(is_same && is_all, "$ {command}\n{output}\ninstead of\n{}", expected.join("\n"));
    }
}

#[test]
fn every_command_has_an_example() {
    let steps = steps();
    for command in COMMANDS.map(|command| format!("warp {command}")).into_iter().chain([
        "warp log list".to_owned(),
        "warp log dump".to_owned(),
        "warp log verify".to_owned(),
        "warp log convert".to_owned(),
    ]) {
        assert!(DOCUMENT.contains(&command));
        // Its name as a word: options may stand before it, and an option may be called so.
        let name = format!("{} ", &command["warp".len()..]);
        let is_run = |step: &Step| format!("{} ", step.command).contains(&name);
        assert!(steps.iter().any(is_run), "{command}");
    }
}

#[test]
fn patterns_stand_for_text_on_one_line() {
    assert!(matches("a 1 b 2", "a [..] b [..]"));
    assert!(matches("", "[..]"));
    assert!(!matches("a 1 c", "a [..] b"));
    assert!(!matches("a", "a b"));
}
