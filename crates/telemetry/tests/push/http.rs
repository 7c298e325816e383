use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use telemetry::otlp::{Config, Counters, Exporter, OtlpError, Protocol, metrics_url};
use telemetry::registry::{Build, Registry};

use crate::receiver::{Answer, Push, Receiver, config, points, until};

/// Pushes only when it ends, so that counts on both sides can be compared.
async fn start_rare(receiver: &Receiver, pods: usize) -> Push {
    let address = receiver.serve(None).await;
    let endpoint = metrics_url(&format!("http://{address}"));
    let interval = Duration::from_secs(3600);
    let rare = Config { interval, ..config(endpoint, Protocol::HttpProtobuf) };
    Push::start(&rare, pods)
}

async fn start(receiver: &Receiver, pods: usize) -> Push {
    let address = receiver.serve(None).await;
    let endpoint = metrics_url(&format!("http://{address}/"));
    Push::start(&config(endpoint, Protocol::HttpProtobuf), pods)
}

#[tokio::test]
async fn points_arrive_as_they_are_shown() {
    let receiver = Receiver::default();
    let mut push = start_rare(&receiver, 3).await;
    push.end().await;
    assert_eq!(receiver.header("content-type").as_deref(), Some("application/x-protobuf"));
    assert_eq!(receiver.header("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(receiver.header("x-tenant").as_deref(), Some("blue"));
    let metric = receiver.metric("t_pods").unwrap();
    assert_eq!(metric.unit, "{pod}");
    let Some(Data::Sum(sum)) = metric.data else { panic!("a counter is a sum") };
    let values: Vec<_> = sum.data_points.iter().map(|point| point.value).collect();
    assert_eq!(values, [0, 1, 2].map(|n| Some(Number::AsInt(n))));
    assert!(sum.data_points.iter().all(|p| p.start_time_unix_nano > 1_600_000_000_000_000_000));
    let resource = receiver.taken()[0].resource_metrics[0].resource.clone().unwrap();
    assert_eq!(resource.attributes[0].key, "service.name");
    let all: usize = receiver.taken().iter().map(points).sum();
    assert_eq!(push.number("fathom_otlp_sent_points_total", &[]), all as u64);
    assert!(push.number("fathom_otlp_last_success_timestamp_seconds", &[]) > 1_600_000_000);
}

#[tokio::test]
async fn a_large_snapshot_is_cut_into_requests() {
    let receiver = Receiver::default();
    let mut push = start_rare(&receiver, 10_000).await;
    push.end().await;
    let sizes: Vec<_> = receiver.taken().iter().map(points).collect();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert_eq!(sizes.get(..2), Some(&[4096, 4096][..]));
    assert!(sizes[2] > 10_000 - 2 * 4096 && sizes[2] < 4096, "{sizes:?}");
}

#[tokio::test]
async fn a_throttled_push_waits_as_long_as_it_is_told() {
    let receiver = Receiver::scripted([Answer::RetryAfter(429, "2"), Answer::Status(503)]);
    let started = Instant::now();
    let mut push = start(&receiver, 1).await;
    until("the push has arrived", || !receiver.taken().is_empty()).await;
    assert!(started.elapsed() >= Duration::from_secs(2), "came after {:?}", started.elapsed());
    push.end().await;
    assert_eq!(push.results("retry"), 2);
    for reason in ["rejected", "refused", "expired", "shutdown"] {
        assert_eq!(push.dropped(reason), 0, "{reason}");
    }
}

#[tokio::test]
async fn what_will_never_be_taken_is_dropped_at_once() {
    for status in [400, 401, 413, 500, 302] {
        let receiver = Receiver::scripted([Answer::Status(status)]);
        let mut push = start(&receiver, 1).await;
        until("the next push has arrived", || !receiver.taken().is_empty()).await;
        push.end().await;
        assert_eq!((push.results("failure"), push.results("retry")), (1, 0), "{status}");
        assert!(push.dropped("refused") > 0, "{status}");
    }
}

#[tokio::test]
async fn points_that_the_receiver_rejects_are_counted() {
    for (told, rejected) in [(2, 2), (-7, 0), (i64::MAX, u64::MAX)] {
        let receiver = Receiver::scripted([Answer::Rejected(told)]);
        let mut push = start_rare(&receiver, 5).await;
        push.end().await;
        let all = points(&receiver.taken()[0]) as u64;
        let rejected = rejected.min(all);
        assert_eq!(push.dropped("rejected"), rejected, "{told}");
        assert_eq!(push.number("fathom_otlp_sent_points_total", &[]), all - rejected, "{told}");
    }
}

#[tokio::test]
async fn a_stalled_receiver_is_given_up_and_asked_again() {
    let receiver = Receiver::scripted([Answer::Stall]);
    let address = receiver.serve(None).await;
    let endpoint = metrics_url(&format!("http://{address}"));
    let timeout = Duration::from_millis(100);
    let impatient = Config { timeout, ..config(endpoint, Protocol::HttpProtobuf) };
    let mut push = Push::start(&impatient, 1);
    until("the second attempt has arrived", || !receiver.taken().is_empty()).await;
    push.end().await;
    assert_eq!(push.results("retry"), 1);
}

#[tokio::test]
async fn the_last_numbers_are_pushed_at_shutdown() {
    let receiver = Receiver::default();
    let mut push = start_rare(&receiver, 1).await;
    push.end().await;
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test]
async fn a_last_push_that_nobody_takes_ends_with_the_deadline_and_is_counted() {
    let receiver = Receiver::scripted(std::iter::repeat_n(Answer::Stall, 100));
    let mut push = start(&receiver, 7).await;
    until("a push is on its way", || receiver.requests() > 0).await;
    let stopped = Instant::now();
    push.end().await;
    assert!(stopped.elapsed() < Duration::from_secs(10));
    assert!(push.dropped("shutdown") >= 7, "{}", push.dropped("shutdown"));
}

#[tokio::test]
async fn an_absent_receiver_is_tried_again() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = metrics_url(&format!("http://{}", gone.local_addr().unwrap()));
    drop(gone);
    let mut push = Push::start(&config(endpoint, Protocol::HttpProtobuf), 1);
    until("an attempt has failed", || push.results("retry") > 0).await;
    push.end().await;
    assert!(push.dropped("shutdown") > 0);
}

#[tokio::test]
async fn a_wrong_setting_is_told_before_anything_is_pushed() {
    let build = Build { version: "1", revision: "2", rustc: "3", target: "4" };
    let registry = Registry::new(build);
    let counters = Counters::register(&registry).unwrap();
    let refused = |config: &Config| {
        let exporter = Exporter::new(config, registry.clone(), counters.clone());
        exporter.expect_err("the setting is wrong")
    };
    for endpoint in ["collector:4318", "unix:///run/otlp", "", "http://"] {
        let error = refused(&config(endpoint.to_owned(), Protocol::HttpProtobuf));
        assert!(matches!(error, OtlpError::Endpoint { .. }), "{endpoint:?}: {error}");
        let error = refused(&config(endpoint.to_owned(), Protocol::Grpc));
        assert!(matches!(error, OtlpError::Endpoint { .. }), "{endpoint:?}: {error}");
    }
    let mut odd = config("http://a".to_owned(), Protocol::Grpc);
    odd.headers = vec![("a b".to_owned(), "c".to_owned())];
    assert!(matches!(refused(&odd), OtlpError::Header { .. }));
    let told = "http/json".parse::<Protocol>().unwrap_err().to_string();
    assert!(told.contains("use http/protobuf or grpc"), "{told}");
}
