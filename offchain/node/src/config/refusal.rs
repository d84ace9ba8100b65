//! Why a configuration is refused, in words that name the setting and where it stands.
use figment::{
    Error, Source,
    error::{Kind, OneOf},
};

use super::ENV_PREFIX;
use crate::exit::Usage;

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
    match &mistake.kind {
        Kind::UnknownField(_, known) => {
            let section = key.rsplit_once('.').map_or_else(String::new, |(section, _)| format!(" in [{section}]"));
            format!("{place}: unknown setting{section}; known: {}", known.join(", "))
        }
        Kind::UnknownVariant(found, known) => format!("{place}: {found:?} is none of {}", OneOf(known)),
        Kind::InvalidType(found, wanted) if wanted == "a duration" => {
            format!("{place}: {found} is no duration: write for example \"5s\" or \"250ms\"")
        }
        other => format!("{place}: {}", other.to_string().trim_end()),
    }
}
