//! Text of any kind: the small languages of stamp are read by their grammar.
#![no_main]

use fathom_fuzz::stamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| stamp::text::text(text));
