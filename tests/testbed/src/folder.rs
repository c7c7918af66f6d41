//! The folder of one run: logs, kubeconfigs, the object store's data.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::process::process_is_gone;

/// Runs that are kept to look at; older ones go.
const KEEP: usize = 20;

/// Makes `target/testbed/<name>-<pid>-<n>` and removes the oldest folders beside it.
pub(crate) fn for_run(name: &str) -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let root = target().join("testbed");
    prune(&root);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = root.join(format!("{name}-{}-{count}", std::process::id()));
    make(&folder)?;
    Ok(folder)
}

/// Makes `dir` the folder of a bed, whose `parts` are made anew. What else is in it stays. The bed
/// has it as long as the file is open.
pub(crate) fn claim<'a>(dir: &Path, parts: impl Iterator<Item = &'a str>) -> Result<File> {
    make(dir)?;
    let marker = dir.join(".testbed");
    let ours = marker.exists();
    let paths: Vec<PathBuf> = parts.map(|part| dir.join(part)).collect();
    if let Some(path) = paths.iter().find(|path| path.exists() && !ours) {
        bail!(
            "{} is in the way and not from a bed: remove it or choose another folder",
            path.display()
        );
    }
    let claim =
        File::create(&marker).with_context(|| format!("cannot make {}", marker.display()))?;
    if claim.try_lock().is_err() {
        bail!("a bed already runs in {}", dir.display());
    }
    for path in paths.iter().filter(|path| path.exists()) {
        fs::remove_dir_all(path).with_context(|| format!("cannot clear {}", path.display()))?;
    }
    Ok(claim)
}

/// Makes a folder with its parents.
pub(crate) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Writes a file that holds a key or a token.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || {
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            let root = here.ancestors().nth(2).unwrap_or(here);
            root.join("target")
        },
        PathBuf::from,
    )
}

/// Leaves alone what belongs to a process that still runs.
fn prune(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    let mut runs: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| owner(&entry.file_name().to_string_lossy()).is_none_or(process_is_gone))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    runs.sort();
    let surplus = runs.len().saturating_sub(KEEP);
    for (_, path) in runs.into_iter().take(surplus) {
        fs::remove_dir_all(path).ok();
    }
}

/// The process id in `<name>-<pid>-<n>`.
fn owner(folder: &str) -> Option<u32> {
    folder.rsplit('-').nth(1)?.parse().ok()
}
