//! `broadcaster explain`: which orchestrator a stream uses, and why none of the others, as the running broadcaster says.
use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use url::Url;

use super::Context;
use crate::{
    cli::ExplainArgs,
    config::Role,
    exit::{Refused, Usage},
    output::{Report, Table},
};

/// Time for the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than a broadcaster with all its streams says.
const MAX_STATUS: usize = 16 << 20;

/// What is used of the broadcaster's `/status`.
#[derive(Debug, Deserialize)]
struct Status {
    role: String,
    refusing: Option<String>,
    streams: Vec<Stream>,
    sessions: Vec<Session>,
    pool: Pool,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
    choice: Option<Choice>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    orchestrator: Option<Url>,
    swaps: u64,
    deadline_ms: u64,
    candidates: Vec<Candidate>,
    unlisted: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Candidate {
    url: Url,
    orchestrator: Option<String>,
    own: bool,
    #[serde(default)]
    chosen: bool,
    code: String,
    why: String,
    price: Option<String>,
    predicted_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Session {
    url: Url,
    orchestrator: Option<String>,
    own: bool,
    code: String,
    why: String,
    price: Option<String>,
    latency_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pool {
    listed: usize,
    places: usize,
    dropped: Vec<Drop>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Drop {
    code: String,
    count: usize,
    example: String,
}

#[derive(Debug, Serialize)]
struct Explanation {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    /// Who gets the next segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestrator: Option<Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swaps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    /// Why no segment is taken at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusing: Option<String>,
    candidates: Vec<Candidate>,
    /// Candidates that are not shown.
    unlisted: usize,
    pool: Pool,
}

/// Asks the broadcaster that these settings belong to.
///
/// # Errors
/// When it does not run, or has no such stream.
pub async fn run(context: &Context, args: &ExplainArgs, port_offset: u16) -> anyhow::Result<()> {
    let mut config = context.config.clone();
    config.offset_ports(Role::Broadcaster, port_offset)?;
    let status = ask(config.admin_listen(Role::Broadcaster)).await?;
    let Status { role, refusing, streams, sessions, pool } = status;
    if role != Role::Broadcaster.name() {
        bail!(Usage(format!("admin.listen is that of a running {role}, not of a broadcaster")));
    }
    let explanation = match &args.stream {
        None => general(refusing, sessions, pool),
        Some(name) => of_stream(name, refusing, streams, pool)?,
    };
    context.output.result(&explanation)?;
    Ok(())
}

async fn ask(address: std::net::SocketAddr) -> anyhow::Result<Status> {
    let away = || format!("no broadcaster answers at {address} (admin.listen): start `streamflow broadcaster` there");
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let mut reply = client.get(format!("http://{address}/status")).send().await.with_context(away)?;
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.with_context(away)? {
        if body.len() + chunk.len() > MAX_STATUS {
            bail!("/status at {address} has more than {MAX_STATUS} bytes");
        }
        body.extend_from_slice(&chunk);
    }
    let unlike = || format!("/status at {address} is not that of a broadcaster of this version (admin.listen)");
    serde_json::from_slice(&body).with_context(unlike)
}

fn general(refusing: Option<String>, sessions: Vec<Session>, pool: Pool) -> Explanation {
    let candidate = |session: Session| Candidate {
        url: session.url,
        orchestrator: session.orchestrator,
        own: session.own,
        chosen: false,
        code: session.code,
        why: session.why,
        price: session.price,
        predicted_ms: session.latency_ms,
    };
    let candidates = sessions.into_iter().map(candidate).collect();
    let (stream, orchestrator, swaps, deadline_ms) = (None, None, None, None);
    Explanation { stream, orchestrator, swaps, deadline_ms, refusing, candidates, unlisted: 0, pool }
}

fn of_stream(
    name: &str,
    refusing: Option<String>,
    streams: Vec<Stream>,
    pool: Pool,
) -> Result<Explanation, anyhow::Error> {
    let live: Vec<&str> = streams.iter().filter(|s| s.choice.is_some()).map(|s| s.name.as_str()).take(20).collect();
    let live = if live.is_empty() { "no stream is live".to_owned() } else { format!("live are: {}", live.join(", ")) };
    let Some(stream) = streams.into_iter().find(|stream| stream.name == name) else {
        bail!(Refused(format!("there is no stream {name}; {live}")));
    };
    let Some(choice) = stream.choice else {
        bail!(Refused(format!("stream {name} has ended; {live}")));
    };
    Ok(Explanation {
        stream: Some(stream.name),
        orchestrator: choice.orchestrator,
        swaps: Some(choice.swaps),
        deadline_ms: Some(choice.deadline_ms),
        refusing,
        candidates: choice.candidates,
        unlisted: choice.unlisted,
        pool,
    })
}

impl Report for Explanation {
    fn text(&self) -> String {
        let mut facts = Table::facts();
        if let Some(stream) = &self.stream {
            facts.fact("stream", stream);
            facts.fact("next segment", self.orchestrator.as_ref().map_or("nobody may be used", Url::as_str));
        }
        if let (Some(deadline), Some(swaps)) = (self.deadline_ms, self.swaps) {
            facts.fact("deadline", format!("{deadline} ms"));
            facts.fact("swaps", swaps);
        }
        if let Some(refusing) = &self.refusing {
            facts.fact("refusing", refusing);
        }
        facts.fact("orchestrators", format!("{} listed, {} have a place", self.pool.listed, self.pool.places));
        let mut table = Table::new(["ORCHESTRATOR", "WEI/PIXELS", "MS", "WHY"]);
        for candidate in &self.candidates {
            let host = candidate.url.host_str().unwrap_or_default();
            let port = candidate.url.port_or_known_default().unwrap_or_default();
            let mark = if candidate.chosen { "* " } else { "  " };
            let price = candidate.price.clone().unwrap_or_else(|| "-".to_owned());
            let takes = candidate.predicted_ms.map_or_else(|| "-".to_owned(), |millis| millis.to_string());
            let own = if candidate.own { " (own)" } else { "" };
            table.row([format!("{mark}{}:{port}{own}", shortened(host)), price, takes, candidate.why.clone()]);
        }
        let mut text = format!("{facts}\n\n{table}");
        if self.unlisted > 0 {
            let _ = write!(text, "\n  and {} more", self.unlisted);
        }
        for drop in &self.pool.dropped {
            let _ = write!(text, "\nnot used: {} × {}", drop.count, drop.example);
        }
        text
    }
}

/// Anybody may register a name of 250 letters.
fn shortened(host: &str) -> String {
    const LONGEST: usize = 32;
    if host.chars().count() <= LONGEST {
        return host.to_owned();
    }
    host.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::WIDTH;

    fn status(stream_choice: &str) -> Status {
        let text = format!(
            r#"{{"role": "broadcaster", "refusing": null, "streams": [{{"name": "movie", "choice": {stream_choice}}}],
            "sessions": [], "pool": {{"listed": 9, "places": 2, "dropped": [
                {{"code": "stake", "count": 7, "example": "stake 5 LPT wei is below 7"}}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    const CHOICE: &str = r#"{"orchestrator": "https://a.example:8935/", "swaps": 1, "deadline_ms": 2000, "unlisted": 3,
        "candidates": [
          {"url": "https://a.example:8935/", "orchestrator": null, "own": true, "chosen": true, "code": "chosen",
           "why": "chosen: the stream stays with it", "price": "900/1", "predicted_ms": 700},
          {"url": "https://a-name-that-somebody-made-as-long-as-names-may-be.example:8935/", "orchestrator": null,
           "own": false, "chosen": false, "code": "price", "price": "1200/1", "predicted_ms": null,
           "why": "price 1200/1 wei per pixel is more than the maximum 1000/1 wei per pixel (setting broadcaster.payment.max_price)"}]}"#;

    #[test]
    fn the_table_fits_a_terminal_and_marks_who_is_chosen() {
        let Status { streams, pool, .. } = status(CHOICE);
        let text = of_stream("movie", None, streams, pool).unwrap().text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for part in ["* a.example:8935 (own)", "2000 ms", "1200/1", "max_price", "and 3 more", "7 × stake 5"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_stream_that_is_not_there_is_refused_with_those_that_are() {
        let Status { streams, pool, .. } = status(CHOICE);
        let refused = of_stream("film", None, streams, pool).unwrap_err().to_string();
        assert_eq!(refused, "refused: there is no stream film; live are: movie");
        let Status { streams, pool, .. } = status("null");
        let refused = of_stream("movie", None, streams, pool).unwrap_err().to_string();
        assert_eq!(refused, "refused: stream movie has ended; no stream is live");
    }
}
