//! A supervised child process with a log file, which can be killed, stopped and started again.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::supervisor::Supervisor;
use crate::wait::wait_for;

/// The child waits for a word from us until the supervisor knows it, so that there is no moment in
/// which our sudden death leaves it behind.
const GATE: &str = r#"read -r word && [ "$word" = go ] && exec "$@" </dev/null"#;

/// How long the kernel may take to remove a killed process.
const GONE: Duration = Duration::from_secs(10);
const TAIL_LINES: usize = 15;
/// Garbage of Go programs in percent of what lives, before they collect it: three times the usual one.
/// A bed is short of processors, not of memory.
const GOGC: &str = "300";

/// What to run. The environment is empty but for `PATH`, `GOGC` and what is set here.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log: PathBuf,
}

impl Program {
    /// `name` is for messages; standard output and error are appended to `log`.
    pub fn new(name: &str, path: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            log: log.into(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn command(&self, log: File) -> Result<Command> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GATE, &self.name])
            .arg(&self.path)
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GOGC", GOGC)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("cannot share the log file")?)
            .stderr(log)
            .process_group(0);
        Ok(command)
    }
}

#[derive(Debug)]
enum State {
    Running(Child),
    Ended(ExitStatus),
}

/// A child in a process group of its own. It dies when this value is dropped and when our process
/// ends in whatever way.
#[derive(Debug)]
pub struct Process {
    program: Program,
    supervisor: Arc<Supervisor>,
    state: Mutex<State>,
}

impl Process {
    pub(crate) fn spawn(program: Program, supervisor: Arc<Supervisor>) -> Result<Self> {
        let child = launch(&program, &supervisor)?;
        Ok(Self {
            program,
            supervisor,
            state: Mutex::new(State::Running(child)),
        })
    }

    /// The name given in [`Program::new`].
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// The file with everything it wrote, over all its starts.
    pub fn log_path(&self) -> &Path {
        &self.program.log
    }

    /// The whole log as text.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.program.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process id, none when it has ended.
    pub fn pid(&self) -> Option<u32> {
        match &*self.poll() {
            State::Running(child) => Some(child.id()),
            State::Ended(_) => None,
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// Starts it again, as it was started first. It must have ended.
    pub fn start(&self) -> Result<()> {
        let mut state = self.poll();
        if matches!(*state, State::Running(_)) {
            bail!("{} is running already", self.program.name);
        }
        *state = State::Running(launch(&self.program, &self.supervisor)?);
        Ok(())
    }

    /// Kills it with all its descendants, as `kill -9` would, and returns when they are gone.
    pub async fn kill(&self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        killpg(to_pid(pid), Signal::SIGKILL).ok();
        self.wait(GONE).await?;
        wait_for(
            &format!("the end of all of {}", self.name()),
            GONE,
            async || group_is_gone(pid).then_some(()),
        )
        .await
    }

    /// Stops it in its tracks, with all its descendants: it keeps its connections and answers
    /// nothing, as a process does that hangs.
    pub fn freeze(&self) -> Result<()> {
        self.signal_group(Signal::SIGSTOP)
    }

    /// Lets it go on after [`Process::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.signal_group(Signal::SIGCONT)
    }

    fn signal_group(&self, signal: Signal) -> Result<()> {
        let pid = self
            .pid()
            .with_context(|| format!("{} does not run", self.name()))?;
        killpg(to_pid(pid), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name()))
    }

    /// Asks it to end (SIGTERM), waits for `grace`, and kills what is left. Gives the exit status.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            kill(to_pid(pid), Signal::SIGTERM).ok();
            if self.wait(grace).await.is_err() {
                self.kill().await?;
            }
            killpg(to_pid(pid), Signal::SIGKILL).ok();
        }
        self.wait(GONE).await
    }

    /// Waits until it has ended by itself.
    pub async fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        wait_for(
            &format!("the end of {}", self.name()),
            deadline,
            async || match &*self.poll() {
                State::Running(_) => None,
                State::Ended(status) => Some(*status),
            },
        )
        .await
    }

    /// An error with the end of the log if it no longer runs.
    pub fn check(&self) -> Result<()> {
        match &*self.poll() {
            State::Running(_) => Ok(()),
            State::Ended(status) => Err(self.explain(&anyhow!("it ended with {status}"))),
        }
    }

    /// `error` with the name of this process and the end of its log.
    pub fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        anyhow!(
            "{}: {error:#}\nthe end of {}:\n  {}",
            self.program.name,
            self.program.log.display(),
            tail.join("\n  ")
        )
    }

    fn poll(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(child) = &mut *state
            && let Ok(Some(status)) = child.try_wait()
        {
            // Its own children, Velero's plugins for example, must not outlive it.
            killpg(to_pid(child.id()), Signal::SIGKILL).ok();
            self.supervisor.forget(child.id());
            *state = State::Ended(status);
        }
        state
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(child) = state {
            killpg(to_pid(child.id()), Signal::SIGKILL).ok();
            child.wait().ok();
            self.supervisor.forget(child.id());
        }
    }
}

fn launch(program: &Program, supervisor: &Supervisor) -> Result<Child> {
    let name = &program.name;
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&program.log)
        .with_context(|| format!("cannot open {} for {name}", program.log.display()))?;
    writeln!(log, "--- {name} starts").context("cannot write the log")?;
    let mut child = program
        .command(log)?
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let opened = supervisor.add(child.id()).and_then(|()| {
        let mut gate = child.stdin.take().context("it has no standard input")?;
        gate.write_all(b"go\n").context("it ended at once")
    });
    if let Err(error) = opened {
        child.kill().ok();
        child.wait().ok();
        return Err(error.context(format!("cannot start {name}")));
    }
    Ok(child)
}

/// Whether process `pid` has ended. A process that waits for its parent to take note has.
pub fn process_is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| stat.ended)
}

fn group_is_gone(group: u32) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return true;
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .all(|stat| stat.ended || stat.group != group)
}

struct Stat {
    ended: bool,
    group: u32,
}

/// The two fields of `/proc/<pid>/stat` that matter, which follow the name in parentheses.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some(Stat {
        ended: matches!(state, "Z" | "X"),
        group,
    })
}

fn to_pid(pid: u32) -> Pid {
    // A process id of Linux is below 2^22.
    Pid::from_raw(pid.cast_signed())
}
