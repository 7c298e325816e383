//! Checksums: a client that knows nothing of all this gets every reply, whatever the cards
//! on the way leave to each other.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use fathom_tests::stamp::cable::{Cable, Host};
use fathom_tests::stamp::packet::{answered, is_signed, padded, receive, request, signed_request};
use fathom_tests::stamp::{BACKENDS, PORT, Reflector};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::{key, number};

/// How a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As the kernel does it, of the first or the second family.
    Plain(usize),
    /// Over IPv4 and without a checksum.
    Without,
}

/// An ordinary socket on its way to the far host.
struct Client {
    socket: UdpSocket,
    form: Form,
    to: IpAddr,
    host: testkit::Place,
}

impl Client {
    fn new(near: &Host, far: &Host, form: Form) -> Self {
        let family = if let Form::Plain(family) = form { family } else { 0 };
        let (from, to) = (near.addresses[family], far.addresses[family]);
        let socket = near.place().run(|| {
            let socket = UdpSocket::bind((from, 0))?;
            socket.connect((to, PORT))?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            Ok::<_, std::io::Error>(socket)
        });
        let socket = socket.unwrap_or_else(|error| panic!("client: {error}"));
        let socket = socket.unwrap_or_else(|error| panic!("client: {error}"));
        Self { socket, form, to, host: near.place().clone() }
    }

    fn ask(&self, packet: &[u8]) -> Option<Vec<u8>> {
        match self.form {
            Form::Plain(_) => {
                self.socket.send(packet).unwrap_or_else(|error| panic!("client: {error}"));
            }
            Form::Without => self.send_without(packet),
        }
        receive(&self.socket)
    }

    /// The kernel takes a header of UDP from a raw socket as it is.
    fn send_without(&self, packet: &[u8]) {
        let port = self.socket.local_addr().map_or(0, |own| own.port());
        let len = u16::try_from(8 + packet.len()).unwrap_or(u16::MAX);
        let header = [port, PORT, len, 0].map(u16::to_be_bytes);
        let datagram = [header.as_flattened(), packet].concat();
        let SocketAddr::V4(to) = SocketAddr::new(self.to, 0) else {
            unreachable!("only IPv4 goes without a checksum")
        };
        let sent = self.host.run(|| {
            let (flags, protocol) = (SockFlag::empty(), SockProtocol::Udp);
            let raw = socket(AddressFamily::Inet, SockType::Raw, flags, protocol)?;
            sendto(raw.as_raw_fd(), &datagram, &SockaddrIn::from(to), MsgFlags::empty())
        });
        let sent = sent.unwrap_or_else(|error| panic!("client: {error}"));
        assert_eq!(sent, Ok(datagram.len()));
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_plain_client_gets_every_reply_whatever_is_offloaded_signed_and_appended() {
    let (cable, (_folder, key)) = (Cable::new(), key());
    for backend in BACKENDS {
        for signed in [false, true] {
            let mut flags = vec!["--backend", backend, "--rate", "0"];
            if signed {
                flags.extend(["--key-file", &key]);
            }
            let reflector = Reflector::on(cable.far.place(), "eth0", &flags);
            let mut asked = 0;
            for offloads in [(true, true), (false, false), (true, false), (false, true)] {
                cable.near.offload(offloads.0);
                cable.far.offload(offloads.1);
                for form in [Form::Plain(0), Form::Plain(1), Form::Without] {
                    let client = Client::new(&cable.near, &cable.far, form);
                    for padding in [None, Some(0), Some(1), Some(3), Some(64), Some(65), Some(203)]
                    {
                        let make = if signed { signed_request } else { request };
                        let base = make(asked, 0);
                        let packet = padding
                            .map_or_else(|| base.clone(), |value| padded(base.clone(), value));
                        let what =
                            format!("{backend} signed {signed} {offloads:?} {form:?} {padding:?}");
                        let reply =
                            client.ask(&packet).unwrap_or_else(|| panic!("no reply: {what}"));
                        assert_eq!(reply.len(), packet.len(), "{what}");
                        assert_eq!(answered(&reply, signed), asked, "{what}");
                        assert_eq!(is_signed(&reply), signed, "{what}");
                        asked += 1;
                    }
                }
            }
            let told = reflector.summary();
            let counts = (number(&told["requests"]), number(&told["replies"]));
            assert_eq!(counts, (asked.into(), asked.into()), "{told}");
        }
    }
}
