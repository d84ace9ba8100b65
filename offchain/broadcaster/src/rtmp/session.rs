//! One RTMP connection: handshake, commands, and then sound and pictures one way or the other.
use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use rtmp_rs::{
    amf::AmfValue,
    protocol::{
        chunk::{ChunkEncoder, RtmpChunk},
        constants::{
            CSID_AUDIO, CSID_COMMAND, CSID_PROTOCOL_CONTROL, CSID_VIDEO, MSG_AUDIO, MSG_COMMAND_AMF0, MSG_COMMAND_AMF3,
            MSG_DATA_AMF0, MSG_DATA_AMF3, MSG_VIDEO, NS_PLAY_START, NS_PLAY_STOP, NS_PLAY_STREAM_NOT_FOUND,
            NS_PUBLISH_BAD_NAME, NS_PUBLISH_START,
        },
        handshake::{Handshake, HandshakeRole},
        message::{Command, ConnectParams, ConnectResponseBuilder, RtmpMessage, UserControlEvent},
    },
};
use streamflow_types::{Container, ManifestIdError, Secret};
use streamflow_wire::refusal::scrub;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, broadcast, mpsc},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    ChunkError, Live, Place, TagError,
    chunks::Messages,
    flv::{Held, Kind, Tag},
    publish::{IngestError, Publication, stall},
    target::{Target, full_url, random_key, random_name},
};
use crate::{
    admission::{AdmitError, Claim},
    broadcaster::Core,
    config::RtmpConfig,
    error::Refusal,
};

/// From the connection to the wish to publish or play.
const SETUP: Duration = Duration::from_secs(10);
/// A peer that does not take what it is sent for this long has gone.
const WRITE: Duration = Duration::from_secs(10);
/// Commands and metadata are short.
const MAX_COMMAND: usize = 64 * 1024;
/// Commands of one connection before it publishes or plays.
const MAX_COMMANDS: u32 = 32;
/// Messages that wait for the worker; their bytes are bounded besides.
const QUEUE: usize = 1024;
/// Bytes that wait for the worker; two messages of the longest kind if that is more.
const QUEUED_BYTES: usize = 16 << 20;
/// What we send goes in chunks of this many bytes.
const CHUNK: u32 = 65_536;
/// Bytes after which a peer wants to hear of their arrival.
const WINDOW: u32 = 2_500_000;
/// The one stream of a connection.
const STREAM: u32 = 1;

