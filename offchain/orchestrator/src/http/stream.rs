//! GET /stream/…: renditions for broadcasters, inputs for transcoders (node.md §2.6). Whoever knows the session may
//! fetch.
use axum::{
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use streamflow_types::Container;

use crate::service::Service;

/// How the name of an input ends.
pub(crate) const INPUT_SUFFIX: &str = ".tempfile";

pub(super) async fn rendition(
    State(service): State<Service>,
    Path((session, profile, file)): Path<(String, String, String)>,
) -> Response {
    let data = service.cache().get(&format!("{session}/{profile}"), &file);
    let is_mp4 = file.rsplit_once('.').is_some_and(|(_, extension)| extension == Container::Mp4.extension());
    let container = if is_mp4 { Container::Mp4 } else { Container::MpegTs };
    answer(data, container.content_type())
}

pub(super) async fn input(State(service): State<Service>, Path((session, file)): Path<(String, String)>) -> Response {
    let seq = file.strip_suffix(INPUT_SUFFIX).and_then(|seq| seq.parse().ok());
    let data = seq.and_then(|seq| service.pool().input(&session, seq));
    answer(data, "application/octet-stream")
}

fn answer(data: Option<Bytes>, content_type: &'static str) -> Response {
    match data {
        Some(data) => ([(CONTENT_TYPE, content_type)], data).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
