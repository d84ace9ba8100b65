//! How the program ends: 0 done, 1 failed, 2 usage, 3 refused for a stated reason (design, "Processes").
use std::process::ExitCode;

use streamflow_types::with_causes;

use crate::{
    keys::KeyError,
    output::{to_stderr, to_stdout},
};

/// The arguments or the configuration are wrong: nothing was tried. Exit code 2, as for [`KeyError`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The request is understood but must not be carried out now: funds, stake, gas price, state on chain. Exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("refused: {0}")]
pub struct Refused(pub String);

/// The command has already printed its result, which is a failure. Exit code 1, nothing more is printed.
#[derive(Debug, thiserror::Error)]
#[error("failed, as reported")]
pub struct Reported;

/// The number that stands for `error`; the innermost cause decides, context around it does not.
pub fn code(error: &anyhow::Error) -> u8 {
    let by_kind = error.chain().find_map(|cause| {
        if cause.is::<Usage>() || cause.is::<KeyError>() {
            Some(2)
        } else if cause.is::<Refused>() {
            Some(3)
        } else {
            None
        }
    });
    by_kind.unwrap_or(1)
}

/// Prints what went wrong (human text on stderr, with `json` also one document on stdout) and returns the code.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let code = code(error);
    if !error.is::<Reported>() {
        let text = with_causes(error.as_ref());
        if json {
            let document = serde_json::json!({ "error": text, "exit_code": code });
            // If stdout is gone, stderr and the exit code still tell.
            let _ = to_stdout(format!("{document}\n").as_bytes());
        }
        to_stderr(format_args!("error: {text}"));
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn context_does_not_change_the_code() {
        let refused = Err::<(), _>(Refused("deposit is 0".into())).context("cannot withdraw").unwrap_err();
        assert_eq!(code(&refused), 3);
        assert_eq!(format!("{refused:#}"), "cannot withdraw: refused: deposit is 0");
        assert_eq!(code(&anyhow!(Usage("no such role".into()))), 2);
        assert_eq!(code(&anyhow!("connection reset")), 1);
    }
}
