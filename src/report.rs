//! What a run tells its user: log lines and progress bars on stderr, results on stdout, metrics in a file.

pub mod course;
pub mod curve;
pub mod human;
pub mod log;
pub mod metrics;
pub mod nets;
pub mod number;
pub mod output;
pub mod progress;
pub mod table;
pub mod training_log;
