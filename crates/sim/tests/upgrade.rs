//! State machines that change, in clusters that go on meanwhile.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use synod::StateMachine;
use synod_sim::check_upgrade;

/// A till, of the first version: it takes in, and knows nothing of fees.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Till {
    coins: u64,
    /// Not used in this version; the next one reads what this one has written.
    fees: bool,
}

/// What the first version understands.
#[derive(Clone, Serialize, Deserialize)]
enum Old {
    Pay(u64),
}

/// What the next version understands.
#[derive(Clone, Serialize, Deserialize)]
enum New {
    Pay(u64),
    ChargeFees,
}

impl StateMachine for Till {
    type Command = Old;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, command: Old) -> u64 {
        let Old::Pay(coins) = command;
        self.coins = self.coins.wrapping_add(coins);
        self.coins
    }

    fn query(&self, (): ()) -> u64 {
        self.coins
    }
}

/// The next version charges a fee once it has been told to, which is in the log.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Gated(Till);

impl StateMachine for Gated {
    type Command = New;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, command: New) -> u64 {
        match command {
            New::Pay(coins) if self.0.fees => self.0.apply(Old::Pay(coins - 1)),
            New::Pay(coins) => self.0.apply(Old::Pay(coins)),
            New::ChargeFees => {
                self.0.fees = true;
                self.0.coins
            }
        }
    }

    fn query(&self, (): ()) -> u64 {
        self.0.coins
    }
}

/// The next version charges a fee as soon as it runs.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Hasty(Till);

impl StateMachine for Hasty {
    type Command = New;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, command: New) -> u64 {
        match command {
            New::Pay(coins) => self.0.apply(Old::Pay(coins - 1)),
            New::ChargeFees => self.0.coins,
        }
    }

    fn query(&self, (): ()) -> u64 {
        self.0.coins
    }
}

fn pay(rng: &mut Rng) -> New {
    New::Pay(rng.u64(1..1000))
}

#[test]
fn a_change_that_begins_with_a_command_is_one_on_all_nodes() {
    check_upgrade::<Till, Gated>(40, pay, |_| (), || New::ChargeFees).unwrap();
}

#[test]
fn a_change_that_begins_with_a_restart_is_found() {
    let upgraded = check_upgrade::<Till, Hasty>(10, pay, |_| (), || New::ChargeFees);
    let failed = upgraded.expect_err("nodes take different sums for the same command");
    assert_eq!(failed.violation.property, "G8", "{failed}");
}

/// The limit that the README states: the first version changes nothing at a command that it cannot
/// read, and the next one does.
#[test]
fn a_new_command_before_all_are_upgraded_is_found() {
    let too_soon = |rng: &mut Rng| if rng.u8(..) < 20 { New::ChargeFees } else { pay(rng) };
    let upgraded = check_upgrade::<Till, Gated>(10, too_soon, |_| (), || New::ChargeFees);
    let failed = upgraded.expect_err("the first version cannot read it");
    assert_eq!(failed.violation.property, "G8", "{failed}");
}
