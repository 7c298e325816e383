use flow_bpf::Step;
use net_sys::netlink::Operation;

use super::*;

fn site(source: SiteError) -> Error {
    Error::Edge { edge: "--netns pod-a".into(), source }
}

fn program(kind: ErrorKind) -> flow_bpf::Error {
    flow_bpf::Error::Kernel { step: Step::Load, what: "tc_pod_tx", source: kind.into() }
}

fn path() -> PathBuf {
    "/run/netns/pod-a".into()
}

/// What an operator is told of a device that can't be hooked: the reason, the exit code of a
/// start that needed it, and the remedy.
fn told(error: SiteError, reason: &str, exit: Exit, remedy: &str) {
    assert_eq!(error.reason(), reason, "{error}");
    let error = site(error);
    assert_eq!((error.attach_reason(), error.exit()), (reason, exit), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("--netns pod-a: "), "the edge is named: {text}");
    assert!(text.contains(remedy), "{text} should say {remedy}");
}

#[test]
fn a_namespace_that_can_not_be_had_has_its_reason_and_remedy() {
    let netns = SiteError::Netns;
    for (error, remedy) in [
        (netns(NetnsError::NotFound { path: path() }), "check the path"),
        (netns(NetnsError::NotNetns { path: path() }), "give a file below /run/netns"),
        (SiteError::Replaced { path: path() }, "the pod was replaced"),
        (SiteError::Unreachable { inode: 7 }, "--netns-dir"),
    ] {
        told(error, "no_netns", Exit::Unavailable, remedy);
    }
}

#[test]
fn a_missing_right_is_told_apart_wherever_it_is_missing() {
    let operation = Operation::ChangeFilter;
    let refused = || NetlinkError::NotPermitted { operation };
    let program = program(ErrorKind::PermissionDenied);
    for (error, remedy) in [
        (SiteError::Netns(NetnsError::NotPermitted { path: path() }), "run as root"),
        (SiteError::Netns(NetnsError::EnterNotPermitted), "CAP_SYS_ADMIN"),
        (SiteError::Netlink(refused()), "CAP_NET_ADMIN"),
        (SiteError::Clsact(ClsactError::Netlink(refused())), "CAP_NET_ADMIN"),
        (SiteError::Program(program), "CAP_BPF"),
    ] {
        told(error, "no_capability", Exit::NotPermitted, remedy);
    }
}

#[test]
fn a_device_that_vanished_is_gone_however_it_was_noticed() {
    let gone = || NetlinkError::NoDevice { operation: Operation::ChangeFilter };
    for error in [
        SiteError::NoInterface { interface: "eth9".into() },
        SiteError::Netlink(gone()),
        SiteError::Clsact(ClsactError::Netlink(gone())),
    ] {
        told(error, "device_gone", Exit::Unavailable, "");
    }
}

#[test]
fn what_somebody_else_put_there_and_what_the_kernel_lacks_have_their_remedies() {
    let taken = ClsactError::PreferenceTaken { preference: 1 };
    for (error, reason, remedy) in [
        (SiteError::Clsact(taken), "foreign_filter", "take another preference"),
        (SiteError::Clsact(ClsactError::IngressQdisc), "foreign_filter", "inside the namespace"),
        (SiteError::Program(program(ErrorKind::OutOfMemory)), "kernel", "--flow-capacity"),
    ] {
        told(error, reason, Exit::Unavailable, remedy);
    }
}

#[test]
fn a_file_that_may_not_be_had_is_a_missing_right_and_others_are_not() {
    for (kind, exit, remedy) in [
        (ErrorKind::PermissionDenied, Exit::NotPermitted, "run as root"),
        (ErrorKind::ReadOnlyFilesystem, Exit::Unavailable, "remount"),
        (ErrorKind::StorageFull, Exit::Unavailable, "make room"),
        (ErrorKind::NotADirectory, Exit::Unavailable, "check the path"),
    ] {
        let error = Error::File { path: path(), source: kind.into() };
        assert_eq!(error.exit(), exit, "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn hooks_move_out_of_a_namespace_only_where_it_is_shut() {
    for (source, shut) in [
        (SiteError::Netns(NetnsError::EnterNotPermitted), true),
        (SiteError::Unreachable { inode: 7 }, true),
        (SiteError::Clsact(ClsactError::IngressQdisc), true),
        (SiteError::NoInterface { interface: "eth0".into() }, false),
        (SiteError::NoCounters, false),
    ] {
        let error = site(source);
        assert_eq!(error.is_inside_shut(), shut, "{error}");
    }
}

#[test]
fn what_the_caller_did_wrong_and_what_the_host_lacks_have_codes_of_their_own() {
    let twice =
        Error::Twice { first: "a".into(), second: "b".into(), why: "the two ends of one veth" };
    let law = Error::Law { law: "flow", packets: 1, bytes: 60 };
    for (error, reason, exit) in [
        (Error::Settings(vec!["max_edges: 2".into()]), "configuration", Exit::Usage),
        (twice, "configuration", Exit::Usage),
        (Error::NoBpffs("/tmp".into()), "no_bpffs", Exit::Unavailable),
        (Error::UntrustedPins("/tmp".into()), "pins", Exit::Unavailable),
        (Error::Program(program(ErrorKind::PermissionDenied)), "program", Exit::NotPermitted),
        (Error::Program(program(ErrorKind::Other)), "program", Exit::Unavailable),
        (law, "failed", Exit::Bug),
        (Error::Thread("flows-survey"), "failed", Exit::Bug),
    ] {
        assert_eq!((error.reason(), error.exit()), (reason, exit), "{error}");
    }
    let several = Error::Settings(vec!["one".into(), "two".into()]);
    assert_eq!(several.to_string(), "one\ntwo", "each problem has its line");
}
