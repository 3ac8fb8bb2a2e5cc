//! The parts of a log that survive a power loss.

use super::{Loss, Node, Part};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;

/// Decides which of the uncovered parts survive.
pub(super) struct Fate {
    loss: Loss,
    random: StdRng,
    /// For each folder, how many more names survive.
    names: HashMap<Node, u32>,
    /// For each file, whether all, nothing, zeros or some pages survive.
    content: HashMap<Node, u32>,
}

impl Fate {
    pub(super) fn new(loss: Loss) -> Self {
        let seed = if let Loss::Some(seed) = loss { seed } else { 0 };
        Self {
            loss,
            random: StdRng::seed_from_u64(seed),
            names: HashMap::new(),
            content: HashMap::new(),
        }
    }

    pub(super) fn of(&mut self, part: &Part) -> Option<Part> {
        let is_name = part.of_names().is_some();
        // The file got longer, but its new content was not written.
        let zeroed = |part: &Part| match part {
            Part::Write { node, offset, data } => {
                Part::Write { node: *node, offset: offset + data.len() as u64, data: Vec::new() }
            }
            other => other.clone(),
        };
        match self.loss {
            Loss::All => None,
            Loss::Nothing => Some(part.clone()),
            Loss::Content => is_name.then(|| part.clone()),
            Loss::Zeros => Some(zeroed(part)),
            Loss::Names => (!is_name).then(|| part.clone()),
            Loss::Some(_) => match part.of_names() {
                Some(dir) => {
                    let random = &mut self.random;
                    let left =
                        self.names.entry(dir).or_insert_with(|| match random.random_range(0..3) {
                            0 => 0,
                            1 => u32::MAX,
                            _ => random.random_range(0..8),
                        });
                    *left = left.checked_sub(1)?;
                    Some(part.clone())
                }
                None => {
                    let (Part::Write { node, .. }
                    | Part::Length { node, .. }
                    | Part::Attributes { node, .. }
                    | Part::LinkTime { node, .. }) = part
                    else {
                        return None;
                    };
                    let random = &mut self.random;
                    match self.content.entry(*node).or_insert_with(|| random.random_range(0..4)) {
                        0 => None,
                        1 => Some(part.clone()),
                        2 => Some(zeroed(part)),
                        _ => self.random.random_bool(0.5).then(|| part.clone()),
                    }
                }
            },
        }
    }
}
