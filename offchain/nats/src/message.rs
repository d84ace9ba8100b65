//! What is said.
use hmac::{Hmac, Mac};
use prost::Message;
use sha2::Sha256;
use streamflow_types::Secret;
use streamflow_wire::proto::{Capabilities, NotifySegment};

/// Answer of a transcoder that works on an order. Any other is the reason why it does not.
pub const TAKEN: &str = "taken";

/// Bytes of the code in front of every message.
const CODE_BYTES: usize = 32;
/// Longest message that is read: capabilities of an AI node are the largest part of one.
const MAX_BYTES: usize = 512 * 1024;

/// How a transcoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum State {
    /// It works.
    Alive = 0,
    /// It finishes what it has and takes no more.
    Leaving = 1,
    /// It ends.
    Gone = 2,
}

/// A transcoder says how it is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// Chosen at its start: 32 hexadecimal digits.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Streams that it takes.
    #[prost(uint32, tag = "2")]
    pub capacity: u32,
    /// Segments that it works on, whoever asked.
    #[prost(uint32, tag = "3")]
    pub running: u32,
    /// How it is.
    #[prost(enumeration = "State", tag = "4")]
    pub state: i32,
    /// What it can do.
    #[prost(message, optional, tag = "5")]
    pub capabilities: Option<Capabilities>,
    /// Milliseconds until it says so again; 0 where it does not tell.
    #[prost(uint32, tag = "6")]
    pub every_ms: u32,
}

/// An orchestrator asks for a segment, or ends a session.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Order {
    /// As it travels on a direct stream.
    #[prost(message, optional, tag = "1")]
    pub notice: Option<NotifySegment>,
    /// Where the renditions go: `https://host:port`.
    #[prost(string, tag = "2")]
    pub orchestrator: String,
    /// Name of the transcoder there.
    #[prost(string, tag = "3")]
    pub member: String,
}

/// Where transcoders say how they are.
pub fn hello_subject(pool: &str) -> String {
    format!("{pool}.hello")
}

/// Where one transcoder hears of its segments.
pub fn order_subject(pool: &str, id: &str) -> String {
    format!("{pool}.order.{id}")
}

/// The message with its code in front.
pub fn seal(secret: &Secret, message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut sealed = code(secret, &body).map(|code| code.finalize().into_bytes().to_vec()).unwrap_or_default();
    sealed.extend(body);
    sealed
}

/// The message, if its code was made with this secret.
pub fn open<M: Message + Default>(secret: &Secret, sealed: &[u8]) -> Option<M> {
    if secret.is_empty() || sealed.len() > MAX_BYTES {
        return None;
    }
    let (told, body) = sealed.split_at_checked(CODE_BYTES)?;
    code(secret, body)?.verify_slice(told).ok()?;
    M::decode(body).ok()
}

fn code(secret: &Secret, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut code = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    code.update(b"streamflow/nats/v1");
    code.update(body);
    Some(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use streamflow_fuzz::damaged;
    use streamflow_wire::proto::SegData;

    use super::*;

    fn hello() -> Hello {
        Hello {
            id: "a".into(),
            capacity: 4,
            running: 1,
            state: State::Leaving.into(),
            capabilities: None,
            every_ms: 1000,
        }
    }

    #[test]
    fn messages_of_those_who_know_the_secret_are_read() {
        let secret = Secret::new("swordfish");
        let sealed = seal(&secret, &hello());
        assert_eq!(open(&secret, &sealed), Some(hello()));
        assert_eq!(open::<Hello>(&Secret::new("sword"), &sealed), None);
        assert_eq!(open::<Hello>(&Secret::default(), &seal(&Secret::default(), &hello())), None);
    }

    #[test]
    fn changed_short_and_long_messages_are_not() {
        let secret = Secret::new("swordfish");
        let sealed = seal(&secret, &hello());
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert_eq!(open::<Hello>(&secret, &changed), None, "{position}");
            assert_eq!(open::<Hello>(&secret, &sealed[..position]), None, "{position}");
        }
        let long = Order { orchestrator: "x".repeat(MAX_BYTES), ..Order::default() };
        assert_eq!(open::<Order>(&secret, &seal(&secret, &long)), None);
    }

    fn order() -> Order {
        let seg_data = Some(SegData { manifest_id: b"clip".to_vec(), duration: 2000, ..SegData::default() });
        let notice = NotifySegment { url: "https://o:1/7".into(), task_id: 9, seg_data, ..NotifySegment::default() };
        Order { notice: Some(notice), orchestrator: "https://o:1".into(), member: "m".into() }
    }

    proptest! {
        #![proptest_config(streamflow_fuzz::config(512))]

        #[test]
        fn damaged_messages_are_refused_or_read_as_they_were_sealed(
            sealed in damaged(vec![seal(&Secret::new("swordfish"), &hello()), seal(&Secret::new("swordfish"), &order())]),
            body in damaged(vec![hello().encode_to_vec(), order().encode_to_vec()]),
        ) {
            let secret = Secret::new("swordfish");
            let whole = [seal(&secret, &hello()), seal(&secret, &order())];
            let is_open = open::<Hello>(&secret, &sealed).is_some() || open::<Order>(&secret, &sealed).is_some();
            prop_assert!(!is_open || whole.contains(&sealed), "a code that nobody made");
            // What somebody with the secret sends.
            if let Ok(hello) = Hello::decode(&body[..]) {
                prop_assert_eq!(open(&secret, &seal(&secret, &hello)), Some(hello));
            }
            if let Ok(order) = Order::decode(&body[..]) {
                prop_assert_eq!(open(&secret, &seal(&secret, &order)), Some(order));
            }
        }
    }
}
