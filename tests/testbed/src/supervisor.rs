//! The one process that outlives ours for a moment: it kills our children when we are gone.
//!
//! A parent-death signal would follow the thread that spawned a child, and a test's thread ends long
//! before the bed. So a small shell reads process groups on its standard input, and when that closes,
//! for whatever reason, it kills them.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::address::Address;

/// It ends only when the killed are gone, since until then their ports are taken. Its argument is the
/// folder with what is of no use after them.
const SCRIPT: &str = r#"
pids=
while read -r verb pid; do
  case $verb in
    add) pids="$pids $pid " ;;
    del) case $pids in *" $pid "*) pids="${pids%% $pid *}${pids#* $pid }" ;; esac ;;
  esac
done
for pid in $pids; do kill -KILL "-$pid" 2>/dev/null; done
tries=0
for pid in $pids; do
  while [ -d "/proc/$pid" ] && [ $tries -lt 100 ]; do sleep 0.02; tries=$((tries + 1)); done
done
rm -rf -- "$1"
"#;

#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Mutex<Child>,
}

impl Supervisor {
    /// `address.lock` stays locked until the supervisor has ended: it holds it open as its standard
    /// output.
    pub(crate) fn start(address: &Address) -> Result<Self> {
        let lock = address.lock.try_clone();
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "testbed-supervisor"])
            .arg(&address.scratch)
            .stdin(Stdio::piped())
            .stdout(lock.context("cannot share the lock file")?)
            .stderr(Stdio::null())
            // Not ours, so that Ctrl-C in a terminal does not reach it.
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh as supervisor")?;
        Ok(Self {
            shell: Mutex::new(shell),
        })
    }

    pub(crate) fn add(&self, group: u32) -> Result<()> {
        self.tell("add", group)
            .context("the supervisor of the bed is gone")
    }

    pub(crate) fn forget(&self, group: u32) {
        // If the supervisor is gone there is nothing that could be forgotten.
        self.tell("del", group).ok();
    }

    fn tell(&self, verb: &str, group: u32) -> std::io::Result<()> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut shell.stdin {
            Some(stdin) => writeln!(stdin, "{verb} {group}"),
            None => Ok(()),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(shell.stdin.take());
        shell.wait().ok();
    }
}
