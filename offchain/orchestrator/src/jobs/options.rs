//! Transcoding options of a job: names of presets, separated by commas.
use streamflow_types::Profile;
use streamflow_wire::MAX_PROFILES;

/// Longest part of an unknown name that is told, bytes.
const MAX_TOLD: usize = 64;

/// Why options cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("there is no preset {0:?}")]
    Unknown(String),
    #[error("preset {0} is named twice")]
    Repeated(String),
    #[error("{got} presets, at most {max} are made of a segment")]
    TooMany { got: usize, max: usize },
}

/// What to make of each segment, in the order of the options.
pub(crate) fn profiles(options: &str) -> Result<Vec<Profile>, OptionsError> {
    let got = options.split(',').count();
    if got > MAX_PROFILES {
        return Err(OptionsError::TooMany { got, max: MAX_PROFILES });
    }
    let mut profiles: Vec<Profile> = Vec::with_capacity(got);
    for name in options.split(',').map(str::trim) {
        let told = || name[..name.floor_char_boundary(MAX_TOLD)].to_owned();
        let profile = Profile::preset(name).ok_or_else(|| OptionsError::Unknown(told()))?;
        // Two renditions of one name would overwrite each other.
        if profiles.contains(&profile) {
            return Err(OptionsError::Repeated(profile.name));
        }
        profiles.push(profile);
    }
    Ok(profiles)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(options: &str) -> Result<Vec<String>, OptionsError> {
        profiles(options).map(|profiles| profiles.into_iter().map(|profile| profile.name).collect())
    }

    #[test]
    fn presets_are_found_in_their_order() {
        let expected = ["P360p30fps16x9", "P240p30fps16x9"].map(str::to_owned).to_vec();
        assert_eq!(names("P360p30fps16x9,P240p30fps16x9"), Ok(expected.clone()));
        assert_eq!(names(" P360p30fps16x9 , P240p30fps16x9\n"), Ok(expected));
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        assert_eq!(names("P360p30fps16x9,P1p1"), Err(OptionsError::Unknown("P1p1".into())));
        assert_eq!(names(""), Err(OptionsError::Unknown(String::new())));
        assert_eq!(names("P360p30fps16x9,"), Err(OptionsError::Unknown(String::new())));
        let twice = "P360p30fps16x9,P360p30fps16x9";
        assert_eq!(names(twice), Err(OptionsError::Repeated("P360p30fps16x9".into())));
        assert_eq!(names(&",".repeat(40)), Err(OptionsError::TooMany { got: 41, max: MAX_PROFILES }));
        assert_eq!(names(&"x".repeat(500)), Err(OptionsError::Unknown("x".repeat(64))));
    }

    proptest! {
        #[test]
        fn no_options_break_it(options in "\\PC{0,600}") {
            if let Ok(profiles) = profiles(&options) {
                prop_assert!(!profiles.is_empty());
            }
        }
    }
}
