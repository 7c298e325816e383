//! Records in the order in which they may be taken from their pairs.

use std::collections::{HashMap, HashSet};

use crate::edge::EdgeId;

/// Light pairs, each handed out once: the lightest of all, or of one edge.
#[derive(Debug)]
pub(super) struct Light {
    /// Weight and record, heaviest first.
    all: Vec<(u64, usize)>,
    of_edge: HashMap<EdgeId, Vec<(u64, usize)>>,
    taken: HashSet<usize>,
}

impl Light {
    /// Takes weight, record and owner of each pair.
    pub(super) fn new(mut weights: Vec<(u64, usize, EdgeId)>) -> Self {
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let mut of_edge: HashMap<EdgeId, Vec<_>> = HashMap::new();
        for (weight, cell, owner) in &weights {
            of_edge.entry(*owner).or_default().push((*weight, *cell));
        }
        let all = weights.into_iter().map(|(weight, cell, _)| (weight, cell)).collect();
        Self { all, of_edge, taken: HashSet::new() }
    }

    /// The lightest pair left.
    pub(super) fn pop(&mut self) -> Option<(u64, usize)> {
        take(&mut self.all, &mut self.taken)
    }

    /// The lightest pair left that an edge owns.
    pub(super) fn pop_of(&mut self, edge: EdgeId) -> Option<(u64, usize)> {
        take(self.of_edge.get_mut(&edge)?, &mut self.taken)
    }
}

fn take(from: &mut Vec<(u64, usize)>, taken: &mut HashSet<usize>) -> Option<(u64, usize)> {
    let (weight, cell) =
        std::iter::from_fn(|| from.pop()).find(|(_, cell)| !taken.contains(cell))?;
    taken.insert(cell);
    Some((weight, cell))
}

#[cfg(test)]
mod tests {
    use super::Light;
    use crate::edge::EdgeId;

    #[test]
    fn the_lightest_comes_first_and_no_record_comes_twice() {
        let (a, b) = (EdgeId(1), EdgeId(2));
        let mut light = Light::new(vec![(30, 0, a), (10, 1, a), (20, 2, b), (40, 3, b)]);
        assert_eq!(light.pop_of(b), Some((20, 2)));
        assert_eq!([light.pop(), light.pop()], [Some((10, 1)), Some((30, 0))]);
        assert_eq!(light.pop_of(a), None);
        assert_eq!(
            [light.pop_of(b), light.pop(), light.pop_of(EdgeId(3))],
            [Some((40, 3)), None, None]
        );
    }
}
