//! What the network and the reflector did to the marks of packets, and what replies say
//! of the extensions they carry.

use stamp_proto::sender::Sample;
use stamp_proto::tlv::{self, ClassOfService, Flags, Kind};

/// Counts of one target. Those of directions are forward, then reverse.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// DSCP and ECN that requests leave with.
    sent: u8,
    /// DSCP that replies are asked to leave with.
    asked: Option<u8>,
    pub(crate) dscp_changed: [u64; 2],
    pub(crate) ecn_ce: [u64; 2],
    /// By flag, in the order of [`FLAGS`].
    pub(crate) flags: [u64; 4],
}

/// Flags of extensions with the values of their label.
pub(crate) const FLAGS: [(Flags, &str); 4] = [
    (Flags::UNRECOGNIZED, "u"),
    (Flags::MALFORMED, "m"),
    (Flags::INTEGRITY_FAILED, "i"),
    (Flags::CONSTRAINED, "c"),
];

impl Marks {
    /// Nothing yet, of requests with this traffic class and these extensions.
    pub(crate) fn new(sent: u8, extensions: &[(Kind, Vec<u8>)]) -> Self {
        let class = extensions.iter().find(|(kind, _)| *kind == Kind::ClassOfService);
        let class = class.and_then(|(_, value)| ClassOfService::parse(value));
        Self { sent, asked: class.map(|class| class.dscp1), ..Self::default() }
    }

    /// Takes one reply with the extensions behind its base packet.
    pub(crate) fn record(&mut self, sample: &Sample, area: &[u8]) {
        let mut told = None;
        for extension in tlv::walk(area).map_while(Result::ok) {
            for (count, (flag, _)) in self.flags.iter_mut().zip(FLAGS) {
                *count += u64::from(extension.flags.contains(flag));
            }
            if extension.kind == Kind::ClassOfService && !is_ignored(extension.flags) {
                told = ClassOfService::parse(extension.value);
            }
        }
        let dscp = sample.traffic_class >> 2;
        if let Some(class) = told {
            self.dscp_changed[0] += u64::from(class.dscp2 != self.sent >> 2);
            self.ecn_ce[0] += u64::from(class.ec2 == CE);
        }
        // Without a word on what it was, a reply leaves with the mark of its request.
        let expected = match (told, self.asked) {
            (Some(class), Some(asked)) if class.rp == 0 => Some(asked),
            (Some(class), _) => Some(class.dscp2),
            (None, Some(_)) => None,
            (None, None) => Some(self.sent >> 2),
        };
        self.dscp_changed[1] += u64::from(expected.is_some_and(|expected| expected != dscp));
        self.ecn_ce[1] += u64::from(sample.traffic_class & 3 == CE);
    }
}

/// Whether the reflector says that it did nothing with an extension.
const fn is_ignored(flags: Flags) -> bool {
    flags.contains(Flags::UNRECOGNIZED)
        || flags.contains(Flags::MALFORMED)
        || flags.contains(Flags::INTEGRITY_FAILED)
}

/// Congestion was experienced. RFC 3168 §5.
const CE: u8 = 3;

#[cfg(test)]
mod tests {
    use stamp_proto::clock::{MonoTime, WallTime};
    use stamp_proto::estimate::ErrorEstimate;
    use stamp_proto::loss::Outcome;
    use stamp_proto::sender::{Moment, Sample};
    use stamp_proto::tlv::{ClassOfService, Flags, Kind};

    use super::Marks;

    fn with_class(class: u8) -> Sample {
        let at = |ns| Moment { wall: WallTime::from_ns(ns), mono: MonoTime::from_ns(ns), epoch: 0 };
        Sample {
            sequence: 0,
            reflector_sequence: 0,
            outcome: Outcome::First,
            t1: at(1),
            stamped: true,
            t2: None,
            t3: None,
            t4: at(2),
            roundtrip_gross_ns: 1,
            residence_ns: None,
            roundtrip_ns: None,
            fault: None,
            error_estimate: ErrorEstimate::from_bits(1),
            ttl_forward: None,
            ttl_reverse: None,
            traffic_class: class,
        }
    }

    fn area(flags: Flags, class: ClassOfService) -> Vec<u8> {
        let mut area = vec![flags.bits(), Kind::ClassOfService.code(), 0, 4];
        area.extend(class.emit());
        area
    }

    #[test]
    fn a_changed_mark_is_told_by_direction_where_the_reflector_says_what_it_saw() {
        let asked = ClassOfService { dscp1: 46, ..ClassOfService::default() };
        let mut marks = Marks::new(10 << 2, &[(Kind::ClassOfService, asked.emit().to_vec())]);
        let seen = ClassOfService { dscp1: 46, dscp2: 0, ec2: 3, ..ClassOfService::default() };
        marks.record(&with_class(46 << 2), &area(Flags::NONE, seen));
        assert_eq!((marks.dscp_changed, marks.ecn_ce), ([1, 0], [1, 0]));
        let kept = ClassOfService { dscp2: 10, rp: 1, ..seen };
        marks.record(&with_class(12 << 2 | 3), &area(Flags::NONE, kept));
        assert_eq!((marks.dscp_changed, marks.ecn_ce), ([1, 1], [2, 1]));
        marks.record(&with_class(46 << 2), &area(Flags::UNRECOGNIZED, asked));
        assert_eq!((marks.dscp_changed, marks.flags), ([1, 1], [1, 0, 0, 0]));
    }

    #[test]
    fn without_an_extension_a_reply_has_the_mark_of_its_request() {
        let mut marks = Marks::new(46 << 2 | 2, &[]);
        marks.record(&with_class(46 << 2), &[]);
        assert_eq!(marks.dscp_changed, [0, 0]);
        marks.record(&with_class(0), &[]);
        assert_eq!(marks.dscp_changed, [0, 1]);
    }
}
