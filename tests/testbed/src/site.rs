//! What every part of a bed needs to know about it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use crate::folder;
use crate::process::{Process, Program};
use crate::supervisor::Supervisor;
use crate::tools::Tools;

#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) tools: Tools,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) ip: Ipv4Addr,
    /// Kept after the run.
    pub(crate) dir: PathBuf,
    /// Removed with the bed; its path is short.
    pub(crate) scratch: PathBuf,
}

impl Site {
    pub(crate) fn spawn(&self, program: Program) -> Result<Process> {
        Process::spawn(program, Arc::clone(&self.supervisor))
    }

    /// The same bed with folders of its own for the part called `name`.
    pub(crate) fn part(&self, name: &str) -> Result<Self> {
        let part = Self {
            dir: self.dir.join(name),
            scratch: self.scratch.join(name),
            ..self.clone()
        };
        folder::make(&part.dir)?;
        folder::make(&part.scratch)?;
        Ok(part)
    }
}
