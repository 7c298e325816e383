//! One filter.

use crate::netlink::ParseError;
use crate::netlink::wire::{Attributes, Message, u32_at};

/// A filter on a clsact hook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Filters run in ascending order of this number.
    pub preference: u16,
    /// Number within the preference.
    pub handle: u32,
    /// Chain of rules; packets start in chain 0.
    pub chain: u32,
    /// Classifier, such as `bpf` or `u32`.
    pub kind: String,
    /// What it runs, for kind `bpf`.
    pub bpf: Option<BpfFilter>,
}

/// The BPF part of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BpfFilter {
    /// Number of the program; classic BPF has none.
    pub program_id: Option<u32>,
    /// Hash over the program's instructions.
    pub tag: Option<[u8; 8]>,
    /// Name that its owner gave it.
    pub name: Option<String>,
    /// Whether the program's return value is the verdict.
    pub direct_action: bool,
}

impl Filter {
    /// Whether it shares this preference of the first chain.
    pub(super) const fn stands_in(&self, preference: u16) -> bool {
        self.chain == 0 && self.preference == preference
    }

    /// Number of the BPF program, if it runs one.
    pub fn program_id(&self) -> Option<u32> {
        self.bpf.as_ref()?.program_id
    }

    /// Reads the body of an `RTM_NEWTFILTER` message.
    ///
    /// `None` for the messages in a dump that only announce a preference.
    pub fn from_body(body: &[u8]) -> Result<Option<Self>, ParseError> {
        let (header, attributes) = Attributes::behind::<{ super::HEADER }>(body, "filter message")?;
        let handle = u32_at(header, HANDLE).unwrap_or(0);
        let preference = (u32_at(header, INFO).unwrap_or(0) >> 16) as u16;
        let mut kind = None;
        let mut options = None;
        let mut chain = 0;
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                libc::TCA_KIND => kind = Some(attribute.text().into_owned()),
                libc::TCA_OPTIONS => options = Some(attribute.nested()),
                CHAIN => chain = attribute.u32("chain of a filter")?,
                _ => {}
            }
        }
        let kind = kind.ok_or(ParseError::Missing { what: "kind of a filter" })?;
        let bpf = options.filter(|_| kind == BPF).map(BpfFilter::parse).transpose()?;
        Ok((handle != 0).then_some(Self { preference, handle, chain, kind, bpf }))
    }

    /// Reads one message of a reply; other kinds of message are none of ours.
    pub(super) fn from_reply(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        if message.kind == libc::RTM_NEWTFILTER { Self::from_body(message.body) } else { Ok(None) }
    }
}

impl BpfFilter {
    fn parse(options: Attributes<'_>) -> Result<Self, ParseError> {
        let mut bpf = Self::default();
        for attribute in options {
            let attribute = attribute?;
            match attribute.kind {
                PROGRAM_ID => bpf.program_id = Some(attribute.u32("program id of a filter")?),
                PROGRAM_TAG => bpf.tag = attribute.payload.try_into().ok(),
                PROGRAM_NAME => bpf.name = Some(attribute.text().into_owned()),
                FLAGS => {
                    bpf.direct_action = attribute.u32("flags of a filter")? & DIRECT_ACTION != 0;
                }
                _ => {}
            }
        }
        Ok(bpf)
    }
}

/// The information word of a filter: preference, and the protocol in network order.
pub(super) const fn info(preference: u16) -> u32 {
    (preference as u32) << 16 | (libc::ETH_P_ALL as u16).to_be() as u32
}

/// The classifier used here.
pub(super) const BPF: &str = "bpf";

const HANDLE: usize = 8;
const INFO: usize = 16;

/// `TCA_CHAIN` of `linux/rtnetlink.h`; libc does not have it.
const CHAIN: u16 = 11;

// `linux/pkt_cls.h`; libc does not have them.
pub(super) const PROGRAM_FD: u16 = 6;
pub(super) const PROGRAM_NAME: u16 = 7;
pub(super) const FLAGS: u16 = 8;
const PROGRAM_TAG: u16 = 10;
const PROGRAM_ID: u16 = 11;
pub(super) const DIRECT_ACTION: u32 = 1;
