//! What one wait tells its caller.

use std::collections::HashMap;

use super::{Crossing, Key};

/// Something that changed since the last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A crossing is new; facts that are not known yet follow as [`Change::Changed`].
    Appeared(Box<Crossing>),
    /// More is known of a crossing, or something else is true of it now.
    Changed(Box<Crossing>),
    /// A crossing is gone.
    Vanished(Key),
    /// Events were lost; list everything again.
    Resync,
}

/// Changes in the order in which they happened, at most one state of a crossing in a row.
#[derive(Debug, Default)]
pub(super) struct Changes {
    list: Vec<Change>,
    /// Where the latest state of a crossing stands.
    latest: HashMap<Key, usize>,
}

impl Changes {
    pub(super) fn appeared(&mut self, crossing: &Crossing) {
        self.latest.insert(crossing.key, self.list.len());
        self.list.push(Change::Appeared(Box::new(crossing.clone())));
    }

    /// The first message about a crossing is the one that its lag is measured from.
    pub(super) fn changed(&mut self, crossing: &Crossing) {
        let place = self.latest.get(&crossing.key).copied();
        match place.and_then(|place| self.list.get_mut(place)) {
            Some(Change::Appeared(told) | Change::Changed(told)) => {
                let noticed = told.noticed;
                **told = crossing.clone();
                told.noticed = noticed;
            }
            _ => {
                self.latest.insert(crossing.key, self.list.len());
                self.list.push(Change::Changed(Box::new(crossing.clone())));
            }
        }
    }

    pub(super) fn vanished(&mut self, key: Key) {
        self.latest.remove(&key);
        self.list.push(Change::Vanished(key));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn into_list(self) -> Vec<Change> {
        self.list
    }
}
