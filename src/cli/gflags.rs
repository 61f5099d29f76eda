//! The gflags spelling of Caffe's tools, turned into the one that clap reads.
//!
//! Caffe's scripts write `-solver s.prototxt`, `--solver=s.prototxt`, `-max_iter=10` or `--nojson`, before or after
//! the subcommand. Everything that a flag takes is joined to it with `=`, so that a value may start with
//! a dash (a negative number, an odd file name); a flag is told from a value by the table of known flags.
//! All programs of gflags know all flags of their libraries, so those of Caffe that mean nothing to a
//! command are dropped here, and an empty value is as none.

mod foreign;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
pub use foreign::{Kind, listed};

/// The flags of a command by name, with underscores.
type Flags = HashMap<String, Known>;

/// A flag: its name as clap knows it, and what it takes.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    kind: Kind,
    /// How clap is told that a switch is off, where that differs from not naming it.
    off: Option<String>,
}

/// What is known of the flags and subcommands.
pub struct Spelling {
    /// Those that hold everywhere.
    global: Flags,
    /// All, of whatever subcommand.
    any: Flags,
    /// By subcommand, in the order of the help.
    own: Vec<(String, Flags)>,
}

/// A command line as clap reads it.
#[derive(Debug, Default)]
pub struct Normal {
    /// `PROGRAM SUBCOMMAND --flag=value …`
    pub words: Vec<OsString>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Whether `--helpfull` asks for the flags that the help leaves out.
    pub full_help: bool,
}

/// Wrong usage: what clap would call it, and why.
pub type Wrong = (ErrorKind, String);

/// What an argument is.
enum Token {
    /// A known flag and what stands after `=`.
    Flag(Known, Option<OsString>),
    /// A known switch, and whether it is on; of an empty value, nothing.
    Switch(Known, Option<bool>),
    /// Looks like a flag, but is none that is known; as clap should see it.
    Unknown(OsString),
    /// Anything else: a value, a file, a subcommand, `-h`.
    Other,
}

/// Caffe's own commands take the flags of the others without a word.
const CAFFES: [&str; 11] = [
    "train",
    "test",
    "time",
    "device_query",
    "convert_imageset",
    "compute_image_mean",
    "extract_features",
    "upgrade_net_proto_text",
    "upgrade_net_proto_binary",
    "upgrade_solver_proto_text",
    "",
];

/// The flags of a command and of its own subcommands.
fn flags_of(command: &clap::Command, into: &mut Flags) {
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        // A switch that is on by default takes a value, but only behind `=`.
        let valued = arg.is_require_equals_set();
        let kind = match arg.get_action().takes_values() && !valued {
            true => Kind::Text,
            false => Kind::Switch,
        };
        let others = arg.get_all_aliases().unwrap_or_default();
        for name in others.into_iter().chain([long]) {
            let known = Known {
                name: long.to_owned(),
                kind,
                off: valued.then(|| format!("--{long}=false")),
            };
            into.insert(fold(name), known);
        }
    }
    // Or it has another one that puts it off.
    let names: Vec<String> = into.keys().cloned().collect();
    for name in names {
        let off = into
            .get(&format!("no{name}"))
            .map(|off| format!("--{}", off.name));
        if let (Some(known), Some(off)) = (into.get_mut(&name), off) {
            known.off = Some(off);
        }
    }
    for sub in command.get_subcommands() {
        flags_of(sub, into);
    }
}

impl Spelling {
    /// The spelling of a program's flags.
    pub fn of(program: &clap::Command) -> Self {
        let mut global = Flags::new();
        for name in ["help", "version"] {
            let known = Known {
                name: name.to_owned(),
                kind: Kind::Switch,
                off: None,
            };
            global.insert(name.to_owned(), known);
        }
        for arg in program.get_arguments() {
            let one = clap::Command::new("").arg(arg.clone());
            flags_of(&one, &mut global);
        }
        let mut any = Flags::new();
        flags_of(program, &mut any);
        any.extend(global.clone());
        let mut own = Vec::new();
        for sub in program.get_subcommands() {
            let mut flags = global.clone();
            flags_of(sub, &mut flags);
            own.push((sub.get_name().to_owned(), flags));
        }
        Self { global, any, own }
    }

    /// Whether a flag of this name exists at all, whatever its spelling.
    pub fn knows(&self, name: &str) -> bool {
        let folded = fold(name);
        let negated = folded.strip_prefix("no").unwrap_or(&folded);
        [&folded[..], negated]
            .iter()
            .any(|n| self.any.contains_key(*n) || foreign::find(n).is_some())
    }

