//! What happened in the runs, counted: a test in which nothing happens proves nothing.

use std::ops::AddAssign;

macro_rules! marks {
    ($($(#[$doc:meta])* $mark:ident >= $floor:literal,)*) => {
        #[derive(Clone, Copy, Default, Debug)]
        pub(crate) struct Marks {
            $($(#[$doc])* pub(crate) $mark: u64,)*
        }

        impl Marks {
            /// The marks that fall short of what `seeds` seeds must show; per 1,000 seeds.
            pub(crate) fn missing(&self, seeds: u64) -> Vec<String> {
                let mut missing = Vec::new();
                $(if self.$mark < $floor * seeds / 1000 {
                    let name = stringify!($mark);
                    missing.push(format!("{name}: {} in {seeds} seeds", self.$mark));
                })*
                missing
            }
        }

        impl AddAssign for Marks {
            fn add_assign(&mut self, other: Self) {
                $(self.$mark += other.$mark;)*
            }
        }
    };
}

marks! {
    /// Things done, by all processes together.
    steps >= 1_000_000,
    /// Slots performed, by all replicas together.
    slots_performed >= 20_000,
    /// Ballots that lost to higher ones.
    preemptions >= 1_000,
    /// Lives after the first.
    recoveries >= 1_000,
    /// Slots after the last snapshot that a restart performed without asking.
    performed_again >= 1_000,
    /// Pvalues that a disk lost.
    lost >= 100,
    /// Snapshots that were no longer newer when they had been restored.
    snapshots_late >= 1,
    /// Snapshots taken over from other replicas.
    snapshots_installed >= 100,
    /// Slots in which nothing was to be done.
    noops_chosen >= 200,
    /// Reconfigurations that took effect.
    reconfigurations >= 200,
    /// Processes of old configurations that stopped for good.
    stopped >= 50,
    /// Commands answered to clients.
    answered >= 5_000,
    /// Commands answered more than once.
    answered_again >= 500,
    /// Sessions that were too old.
    expired >= 5,
    /// Reads served.
    reads >= 500,
    /// Reads asked of a leader that held a lease.
    leased >= 2_000,
    /// Leaders that asked another one to take over.
    handed_over >= 100,
}
