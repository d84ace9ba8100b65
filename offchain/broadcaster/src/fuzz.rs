//! Damaged input of every parser that reads what others send: whatever is said of it is said by returning.
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rtmp_rs::{
    amf::AmfValue,
    protocol::{
        chunk::{ChunkEncoder, RtmpChunk},
        message::{Command, RtmpMessage},
    },
};
use streamflow_fuzz::{damaged, damaged_text};
use streamflow_types::{ManifestId, Secret};
use url::Url;

use crate::{
    discovery::{parse_address, parse_list},
    output::Store,
    push::{PushHeaders, parse_path},
    remote::{read_answer, read_identity, read_list},
    rtmp::{Kind, Messages, Tag, Target, file_tag, full_url},
    serve::segment_type,
    webhook,
};

/// Largest message that is put together here.
const MAX_MESSAGE: usize = 64 << 10;

fn encoder_says() -> Vec<Vec<u8>> {
    let command = |name: &str, transaction_id, arguments| Command {
        name: name.into(),
        transaction_id,
        command_object: AmfValue::Null,
        arguments,
        stream_id: 0,
    };
    let text = |text: &str| AmfValue::String(text.into());
    let messages = [
        RtmpMessage::SetChunkSize(4096),
        RtmpMessage::Command(command("connect", 1.0, vec![text("stream/movie"), AmfValue::Number(1.5)])),
        RtmpMessage::Command(command("createStream", 2.0, vec![])),
        RtmpMessage::Command(command("publish", 3.0, vec![text("k3y"), text("live")])),
        RtmpMessage::Abort { csid: 4 },
        RtmpMessage::WindowAckSize(2_500_000),
    ];
    let mut encoder = ChunkEncoder::new();
    let mut one_by_one: Vec<Vec<u8>> = Vec::new();
    for message in &messages {
        let (message_type, payload) = message.encode();
        let mut bytes = BytesMut::new();
        encoder.encode(&RtmpChunk { csid: 3, timestamp: 0, message_type, stream_id: 0, payload }, &mut bytes);
        one_by_one.push(bytes.to_vec());
    }
    // Pictures and sound, in chunks of which one is longer than a chunk.
    let mut media = BytesMut::new();
    for (csid, message_type, len) in [(6, 9, 700_usize), (4, 8, 90), (6, 9, 20)] {
        let payload = Bytes::from(vec![0x17; len]);
        encoder.encode(&RtmpChunk { csid, timestamp: 0x0100_0000, message_type, stream_id: 1, payload }, &mut media);
    }
    one_by_one.push(media.to_vec());
    let all = one_by_one.concat();
    one_by_one.push(all);
    one_by_one
}

fn tags() -> Vec<Vec<u8>> {
    let headers: [&[u8]; 6] = [
        &[0x17, 0, 0, 0, 0, 1, 100],
        &[0x17, 1, 0, 0, 0, 9],
        &[0x27, 1, 0, 0, 0],
        &[0xaf, 0, 17, 144],
        &[0xaf, 1],
        b"\x90hvc1",
    ];
    headers.into_iter().map(<[u8]>::to_vec).collect()
}

fn headers(names: &str) -> HeaderMap {
    let pairs = names.lines().filter_map(|line| line.split_once(':'));
    let pairs = pairs.filter_map(|(name, value)| {
        let name: HeaderName = name.trim().parse().ok()?;
        Some((name, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?))
    });
    pairs.take(64).collect()
}

const CONFIGURATION: &str = r#"{"manifestID":"real","streamKey":"k","presets":["P144p30fps16x9"],"objectStore":"s3://a:b@r/c",
    "profiles":[{"name":"a","width":320,"height":180,"bitrate":200000,"fps":30000,"fpsDen":1001,"profile":"H264High",
    "gop":"1.5","encoder":"H.264"}],"verificationFreq":3,"timeoutMultiplier":2,"forceSessionReinit":true}"#;

