//! `hack/tools/build.sh` and `hack/quickstart.sh` say what is missing before they begin anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// What the scripts themselves call.
const PROGRAMS: [&str; 11] = [
    "awk",
    "bash",
    "cat",
    "cut",
    "dirname",
    "flock",
    "ln",
    "mkdir",
    "mv",
    "readlink",
    "sha256sum",
];

/// A machine with an empty cache of tools, and with no Go, Rust, git or C compiler but those that are put
/// there.
struct Machine {
    root: TempDir,
}

impl Machine {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for program in PROGRAMS {
            symlink(found(program), bin.join(program)).unwrap();
        }
        Self { root }
    }

    /// A Go that says that it is of this version, and notes when it is to build something.
    fn with_go(self, version: &str) -> Self {
        let built = self.root.path().join("built").display().to_string();
        let script =
            format!("if [ \"$1\" = env ]; then echo {version}; else echo x >{built}; exit 9; fi");
        self.with("go", &script)
    }

    /// A cargo that says that it is of this version, and notes when it is to build something.
    fn with_cargo(self, version: &str) -> Self {
        let built = self.root.path().join("built").display().to_string();
        let script = format!(
            "if [ \"$1\" = --version ]; then echo \"cargo {version} (f00 2026-01-01)\"; \
             else echo x >{built}; exit 9; fi"
        );
        self.with("cargo", &script)
    }

    /// A program that does this.
    fn with(self, name: &str, script: &str) -> Self {
        let program = self.root.path().join("bin").join(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn build(&self, args: &[&str]) -> Output {
        self.run("tools/build.sh", args)
    }

    fn quickstart(&self, args: &[&str]) -> Output {
        self.run("quickstart.sh", args)
    }

    fn run(&self, script: &str, args: &[&str]) -> Output {
        let hack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hack");
        Command::new(found("bash"))
            .arg(hack.join(script))
            .args(args)
            .env_clear()
            .env("PATH", self.root.path().join("bin"))
            .env("KURATOR_TOOLS", self.root.path().join("tools"))
            .output()
            .unwrap()
    }

    fn has_built(&self) -> bool {
        self.root.path().join("built").exists()
    }
}

fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut folders = std::env::split_paths(&path);
    let folder = folders.find(|folder| folder.join(program).is_file());
    folder.unwrap().join(program)
}

#[track_caller]
fn assert_fails(output: &Output, expected: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for text in expected {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
}

#[test]
fn without_go_it_says_what_to_install() {
    let machine = Machine::new();
    assert_fails(
        &machine.build(&[]),
        &["Go is missing", "Install Go 1.26 or newer"],
    );
}

#[test]
fn a_go_that_is_too_old_or_unknown_is_named_and_not_used() {
    for old in ["go1.25.9", "go1.9", "devel"] {
        let machine = Machine::new().with_go(old);
        let expected = [&format!("found {old}"), "need Go 1.26 or newer"];
        assert_fails(&machine.build(&[]), &expected);
        assert!(!machine.has_built());
    }
}

#[test]
fn a_new_one_is_used_and_a_build_that_fails_names_its_program() {
    for new in ["go1.26", "go1.27rc1", "go1.30.1"] {
        let machine = Machine::new().with_go(new);
        assert_fails(&machine.build(&[]), &["etcd could not be built"]);
        assert!(machine.has_built());
    }
}

#[test]
fn to_check_it_needs_no_go_and_names_what_is_not_built() {
    let machine = Machine::new();
    let expected = ["not built: etcd kube-apiserver", "velero", "kubectl"];
    assert_fails(&machine.build(&["--check"]), &expected);
}

#[test]
fn a_quickstart_without_what_builds_it_or_with_a_rust_too_old_or_unknown_says_what_to_install() {
    let missing = Machine::new().quickstart(&["--once"]);
    let expected = ["cargo is missing", "Install Rust 1.95 or newer"];
    assert_fails(&missing, &expected);
    for old in ["1.94.1", "1.9.0", "0.96.0", "nightly"] {
        let machine = Machine::new()
            .with_cargo(old)
            .with("git", "")
            .with("cc", "");
        let found = format!("found cargo {old}, need Rust 1.95 or newer");
        assert_fails(&machine.quickstart(&[]), &[&found, "rustup update"]);
        assert!(!machine.has_built());
    }
    for new in ["1.95.0", "1.96.0-nightly", "1.100.2"] {
        let machine = Machine::new().with_cargo(new);
        assert_fails(&machine.quickstart(&[]), &["git is missing"]);
        let machine = machine.with("git", "");
        assert_fails(&machine.quickstart(&[]), &["cc is missing", "a C compiler"]);
        // With all of them it goes on to the tools.
        let machine = machine.with("cc", "");
        assert_fails(&machine.quickstart(&["--full"]), &["Go is missing"]);
        assert!(!machine.has_built());
    }
}

#[test]
fn a_quickstart_names_an_argument_that_it_does_not_know_and_those_that_it_does() {
    for args in [
        &["--twice"][..],
        &["--once", "--twice"],
        &["--twice", "--full"],
    ] {
        let machine = Machine::new();
        let expected = ["unknown argument --twice", "[--full] [--once]"];
        assert_fails(&machine.quickstart(args), &expected);
    }
}
