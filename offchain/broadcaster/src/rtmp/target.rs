//! What an RTMP address names: a stream and the key to it (node.md §4.2).
use std::fmt::Write as _;

use streamflow_types::{ManifestId, ManifestIdError, Secret};

/// `[stream/]<manifestID>[/<streamKey>][?query]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// None: one is to be made up.
    pub(crate) name: Option<ManifestId>,
    pub(crate) key: Option<Secret>,
}

impl Target {
    /// From the application and the name of a stream, between which encoders cut an address where they like.
    pub(crate) fn parse(app: &str, stream: &str) -> Result<Self, ManifestIdError> {
        let path = |text: &str| text.split('?').next().unwrap_or_default().trim_matches('/').to_owned();
        let joined = format!("{}/{}", path(app), path(stream));
        let joined = joined.strip_suffix(".flv").unwrap_or(&joined);
        let mut parts = joined.split('/').filter(|part| !part.is_empty());
        let first = match parts.next() {
            Some("stream") => parts.next(),
            other => other,
        };
        Ok(Self { name: first.map(ManifestId::new).transpose()?, key: parts.next().map(Secret::new) })
    }
}

/// The whole address, as a webhook is told it. Holds the key: never for a log.
pub(crate) fn full_url(tc_url: Option<&str>, app: &str, stream: &str) -> String {
    let base = tc_url.map_or_else(|| format!("rtmp://localhost/{app}"), str::to_owned);
    let stream = stream.trim_start_matches('/');
    match base.split_once('?') {
        Some((base, query)) if !stream.contains('?') => format!("{}/{stream}?{query}", base.trim_end_matches('/')),
        Some((base, _)) => format!("{}/{stream}", base.trim_end_matches('/')),
        None => format!("{}/{stream}", base.trim_end_matches('/')),
    }
}

/// A name of 4 random bytes (node.md §4.2).
pub(crate) fn random_name() -> Result<ManifestId, ManifestIdError> {
    ManifestId::new(hex(&rand::random::<[u8; 4]>()))
}

/// A key of 6 random bytes (node.md §4.2).
pub(crate) fn random_key() -> Secret {
    Secret::new(hex(&rand::random::<[u8; 6]>()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(app: &str, stream: &str) -> (Option<String>, Option<String>) {
        let target = Target::parse(app, stream).unwrap();
        (target.name.map(|name| name.to_string()), target.key.map(|key| key.expose().to_owned()))
    }

    #[test]
    fn encoders_may_cut_the_address_anywhere() {
        let both = (Some("movie".to_owned()), Some("k3y".to_owned()));
        for (app, stream) in [
            ("stream/movie", "k3y"),
            ("stream", "movie/k3y"),
            ("movie", "k3y"),
            ("", "movie/k3y"),
            ("movie/", "/k3y.flv"),
            ("stream/movie?a=b", "k3y?c=d"),
            ("stream/movie", "k3y/more/parts"),
        ] {
            assert_eq!(parsed(app, stream), both, "{app} {stream}");
        }
        assert_eq!(parsed("", "movie.flv"), (Some("movie".into()), None));
        assert_eq!(parsed("stream", ""), (None, None));
        assert_eq!(parsed("", ""), (None, None));
        assert!(Target::parse("..", "x").is_err());
        assert!(Target::parse("a b", "x").is_err());
    }

    #[test]
    fn made_up_names_and_keys_have_their_length() {
        assert_eq!(random_name().unwrap().as_str().len(), 8);
        assert_eq!(random_key().expose().len(), 12);
        assert_ne!(random_key(), random_key());
    }

    #[test]
    fn the_webhook_sees_the_query_wherever_it_stands() {
        assert_eq!(full_url(Some("rtmp://h:1/stream/m?a=b"), "", "k"), "rtmp://h:1/stream/m/k?a=b");
        assert_eq!(full_url(Some("rtmp://h/m"), "", "k?a=b"), "rtmp://h/m/k?a=b");
        assert_eq!(full_url(None, "m", "k"), "rtmp://localhost/m/k");
    }
}
