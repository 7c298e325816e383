//! Octets of any kind: both readings agree on them.
#![no_main]

use fathom_fuzz::{Link, agree, agree_on_segments};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u16, Vec<u8>)| {
    let (gso_size, gso_segs, frame) = input;
    agree(&frame, Link::Ethernet);
    agree(&frame, Link::Bare(0x0800));
    agree(&frame, Link::Bare(0x86dd));
    if gso_size > 0 {
        agree_on_segments(&frame, gso_size.into(), gso_segs);
    }
});
