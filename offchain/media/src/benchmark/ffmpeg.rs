//! The yardstick: the `ffmpeg` program with the same encoder settings.
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bytes::Bytes;
use streamflow_types::{Gop, Profile};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, interval},
};

use super::{BenchmarkError, Clip, LadderRun, Work, process};
use crate::{
    FrameRate,
    settings::{EncoderInput, encoder_options},
};

/// How often the memory of the program is looked at. It is the peak so far that is read: only what comes within the last
/// of these is missed.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of its words in an error.
const LAST_WORDS: usize = 5;

/// A clip in files, and a program to make ladders of it.
#[derive(Debug)]
pub struct Ffmpeg {
    program: PathBuf,
    files: TempDir,
    /// Frames of each segment.
    segments: Vec<u64>,
    fps: FrameRate,
}

impl Ffmpeg {
    /// Says which version the program is.
    ///
    /// # Errors
    /// It is not installed.
    pub async fn version(program: &Path) -> Result<String, BenchmarkError> {
        let ran = Command::new(program).arg("-version").stdin(Stdio::null()).kill_on_drop(true).output().await;
        let ran = ran.map_err(|source| BenchmarkError::Ffmpeg { program: program.into(), source })?;
        let said = String::from_utf8_lossy(&ran.stdout);
        Ok(said.split_whitespace().nth(2).unwrap_or("unknown").to_owned())
    }

    /// Writes the clip as one file and as one for each segment.
    ///
    /// # Errors
    /// There is no space.
    pub fn prepare(program: &Path, clip: &Clip) -> Result<Self, BenchmarkError> {
        let files = tempfile::tempdir().map_err(BenchmarkError::Files)?;
        let whole: Vec<&[u8]> = clip.segments().iter().map(|segment| segment.bytes.as_ref()).collect();
        fs::write(files.path().join("clip.ts"), whole.concat()).map_err(BenchmarkError::Files)?;
        for (index, segment) in clip.segments().iter().enumerate() {
            fs::write(files.path().join(format!("{index}.ts")), &segment.bytes).map_err(BenchmarkError::Files)?;
        }
        let segments = clip.segments().iter().map(|segment| segment.frames).collect();
        Ok(Self { program: program.into(), files, segments, fps: clip.fps() })
    }

    /// One process over the whole clip, with a key frame where each group of pictures of the ladder begins. Wall and CPU
    /// time are what it says of itself, so starting it does not count against it.
    ///
    /// # Errors
    /// The program fails.
    pub async fn run_stream(&self, work: &Work) -> Result<LadderRun, BenchmarkError> {
        let ran = self.run("clip.ts", work, KeyFrames::Forced).await?;
        Ok(LadderRun {
            source_frames: self.segments.iter().sum(),
            wall: ran.own_wall,
            cpu: ran.cpu,
            peak_memory: ran.peak_memory,
            latencies: Vec::new(),
            renditions: ran.renditions.into_iter().map(|rendition| vec![rendition]).collect(),
        })
    }

    /// One process for each segment, one after the other, as nodes work that call the program. Starting them takes part of
    /// the wall time; CPU time is what they say of themselves.
    ///
    /// # Errors
    /// The program fails.
    pub async fn run_segments(&self, work: &Work) -> Result<LadderRun, BenchmarkError> {
        let mut run = LadderRun { renditions: vec![Vec::new(); work.profiles.len()], ..LadderRun::default() };
        for (index, frames) in self.segments.iter().enumerate() {
            let ran = self.run(&format!("{index}.ts"), work, KeyFrames::Encoders).await?;
            run.source_frames += frames;
            run.wall += ran.wall;
            run.cpu += ran.cpu;
            run.peak_memory = run.peak_memory.max(ran.peak_memory);
            run.latencies.push(ran.wall);
            run.renditions.iter_mut().zip(ran.renditions).for_each(|(all, rendition)| all.push(rendition));
        }
        Ok(run)
    }