proptest! {
    #![proptest_config(streamflow_fuzz::config(512))]

    #[test]
    fn rtmp_chunks_and_commands(bytes in damaged(encoder_says()), piece in 1..400_usize) {
        let mut messages = Messages::new(MAX_MESSAGE);
        'all: for piece in bytes.chunks(piece) {
            messages.buffer().extend_from_slice(piece);
            loop {
                let chunk = match messages.next() {
                    Ok(Some(chunk)) => chunk,
                    Ok(None) => break,
                    Err(_) => break 'all,
                };
                prop_assert!(chunk.payload.len() <= MAX_MESSAGE);
                match RtmpMessage::from_chunk(&chunk) {
                    Ok(RtmpMessage::SetChunkSize(size)) if messages.set_chunk_size(size).is_err() => break 'all,
                    Ok(RtmpMessage::Abort { csid }) => messages.abort(csid),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn rtmp_tags(data in damaged(tags()), timestamp: u32, video: bool) {
        let kind = if video { Kind::Video } else { Kind::Audio };
        let tag = Tag { kind, timestamp, data: data.into() };
        let told = tag.check().map_err(|error| error.to_string());
        let _ = (told, tag.is_header(), tag.is_key());
        prop_assert_eq!(file_tag(&tag, timestamp).len(), tag.data.len() + 15);
    }

    #[test]
    fn rtmp_addresses(
        app in damaged_text(&["stream/movie", "movie/k3y", ""]), stream in damaged_text(&["movie/k3y?a=b", "k3y.flv", ""]),
        base in damaged_text(&["rtmp://h:1935/stream/movie?x=y"]),
    ) {
        let _ = Target::parse(&app, &stream);
        let _ = full_url(Some(&base), &app, &stream);
    }

    #[test]
    fn push_paths(path in damaged_text(&["movie/12.ts", "movie/camera/left/0.mp4", "m/9223372036854775807.ts"])) {
        if let Ok((name, seq, _)) = parse_path(&path) {
            prop_assert!(i64::try_from(seq).is_ok() && ManifestId::new(name.as_str()).is_ok());
            prop_assert!(!name.as_str().contains(['/', '\\']) && name.as_str() != "..");
        }
    }

    #[test]
    fn names_of_files(file in damaged_text(&["12.ts", "init-0.mp4", "9223372036854775807.m4s"])) {
        if segment_type(&file).is_some() {
            prop_assert!(file.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')));
            prop_assert!(file.len() <= 29 && !file.contains(".."), "{}", file);
        }
    }

    #[test]
    fn push_headers(text in damaged_text(&[
        "Content-Duration: 2000\nContent-Resolution: 1280x720\nAccept: multipart/mixed;q=0.9, */*\nAuthorization: Bearer k",
        "Origin: http://127.0.0.1:9935\nHost: 127.0.0.1:9935\nSec-Fetch-Site: same-origin\nContent-Length: 12",
        "Livepeer-Transcode-Configuration: {\"profiles\":[{\"width\":320,\"height\":180,\"bitrate\":1}]}",
    ])) {
        if let Ok(asked) = PushHeaders::parse(&headers(&text)) {
            prop_assert!(asked.duration.is_none_or(|duration| duration.as_secs() <= 300));
        }
    }

    #[test]
    fn webhook_answers(text in damaged_text(&[CONFIGURATION])) {
        let _ = webhook::parse_reply(text.as_bytes());
        if let Ok(Some(profiles)) = webhook::parse_header(text.as_bytes()) {
            prop_assert!(profiles.iter().all(|profile| profile.validate().is_ok()));
        }
    }

    #[test]
    fn webhook_addresses(text in damaged_text(&["https://user:pw@hook.example:8443/admit?token=t"])) {
        let _ = webhook::address(&Secret::new(text));
    }

    #[test]
    fn lists_of_orchestrators(text in damaged_text(&[
        r#"[{"address":"https://a:8935","score":1.0},{"address":"b","score":0.5},{"address":"[::1]:9"}]"#,
    ])) {
        if let Ok(list) = parse_list(text.as_bytes()) {
            prop_assert!(list.iter().all(|candidate| matches!(candidate.url.scheme(), "http" | "https")));
        }
        let _ = parse_address(&text);
    }

    #[test]
    fn addresses_of_orchestrators(text in damaged_text(&["o.example", "[::1]:9000", "https://o.example:8935/x"])) {
        if let Ok(url) = parse_address(&text) {
            prop_assert!(url.host_str().is_some());
        }
    }

    #[test]
    fn store_addresses(text in damaged_text(&[
        "s3://KEY:SECRET@eu-west-1/bucket/some/prefix", "s3+http://KEY:SE%2FCRET@127.0.0.1:9000/bucket",
        "gs://bucket?keyfile=/none/such",
    ])) {
        let Ok(url) = text.parse::<Url>() else { return Ok(()) };
        if let Err(error) = Store::remote(&url) {
            let told = streamflow_types::with_causes(&error);
            // A short one may be a word of the text.
            let secret = url.password().filter(|password| password.len() >= 6);
            prop_assert!(secret.is_none_or(|secret| !told.contains(secret)), "{}", told);
        }
    }

    #[test]
    fn answers_of_the_signer(text in damaged_text(&[
        r#"{"payment":"aGVsbG8=","segCreds":"aGVsbG8=","state":{"State":"AAAA","Sig":"AAAA"}}"#,
        r#"{"error":{"message":"no"}}"#,
        r#"{"address":"0x0101010101010101010101010101010101010101","signature":"0x01"}"#,
        r#"[{"address":"https://o:8935","score":1}]"#,
    ])) {
        let body = text.as_bytes();
        let _ = (read_answer(body).is_ok(), read_identity(body).is_ok(), read_list(body).is_ok());
    }
}
