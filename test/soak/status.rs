//! What roles say of themselves.
use std::process::Command;

use serde_json::Value;

/// The document at `url`, asked by a program that `wrapper` starts; none if there is no answer.
pub(crate) async fn document(wrapper: &[String], url: String) -> Option<Value> {
    serde_json::from_str(&text(wrapper, url).await?).ok()
}

/// The same as text.
pub(crate) async fn text(wrapper: &[String], url: String) -> Option<String> {
    let mut line = wrapper.to_vec();
    line.extend(["curl", "-sf", "--noproxy", "*", "--max-time", "5"].map(str::to_owned));
    line.push(url);
    let asked = tokio::task::spawn_blocking(move || Command::new(&line[0]).args(&line[1..]).output().unwrap());
    let output = asked.await.unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
