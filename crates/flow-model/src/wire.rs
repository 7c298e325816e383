//! How many frames a segmentation buffer becomes on the wire, and how long they are.
//!
//! The kernel hands over one buffer for many segments. Each segment repeats the
//! link, network and transport headers, so counting buffers loses both packets
//! and the repeated headers. This is the formula of the kernel program, kept here
//! as the reading that tests hold it to.

use crate::flow::Counts;

/// Frames and octets of a buffer of `len` octets that starts with `headers` octets of
/// headers and is cut into payloads of `gso_size`; 0 means that it is not cut.
///
/// Where `headers` exceeds `len` there is no payload and so a single frame.
pub const fn on_wire(len: u32, headers: u32, gso_size: u32) -> Counts {
    let payload = len.saturating_sub(headers);
    if gso_size == 0 || payload == 0 {
        return Counts { packets: 1, bytes: len as u64 };
    }
    let frames = payload.div_ceil(gso_size) as u64;
    Counts { packets: frames, bytes: len as u64 + (frames - 1) * headers as u64 }
}

/// The same when the headers were not understood: the kernel's own number of segments
/// tells the frames, the repeated headers stay unknown and uncounted.
pub const fn on_wire_unparsed(len: u32, gso_segs: u16) -> Counts {
    let frames = if gso_segs == 0 { 1 } else { gso_segs as u64 };
    Counts { packets: frames, bytes: len as u64 }
}

#[cfg(test)]
mod tests {
    use super::{on_wire, on_wire_unparsed};
    use crate::flow::Counts;
    use proptest::prelude::{prop_assert_eq, proptest};

    /// Cuts a buffer octet by octet, the way a device does, and keeps whole frames.
    fn segment(buffer: &[u8], headers: usize, gso_size: usize) -> Vec<Vec<u8>> {
        let (head, payload) = buffer.split_at(headers);
        let mut frames = vec![head.to_vec()];
        for &octet in payload {
            let full = frames.last().is_some_and(|frame| frame.len() == headers + gso_size);
            if full {
                frames.push(head.to_vec());
            }
            frames.last_mut().unwrap().push(octet);
        }
        frames
    }

    proptest! {
        #[test]
        fn the_formula_equals_a_segmenter_that_moves_single_octets(
            headers in 14_u32..200, payload in 0_u32..70_000, gso_size in 1_u32..9_000,
        ) {
            let buffer = vec![0xa5; (headers + payload) as usize];
            let frames = segment(&buffer, headers as usize, gso_size as usize);
            let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
            let expected = Counts { packets: frames.len() as u64, bytes };
            prop_assert_eq!(on_wire(headers + payload, headers, gso_size), expected);
        }

        #[test]
        fn an_uncut_buffer_is_one_frame_of_its_own_length(len: u32, headers: u32) {
            prop_assert_eq!(on_wire(len, headers, 0), Counts { packets: 1, bytes: len.into() });
        }

        #[test]
        fn no_input_overflows(len: u32, headers: u32, gso_size: u32) {
            let counts = on_wire(len, headers, gso_size);
            prop_assert_eq!(counts.packets.max(1), counts.packets);
            prop_assert_eq!(counts.bytes.max(len.into()), counts.bytes);
        }
    }

    #[test]
    fn unparsed_headers_keep_the_length_and_trust_the_segment_count() {
        assert_eq!(on_wire_unparsed(65_226, 45), Counts { packets: 45, bytes: 65_226 });
        assert_eq!(on_wire_unparsed(60, 0), Counts { packets: 1, bytes: 60 });
    }

    #[test]
    fn a_full_tcp_buffer_over_ethernet_gains_its_repeated_headers() {
        assert_eq!(on_wire(66 + 14_480, 66, 1448), Counts { packets: 10, bytes: 14_480 + 660 });
    }
}
