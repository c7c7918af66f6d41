//! Where the programs are that a bed runs.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Finds programs: in `KUBEBUILDER_ASSETS`, then among those that `hack/tools/build.sh` has built
/// (under `KURATOR_TOOLS`, by default `~/.cache/kurator-rs/tools`), then on `PATH`. The pinned ones
/// go before `PATH`, so that what else is installed on a machine does not change a test.
#[derive(Debug, Clone)]
pub struct Tools {
    cache: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Tools {
    /// Looks up the folders; a missing program is reported by [`Tools::path`].
    pub fn find() -> Self {
        let cache = cache().map(|cache| cache.join("bin"));
        let mut folders = Vec::new();
        folders.extend(env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from));
        folders.extend(cache.clone());
        folders.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        Self { cache, folders }
    }

    /// The path of `program`, or an error that says how to get it.
    pub fn path(&self, program: &str) -> Result<PathBuf> {
        let found = self.folders.iter().map(|folder| folder.join(program));
        match found.into_iter().find(|path| path.is_file()) {
            Some(path) => Ok(path),
            None => bail!("the program {program} is missing: run hack/tools/build.sh to build it"),
        }
    }

    /// The path of `program` as built by us: only ours has the linker flags that it needs here.
    pub(crate) fn built(&self, program: &str) -> Result<PathBuf> {
        match self.cache.as_ref().map(|cache| cache.join(program)) {
            Some(path) if path.is_file() => Ok(path),
            _ => bail!("the program {program} is not built: run hack/tools/build.sh"),
        }
    }
}

fn cache() -> Option<PathBuf> {
    let var = |name| env::var_os(name).filter(|value| !value.is_empty());
    var("KURATOR_TOOLS").map(PathBuf::from).or_else(|| {
        var("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| var("HOME").map(|home| Path::new(&home).join(".cache")))
            .map(|base| base.join("kurator-rs/tools"))
    })
}
