//! POST /transcodeResults: what a remote transcoder made of a segment (service.md §3).
use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use multer::Multipart;
use streamflow_wire::{Code, Refusal as Coded, TranscodeError, header};

use crate::{
    intake::{BodyError, BudgetShare, Intake, Timed, answer_and_drain},
    metrics, pool,
    pool::{Awaited, Completed, MemberToken, TaskId},
    refusal::{coded, of_body},
    service::Service,
    transcode::Rendition,
};

/// Longest report that is read.
const MAX_ERROR_BYTES: usize = 4096;

#[derive(Debug, thiserror::Error)]
enum ResultError {
    #[error("Unauthorized")]
    Unauthorized,
    #[error("not registered")]
    NotRegistered,
    #[error("{0}")]
    MediaType(&'static str),
    #[error("Invalid Task ID")]
    TaskId,
    #[error("Invalid Pixels")]
    Pixels,
    #[error("more parts than renditions were asked for")]
    TooManyParts { got: usize, max: usize },
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("multipart body cannot be read")]
    Multipart(#[source] multer::Error),
}

impl From<multer::Error> for ResultError {
    fn from(error: multer::Error) -> Self {
        let of_body = match &error {
            multer::Error::StreamReadFailed(cause) => cause.downcast_ref::<BodyError>().cloned(),
            _ => None,
        };
        of_body.map_or(Self::Multipart(error), Self::Body)
    }
}

impl ResultError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotRegistered => StatusCode::NOT_FOUND,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TaskId | Self::Pixels | Self::TooManyParts { .. } | Self::Multipart(_) => StatusCode::BAD_REQUEST,
            Self::Body(BodyError::Overloaded) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Body(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl ResultError {
    fn coded(&self, service: &Service) -> Coded {
        match self {
            Self::Unauthorized => {
                Coded::new(Code::TranscoderSecretWrong, "another secret, or none", "the orchestrator's secret")
            }
            Self::NotRegistered => Coded::new(
                Code::TranscoderNotRegistered,
                "a name that nobody here has",
                "the name given at registration",
            ),
            Self::MediaType(fault) => Coded::new(
                Code::ResultTypeUnknown,
                fault,
                format!("multipart with a boundary, or {}", header::TRANSCODING_ERROR),
            ),
            Self::TaskId => Coded::new(Code::TaskUnknown, "a task that nobody waits for", "a task under way"),
            Self::Pixels => Coded::new(Code::ResultPixelsInvalid, "no number", "0 or more in each `Pixels`"),
            Self::TooManyParts { got, max } => {
                Coded::new(Code::ResultTooManyParts, format!("{got} parts"), format!("{max} parts"))
            }
            Self::Body(BodyError::TooLarge { max }) => {
                Coded::new(Code::ResultTooLarge, format!("more than {max} bytes"), format!("{max} bytes"))
            }
            Self::Body(error) => of_body(error, service),
            Self::Multipart(_) => {
                Coded::new(Code::ResultUnreadable, "parts that cannot be told apart", "multipart parts")
            }
        }
    }
}

/// What the content type announces.
enum Kind {
    Renditions { boundary: String },
    Failure,
}

/// Answers `OK` once the result has reached whoever waits for it.
pub(super) async fn post(State(service): State<Service>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    match receive(&service, &parts.headers, &mut body).await {
        Ok(Received::Taken) => "OK".into_response(),
        Ok(Received::Late) => {
            metrics::late_result();
            answer_and_drain("OK".into(), body, *service.intake().limits()).into_response()
        }
        Err(error) => {
            tracing::debug!(%error, "transcoder's result refused");
            let rest = answer_and_drain(error.to_string(), body, *service.intake().limits());
            coded(error.status(), &error.coded(&service), rest)
        }
    }
}

/// Refuses who is no transcoder of ours.
fn authorize(service: &Service, headers: &HeaderMap) -> Result<(), ResultError> {
    let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let authorized = header(AUTHORIZATION.as_str()) == header::TRANSCODER_AUTHORIZATION.as_bytes()
        && service.transcoder_secret().matches(header(header::CREDENTIALS));
    if authorized { Ok(()) } else { Err(ResultError::Unauthorized) }
}

/// POST /transcoderState: a transcoder tells how it is. Its stream goes one way only.
pub(super) async fn state(State(service): State<Service>, headers: HeaderMap) -> Response {
    match hear(&service, &headers) {
        Ok(()) => "OK".into_response(),
        Err(error) => coded(error.status(), &error.coded(&service), error.to_string().into()),
    }
}

fn hear(service: &Service, headers: &HeaderMap) -> Result<(), ResultError> {
    authorize(service, headers)?;
    let told = member(headers).zip(told_state(headers));
    match told.is_some_and(|(token, told)| service.pool().hear(token, told)) {
        true => Ok(()),
        false => Err(ResultError::NotRegistered),
    }
}

fn member(headers: &HeaderMap) -> Option<MemberToken> {
    MemberToken::from_text(headers.get(header::MEMBER)?.to_str().ok()?)
}

fn told_state(headers: &HeaderMap) -> Option<pool::State> {
    match headers.get(header::STATE)?.to_str().ok()? {
        header::STATE_ALIVE => Some(pool::State::Alive),
        header::STATE_LEAVING => Some(pool::State::Leaving),
        _ => None,
    }
}

/// What became of a result that was not refused.
enum Received {
    Taken,
    /// Nobody waits for it any more: it is thrown away.
    Late,
}

async fn receive(
    service: &Service,
    headers: &HeaderMap,
    body: &mut axum::body::BodyDataStream,
) -> Result<Received, ResultError> {
    authorize(service, headers)?;
    let kind = kind(headers)?;
    let task = TaskId(number(headers, header::TASK_ID).ok_or(ResultError::TaskId)?);
    let named = headers.contains_key(header::MEMBER);
    let token = member(headers);
    if named && token.is_none() {
        return Err(ResultError::TaskId);
    }
    let expected = match service.pool().awaited(task, token) {
        Awaited::Renditions(expected) => expected,
        Awaited::Late => return Ok(Received::Late),
        Awaited::Unknown => return Err(ResultError::TaskId),
    };
    let (result, _share) = match kind {
        Kind::Failure => {
            let (error, share) = failure(service.intake(), body).await?;
            (Err(error), share)
        }
        Kind::Renditions { boundary } => {
            number(headers, header::PIXELS).filter(|pixels| *pixels >= 0).ok_or(ResultError::Pixels)?;
            let (renditions, share) = renditions(service.intake(), body, &boundary, expected).await?;
            (Ok(renditions), share)
        }
    };
    match service.pool().complete(task, result) {
        Completed::Taken => Ok(Received::Taken),
        Completed::Late => Ok(Received::Late),
        Completed::Unknown => Err(ResultError::TaskId),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn kind(headers: &HeaderMap) -> Result<Kind, ResultError> {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let text = text.ok_or(ResultError::MediaType("mime: no media type"))?;
    let (media_type, parameters) = text.split_once(';').unwrap_or((text, ""));
    let media_type = media_type.trim().to_ascii_lowercase();
    if media_type == header::TRANSCODING_ERROR {
        return Ok(Kind::Failure);
    }
    if !media_type.starts_with("multipart/") {
        return Err(ResultError::MediaType("mime: expected a multipart media type"));
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    });
    let boundary = boundary.filter(|boundary| (1..=70).contains(&boundary.len()));
    Ok(Kind::Renditions { boundary: boundary.ok_or(ResultError::MediaType("mime: no multipart boundary"))? })
}

async fn failure(
    intake: &Intake,
    body: &mut axum::body::BodyDataStream,
) -> Result<(TranscodeError, BudgetShare), ResultError> {
    let share = intake.budget().share();
    let mut text = BytesMut::new();
    let mut body = Timed::new(body, intake.limits());
    while let Some(chunk) = body.next().await? {
        let room = MAX_ERROR_BYTES - text.len();
        text.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if text.len() == MAX_ERROR_BYTES {
            break;
        }
    }
    Ok((TranscodeError::from_text(&String::from_utf8_lossy(&text)), share))
}

/// Reads the parts that are renditions; perceptual hashes, which are not asked for, are passed over.
async fn renditions(
    intake: &Intake,
    body: &mut axum::body::BodyDataStream,
    boundary: &str,
    expected: usize,
) -> Result<(Vec<Rendition>, BudgetShare), ResultError> {
    let limits = *intake.limits();
    let mut share = intake.budget().share();
    let end = tokio::time::Instant::now() + limits.body_timeout;
    let mut left = limits.max_result_bytes;
    let bounded = body.map(move |chunk| {
        let chunk: Bytes = chunk.map_err(|error| BodyError::Broken(error.to_string()))?;
        left = left.checked_sub(chunk.len() as u64).ok_or(BodyError::TooLarge { max: limits.max_result_bytes })?;
        Ok::<_, BodyError>(chunk)
    });
    let read = async {
        let mut multipart = Multipart::new(bounded, boundary);
        let (mut renditions, mut parts) = (Vec::new(), 0);
        while let Some(mut part) = multipart.next_field().await? {
            parts += 1;
            if parts > 2 * expected {
                return Err(ResultError::TooManyParts { got: parts, max: 2 * expected });
            }
            let is_video =
                part.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"video/"));
            let pixels = number(part.headers(), header::PIXELS);
            let mut data = BytesMut::new();
            while let Some(chunk) = part.chunk().await? {
                if is_video {
                    share.grow(chunk.len())?;
                    data.extend_from_slice(&chunk);
                }
            }
            if is_video {
                let pixels = pixels.and_then(|pixels| u64::try_from(pixels).ok()).ok_or(ResultError::Pixels)?;
                renditions.push(Rendition { data: data.freeze(), pixels });
            }
        }
        Ok(renditions)
    };
    let renditions = tokio::time::timeout_at(end, read).await.map_err(|_| BodyError::TimedOut)??;
    Ok((renditions, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(content_type: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
        match kind(&headers) {
            Ok(Kind::Renditions { boundary }) => Some(boundary),
            _ => None,
        }
    }

    #[test]
    fn boundaries_are_found() {
        assert_eq!(boundary("multipart/mixed; boundary=abc"), Some("abc".into()));
        assert_eq!(boundary("Multipart/Mixed; charset=x; Boundary=\"a b\""), Some("a b".into()));
        assert_eq!(boundary("multipart/mixed"), None);
        assert_eq!(boundary("video/mp2t; boundary=abc"), None);
    }
}
