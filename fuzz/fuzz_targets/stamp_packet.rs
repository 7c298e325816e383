//! Octets of any kind: every law of test packets holds.
#![no_main]

use fathom_fuzz::stamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u64, i64, Vec<u8>)| {
    let (bits, time, near_ns, octets) = input;
    stamp::packet(&octets);
    stamp::estimate(bits, time, near_ns);
});
