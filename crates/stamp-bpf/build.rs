//! Compiles the kernel programs.

fn main() {
    bpf_build::skeleton("src/bpf/stamp.bpf.c").expect("the kernel programs compile");
}
