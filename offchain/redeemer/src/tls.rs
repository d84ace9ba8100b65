//! The service's certificate: self-signed and kept, so that a caller can pin it. Peers do not verify it.
use std::{
    io,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::io::AsyncWriteExt;
use tonic::transport::Identity;

/// Certificate and key, in the data directory.
const CERTIFICATE: &str = "redeemer.cert.pem";
const KEY: &str = "redeemer.key.pem";

/// Why the service has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The data directory cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The generator failed.
    #[error("cannot make a certificate for {host}")]
    Generate {
        /// Name or address in it.
        host: String,
        /// What the generator said.
        #[source]
        source: rcgen::Error,
    },
}

/// Reads the certificate from `directory`, or makes one for `host` and keeps it there.
pub(crate) async fn identity(directory: &Path, host: &str) -> Result<Identity, TlsError> {
    let (cert_path, key_path) = (directory.join(CERTIFICATE), directory.join(KEY));
    if let (Some(cert), Some(key)) = (read(&cert_path).await?, read(&key_path).await?) {
        return Ok(Identity::from_pem(cert, key));
    }
    let (cert, key) = generate(host)?;
    tokio::fs::create_dir_all(directory).await.map_err(file_error(directory))?;
    write(&key_path, &key).await?;
    write(&cert_path, &cert).await?;
    Ok(Identity::from_pem(cert, key))
}

fn generate(host: &str) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let failed = |source| TlsError::Generate { host: host.to_owned(), source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::new([host.to_owned()]).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "Streamflow redeemer");
    let cert = params.self_signed(&key).map_err(failed)?;
    Ok((cert.pem().into_bytes(), key.serialize_pem().into_bytes()))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { path, source }
}

async fn read(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file_error(path)(source)),
    }
}

/// Beside the file first, then renamed: a crash leaves nothing or all. Only the owner may read it.
async fn write(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    let beside = path.with_extension("new");
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    options.mode(0o600);
    let written = async {
        let mut file = options.open(&beside).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        tokio::fs::rename(&beside, path).await
    };
    written.await.map_err(file_error(path))
}
