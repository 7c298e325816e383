//! Octets of any kind: both readings agree on them.
#![no_main]

use fathom_fuzz::{Cut, Link, agree, agree_on_segments};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u16, u32, Vec<u8>)| {
    let (size, segs, kind, frame) = input;
    agree(&frame, Link::Ethernet);
    agree(&frame, Link::Bare(0x0800));
    agree(&frame, Link::Bare(0x86dd));
    if (1..0xffff).contains(&size) {
        agree_on_segments(&frame, Cut { size: size.into(), segs: segs.into(), kind });
    }
});
