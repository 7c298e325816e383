//! What looks like a reply and is none changes nothing and is counted.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use fathom_tests::stamp::cable::{Cable, Host};
use fathom_tests::stamp::packet::{now, put};
use fathom_tests::stamp::{BACKENDS, PORT, measured, packets};
use serde_json::Value;

/// Requests of one measurement.
const COUNT: u32 = 20;

/// Where it is on the far host, in order: the port that is asked, and another one.
fn sockets(far: &Host, family: usize) -> [UdpSocket; 2] {
    [PORT, PORT + 1].map(|port| {
        let socket = far.place().run(|| {
            let socket = UdpSocket::bind((far.addresses[family], port))?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            Ok::<_, std::io::Error>(socket)
        });
        let socket = socket.unwrap_or_else(|error| panic!("{error}"));
        socket.unwrap_or_else(|error| panic!("{error}"))
    })
}

/// The reply of a reflector that counts nothing.
fn reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply.copy_within(0..4, 24);
    reply.copy_within(4..14, 28);
    put(&mut reply, 16, &now(Duration::ZERO).to_be_bytes());
    put(&mut reply, 40, &[255]);
    put(&mut reply, 4, &now(Duration::ZERO).to_be_bytes());
    reply
}

/// Answers each request by a reply to another time, by something too short, by the reply
/// from another port, and at last by the reply.
fn mislead(asked: &UdpSocket, other: &UdpSocket) {
    let (began, mut request, mut answered) = (Instant::now(), [0; 2048], 0);
    while answered < COUNT && began.elapsed() < Duration::from_secs(20) {
        let Ok((len, from)) = asked.recv_from(&mut request) else { continue };
        let right = reply(&request[..len]);
        let mut wrong = right.clone();
        wrong[35] ^= 1;
        let sent = [
            asked.send_to(&wrong, from),
            asked.send_to(&right[..30], from),
            other.send_to(&right, from),
            asked.send_to(&right, from),
        ];
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        answered += 1;
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn only_the_reply_to_what_was_sent_counts() {
    let cable = Cable::new();
    for (family, backend) in BACKENDS.into_iter().enumerate() {
        let [asked, other] = sockets(&cable.far, family);
        let to = cable.far.addresses[family];
        let line = ["-c", "20", "-i", "5ms", "-w", "0.5", "--backend", backend];
        let target = std::thread::scope(|scope| {
            scope.spawn(|| mislead(&asked, &other));
            measured(cable.near.place(), to, &line)
        });
        let what = format!("{backend}: {target}");
        assert_eq!(packets(&target), [20, 20, 0], "{what}");
        let none = ["late", "duplicate_unknown", "reordered_unknown"];
        assert!(none.iter().all(|name| target["packets"][name] == 0), "{what}");
        let discarded = &target["packets"]["discarded"];
        assert_eq!(
            (&discarded["bad_t1"], &discarded["short"]),
            (&COUNT.into(), &COUNT.into()),
            "{what}"
        );
        assert_eq!(target["roundtrip"]["count"], COUNT, "{what}");
        assert_eq!(target["peer"]["ttl_forward"], 255, "{what}");
        let directed = ["lost_forward", "lost_reverse"].map(|name| &target["packets"][name]);
        assert_eq!(directed, [&Value::Null; 2], "{what}");
    }
}
