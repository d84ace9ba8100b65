use bytes::Bytes;
use streamflow_media::{TranscodeSettings, devnet_ladder, inspect, transcode};

use crate::clip;

#[test]
fn smoke() {
    let segments = clip::segments();
    for s in segments {
        eprintln!("{} {} {:?} {} {} {:?}", s.seq, s.bytes.len(), s.duration, s.frames, s.start_pts, inspect(&s.bytes));
    }
    let t = std::time::Instant::now();
    let mut all = vec![Vec::new(); 3];
    for s in segments {
        let out = transcode(&s.bytes, &devnet_ladder(), &TranscodeSettings::default()).unwrap();
        eprintln!("{:?}", out.source);
        for (i, r) in out.renditions.iter().enumerate() {
            eprintln!("{} {}x{} {} {} {}", r.name, r.width, r.height, r.frames, r.bytes.len(), r.codecs);
            all[i].extend_from_slice(&r.bytes);
        }
    }
    eprintln!("{:?}", t.elapsed());
    let _ = std::fs::create_dir_all("/tmp/media-smoke");
    for (i, a) in all.iter().enumerate() {
        std::fs::write(format!("/tmp/media-smoke/{i}.ts"), a).unwrap();
    }
    let src: Vec<u8> = segments.iter().flat_map(|s| s.bytes.to_vec()).collect();
    std::fs::write("/tmp/media-smoke/src.ts", &src).unwrap();
    std::fs::write("/tmp/media-smoke/s0.ts", &segments[0].bytes).unwrap();
    let _: Bytes = clip::segment(0);
}
