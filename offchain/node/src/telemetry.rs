//! Logs on stderr and metrics for Prometheus.
use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, Registry, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::exit::Usage;

/// Time between two clean-ups of histograms.
const UPKEEP: Duration = Duration::from_secs(5);
/// Upper bounds of the histogram buckets of durations.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or per module: `info,streamflow_chain=debug`.
    pub level: String,
    /// For people or for programs.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr.
///
/// # Errors
/// [`Usage`] when the level is not understood.
pub fn start_logs(config: &LogConfig) -> Result<(), Usage> {
    let (filter, handle) = reload::Layer::new(filter_of(config)?);
    // a second start in one process, as in tests, keeps the first subscriber
    if subscriber(config.format, filter, io::stderr).try_init().is_ok() {
        *filter_in_use() = Some(handle);
    }
    Ok(())
}

/// Changes what is logged from now on. The level was checked when the configuration was read.
pub fn set_level(config: &LogConfig) {
    let changed = match (&*filter_in_use(), filter_of(config)) {
        (Some(handle), Ok(filter)) => handle.reload(filter).is_ok(),
        _ => false,
    };
    if !changed {
        tracing::warn!(level = config.level, "log level stays as it is");
    }
}

/// What is logged, as `level` says it.
///
/// # Errors
/// [`Usage`] when it is not understood.
pub fn filter_of(config: &LogConfig) -> Result<EnvFilter, Usage> {
    EnvFilter::try_new(&config.level).map_err(|e| Usage(format!("configuration: log.level {:?}: {e}", config.level)))
}

type FilterHandle = reload::Handle<EnvFilter, Registry>;

/// Of the subscriber of this process.
fn filter_in_use() -> std::sync::MutexGuard<'static, Option<FilterHandle>> {
    static FILTER: Mutex<Option<FilterHandle>> = Mutex::new(None);
    FILTER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn subscriber<W>(
    format: LogFormat,
    filter: reload::Layer<EnvFilter, Registry>,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let filtered = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => {
            let colour = io::IsTerminal::is_terminal(&io::stderr());
            Box::new(filtered.with(lines.with_ansi(colour).with_target(false)))
        }
        LogFormat::Json => Box::new(filtered.with(lines.json().flatten_event(true))),
    }
}

/// The metrics of this process. The first call installs the recorder.
///
/// # Errors
/// When another recorder is installed, or a bucket list is wrong.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut slot = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*slot {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .context("bad histogram buckets")?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|e| anyhow::anyhow!("cannot install the metrics recorder: {e}"))?;
    Ok(slot.insert(handle).clone())
}

/// Keeps histograms small until the task is dropped.
pub async fn keep_metrics_small(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (filter, level) = reload::Layer::new(EnvFilter::new("info"));
        let logs = subscriber(LogFormat::Json, filter, move || writer.clone());
        tracing::subscriber::with_default(logs, || {
            let segment = tracing::info_span!("segment", stream = "studio", seq = 3);
            segment.in_scope(|| tracing::info!(segment = 7, "stored"));
            tracing::debug!("not told");
            level.reload(EnvFilter::new("debug")).unwrap();
            tracing::debug!("told");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&told[0]["message"], &told[0]["segment"]), (&"stored".into(), &7.into()));
        let span = &told[0]["span"];
        assert_eq!((&span["name"], &span["stream"], &span["seq"]), (&"segment".into(), &"studio".into(), &3.into()));
        assert_eq!((told.len(), &told[1]["message"]), (2, &"told".into()), "{text}");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        let config = LogConfig { level: "a=b=c".into(), format: LogFormat::Text };
        assert!(start_logs(&config).is_err());
    }
}
