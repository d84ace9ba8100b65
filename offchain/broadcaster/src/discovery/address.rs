//! Addresses as people write them: `o.example` is `https://o.example:8935` (node.md §5.1).
use serde::{Deserialize, Deserializer, de::Error as _};
use url::Url;

const DEFAULT_PORT: u16 = 8935;

/// Why a text is no address of an orchestrator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of an orchestrator: write HOST, HOST:PORT, or an http or https URL")]
pub struct AddressError {
    text: String,
}

/// Reads an address. Without a scheme it is https, and then without a port 8935; a URL is taken as it is.
pub fn parse_address(text: &str) -> Result<Url, AddressError> {
    let unusable = || AddressError { text: text.to_owned() };
    let trimmed = text.trim();
    let (mut url, complete) = match trimmed.contains("://") {
        true => (Url::parse(trimmed), true),
        false => (Url::parse(&format!("https://{trimmed}")), false),
    };
    if let Ok(url) = &mut url
        && !complete
        && !names_port(trimmed)
    {
        url.set_port(Some(DEFAULT_PORT)).map_err(|()| unusable())?;
    }
    match url {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty()) => {
            Ok(url)
        }
        _ => Err(unusable()),
    }
}

/// The URL drops a port that is the scheme's own.
fn names_port(text: &str) -> bool {
    let authority = text.split(['/', '?', '#']).next().unwrap_or(text);
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, port)| port);
    after_host.contains(':')
}

/// For settings that are lists of addresses.
pub(crate) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Url>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse_address(text).map_err(D::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_port_may_be_left_out() {
        for (text, expected) in [
            ("o.example", "https://o.example:8935/"),
            ("o.example:443", "https://o.example/"),
            (" 127.0.0.1:9000 ", "https://127.0.0.1:9000/"),
            ("[::1]", "https://[::1]:8935/"),
            ("[::1]:9000", "https://[::1]:9000/"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1/"),
            ("https://o.example", "https://o.example/"),
        ] {
            assert_eq!(parse_address(text).unwrap().as_str(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "ftp://o.example", "https://", "o.example:port", "javascript:alert(1)"] {
            let refused = parse_address(text).unwrap_err().to_string();
            assert!(refused.contains("HOST:PORT"), "{refused}");
        }
    }
}
