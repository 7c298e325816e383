//! Values of fixed length, taken apart and put together.

use crate::timestamp::Timestamp;

/// Where a clock gets its time from. RFC 8972 §4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SyncSource {
    /// Network Time Protocol.
    Ntp = 1,
    /// Precision Time Protocol.
    Ptp = 2,
    /// A timing supply of the telephone network, SSU or BITS.
    SsuBits = 3,
    /// A satellite system.
    Gnss = 4,
    /// The machine's own oscillator.
    Local = 5,
}

/// What takes the time of a packet. RFC 8972 §4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimestampMethod {
    /// The network card.
    Hardware = 1,
    /// Software on the way of the packet.
    SoftwareLocal = 2,
    /// Software of the control plane.
    ControlPlane = 3,
}

/// Type 3: how the reflector's clock is set and its times are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampInformation {
    /// Code of the source behind the time of arrival.
    pub sync_in: u8,
    /// Code of the method behind the time of arrival.
    pub method_in: u8,
    /// Code of the source behind the time of sending.
    pub sync_out: u8,
    /// Code of the method behind the time of sending.
    pub method_out: u8,
}

impl TimestampInformation {
    /// Takes a value apart; `None` when it has another length.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let &[sync_in, method_in, sync_out, method_out] = value else { return None };
        Some(Self { sync_in, method_in, sync_out, method_out })
    }

    /// The value as it stands in a packet.
    pub const fn emit(self) -> [u8; 4] {
        [self.sync_in, self.method_in, self.sync_out, self.method_out]
    }
}

/// Type 4: the marks of the packet on its way there, and those wanted on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassOfService {
    /// DSCP that the reply is to carry.
    pub dscp1: u8,
    /// DSCP with which the request arrived.
    pub dscp2: u8,
    /// ECN with which the request arrived.
    pub ec2: u8,
    /// What the reflector did with `dscp1`: 0 as asked, 1 refused by its policy.
    pub rp: u8,
    /// ECN that the reply is to carry.
    pub ec1: u8,
    /// What the reflector did with `ec1`: 2 refused, 3 as asked.
    pub rpe: u8,
}

impl ClassOfService {
    /// Takes a value apart; `None` when it has another length.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let bits = u32::from_be_bytes(value.try_into().ok()?);
        let field = |shift: u32, width: u32| (bits >> shift & ((1 << width) - 1)) as u8;
        Some(Self {
            dscp1: field(26, 6),
            dscp2: field(20, 6),
            ec2: field(18, 2),
            rp: field(16, 2),
            ec1: field(14, 2),
            rpe: field(12, 2),
        })
    }

    /// The value as it stands in a packet; bits beyond a field's width are cut off.
    pub const fn emit(self) -> [u8; 4] {
        let bits = (self.dscp1 as u32 & 63) << 26
            | (self.dscp2 as u32 & 63) << 20
            | (self.ec2 as u32 & 3) << 18
            | (self.rp as u32 & 3) << 16
            | (self.ec1 as u32 & 3) << 14
            | (self.rpe as u32 & 3) << 12;
        bits.to_be_bytes()
    }
}

/// Type 5: counters of in-band packets of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectMeasurement {
    /// What the sender has sent.
    pub sender_tx: u32,
    /// What the reflector has received.
    pub reflector_rx: u32,
    /// What the reflector has sent, this reply included.
    pub reflector_tx: u32,
}

impl DirectMeasurement {
    /// Takes a value apart; `None` when it has another length.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let ([sender_tx, reflector_rx, reflector_tx], []) = value.as_chunks::<4>() else {
            return None;
        };
        Some(Self {
            sender_tx: u32::from_be_bytes(*sender_tx),
            reflector_rx: u32::from_be_bytes(*reflector_rx),
            reflector_tx: u32::from_be_bytes(*reflector_tx),
        })
    }

    /// The value as it stands in a packet.
    pub fn emit(self) -> [u8; 12] {
        let mut value = [0; 12];
        let counters = [self.sender_tx, self.reflector_rx, self.reflector_tx];
        for (octets, counter) in value.as_chunks_mut::<4>().0.iter_mut().zip(counters) {
            *octets = counter.to_be_bytes();
        }
        value
    }
}

/// Type 6: which access network the sender uses, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessReport {
    /// 1 for a 3GPP network, 2 for any other.
    pub access_id: u8,
    /// 1 when the network is available, 2 when it is not.
    pub return_code: u8,
}