    /// The arguments, program name first, as clap reads them.
    ///
    /// # Errors
    /// A flag of Caffe's that the command drops has no value, or one of another kind.
    pub fn normalise(&self, args: impl IntoIterator<Item = OsString>) -> Result<Normal, Wrong> {
        let mut line = Line {
            undefined_is_fine: Vec::new(),
            own: None,
            subcommand: None,
            front: Vec::new(),
            rest: Vec::new(),
            help: None,
        };
        let mut args = args.into_iter().peekable();
        line.front.extend(args.next());
        while let Some(arg) = args.next() {
            if arg == "--" {
                line.rest.push(arg);
                line.rest.extend(args.by_ref());
                break;
            }
            match self.token(&arg, line.own) {
                Token::Flag(known, value) => {
                    let next = || args.next_if(|next| self.is_value(next, line.own));
                    let value = value.or_else(next);
                    line.flag(known, value);
                }
                Token::Switch(known, on) => line.switch(known, on),
                // Left before the subcommand, so that clap complains of it and not of what follows.
                Token::Unknown(flag) if line.subcommand.is_none() => {
                    line.front.push(flag);
                }
                Token::Unknown(flag) => line.rest.push(flag),
                Token::Other if line.subcommand.is_none() && !starts_with_dash(&arg) => {
                    let (name, own) = self.subcommand(arg);
                    (line.subcommand, line.own) = (Some(name), own);
                }
                Token::Other => line.rest.push(arg),
            }
        }
        line.finish(self)
    }

    /// Whether an argument after a flag is its value: all but another flag.
    fn is_value(&self, arg: &OsString, own: Option<&Flags>) -> bool {
        let short = arg == "-h" || arg == "-V" || arg == "--";
        !short && matches!(self.token(arg, own), Token::Other | Token::Unknown(_))
    }

    /// A subcommand's name with its own dashes and underscores, and its flags.
    fn subcommand(&self, given: OsString) -> (OsString, Option<&Flags>) {
        let folded = given.to_str().map(fold);
        match self.own.iter().find(|(c, _)| Some(fold(c)) == folded) {
            Some((name, flags)) => (name.into(), Some(flags)),
            None => (given, None),
        }
    }

    /// The flag of a name with underscores.
    fn find(&self, name: &str, own: Option<&Flags>) -> Option<Known> {
        let known = own.and_then(|o| o.get(name)).cloned();
        let elsewhere = || {
            foreign::find(name).map(|f| Known {
                name: f.name.to_owned(),
                kind: f.kind,
                off: None,
            })
        };
        known
            .or_else(|| self.global.get(name).cloned())
            .or_else(elsewhere)
            .or_else(|| self.any.get(name).cloned())
    }

    fn token(&self, arg: &OsStr, own: Option<&Flags>) -> Token {
        let Some((dashes, name, value)) = split(arg) else {
            return Token::Other;
        };
        let folded = fold(name);
        let unknown = || {
            let mut flag = OsString::from(format!("--{name}"));
            if let Some(value) = &value {
                flag.push("=");
                flag.push(value);
            }
            Token::Unknown(flag)
        };
        let negated = folded.strip_prefix("no").map(|n| n.trim_start_matches('_'));
        let negated = negated.and_then(|n| self.find(n, own));
        let negated = negated.filter(|known| known.kind == Kind::Switch && value.is_none());
        if let Some(known) = negated {
            return Token::Switch(known, Some(false));
        }
        match (self.find(&folded, own), &value) {
            (Some(known), None) if known.kind == Kind::Switch => Token::Switch(known, Some(true)),
            (Some(known), Some(word)) if known.kind == Kind::Switch => {
                match word.to_str().and_then(truth) {
                    Some(on) => Token::Switch(known, Some(on)),
                    None if word.is_empty() => Token::Switch(known, None),
                    None => unknown(),
                }
            }
            (Some(known), _) => Token::Flag(known, value),
            (None, _) if dashes == 1 && name.chars().count() == 1 => Token::Other,
            (None, _) => unknown(),
        }
    }
}

/// A command line while it is read.
struct Line<'a> {
    undefined_is_fine: Vec<String>,
    own: Option<&'a Flags>,
    subcommand: Option<OsString>,
    front: Vec<OsString>,
    rest: Vec<OsString>,
    /// A flag that asks for help.
    help: Option<String>,
}

