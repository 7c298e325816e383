//! What the pods of the demonstration say to each other.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use self::Family::{V4, V6};
use super::{Lab, LabError, Pod};
use crate::traffic::{Generator, Load, Path};

pub(super) fn start(lab: &mut Lab) -> Result<(), LabError> {
    let pods: Vec<&Pod> = lab.pods().collect();
    let [a1, a2, b1] = pods[..] else { unreachable!("the plan has three pods") };
    let conversations = [
        (a1, b1, V4, stream(400_000)),
        (b1, a1, V6, stream(150_000)),
        (a1, a2, V4, questions(200, 4_000, 20)),
        (a2, b1, V6, questions(600, 30_000, 5)),
        (a2, a1, V4, datagrams(&[160], 50)),
        (b1, a2, V6, datagrams(&[64, 512, 1200], 30)),
    ];
    let started: Result<Vec<_>, _> = conversations
        .into_iter()
        .map(|(client, server, family, load)| {
            Generator::start(&load, &path(client, server, family))
        })
        .collect();
    lab.traffic.extend(started?);
    Ok(())
}

fn path(client: &Pod, server: &Pod, family: Family) -> Path {
    let address = match family {
        V4 => IpAddr::V4(server.addresses.v4),
        V6 => IpAddr::V6(server.addresses.v6),
    };
    Path {
        client: client.namespace.place().clone(),
        server: server.namespace.place().clone(),
        target: SocketAddr::new(address, 0),
        lifetime: Duration::MAX,
    }
}

const fn stream(rate: u64) -> Load {
    Load::Bulk { rate: Some(rate), limit: None }
}

const fn questions(question: usize, answer: usize, rate: u64) -> Load {
    Load::Requests { question, answer, rate: Some(rate), limit: None }
}

fn datagrams(sizes: &[usize], rate: u64) -> Load {
    Load::Datagrams { sizes: sizes.to_vec(), rate: Some(rate), limit: None }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}