impl AccessReport {
    /// Takes a value apart; `None` when it has another length.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let &[id, return_code, _, _] = value else { return None };
        Some(Self { access_id: id >> 4, return_code })
    }

    /// The value as it stands in a packet.
    pub const fn emit(self) -> [u8; 4] {
        [self.access_id << 4, self.return_code, 0, 0]
    }
}

/// Type 7: a better time of sending for the previous reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowUp {
    /// Sequence number of that reply.
    pub sequence: u32,
    /// When it left.
    pub timestamp: Timestamp,
    /// Code of the method behind that time.
    pub method: u8,
}

impl FollowUp {
    /// Takes a value apart; `None` when it has another length.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (sequence, rest) = value.split_first_chunk::<4>()?;
        let (timestamp, &[method, _, _, _]) = rest.split_first_chunk::<8>()? else { return None };
        Some(Self {
            sequence: u32::from_be_bytes(*sequence),
            timestamp: Timestamp::from_bits(u64::from_be_bytes(*timestamp)),
            method,
        })
    }

    /// The value as it stands in a packet.
    pub fn emit(self) -> [u8; 16] {
        let mut value = [0; 16];
        value[..4].copy_from_slice(&self.sequence.to_be_bytes());
        value[4..12].copy_from_slice(&self.timestamp.bits().to_be_bytes());
        value[12] = self.method;
        value
    }
}

/// Type 11: the member links that a packet is to be sent and answered on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MicroSession {
    /// The sender's member link.
    pub sender: u16,
    /// The reflector's member link, 0 while it is not known.
    pub reflector: u16,
}

impl MicroSession {
    /// Takes a value apart; `None` when it has another length.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let &[a, b, c, d] = value else { return None };
        Some(Self { sender: u16::from_be_bytes([a, b]), reflector: u16::from_be_bytes([c, d]) })
    }

    /// The value as it stands in a packet.
    pub const fn emit(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.sender.to_be_bytes(), self.reflector.to_be_bytes());
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AccessReport, ClassOfService, DirectMeasurement, FollowUp, MicroSession,
        TimestampInformation,
    };
    use crate::timestamp::Timestamp;
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn class_of_service_fields_are_where_the_standard_has_them() {
        let value = [0b1010_1011, 0b0011_1001, 0b1110_0000, 0];
        let fields = ClassOfService {
            dscp1: 0b101010,
            dscp2: 0b110011,
            ec2: 0b10,
            rp: 0b01,
            ec1: 0b11,
            rpe: 0b10,
        };
        assert_eq!(ClassOfService::parse(&value), Some(fields));
        assert_eq!(fields.emit(), value);
    }

    #[test]
    fn counters_follow_each_other() {
        let value = [0, 0, 0, 1, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff];
        let fields = DirectMeasurement { sender_tx: 1, reflector_rx: 256, reflector_tx: u32::MAX };
        assert_eq!(DirectMeasurement::parse(&value), Some(fields));
        assert_eq!(fields.emit(), value);
    }

    #[test]
    fn a_follow_up_names_its_reply_and_its_time() {
        let value = [0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 2, 0, 0, 0];
        let timestamp = Timestamp::from_bits(0x0102_0304_0506_0708);
        let fields = FollowUp { sequence: 7, timestamp, method: 2 };
        assert_eq!(FollowUp::parse(&value), Some(fields));
        assert_eq!(fields.emit(), value);
    }

    #[test]
    fn small_values_are_taken_apart() {
        let access = AccessReport { access_id: 1, return_code: 2 };
        assert_eq!(AccessReport::parse(&[0x10, 2, 0, 0]), Some(access));
        assert_eq!(access.emit(), [0x10, 2, 0, 0]);
        let member = MicroSession { sender: 0x0102, reflector: 0x0304 };
        assert_eq!(MicroSession::parse(&[1, 2, 3, 4]), Some(member));
        assert_eq!(member.emit(), [1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn only_the_right_length_is_read_and_it_survives(value: Vec<u8>) {
            let len = value.len();
            prop_assert_eq!(TimestampInformation::parse(&value).map(|v| v.emit().to_vec()), (len == 4).then(|| value.clone()));
            prop_assert_eq!(MicroSession::parse(&value).map(|v| v.emit().to_vec()), (len == 4).then(|| value.clone()));
            prop_assert_eq!(DirectMeasurement::parse(&value).map(|v| v.emit().to_vec()), (len == 12).then(|| value.clone()));
            prop_assert_eq!(ClassOfService::parse(&value).is_some(), len == 4);
            prop_assert_eq!(AccessReport::parse(&value).is_some(), len == 4);
            prop_assert_eq!(FollowUp::parse(&value).is_some(), len == 16);
        }
    }
}
