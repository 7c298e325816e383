//! Keys, and the HMAC that protects a packet. RFC 8762 §4.4, RFC 8972 §4.8.
//!
//! HMAC-SHA-256 cut to 16 octets. A key is kept as the two states that SHA-256 is in
//! behind the padded key, one for the inner and one for the outer pass: the kernel
//! programs start from the same two states, so that both compute alike and the key
//! itself need not be kept. The states are as good as the key and must be kept as well.

use std::fmt;

use sha2::block_api::compress256;
use subtle::ConstantTimeEq;

use crate::packet::Mode;

/// Octets of an HMAC in a packet.
pub const HMAC_LEN: usize = 16;

/// A key, as the states of SHA-256 that begin the two passes of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl Key {
    /// Derives the states from `secret`; one over 64 octets is hashed first. RFC 2104 §2.
    pub fn new(secret: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        if secret.len() > BLOCK {
            block[..DIGEST].copy_from_slice(&finish(INITIAL, 0, &[secret]));
        } else {
            block[..secret.len()].copy_from_slice(secret);
        }
        let state = |pad: u8| {
            let mut state = INITIAL;
            compress256(&mut state, &[block.map(|octet| octet ^ pad)]);
            state
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    /// The state behind the inner pad: where the kernel program starts.
    pub const fn inner(&self) -> &[u32; 8] {
        &self.inner
    }

    /// The state behind the outer pad.
    pub const fn outer(&self) -> &[u32; 8] {
        &self.outer
    }

    /// HMAC over `parts` one behind the other, cut to what a packet carries.
    pub fn hmac(&self, parts: &[&[u8]]) -> [u8; HMAC_LEN] {
        let inner = finish(self.inner, BLOCK, parts);
        let outer = finish(self.outer, BLOCK, &[&inner]);
        outer[..HMAC_LEN].try_into().expect("a digest is longer than an HMAC")
    }

    /// Writes the HMAC of an authenticated base packet that is otherwise complete.
    ///
    /// # Panics
    ///
    /// When `payload` is shorter than an authenticated base packet.
    pub fn sign(&self, payload: &mut [u8]) {
        let (covered, rest) = payload.split_at_mut(COVERED);
        rest[..HMAC_LEN].copy_from_slice(&self.hmac(&[covered]));
    }

    /// True when `payload` is an authenticated packet that the holder of this key made.
    pub fn verifies(&self, payload: &[u8]) -> bool {
        let Some((covered, rest)) = payload.split_at_checked(COVERED) else { return false };
        rest.get(..HMAC_LEN).is_some_and(|told| self.hmac(&[covered]).ct_eq(told).into())
    }

    /// HMAC of the TLVs `before` the HMAC TLV of the packet with this base sequence
    /// number; verification compares it with [`Key::matches`].
    pub fn tlv_hmac(&self, sequence: [u8; 4], before: &[u8]) -> [u8; HMAC_LEN] {
        self.hmac(&[&sequence, before])
    }

    /// Compares two HMACs in a time that tells nothing of where they differ.
    pub fn matches(computed: &[u8; HMAC_LEN], told: &[u8]) -> bool {
        computed.ct_eq(told).into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// Ends a hash that stands in `state` behind `before` octets with `parts`.
fn finish(mut state: [u32; 8], before: usize, parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut block = [0; BLOCK];
    let mut filled = 0;
    let mut total = before;
    for &octet in parts.iter().copied().flatten() {
        block[filled] = octet;
        filled += 1;
        total += 1;
        if filled == BLOCK {
            compress256(&mut state, &[block]);
            filled = 0;
        }
    }
    pad(&mut state, block, filled, total);
    let mut digest = [0; DIGEST];
    for (word, octets) in state.iter().zip(digest.chunks_exact_mut(4)) {
        octets.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// The last one or two blocks: a bit, zeros and the length in bits. FIPS 180-4 §5.1.1.
fn pad(state: &mut [u32; 8], mut block: [u8; BLOCK], filled: usize, total: usize) {
    block[filled] = 0x80;
    block[filled + 1..].fill(0);
    if filled + 1 > BLOCK - 8 {
        compress256(state, &[block]);
        block.fill(0);
    }
    block[BLOCK - 8..].copy_from_slice(&(total as u64 * 8).to_be_bytes());
    compress256(state, &[block]);
}

/// Octets of an authenticated base packet in front of its HMAC.
const COVERED: usize = Mode::Authenticated.base_len() - HMAC_LEN;

const BLOCK: usize = 64;
const DIGEST: usize = 32;

/// Where every SHA-256 starts. FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

#[cfg(test)]
mod tests {
    use super::{HMAC_LEN, Key};
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use sha2::Sha256;

    fn reference(secret: &[u8], message: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(message);
        mac.finalize().into_bytes()[..HMAC_LEN].to_vec()
    }

    #[test]
    fn every_length_of_message_gives_the_hmac_of_another_implementation() {
        let message: Vec<u8> = (0..300_u32).map(|n| n as u8).collect();
        for len in 0..message.len() {
            let computed = Key::new(b"a secret of some octets").hmac(&[&message[..len]]);
            assert_eq!(
                computed.to_vec(),
                reference(b"a secret of some octets", &message[..len]),
                "{len} octets"
            );
        }
    }

    #[test]
    fn every_length_of_secret_gives_the_hmac_of_another_implementation() {
        let secret: Vec<u8> = (0..200_u32).map(|n| n as u8).collect();
        for len in 0..secret.len() {
            let computed = Key::new(&secret[..len]).hmac(&[b"message"]);
            assert_eq!(computed.to_vec(), reference(&secret[..len], b"message"), "{len} octets");
        }
    }

    #[test]
    fn a_changed_octet_anywhere_breaks_the_signature_and_tlvs_do_not() {
        let key = Key::new(&[7; 32]);
        let mut packet = vec![3; 140];
        key.sign(&mut packet);
        assert!(key.verifies(&packet));
        for at in 0..112 {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            assert!(!key.verifies(&changed), "octet {at}");
        }
        packet[112] ^= 1;
        assert!(key.verifies(&packet));
        assert!(!Key::new(&[8; 32]).verifies(&packet));
    }

    #[test]
    fn a_packet_too_short_for_a_signature_has_none() {
        let key = Key::new(&[7; 32]);
        let mut packet = [0; 112];
        key.sign(&mut packet);
        for len in 0..112 {
            assert!(!key.verifies(&packet[..len]), "{len} octets");
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", Key::new(b"secret")), "Key(hidden)");
    }

    proptest! {
        #[test]
        fn parts_are_hashed_as_one(secret: Vec<u8>, message: Vec<u8>, cut: usize) {
            let key = Key::new(&secret);
            let (head, tail) = message.split_at(cut % (message.len() + 1));
            prop_assert_eq!(key.hmac(&[head, tail]), key.hmac(&[&message]));
            prop_assert!(Key::matches(&key.hmac(&[&message]), &reference(&secret, &message)));
        }
    }
}
