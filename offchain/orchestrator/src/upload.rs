//! Renditions put into the sender's own store, by the upload policy that it sends along (node.md §4.6).
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, StatusCode, Url, multipart};
use streamflow_types::Container;
use streamflow_wire::proto::{OsInfo, S3osInfo, os_info::StorageType};

/// Longest field of a policy that is taken, bytes.
const MAX_FIELD: usize = 8 << 10;
/// Attempts to put one rendition.
const ATTEMPTS: u32 = 2;
/// Time for one attempt. A sender waits at least 8 s for the whole segment (node.md §2.5).
const TIMEOUT: Duration = Duration::from_secs(4);

/// Why a rendition is not in the sender's store. What the store answered goes to the log: the sender could look around in our
/// network with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("store cannot be reached")]
    Send(#[from] reqwest::Error),
    #[error("store answered {0}")]
    Status(StatusCode),
    #[error("name cannot be put below the store's URL")]
    Name,
}

/// A store that a sender lets us write to.
#[derive(Clone, Debug)]
pub(crate) struct SenderStore {
    host: Url,
    policy: S3osInfo,
}

impl SenderStore {
    /// Checks what the sender says of its store, or says what is wrong with it.
    pub(crate) fn read(info: &OsInfo) -> Result<Self, &'static str> {
        if !matches!(info.storage_type(), StorageType::S3 | StorageType::Google) {
            return Err("unknown type");
        }
        let policy = info.s3info.clone().ok_or("no s3info")?;
        let fields = [&policy.policy, &policy.signature, &policy.credential, &policy.x_amz_date];
        if fields.iter().any(|field| field.is_empty()) {
            return Err("incomplete policy");
        }
        let known = [&policy.host, &policy.key].into_iter().chain(fields);
        if known.into_iter().any(|field| field.len() > MAX_FIELD || field.contains(char::is_control)) {
            return Err("field too long, or with control characters");
        }
        let host = Url::parse(&policy.host).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let host = host.filter(|url| url.has_host() && url.username().is_empty() && url.query().is_none());
        Ok(Self { host: host.ok_or("host is no http or https URL")?, policy })
    }

    /// Puts one rendition, and returns where it is.
    pub(crate) async fn put(
        &self,
        http: &Client,
        profile: &str,
        file: &str,
        container: Container,
        data: &Bytes,
    ) -> Result<String, UploadError> {
        let directory = match self.policy.key.trim_matches('/') {
            "" => profile.to_owned(),
            prefix => format!("{prefix}/{profile}"),
        };
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            match self.post(http, &directory, file, container, data.clone()).await {
                Ok(()) => return self.address(&directory, file),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(UploadError::Name))
    }

    async fn post(
        &self,
        http: &Client,
        directory: &str,
        file: &str,
        container: Container,
        data: Bytes,
    ) -> Result<(), UploadError> {
        let body = multipart::Part::stream_with_length(data.clone(), data.len() as u64).file_name(file.to_owned());
        let S3osInfo { policy, signature, credential, x_amz_date, .. } = self.policy.clone();
        // Stores take what comes before the file alone.
        let form = multipart::Form::new()
            .text("acl", "public-read")
            .text("Content-Type", container.content_type())
            .text("key", format!("{directory}/${{filename}}"))
            .text("policy", policy)
            .text("x-amz-algorithm", "AWS4-HMAC-SHA256")
            .text("x-amz-credential", credential)
            .text("x-amz-date", x_amz_date)
            .text("x-amz-signature", signature)
            .part("file", body.mime_str(container.content_type())?);
        let answer = http.post(self.host.clone()).multipart(form).timeout(TIMEOUT).send().await?;
        if answer.status().is_success() { Ok(()) } else { Err(UploadError::Status(answer.status())) }
    }

    pub(crate) fn address(&self, directory: &str, file: &str) -> Result<String, UploadError> {
        let mut url = self.host.clone();
        url.path_segments_mut()
            .map_err(|()| UploadError::Name)?
            .pop_if_empty()
            .extend(directory.split('/').chain([file]));
        Ok(url.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(change: impl FnOnce(&mut S3osInfo)) -> OsInfo {
        let mut s3 = S3osInfo {
            host: "https://bucket.s3.example".into(),
            key: "movie/0a0b0c0d".into(),
            policy: "e30=".into(),
            signature: "5160".into(),
            credential: "KEY/20260101/eu/s3/aws4_request".into(),
            x_amz_date: "20260101T000000Z".into(),
        };
        change(&mut s3);
        OsInfo { storage_type: StorageType::S3.into(), s3info: Some(s3) }
    }

    #[test]
    fn a_whole_policy_is_taken_and_others_are_refused() {
        assert!(SenderStore::read(&info(|_| ())).is_ok());
        let fault = |change: fn(&mut S3osInfo)| SenderStore::read(&info(change)).err();
        assert_eq!(fault(|s3| s3.policy.clear()), Some("incomplete policy"));
        assert_eq!(fault(|s3| s3.host = "file:///etc".into()), Some("host is no http or https URL"));
        assert_eq!(fault(|s3| s3.host = "https://me@host".into()), Some("host is no http or https URL"));
        assert!(fault(|s3| s3.key = "a\r\nb".into()).is_some());
        assert!(fault(|s3| s3.policy = "x".repeat(9000)).is_some());
        assert_eq!(SenderStore::read(&OsInfo { storage_type: 1, s3info: None }).err(), Some("no s3info"));
        assert_eq!(SenderStore::read(&OsInfo { storage_type: 9, s3info: None }).err(), Some("unknown type"));
    }

    #[test]
    fn a_rendition_is_found_below_the_stores_url() {
        let address = |host: &str| {
            let store = SenderStore::read(&info(|s3| s3.host = host.into())).unwrap();
            store.address("movie/0a0b0c0d/240p", "7.ts").unwrap()
        };
        assert_eq!(address("https://b.example"), "https://b.example/movie/0a0b0c0d/240p/7.ts");
        assert_eq!(address("https://s3.example/b/"), "https://s3.example/b/movie/0a0b0c0d/240p/7.ts");
    }
}
