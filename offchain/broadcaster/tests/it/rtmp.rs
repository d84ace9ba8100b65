//! Encoders that publish over RTMP, and such that should not.
use std::{
    net::SocketAddr,
    process::{Output, Stdio},
    time::Duration,
};

use streamflow_broadcaster::RtmpConfig;
use streamflow_types::{ManifestId, Secret};
use streamflow_wire::{Code, Refusal, refusal::HEADER};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    clip,
    fixture::{Running, Setup, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

/// With RTMP on a free port.
pub(crate) fn over_rtmp(setup: &mut Setup) {
    setup.config.rtmp = Some(RtmpConfig { listen: ([127, 0, 0, 1], 0).into(), ..RtmpConfig::default() });
}

impl Running {
    pub(crate) fn rtmp_url(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.rtmp.unwrap())
    }
}

/// Six seconds of a test picture with a key frame each second, published as fast as it is encoded.
const PICTURE: [&str; 12] = [
    "-f",
    "lavfi",
    "-i",
    "testsrc2=s=320x180:r=25:d=6",
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-g",
    "25",
    "-sc_threshold",
    "0",
];

fn ffmpeg(args: &[&str], url: &str) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]).args(args).args(["-f", "flv", url]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn publish(args: &[&str], url: &str) -> Output {
    timeout(Duration::from_secs(50), ffmpeg(args, url).output()).await.expect("ffmpeg does not end").unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn ffmpeg_publishes_with_and_without_sound_and_reordered_pictures() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).with(over_rtmp).start().await;
    let clip = clip::path();
    let sound =
        ["-stream_loop", "1", "-i", clip.to_str().unwrap(), "-t", "6", "-map", "1:a", "-map", "0:v", "-c:a", "aac"];
    for (name, reordered, sound) in
        [("plain", "0", &[][..]), ("reordered", "3", &[]), ("sound", "0", &sound), ("both", "3", &sound)]
    {
        let (picture, encoding) = PICTURE.split_at(4);
        let args = [picture, sound, encoding, &["-bf", reordered]].concat();
        let published = publish(&args, &running.rtmp_url(&format!("stream/{name}/key"))).await;
        assert!(published.status.success(), "{name}: {}", said(&published));
        let ended = || running.handle.status().streams.iter().any(|s| s.name.as_str() == name && !s.live);
        until("the end of the stream", ended).await;
        let status = running.handle.status();
        let stream = status.streams.iter().find(|stream| stream.name.as_str() == name).unwrap();
        assert_eq!((stream.segments.received, stream.segments.transcoded), (3, 3), "{name}");
        for rendition in ["source", "180p", "90p"] {
            assert_eq!(
                clip::frames(&running.file(&format!("{name}/{rendition}/index.m3u8"))),
                150,
                "{name} {rendition}"
            );
        }
        let master = running.text(&format!("/stream/{name}.m3u8")).await;
        assert_eq!(master.contains("mp4a"), !sound.is_empty(), "{master}");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_last_segment_is_made_however_short_it_is() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).with(over_rtmp).start().await;
    let clip = clip::path();
    let sound = ["-i", clip.to_str().unwrap(), "-map", "1:a", "-map", "0:v", "-c:a", "aac"];
    let (picture, encoding) = PICTURE.split_at(4);
    for (frames, reordered, sound) in [
        ("51", "0", &[][..]),
        ("51", "3", &sound),
        ("52", "0", &sound),
        ("52", "3", &[]),
        ("53", "3", &sound),
        ("54", "3", &[]),
        ("74", "3", &sound),
    ] {
        let name = format!("tail{frames}-{reordered}-{}", sound.len());
        let args = [picture, sound, encoding, &["-bf", reordered, "-frames:v", frames]].concat();
        let published = publish(&args, &running.rtmp_url(&format!("stream/{name}"))).await;
        assert!(published.status.success(), "{name}: {}", said(&published));
        let ended = || running.handle.status().streams.iter().any(|s| s.name.as_str() == name && !s.live);
        until("the end of the stream", ended).await;
        let status = running.handle.status();
        let segments = status.streams.iter().find(|stream| stream.name.as_str() == name).unwrap().segments;
        assert_eq!((segments.received, segments.transcoded, segments.failed), (2, 2, 0), "{name}");
        for rendition in ["source", "180p", "90p"] {
            let counted = clip::frames(&running.file(&format!("{name}/{rendition}/index.m3u8")));
            assert_eq!(counted.to_string(), frames, "{name} {rendition}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn the_last_segment_has_the_time_of_those_before_it() {
    // Longer than a segment of a second may take, and less than one of four seconds may.
    let orchestrator = FakeOrchestrator::start(1, Conduct::Lingers(9000), true).await;
    let four_seconds = |setup: &mut Setup| {
        over_rtmp(setup);
        setup.config.rtmp.as_mut().unwrap().segment = Duration::from_secs(4);
    };
    let running = Setup::new(&[orchestrator.url()]).with(four_seconds).start().await;
    let args = [&["-re"], &PICTURE[..], &["-frames:v", "126"]].concat();
    let published = publish(&args, &running.rtmp_url("stream/tail")).await;
    assert!(published.status.success(), "{}", said(&published));
    let ended = || running.handle.status().streams.iter().any(|stream| !stream.live);
    until("the end of the stream", ended).await;
    let segments = running.handle.status().segments;
    assert_eq!((segments.received, segments.transcoded, segments.retried), (2, 2, 0));
    running.stop().await;
}

#[tokio::test]
async fn what_encoders_should_not_send_is_refused_in_words_and_costs_nobody_else() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).with(over_rtmp).start().await;
    let mut good = ffmpeg(&[&["-re"], &PICTURE[..]].concat(), &running.rtmp_url("good/key")).spawn().unwrap();
    until("a stream", || !running.handle.status().streams.is_empty()).await;
    let (picture, encoding) = PICTURE.split_at(4);
    let same = publish(&PICTURE, &running.rtmp_url("good/other")).await;
    assert!(
        !same.status.success() && said(&same).contains("stream good is live already (StreamLive)"),
        "{}",
        said(&same)
    );
    let bad = publish(&PICTURE, &running.rtmp_url("b@d")).await;
    assert!(!bad.status.success() && said(&bad).contains("contains '@' (PushPathInvalid)"), "{}", said(&bad));
    // The encoder hears of it while it sends; whether it tells depends on its moment, but it always ends.
    let codec = publish(&[picture, &["-c:v", "flv1"]].concat(), &running.rtmp_url("codec")).await;
    assert!(!codec.status.success(), "{}", said(&codec));
    let address = running.rtmp.unwrap();
    for garbage in [vec![0; 10], vec![3; 100_000], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200)] {
        throw(address, &garbage).await;
    }
    // A message header that announces 16 MB, on each of many chunk streams.
    let shake = vec![3; 1 + 2 * 1536];
    let huge: Vec<u8> = (2..62).flat_map(|csid| [csid, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0]).collect();
    throw(address, &[shake, huge].concat()).await;
    let sound_only = ["-f", "lavfi", "-i", "sine=d=8", "-c:a", "aac"];
    let silent = publish(&sound_only, &running.rtmp_url("blind")).await;
    until("the end of it", || !is_live(&running, "blind")).await;
    assert!(running.handle.status().streams.iter().all(|stream| stream.name.as_str() != "blind"), "{}", said(&silent));
    let good = timeout(Duration::from_secs(30), good.wait()).await.unwrap().unwrap();
    assert!(good.success());
    until("the end of the good stream", || !is_live(&running, "good")).await;
    assert_eq!(clip::frames(&running.file("good/180p/index.m3u8")), 150);
    let _ = encoding;
    running.stop().await;
}

