//! The list of codes. `docs/refusals.md` is made from it.
use std::{fmt, str::FromStr};

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// An orchestrator, before it takes a segment, a payment or a question.
    Orchestrator,
    /// An orchestrator that took a segment and delivers nothing.
    Result,
    /// An orchestrator, towards its transcoders.
    Pool,
    /// A broadcaster, towards whoever pushes.
    Broadcaster,
}

/// A code that is not in the list: of a newer peer, or of no peer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown code")]
pub struct UnknownCode;

macro_rules! codes {
    ($($side:ident $code:ident: $when:literal, $got:literal, $limit:literal, $setting:literal, $advice:literal;)*) => {
        /// Names a refusal. The name travels as it is written here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $when] $code,)*
        }

        impl Code {
            /// All of them, in the order of the page.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// As it travels.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            /// Who refuses; some codes are used by others too.
            pub const fn side(self) -> Side {
                match self { $(Self::$code => Side::$side,)* }
            }

            /// When it is met.
            pub const fn when(self) -> &'static str {
                match self { $(Self::$code => $when,)* }
            }

            /// What its two figures are: what was got, and what it was held against.
            pub const fn figures(self) -> [&'static str; 2] {
                match self { $(Self::$code => [$got, $limit],)* }
            }

            /// Setting that decides it; empty if none does.
            pub const fn setting(self) -> &'static str {
                match self { $(Self::$code => $setting,)* }
            }

            /// What to do.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$code => $advice,)* }
            }
        }

        impl FromStr for Code {
            type Err = UnknownCode;

            fn from_str(name: &str) -> Result<Self, UnknownCode> {
                match name {
                    $(stringify!($code) => Ok(Self::$code),)*
                    _ => Err(UnknownCode),
                }
            }
        }
    };
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

