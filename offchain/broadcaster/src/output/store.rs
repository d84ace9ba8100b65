//! Copies of streams in object stores (node.md §4.6): uploads never hold up what viewers get.
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, ObjectStore, PutOptions, PutPayload, RetryConfig,
    aws::AmazonS3Builder, gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, path::Path,
};
use streamflow_types::{Secret, with_causes};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use url::Url;

/// Objects that wait for their upload, of one stream and store.
const QUEUE: usize = 256;
/// Bytes that wait for their upload, of one stream and store.
const QUEUED_BYTES: usize = 128 << 20;
/// Longest time for one object, repetitions included.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an object is tried again.
const RETRIES: usize = 5;

/// Why a store cannot be used. Its address holds credentials and is never shown.
#[derive(Debug, thiserror::Error)]
pub enum OutputStoreError {
    /// Neither a directory nor one of the forms of node.md §4.6.
    #[error(
        "address of a store is none of s3://KEY:SECRET@region/bucket, s3+http(s)://KEY:SECRET@host/bucket, \
         gs://bucket?keyfile=path, file:///directory"
    )]
    Form,
    /// A scheme that is not served.
    #[error("stores of kind {0} are not served")]
    Scheme(String),
    /// Credentials or bucket are missing.
    #[error("address of the {scheme}:// store has no {part}")]
    Missing {
        /// Which kind of store.
        scheme: String,
        /// What it lacks.
        part: &'static str,
    },
    /// The library refuses it.
    #[error("store cannot be opened")]
    Open(#[from] object_store::Error),
    /// The directory cannot be made.
    #[error("directory of the store cannot be made")]
    Directory(#[source] std::io::Error),
}

/// A store and the place in it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Store {
    pub(crate) fn open(address: &Secret) -> Result<Self, OutputStoreError> {
        let text = address.expose();
        if !text.contains("://") {
            return Self::directory(PathBuf::from(text));
        }
        let url: Url = text.parse().map_err(|_| OutputStoreError::Form)?;
        match url.scheme() {
            "file" => Self::directory(url.to_file_path().map_err(|()| OutputStoreError::Form)?),
            _ => Self::remote(&url),
        }
    }

    /// On another machine.
    pub(crate) fn remote(url: &Url) -> Result<Self, OutputStoreError> {
        match url.scheme() {
            "s3" | "s3+http" | "s3+https" => Self::s3(url),
            "gs" => Self::google(url),
            other => Err(OutputStoreError::Scheme(other.to_owned())),
        }
    }

    fn directory(path: PathBuf) -> Result<Self, OutputStoreError> {
        std::fs::create_dir_all(&path).map_err(OutputStoreError::Directory)?;
        Ok(Self { store: Arc::new(LocalFileSystem::new_with_prefix(path)?), prefix: Path::default() })
    }

    fn s3(url: &Url) -> Result<Self, OutputStoreError> {
        let missing = |part| OutputStoreError::Missing { scheme: url.scheme().to_owned(), part };
        let host = url.host_str().ok_or_else(|| missing("host or region"))?;
        let (bucket, prefix) = bucket_and_prefix(url).ok_or_else(|| missing("bucket"))?;
        let key = decoded(url.username()).filter(|key| !key.is_empty()).ok_or_else(|| missing("key"))?;
        let secret = url.password().and_then(decoded).ok_or_else(|| missing("secret"))?;
        let builder = AmazonS3Builder::new()
            .with_access_key_id(key)
            .with_secret_access_key(secret)
            .with_bucket_name(bucket)
            .with_retry(retries());
        let builder = match url.scheme().strip_prefix("s3+") {
            None => builder.with_region(host).with_client_options(client(false)),
            Some(scheme) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                builder
                    .with_region("us-east-1")
                    .with_endpoint(format!("{scheme}://{host}{port}"))
                    .with_client_options(client(scheme == "http"))
            }
        };
        Ok(Self { store: Arc::new(builder.build()?), prefix })
    }

    fn google(url: &Url) -> Result<Self, OutputStoreError> {
        let missing = |part| OutputStoreError::Missing { scheme: "gs".to_owned(), part };
        let bucket = url.host_str().ok_or_else(|| missing("bucket"))?;
        let keyfile = url.query_pairs().find(|(name, _)| name == "keyfile").ok_or_else(|| missing("keyfile"))?;
        let builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket)
            .with_service_account_path(keyfile.1)
            .with_retry(retries())
            .with_client_options(client(false));
        Ok(Self { store: Arc::new(builder.build()?), prefix: Path::from(url.path()) })
    }
}

fn client(allow_http: bool) -> ClientOptions {
    ClientOptions::new().with_allow_http(allow_http).with_timeout(PATIENCE).with_connect_timeout(Duration::from_secs(5))
}

fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: PATIENCE }
}

fn bucket_and_prefix(url: &Url) -> Option<(String, Path)> {
    let path = url.path().trim_matches('/');
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    (!bucket.is_empty()).then(|| (bucket.to_owned(), Path::from(prefix)))
}

/// Undoes the escapes that a secret needs in an address.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let plain = if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        };
        bytes.push(plain);
    }
    String::from_utf8(bytes).ok()
}

/// An object on its way.
#[derive(Debug)]
struct Upload {
    path: Path,
    content_type: &'static str,
    bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

/// Uploads the objects of one stream one after the other, so that a playlist never comes before its segments.
#[derive(Debug)]
pub(crate) struct Uploader {
    queue: mpsc::Sender<Upload>,
    memory: Arc<Semaphore>,
    prefix: Path,
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Uploader {
    /// Everything goes below the store's own prefix, and there below `directory`.
    pub(crate) fn start(store: Store, directory: &str) -> Self {
        let (queue, uploads) = mpsc::channel(QUEUE);
        let prefix = store.prefix.clone().join(directory);
        let lost = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(upload_all(store.store, uploads, lost.clone()));
        Self { queue, memory: Arc::new(Semaphore::new(QUEUED_BYTES)), prefix, lost, task }
    }

    /// Hands an object over. Never waits: what finds no room is lost, and said.
    pub(crate) fn put(&self, path: &str, content_type: &'static str, bytes: Bytes) {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let path = path.split('/').fold(self.prefix.clone(), |path, part| path.join(part));
        let room = self.memory.clone().try_acquire_many_owned(size).ok();
        let sent = room
            .is_some_and(|memory| self.queue.try_send(Upload { path, content_type, bytes, _memory: memory }).is_ok());
        if !sent {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(
                lost,
                max_objects = QUEUE,
                max_bytes = QUEUED_BYTES,
                "object store is behind: object left out"
            );
        }
    }

    /// Waits until everything is up, for at most as long as given.
    pub(crate) async fn finish(self, patience: Duration) {
        let Self { queue, task, lost, .. } = self;
        drop(queue);
        let abort = task.abort_handle();
        if timeout(patience, task).await.is_err() {
            abort.abort();
            tracing::warn!(?patience, "object store did not take everything before the end of the stream");
        }
        let lost = lost.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "objects of the stream are not in the store");
        }
    }
}

async fn upload_all(store: Arc<dyn ObjectStore>, mut uploads: mpsc::Receiver<Upload>, lost: Arc<AtomicU64>) {
    while let Some(Upload { path, content_type, bytes, _memory }) = uploads.recv().await {
        let attributes = Attributes::from_iter([(Attribute::ContentType, content_type)]);
        let options = PutOptions { attributes, ..PutOptions::default() };
        let put = |options| store.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options);
        let done = match timeout(PATIENCE, put(options)).await {
            // A directory has no attributes.
            Ok(Err(object_store::Error::NotImplemented { .. })) => timeout(PATIENCE, put(PutOptions::default())).await,
            other => other,
        };
        match done {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%path, error = with_causes(&error), "object store refused an object");
            }
            Err(_) => {
                lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%path, patience = ?PATIENCE, "object store did not take an object in time");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> OutputStoreError {
        Store::open(&Secret::new(address)).unwrap_err()
    }

    #[test]
    fn every_form_of_address_is_understood() {
        for (address, prefix) in [
            ("s3://key:secret@eu-west-1/bucket/some/prefix", "some/prefix"),
            ("s3+http://key:sec%2Fret@127.0.0.1:9000/bucket", ""),
            ("s3+https://key:secret@minio.example/bucket/p", "p"),
        ] {
            assert_eq!(Store::open(&Secret::new(address)).unwrap().prefix.as_ref(), prefix, "{address}");
        }
        assert_eq!(decoded("a%2Fb%"), None);
        assert_eq!(decoded("a%2Fb").as_deref(), Some("a/b"));
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_shown() {
        let missing = |address: &str| match refused(address) {
            OutputStoreError::Missing { part, .. } => part,
            other => panic!("{other:?}"),
        };
        assert_eq!(missing("s3://key:s3cret@region"), "bucket");
        assert_eq!(missing("s3://region/bucket"), "key");
        assert_eq!(missing("s3+http://key@host/bucket"), "secret");
        assert_eq!(missing("gs://bucket"), "keyfile");
        assert!(matches!(refused("ipfs://x"), OutputStoreError::Scheme(_)));
        let error = with_causes(&refused("s3://key:s3cret@region"));
        assert!(!error.contains("s3cret"), "{error}");
    }
}
