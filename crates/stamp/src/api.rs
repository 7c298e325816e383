//! The HTTP API of the stamp system. Nothing here changes anything.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use stamp_proto::reflector::SessionKey;

use crate::control::{Controls, Part};

/// The routes below `/api/v1/stamp`.
pub(crate) fn routes(controls: Controls) -> Router {
    Router::new()
        .route("/api/v1/stamp", get(|State(controls)| show(controls, Part::Summary)))
        .route("/api/v1/stamp/targets", get(targets))
        .route("/api/v1/stamp/targets/{name}", get(target))
        .route("/api/v1/stamp/targets/{name}/series", get(series))
        .route("/api/v1/stamp/sessions", get(sessions))
        .route("/api/v1/stamp/reflector", get(|State(controls)| show(controls, Part::Reflector)))
        .route("/api/v1/stamp/offsets", get(|State(controls)| show(controls, Part::Offsets)))
        .route("/api/v1/stamp/clock", get(|State(controls)| show(controls, Part::Clock)))
        .with_state(controls)
}

async fn show(controls: Controls, part: Part) -> Result<Json<Value>, Failure> {
    let document = document(&controls, part).await?;
    if document.is_null() { Err(Failure::NoRole) } else { Ok(Json(document)) }
}

async fn targets(State(controls): State<Controls>) -> Result<Json<Value>, Failure> {
    let mut summary = document(&controls, Part::Summary).await?;
    summary.get_mut("targets").map(Value::take).map(Json).ok_or(Failure::NoRole)
}

async fn target(
    State(controls): State<Controls>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Failure> {
    let Json(targets) = targets(State(controls)).await?;
    let found = targets
        .as_array()
        .and_then(|targets| targets.iter().find(|target| target["name"] == *name));
    found.cloned().map(Json).ok_or(Failure::NoTarget)
}

/// How far back a series reaches.
#[derive(Deserialize)]
struct Reach {
    #[serde(default = "longest")]
    seconds: u32,
}

async fn series(
    State(controls): State<Controls>,
    Path(name): Path<String>,
    reach: Result<Query<Reach>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let Query(Reach { seconds }) = reach.map_err(|_| Failure::Seconds)?;
    if !(1..=LONGEST).contains(&seconds) {
        return Err(Failure::Seconds);
    }
    let series = document(&controls, Part::Series(name, seconds)).await?;
    if series.is_null() { Err(Failure::NoTarget) } else { Ok(Json(series)) }
}

/// Which page of the sessions.
#[derive(Deserialize)]
struct Page {
    #[serde(default = "usual_page")]
    limit: usize,
    after: Option<String>,
}

async fn sessions(
    State(controls): State<Controls>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let Query(Page { limit, after }) = page.map_err(|_| Failure::Page)?;
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Failure::Page);
    }
    let after = after.map(|cursor| session(&cursor).ok_or(Failure::Page)).transpose()?;
    show(controls, Part::Sessions(after, limit)).await
}

/// The session that a cursor stands for: see [`cursor`].
fn session(cursor: &str) -> Option<SessionKey> {
    let mut parts = cursor.split(',');
    let mut next = || parts.next();
    let key = SessionKey {
        source: next()?.parse().ok()?,
        destination: next()?.parse().ok()?,
        ssid: next()?.parse().ok()?,
        micro: next()?.parse().ok()?,
    };
    next().is_none().then_some(key)
}

/// What stands for a session in a link to the next page.
pub(crate) fn cursor(key: &SessionKey) -> String {
    let SessionKey { source, destination, ssid, micro } = key;
    format!("{source},{destination},{ssid},{micro}")
}

const fn longest() -> u32 {
    LONGEST
}

const fn usual_page() -> usize {
    USUAL_PAGE
}

/// Seconds that are kept.
const LONGEST: u32 = 900;
const USUAL_PAGE: usize = 100;
const LONGEST_PAGE: usize = 1_000;