fn is_live(running: &Running, name: &str) -> bool {
    running.handle.status().streams.iter().any(|stream| stream.name.as_str() == name && stream.live)
}

/// Sends bytes, and waits until the other side hangs up.
async fn throw(address: SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await.expect("not hung up");
}

#[tokio::test]
async fn key_frames_that_are_too_rare_end_the_stream() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let brief = |setup: &mut Setup| {
        over_rtmp(setup);
        setup.config.rtmp.as_mut().unwrap().segment = Duration::from_millis(200);
    };
    let running = Setup::new(&[orchestrator.url()]).with(brief).start().await;
    let rare =
        ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=60", "-c:v", "libx264", "-preset", "ultrafast", "-g", "9999"];
    let refused = publish(&rare, &running.rtmp_url("rare")).await;
    assert!(!refused.status.success(), "{}", said(&refused));
    until("the end of it", || !is_live(&running, "rare")).await;
    running.stop().await;
}

#[tokio::test]
async fn a_key_is_needed_to_publish_and_to_play() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let keyed = |setup: &mut Setup| {
        over_rtmp(setup);
        setup.config.rtmp.as_mut().unwrap().max_streams = 1;
        for name in ["movie", "second"] {
            setup.config.stream_keys.insert(ManifestId::new(name).unwrap(), Secret::new("k3y"));
        }
    };
    let running = Setup::new(&[orchestrator.url()]).with(keyed).start().await;
    for (path, reason) in [
        ("stream/movie/wrong", "the key of stream movie is missing or wrong (setting broadcaster.stream_keys)"),
        ("movie", "the key of stream movie is missing or wrong (setting broadcaster.stream_keys) (StreamKeyWrong)"),
        ("other/k3y", "stream other has no key (setting broadcaster.stream_keys) (StreamKeyWrong)"),
        ("", "has no key"),
    ] {
        let refused = publish(&PICTURE, &running.rtmp_url(path)).await;
        let text = said(&refused);
        assert!(!refused.status.success() && text.contains(reason) && !text.contains("k3y "), "{path}: {text}");
    }
    let long = ["-re", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=60"];
    let args = [&long[..], &PICTURE[4..]].concat();
    let mut encoder = ffmpeg(&args, &running.rtmp_url("stream/movie/k3y")).spawn().unwrap();
    until("the stream", || is_live(&running, "movie")).await;
    let full = publish(&PICTURE, &running.rtmp_url("second/k3y")).await;
    assert!(said(&full).contains(
        "1 streams are live already, the limit is 1 (setting broadcaster.rtmp.max_streams) (TooManyStreams)"
    ));
    let shown = running.handle.status().rtmp.unwrap();
    let last = shown.last_refusal.unwrap();
    assert!(shown.refused == 5 && last.ends_with("(TooManyStreams)"), "{} {last}", shown.refused);
    let mut pushed = crate::fixture::client().post(running.url("/live/movie/9.ts")).body(clip::segment(0));
    assert_eq!(pushed.try_clone().unwrap().send().await.unwrap().status(), 403);
    pushed = pushed.header("Authorization", "Bearer k3y");
    let live = pushed.send().await.unwrap();
    assert_eq!(live.status(), 403);
    let coded = live.headers()[HEADER].to_str().unwrap();
    assert_eq!(Refusal::from_header(coded).unwrap().code, Code::StreamLive);
    assert!(live.text().await.unwrap().contains("stream movie is live already"));
    let played = play(&running.rtmp_url("stream/movie/k3y")).await;
    assert_eq!(played.trim(), "25", "frames of the source");
    assert_eq!(play(&running.rtmp_url("stream/movie/wrong")).await.trim(), "");
    encoder.kill().await.unwrap();
    running.stop().await;
}

