//! Why a configuration is refused, in words that name the setting and where it stands.
use figment::{
    Error, Source,
    error::{Actual, Kind, OneOf},
};

use super::ENV_PREFIX;
use crate::exit::Usage;

const ADDRESS: &str = "an address (0x and 40 hex digits)";

/// Words in the names of settings whose values are never shown: where a key stands by mistake it is one all the same.
const SECRETS: [&str; 8] = ["key", "secret", "token", "password", "headers", "webhook", "store", "database_url"];

/// One line per mistake.
pub(super) fn explain(error: Error) -> Usage {
    let mistakes: Vec<String> = error.into_iter().map(|mistake| line(&mistake)).collect();
    Usage(format!("configuration: {}", mistakes.join("\n")))
}

fn line(mistake: &Error) -> String {
    let file = mistake.metadata.as_ref().and_then(|metadata| match &metadata.source {
        Some(Source::File(file)) => Some(file.display().to_string()),
        _ => None,
    });
    let key = mistake.path.join(".").to_lowercase();
    let place = match file {
        Some(file) if key.is_empty() => file,
        Some(file) => format!("{file}: {key}"),
        // Everything that is no file is the environment.
        None => format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase()),
    };
    let shown = |found: &Actual| shown(found, SECRETS.iter().any(|word| key.contains(word)));
    match &mistake.kind {
        Kind::UnknownField(_, known) => {
            let section = key.rsplit_once('.').map_or_else(String::new, |(section, _)| format!(" in [{section}]"));
            format!("{place}: unknown setting{section}; known: {}", known.join(", "))
        }
        Kind::UnknownVariant(found, known) => format!("{place}: {found:?} is none of {}", OneOf(known)),
        Kind::InvalidType(found, wanted) if wanted == "a duration" => {
            format!("{place}: {} is no duration: write for example \"5s\" or \"250ms\"", shown(found))
        }
        Kind::InvalidType(found, wanted) => format!("{place}: expected {}, found {}", kind(wanted), shown(found)),
        Kind::InvalidValue(found, wanted) => {
            let limits = limits(wanted).unwrap_or_default();
            format!("{place}: expected {}{limits}, found {}", kind(wanted), shown(found))
        }
        // The line itself may hold a secret.
        Kind::Message(text) if text.starts_with("TOML parse error") => format!("{place}: {}", without_source(text)),
        // The only setting in hexadecimal is an address.
        Kind::Message(text) if is_about_hex(text) => format!("{place}: expected {ADDRESS}: {text}"),
        other => format!("{place}: {}", other.to_string().trim_end()),
    }
}

/// What is wrong and in which line, without the line.
fn without_source(text: &str) -> String {
    let is_source =
        |line: &&str| line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
    let kept: Vec<&str> = text.lines().filter(|line| !is_source(line)).map(str::trim).collect();
    kept.join(", ").trim_end_matches([',', ' ']).to_owned()
}

/// What serde wants, in the words of the file's author.
fn kind(wanted: &str) -> &str {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        "a sequence" => "a list",
        bytes if bytes.starts_with("20 bytes") => ADDRESS,
        section if section.starts_with("struct ") => "a section",
        other => other,
    }
}

fn limits(wanted: &str) -> Option<String> {
    let max = match wanted {
        "u8" => u8::MAX.into(),
        "u16" => u16::MAX.into(),
        "u32" => u32::MAX.into(),
        "u64" | "usize" => u64::MAX,
        _ => return None,
    };
    Some(format!(" from 0 to {max}"))
}

fn shown(found: &Actual, secret: bool) -> String {
    match found {
        Actual::Str(_) if secret => "text".into(),
        Actual::Str(text) => format!("{text:?}"),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        Actual::Seq => "a list".into(),
        Actual::Map => "a section".into(),
        other => other.to_string(),
    }
}

fn is_about_hex(text: &str) -> bool {
    ["invalid string length", "odd number of digits", "invalid character"].iter().any(|start| text.starts_with(start))
}
