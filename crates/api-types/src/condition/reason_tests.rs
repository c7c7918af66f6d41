//! `docs/reasons.md` is written by hand: it must not fall behind what the processes say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The words of this module by the names of their constants.
fn reasons() -> BTreeMap<&'static str, &'static str> {
    let constant = |line: &'static str| {
        let (name, word) = line.strip_prefix("pub const ")?.split_once(": &str = \"")?;
        Some((name, word.strip_suffix("\";")?))
    };
    include_str!("reason.rs")
        .lines()
        .filter_map(constant)
        .collect()
}

/// Adds the names that follow `reason::` in the sources of a folder, tests left out.
fn used_in(folder: &Path, used: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            used_in(&path, used);
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap();
        let for_tests = ["tests", "fixture", "properties"]
            .iter()
            .any(|word| file.contains(word));
        if for_tests || path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]\nmod").next().unwrap();
        used.extend(code.split("reason::").skip(1).map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
                .collect()
        }));
    }
}

/// The words between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_reference_lists_every_reason_that_a_process_gives_and_no_other() {
    let mut used = BTreeSet::new();
    for entry in fs::read_dir(repository("crates")).unwrap() {
        used_in(&entry.unwrap().path().join("src"), &mut used);
    }
    let reasons = reasons();
    let given: BTreeSet<&str> = reasons
        .iter()
        .filter(|(name, _)| used.contains(**name))
        .map(|(_, word)| *word)
        .collect();
    assert!(given.len() > 50, "the sources are not found: {given:?}");

    let reference = fs::read_to_string(repository("docs/reasons.md")).unwrap();
    let known: BTreeSet<&str> = reasons.values().copied().collect();
    let listed: BTreeSet<&str> = quoted(&reference).intersection(&known).copied().collect();
    let missing: Vec<_> = given.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "docs/reasons.md does not list {missing:?}"
    );
    let idle: Vec<_> = listed.difference(&given).collect();
    assert!(
        idle.is_empty(),
        "no process gives {idle:?}, which docs/reasons.md lists"
    );

    let cells = reference
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let words = cells
        .filter(|cell| !cell.contains("reason"))
        .flat_map(quoted);
    let unknown: BTreeSet<&str> = words.filter(|word| !known.contains(word)).collect();
    assert!(
        unknown.is_empty(),
        "docs/reasons.md lists {unknown:?}, which are no reasons"
    );
}