/// Why a connection ended other than by the encoder's or the player's will.
#[derive(Debug, thiserror::Error)]
pub enum RtmpError {
    /// The connection broke.
    #[error("connection broke")]
    Io(#[from] io::Error),
    /// Not RTMP, or more of it than is taken.
    #[error("{0}")]
    Protocol(String),
    /// The peer wants neither to publish nor to play.
    #[error("no stream was published or played within {waited:?}")]
    Setup {
        /// How long it had.
        waited: Duration,
    },
    /// Commands over and over.
    #[error("more than {max} commands, or one of more than {max_bytes} bytes")]
    Commands {
        /// Allowed.
        max: u32,
        /// Allowed in one.
        max_bytes: usize,
    },
    /// The peer takes nothing any more.
    #[error("peer took nothing for {0:?}")]
    Stuck(Duration),
    /// A name that cannot be a directory.
    #[error("the stream's name cannot be used")]
    Name(#[from] ManifestIdError),
    /// It may not be published.
    #[error(transparent)]
    NotAdmitted(#[from] AdmitError),
    /// No stream can be taken now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A codec that is not taken.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// Nothing came.
    #[error("neither sound nor pictures for {waited:?}: ten segments of the stream (setting broadcaster.rtmp.segment)")]
    Stall {
        /// How long it was waited.
        waited: Duration,
    },
    /// What came cannot be used.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// Its task ended early.
    #[error("stream was abandoned")]
    Abandoned,
}

impl From<ChunkError> for RtmpError {
    fn from(error: ChunkError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// What a peer came for.
enum Wish {
    Publish { stream: String },
    Play { stream: String },
    Leave,
}

struct Session {
    core: Arc<Core>,
    config: RtmpConfig,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    messages: Messages,
    encoder: ChunkEncoder,
    app: String,
    tc_url: Option<String>,
    received: u64,
    acknowledged: u64,
    /// Answers to what the peer's end of the protocol asks; sent between messages.
    answers: BytesMut,
}

/// What a connection yields.
enum Next {
    Message(RtmpChunk),
    /// Something is to be answered.
    Answer,
    End,
}

/// Serves one connection to its end.
pub(super) async fn serve(core: Arc<Core>, config: RtmpConfig, socket: TcpStream) -> Result<(), RtmpError> {
    socket.set_nodelay(true)?;
    let (reader, writer) = socket.into_split();
    let mut session = Session {
        messages: Messages::new(config.max_message_bytes),
        encoder: ChunkEncoder::new(),
        app: String::new(),
        tc_url: None,
        received: 0,
        acknowledged: 0,
        answers: BytesMut::new(),
        core,
        config,
        reader,
        writer,
    };
    let stopping = session.core.stopping.clone();
    let set_up = tokio::select! { biased;
        () = stopping.cancelled() => return Ok(()),
        wish = timeout(SETUP, session.set_up()) => wish.map_err(|_| RtmpError::Setup { waited: SETUP })??,
    };
    match set_up {
        Wish::Publish { stream } => session.publish(&stream).await,
        Wish::Play { stream } => session.play(&stream).await,
        Wish::Leave => Ok(()),
    }
}

impl Session {
    async fn set_up(&mut self) -> Result<Wish, RtmpError> {
        self.shake_hands().await?;
        self.send_control(&RtmpMessage::SetChunkSize(CHUNK)).await?;
        self.encoder.set_chunk_size(CHUNK);
        let mut commands = 0;
        loop {
            self.answer().await?;
            let chunk = match self.next_message().await? {
                Next::Message(chunk) => chunk,
                Next::Answer => continue,
                Next::End => return Ok(Wish::Leave),
            };
            let Some(command) = self.read_command(&chunk)? else { continue };
            commands += 1;
            if commands > MAX_COMMANDS {
                return Err(RtmpError::Commands { max: MAX_COMMANDS, max_bytes: MAX_COMMAND });
            }
            let argument = || command.arguments.first().and_then(AmfValue::as_str).unwrap_or_default().to_owned();
            match command.name.as_str() {
                "connect" => self.connect(&command).await?,
                "createStream" => {
                    let number = AmfValue::Number(f64::from(STREAM));
                    self.send_command(0, Command::result(command.transaction_id, AmfValue::Null, number)).await?;
                }
                "FCPublish" => {
                    let answer = Command {
                        name: "onFCPublish".into(),
                        transaction_id: 0.0,
                        command_object: AmfValue::Null,
                        arguments: Vec::new(),
                        stream_id: 0,
                    };
                    self.send_command(0, answer).await?;
                }
                "publish" => return Ok(Wish::Publish { stream: argument() }),
                "play" => return Ok(Wish::Play { stream: argument() }),
                "deleteStream" | "closeStream" => return Ok(Wish::Leave),
                // What encoders say beside that needs no answer: releaseStream, _checkbw, getStreamLength.
                _ => {}
            }
        }
    }

    async fn shake_hands(&mut self) -> Result<(), RtmpError> {
        let mut handshake = Handshake::new(HandshakeRole::Server);
        handshake.generate_initial();
        while !handshake.is_done() {
            while self.messages.buffer().len() < handshake.bytes_needed() {
                self.read().await?;
            }
            let needed = handshake.bytes_needed();
            let mut part = self.messages.buffer().split_to(needed).freeze();
            let answer = handshake.process(&mut part).map_err(|error| RtmpError::Protocol(error.to_string()))?;
            if let Some(answer) = answer {
                self.write(&answer).await?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self, command: &Command) -> Result<(), RtmpError> {
        let params = ConnectParams::from_amf(&command.command_object);
        self.app = params.app;
        self.tc_url = params.tc_url;
        self.send_control(&RtmpMessage::WindowAckSize(WINDOW)).await?;
        self.send_control(&RtmpMessage::SetPeerBandwidth { size: WINDOW, limit_type: 2 }).await?;
        self.send_control(&RtmpMessage::UserControl(UserControlEvent::StreamBegin(0))).await?;
        let answer = ConnectResponseBuilder::new().fms_ver("FMS/3,5,7,7009").capabilities(31);
        self.send_command(0, answer.build(command.transaction_id)).await
    }

    async fn publish(&mut self, stream: &str) -> Result<(), RtmpError> {
        let (place, queue, publication) = match self.admit(stream).await {
            Ok(admitted) => admitted,
            Err(error) => {
                let told = self.refuse(&error);
                self.send_status("error", NS_PUBLISH_BAD_NAME, &told).await?;
                return Err(error);
            }
        };
        tracing::info!(stream = %place.live.name, "stream is published over RTMP");
        let mut cutting = self.core.tracker.spawn(publication.run());
        let taken = self.take_media(queue, &mut cutting).await;
        let done = match taken {
            Ok(Ended::Worker(done)) => done,
            // Dropping the queue ended the input; what was cut of it is still published.
            Ok(Ended::Encoder) => flat(cutting.await),
            Err(error) => flat(cutting.await).and(Err(error)),
        };
        drop(place);
        if let Err(error) = &done {
            // Best effort: the encoder may be gone.
            let told = self.refuse(error);
            let _ = self.send_status("error", "NetStream.Publish.Failed", &told).await;
        }
        done
    }

    /// What the encoder is told, and `/status` shows.
    fn refuse(&self, error: &RtmpError) -> String {
        let told = error.told(&self.core.config);
        self.core.rtmp.note_refusal(scrub(&told));
        told
    }

    async fn admit(&self, stream: &str) -> Result<(Place, Queue, Publication), RtmpError> {
        let Target { name, key } = Target::parse(&self.app, stream)?;
        self.core.check_ready()?;
        let name = match name {
            Some(name) => name,
            None => random_name()?,
        };
        let url = Secret::new(full_url(self.tc_url.as_deref(), &self.app, stream));
        let admission = self.core.admit(Claim { url, name, key, profiles: None, container: Container::MpegTs }).await?;
        let admission = Arc::new(admission);
        let key = admission.key.clone().unwrap_or_else(random_key);
        let place = self.core.place(Live::new(admission.name.clone(), key), self.config.max_streams)?;
        let (sender, tags) = mpsc::channel(QUEUE);
        let bytes = self.config.max_message_bytes.saturating_mul(2).clamp(QUEUED_BYTES, Semaphore::MAX_PERMITS);
        let queue = Queue { sender, memory: Arc::new(Semaphore::new(bytes)) };
        let publication = Publication {
            core: self.core.clone(),
            config: self.config.clone(),
            admission,
            live: place.live.clone(),
            tags,
        };
        Ok((place, queue, publication))
    }

    /// Takes sound and pictures until the encoder ends, and says whether it was cut short by the worker.
    async fn take_media(&mut self, queue: Queue, cutting: &mut Cutting) -> Result<Ended, RtmpError> {
        self.send_control(&RtmpMessage::UserControl(UserControlEvent::StreamBegin(STREAM))).await?;
        self.send_status("status", NS_PUBLISH_START, "stream is published").await?;
        let patience = stall(self.config.segment);
        let mut last = Instant::now();
        let stopping = self.core.stopping.clone();
        loop {
            self.answer().await?;
            let message = tokio::select! { biased;
                () = stopping.cancelled() => return Ok(Ended::Encoder),
                cut = &mut *cutting => return Ok(Ended::Worker(flat(cut))),
                message = timeout_at(last + patience, self.next_message()) => message,
            };
            let chunk = match message.map_err(|_| RtmpError::Stall { waited: patience })?? {
                Next::Message(chunk) => chunk,
                Next::Answer => continue,
                Next::End => return Ok(Ended::Encoder),
            };
            let kind = match chunk.message_type {
                MSG_AUDIO => Kind::Audio,
                MSG_VIDEO => Kind::Video,
                _ => match self.read_command(&chunk)?.map(|command| command.name) {
                    Some(name) if matches!(name.as_str(), "FCUnpublish" | "deleteStream" | "closeStream") => {
                        return Ok(Ended::Encoder);
                    }
                    _ => continue,
                },
            };
            if chunk.payload.is_empty() {
                continue;
            }
            let tag = Tag { kind, timestamp: chunk.timestamp, data: chunk.payload };
            tag.check()?;
            last = Instant::now();
            let queued = tokio::select! { biased;
                cut = &mut *cutting => return Ok(Ended::Worker(flat(cut))),
                queued = timeout(patience, queue.put(tag)) => queued,
            };
            queued.map_err(|_| RtmpError::Stuck(patience))?;
        }
    }

    /// Plays the source to whoever has its key.
    async fn play(&mut self, stream: &str) -> Result<(), RtmpError> {
        let target = Target::parse(&self.app, stream)?;
        let live = target.name.and_then(|name| self.core.rtmp.find(&name));
        let playing = live.and_then(|live| live.play(target.key.as_ref()));
        let Some((headers, mut tags)) = playing else {
            let text = "no such stream, a wrong key, or too many players";
            return self.send_status("error", NS_PLAY_STREAM_NOT_FOUND, text).await;
        };
        self.send_control(&RtmpMessage::UserControl(UserControlEvent::StreamBegin(STREAM))).await?;
        self.send_status("status", NS_PLAY_START, "stream is played").await?;
        for tag in &headers {
            self.send_tag(tag).await?;
        }
        let stopping = self.core.stopping.clone();
        let mut waiting_for_key = true;
        loop {
            self.answer().await?;
            let tag = tokio::select! { biased;
                () = stopping.cancelled() => return Ok(()),
                message = self.next_message() => match message? {
                    Next::Answer => continue,
                    Next::Message(chunk) => match self.read_command(&chunk)?.map(|command| command.name) {
                        Some(name) if matches!(name.as_str(), "deleteStream" | "closeStream") => return Ok(()),
                        _ => continue,
                    },
                    Next::End => return Ok(()),
                },
                tag = tags.recv() => tag,
            };
            match tag {
                Ok(tag) => {
                    waiting_for_key &= !tag.is_key();
                    if !waiting_for_key || tag.is_header() {
                        self.send_tag(&tag).await?;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => waiting_for_key = true,
                Err(broadcast::error::RecvError::Closed) => {
                    self.send_control(&RtmpMessage::UserControl(UserControlEvent::StreamEof(STREAM))).await?;
                    return self.send_status("status", NS_PLAY_STOP, "stream has ended").await;
                }
            }
        }
    }

    /// The next message. May be cancelled: it only reads.
    async fn next_message(&mut self) -> Result<Next, RtmpError> {
        loop {
            if let Some(chunk) = self.messages.next()? {
                if is_command(&chunk) {
                    return Ok(Next::Message(chunk));
                }
                match RtmpMessage::from_chunk(&chunk) {
                    Ok(RtmpMessage::SetChunkSize(size)) => self.messages.set_chunk_size(size)?,
                    Ok(RtmpMessage::Abort { csid }) => self.messages.abort(csid),
                    Ok(RtmpMessage::UserControl(UserControlEvent::PingRequest(time))) => {
                        self.note(&RtmpMessage::UserControl(UserControlEvent::PingResponse(time)));
                        return Ok(Next::Answer);
                    }
                    Ok(_) => return Ok(Next::Message(chunk)),
                    Err(error) => return Err(RtmpError::Protocol(error.to_string())),
                }
                continue;
            }
            if self.received - self.acknowledged >= u64::from(WINDOW) {
                self.acknowledged = self.received;
                // The protocol counts to 2^32 and starts over.
                let sequence = (self.received & u64::from(u32::MAX)) as u32;
                self.note(&RtmpMessage::Acknowledgement { sequence });
                return Ok(Next::Answer);
            }
            if self.reader_read().await? == 0 {
                return Ok(Next::End);
            }
        }
    }

    fn note(&mut self, message: &RtmpMessage) {
        let (message_type, payload) = message.encode();
        let chunk = RtmpChunk { csid: CSID_PROTOCOL_CONTROL, timestamp: 0, message_type, stream_id: 0, payload };
        self.encoder.encode(&chunk, &mut self.answers);
    }

    async fn answer(&mut self) -> Result<(), RtmpError> {
        let answers = self.answers.split();
        if answers.is_empty() { Ok(()) } else { self.write(&answers).await }
    }

    /// The command in a message, if it is one. Metadata says nothing that the media does not.
    fn read_command(&self, chunk: &RtmpChunk) -> Result<Option<Command>, RtmpError> {
        if !is_command(chunk) {
            return Ok(None);
        }
        if chunk.payload.len() > MAX_COMMAND {
            return Err(RtmpError::Commands { max: MAX_COMMANDS, max_bytes: MAX_COMMAND });
        }
        if matches!(chunk.message_type, MSG_DATA_AMF0 | MSG_DATA_AMF3) {
            return Ok(None);
        }
        match RtmpMessage::from_chunk(chunk) {
            Ok(RtmpMessage::Command(command) | RtmpMessage::CommandAmf3(command)) => Ok(Some(command)),
            Ok(_) => Ok(None),
            Err(error) => Err(RtmpError::Protocol(error.to_string())),
        }
    }

    async fn reader_read(&mut self) -> Result<usize, RtmpError> {
        let buffer = self.messages.buffer();
        buffer.reserve(16 * 1024);
        let read = self.reader.read_buf(buffer).await?;
        self.received += read as u64;
        Ok(read)
    }

    /// Reads some bytes, of which there must be some.
    async fn read(&mut self) -> Result<(), RtmpError> {
        match self.reader_read().await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }

    async fn send_control(&mut self, message: &RtmpMessage) -> Result<(), RtmpError> {
        let (message_type, payload) = message.encode();
        self.send(CSID_PROTOCOL_CONTROL, 0, message_type, 0, payload).await
    }

    async fn send_command(&mut self, stream_id: u32, command: Command) -> Result<(), RtmpError> {
        let (message_type, payload) = RtmpMessage::Command(command).encode();
        self.send(CSID_COMMAND, 0, message_type, stream_id, payload).await
    }

    async fn send_status(&mut self, level: &str, code: &str, description: &str) -> Result<(), RtmpError> {
        self.send_command(STREAM, Command::on_status(STREAM, level, code, description)).await
    }

    async fn send_tag(&mut self, tag: &Tag) -> Result<(), RtmpError> {
        let (csid, message_type) = match tag.kind {
            Kind::Audio => (CSID_AUDIO, MSG_AUDIO),
            Kind::Video => (CSID_VIDEO, MSG_VIDEO),
        };
        self.send(csid, tag.timestamp, message_type, STREAM, tag.data.clone()).await
    }

    async fn send(
        &mut self,
        csid: u32,
        timestamp: u32,
        message_type: u8,
        stream_id: u32,
        payload: Bytes,
    ) -> Result<(), RtmpError> {
        let mut bytes = BytesMut::with_capacity(payload.len() + 32);
        self.encoder.encode(&RtmpChunk { csid, timestamp, message_type, stream_id, payload }, &mut bytes);
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), RtmpError> {
        timeout(WRITE, self.writer.write_all(bytes)).await.map_err(|_| RtmpError::Stuck(WRITE))?.map_err(RtmpError::Io)
    }
}

type Cutting = JoinHandle<Result<(), IngestError>>;

/// Why no more media is taken.
enum Ended {
    Encoder,
    Worker(Result<(), RtmpError>),
}

fn flat(cut: Result<Result<(), IngestError>, tokio::task::JoinError>) -> Result<(), RtmpError> {
    Ok(cut.map_err(|_| RtmpError::Abandoned)??)
}

fn is_command(chunk: &RtmpChunk) -> bool {
    matches!(chunk.message_type, MSG_COMMAND_AMF0 | MSG_COMMAND_AMF3 | MSG_DATA_AMF0 | MSG_DATA_AMF3)
}

/// Where messages wait for the worker.
struct Queue {
    sender: mpsc::Sender<Held>,
    memory: Arc<Semaphore>,
}

impl Queue {
    /// Waits for room. What nobody takes any more is dropped: the worker's end says why.
    async fn put(&self, tag: Tag) {
        let bytes = u32::try_from(tag.data.len()).unwrap_or(u32::MAX);
        if let Ok(memory) = self.memory.clone().acquire_many_owned(bytes).await {
            let _ = self.sender.send(Held { tag, memory }).await;
        }
    }
}
