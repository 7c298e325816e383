//! What the program is not shown of a buffer, and where this kernel keeps it.

use std::sync::OnceLock;

use libbpf_rs::btf::{
    Btf,
    types::{MemberAttr, Struct},
};

use crate::layout::SkbLayout;

/// Where `gso_type` is found: `None` without BTF, or where programs may not read kernel
/// memory. The headers alone then tell what a buffer will become.
pub(crate) fn layout() -> Option<SkbLayout> {
    static LAYOUT: OnceLock<Option<SkbLayout>> = OnceLock::new();
    *LAYOUT.get_or_init(|| if may_read_kernel() { from_btf() } else { None })
}

fn from_btf() -> Option<SkbLayout> {
    let btf = Btf::from_vmlinux().ok()?;
    let buffer: Struct<'_> = btf.type_by_name("sk_buff")?;
    let shared: Struct<'_> = btf.type_by_name("skb_shared_info")?;
    Some(SkbLayout {
        known: 1,
        head: offset(&buffer, "head")?,
        end: offset(&buffer, "end")?,
        gso_type: offset(&shared, "gso_type")?,
    })
}

fn offset(of: &Struct<'_>, name: &str) -> Option<u16> {
    let member = of.iter().find(|member| member.name.is_some_and(|own| own == name))?;
    match member.attr {
        MemberAttr::Normal { offset } => u16::try_from(offset / 8).ok(),
        MemberAttr::BitField { .. } => None,
    }
}

/// Lockdown in its confidential mode refuses it, and so does a missing CAP_PERFMON.
fn may_read_kernel() -> bool {
    // SAFETY: takes numbers, and no options.
    let supported = unsafe {
        libbpf_sys::libbpf_probe_bpf_helper(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            libbpf_sys::BPF_FUNC_probe_read_kernel,
            std::ptr::null(),
        )
    };
    supported == 1
}
