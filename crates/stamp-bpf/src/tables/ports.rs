//! What each UDP port is: one table for all of them, so that a foreign packet costs one
//! look.

use std::collections::BTreeMap;

use libbpf_rs::{MapCore as _, MapFlags};

use super::{Tables, write};
use crate::error::{Error, Step};
use crate::layout::PORT_BITS;

/// What a UDP port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortUse {
    /// Requests to it are answered.
    pub reflector: bool,
    /// Requests of ours come from it.
    pub sender: bool,
    /// Reflectors are known to be behind it at other hosts.
    pub known: bool,
}

impl PortUse {
    fn bits(self) -> u64 {
        u64::from(self.reflector) | u64::from(self.sender) << 1 | u64::from(self.known) << 2
    }
}

impl Tables {
    /// Says which ports are ours; all others are not. What stays is not written again.
    ///
    /// # Errors
    ///
    /// When the map can't be read or written.
    pub fn set_ports(&self, ports: &BTreeMap<u16, PortUse>) -> Result<(), Error> {
        for (index, word) in changes(&self.port_words()?, &words(ports)) {
            write(&self.maps.ports, "ports", &index.to_ne_bytes(), &word.to_ne_bytes())?;
        }
        Ok(())
    }

    /// The words that are there, in a single call of the kernel.
    fn port_words(&self) -> Result<Vec<u64>, Error> {
        let failed = || Error::libbpf(Step::Read, "ports");
        let all = self.maps.ports.lookup_batch(WORDS as u32, MapFlags::ANY, MapFlags::ANY);
        let words = all.map_err(failed())?.map(|(_, word)| word);
        Ok(words.map_while(|word| word.first_chunk().copied().map(u64::from_ne_bytes)).collect())
    }
}

fn words(ports: &BTreeMap<u16, PortUse>) -> Vec<u64> {
    let mut words = vec![0; WORDS];
    for (&port, of) in ports {
        let port = usize::from(port);
        words[port / PER_WORD] |= of.bits() << (port % PER_WORD * PORT_BITS);
    }
    words
}

/// The words to write, each with its place: those that are not as they should be.
fn changes<'a>(are: &'a [u64], should: &'a [u64]) -> impl Iterator<Item = (u32, u64)> + 'a {
    let are = are.iter().copied().map(Some).chain(std::iter::repeat(None));
    (0..)
        .zip(are.zip(should.iter().copied()))
        .filter_map(|(index, (is, should))| (is != Some(should)).then_some((index, should)))
}

const PER_WORD: usize = 64 / PORT_BITS;
const WORDS: usize = (1 << 16) / PER_WORD;

#[cfg(test)]
mod tests {
    use super::{PortUse, WORDS, changes, words};
    use std::collections::BTreeMap;

    fn reflectors(ports: &[u16]) -> BTreeMap<u16, PortUse> {
        let of = PortUse { reflector: true, ..PortUse::default() };
        ports.iter().map(|&port| (port, of)).collect()
    }

    #[test]
    fn a_port_has_its_bits_and_no_other_has_them() {
        let all = PortUse { reflector: true, sender: true, known: true };
        let words = words(&[(862, all), (65_535, PortUse { known: true, ..all })].into());
        assert_eq!(words[862 / 16], 7 << (862 % 16 * 4));
        assert_eq!(words[4095], 7 << 60);
        assert_eq!(words.iter().filter(|&&word| word != 0).count(), 2);
    }

    #[test]
    fn only_what_changes_is_written() {
        let [one, two] = [&[862, 863][..], &[863, 5000]].map(|ports| words(&reflectors(ports)));
        assert_eq!(changes(&one, &one).count(), 0);
        let changed: Vec<_> = changes(&one, &two).collect();
        assert_eq!(changed, [(53, two[53]), (312, two[312])]);
        assert_eq!(changes(&[], &one).count(), WORDS, "what can't be seen is written");
    }
}
