//! Compiles the kernel programs.

fn main() {
    for source in ["src/bpf/stamp.bpf.c", "src/bpf/stamp_xdp.bpf.c"] {
        bpf_build::skeleton(source).expect("the kernel programs compile");
    }
}
