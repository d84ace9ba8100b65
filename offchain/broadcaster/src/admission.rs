//! Who may publish a stream, and what is made of it: the list of names, stream keys, the webhook.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use streamflow_types::{Container, ManifestId, Profile, Secret};
use tokio::time::{Duration, Instant};

use crate::{
    broadcaster::Core,
    config::BroadcasterConfig,
    webhook::{StreamOrders, WebhookError},
};

/// Names that encoders push under, for each stream that may be live: a webhook may give many names to one stream.
const NAMES_PER_STREAM: usize = 4;
/// How long an admission waits for the first segment of its stream.
const FIRST_SEGMENT: Duration = Duration::from_secs(60);

/// A stream that may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Its name; a webhook may have changed it.
    pub(crate) name: ManifestId,
    /// Who plays the source over RTMP must know it.
    pub(crate) key: Option<Secret>,
    /// Renditions.
    pub(crate) profiles: Vec<Profile>,
    /// What else the webhook orders.
    pub(crate) orders: StreamOrders,
}

impl Admission {
    /// Without anybody asked.
    pub(crate) fn plain(name: ManifestId, config: &BroadcasterConfig) -> Self {
        Self { name, key: None, profiles: config.profiles.clone(), orders: StreamOrders::default() }
    }
}

/// Who wants to publish what.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The whole address with its query; holds secrets.
    pub(crate) url: Secret,
    pub(crate) name: ManifestId,
    pub(crate) key: Option<Secret>,
    /// Renditions that the encoder asks for.
    pub(crate) profiles: Option<Vec<Profile>>,
    /// What it sends; renditions come back in the same (node.md §4.3).
    pub(crate) container: Container,
}

/// Why a stream may not be published.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// Not on the list.
    #[error("stream {0} may not be published (setting broadcaster.streams)")]
    NotListed(ManifestId),
    /// Keys are set, but none for this name.
    #[error("stream {0} has no key (setting broadcaster.stream_keys)")]
    NoKey(ManifestId),
    /// Missing or wrong.
    #[error("the key of stream {0} is missing or wrong (setting broadcaster.stream_keys)")]
    WrongKey(ManifestId),
    /// The webhook says no, or nothing that makes sense.
    #[error("stream {name} is not admitted")]
    Webhook {
        /// As the encoder named it.
        name: ManifestId,
        /// Why.
        #[source]
        source: WebhookError,
    },
    /// The encoder asks for other renditions than the webhook, or than it did before.
    #[error(
        "Livepeer-Transcode-Configuration asks for {asked} renditions that differ from the {known} of stream {name}"
    )]
    OtherProfiles {
        /// The stream.
        name: ManifestId,
        /// How many the header asks for.
        asked: usize,
        /// How many the stream has.
        known: usize,
    },
    /// Somebody publishes it already.
    #[error("stream {0} is live already")]
    Live(ManifestId),
    /// All places are taken.
    #[error("{live} streams are live already, the limit is {max} (setting broadcaster.{setting})")]
    TooMany {
        /// Now.
        live: usize,
        /// Allowed.
        max: usize,
        /// Which setting allows that many.
        setting: &'static str,
    },
}

/// Admissions of streams that are pushed segment by segment.
#[derive(Debug, Default)]
pub(crate) struct Admissions(Mutex<HashMap<ManifestId, (Arc<Admission>, Instant)>>);

impl Admissions {
    fn lock(&self) -> MutexGuard<'_, HashMap<ManifestId, (Arc<Admission>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Whether a stream may be published.
    pub(crate) async fn admit(&self, claim: Claim) -> Result<Admission, AdmitError> {
        let Claim { url, name, key, profiles, container } = claim;
        let config = &self.settings();
        if !config.streams.is_empty() && !config.streams.contains(&name) {
            return Err(AdmitError::NotListed(name));
        }
        if !config.stream_keys.is_empty() {
            let ours = config.stream_keys.get(&name).ok_or_else(|| AdmitError::NoKey(name.clone()))?;
            if !key.as_ref().is_some_and(|key| ours.matches(key.expose().as_bytes())) {
                return Err(AdmitError::WrongKey(name));
            }
        }
        let mut admission = Admission { key, ..Admission::plain(name.clone(), config) };
        let asked = match &self.webhook {
            None => None,
            Some(webhook) => {
                webhook.ask(&url).await.map_err(|source| AdmitError::Webhook { name: name.clone(), source })?
            }
        };
        let mut ordered = false;
        if let Some(reply) = asked {
            admission.name = reply.name;
            admission.key = reply.key.or(admission.key);
            admission.orders = reply.orders;
            ordered = !reply.profiles.is_empty();
            if ordered {
                admission.profiles = reply.profiles;
            }
        }
        match profiles {
            Some(profiles) if ordered => same_profiles(&admission, &profiles)?,
            Some(profiles) => admission.profiles = profiles,
            None => {}
        }
        admission.profiles.iter_mut().for_each(|profile| profile.format = container);
        Ok(admission)
    }

    /// The admission of a stream that is pushed segment by segment; asked for with its first segment only.
    pub(crate) async fn admit_push(&self, claim: Claim) -> Result<Arc<Admission>, AdmitError> {
        let (name, key, profiles) = (claim.name.clone(), claim.key.clone(), claim.profiles.clone());
        let known = self.admissions.lock().get(&name).cloned();
        if let Some((admission, since)) = known
            && (self.is_live(&admission.name) || since.elapsed() < FIRST_SEGMENT)
        {
            // Who began the stream had the key; so must everybody who goes on with it.
            if admission.key.is_some() && self.config.stream_keys.contains_key(&name) && admission.key != key {
                return Err(AdmitError::WrongKey(name));
            }
            if let Some(profiles) = &profiles {
                same_profiles(&admission, profiles)?;
            }
            return Ok(admission);
        }
        let admission = Arc::new(self.admit(claim).await?);
        if self.rtmp.is_published(&admission.name) {
            return Err(AdmitError::Live(admission.name.clone()));
        }
        let mut admissions = self.admissions.lock();
        admissions.retain(|_, (known, since)| self.is_live(&known.name) || since.elapsed() < FIRST_SEGMENT);
        let max = self.config.max_streams.saturating_mul(NAMES_PER_STREAM);
        if admissions.len() >= max {
            return Err(AdmitError::TooMany { live: admissions.len(), max, setting: "max_streams, four names each" });
        }
        admissions.insert(name, (admission.clone(), Instant::now()));
        Ok(admission)
    }

    fn is_live(&self, name: &ManifestId) -> bool {
        self.find_stream(name.as_str()).is_some_and(|stream| stream.is_open())
    }
}

/// The container is not part of what is asked for.
fn same_profiles(admission: &Admission, asked: &[Profile]) -> Result<(), AdmitError> {
    let same = |(known, asked): (&Profile, &Profile)| Profile { format: known.format, ..asked.clone() } == *known;
    if admission.profiles.len() == asked.len() && admission.profiles.iter().zip(asked).all(same) {
        return Ok(());
    }
    let (asked, known) = (asked.len(), admission.profiles.len());
    Err(AdmitError::OtherProfiles { name: admission.name.clone(), asked, known })
}
