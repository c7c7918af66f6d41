//! Where our own programs are.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The path of `program`, which cargo puts beside us, or beside the folder that tests are in.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    let folders = here.ancestors().skip(1).take(2);
    match folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
    {
        Some(path) => Ok(path),
        None => bail!(
            "{program} is not built beside {}: run cargo build --workspace --bins",
            here.parent().unwrap_or(&here).display()
        ),
    }
}
