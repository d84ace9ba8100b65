//! The HTTP surface: push, HLS, status, page.
use std::{io, path::Path as FsPath, pin::pin, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, OriginalUri, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use streamflow_types::{Secret, with_causes};
use streamflow_wire::{
    Refusal as Coded,
    refusal::{self, scrub},
};
use tracing::Instrument as _;

use crate::{
    admission::{AdmitError, Claim},
    arriving::Arriving,
    broadcaster::Core,
    config::SOURCE,
    error::{Refusal, SegmentError},
    multipart::{self, Part},
    page,
    push::{PushError, PushHeaders, parse_path, read_body},
    segment::Pushed,
    status::Status,
};

pub(crate) fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/live/{*path}", post(push).put(push).layer(DefaultBodyLimit::disable()))
        .route("/stream/{file}", get(master))
        .route("/stream/{name}/{file}", get(playlist))
        .route("/stream/{name}/{rendition}/{file}", get(media))
        .route("/recordings/{name}/{file}", get(recording))
        .route("/recordings/{name}/{rendition}/{file}", get(media))
        .route("/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(page::router())
        .with_state(core)
}

async fn status(State(core): State<Arc<Core>>) -> ([(header::HeaderName, &'static str); 1], Json<Status>) {
    ([(header::CACHE_CONTROL, "no-store")], Json(core.status()))
}

/// An encoder such as ffmpeg closes the connection as soon as it has sent a segment. That drops this future, so the work is
/// done in a task.
async fn push(
    State(core): State<Arc<Core>>,
    Path(path): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (tracker, span) = (core.tracker.clone(), tracing::info_span!("push", %path));
    let task = tracker.spawn(
        async move {
            accept_push(&core, &path, &uri, &headers, body).await.unwrap_or_else(|error| {
                error.log();
                error.answer(&core)
            })
        }
        .instrument(span),
    );
    task.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// Why a push is answered with an error.
#[derive(Debug, thiserror::Error)]
enum PushFailure {
    #[error(transparent)]
    Request(#[from] PushError),
    #[error(transparent)]
    NotAdmitted(#[from] AdmitError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

async fn accept_push(
    core: &Arc<Core>,
    path: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, PushFailure> {
    let (name, seq, container) = parse_path(path)?;
    let PushHeaders { duration, resolution, multipart, key, profiles } = PushHeaders::parse(headers)?;
    core.check_ready().map_err(SegmentError::from)?;
    let claim = Claim { url: full_url(uri, headers), name, key, profiles, container };
    let admission = core.admit_push(claim).await?;
    let name = admission.name.clone();
    let _announced = core.announce(&name, seq);
    let arriving = Arriving::default();
    let mut read = pin!(read_body(body, headers, core.config.max_segment_bytes, &core.memory, &arriving));
    let read = async {
        tokio::select! { biased;
            read = &mut read => read.map(|read| (read, None)),
            () = arriving.lasts() => {
                let ahead = core.send_ahead(&name, seq, duration, &arriving);
                read.await.map(|read| (read, ahead))
            }
        }
    };
    let ((media, memory), ahead) = tokio::select! { biased;
        () = core.stopping.cancelled() => return Err(SegmentError::from(Refusal::Stopping).into()),
        read = read => read?,
    };
    let pushed = Pushed { seq, media, duration, resolution, memory, admission, ahead };
    let renditions = core.clone().push(name.clone(), pushed).await?;
    if !multipart {
        return Ok(StatusCode::OK.into_response());
    }
    // Those of the stream: the settings may have changed since it began.
    let stream = core.find_stream(name.as_str());
    let profiles = stream.as_ref().map_or(&[][..], |stream| stream.profiles());
    let parts = profiles.iter().zip(renditions);
    let parts: Vec<Part<'_>> = parts.map(|(profile, data)| Part { profile, seq, data }).collect();
    Ok(multipart::reply(&parts, &multipart::boundary()))
}

/// The whole address, as a webhook is told it.
fn full_url(uri: &Uri, headers: &HeaderMap) -> Secret {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
    Secret::new(format!("http://{host}{}", uri.path_and_query().map_or("/", |path| path.as_str())))
}

impl PushFailure {
    fn log(&self) {
        match self {
            // ffmpeg pushes its playlists too, one with every segment.
            Self::Request(PushError::Extension) => tracing::debug!("push of another file refused"),
            // Said where it happened.
            Self::Segment(SegmentError::AllFailed { .. }) => {}
            other => tracing::info!(error = with_causes(other), "push refused"),
        }
    }
}

impl PushFailure {
    fn coded(&self, core: &Core) -> Coded {
        match self {
            Self::Request(error) => error.coded(&core.config),
            Self::NotAdmitted(error) => error.coded(&core.config),
            Self::Segment(error) => error.coded(&core.config),
        }
    }

    /// Files, and addresses of orchestrators, are in the log and in `/status`.
    fn text(&self) -> String {
        let text = with_causes(self);
        if matches!(self, Self::Segment(_)) { scrub(&text) } else { text }
    }

    fn answer(self, core: &Core) -> Response {
        let status = match &self {
            Self::Request(PushError::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Request(PushError::Silence(_) | PushError::Slow(_)) => StatusCode::REQUEST_TIMEOUT,
            Self::Request(PushError::Memory) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotAdmitted(AdmitError::OtherProfiles { .. }) => StatusCode::BAD_REQUEST,
            Self::NotAdmitted(AdmitError::TooMany { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Request(PushError::CrossSite) | Self::NotAdmitted(_) => StatusCode::FORBIDDEN,
            Self::Request(_) | Self::Segment(SegmentError::Duplicate(_)) => StatusCode::BAD_REQUEST,
            Self::Segment(SegmentError::Refused(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Segment(SegmentError::Media(_) | SegmentError::BadInput(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Segment(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (status, format!("{}\n", self.text())).into_response();
        if let Ok(value) = HeaderValue::from_str(&self.coded(core).to_header()) {
            response.headers_mut().insert(refusal::HEADER, value);
        }
        response
    }
}

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// Names the newest live stream, where the settings allow it.
const CURRENT: &str = "current";

async fn master(State(core): State<Arc<Core>>, Path(file): Path<String>) -> Response {
    let find =
        |name| if core.config.current_stream && name == CURRENT { core.newest_live() } else { core.find_stream(name) };
    let stream = file.strip_suffix(".m3u8").and_then(find);
    match stream.and_then(|stream| stream.master_playlist()) {
        Some(text) => playlist_reply(text),
        None => unknown(),
    }
}

async fn playlist(State(core): State<Arc<Core>>, Path((name, file)): Path<(String, String)>) -> Response {
    let (Some(stream), Some(rendition)) = (core.find_stream(&name), file.strip_suffix(".m3u8")) else {
        return unknown();
    };
    match stream.media_playlist(rendition).await {
        Some(text) => playlist_reply(text),
        None => unknown(),
    }
}

/// `index.m3u8`, or the list of one rendition: every segment from the first on (node.md §4.4).
async fn recording(State(core): State<Arc<Core>>, Path((name, file)): Path<(String, String)>) -> Response {
    let (Some(stream), Some(rendition)) = (core.find_stream(&name), file.strip_suffix(".m3u8")) else {
        return unknown();
    };
    let text =
        if rendition == "index" { Some(stream.recording_master()) } else { stream.recording_playlist(rendition).await };
    // A new stream of the same name replaces it, so that it may not be kept for long.
    let cache = if stream.has_ended() { "max-age=60" } else { "max-age=1" };
    text.map_or_else(unknown, |text| shared(PLAYLIST, cache, text))
}

async fn media(
    State(core): State<Arc<Core>>,
    Path((name, rendition, file)): Path<(String, String, String)>,
) -> Response {
    let (Some(stream), Some(content_type)) = (core.find_stream(&name), segment_type(&file)) else { return unknown() };
    let known = rendition == SOURCE || stream.profiles().iter().any(|profile| profile.name == rendition);
    if !known {
        return unknown();
    }
    segment_reply(&stream.segment_file(&rendition, &file), content_type).await
}

/// Media type of a file of segments; `None` for names that we never give.
pub(crate) fn segment_type(file: &str) -> Option<&'static str> {
    let (stem, extension) = file.rsplit_once('.')?;
    let number = if extension == "mp4" { stem.strip_prefix("init-")? } else { stem };
    let known = number.parse::<u64>().is_ok_and(|parsed| parsed.to_string() == number);
    match extension {
        "ts" if known => Some("video/mp2t"),
        "m4s" | "mp4" if known => Some("video/mp4"),
        _ => None,
    }
}

async fn segment_reply(file: &FsPath, content_type: &'static str) -> Response {
    match tokio::fs::read(file).await {
        Ok(media) => shared(content_type, "max-age=3600", media),
        Err(error) if error.kind() == io::ErrorKind::NotFound => unknown(),
        Err(error) => {
            tracing::error!(file = %file.display(), %error, "segment cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn playlist_reply(text: String) -> Response {
    shared(PLAYLIST, "max-age=1", text)
}

/// For players on any site (node.md §4.4).
fn shared(content_type: &'static str, cache: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn unknown() -> Response {
    let mut response = (StatusCode::NOT_FOUND, "no such stream, rendition or segment\n").into_response();
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
