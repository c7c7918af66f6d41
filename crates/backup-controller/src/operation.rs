//! What the kinds of this process have in common: velero-kit's rooms, as this process uses them.

pub use velero_kit::operation::{
    Common, Detail, Error, Operation, Parts, State, conclude, contact, deletion, destination,
    entry, events, hold, inherited, is_settled, look_again, member, memory, objects, outcome,
    refusal, silence, sooner, spec, stale, until,
};

/// The version of a hub object that a pass works on, and the writes of its status.
pub mod draft {
    use crate::context::BackupController;

    /// One pass over one object.
    pub type Draft<'a, K> = velero_kit::operation::draft::Draft<'a, BackupController, K>;
}

/// Calls to members that may outlive the pass that made them.
pub mod calls {
    use api_types::external::velero;
    use tokio::time::Instant;
    use velero_kit::deletion::Step;
    pub use velero_kit::operation::calls::{FRESH, NotNow, Slot, Slow, answers, busy, unanswered};
    use velero_kit::problem::Problem;

    use super::objects::Applied;
    use crate::schedule::apply::Placed;
    use crate::schedule::delete::Cleared;
    use crate::schedule::former::Left;

    /// One call to one member.
    pub type Call = velero_kit::operation::calls::Call<Answer>;

    /// What came of a call.
    #[derive(Debug, Clone)]
    pub enum Answer {
        /// The name that is free.
        Name(Result<String, Problem>),
        /// The Velero Backup that is there under the claimed name.
        Backup(Applied<velero::Backup>),
        /// The Velero Restore that is there, or why none was made.
        Restore(Result<Applied<velero::Restore>, NotNow>),
        /// The Velero Backup that can be restored, or why none can; as seen then.
        Run(Result<Box<velero::Backup>, NotNow>, Instant),
        /// How far the deletion of a Velero Backup is.
        Step(Result<Step, Problem>),
        /// The Schedule, and the run, that are there.
        Placed(Result<Box<Placed>, Problem>),
        /// What a cluster has after its Schedules were removed.
        Stopped(Result<Left, Problem>),
        /// How far the deletion of a Schedule and its runs is: what it waits for, and when to look again.
        Cleared(Result<Cleared, Problem>),
        /// What the deletion of Velero Restores waits for, if anything.
        Removed(Result<Option<Problem>, Problem>),
        /// Whether a Fleet's storage was set up, or given up.
        Stored(Result<(), Problem>),
    }
}
