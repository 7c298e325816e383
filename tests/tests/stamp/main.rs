//! `fathom stamp` against another implementation and against what packets really did.

mod clock;
mod peers;
mod truth;

use std::net::IpAddr;

use fathom_tests::site;
use testkit::lab::{Fabric, Lab};
use testkit::{Place, Segmentation};

/// Two nodes with a link between them.
fn nodes() -> Lab {
    site::lab(Fabric::Routed, Segmentation::On)
}

fn ends(lab: &Lab) -> [(&Place, [IpAddr; 2]); 2] {
    let end = |node: &'_ testkit::lab::Node| node.addresses.both();
    [
        (lab.node_a().namespace.place(), end(lab.node_a())),
        (lab.node_b().namespace.place(), end(lab.node_b())),
    ]
}