async fn document(controls: &Controls, part: Part) -> Result<Value, Failure> {
    controls.show(part).await.map_err(|_| Failure::Busy)
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    NoRole,
    NoTarget,
    Seconds,
    Page,
    Busy,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::NoRole => (StatusCode::NOT_FOUND, "this process does not have that role"),
            Self::NoTarget => (
                StatusCode::NOT_FOUND,
                "no target has that name; /api/v1/stamp/targets lists those there are",
            ),
            Self::Seconds => (StatusCode::BAD_REQUEST, "seconds must be a number from 1 to 900"),
            Self::Page => (
                StatusCode::BAD_REQUEST,
                "limit must be a number from 1 to 1000, after the next of an earlier page",
            ),
            Self::Busy => {
                (StatusCode::SERVICE_UNAVAILABLE, "the system is ending or busy; try again")
            }
        };
        (status, Json(json!({ "error": error }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::{cursor, routes};
    use crate::control::{Command, Commands, Controls, Part};

    /// Answers each question with the name of what was asked for.
    fn answering(commands: Commands) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            loop {
                match commands.next() {
                    Some(Command::Stop) => return,
                    Some(Command::Reload) => {}
                    Some(Command::Show(part, reply)) => {
                        reply.send(document(part)).unwrap_or_default()
                    }
                    None => std::thread::yield_now(),
                }
            }
        })
    }

    fn document(part: Part) -> Value {
        match part {
            Part::Summary => {
                serde_json::json!({ "targets": [{ "name": "a" }, { "name": "fe80::1%eth0" }] })
            }
            Part::Reflector => Value::Null,
            Part::Series(name, seconds) if name == "a" => serde_json::json!([seconds]),
            Part::Series(..) => Value::Null,
            Part::Sessions(after, limit) => {
                serde_json::json!([after.map(|key| cursor(&key)), limit])
            }
            Part::Offsets | Part::Clock => serde_json::json!([]),
        }
    }

    async fn answer(controls: &Controls, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes(controls.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn each_part_has_its_path_and_what_is_not_there_says_so() {
        let commands = Commands::new().unwrap();
        let controls = commands.controls();
        let thread = answering(commands);
        let status = async |path: &str| answer(&controls, path).await.0;
        assert_eq!(answer(&controls, "/api/v1/stamp").await.1, document(Part::Summary));
        assert_eq!(
            answer(&controls, "/api/v1/stamp/targets").await.1,
            document(Part::Summary)["targets"]
        );
        assert_eq!(
            answer(&controls, "/api/v1/stamp/targets/fe80::1%25eth0").await.1["name"],
            "fe80::1%eth0"
        );
        assert_eq!(status("/api/v1/stamp/targets/b").await, StatusCode::NOT_FOUND);
        assert_eq!(status("/api/v1/stamp/reflector").await, StatusCode::NOT_FOUND);
        assert_eq!(status("/api/v1/stamp/offsets").await, StatusCode::OK);
        assert_eq!(
            answer(&controls, "/api/v1/stamp/targets/a/series").await.1,
            serde_json::json!([900])
        );
        assert_eq!(status("/api/v1/stamp/targets/b/series").await, StatusCode::NOT_FOUND);
        for wrong in ["0", "901", "-1", "x"] {
            let series = format!("/api/v1/stamp/targets/a/series?seconds={wrong}");
            assert_eq!(status(&series).await, StatusCode::BAD_REQUEST, "{wrong}");
        }
        let next = "10.0.0.1:862,[fd00::1]:862,7,0";
        let page = format!("/api/v1/stamp/sessions?limit=5&after={next}");
        assert_eq!(answer(&controls, &page).await.1, serde_json::json!([next, 5]));
        for wrong in ["limit=0", "limit=1001", "after=x", "after=10.0.0.1:862,[fd00::1]:862,7"] {
            let page = format!("/api/v1/stamp/sessions?{wrong}");
            assert_eq!(status(&page).await, StatusCode::BAD_REQUEST, "{wrong}");
        }
        controls.stop();
        thread.join().unwrap();
        assert_eq!(status("/api/v1/stamp/clock").await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
