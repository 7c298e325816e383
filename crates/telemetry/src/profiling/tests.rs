use std::io::Read;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use flate2::read::GzDecoder;
use tower::ServiceExt;

use super::router;

async fn ask(path: &str) -> (StatusCode, Vec<u8>) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router().oneshot(request).await.unwrap();
    let status = response.status();
    (status, to_bytes(response.into_body(), 1 << 24).await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_process_shows_in_its_profile() {
    let busy = tokio::task::spawn_blocking(|| {
        let end = std::time::Instant::now() + std::time::Duration::from_millis(1500);
        let mut sum = 0_u64;
        while std::time::Instant::now() < end {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        sum
    });
    let (status, gzip) = ask("/debug/pprof/profile?seconds=1").await;
    assert_eq!(status, StatusCode::OK);
    let mut octets = Vec::new();
    GzDecoder::new(&*gzip).read_to_end(&mut octets).unwrap();
    let profile: pprof::protos::Profile = pprof::protos::Message::decode(&*octets).unwrap();
    assert!(!profile.sample.is_empty(), "a second of work left no sample");
    assert!(!profile.string_table.is_empty());
    busy.await.unwrap();
}

#[tokio::test]
async fn a_parameter_that_does_not_exist_is_refused() {
    let (status, told) = ask("/debug/pprof/profile?second=1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&told).contains("second"));
}

#[tokio::test]
async fn seconds_are_bounded() {
    for seconds in ["0", "61"] {
        let (status, told) = ask(&format!("/debug/pprof/profile?seconds={seconds}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(String::from_utf8(told).unwrap().contains("use 1 to 60"));
    }
    assert_eq!(ask("/debug/pprof/profile?seconds=x").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn heap_tells_why_it_is_missing() {
    let (status, told) = ask("/debug/pprof/heap").await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    assert!(String::from_utf8(told).unwrap().contains("allocator"));
}

#[tokio::test]
async fn cmdline_is_that_of_this_process() {
    let (status, line) = ask("/debug/pprof/cmdline").await;
    assert_eq!(status, StatusCode::OK);
    let first = String::from_utf8(line).unwrap();
    assert!(first.starts_with(&std::env::args().next().unwrap()), "{first:?}");
}
