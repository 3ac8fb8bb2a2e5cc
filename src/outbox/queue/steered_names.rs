//! Pure: the names about which the user has given a command.

use super::index::is_beneath;
use crate::proto::name::Name;
use std::collections::BTreeSet;

/// The names that overtake others, and those that are about to leave the queue.
#[derive(Debug, Default)]
pub(crate) struct Steering {
    /// These and everything beneath them are sent before all others.
    pub urgent: BTreeSet<Name>,
    /// Names whose entries have left or were delivered since they were urgent.
    pub ended: Vec<Name>,
    /// Urgent names that an earlier process has left, until the first scan is complete.
    pub recalled: Vec<Name>,
    pub held: Option<HeldBack>,
}

/// A name that is being cancelled: it and everything beneath it is not handed out.
#[derive(Debug)]
pub(crate) struct HeldBack {
    name: Name,
    /// Entries that would have been handed out otherwise, or were given back.
    pub stopped: BTreeSet<Name>,
}

impl HeldBack {
    pub(crate) fn new(name: &Name) -> Self {
        Self { name: name.clone(), stopped: BTreeSet::new() }
    }
}

impl Steering {
    /// Whether this entry overtakes those that are not urgent.
    pub(crate) fn is_urgent(&self, name: &Name) -> bool {
        !self.urgent.is_empty()
            && std::iter::successors(Some(name.clone()), Name::parent)
                .any(|above| self.urgent.contains(&above))
    }

    /// The entry is delivered or gone: a later one of its name is not urgent.
    pub(crate) fn left(&mut self, name: &Name) {
        if !self.urgent.is_empty() && self.urgent.remove(name) {
            self.ended.push(name.clone());
        }
    }

    pub(crate) fn holds_back(&self, name: &Name) -> bool {
        self.held.as_ref().is_some_and(|held| *name == held.name || is_beneath(name, &held.name))
    }
}