codes! {
    Orchestrator PaymentHeaderUnreadable: "The payment header is not base64 of a payment.",
        "what is wrong with it", "what it should be", "",
        "send `Livepeer-Payment` as base64 of a Payment message, or empty without a chain";
    Orchestrator PaymentHeaderTooLong: "The payment header is longer than any payment.",
        "its bytes", "bytes that are read", "",
        "send fewer tickets with one segment: ask for terms with a larger ticket value";
    Orchestrator SegmentHeaderUnreadable: "The segment header is not base64 of segment data, or is too long.",
        "what is wrong with it", "what it should be", "",
        "send `Livepeer-Segment` as base64 of a SegData message";
    Orchestrator ProfileFeatureUnknown: "A profile names a container, a codec or an H.264 profile that does not exist.",
        "the number sent", "the numbers known", "",
        "ask for a container, codec and profile of the list, or update the node that refuses";
    Orchestrator ProfileUnusable: "A profile cannot be encoded, or its name cannot be a file.",
        "the profile's fault", "what is possible", "",
        "change the profile: even sides, a bitrate, and a name of letters, digits, `-` and `_`";
    Orchestrator ProfileNameRepeated: "Two renditions of one name would overwrite each other.",
        "the name", "uses of a name", "",
        "give every profile a name of its own";
    Orchestrator ProfileCountOutOfRange: "No rendition is asked for, or too many.",
        "profiles sent", "profiles taken", "",
        "ask for fewer renditions, or for one at least";
    Orchestrator DurationOutOfRange: "The segment claims an impossible length.",
        "milliseconds sent", "milliseconds taken", "",
        "cut shorter segments; 0 means 2000 ms";
    Orchestrator SegmentFieldInvalid: "A field of the segment header is out of range.",
        "the field and what is in it", "what it should be", "",
        "send a usable stream name, a number that is not negative, and a hash of 32 bytes";
    Orchestrator SegmentNotSignedBySender: "The segment is not signed by the account that pays.",
        "the signature's state", "the account that pays", "",
        "sign the segment with the key of `Payment.sender`, and name profiles as they were signed";
    Orchestrator CapabilityMissing: "The job needs something that this orchestrator does not offer.",
        "bits that are missing", "bits offered", "",
        "ask another orchestrator, or ask for profiles that need only what is offered";
    Orchestrator MandatoryCapabilityMissing: "The job lacks something that this orchestrator insists on.",
        "bits of the job", "bits that must be among them", "",
        "update the broadcaster: session tokens (bit 12) are required";
    Orchestrator VersionTooOld: "The job wants a newer version.",
        "version of this node", "least version wanted", "",
        "ask another orchestrator, or lower the least version";
    Orchestrator ModelNotOffered: "The job wants a model that is not here.",
        "the capability's bit and model", "models offered", "",
        "ask an orchestrator of that model";
    Orchestrator SlicingNotOffered: "The job wants a part of a segment.",
        "milliseconds asked", "parts that are made", "",
        "cut the segment before it is sent";
    Orchestrator StorageNotOffered: "The job wants renditions in a store that cannot be written.",
        "the store asked for", "stores that can be written", "",
        "fetch renditions from the orchestrator, or name an S3 store with a whole upload policy";
    Orchestrator AuthTokenMissing: "The request has no session token.",
        "tokens sent", "tokens needed", "",
        "call GetOrchestrator, and send the token that it answers with";
    Orchestrator AuthTokenInvalid: "The session token is not of this node.",
        "the token's session", "whose token it must be", "",
        "call GetOrchestrator again: tokens do not outlive a change of the node's secret";
    Orchestrator AuthTokenExpired: "The session token is too old.",
        "time it ran out, Unix seconds", "time now, Unix seconds", "",
        "call GetOrchestrator again; check the clocks if that does not help";
    Orchestrator OrchestratorCapped: "As many sessions have work as its operator allows.",
        "sessions with work", "sessions allowed", "orchestrator.max_sessions",
        "ask another orchestrator; its operator may raise the setting if the hardware has room";
    Orchestrator DevicesLoaded: "With another session every device would fall behind.",
        "load of the least loaded device", "load allowed", "orchestrator.admission.max_ratio",
        "ask another orchestrator, or ask for fewer pixels; its operator may add a transcoder";
    Orchestrator TranscodersFull: "Every transcoder has as many sessions as it takes.",
        "sessions with work", "sessions that they take", "transcoder.capacity",
        "ask another orchestrator; its operator may add a transcoder, or raise the setting";
    Orchestrator TooManySegments: "The sender sends segments too fast.",
        "segments asked for and left", "segments in a second", "orchestrator.quotas.segments_per_second",
        "wait as long as the text says, or spread the streams over several orchestrators";
    Orchestrator TooManyBytes: "The sender sends bytes too fast.",
        "bytes asked for and left", "bytes in a second", "orchestrator.quotas.bytes_per_second",
        "wait as long as the text says, or lower the bitrate of the source";
    Orchestrator TooManyUploads: "The sender uploads too many segments side by side.",
        "uploads open", "uploads allowed", "orchestrator.quotas.max_uploads",
        "send fewer segments at a time";
    Orchestrator TooManyQuotes: "One IP address asks for terms too often.",
        "quotes asked for and left", "quotes in a second", "orchestrator.quotas.quotes_per_second",
        "wait as long as the text says, and keep the terms that were quoted";
    Orchestrator ContentEncodingNotTaken: "The body is compressed.",
        "the encoding sent", "the encoding taken", "",
        "send the body as it is, without Content-Encoding";
    Orchestrator SenderNotServed: "The operator's webhook does not let the account in.",
        "the account, and why", "accounts served", "orchestrator.auth_webhook",
        "ask the orchestrator's operator to let the account in, or ask another orchestrator";
    Orchestrator SenderUnchecked: "Whether the account is served cannot be found out.",
        "answers of the webhook", "answers needed", "orchestrator.auth_webhook",
        "try again later, or ask another orchestrator; its operator finds the cause in the log";
    Orchestrator PaymentIncomplete: "A part of the payment that must be there is not.",
        "the part that is missing", "what must be there", "",
        "send sender, ticket params, expiration params and tickets together";
    Orchestrator PaymentFieldInvalid: "A field of the payment has another length or is out of range.",
        "the field and what is in it", "what it should be", "",
        "send numbers as at most 32 big-endian bytes, hashes as 32 and addresses as 20";
    Orchestrator PriceInvalid: "The price expected by the payment has no meaning, or is missing.",
        "the price's fault", "what it should be", "",
        "send the price of the newest OrchestratorInfo as `expected_price`";
    Orchestrator PriceBelowPinned: "The payment expects a lower price than the session began at.",
        "wei per pixel expected", "wei per pixel of the session", "orchestrator.price",
        "pay the session's price, or begin a new session";
    Orchestrator TooManyTickets: "One payment has more tickets than can be remembered.",
        "tickets sent", "tickets taken", "orchestrator.tickets.ev",
        "ask for terms with a larger ticket value, or send shorter segments";
    Orchestrator TicketRecipientWrong: "A ticket is made out to somebody else.",
        "what was found", "the recipient of the quote", "",
        "use the ticket params of this orchestrator's newest answer";
    Orchestrator TicketDeploymentWrong: "A ticket is bound to another contract.",
        "what was found", "what is redeemed here", "",
        "check that both nodes are configured for the same chain and contracts";
    Orchestrator TicketNotQuoted: "The terms of the tickets are not those that were quoted to this sender.",
        "what was found", "what is taken", "",
        "call GetOrchestrator again, and use params and price as they come";
    Orchestrator TicketSignatureInvalid: "A ticket is not signed by its sender.",
        "what was found", "what is taken", "",
        "sign the ticket hash with the key of `Payment.sender`";
    Orchestrator TicketNonceSeen: "A ticket was sent before.",
        "the repeated number", "uses of a number", "",
        "count `sender_nonce` up for each ticket on the same params";
    Orchestrator TooManyNonces: "So many tickets were sent on these params that no more can be remembered.",
        "the number that found no room", "numbers remembered", "",
        "use the params of the newest answer: each brings new ones";
    Orchestrator ParamsExpired: "The ticket params are too old.",
        "what was found", "what is taken", "orchestrator.tickets.params_life_blocks",
        "use the new params beside this refusal, or call GetOrchestrator again";
    Orchestrator TooManyPaymentSessions: "Every place for a paid session is in use.",
        "what was found", "what is taken", "orchestrator.balance_idle",
        "try again later, or ask another orchestrator";
    Orchestrator LowPMBalance: "The sender's deposit and reserve do not cover one more winning ticket.",
        "wei that are covered", "wei that are needed", "orchestrator.tickets.deposit_divisor",
        "`streamflow fund` adds to deposit and reserve";
    Orchestrator SenderUnlocking: "The sender may withdraw its funds soon.",
        "the sender, or the round from which it may", "rounds that must lie between", "",
        "`streamflow fund` stops the unlock";
    Orchestrator TicketsTooFast: "The sender sends more signatures than are checked in the time.",
        "signatures to check", "signatures left to it now", "orchestrator.tickets.max_per_second",
        "wait a moment, or ask for terms with a larger ticket value";
    Orchestrator OrchestratorInactive: "The orchestrator could not redeem what it wins in this round.",
        "the orchestrator's state", "the state that is needed", "",
        "ask another orchestrator; its operator needs enough stake for the active set";
    Orchestrator InsufficientBalance: "The session does not hold what the segment will cost and the worth of one ticket.",
        "wei of the session", "wei needed", "orchestrator.price",
        "send more tickets with the segment";
    Orchestrator SegmentTooLarge: "The body is larger than segments may be.",
        "bytes announced or read", "bytes taken", "orchestrator.limits.max_segment_bytes",
        "cut shorter segments, or lower their bitrate";
    Orchestrator SegmentTooSlow: "The body did not come in time.",
        "what was found", "time for a piece, and for all", "orchestrator.limits.body_timeout",
        "use a faster link, or a nearer orchestrator";
    Orchestrator SegmentCutOff: "The body broke off.",
        "what was found", "what is taken", "",
        "send the segment again";
    Orchestrator MemoryFull: "All requests together hold as much as they may.",
        "what was found", "bytes held at a time", "orchestrator.limits.max_buffered_bytes",
        "try another orchestrator now, or this one in a moment";
    Orchestrator UrlNotTaken: "Segments are not fetched by URL here.",
        "the body's type", "types taken", "orchestrator.fetch_segments_by_url",
        "send the segment's bytes as `video/MP2T`";
    Orchestrator UrlUnusable: "The body is no URL that can be fetched.",
        "what was found", "what is taken", "",
        "send an http or https URL of at most 4096 bytes";
    Orchestrator UrlNotFetched: "The segment behind the URL cannot be had.",
        "how it failed", "what is needed", "",
        "check that the URL answers 200 within 8 s to this orchestrator";
    Orchestrator SegmentHashMismatch: "The body is not what was signed.",
        "hash of the body", "hash that was signed", "",
        "send the bytes that the hash was made of; something between may have changed them";
    Orchestrator StoreFailed: "The orchestrator cannot store what it wins, or failed otherwise.",
        "what was found", "what is needed", "",
        "ask another orchestrator; its operator finds the cause in the log";
    Orchestrator StoreSilent: "The store has not heard of this node, so that its winners could be passed over.",
        "seconds of silence", "what is needed", "",
        "ask another orchestrator; its operator has to look at the database";
    Orchestrator ChainUnknown: "Nothing is known of the chain yet.",
        "answers of the RPC", "answers needed", "chain.rpc_url",
        "wait; the operator has to look at the RPC if it lasts";
    Orchestrator ChainStale: "What is known of the chain is too old.",
        "seconds of silence", "seconds allowed", "orchestrator.max_chain_age",
        "wait; the operator has to look at the RPC if it lasts";
    Orchestrator SenderFundsUnknown: "The sender's funds cannot be read.",
        "whose", "what is needed", "chain.rpc_url",
        "try again; the operator has to look at the RPC if it lasts";
    Orchestrator NodeStopping: "The node is stopping.",
        "the node's state", "the state that is needed", "",
        "use another node; what was taken before is finished";
    Orchestrator FaceValueCapped: "Gas costs more than the largest ticket would pay for.",
        "wei of face value needed", "wei allowed", "orchestrator.tickets.max_face_value",
        "wait for a lower gas price; the operator may raise the setting";
    Orchestrator RoundNotInitialized: "There is no round to commit tickets to.",
        "rounds with a block hash", "rounds needed", "",
        "`streamflow keeper` begins rounds; wait for the next one";
    Orchestrator RequestNotSigned: "The question for terms is not signed by its address.",
        "the signature's state", "whose it must be", "",
        "sign the EIP-55 text of the address with its own key";
    Orchestrator PingTooLong: "The challenge is longer than what is signed for strangers.",
        "bytes sent", "bytes signed", "",
        "send a hash of 32 bytes";
    Orchestrator PriceNotPinned: "No session of this sender and stream has a price to pay at.",
        "sessions with a price", "sessions needed", "",
        "send the first payment with params of GetOrchestrator";
    Orchestrator RequestUnreadable: "The body is not the JSON that is expected.",
        "what is wrong with it", "what it should be", "",
        "send {\"sender\":\"0x…\",\"manifest_id\":\"…\"}";
    Orchestrator JobUnknown: "There is no job of this number (protocol of 2018).",
        "the number", "newest block known here", "chain.controller",
        "check the number, and the chain that the job was created on";
    Orchestrator JobNotSeen: "The job is not known here yet: this orchestrator lags.",
        "newest block known here", "block that the broadcaster told", "chain.rpc_url",
        "ask again in a moment";
    Orchestrator JobAssignedElsewhere: "The job is another orchestrator's.",
        "this orchestrator", "the one that is assigned", "",
        "ask the orchestrator that is assigned";
    Orchestrator JobNotBegun: "The job begins later.",
        "newest block known here", "first block of the job", "",
        "ask again in a moment";
    Orchestrator JobEnded: "The job has ended.",
        "newest block known here", "last block of the job", "",
        "create another job";
    Orchestrator JobRequestNotSigned: "The request for a job is not signed by its broadcaster.",
        "who signed", "broadcaster of the job", "",
        "sign the decimal number of the job with the broadcaster's account";
    Orchestrator JobSegmentNotSigned: "A segment of a job is not signed by its broadcaster.",
        "who signed", "broadcaster of the job", "",
        "sign stream id, number and hash with the broadcaster's account";
    Orchestrator JobBroadcasterNotListed: "Jobs of this broadcaster are not done here.",
        "the broadcaster", "accounts that are listed", "orchestrator.jobs_2018.broadcasters",
        "ask the orchestrator's operator to list the account, or pay by tickets";
    Orchestrator JobPriceTooLow: "The job offers less than is asked.",
        "wei per pixel offered", "price", "orchestrator.price",
        "create a job that offers more";
    Orchestrator JobOptionsUnusable: "The transcoding options of the job cannot be done.",
        "what is wrong", "what is done", "",
        "create a job with names of presets such as P240p30fps16x9, separated by commas";
    Orchestrator JobAuthTypeWrong: "The authorization of a segment is of another kind.",
        "as sent", "what is taken", "",
        "send what GetTranscoder answered";
    Orchestrator JobCredentialsInvalid: "The credentials of a segment were not given by this orchestrator.",
        "what is wrong", "what is taken", "",
        "send what GetTranscoder answered";
    Orchestrator JobSegmentUnreadable: "The segment header of a job cannot be read.",
        "what is wrong", "what is taken", "",
        "send `Livepeer-Segment` as base64 of the SegData of 2018";
    Orchestrator JobContentTypeWrong: "The body of a job's segment is of another type.",
        "as sent", "what is taken", "",
        "send the segment's bytes";
    Orchestrator JobUnreadable: "The chain does not tell the job.",
        "answers of the RPC", "answers needed", "chain.rpc_url",
        "ask again in a moment; the operator has to look at the RPC if it lasts";

    Result OrchestratorBusy: "Too many segments of the session wait already.",
        "segments waiting", "segments that may wait", "orchestrator.session_queue",
        "send this segment to another orchestrator: this one is slower than the stream";
    Result RenditionCountWrong: "The transcoder did not make one rendition for each profile.",
        "what was found", "renditions asked for", "",
        "send the segment to another orchestrator";
    Result RenditionEmpty: "A rendition is too small to be video.",
        "what was found", "bytes at least", "",
        "send the segment to another orchestrator; look at the source if all say so";
    Result TranscoderLeft: "The transcoder went away with the segment.",
        "transcoders connected", "transcoders needed", "",
        "send the segment to another orchestrator";
    Result NoTranscoders: "No transcoder is connected, or all are full.",
        "transcoders connected", "transcoders with room needed", "orchestrator.transcoder_secret",
        "send the segment to another orchestrator; the operator adds one with `streamflow transcoder`";
    Result NoCapableTranscoder: "No transcoder can do this job.",
        "transcoders connected", "transcoders that can do it needed", "",
        "send the segment to another orchestrator, or ask for simpler profiles";
    Result TranscoderTooSlow: "The transcoder did not answer in time.",
        "what was found", "milliseconds allowed", "",
        "send the segment to another orchestrator";
    Result TranscoderBusy: "The transcoder has no room.",
        "what was found", "what is needed", "",
        "send the segment to another orchestrator";
    Result TranscoderStopped: "The transcoder stopped with the segment.",
        "what was found", "what is needed", "",
        "send the segment to another orchestrator";
    Result RenditionTooLargeToKeep: "A rendition is larger than all that may be kept.",
        "bytes of renditions", "bytes kept in all", "orchestrator.storage.max_bytes",
        "send the segment to another orchestrator, or ask for lower bitrates";
    Result SegmentFormatDidntMatchJobInputParams: "The segment is not what the job says it is: no video that can be decoded.",
        "what was found", "what it should be", "",
        "do not send it elsewhere: push MPEG-TS with H.264 video and a key frame at the start";
    Result TranscoderFailed: "The transcoder failed in some other way.",
        "what it said", "what is needed", "",
        "send the segment to another orchestrator";
    Result PixelsBeyondEstimate: "The result has more pixels than a segment of that length can have.",
        "pixels counted", "pixels estimated from the length", "",
        "send the segment's true duration; or the orchestrator's transcoder lies";
    Result OutputUploadFailed: "A rendition could not be put into the sender's store.",
        "what the store answered", "what is needed", "",
        "check the upload policy of the store, and that it answers within the segment's deadline";

    Result StreamUnreadable: "What came on `/segment/stream` is no frame.",
        "what is wrong with it", "what it should be", "",
        "send frames of the version that the orchestrator names, or whole segments to `/segment`";
    Result StreamTrailerWrong: "The trailer of a streamed segment is not of what came before it, or not signed by the sender.",
        "what came", "what the trailer says", "",
        "sign length and hash of exactly the bytes that were sent; if renditions have left, the segment is charged";

    Pool TranscoderSecretWrong: "The transcoder does not know the shared secret.",
        "the secret's state", "whose it must be", "orchestrator.transcoder_secret",
        "set the same secret at the orchestrator (transcoder_secret) and at the transcoder (secret)";
    Pool TranscoderCapacityInvalid: "The transcoder offers no room.",
        "sessions offered", "sessions at least", "transcoder.capacity",
        "offer room for one session at least";
    Pool TooManyTranscoders: "No more transcoders may connect.",
        "transcoders connected", "transcoders allowed", "orchestrator.max_transcoders",
        "raise the setting at the orchestrator, or use another orchestrator";
    Pool ResultTypeUnknown: "The transcoder's result has a content type that cannot be read.",
        "the type sent", "types taken", "",
        "update the transcoder";
    Pool TaskUnknown: "Nobody waits for this task: it was given to another, or came too late.",
        "the task sent", "what is taken", "",
        "nothing: the segment was given to another transcoder";
    Pool TranscoderNotRegistered: "A transcoder that is not registered tells how it is.",
        "what was found", "what is needed", "",
        "nothing: the transcoder registers again by itself";
    Pool ResultPixelsInvalid: "The result does not say how many pixels it has.",
        "the number sent", "what is taken", "",
        "update the transcoder";
    Pool ResultTooManyParts: "The result has more parts than renditions were asked for.",
        "parts sent", "parts taken", "",
        "update the transcoder";
    Pool ResultUnreadable: "The parts of the result cannot be told apart.",
        "what was found", "what is taken", "",
        "update the transcoder, or look at what lies between it and the orchestrator";
    Pool ResultTooLarge: "The renditions together are larger than results may be.",
        "bytes announced or read", "bytes taken", "orchestrator.limits.max_result_bytes",
        "raise the setting at the orchestrator, or ask for lower bitrates";

    Broadcaster PushPathInvalid: "The path is not that of a segment.",
        "the path's fault", "what it should be", "",
        "push to /live/<stream>/<number>.ts";
    Broadcaster PushHeaderInvalid: "A header of the push has no meaning.",
        "the header", "what it should be", "",
        "correct the header, or leave it out";
    Broadcaster PushHeaderUnsupported: "A header asks for something that is not done here.",
        "the header", "headers taken", "",
        "leave the header out";
    Broadcaster PushCrossSite: "A page of another site tries to push.",
        "the page's site", "sites that may push", "",
        "push from an encoder, or from this node's own page";
    Broadcaster PushTooLarge: "The segment is larger than segments may be.",
        "bytes announced or read", "bytes taken", "broadcaster.max_segment_bytes",
        "cut shorter segments, lower their bitrate, or raise the setting";
    Broadcaster PushMemoryFull: "Too much media is held already.",
        "what was found", "what is needed", "broadcaster.max_upload_bytes",
        "push again in a moment";
    Broadcaster PushTooSlow: "The encoder fell silent in the middle of a segment.",
        "seconds of silence", "seconds allowed", "",
        "look at the link between encoder and broadcaster";
    Broadcaster PushCutOff: "The segment broke off.",
        "what was found", "what is needed", "",
        "push the segment again";
    Broadcaster StreamNotAllowed: "The stream is not in the list of those that may be pushed.",
        "the stream", "streams in the list", "broadcaster.streams",
        "add the stream to the setting, or clear it to allow all";
    Broadcaster StreamKeyWrong: "The stream's key is missing or wrong.",
        "a missing or wrong key", "the key in the setting", "broadcaster.stream_keys",
        "publish with the key behind the name over RTMP, or as Authorization: Bearer KEY in a push";
    Broadcaster StreamNotAdmitted: "The webhook does not admit the stream.",
        "what the webhook answered", "an answer of 200", "broadcaster.auth_webhook_url",
        "ask whoever runs the webhook; its answer is in the broadcaster's log";
    Broadcaster StreamProfilesDiffer: "The push asks for other renditions than its stream has.",
        "renditions asked for", "renditions of the stream", "",
        "ask for the renditions of the stream, leave the header out, or begin another stream";
    Broadcaster StreamLive: "Somebody publishes the stream already.",
        "the stream", "streams that are not live", "",
        "publish under another name, or end the other publisher";
    Broadcaster TranscodeConfigurationInvalid: "Livepeer-Transcode-Configuration cannot be used.",
        "its fault", "what it should be", "",
        "correct the header: JSON with profiles, as the webhook answers";
    Broadcaster StreamStoreUnusable: "The store that the webhook names for the stream cannot be used.",
        "its fault", "a store that can be opened", "broadcaster.auth_webhook_url",
        "correct objectStore or recordObjectStore in the webhook's answer";
    Broadcaster DepositUnknown: "The own deposit has not been read yet.",
        "answers of the RPC", "answers needed", "chain.rpc_url",
        "wait; look at the RPC if it lasts";
    Broadcaster NoReserve: "There is no reserve, so that no orchestrator takes tickets.",
        "wei of reserve", "wei at least", "",
        "`streamflow fund` adds to deposit and reserve";
    Broadcaster NoDeposit: "There is no deposit to pay from.",
        "wei of deposit", "wei at least", "",
        "`streamflow fund` adds to deposit and reserve";
    Broadcaster SignerFailed: "The remote signer pays for nobody.",
        "what it said", "what is needed", "broadcaster.signer",
        "look at the signer: its log says why";
    Broadcaster StreamBudgetSpent: "The stream has spent what it may.",
        "wei spent and wanted", "wei allowed", "broadcaster.budget.per_stream",
        "raise the setting, or begin another stream";
    Broadcaster DayBudgetSpent: "All streams together have spent what they may in a day.",
        "wei spent and wanted", "wei allowed", "broadcaster.budget.per_day",
        "raise the setting, or wait for the next day (UTC)";
    Broadcaster NoOrchestrators: "No orchestrator is known.",
        "orchestrators known", "orchestrators needed", "broadcaster.orchestrators",
        "list orchestrators in the setting, or check that the chain's registry can be read";
    Broadcaster NoUsableOrchestrator: "Orchestrators are known, and none of them may be used.",
        "orchestrators that may be used", "orchestrators known, and why each kind is out", "broadcaster.discovery",
        "`streamflow broadcaster explain` names each one, its figures and the setting that keeps it out";
    Broadcaster TooManyStreams: "No more streams may be live.",
        "streams live", "streams allowed", "broadcaster.max_streams",
        "end a stream, or raise the setting";
    Broadcaster StreamBehind: "Segments come faster than they are transcoded.",
        "segments under way or waiting", "segments that may be", "broadcaster.max_segments_waiting",
        "push fewer or smaller renditions, or use faster orchestrators";
    Broadcaster StreamEnding: "The stream of this name is just ending.",
        "the stream", "what is needed", "",
        "push again in a moment";
    Broadcaster SegmentDuplicate: "The segment was pushed before, or comes too late.",
        "the segment's number", "times that a number is taken", "",
        "number segments upwards, each once";
    Broadcaster AllOrchestratorsFailed: "Everybody who was tried failed.",
        "attempts made", "attempts allowed", "broadcaster.max_attempts",
        "look at `/status`: it says why each of them failed";
    Broadcaster StreamNotKept: "The stream cannot be written to the disk.",
        "what was found", "what is needed", "broadcaster.data_dir",
        "make room on the disk; the log names the file";
    Broadcaster WorkerFailed: "Our own worker could not look at the segment.",
        "what was found", "what is needed", "",
        "push again; the log says what happened to the worker";
}
