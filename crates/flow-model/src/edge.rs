//! Edges: the interfaces through which pods talk, as the edge book holds them.
//!
//! An edge has an id that is never given twice and, while it is hooked, a slot that
//! later edges may get again. Life of a record:
//!
//! | step | written by | meaning |
//! |---|---|---|
//! | free → zeroing | one store | id given, kernel cells being zeroed |
//! | zeroing → live | one store | may be hooked |
//! | live → draining | one store | its hooks are gone |
//! | draining → quarantined | redo log | its sums have moved to record 0 |
//! | quarantined → free | one store | may be given to another edge |

mod departed;
mod record;
mod text;

pub(crate) use departed::{BOOK_MAGIC, Departed};
pub use record::{CorruptEdge, EdgeRecord};
pub(crate) use record::{field, head_word, identity_word};
pub use text::{Text, TextTooLong};

use crate::flow::Direction;

/// Identity of an edge for as long as the ledger lives; 0 is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EdgeId(pub u32);

/// Where an edge stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EdgeState {
    /// The slot is nobody's.
    Free = 0,
    /// The slot is being prepared.
    Zeroing = 1,
    /// Hooked, or about to be.
    Live = 2,
    /// Without hooks, its last packets being drained.
    Draining = 3,
    /// Departed; the slot rests.
    Quarantined = 4,
}

impl EdgeState {
    /// Whether the sums of the record belong to the node counters.
    pub const fn counts(self) -> bool {
        matches!(self, Self::Live | Self::Draining)
    }
}

/// How the amounts of an edge appear among the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exposure {
    /// Held back until the pod is known.
    Unnamed = 0,
    /// In the series of its pod.
    Series = 1,
    /// In `other`, for good: there were too many pods when it was named.
    Other = 2,
}

/// Where a hook sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Place {
    /// There is no hook.
    #[default]
    None = 0,
    /// On the device in the node's namespace.
    Host = 1,
    /// On the device in the pod's namespace.
    Pod = 2,
    /// On a device of the node itself.
    Nic = 3,
    /// On a cgroup.
    Cgroup = 4,
}

/// How a hook is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Attachment {
    /// There is no hook.
    #[default]
    None = 0,
    /// By a tcx link.
    Tcx = 1,
    /// By a filter under a clsact qdisc.
    Clsact = 2,
    /// By a cgroup link.
    Cgroup = 3,
    /// By a filter under a clsact qdisc that we made.
    ClsactOwn = 4,
}

impl Attachment {
    /// Whether a filter holds the hook.
    pub const fn is_filter(self) -> bool {
        matches!(self, Self::Clsact | Self::ClsactOwn)
    }
}

/// One hook of an edge; a single word in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hook {
    /// Where it sits.
    pub place: Place,
    /// How it is held.
    pub attachment: Attachment,
    /// Preference of the clsact filter.
    pub preference: u16,
    /// Handle of the clsact filter.
    pub handle: u32,
}

/// Who an edge belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Identity {
    /// Name of the pod, or of the edge where no pod is known.
    pub name: Text,
    /// Kubernetes namespace; empty without Kubernetes.
    pub namespace: Text,
    /// Pod UID; empty without Kubernetes.
    pub uid: Text,
}

impl Identity {
    /// Nobody.
    pub const EMPTY: Self = Self { name: Text::EMPTY, namespace: Text::EMPTY, uid: Text::EMPTY };

    /// Whether both are the same pod as far as series labels can tell.
    pub fn same_pod(&self, other: &Self) -> bool {
        self.name == other.name && self.namespace == other.namespace
    }
}

/// What is known of an edge when it is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EdgeSpec {
    /// Its name, and its pod if that is known already.
    pub identity: Identity,
    /// Whether `identity` is final. If not, the amounts wait for [`name_edge`].
    ///
    /// [`name_edge`]: crate::ledger::Ledger::name_edge
    pub named: bool,
    /// Inode of the network namespace that the pod lives in.
    pub netns_inode: u64,
    /// Index of the device in the node's namespace; 0 when there is none.
    pub host_ifindex: u32,
    /// Index of the device in the pod's namespace; 0 when there is none.
    pub pod_ifindex: u32,
}

impl Hook {
    /// Packs the hook into its word of the record.
    pub const fn to_word(self) -> u64 {
        self.place as u64
            | (self.attachment as u64) << 8
            | (self.preference as u64) << 16
            | (self.handle as u64) << 32
    }

    /// Unpacks the word of a record; `None` if a code is unassigned.
    pub fn from_word(word: u64) -> Option<Self> {
        let [place, attachment, low, high, ..] = word.to_le_bytes();
        Some(Self {
            place: *PLACES.get(usize::from(place))?,
            attachment: *ATTACHMENTS.get(usize::from(attachment))?,
            preference: u16::from_le_bytes([low, high]),
            handle: upper(word),
        })
    }
}

/// The word of a record that holds the hook of one direction.
pub(crate) const fn hook_word(direction: Direction) -> usize {
    field::HOOKS + direction as usize
}

pub(crate) const fn lower(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

pub(crate) const fn upper(word: u64) -> u32 {
    (word >> 32) as u32
}

const PLACES: [Place; 5] = [Place::None, Place::Host, Place::Pod, Place::Nic, Place::Cgroup];
const ATTACHMENTS: [Attachment; 5] = [
    Attachment::None,
    Attachment::Tcx,
    Attachment::Clsact,
    Attachment::Cgroup,
    Attachment::ClsactOwn,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_survives_its_word() {
        for place in PLACES {
            for attachment in ATTACHMENTS {
                let hook = Hook { place, attachment, preference: 7, handle: 0xfa7 };
                assert_eq!(Hook::from_word(hook.to_word()), Some(hook));
            }
        }
    }

    #[test]
    fn codes_are_their_places_in_the_tables() {
        assert!(PLACES.iter().enumerate().all(|(at, place)| *place as usize == at));
        assert!(ATTACHMENTS.iter().enumerate().all(|(at, held)| *held as usize == at));
        let beyond = ATTACHMENTS.len() as u64;
        assert_eq!(Hook::from_word(beyond << 8), None);
    }
}
