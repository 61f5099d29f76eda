//! The gflags spelling of Caffe's tools, turned into the one that clap reads.
//!
//! Caffe's scripts write `-solver s.prototxt`, `--solver=s.prototxt`, `-max_iter=10` or `--nojson`, before or after
//! the subcommand. Everything that a flag takes is joined to it with `=`, so that a value may start with
//! a dash (a negative number, an odd file name); a flag is told from a value by the table of known flags.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

/// What is known of the flags and subcommands.
pub struct Spelling {
    /// By name with underscores: the name as clap knows it, and whether it takes a value.
    flags: HashMap<String, (String, bool)>,
    subcommands: Vec<String>,
}

/// What an argument is.
enum Token {
    /// A known flag: its name and what stands after `=`.
    Flag(String, Option<String>),
    /// A known switch: its name and whether it is on.
    Switch(String, bool),
    /// Looks like a flag, but is none that is known; as clap should see it.
    Unknown(String),
    /// Anything else: a value, a file, a subcommand, `-h`.
    Other,
}

impl Spelling {
    /// The spelling of a program's flags, those of all subcommands together.
    pub fn of(program: &clap::Command) -> Self {
        let mut flags = HashMap::new();
        for name in ["help", "version"] {
            flags.insert(name.to_owned(), (name.to_owned(), false));
        }
        let commands = std::iter::once(program).chain(program.get_subcommands());
        for arg in commands.flat_map(clap::Command::get_arguments) {
            let Some(long) = arg.get_long() else { continue };
            let takes_value = arg.get_action().takes_values();
            let others = arg.get_all_aliases().unwrap_or_default();
            for name in others.into_iter().chain([long]) {
                flags.insert(fold(name), (long.to_owned(), takes_value));
            }
        }
        let subcommands = program.get_subcommands();
        Self {
            flags,
            subcommands: subcommands.map(|c| c.get_name().to_owned()).collect(),
        }
    }

    /// The arguments, program name first, as clap reads them: `PROGRAM SUBCOMMAND --flag=value …`.
    pub fn normalise(&self, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        let mut args = args.into_iter().peekable();
        let mut front: Vec<OsString> = args.next().into_iter().collect();
        let mut subcommand = None;
        let mut rest: Vec<OsString> = Vec::new();
        while let Some(arg) = args.next() {
            if arg == "--" {
                rest.push(arg);
                rest.extend(args.by_ref());
                break;
            }
            match self.token(&arg) {
                Token::Flag(name, Some(value)) => rest.push(format!("--{name}={value}").into()),
                Token::Flag(name, None) => {
                    let mut flag = OsString::from(format!("--{name}"));
                    if let Some(value) = args.next_if(|next| self.is_value(next)) {
                        flag.push("=");
                        flag.push(value);
                    }
                    rest.push(flag);
                }
                Token::Switch(name, on) => {
                    // The last one holds, as in gflags.
                    let flag = OsString::from(format!("--{name}"));
                    rest.retain(|other| *other != flag);
                    // A switch that is on by default may have another that turns it off.
                    let off = format!("no{name}");
                    if on {
                        rest.push(flag);
                    } else if self.flags.contains_key(&off) {
                        rest.push(format!("--{off}").into());
                    }
                }
                // Left before the subcommand, so that clap complains of it and not of what follows.
                Token::Unknown(flag) if subcommand.is_none() => front.push(flag.into()),
                Token::Unknown(flag) => rest.push(flag.into()),
                Token::Other if subcommand.is_none() && !starts_with_dash(&arg) => {
                    subcommand = Some(self.subcommand(arg));
                }
                Token::Other => rest.push(arg),
            }
        }
        front.extend(subcommand);
        front.extend(rest);
        front
    }

    /// Whether an argument after a flag is its value: all but another flag.
    fn is_value(&self, arg: &OsString) -> bool {
        let short = arg == "-h" || arg == "-V" || arg == "--";
        !short && matches!(self.token(arg), Token::Other | Token::Unknown(_))
    }

    /// A subcommand's name with its own dashes and underscores.
    fn subcommand(&self, given: OsString) -> OsString {
        let folded = given.to_str().map(fold);
        let known = self.subcommands.iter().find(|c| Some(fold(c)) == folded);
        known.map_or(given, OsString::from)
    }

