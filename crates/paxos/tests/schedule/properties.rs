//! What must hold, checked on every event. A property remembers whatever it needs across crashes:
//! nothing that left a process, and nothing that was on its disk, can be taken back.

mod acceptors;
mod clients;
mod leaders;
mod replicas;

use crate::{
    event::{Event, Violation},
    history::History,
};

pub(crate) trait Property {
    /// The paper's name for it, or the section that asks for it.
    fn name(&self) -> &'static str;

    /// Judges an event that `history` has noticed.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String>;
}

/// All properties.
pub(crate) fn all() -> Vec<Box<dyn Property>> {
    vec![
        Box::new(acceptors::BallotsRise::default()),
        Box::new(acceptors::AcceptsWhatItHolds::default()),
        Box::new(acceptors::ForgetsNothing),
        Box::new(acceptors::OneDecreePerBallot),
        Box::new(acceptors::ChosenStaysChosen),
        Box::new(acceptors::CollectsWhatIsHeld),
        Box::new(leaders::OneCommander::default()),
        Box::new(leaders::ProposesWhatMayBeChosen::default()),
        Box::new(replicas::LearnsWhatIsChosen),
        Box::new(replicas::PerformsInOrder::default()),
        Box::new(replicas::NotesWhatIsChosen),
        Box::new(replicas::WithinWindow),
        Box::new(replicas::RetiresWhatIsDone),
        Box::new(clients::OnlyWhatWasAsked::default()),
        Box::new(clients::ExactlyOnce),
        Box::new(clients::AnswersFromTheHistory),
        Box::new(clients::ReadsTheLatest::default()),
    ]
}

/// Lets the history notice an event, and all properties judge it.
///
/// # Errors
/// The first property that does not hold.
pub(crate) fn judge(
    properties: &mut [Box<dyn Property>],
    history: &mut History,
    event: &Event<'_>,
) -> Result<(), Violation> {
    history.notice(event);
    for property in properties {
        if let Err(what) = property.check(event, history) {
            return Err(Violation { property: property.name(), what });
        }
    }
    Ok(())
}
