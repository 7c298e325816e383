//! The qdisc that carries the filters.

use crate::netlink::ParseError;
use crate::netlink::wire::{Attributes, Message, u32_at};

/// What stands in the ingress place of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Qdisc {
    /// clsact: filters in both directions.
    Clsact,
    /// The older kind: filters on ingress only.
    Ingress,
}

impl Qdisc {
    /// Reads one message of a dump, which covers all devices on kernels before 5.0.
    pub(super) fn from_reply(
        message: &Message<'_>,
        ifindex: u32,
    ) -> Result<Option<Self>, ParseError> {
        if message.kind != libc::RTM_NEWQDISC {
            return Ok(None);
        }
        let (header, attributes) =
            Attributes::behind::<{ super::HEADER }>(message.body, "qdisc message")?;
        if u32_at(header, IFINDEX) != Some(ifindex) || u32_at(header, QDISC_PARENT) != Some(PARENT)
        {
            return Ok(None);
        }
        for attribute in attributes {
            let attribute = attribute?;
            if attribute.kind == libc::TCA_KIND {
                return Ok(Some(Self::of_kind(&attribute.text())));
            }
        }
        Err(ParseError::Missing { what: "kind of a qdisc" })
    }

    fn of_kind(kind: &str) -> Self {
        if kind == CLSACT { Self::Clsact } else { Self::Ingress }
    }
}

pub(super) const CLSACT: &str = "clsact";

/// `TC_H_CLSACT`, which is `TC_H_INGRESS` too.
pub(super) const PARENT: u32 = 0xffff_fff1;

/// The handle that iproute2 gives it as well.
pub(super) const HANDLE: u32 = 0xffff_0000;

const IFINDEX: usize = 4;
const QDISC_PARENT: usize = 12;
