//! The clip that is transcoded.
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use streamflow_media::{MAX_SEGMENT_BYTES, SourceSettings, WorkerPool, benchmark::Clip};

use crate::{cli::BenchTranscodeArgs, commands::deploy::find_project, exit::Usage};

/// What was asked for, or the clip of the project.
pub(super) fn path(args: &BenchTranscodeArgs) -> anyhow::Result<PathBuf> {
    match &args.input {
        Some(input) => Ok(input.clone()),
        None => {
            let project = find_project(None).map_err(|_| {
                Usage("the clip of the project is not here: give --input FILE, or run in the project".into())
            })?;
            Ok(project.join("test/fixtures/bbb-720p25-5s.mp4"))
        }
    }
}

/// A file as a live encoder would send it, or a folder of segments as they are; no more than `duration` of either.
pub(super) async fn clip(pool: &WorkerPool, input: &Path, duration: Duration) -> anyhow::Result<Clip> {
    if input.is_dir() { folder(pool, input, duration).await } else { file(pool, input, duration).await }
}

async fn file(pool: &WorkerPool, input: &Path, duration: Duration) -> anyhow::Result<Clip> {
    let cannot_play = || format!("cannot play {}", input.display());
    let mut source = pool.source(SourceSettings::new(input, duration))?;
    let mut clip: Option<Clip> = None;
    while let Some(segment) = source.next().await {
        let bytes = segment.with_context(cannot_play)?.bytes;
        match &mut clip {
            Some(clip) => clip.push(pool, bytes).await?,
            None => clip = Some(Clip::start(pool, bytes).await?),
        }
    }
    clip.with_context(cannot_play)
}

async fn folder(pool: &WorkerPool, input: &Path, duration: Duration) -> anyhow::Result<Clip> {
    let cannot_read = || format!("cannot read {}", input.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(input).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        if path.extension().is_some_and(|extension| extension == "ts") {
            files.push(path);
        }
    }
    files.sort_by_cached_key(|path| order(path));
    let mut clip: Option<Clip> = None;
    for path in files {
        if clip.as_ref().is_some_and(|clip| clip.duration() >= duration) {
            break;
        }
        let of_segment = || format!("segment {}", path.display());
        let size = fs::metadata(&path).with_context(of_segment)?.len();
        if size > MAX_SEGMENT_BYTES as u64 {
            let refused = format!("{} has {size} bytes, more than a segment may have", path.display());
            return Err(Usage(refused + ": give the file itself with --input").into());
        }
        let bytes = fs::read(&path).with_context(of_segment)?.into();
        match &mut clip {
            Some(clip) => clip.push(pool, bytes).await.with_context(of_segment)?,
            None => clip = Some(Clip::start(pool, bytes).await.with_context(of_segment)?),
        }
    }
    clip.ok_or_else(|| {
        let cut = format!("-f segment -segment_time 2 {}/%d.ts", input.display());
        Usage(format!("no segment NAME.ts in {}: `ffmpeg -i FILE -c copy {cut}` cuts one", input.display())).into()
    })
}

/// By the number at the end of the name, then by the name: `seg9.ts` comes before `seg10.ts`.
fn order(path: &Path) -> (Option<u64>, PathBuf) {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let digits = name.len() - name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    (name[name.len() - digits..].parse().ok(), path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_not_spelt() {
        let mut files = ["10.ts", "seg9.ts", "init.ts", "seg010.ts", "2.ts"].map(PathBuf::from);
        files.sort_by_cached_key(|path| order(path));
        assert_eq!(files, ["init.ts", "2.ts", "seg9.ts", "10.ts", "seg010.ts"].map(PathBuf::from));
    }
}