    async fn run(&self, input: &str, work: &Work, keys: KeyFrames) -> Result<Ran, BenchmarkError> {
        let out = tempfile::tempdir_in(self.files.path()).map_err(BenchmarkError::Files)?;
        let args = arguments(work, self.fps, &self.files.path().join(input), out.path(), keys);
        let cannot_run = |source| BenchmarkError::Ffmpeg { program: self.program.clone(), source };
        let started = Instant::now();
        let child = Command::new(&self.program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot_run)?;
        let (pid, mut peak_memory) = (child.id().unwrap_or(0), 0);
        let ended = child.wait_with_output();
        tokio::pin!(ended);
        let mut looks = interval(LOOK);
        let output = loop {
            tokio::select! { biased;
                output = &mut ended => break output.map_err(cannot_run)?,
                // A process that has just ended has no memory any more.
                _ = looks.tick() => peak_memory = process::peak(pid).unwrap_or(0).max(peak_memory),
            }
        };
        let wall = started.elapsed();
        let said = String::from_utf8_lossy(&output.stderr);
        let (own_wall, cpu) = own_times(&said).filter(|_| output.status.success()).ok_or_else(|| {
            let mut last: Vec<_> = said.lines().rev().take(LAST_WORDS).collect();
            last.reverse();
            BenchmarkError::FfmpegFailed { stderr: last.join(" | ") }
        })?;
        let renditions = work.profiles.iter().map(|profile| fs::read(rendition(out.path(), profile)).map(Bytes::from));
        let renditions = renditions.collect::<Result<_, _>>().map_err(BenchmarkError::Files)?;
        Ok(Ran { wall, own_wall, cpu, peak_memory, renditions })
    }
}

/// One run of the program.
struct Ran {
    /// From its start to its end.
    wall: Duration,
    /// From the moment it has read its arguments.
    own_wall: Duration,
    cpu: Duration,
    peak_memory: u64,
    renditions: Vec<Bytes>,
}

/// Who says where key frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyFrames {
    /// The encoders, by their settings.
    Encoders,
    /// The command line, besides.
    Forced,
}

fn rendition(out: &Path, profile: &Profile) -> PathBuf {
    out.join(format!("{}.ts", profile.name))
}

/// One process that makes all renditions of `input` into `out` and reports its own time. Thread counts are left to it, as
/// they make it fastest. `fps` is the rate of the source and decides the distance of key frames.
fn arguments(work: &Work, fps: FrameRate, input: &Path, out: &Path, keys: KeyFrames) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["-hide_banner", "-nostdin", "-nostats", "-benchmark", "-y"].map(Into::into).to_vec();
    args.extend(["-i".into(), input.into()]);
    for profile in &work.profiles {
        let rate = FrameRate::of_profile(profile).unwrap_or(fps);
        let mut add = |items: &[&str]| args.extend(items.iter().map(OsString::from));
        add(&["-map", "0:v:0", "-map", "0:a:0?", "-c:a", "copy", "-c:v", work.settings.encoder.libav_name()]);
        let mut options = encoder_options(&work.settings, profile, EncoderInput { fps: rate, may_reorder: true });
        options.retain(|(key, _)| *key != "threads");
        for (key, value) in options {
            add(&[&format!("-{key}:v"), &value]);
        }
        if let (KeyFrames::Forced, Gop::Millis(period)) = (keys, profile.gop) {
            add(&["-force_key_frames:v", &format!("expr:gte(t,n_forced*{})", f64::from(period) / 1000.0)]);
        }
        let scale = format!("scale={}:{}:flags=bicubic", profile.width, profile.height);
        match FrameRate::of_profile(profile) {
            None => add(&["-vf", &scale, "-fps_mode", "passthrough"]),
            Some(rate) => add(&["-vf", &format!("{scale},fps={rate}"), "-fps_mode", "cfr"]),
        }
        add(&["-f", "mpegts"]);
        args.push(rendition(out, profile).into());
    }
    args
}

/// Wall and CPU time in `bench: utime=1.234s stime=0.056s rtime=0.789s`.
fn own_times(said: &str) -> Option<(Duration, Duration)> {
    let line = said.lines().rev().find(|line| line.contains("utime="))?;
    let time = |key: &str| -> Option<Duration> {
        let (_, rest) = line.split_once(key)?;
        Duration::try_from_secs_f64(rest.split('s').next()?.parse().ok()?).ok()
    };
    Some((time("rtime=")?, time("utime=")? + time("stime=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_times_of_ffmpeg_are_read() {
        let said = "frame=1\nbench: utime=1.500s stime=0.250s rtime=0.800s\nbench: maxrss=1kB\n";
        assert_eq!(own_times(said), Some((Duration::from_millis(800), Duration::from_millis(1750))));
        assert_eq!(own_times("no such line"), None);
    }
}
