//! The one way in which this workspace turns BPF C into a Rust skeleton.
//!
//! Called from build scripts only. The skeleton lands in `OUT_DIR`, never in the
//! source tree, and every header that the program may include triggers a rebuild.
#![forbid(unsafe_code)]

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

/// Compiles `source`, a path below the calling crate, into `OUT_DIR/NAME.skel.rs`
/// where `NAME` is the file name without `.bpf.c`. Returns the skeleton's path.
///
/// # Errors
///
/// When clang is missing or refuses the program; the message is clang's own.
pub fn skeleton(source: &str) -> Result<PathBuf> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let source = root.join(source);
    let folder = source.parent().context("a BPF source lies in a folder")?;
    let name = source
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_suffix(".bpf.c"))
        .with_context(|| format!("{} does not end in .bpf.c", source.display()))?;
    let skeleton = PathBuf::from(variable("OUT_DIR")?).join(format!("{name}.skel.rs"));

    let headers = root.join(HEADERS);

    watch(folder);
    watch(&headers);
    SkeletonBuilder::new()
        .source(&source)
        .clang_args(clang_args([folder, &headers])?)
        .build_and_generate(&skeleton)
        .with_context(|| format!("compile {} (is clang installed?)", source.display()))?;
    Ok(skeleton)
}

/// The shared headers, as seen from any crate of the workspace.
///
/// Found when the build script runs: a path that this crate had compiled in would be
/// that of another checkout where two of them share a target folder.
const HEADERS: &str = "../bpf-headers/include";

fn clang_args(includes: [&Path; 2]) -> Result<Vec<OsString>> {
    let mut args: Vec<OsString> =
        ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-mcpu=v3"].map(Into::into).into();
    for include in includes {
        args.push("-I".into());
        args.push(include.into());
    }
    // Debian keeps <asm/types.h> in the multiarch folder, which clang does not
    // search when its target is bpf.
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    args.push("-idirafter".into());
    args.push(format!("/usr/include/{arch}-linux-gnu").into());
    Ok(args)
}

fn watch(folder: &Path) {
    #[expect(clippy::print_stdout, reason = "this is how a build script talks to cargo")]
    {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} is set by cargo for build scripts"))
}
