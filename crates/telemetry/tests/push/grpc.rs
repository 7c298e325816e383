use std::time::{Duration, Instant};

use prost::Message;
use telemetry::otlp::Protocol;
use tonic::{Code, Status};

use crate::receiver::{Answer, Push, Receiver, config, points, until};

async fn start(receiver: &Receiver, pods: usize) -> Push {
    let address = receiver.serve(None).await;
    Push::start(&config(format!("http://{address}"), Protocol::Grpc), pods)
}

/// `google.rpc.Status` with a `RetryInfo` of one second, as a collector sends it.
fn throttled() -> Status {
    #[derive(Clone, PartialEq, Message)]
    struct Nested {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Outer {
        #[prost(message, repeated, tag = "3")]
        details: Vec<Nested>,
    }
    // Field 1, length 2: a Duration whose field 1, the seconds, is 1.
    let value = vec![0x0a, 0x02, 0x08, 0x01];
    let name = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
    let details = Outer { details: vec![Nested { name, value }] }.encode_to_vec();
    Status::with_details(Code::ResourceExhausted, "slow down", details.into())
}

#[tokio::test]
async fn points_arrive_by_grpc() {
    let receiver = Receiver::default();
    let mut push = start(&receiver, 5000).await;
    until("two requests have arrived", || receiver.taken().len() >= 2).await;
    push.end().await;
    assert_eq!(receiver.header("grpc-encoding").as_deref(), Some("gzip"));
    assert_eq!(receiver.header("x-tenant").as_deref(), Some("blue"));
    assert_eq!(points(&receiver.taken()[0]), 4096);
    assert!(receiver.metric("t_pods").is_some());
}

#[tokio::test]
async fn an_unavailable_receiver_is_asked_again() {
    let receiver = Receiver::scripted([Answer::Grpc(Status::unavailable("later"))]);
    let mut push = start(&receiver, 1).await;
    until("the push has arrived", || !receiver.taken().is_empty()).await;
    push.end().await;
    assert_eq!(push.results("retry"), 1);
}

#[tokio::test]
async fn an_exhausted_receiver_is_asked_again_only_if_it_says_when() {
    let receiver = Receiver::scripted([Answer::Grpc(throttled())]);
    let started = Instant::now();
    let mut push = start(&receiver, 1).await;
    until("the push has arrived", || !receiver.taken().is_empty()).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    push.end().await;
    assert_eq!((push.results("retry"), push.dropped("refused")), (1, 0));

    let receiver = Receiver::scripted([Answer::Grpc(Status::resource_exhausted("full"))]);
    let mut push = start(&receiver, 1).await;
    until("the next push has arrived", || !receiver.taken().is_empty()).await;
    push.end().await;
    assert_eq!(push.results("retry"), 0);
    assert!(push.dropped("refused") > 0);
}

#[tokio::test]
async fn a_refusal_by_grpc_is_final() {
    let receiver = Receiver::scripted([Answer::Grpc(Status::invalid_argument("no"))]);
    let mut push = start(&receiver, 1).await;
    until("the next push has arrived", || !receiver.taken().is_empty()).await;
    push.end().await;
    assert_eq!((push.results("failure"), push.results("retry")), (1, 0));
}