/// Frames that a player gets of the first second.
async fn play(url: &str) -> String {
    let args = ["-v", "error", "-read_intervals", "%+#25", "-select_streams", "v", "-show_entries", "packet=size"];
    let mut command = Command::new("ffprobe");
    command.args(args).args(["-of", "csv=p=0", url]).stdin(Stdio::null()).kill_on_drop(true);
    let played = timeout(Duration::from_secs(20), command.output()).await.expect("player does not end").unwrap();
    let packets = String::from_utf8(played.stdout).unwrap().lines().count();
    if packets == 0 { String::new() } else { packets.to_string() }
}

/// Pushes so many bytes, and tells whether there was no memory for them.
pub(crate) async fn is_too_much(running: &Running, bytes: usize) -> bool {
    let push = crate::fixture::client().post(running.url("/live/other/0.ts")).body(vec![0x47; bytes]);
    let refused = push.send().await.unwrap();
    Refusal::from_header(refused.headers()[HEADER].to_str().unwrap()).unwrap().code == Code::PushMemoryFull
}

/// An upload that holds so many bytes until it is aborted; then there is no memory for `more`.
pub(crate) async fn hold_memory(running: &Running, bytes: usize, more: usize) -> JoinHandle<()> {
    for _ in 0..20 {
        let begun = futures::stream::iter([Ok::<_, std::io::Error>(vec![0x47; bytes])]);
        let endless = reqwest::Body::wrap_stream(futures::StreamExt::chain(begun, futures::stream::pending()));
        let upload = crate::fixture::client().post(running.url("/live/slow/0.ts")).body(endless).send();
        let upload = tokio::spawn(async move { drop(upload.await) });
        // A look at the memory takes some of it, and may be what the upload lacks.
        while !upload.is_finished() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if is_too_much(running, more).await && !upload.is_finished() {
                return upload;
            }
        }
    }
    panic!("waited in vain for an upload of {bytes} bytes");
}

