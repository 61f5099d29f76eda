//! glog's log files: in the folder of `--log_dir` one for each level, with the lines of that level and above,
//! named `PROGRAM.HOST.USER.log.LEVEL.DATE-TIME.PID`, and beside them links `PROGRAM.LEVEL` to the newest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Zoned;

use super::{Settings, Severity};
use crate::files::reason;

const LEVELS: [&str; 3] = ["INFO", "WARNING", "ERROR"];

/// The log files of a run; each is made with its first line.
#[derive(Debug)]
pub struct LogFiles {
    folder: PathBuf,
    links: Option<PathBuf>,
    program: String,
    /// Bytes after which another file follows.
    most: u64,
    open: [Option<(File, u64)>; 3],
    /// Whether nothing can be written: said once, and the work goes on.
    failed: bool,
}

impl LogFiles {
    /// Those that the settings ask for, if they do. The folder is made where it is missing.
    pub fn new(settings: &Settings) -> Option<Self> {
        let folder = settings.folder.clone().filter(|_| !settings.only_stderr)?;
        Some(Self {
            failed: false,
            folder,
            links: settings.links.clone(),
            program: plain(&settings.program),
            most: settings.megabytes.saturating_mul(1 << 20),
            open: [None, None, None],
        })
    }

    /// Writes a line into the file of its level and of those below. What went wrong is told once.
    pub fn write(&mut self, severity: Severity, now: &Zoned, line: &str) -> Option<String> {
        if self.failed {
            return None;
        }
        for level in (0..=severity as usize).rev() {
            if let Err(e) = self.write_one(level, now, line) {
                self.failed = true;
                let folder = self.folder.display();
                return Some(format!(
                    "cannot write log files into {folder}: {}; the log goes on without them",
                    reason(&e)
                ));
            }
        }
        None
    }

    fn write_one(&mut self, level: usize, now: &Zoned, line: &str) -> io::Result<()> {
        let full = |open: &(File, u64)| open.1 >= self.most;
        let mut open = match self.open[level].take() {
            Some(open) if !full(&open) => open,
            _ => self.create(level, now)?,
        };
        open.0.write_all(line.as_bytes())?;
        open.1 += line.len() as u64;
        self.open[level] = Some(open);
        Ok(())
    }

    fn create(&self, level: usize, now: &Zoned) -> io::Result<(File, u64)> {
        fs::create_dir_all(&self.folder)?;
        let (program, host) = (&self.program, host());
        let name = format!(
            "{program}.{}.{}.log.{}.{}.{}",
            plain(&host),
            plain(&user()),
            LEVELS[level],
            now.strftime("%Y%m%d-%H%M%S"),
            std::process::id()
        );
        let path = self.folder.join(&name);
        // Of the same second if the one before was full at once: it goes on.
        let mut file = File::options().create(true).append(true).open(&path)?;
        let head = format!(
            "Log file created at: {}\nRunning on machine: {host}\n\
             Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg\n",
            now.strftime("%Y/%m/%d %H:%M:%S")
        );
        file.write_all(head.as_bytes())?;
        let link = format!("{program}.{}", LEVELS[level]);
        link_to(Path::new(&name), &self.folder.join(&link));
        if let Some(links) = &self.links {
            let target = fs::canonicalize(&path).unwrap_or(path);
            link_to(&target, &links.join(link));
        }
        Ok((file, head.len() as u64))
    }
}

/// Puts a link in the place of the one before. A link only helps: where there can be none, there is none.
fn link_to(target: &Path, link: &Path) {
    #[cfg(unix)]
    {
        if fs::symlink_metadata(link).is_ok_and(|m| m.is_symlink()) {
            let _ = fs::remove_file(link);
        }
        let _ = std::os::unix::fs::symlink(target, link);
    }
    #[cfg(not(unix))]
    let _ = (target, link);
}

/// A part of a file's name.
fn plain(text: &str) -> String {
    text.replace(['/', '\\'], "_")
}

fn host() -> String {
    let asked = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let variable = |name| std::env::var(name).ok();
    let named = asked
        .or_else(|| variable("HOSTNAME"))
        .or_else(|| variable("COMPUTERNAME"));
    let named = named.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty());
    named.unwrap_or_else(|| "(unknown)".into())
}

fn user() -> String {
    let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let named = ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(variable);
    named.unwrap_or_else(|| "invalid-user".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(folder: &Path, level: &str) -> Vec<String> {
        let link = folder.join(format!("tool.{level}"));
        let text = fs::read_to_string(link).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn settings(folder: &Path) -> Settings {
        Settings {
            program: "tool".into(),
            folder: Some(folder.to_path_buf()),
            ..Settings::default()
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_its_level_and_those_above() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("new/logs");
        let now: Zoned = "2025-11-22T20:16:30+00:00[UTC]".parse().unwrap();
        let mut files = LogFiles::new(&settings(&folder)).unwrap();
        for (severity, line) in [
            (Severity::Info, "I one\n"),
            (Severity::Error, "E two\n"),
            (Severity::Info, "I three\n"),
        ] {
            assert_eq!(files.write(severity, &now, line), None);
        }
        let info = texts(&folder, "INFO");
        assert_eq!(info[0], "Log file created at: 2025/11/22 20:16:30");
        assert!(info[1].starts_with("Running on machine: "));
        assert_eq!(info[3..], ["I one", "E two", "I three"]);
        assert_eq!(texts(&folder, "WARNING")[3..], ["E two"]);
        assert_eq!(texts(&folder, "ERROR")[3..], ["E two"]);
        let target = fs::read_link(folder.join("tool.INFO")).unwrap();
        let name = target.to_str().unwrap();
        let end = format!(".log.INFO.20251122-201630.{}", std::process::id());
        assert!(name.starts_with("tool.") && name.ends_with(&end), "{name}");
    }

    #[cfg(unix)]
    #[test]
    fn a_full_file_is_followed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let small = Settings {
            megabytes: 0,
            ..settings(folder.path())
        };
        let mut files = LogFiles::new(&small).unwrap();
        for time in [
            "2025-11-22T20:16:30+00:00[UTC]",
            "2025-11-22T20:16:31+00:00[UTC]",
        ] {
            let now: Zoned = time.parse().unwrap();
            assert_eq!(files.write(Severity::Info, &now, "I x\n"), None);
        }
        assert_eq!(
            texts(folder.path(), "INFO")[0],
            "Log file created at: 2025/11/22 20:16:31"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_folder_that_cannot_be_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let now: Zoned = "2025-11-22T20:16:30+00:00[UTC]".parse().unwrap();
        let mut files = LogFiles::new(&settings(&file.join("logs"))).unwrap();
        let told = files.write(Severity::Info, &now, "I x\n").unwrap();
        assert!(told.starts_with("cannot write log files into "), "{told}");
        assert_eq!(files.write(Severity::Info, &now, "I x\n"), None);
        let only = Settings {
            only_stderr: true,
            ..settings(&file)
        };
        assert!(LogFiles::new(&only).is_none());
    }
}
