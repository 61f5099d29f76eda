//! What repeats a run, and what tells that it was repeated: commands, versions, seeds, and the hashes of its files.

use super::gathered::Gathered;
use crate::files;
use crate::page::{Page, Table};
use crate::report::number::G;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Adds the section.
pub fn section(page: &mut Page, runs: &[Gathered]) {
    page.section("How to repeat it");
    for run in runs {
        if runs.len() > 1 {
            page.heading(&run.name);
        }
        commands(page, run);
        settings(page, run);
        hashes(page, run);
    }
    page.note(
        "The same version, seed, data and files give the same weights, bit for bit, for any number of threads, on \
         processors of the same instruction set.",
    );
}

fn commands(page: &mut Page, run: &Gathered) {
    let mut lines: Vec<String> = Vec::new();
    if run.started.folder != Path::new("") {
        lines.push(format!(
            "cd {}",
            quoted(&run.started.folder.display().to_string())
        ));
    }
    for sitting in &run.started.sittings {
        let words: Vec<String> = sitting.command.iter().map(|w| quoted(w)).collect();
        lines.push(words.join(" "));
    }
    if run.started.sittings.is_empty() {
        for record in &run.phases {
            let words: Vec<String> = record.command.iter().map(|w| quoted(w)).collect();
            let line = words.join(" ");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    page.code(&lines.join("\n"));
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn settings(page: &mut Page, run: &Gathered) {
    let heads = ["phase", "dsd", "seed", "base_lr", "numbers", "solver"];
    let mut table = Table::new("Settings", heads).words(5);
    for r in &run.phases {
        table.row([
            r.phase.clone(),
            r.version.clone(),
            r.seed.map_or(String::new(), |s| s.to_string()),
            G(r.base_lr).to_string(),
            r.precision.to_string(),
            r.solver.clone(),
        ]);
    }
    page.table(&table);
}

fn hashes(page: &mut Page, run: &Gathered) {
    let mut table = Table::new("Files by what is in them (SHA-256)", ["file", "SHA-256"]).words(1);
    for record in &run.phases {
        let home = run.folder.path(&record.phase);
        let mut names = vec!["solver.prototxt".to_owned()];
        names.extend(record.nets.keys().cloned());
        let weights = run.weights_of(record).is_some();
        names.extend(weights.then(|| record.weights.display().to_string()));
        for name in names {
            if let Ok(bytes) = files::read(&home.join(&name)) {
                table.row([format!("{}/{name}", record.phase), hash(&bytes)]);
            }
        }
    }
    page.fold("Hashes of solvers, nets and weights", |page| {
        page.table(&table);
    });
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell_where_they_must_be() {
        assert_eq!(quoted("--sparsity=@dsd:0.5"), "--sparsity=@dsd:0.5");
        assert_eq!(quoted("conv1=0,*=0.3"), "'conv1=0,*=0.3'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_hash_is_that_of_sha256sum() {
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(b"abc"), wanted);
    }
}
