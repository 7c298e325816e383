//! Compiles the counting program.

fn main() {
    bpf_build::skeleton("src/bpf/flow.bpf.c").expect("the counting program compiles");
}