impl Line<'_> {
    /// Takes a flag; the last one of a name holds, and an empty value is as none.
    fn flag(&mut self, known: Known, value: Option<OsString>) {
        let name = known.name;
        if name == "undefok" {
            let names = value.unwrap_or_default();
            let names = names.to_string_lossy();
            self.undefined_is_fine.extend(names.split(',').map(fold));
            return;
        }
        let mut flag = OsString::from(format!("--{name}"));
        let Some(value) = value else {
            self.rest.push(flag);
            return;
        };
        flag.push("=");
        if value.is_empty() {
            let before = flag.as_encoded_bytes().to_vec();
            self.rest
                .retain(|other| !other.as_encoded_bytes().starts_with(&before));
            return;
        }
        if foreign::asks_for_help(&name) {
            self.help = Some(name);
            return;
        }
        flag.push(value);
        self.rest.push(flag);
    }

    fn switch(&mut self, known: Known, on: Option<bool>) {
        let Some(on) = on else { return };
        if foreign::asks_for_help(&known.name) {
            self.help = Some(known.name).filter(|_| on);
            return;
        }
        // The last one holds, as in gflags.
        let flag = OsString::from(format!("--{}", known.name));
        let off = known.off.map(OsString::from);
        self.rest
            .retain(|other| *other != flag && Some(other) != off.as_ref());
        self.rest.extend(if on { Some(flag) } else { off });
    }

    /// Takes out what is Caffe's and means nothing to this command.
    fn finish(self, spelling: &Spelling) -> Result<Normal, Wrong> {
        let command = self.subcommand.as_ref().and_then(|c| c.to_str());
        let quiet = CAFFES.contains(&command.unwrap_or(""));
        let mut normal = Normal {
            full_help: self.help.as_deref() == Some("helpfull"),
            ..Normal::default()
        };
        let fine = |word: &OsString| {
            let name = split(word).map(|(_, name, _)| fold(name));
            let plain = |n: &String| self.undefined_is_fine.contains(n);
            name.is_some_and(|n| {
                plain(&n) || n.strip_prefix("no").is_some_and(|n| plain(&n.to_owned()))
            })
        };
        let mut front = self.front.into_iter();
        normal.words.extend(front.next());
        normal.words.extend(front.filter(|word| !fine(word)));
        let known = self.own.unwrap_or(&spelling.global);
        let mut words = Vec::new();
        let mut rest = self.rest.into_iter();
        for word in rest.by_ref() {
            if word == "--" {
                words.push(word);
                break;
            }
            let Some((_, name, value)) = split(&word) else {
                words.push(word);
                continue;
            };
            let name = fold(name);
            // Caffe's --phase is of the net, and only for `time`.
            let nets = name == "phase" && command == Some("train") && is_mode(value.as_deref());
            let foreign = foreign::find(&name).filter(|_| nets || !known.contains_key(&name));
            match foreign {
                Some(flag) => {
                    check(flag, value.as_deref())?;
                    if !quiet || nets {
                        let command = command.unwrap_or("dsd");
                        let note = format!("--{name} means nothing to {command}; it is ignored");
                        normal.notes.push(note);
                    }
                }
                None if fine(&word) && !known.contains_key(&name) => {}
                None => words.push(word),
            }
        }
        words.extend(rest);
        normal.words.extend(self.subcommand);
        if self.help.is_some() {
            normal.words.push("--help".into());
        }
        normal.words.extend(words);
        Ok(normal)
    }
}

/// Whether a value of `--phase` is one of Caffe's.
fn is_mode(value: Option<&OsStr>) -> bool {
    value.is_some_and(|v| v.eq_ignore_ascii_case("train") || v.eq_ignore_ascii_case("test"))
}

/// Whether a flag that is dropped was written as it must be.
fn check(flag: &foreign::Foreign, value: Option<&OsStr>) -> Result<(), Wrong> {
    let name = flag.name;
    match (flag.kind, value) {
        (Kind::Switch, _) => Ok(()),
        (_, None) => Err((
            ErrorKind::InvalidValue,
            format!("a value is required for '--{name}'"),
        )),
        (Kind::Text, _) => Ok(()),
        (Kind::Number, Some(value)) => {
            let number = value.to_str().and_then(|v| v.parse::<i64>().ok());
            number.map(|_| ()).ok_or_else(|| {
                let value = value.to_string_lossy();
                (
                    ErrorKind::ValueValidation,
                    format!("invalid value '{value}' for '--{name}': expected a whole number"),
                )
            })
        }
    }
}

/// The number of dashes, the name and what stands behind `=`, if an argument can be a flag: not `-`, `-1`,
/// `-.5`.
pub(super) fn split(arg: &OsStr) -> Option<(usize, &str, Option<OsString>)> {
    let bytes = arg.as_encoded_bytes();
    let dashes = bytes.iter().take_while(|b| **b == b'-').count();
    let end = bytes.iter().position(|b| *b == b'=');
    let name = bytes.get(dashes..end.unwrap_or(bytes.len()))?;
    let name = std::str::from_utf8(name).ok()?;
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !named || !(1..=2).contains(&dashes) {
        return None;
    }
    let value = match end {
        Some(end) => Some(tail(arg, end + 1)?),
        None => None,
    };
    Some((dashes, name, value))
}

/// What stands in an argument from byte `at` on, which follows `=`.
fn tail(arg: &OsStr, at: usize) -> Option<OsString> {
    if let Some(text) = arg.to_str() {
        return Some(text.get(at..)?.into());
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        Some(OsStr::from_bytes(arg.as_bytes().get(at..)?).to_owned())
    }
    #[cfg(not(unix))]
    None
}

fn starts_with_dash(arg: &OsStr) -> bool {
    arg.as_encoded_bytes().starts_with(b"-")
}

/// A name with underscores.
pub(super) fn fold(name: &str) -> String {
    name.replace('-', "_")
}

/// gflags' words for true and false.
pub(super) fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
