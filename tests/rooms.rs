//! The rooms of `src` import what docs/ARCHITECTURE.md says, and nothing else.

use crate::common::repository;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may import, by the table in the document; nothing for those that may import everything.
fn allowed() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let text = fs::read_to_string(repository("docs/ARCHITECTURE.md")).unwrap();
    let mut rooms = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [names, _, imports] = cells[..] else {
            panic!("three columns, not {line}");
        };
        let imports: BTreeSet<String> = imports.split_whitespace().map(Into::into).collect();
        let some = (!imports.contains("everything")).then_some(imports);
        for name in names.split(',') {
            let name = name.trim().trim_matches('`').to_string();
            assert!(rooms.insert(name, some.clone()).is_none(), "twice: {line}");
        }
    }
    rooms
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The first names of the paths behind `crate::` in the code, without comments and tests.
fn imports(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let code = code.split("#[cfg(test)]\nmod").next().unwrap_or_default();
    let word = |text: &str| -> String {
        let letters = text.trim_start().chars();
        letters
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let (mut depth, mut first) = (0, true);
        for (at, c) in list.char_indices() {
            if first && !c.is_whitespace() {
                names.insert(word(&list[at..]));
                first = false;
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => first = true,
                _ => {}
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn rooms_import_what_the_document_says() {
    let allowed = allowed();
    let src = repository("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut faults, mut seen) = (Vec::new(), BTreeSet::new());
    for file in files {
        let own = file.strip_prefix(&src).unwrap();
        let shown = own.display().to_string();
        let name = own.file_stem().unwrap().to_string_lossy().to_string();
        let is_test = name == "tests" || name == "check" || name.ends_with("_tests");
        if is_test || shown.contains("/check/") || matches!(&shown[..], "lib.rs" | "main.rs") {
            continue;
        }
        let room = own.iter().next().unwrap().to_string_lossy();
        let room = room.trim_end_matches(".rs").to_string();
        let Some(may) = allowed.get(&room) else {
            faults.push(format!(
                "src/{shown}: the room '{room}' is not in the table"
            ));
            continue;
        };
        seen.insert(room.clone());
        let Some(may) = may else { continue };
        for name in imports(&fs::read_to_string(&file).unwrap()) {
            let name = match &name[..] {
                "info" | "warn" | "error" | "outln" => "report",
                other => other,
            };
            if name != room && !may.contains(name) {
                faults.push(format!("src/{shown}: '{room}' may not import '{name}'"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let gone: Vec<&String> = allowed.keys().filter(|r| !seen.contains(*r)).collect();
    assert!(
        gone.is_empty(),
        "rooms in the table but not in src: {gone:?}"
    );
}

#[test]
fn imports_are_seen_in_every_form() {
    let text = "use crate::a::b;\nuse crate::{c, d::{e, f}, g};\nfn x() { crate::h!(); } // crate::no\n\
                #[cfg(test)]\nmod tests { use crate::no; }";
    let names: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(names, ["a", "c", "d", "g", "h"]);
}
