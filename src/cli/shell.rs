//! Arguments of `completions` and `man`, and what both are made from.

use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
pub use clap_complete::Shell;
use clap_mangen::roff::{Roff, roman};

use super::Cli;

/// Arguments of `completions`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum, ignore_case = true)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Man {
    /// Write a page a command into this folder (dsd.1, dsd-train.1 …) instead of dsd's own to stdout
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  dsd completions bash > dsd.bash             then: . dsd.bash, or into ~/.local/share/bash-completion/completions/dsd
  dsd completions zsh > _dsd                  into a folder of $fpath
  dsd completions fish > dsd.fish             into ~/.config/fish/completions";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  dsd man > dsd.1                             then: man ./dsd.1
  dsd man --out man1                          into a folder man1 of $MANPATH";

/// The script by which a shell completes the command line.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dsd", &mut script);
    script
}

/// The pages of the manual: the program's own first, then one a command; names and texts.
///
/// # Errors
/// A page cannot be rendered.
pub fn manual() -> io::Result<Vec<(String, Vec<u8>)>> {
    let program = Cli::command();
    let mut pages = Vec::new();
    // Subcommands as they are before clap hands them the general options: these are said once, in dsd(1).
    for command in program.get_subcommands() {
        let name = command.get_name().to_owned();
        let command = command
            .clone()
            .display_name(format!("dsd-{name}"))
            .bin_name(format!("dsd {name}"));
        pages.push(page(
            command,
            "The general options, such as --threads, are in dsd(1).",
        )?);
    }
    pages.insert(0, page(program, "")?);
    Ok(pages)
}

/// A page of the manual: its name and its text. What stands below the help, examples and tables, keeps its lines.
fn page(command: clap::Command, more: &str) -> io::Result<(String, Vec<u8>)> {
    let command = command
        .disable_help_subcommand(true)
        .disable_help_flag(true);
    let after = command.get_after_help().map(ToString::to_string);
    let takes = command.get_arguments().any(|a| !a.is_hide_set());
    let has_commands = command.has_subcommands();
    let page = clap_mangen::Man::new(command)
        .source(concat!("dsd ", env!("CARGO_PKG_VERSION")))
        .manual("dsd");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    if takes {
        page.render_options_section(&mut text)?;
    }
    if has_commands {
        page.render_subcommands_section(&mut text)?;
    }
    let mut last = Roff::new();
    if let Some(after) = after {
        last.control("SH", ["NOTES"]).control("nf", []);
        for line in after.lines() {
            last.text([roman(line)]);
        }
        last.control("fi", []);
    }
    if !more.is_empty() {
        last.control("SH", ["SEE ALSO"]).text([roman(more)]);
    }
    last.to_writer(&mut text)?;
    Ok((page.get_filename(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_general_options_are_said_once() {
        let pages = manual().unwrap();
        assert_eq!(pages[0].0, "dsd.1");
        let commands = Cli::command();
        assert_eq!(pages.len(), 1 + commands.get_subcommands().count());
        let general = |text: &[u8]| String::from_utf8_lossy(text).contains("\\-\\-log_dir");
        assert!(general(&pages[0].1));
        for (name, text) in &pages[1..] {
            assert!(!general(text), "{name}");
        }
        let train = pages.iter().find(|p| p.0 == "dsd-train.1").unwrap();
        let train = String::from_utf8_lossy(&train.1);
        assert!(
            train.contains("\\-\\-max_iter") && train.contains("dsd train"),
            "{train}"
        );
    }
}
