//! glog's flags, and the variables of the environment that stand for them: `GLOG_minloglevel=2` is
//! `--minloglevel=2` where the command line does not say.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::gflags::truth;
use crate::report::log::Settings;

/// The flags of glog that say what is logged, and where.
#[derive(Clone, Debug, Default, Args)]
#[command(rename_all = "snake_case")]
pub struct Glog {
    /// Write log files into this folder too: dsd.INFO and its like
    #[arg(long, global = true, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// The lowest level logged: 0 all, 1 warnings, 2 errors
    #[arg(long, global = true, hide = true, value_name = "N")]
    pub minloglevel: Option<i32>,
    /// A folder for links to the log files.
    #[arg(long, global = true, hide = true)]
    log_link: Option<PathBuf>,
    /// The lowest level on stderr, where the log goes to files.
    #[arg(long, global = true, hide = true)]
    stderrthreshold: Option<i32>,
    /// Megabytes after which a log file is followed by another.
    #[arg(long, global = true, hide = true)]
    max_log_size: Option<u64>,
    #[arg(long, global = true, hide = true, require_equals = true, num_args = 0..=1, default_missing_value = "true")]
    logtostderr: Option<bool>,
    #[arg(long, global = true, hide = true, require_equals = true, num_args = 0..=1, default_missing_value = "true")]
    alsologtostderr: Option<bool>,
    #[arg(long, global = true, hide = true, require_equals = true, num_args = 0..=1, default_missing_value = "true")]
    log_prefix: Option<bool>,
    #[arg(long, global = true, hide = true, require_equals = true, num_args = 0..=1, default_missing_value = "true")]
    colorlogtostderr: Option<bool>,
}

impl Glog {
    /// What the log does. `variable` looks into the environment; what cannot be read there is as if it were
    /// not set, as is an empty value. As Caffe's programs, and unlike glog's, stderr gets all lines also
    /// where they go to files, whatever `GLOG_alsologtostderr` says.
    pub fn settings(&self, program: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Settings {
        let text = |name: &str| variable(&format!("GLOG_{name}")).filter(|v| !v.is_empty());
        let word = |name: &str| text(name).and_then(|v| v.into_string().ok());
        let number = |name: &str| word(name)?.trim().parse::<i64>().ok();
        let level = |name: &str| number(name).and_then(|n| i32::try_from(n).ok());
        let switch = |name: &str| word(name).and_then(|w| truth(w.trim()));
        let folder = |name: &str| text(name).map(PathBuf::from);
        let preset = Settings::default();
        let size = || number("max_log_size").and_then(|n| u64::try_from(n).ok());
        Settings {
            program: program.to_owned(),
            minimum: self
                .minloglevel
                .or_else(|| level("minloglevel"))
                .unwrap_or(preset.minimum),
            folder: self.log_dir.clone().or_else(|| folder("log_dir")),
            links: self.log_link.clone().or_else(|| folder("log_link")),
            only_stderr: self
                .logtostderr
                .or_else(|| switch("logtostderr"))
                .unwrap_or(preset.only_stderr),
            also_stderr: self.alsologtostderr.unwrap_or(preset.also_stderr),
            threshold: self
                .stderrthreshold
                .or_else(|| level("stderrthreshold"))
                .unwrap_or(preset.threshold),
            prefix: self
                .log_prefix
                .or_else(|| switch("log_prefix"))
                .unwrap_or(preset.prefix),
            colour: self
                .colorlogtostderr
                .or_else(|| switch("colorlogtostderr"))
                .unwrap_or(preset.colour)
                && variable("NO_COLOR").is_none_or(|v| v.is_empty()),
            megabytes: self
                .max_log_size
                .or_else(size)
                .unwrap_or(preset.megabytes)
                .max(1),
            quiet: preset.quiet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_comes_before_the_environment() {
        let variable = |name: &str| match name {
            "GLOG_minloglevel" => Some(OsString::from("2")),
            "GLOG_stderrthreshold" => Some("x".into()),
            "GLOG_log_dir" => Some("".into()),
            "GLOG_logtostderr" => Some("1".into()),
            "GLOG_alsologtostderr" => Some("0".into()),
            _ => None,
        };
        let found = Glog::default().settings("dsd", &variable);
        assert_eq!((found.minimum, found.threshold), (2, 2));
        assert!(found.folder.is_none() && found.only_stderr && found.also_stderr);
        let given = Glog {
            minloglevel: Some(0),
            logtostderr: Some(false),
            log_dir: Some("logs".into()),
            ..Glog::default()
        };
        let found = given.settings("dsd", &variable);
        assert_eq!((found.minimum, found.only_stderr), (0, false));
        let colours = |no_color: Option<&str>| {
            let variable = |name: &str| match name {
                "GLOG_colorlogtostderr" => Some(OsString::from("1")),
                "NO_COLOR" => no_color.map(OsString::from),
                _ => None,
            };
            Glog::default().settings("dsd", &variable).colour
        };
        assert!(colours(None) && colours(Some("")) && !colours(Some("1")));
        assert_eq!(found.folder, Some("logs".into()));
    }
}
