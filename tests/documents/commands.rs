//! The commands that a document or a help text holds.

use std::fs;
use std::path::Path;

/// A command as one would type it.
pub struct Command {
    /// Where it stands.
    pub place: String,
    /// The line; continuation lines are joined.
    pub text: String,
}

/// The commands of a Markdown file: a group for each block of shell, and one for each command in running
/// text.
pub fn of_markdown(file: &Path) -> Vec<Vec<Command>> {
    let text = fs::read_to_string(file).unwrap();
    let mut groups = Vec::new();
    let mut block: Option<(bool, Vec<Command>)> = None;
    let mut open = String::new();
    for (n, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.display(), n + 1);
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            block = match block.take() {
                Some((shell, commands)) => {
                    if shell {
                        groups.push(commands);
                    }
                    None
                }
                None => Some((kind.trim() == "sh", Vec::new())),
            };
            continue;
        }
        match &mut block {
            Some((true, commands)) => {
                open += line;
                if let Some(start) = open.strip_suffix('\\') {
                    open = start.to_string();
                    continue;
                }
                let text = std::mem::take(&mut open);
                let text = text.split("  #").next().unwrap_or_default().trim();
                if !text.is_empty() && !text.starts_with('#') {
                    commands.push(Command {
                        place,
                        text: text.to_string(),
                    });
                }
            }
            Some((false, _)) => {}
            None => groups.extend(inline(line, &place).into_iter().map(|c| vec![c])),
        }
    }
    groups
}

/// The flows of a Markdown file: its blocks of TOML with phases, and where they stand.
pub fn flows_of(file: &Path) -> Vec<Command> {
    let text = fs::read_to_string(file).unwrap();
    let mut flows = Vec::new();
    let mut open: Option<Command> = None;
    for (n, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some("toml") => {
                open = Some(Command {
                    place: format!("{}:{}", file.display(), n + 1),
                    text: String::new(),
                });
            }
            Some(_) => flows.extend(open.take().filter(|c| c.text.contains("[[phase]]"))),
            None => {
                if let Some(flow) = &mut open {
                    flow.text += &format!("{line}\n");
                }
            }
        }
    }
    flows
}

/// The commands between backticks: those with arguments.
fn inline(line: &str, place: &str) -> Vec<Command> {
    let spans = line.split('`').skip(1).step_by(2);
    let whole = |s: &&str| {
        let words = s.split_whitespace().count();
        let named = s.starts_with("dsd ") || s.starts_with("cargo bench ");
        // A form of words (`dsd COMMAND --help`), or only a flag to speak of.
        named && words > 2 && !s.contains("COMMAND") && !s.contains('…')
    };
    spans
        .filter(whole)
        .map(|s| Command {
            place: place.to_string(),
            text: s.to_string(),
        })
        .collect()
}

/// The examples under a help text, without the notes that stand to their right.
pub fn of_help(name: &str, command: &clap::Command) -> Vec<Command> {
    let Some(text) = command.get_after_help() else {
        return Vec::new();
    };
    let mut open = String::new();
    let mut commands = Vec::new();
    for line in text.to_string().lines() {
        let Some(line) = line.strip_prefix("  ") else {
            continue;
        };
        open += line.trim_start();
        if let Some(start) = open.strip_suffix('\\') {
            open = start.to_string();
            continue;
        }
        let text = std::mem::take(&mut open);
        if text.starts_with("dsd ") {
            let text = text.split("   ").next().unwrap_or_default();
            commands.push(Command {
                place: format!("dsd {name} --help"),
                text: text.trim_end().to_string(),
            });
        }
    }
    commands
}
