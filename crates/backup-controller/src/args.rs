//! Flags and environment of the process.

use clap::Parser;
use controller_kit::args::ControllerArgs;

use crate::timings::Timings;

/// Runs Backups and Restores: one Velero object in each member cluster that they select.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// What every controller is told.
    #[command(flatten)]
    pub common: ControllerArgs,
    /// Waits of the reconcile loop as JSON in milliseconds, such as {"veleroSilence": 500}; for tests.
    #[arg(long, env = "KURATOR_TIMINGS", default_value = "{}", hide = true)]
    pub timings: Timings,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
