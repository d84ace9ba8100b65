//! The webhook that says who may publish, and with which renditions (node.md §4.5).
use std::{collections::BTreeSet, fmt, time::Duration};

use futures::StreamExt as _;
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use streamflow_media::MAX_RENDITIONS;
use streamflow_types::{
    Container, Gop, H264Profile, ManifestId, ManifestIdError, Profile, ProfileError, Secret, VideoCodec,
};
use tokio::sync::Semaphore;
use url::Url;

use crate::config::{BroadcasterConfig, SOURCE};

/// Time for an answer, connection included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
pub(crate) const MAX_REPLY: usize = 64 * 1024;
/// Largest factor on deadlines that may be ordered.
const MAX_TIMEOUT_MULTIPLIER: u32 = 100;
/// Questions asked at a time.
const MAX_ASKED: usize = 64;

/// Why the webhook does not admit a stream.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No connection, or no answer in time.
    #[error("webhook cannot be asked (setting broadcaster.auth_webhook_url)")]
    Unreachable(#[source] reqwest::Error),
    /// It answers that the stream may not be published.
    #[error("webhook answered {0}, not 200")]
    Refused(StatusCode),
    /// More than anybody needs to say.
    #[error("webhook answered more than {max} bytes", max = MAX_REPLY)]
    TooLong,
    /// Too many are waiting for it.
    #[error("webhook is asked {max} times at once already", max = MAX_ASKED)]
    Busy,
    /// Its answer cannot be used.
    #[error("webhook's answer cannot be used")]
    Orders(#[from] OrdersError),
}

/// What is wrong with a transcode configuration: a webhook's answer or the header of a push.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// Not the JSON that was agreed.
    #[error("not a transcode configuration: {0}")]
    Json(#[from] serde_json::Error),
    /// An answer with a body must name the stream.
    #[error("manifestID is missing")]
    NoName,
    /// A name that cannot be a directory.
    #[error("manifestID cannot be used")]
    Name(#[from] ManifestIdError),
    /// Not one of node.md §4.7.
    #[error("preset {0:?} is not known")]
    Preset(String),
    /// A profile that cannot be encoded or signed.
    #[error("profile {name:?} cannot be used")]
    Profile {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: ProfileError,
    },
    /// A value of a profile that is none of those known.
    #[error("profile {name:?}: {field} {value:?} is not known")]
    Field {
        /// The profile.
        name: String,
        /// Which value.
        field: &'static str,
        /// As given.
        value: String,
    },
    /// Two renditions of one name, or one named like the source.
    #[error("profile {0:?} appears twice or is reserved")]
    Twice(String),
    /// Deadlines without end.
    #[error("timeoutMultiplier {got} is more than {max}", max = MAX_TIMEOUT_MULTIPLIER)]
    Timeout {
        /// As given.
        got: u32,
    },
    /// More than an orchestrator makes.
    #[error("{count} profiles, more than {max}", max = MAX_RENDITIONS)]
    TooMany {
        /// Asked for.
        count: usize,
    },
}

/// What a webhook orders beside name, key and renditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamOrders {
    /// Where renditions are stored; holds credentials.
    pub(crate) object_store: Option<Secret>,
    /// Where the recording is stored; holds credentials.
    pub(crate) record_store: Option<Secret>,
    /// One result in so many is compared with its source, in place of `verification.one_in`.
    pub(crate) verification_freq: Option<u32>,
    /// Factor on the deadlines of its segments, in place of `timeout_multiplier`.
    pub(crate) timeout_multiplier: Option<u32>,
    /// Whether each segment is to be decoded afresh.
    pub(crate) force_session_reinit: bool,
}

impl StreamOrders {
    /// Factor on the deadlines of the stream's segments.
    pub(crate) fn timeout_multiplier(&self, config: &BroadcasterConfig) -> u32 {
        self.timeout_multiplier.unwrap_or(config.timeout_multiplier)
    }
}

/// A usable answer.
#[derive(Debug)]
pub(crate) struct WebhookReply {
    pub(crate) name: ManifestId,
    pub(crate) key: Option<Secret>,
    /// Empty: those of the settings.
    pub(crate) profiles: Vec<Profile>,
    pub(crate) orders: StreamOrders,
}

/// The answer as it is written. What is not used here is read over, as deployed nodes do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "manifestID")]
    manifest_id: String,
    #[serde(rename = "streamKey")]
    stream_key: String,
    presets: Vec<String>,
    #[serde(rename = "objectStore")]
    object_store: String,
    #[serde(rename = "recordObjectStore")]
    record_object_store: String,
    profiles: Vec<JsonProfile>,
    #[serde(rename = "verificationFreq")]
    verification_freq: u32,
    #[serde(rename = "timeoutMultiplier")]
    timeout_multiplier: u32,
    #[serde(rename = "forceSessionReinit")]
    force_session_reinit: bool,
}