#[tokio::test]
async fn what_is_published_and_what_is_pushed_share_one_bound_of_memory() {
    const MAX: usize = 4_000_000;
    let orchestrator = FakeOrchestrator::start(1, Conduct::Lingers(6000), true).await;
    let bounded = |setup: &mut Setup| {
        over_rtmp(setup);
        setup.config.max_upload_bytes = MAX;
    };
    let running = Setup::new(&[orchestrator.url()]).with(bounded).start().await;
    // An upload that is not over holds nearly all there is.
    let upload = hold_memory(&running, MAX - 1000, 2000).await;
    let published = publish(&PICTURE, &running.rtmp_url("movie/key")).await;
    assert!(published.status.success(), "{}", said(&published));
    until("the end of it", || running.handle.status().rtmp.is_some_and(|rtmp| rtmp.published == 0)).await;
    assert_eq!(orchestrator.seen().requests, 0, "a segment was taken for which there was no memory");
    let lost = running.handle.status().segments;
    assert_eq!((lost.received, lost.transcoded, lost.failed), (3, 0, 3), "those that were lost are counted");
    upload.abort();
    for _ in 0..200 {
        if !is_too_much(&running, 2000).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut encoder = ffmpeg(&PICTURE, &running.rtmp_url("movie/key")).spawn().unwrap();
    until("a segment", || running.handle.status().segments.received > lost.received).await;
    assert!(is_too_much(&running, MAX).await, "the segment that is being transcoded takes no memory");
    encoder.wait().await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn connections_are_limited_by_address() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let few = |setup: &mut Setup| {
        over_rtmp(setup);
        setup.config.rtmp.as_mut().unwrap().max_connections_per_address = 2;
    };
    let running = Setup::new(&[orchestrator.url()]).with(few).start().await;
    let address = running.rtmp.unwrap();
    let idle = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let mut third = TcpStream::connect(address).await.unwrap();
    let closed = timeout(Duration::from_secs(5), third.read(&mut [0; 1])).await.expect("the third is not refused");
    assert!(matches!(closed, Ok(0) | Err(_)));
    drop(idle);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let published = publish(&PICTURE, &running.rtmp_url("movie")).await;
    assert!(published.status.success(), "{}", said(&published));
    running.stop().await;
}