    fn token(&self, arg: &OsStr) -> Token {
        // A flag with a value that is not Unicode passes through in clap's own spelling.
        let Some((dashes, body)) = arg.to_str().and_then(split_dashes) else {
            return Token::Other;
        };
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let folded = fold(name);
        match (self.flags.get(&folded), value) {
            (Some((name, true)), value) => Token::Flag(name.clone(), value.map(str::to_owned)),
            (Some((name, false)), None) => Token::Switch(name.clone(), true),
            (Some((name, false)), Some(value)) => match truth(value) {
                Some(on) => Token::Switch(name.clone(), on),
                None => Token::Unknown(format!("--{name}={value}")),
            },
            (None, value) => {
                let negated = folded.strip_prefix("no").map(|n| n.trim_start_matches('_'));
                match negated.and_then(|n| self.flags.get(n)) {
                    Some((name, false)) if value.is_none() => Token::Switch(name.clone(), false),
                    _ if dashes == 1 && name.chars().count() == 1 => Token::Other,
                    _ => Token::Unknown(format!("--{body}")),
                }
            }
        }
    }
}

/// The number of dashes and what stands after them, if that can be a flag: not `-`, `-1`, `-.5`.
fn split_dashes(arg: &str) -> Option<(usize, &str)> {
    let body = arg.trim_start_matches('-');
    let dashes = arg.len() - body.len();
    let named = body.starts_with(|c: char| c.is_ascii_alphabetic());
    (named && (1..=2).contains(&dashes)).then_some((dashes, body))
}

fn starts_with_dash(arg: &OsStr) -> bool {
    arg.as_encoded_bytes().starts_with(b"-")
}

fn fold(name: &str) -> String {
    name.replace('-', "_")
}

/// gflags' words for true and false.
fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn normalised(line: &str) -> String {
        let spelling = Spelling::of(&crate::cli::Cli::command());
        let args = line.split_whitespace().map(OsString::from);
        let args = spelling.normalise(std::iter::once("dsd".into()).chain(args));
        let words: Vec<_> = args[1..].iter().map(|a| a.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn one_dash_and_two_and_both_ways_of_giving_a_value_are_the_same() {
        for line in [
            "train --solver s",
            "train --solver=s",
            "train -solver s",
            "train -solver=s",
        ] {
            assert_eq!(normalised(line), "train --solver=s");
        }
    }

    #[test]
    fn dashes_and_underscores_are_the_same() {
        for flag in ["--max_iter", "-max-iter", "--max-iter", "-max_iter"] {
            assert_eq!(normalised(&format!("train {flag} 5")), "train --max_iter=5");
        }
    }

    #[test]
    fn flags_may_stand_before_the_subcommand() {
        assert_eq!(
            normalised("-solver s -gpu 0 train --resume"),
            "train --solver=s --gpu=0 --resume"
        );
        assert_eq!(normalised("--help"), "--help");
        assert_eq!(normalised("--nonsense train"), "--nonsense train");
    }

    #[test]
    fn switches_take_gflags_words() {
        assert_eq!(normalised("test --json=true"), "test --json");
        assert_eq!(normalised("test -json=F"), "test");
        assert_eq!(normalised("test --nojson"), "test");
        assert_eq!(normalised("test --no-json"), "test");
        assert_eq!(normalised("test --json --nojson"), "test");
        assert_eq!(normalised("test --nojson --json --json"), "test --json");
        assert_eq!(normalised("test --json=maybe"), "test --json=maybe");
        assert_eq!(normalised("inspect --json f"), "inspect --json f");
    }

    #[test]
    fn a_value_may_look_like_a_number_or_a_flag() {
        assert_eq!(normalised("train --seed -1"), "train --seed=-1");
        assert_eq!(normalised("train -seed=-1"), "train --seed=-1");
        assert_eq!(normalised("train --sparsity -.5"), "train --sparsity=-.5");
        assert_eq!(
            normalised("test --weights -odd.caffemodel --json"),
            "test --weights=-odd.caffemodel --json"
        );
        assert_eq!(
            normalised("train --sparsity conv1=0,*=0.3"),
            "train --sparsity=conv1=0,*=0.3"
        );
    }

    #[test]
    fn a_flag_without_its_value_does_not_swallow_the_next_flag() {
        assert_eq!(
            normalised("train --solver --phase dense"),
            "train --solver --phase=dense"
        );
        assert_eq!(normalised("train --solver -h"), "train --solver -h");
        assert_eq!(normalised("train --solver"), "train --solver");
    }

    #[test]
    fn short_flags_numbers_and_what_follows_two_dashes_stay() {
        assert_eq!(normalised("-h"), "-h");
        assert_eq!(normalised("-V"), "-V");
        assert_eq!(normalised("train -h"), "train -h");
        assert_eq!(normalised("train -v 1"), "train --v=1");
        assert_eq!(normalised("inspect - -3 -x"), "inspect - -3 -x");
        assert_eq!(normalised("inspect -- -json"), "inspect -- -json");
        assert_eq!(normalised(""), "");
    }

    #[test]
    fn unknown_flags_get_two_dashes_so_that_clap_can_suggest() {
        assert_eq!(normalised("train -solvr=s"), "train --solvr=s");
    }
}