/// A profile as webhooks write it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JsonProfile {
    name: String,
    width: u32,
    height: u32,
    bitrate: u32,
    fps: u32,
    #[serde(rename = "fpsDen")]
    fps_den: u32,
    profile: String,
    gop: String,
    encoder: String,
}

#[derive(Serialize)]
struct Question<'a> {
    url: &'a str,
}

/// Asks.
pub(crate) struct Webhook {
    url: Url,
    client: Client,
    places: Semaphore,
}

/// Where a webhook is; `None` for what is no http or https URL with a host.
pub(crate) fn address(text: &Secret) -> Option<Url> {
    let url: Url = text.expose().parse().ok()?;
    (matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty())).then_some(url)
}

impl fmt::Debug for Webhook {
    /// Its address may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

impl Webhook {
    pub(crate) fn new(url: Url) -> Result<Self, reqwest::Error> {
        // A redirect would carry the stream's key to whoever it names.
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build()?;
        Ok(Self { url, client, places: Semaphore::new(MAX_ASKED) })
    }

    /// `None`: admitted, with nothing further ordered.
    pub(crate) async fn ask(&self, address: &Secret) -> Result<Option<WebhookReply>, WebhookError> {
        let _place = self.places.try_acquire().map_err(|_| WebhookError::Busy)?;
        let asked = self.client.post(self.url.clone()).json(&Question { url: address.expose() }).send().await;
        // The address of a webhook may hold a secret of its own.
        let reply = asked.map_err(|error| WebhookError::Unreachable(error.without_url()))?;
        if reply.status() != StatusCode::OK {
            return Err(WebhookError::Refused(reply.status()));
        }
        let body = read(reply).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        Ok(Some(parse_reply(&body)?))
    }
}

async fn read(reply: Response) -> Result<Vec<u8>, WebhookError> {
    let (mut chunks, mut body) = (reply.bytes_stream(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| WebhookError::Unreachable(error.without_url()))?;
        if body.len() + chunk.len() > MAX_REPLY {
            return Err(WebhookError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(crate) fn parse_reply(body: &[u8]) -> Result<WebhookReply, OrdersError> {
    let body: Body = serde_json::from_slice(body)?;
    if body.manifest_id.is_empty() {
        return Err(OrdersError::NoName);
    }
    if body.timeout_multiplier > MAX_TIMEOUT_MULTIPLIER {
        return Err(OrdersError::Timeout { got: body.timeout_multiplier });
    }
    let secret = |text: &str| (!text.is_empty()).then(|| Secret::new(text));
    let some = |number: u32| (number > 0).then_some(number);
    Ok(WebhookReply {
        name: ManifestId::new(body.manifest_id.as_str())?,
        key: secret(&body.stream_key),
        profiles: profiles(&body)?,
        orders: StreamOrders {
            object_store: secret(&body.object_store),
            record_store: secret(&body.record_object_store),
            verification_freq: some(body.verification_freq),
            timeout_multiplier: some(body.timeout_multiplier),
            force_session_reinit: body.force_session_reinit,
        },
    })
}

/// Renditions that the header `Livepeer-Transcode-Configuration` asks for; `None` where it names none.
pub(crate) fn parse_header(text: &[u8]) -> Result<Option<Vec<Profile>>, OrdersError> {
    let profiles = profiles(&serde_json::from_slice(text)?)?;
    Ok(Some(profiles).filter(|profiles| !profiles.is_empty()))
}

fn profiles(body: &Body) -> Result<Vec<Profile>, OrdersError> {
    let preset = |name: &String| Profile::preset(name).ok_or_else(|| OrdersError::Preset(name.clone()));
    let presets = body.presets.iter().map(preset);
    let profiles = presets.chain(body.profiles.iter().map(JsonProfile::read)).collect::<Result<Vec<_>, _>>()?;
    if profiles.len() > MAX_RENDITIONS {
        return Err(OrdersError::TooMany { count: profiles.len() });
    }
    let mut names = BTreeSet::from([SOURCE]);
    match profiles.iter().find(|profile| !names.insert(&profile.name)) {
        Some(twice) => Err(OrdersError::Twice(twice.name.clone())),
        None => Ok(profiles),
    }
}

impl JsonProfile {
    fn read(&self) -> Result<Profile, OrdersError> {
        let name = if self.name.is_empty() {
            format!("custom_{}x{}_{}", self.width, self.height, self.bitrate)
        } else {
            self.name.clone()
        };
        let unknown = |field, value: &str| OrdersError::Field {
            name: name.clone(),
            field,
            value: value.chars().take(40).collect(),
        };
        let profile = Profile {
            width: self.width,
            height: self.height,
            bitrate: self.bitrate,
            fps: self.fps,
            fps_den: self.fps_den.max(1),
            format: Container::default(),
            h264_profile: h264_profile(&self.profile).ok_or_else(|| unknown("profile", &self.profile))?,
            gop: gop(&self.gop).ok_or_else(|| unknown("gop", &self.gop))?,
            encoder: codec(&self.encoder).ok_or_else(|| unknown("encoder", &self.encoder))?,
            name: name.clone(),
        };
        profile.validate().map_err(|source| OrdersError::Profile { name, source })?;
        Ok(profile)
    }
}

fn h264_profile(text: &str) -> Option<H264Profile> {
    Some(match text.to_ascii_lowercase().as_str() {
        "" | "none" => H264Profile::EncoderDefault,
        "h264baseline" => H264Profile::Baseline,
        "h264main" => H264Profile::Main,
        "h264high" => H264Profile::High,
        "h264constrainedhigh" => H264Profile::ConstrainedHigh,
        _ => return None,
    })
}

fn codec(text: &str) -> Option<VideoCodec> {
    Some(match text.to_ascii_uppercase().as_str() {
        "" | "H.264" => VideoCodec::H264,
        "HEVC" | "H.265" => VideoCodec::H265,
        "VP8" => VideoCodec::Vp8,
        "VP9" => VideoCodec::Vp9,
        _ => return None,
    })
}

/// Seconds, with at most three decimals that count, or `intra`; 0 is the encoder's choice.
fn gop(text: &str) -> Option<Gop> {
    match text {
        "" => return Some(Gop::EncoderDefault),
        "intra" => return Some(Gop::IntraOnly),
        _ => {}
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) {
        return None;
    }
    let thousandths: u32 = format!("{decimals:0<3}").get(..3)?.parse().ok()?;
    let millis = whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
    Some(if millis == 0 { Gop::EncoderDefault } else { Gop::Millis(millis) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(json: &str) -> Result<Profile, OrdersError> {
        let body = format!(r#"{{"profiles":[{json}]}}"#);
        parse_header(body.as_bytes()).map(|profiles| profiles.unwrap().remove(0))
    }

    #[test]
    fn an_answer_sets_name_key_renditions_and_orders() {
        let reply = parse_reply(
            br#"{"manifestID":"real","streamKey":"k","presets":["P144p30fps16x9"],"objectStore":"s3://a:b@r/c",
                "profiles":[{"name":"a","width":320,"height":180,"bitrate":200000,"fps":30000,"fpsDen":1001,
                "profile":"H264High","gop":"1.5","encoder":"H.264","colorDepth":8,"quality":20}],
                "verificationFreq":3,"timeoutMultiplier":2,"forceSessionReinit":true,"previousSessions":["x"]}"#,
        )
        .unwrap();
        assert_eq!((reply.name.as_str(), reply.key), ("real", Some(Secret::new("k"))));
        assert_eq!(reply.profiles[0], Profile::preset("P144p30fps16x9").unwrap());
        let a = &reply.profiles[1];
        assert_eq!((a.fps, a.fps_den, a.gop, a.h264_profile), (30_000, 1001, Gop::Millis(1500), H264Profile::High));
        let orders = reply.orders;
        assert_eq!((orders.verification_freq, orders.timeout_multiplier), (Some(3), Some(2)));
        assert!(orders.force_session_reinit && orders.object_store.is_some() && orders.record_store.is_none());
    }

    #[test]
    fn a_streams_own_timeout_takes_the_place_of_the_settings() {
        let config = BroadcasterConfig { timeout_multiplier: 3, ..BroadcasterConfig::default() };
        let ordered = StreamOrders { timeout_multiplier: Some(7), ..StreamOrders::default() };
        assert_eq!((StreamOrders::default().timeout_multiplier(&config), ordered.timeout_multiplier(&config)), (3, 7));
    }

    #[test]
    fn a_profile_without_a_name_gets_one() {
        let unnamed = profile(r#"{"width":320,"height":180,"bitrate":200000,"gop":"intra"}"#).unwrap();
        assert_eq!((unnamed.name.as_str(), unnamed.gop, unnamed.fps_den), ("custom_320x180_200000", Gop::IntraOnly, 1));
    }

    #[test]
    fn gop_is_seconds_rounded_down_to_a_millisecond() {
        let read = ["2", "2.0", "0.0416", "0", "", "1.", "-1", "1e3", "x", ".5", "4294968"].map(gop);
        let millis = |ms| Some(Gop::Millis(ms));
        let default = Some(Gop::EncoderDefault);
        assert_eq!(read[..6], [millis(2000), millis(2000), millis(41), default, default, millis(1000)]);
        assert_eq!(read[6..], [None; 5]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let ok = r#""width":320,"height":180,"bitrate":200000"#;
        let field = |json: String| match profile(&json) {
            Err(OrdersError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(format!(r#"{{{ok},"gop":"soon"}}"#)), "gop");
        assert_eq!(field(format!(r#"{{{ok},"profile":"H264Low"}}"#)), "profile");
        assert_eq!(field(format!(r#"{{{ok},"encoder":"AV1"}}"#)), "encoder");
        assert!(matches!(profile(r#"{"width":1,"height":1,"bitrate":1}"#), Err(OrdersError::Profile { .. })));
        assert!(matches!(profile(&format!(r#"{{{ok},"name":"source"}}"#)), Err(OrdersError::Twice(_))));
        assert!(matches!(profile(&format!(r#"{{{ok},"name":"../x"}}"#)), Err(OrdersError::Profile { .. })));
        assert!(matches!(parse_header(br#"{"presets":["P1"]}"#), Err(OrdersError::Preset(_))));
        assert!(matches!(parse_header(b"x"), Err(OrdersError::Json(_))));
        assert!(matches!(parse_reply(b"{}"), Err(OrdersError::NoName)));
        let endless = parse_reply(br#"{"manifestID":"a","timeoutMultiplier":101}"#);
        assert!(matches!(endless, Err(OrdersError::Timeout { got: 101 })));
        assert!(matches!(parse_reply(br#"{"manifestID":"a/b"}"#), Err(OrdersError::Name(_))));
        let many = (0..11).map(|i| format!(r#"{{{ok},"name":"p{i}"}}"#)).collect::<Vec<_>>().join(",");
        assert!(matches!(profile(&many), Err(OrdersError::TooMany { count: 11 })));
    }
}
