//! What the documents and the help say to type runs: every command of README, models, docs and of every
//! help text, on small files of the names that they use.

mod commands;
mod sandbox;

use crate::common::repository;
use clap::CommandFactory;
use commands::{Command, flows_of, of_help, of_markdown};
use sandbox::Sandbox;
use std::fs;
use std::path::PathBuf;

/// The documents that users read.
fn documents() -> Vec<PathBuf> {
    let mut files = vec![repository("README.md"), repository("BENCH.md")];
    for folder in ["docs", "benches/peers", "models"] {
        let mut folders = vec![repository(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "md") {
                    files.push(path);
                }
            }
        }
    }
    files.sort();
    files
}

/// Runs groups of commands, each group in a sandbox of its own, and collects what fails.
fn run_all(groups: Vec<Vec<Command>>) -> usize {
    let mut failures = Vec::new();
    let mut count = 0;
    for group in groups {
        let sandbox = Sandbox::for_commands(&group);
        for command in &group {
            count += 1;
            if let Err(why) = sandbox.run(command) {
                failures.push(format!("{}: {}\n{why}", command.place, command.text));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    count
}

#[test]
fn every_command_of_the_documents_runs() {
    let mut groups = Vec::new();
    for file in documents() {
        // Of the benches' own page only the blocks are to be typed.
        let typed = |g: &Vec<Command>| g.len() > 1 || !file.starts_with(repository("benches"));
        groups.extend(of_markdown(&file).into_iter().filter(typed));
    }
    let count = run_all(groups);
    assert!(count >= 30, "only {count} commands found");
}

#[test]
fn every_flow_of_the_documents_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    for flow in documents().iter().flat_map(|file| flows_of(file)) {
        let path = crate::common::write(folder.path(), "flow.toml", &flow.text);
        if let Err(why) = dsd::flow::Flow::read(&path) {
            panic!("{}: {why:#}", flow.place);
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} flows found");
}

#[test]
fn every_example_of_the_help_runs() {
    let program = dsd::cli::Cli::command();
    let mut groups = vec![of_help("dsd", &program)];
    for command in program.get_subcommands() {
        groups.push(of_help(command.get_name(), command));
    }
    let count = run_all(groups);
    assert!(count >= 30, "only {count} commands found");
}

#[test]
fn no_command_has_a_star_that_a_shell_would_expand() {
    for file in documents() {
        for command in of_markdown(&file).into_iter().flatten() {
            let mut quoted = false;
            for c in command.text.chars() {
                quoted ^= c == '\'' || c == '"';
                assert!(
                    quoted || c != '*',
                    "{}: a * without quotes: {}",
                    command.place,
                    command.text
                );
            }
        }
    }
}
