//! Errors as a log line shows them.
use std::error::Error;

/// An error and its causes on one line. Libraries often repeat a cause in the text of the error that wraps it; here each
/// is told once.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let told = inner.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Wrapped {
        text: &'static str,
        #[source]
        cause: Option<Box<Wrapped>>,
    }

    fn line(texts: &[&'static str]) -> String {
        let wrap = |cause, text: &&'static str| Some(Box::new(Wrapped { text, cause }));
        with_causes(texts.iter().rev().fold(None, wrap).unwrap().as_ref())
    }

    #[test]
    fn every_cause_is_told_from_the_outermost_in() {
        assert_eq!(
            line(&["no quote", "cannot connect", "connection refused"]),
            "no quote: cannot connect: connection refused"
        );
    }

    #[test]
    fn a_cause_that_was_told_already_is_not_repeated() {
        assert_eq!(
            line(&["cannot connect", "refused (os error 111)", "refused (os error 111)"]),
            "cannot connect: refused (os error 111)"
        );
        assert_eq!(line(&["cannot connect: refused", "refused"]), "cannot connect: refused");
    }
}
