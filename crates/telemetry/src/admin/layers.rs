//! What every request passes: counting, authentication, limits.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Limited;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::timeout::TimeoutLayer;

use super::Shared;
use super::auth::Verdict;
use super::outbox::parcelled;
use super::routes::is_health;
use super::stats::Refusal;

/// Puts everything around `router` that every answer needs.
pub(super) fn around(router: Router, shared: Arc<Shared>) -> Router {
    let limits = shared.limits;
    let slow = TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limits.handler);
    router
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(slow)
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(Arc::clone(&shared), parcelled))
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(shared, gate))
}

async fn gate(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match refused(&shared, &path, request.headers()).await {
        Some(refusal) => refusal,
        None => next.run(bounded(request, shared.limits.body)).await,
    };
    response.headers_mut().extend(shared.security.load().headers.clone());
    shared.stats.answered(&path, response.status());
    response
}

async fn refused(shared: &Shared, path: &str, headers: &HeaderMap) -> Option<Response> {
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|octets| octets > shared.limits.body as u64) {
        return Some(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    if is_health(path) {
        return None;
    }
    unauthorised(shared, headers).await
}

async fn unauthorised(shared: &Shared, headers: &HeaderMap) -> Option<Response> {
    let security = shared.security.load_full();
    if security.users.is_empty() {
        return None;
    }
    let verdict = match credentials(headers) {
        Some((user, password)) => security.users.verify(user, password).await,
        None => Verdict::Wrong,
    };
    match verdict {
        Verdict::Right => None,
        Verdict::Wrong => {
            shared.stats.refused(Refusal::Unauthorised);
            let ask = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))];
            Some(
                (StatusCode::UNAUTHORIZED, ask, "credentials are missing or wrong\n")
                    .into_response(),
            )
        }
        Verdict::Busy => {
            shared.stats.refused(Refusal::AuthBusy);
            let later = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
            let told = "too many credentials are being checked\n";
            Some((StatusCode::SERVICE_UNAVAILABLE, later, told).into_response())
        }
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut user = STANDARD.decode(encoded.trim()).ok()?;
    let colon = user.iter().position(|octet| *octet == b':')?;
    let password = user.split_off(colon).split_off(1);
    Some((String::from_utf8(user).ok()?, password))
}

fn bounded(request: Request, limit: usize) -> Request {
    request.map(|body| Body::new(Limited::new(body, limit)))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::credentials;

    fn given(value: &str) -> Option<(String, Vec<u8>)> {
        let value = HeaderValue::from_str(value).unwrap();
        credentials(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    #[test]
    fn credentials_are_split_at_the_first_colon() {
        assert_eq!(given("Basic YTpiOmM="), Some(("a".to_owned(), b"b:c".to_vec())));
        assert_eq!(given("basic YTo="), Some(("a".to_owned(), Vec::new())));
    }

    #[test]
    fn what_is_not_basic_is_no_credential() {
        for value in ["Bearer YTpi", "Basic", "Basic !!!", "Basic YQ==", "Basic /zo="] {
            assert_eq!(given(value), None, "{value}");
        }
    }
}
