//! The flags of `caffe`, gflags and glog: a command takes those too that mean nothing to it, as each of
//! Caffe's own commands does.

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or gflags' words for true and false behind `=`.
    Switch,
    /// A whole number.
    Number,
    /// Any text.
    Text,
}

/// A flag that Caffe's programs have.
#[derive(Debug)]
pub struct Foreign {
    /// The name, with underscores.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is for.
    pub meaning: &'static str,
}

const fn flag(name: &'static str, kind: Kind, meaning: &'static str) -> Foreign {
    Foreign {
        name,
        kind,
        meaning,
    }
}

use Kind::{Number, Switch, Text};

/// All of them; those that a command has itself keep that command's meaning.
pub const FLAGS: &[Foreign] = &[
    // caffe
    flag("gpu", Text, "devices; there is no GPU backend"),
    flag("solver", Text, "train: the solver"),
    flag("model", Text, "test, time: the net"),
    flag("phase", Text, "time: TRAIN or TEST"),
    flag("level", Number, "the net's level"),
    flag("stage", Text, "the net's stages"),
    flag("snapshot", Text, "train: the state to go on from"),
    flag("weights", Text, "train, test: weights"),
    flag("iterations", Number, "test, time: how many"),
    flag("sigint_effect", Text, "train: snapshot, stop or none"),
    flag("sighup_effect", Text, "train: snapshot, stop or none"),
    // gflags
    flag("flagfile", Text, "more flags, a line each, from files"),
    flag("fromenv", Text, "flags from FLAGS_NAME in the environment"),
    flag("tryfromenv", Text, "as fromenv, where they are set"),
    flag("undefok", Text, "names that may be unknown"),
    flag("tab_completion_word", Text, "no effect"),
    flag("tab_completion_columns", Number, "no effect"),
    flag("helpfull", Switch, "help, with these flags"),
    flag("helpshort", Switch, "help"),
    flag("helpon", Text, "help"),
    flag("helpmatch", Text, "help"),
    flag("helppackage", Switch, "help"),
    flag("helpxml", Switch, "help"),
    // glog
    flag("logtostderr", Switch, "log to stderr and not to files"),
    flag(
        "alsologtostderr",
        Switch,
        "log to stderr as well as to files [default: true]",
    ),
    flag(
        "stderrthreshold",
        Number,
        "with log_dir and noalsologtostderr: the lowest level on stderr [default: 2]",
    ),
    flag(
        "minloglevel",
        Number,
        "the lowest level logged: 0 all, 1 warnings, 2 errors",
    ),
    flag("log_dir", Text, "the folder for log files"),
    flag("log_link", Text, "a folder for links to the log files"),
    flag(
        "log_prefix",
        Switch,
        "level, time and place before every line [default: true]",
    ),
    flag(
        "max_log_size",
        Number,
        "megabytes after which a log file is followed by another [default: 1800]",
    ),
    flag("colorlogtostderr", Switch, "colours on a terminal"),
    flag("v", Number, "no effect"),
    flag("vmodule", Text, "no effect"),
    flag("alsologtoemail", Text, "no effect"),
    flag("colorlogtostdout", Switch, "no effect"),
    flag("drop_log_memory", Switch, "no effect"),
    flag("log_backtrace_at", Text, "no effect"),
    flag("log_file_header", Switch, "no effect"),
    flag("log_utc_time", Switch, "no effect"),
    flag("log_year_in_prefix", Switch, "no effect"),
    flag(
        "logbuflevel",
        Number,
        "no effect: every line is written at once",
    ),
    flag(
        "logbufsecs",
        Number,
        "no effect: every line is written at once",
    ),
    flag("logcleansecs", Number, "no effect"),
    flag("logemaillevel", Number, "no effect"),
    flag("logfile_mode", Number, "no effect"),
    flag("logmailer", Text, "no effect"),
    flag("logtostdout", Switch, "no effect"),
    flag("stop_logging_if_full_disk", Switch, "no effect"),
    flag("symbolize_stacktrace", Switch, "no effect"),
    flag("timestamp_in_logfile_name", Switch, "no effect"),
];

/// The flag of this name, which has underscores.
pub fn find(name: &str) -> Option<&'static Foreign> {
    FLAGS.iter().find(|f| f.name == name)
}

/// The flags of gflags that ask for help, besides `--help` itself.
pub fn asks_for_help(name: &str) -> bool {
    name.starts_with("help") && find(name).is_some()
}

/// The flags as `--helpfull` lists them.
pub fn listed() -> String {
    let mut text = String::from("Flags of caffe, gflags and glog, accepted by every command:\n");
    for flag in FLAGS {
        let value = match flag.kind {
            Kind::Switch => "",
            Kind::Number => "=N",
            Kind::Text => "=TEXT",
        };
        text += &format!(
            "  {:<28} {}\n",
            format!("--{}{value}", flag.name),
            flag.meaning
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_listed_once() {
        let mut names: Vec<_> = FLAGS.iter().map(|f| f.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(listed().lines().count(), all + 1);
    }
}
