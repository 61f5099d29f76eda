//! gflags' flags that stand for other flags: `--flagfile`, `--fromenv`, `--tryfromenv`. Each is replaced by the
//! flags that it stands for, so that of a flag given twice the last one holds.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::gflags::{fold, split};
use crate::files;

/// Files may name files; so many deep, they name themselves.
const DEPTH: usize = 16;

/// How flags are looked up.
pub struct Reader<'a> {
    /// Whether there is a flag of this name.
    pub known: &'a dyn Fn(&str) -> bool,
    /// The program's name, for the sections of a file.
    pub program: &'a str,
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Reader<'_> {
    /// The arguments, program name first, with the flags that they stand for.
    ///
    /// # Errors
    /// A file cannot be read, or a variable that must be there is not.
    pub fn expand(&mut self, args: Vec<OsString>) -> Result<Vec<OsString>, String> {
        let mut out = Vec::new();
        let mut args = args.into_iter();
        out.extend(args.next());
        while let Some(arg) = args.next() {
            if arg == "--" {
                out.push(arg);
                break;
            }
            let (name, value) = match split(&arg) {
                Some((_, name, value)) => (fold(name), value),
                None => (String::new(), None),
            };
            if !["flagfile", "fromenv", "tryfromenv"].contains(&&name[..]) {
                out.push(arg);
                continue;
            }
            let value = match value.or_else(|| args.next()) {
                Some(value) => value,
                None => return Err(format!("a value is required for '--{name}'")),
            };
            self.stand_in(&name, &value, 0, &mut out)?;
        }
        out.extend(args);
        Ok(out)
    }

    /// Appends what one such flag stands for.
    fn stand_in(
        &mut self,
        name: &str,
        value: &OsStr,
        depth: usize,
        out: &mut Vec<OsString>,
    ) -> Result<(), String> {
        let shown = value.to_string_lossy().to_string();
        if name != "flagfile" {
            return self.environment(name, &shown, out);
        }
        if depth == DEPTH {
            return Err(format!("--flagfile={shown}: the file names itself"));
        }
        // A name with a comma is one file, if there is such a file.
        if Path::new(value).exists() {
            return self.file(Path::new(value), depth, out);
        }
        for file in shown.split(',').filter(|f| !f.is_empty()) {
            self.file(Path::new(file), depth, out)?;
        }
        Ok(())
    }

    fn environment(
        &mut self,
        flag: &str,
        names: &str,
        out: &mut Vec<OsString>,
    ) -> Result<(), String> {
        for name in names.split(',').filter(|n| !n.is_empty()) {
            let variable = format!("FLAGS_{name}");
            match (self.variable)(&variable) {
                Some(value) => {
                    let mut word = OsString::from(format!("--{name}="));
                    word.push(value);
                    out.push(word);
                }
                None if flag == "tryfromenv" => {}
                None => {
                    return Err(format!(
                        "--fromenv={name}: the environment has no {variable}; set it, or use --tryfromenv"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The flags of a file: a line each, `#` before comments. Names of programs start a section that holds
    /// for these only.
    fn file(&mut self, path: &Path, depth: usize, out: &mut Vec<OsString>) -> Result<(), String> {
        let bytes = files::read(path).map_err(|e| format!("--flagfile: {e}"))?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (mut relevant, mut among_names) = (true, false);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.starts_with('-') {
                relevant &= among_names;
                among_names = true;
                let mut names = line.split_whitespace();
                relevant |= names.any(|n| matches(n, self.program) || matches(n, "caffe"));
                continue;
            }
            among_names = false;
            if relevant {
                let place = format!("{}:{number}", path.display());
                self.line(&place, line, depth, out)?;
            }
        }
        Ok(())
    }

    /// One line of a file, which starts with a dash.
    fn line(
        &mut self,
        place: &str,
        line: &str,
        depth: usize,
        out: &mut Vec<OsString>,
    ) -> Result<(), String> {
        let body = line.trim_start_matches('-');
        let end = body.find(|c: char| c == '=' || c.is_whitespace());
        let (name, value) = match end {
            Some(end) => (&body[..end], Some(body[end + 1..].trim_start())),
            None => (body, None),
        };
        if let "flagfile" | "fromenv" | "tryfromenv" = name {
            let value = value.unwrap_or_default();
            return self.stand_in(name, OsStr::new(value), depth + 1, out);
        }
        if !(self.known)(name) {
            self.notes
                .push(format!("{place}: there is no flag --{name}; it is ignored"));
            return Ok(());
        }
        out.push(match value {
            Some(value) => format!("--{name}={value}").into(),
            None => format!("--{name}").into(),
        });
        Ok(())
    }
}

/// Whether a name is that of a pattern with `*` and `?`, a path's last part counting also.
fn matches(pattern: &str, name: &str) -> bool {
    fn glob(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((&'*', rest)), _) if glob(rest, name) => true,
            (Some((&'*', _)), Some((_, more))) => glob(pattern, more),
            (Some((&'?', rest)), Some((_, more))) => glob(rest, more),
            (Some((p, rest)), Some((n, more))) if p == n => glob(rest, more),
            _ => false,
        }
    }
    // Bounded: a pattern of many stars takes time that grows with their number.
    if pattern.len() > 64 || pattern.matches('*').count() > 4 {
        return false;
    }
    let last = pattern.rsplit('/').next().unwrap_or(pattern);
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    [pattern, last]
        .iter()
        .any(|p| glob(&chars(p), &chars(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(args: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let variable = |name: &str| (name == "FLAGS_solver").then(|| "s.prototxt".into());
        let mut reader = Reader {
            known: &|name| name != "speed",
            program: "dsd",
            variable: &variable,
            notes: Vec::new(),
        };
        let args = std::iter::once("dsd").chain(args.iter().copied());
        let out = reader.expand(args.map(OsString::from).collect())?;
        let words = out[1..].iter().map(|w| w.to_string_lossy().to_string());
        Ok((words.collect(), reader.notes))
    }

    #[test]
    fn a_file_of_flags_stands_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flags");
        let text = "\
# a comment\n--solver=a b.prototxt  \n  -gpu 0\n--noresume\n\n-speed=3\n\
other_tool\n--max_iter=7\ncaff? x\n--weights=w\n";
        std::fs::write(&path, text).unwrap();
        let flag = format!("--flagfile={}", path.display());
        let (words, notes) = expanded(&["train", &flag, "--resume"]).unwrap();
        let wanted = ["train", "--solver=a b.prototxt", "--gpu=0", "--noresume"];
        assert_eq!(words[..4], wanted);
        assert_eq!(words[4..], ["--weights=w", "--resume"]);
        assert_eq!(
            notes,
            [format!(
                "{}:6: there is no flag --speed; it is ignored",
                path.display()
            )]
        );
        std::fs::write(&path, &flag).unwrap();
        assert!(expanded(&[&flag]).unwrap_err().contains("names itself"));
        assert!(
            expanded(&["-flagfile", "no/such"])
                .unwrap_err()
                .contains("no/such")
        );
        assert_eq!(expanded(&["-flagfile", "/dev/null"]).unwrap().0.len(), 0);
        assert_eq!(expanded(&["-flagfile=", "x"]).unwrap().0, ["x"]);
        assert_eq!(expanded(&["--", "-flagfile", "x"]).unwrap().0.len(), 3);
    }

    #[test]
    fn flags_come_from_the_environment() {
        let (words, _) = expanded(&["--fromenv=solver", "-tryfromenv", "weights,solver"]).unwrap();
        assert_eq!(words, ["--solver=s.prototxt", "--solver=s.prototxt"]);
        let error = expanded(&["--fromenv=weights"]).unwrap_err();
        assert!(error.contains("no FLAGS_weights"), "{error}");
    }
}
