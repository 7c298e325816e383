//! Compiles the kernel's parser for user space, with undefined behaviour made a trap.

fn main() {
    let bpf = "../crates/flow-bpf/src/bpf";
    let headers = "../crates/bpf-headers/include";
    for watched in ["c", bpf, headers] {
        println!("cargo::rerun-if-changed={watched}");
    }
    cc::Build::new()
        .compiler("clang")
        .file("c/parse_host.c")
        .include(headers)
        .include(bpf)
        .flag("-fsanitize=undefined")
        // The kernel reads headers where they lie; x86 and BPF do not mind.
        .flag("-fno-sanitize=alignment")
        .flag("-fsanitize-trap=undefined")
        .flag("-Wno-pointer-arith")
        .compile("parse_host");
}
