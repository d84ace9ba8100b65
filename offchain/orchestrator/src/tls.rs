//! The node's certificate. Peers do not verify it (node.md §2.1): who a peer is follows from signatures alone.
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use tokio::io::AsyncWriteExt;

/// Why the TLS port has no certificate.
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
    /// A file was edited or cut off; removing both makes the node generate new ones.
    #[error("{} is not PEM: remove it together with its pair to get a new certificate", path.display())]
    Pem {
        /// Certificate or key.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The host name of the service URI cannot stand in a certificate.
    #[error("cannot make a certificate for {host}")]
    Generate {
        /// From the service URI.
        host: String,
        /// What the generator said.
        #[source]
        source: rcgen::Error,
    },
    /// Key and certificate do not belong together.
    #[error("certificate and key cannot be used")]
    Rustls(#[from] rustls::Error),
}

/// Reads the certificate for `host` from `directory`, or makes one and keeps it there. Offers h2 and http/1.1.
pub(crate) async fn server_config(directory: &Path, host: &str) -> Result<Arc<ServerConfig>, TlsError> {
    // Colons of IPv6 addresses are no file names everywhere.
    let stem = host.replace(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')), "_");
    let (cert_path, key_path) = (directory.join(format!("{stem}.cert.pem")), directory.join(format!("{stem}.key.pem")));
    let (cert, key) = match (read(&cert_path).await?, read(&key_path).await?) {
        (Some(cert), Some(key)) => (cert, key),
        _ => {
            let (cert, key) = generate(host)?;
            tokio::fs::create_dir_all(directory).await.map_err(file_error(directory))?;
            write(&key_path, &key).await?;
            write(&cert_path, &cert).await?;
            (cert, key)
        }
    };
    let cert = CertificateDer::from_pem_slice(&cert).map_err(|source| TlsError::Pem { path: cert_path, source })?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|source| TlsError::Pem { path: key_path, source })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Certificate and key as PEM.
fn generate(host: &str) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let failed = |source| TlsError::Generate { host: host.to_owned(), source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::new([host.to_owned()]).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "Streamflow orchestrator");
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

/// Writes beside the file and renames, so that a crash leaves either nothing or all. Only the owner may read it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn certificate_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        server_config(dir.path(), "o.example").await.unwrap();
        let first = std::fs::read(dir.path().join("o.example.cert.pem")).unwrap();
        server_config(dir.path(), "o.example").await.unwrap();
        assert_eq!(std::fs::read(dir.path().join("o.example.cert.pem")).unwrap(), first);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn key_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        server_config(dir.path(), "::1").await.unwrap();
        let mode = std::fs::metadata(dir.path().join("__1.key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn damaged_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        server_config(dir.path(), "o").await.unwrap();
        std::fs::write(dir.path().join("o.key.pem"), "junk").unwrap();
        assert!(
            matches!(server_config(dir.path(), "o").await, Err(TlsError::Pem { path, .. }) if path.ends_with("o.key.pem"))
        );
    }
}
