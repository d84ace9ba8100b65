//! The secret behind an orchestrator's quotes, sealed on disk with the one before it (docs/designs/018-attacks.md).
//!
//! Whoever has it can tell which tickets will win before they are paid with. So a copy of the data directory alone must not
//! be enough: the file is sealed with a key that is derived from the operator's.
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::{primitives::Address, signers::local::PrivateKeySigner};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
};
use streamflow_pm::{QuoteSecret, QuoteSecrets};
use streamflow_types::with_causes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{clock, data_dir::DataDir};

/// First bytes of the file: what it is, and how it is written.
const HEADER: &[u8; 16] = b"streamflow-qs/v1";
/// Domain of the sealing key: the operator's key serves other purposes too.
const SEALING: &[u8] = b"streamflow/quote-secret/sealing/v1";
const SECRET_LEN: usize = 32;
/// Time of making, secret, whether there is one before it, that.
const PLAIN_LEN: usize = 8 + SECRET_LEN + 1 + SECRET_LEN;
const TAG_LEN: usize = 16;
/// Time between two looks at the file: another process may have replaced the secret.
const LOOK: Duration = Duration::from_secs(10);
/// A new secret makes no quotes for this long, in seconds, so that all processes know it when the first quote comes.
const HELD_BACK: u64 = 60;

/// Why the secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuoteSecretError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} may be read by others (mode {mode:o}): run chmod 600 on it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "{} cannot be unsealed: it is damaged, or sealed by another key; moved away, a new one is made, and tickets on \
         quotes of the last minutes are lost", path.display()
    )]
    Sealed { path: PathBuf },
    #[error("no sealing key can be derived")]
    Key,
}

/// What the file holds.
#[derive(Clone, PartialEq, Eq)]
struct Generations {
    /// Unix seconds.
    made: u64,
    current: [u8; SECRET_LEN],
    previous: Option<[u8; SECRET_LEN]>,
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generations").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Generations {
    fn next(self, now: u64) -> Self {
        Self { made: now, current: rand::random(), previous: Some(self.current) }
    }

    /// Which one makes quotes at `now`, and which other one is known.
    fn secrets(&self, now: u64) -> QuoteSecrets {
        let current = QuoteSecret::new(self.current);
        let Some(previous) = self.previous.map(QuoteSecret::new) else { return current.into() };
        if now < self.made.saturating_add(HELD_BACK) {
            QuoteSecrets { current: previous, previous: Some(current) }
        } else {
            QuoteSecrets { current, previous: Some(previous) }
        }
    }

    fn to_bytes(&self) -> [u8; PLAIN_LEN] {
        let mut bytes = [0; PLAIN_LEN];
        bytes[..8].copy_from_slice(&self.made.to_be_bytes());
        bytes[8..40].copy_from_slice(&self.current);
        if let Some(previous) = self.previous {
            bytes[40] = 1;
            bytes[41..].copy_from_slice(&previous);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (made, rest) = bytes.split_first_chunk()?;
        let (current, rest) = rest.split_first_chunk()?;
        let (flag, previous) = rest.split_first()?;
        let previous = match flag {
            0 => None,
            _ => Some(previous.try_into().ok()?),
        };
        Some(Self { made: u64::from_be_bytes(*made), current: *current, previous })
    }
}

/// The sealed file of one account. All processes of the account share it.
pub struct QuoteSecretFile {
    path: PathBuf,
    account: Address,
    key: LessSafeKey,
    /// Seconds after which the secret is replaced.
    life: u64,
}

impl fmt::Debug for QuoteSecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuoteSecretFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl QuoteSecretFile {
    /// The file of the account that `key` signs for.
    ///
    /// # Errors
    /// When no sealing key can be derived.
    pub fn new(data: &DataDir, key: &PrivateKeySigner, life: Duration) -> Result<Self, QuoteSecretError> {
        let account = key.address();
        let path = data.path().join(format!("quote-secret-{account:x}"));
        let sealing = sealing_key(key).map_err(|Unspecified| QuoteSecretError::Key)?;
        Ok(Self { path, account, key: sealing, life: life.as_secs() })
    }

    /// The secrets at `now`. Made on first use, then with `earlier` as the one before; replaced when old.
    ///
    /// # Errors
    /// When the file cannot be read, written or unsealed. It is never replaced then.
    fn load(&self, earlier: Option<[u8; SECRET_LEN]>, now: u64) -> Result<Generations, QuoteSecretError> {
        let _lock = self.lock()?;
        let known = match self.read()? {
            Some(known) if now.saturating_sub(known.made) < self.life => return Ok(known),
            Some(old) => old.next(now),
            None => Generations { made: now, current: rand::random(), previous: earlier },
        };
        self.write(&known)?;
        Ok(known)
    }

    /// Held while the file is looked at and replaced, against other processes.
    fn lock(&self) -> Result<File, QuoteSecretError> {
        let path = self.path.with_added_extension("lock");
        let writing = |source| QuoteSecretError::Write { path: path.clone(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(writing)?;
        file.lock().map_err(writing)?;
        Ok(file)
    }

    fn read(&self) -> Result<Option<Generations>, QuoteSecretError> {
        let reading = |source| QuoteSecretError::Read { path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(reading)?,
        };
        let mode = file.metadata().map_err(reading)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(QuoteSecretError::Exposed { path: self.path.clone(), mode });
        }
        let mut sealed = Vec::new();
        (&file).take(1024).read_to_end(&mut sealed).map_err(reading)?;
        let opened = self.unseal(&sealed).ok_or_else(|| QuoteSecretError::Sealed { path: self.path.clone() })?;
        Ok(Some(opened))
    }

    /// Header and account are authenticated with the contents: a file of another account does not open.
    fn aad(&self) -> Aad<[u8; 36]> {
        let mut aad = [0; 36];
        aad[..16].copy_from_slice(HEADER);
        aad[16..].copy_from_slice(self.account.as_slice());
        Aad::from(aad)
    }

    fn unseal(&self, sealed: &[u8]) -> Option<Generations> {
        let rest = sealed.strip_prefix(HEADER.as_slice())?;
        let (nonce, contents) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut contents = contents.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.key.open_in_place(nonce, self.aad(), &mut contents).ok()?;
        Generations::from_bytes(plain).filter(|_| plain.len() == PLAIN_LEN)
    }

    fn seal(&self, generations: &Generations) -> Result<Vec<u8>, QuoteSecretError> {
        // 96 random bits: a key seals one file a day at the most.
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut contents = generations.to_bytes();
        let tag = self.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), self.aad(), &mut contents);
        let tag = tag.map_err(|Unspecified| QuoteSecretError::Key)?;
        let mut sealed = Vec::with_capacity(HEADER.len() + NONCE_LEN + PLAIN_LEN + TAG_LEN);
        sealed.extend_from_slice(HEADER);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&contents);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Whole under another name first, so that no crash leaves half of it.
    fn write(&self, generations: &Generations) -> Result<(), QuoteSecretError> {
        let sealed = self.seal(generations)?;
        let replace = || -> io::Result<()> {
            let draft = self.path.with_added_extension("new");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(&sealed)?;
            file.sync_all()?;
            fs::rename(&draft, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        replace().map_err(|source| QuoteSecretError::Write { path: self.path.clone(), source })
    }
}

/// HKDF over the signing key, which says nothing about it and serves nothing else.
fn sealing_key(key: &PrivateKeySigner) -> Result<LessSafeKey, Unspecified> {
    let secret = key.to_bytes();
    let derived = Salt::new(HKDF_SHA256, SEALING).extract(secret.as_slice());
    let account = key.address();
    Ok(LessSafeKey::new(UnboundKey::from(derived.expand(&[account.as_slice()], &AES_256_GCM)?)))
}

/// The secrets now, and a task that follows the file and replaces what is old, until `end`.
///
/// `earlier` is what quotes were bound to before there was a file.
///
/// # Errors
/// When the file cannot be used.
pub fn follow(
    file: QuoteSecretFile,
    earlier: Option<[u8; SECRET_LEN]>,
    end: CancellationToken,
) -> Result<(watch::Receiver<QuoteSecrets>, impl Future<Output = ()> + Send + 'static), QuoteSecretError> {
    let now = clock::unix_seconds();
    let (publish, secrets) = watch::channel(file.load(earlier, now)?.secrets(now));
    let file = std::sync::Arc::new(file);
    let task = async move {
        loop {
            tokio::select! { biased;
                () = end.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let (file, now) = (file.clone(), clock::unix_seconds());
            // The lock may be held by another process.
            match tokio::task::spawn_blocking(move || file.load(None, now)).await {
                Ok(Ok(generations)) => drop(publish.send_replace(generations.secrets(now))),
                // Quotes go on under what is known.
                Ok(Err(error)) => tracing::error!(error = with_causes(&error), "the quote secret cannot be read again"),
                Err(_) => return,
            }
        }
    };
    Ok((secrets, task))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::data_dir::DataConfig;

    const DAY: u64 = 24 * 3600;

    fn key(byte: u8) -> PrivateKeySigner {
        PrivateKeySigner::from_bytes(&[byte; 32].into()).unwrap()
    }

    fn file(root: &tempfile::TempDir, byte: u8) -> QuoteSecretFile {
        let data = DataDir::open(&DataConfig { dir: root.path().into(), ..DataConfig::default() }).unwrap();
        QuoteSecretFile::new(&data, &key(byte), Duration::from_secs(DAY)).unwrap()
    }

    #[test]
    fn restarts_and_replicas_agree_and_one_generation_back_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let first = file(&root, 1).load(None, 1000).unwrap();
        assert_eq!((first.made, first.previous), (1000, None));
        assert_eq!(file(&root, 1).load(Some([9; 32]), 1000 + DAY - 1).unwrap(), first);
        let second = file(&root, 1).load(None, 1000 + DAY).unwrap();
        assert_eq!(second.previous, Some(first.current));
        assert_ne!(second.current, first.current);
        assert_eq!(file(&root, 1).load(None, 1000 + DAY).unwrap(), second);
        let third = file(&root, 1).load(None, 1000 + 2 * DAY).unwrap();
        assert_eq!(third.previous, Some(second.current));
    }

    #[test]
    fn quotes_of_before_there_was_a_file_stay_known() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(file(&root, 1).load(Some([9; 32]), 1000).unwrap().previous, Some([9; 32]));
    }

    #[test]
    fn the_file_is_private_and_shows_nothing() {
        let root = tempfile::tempdir().unwrap();
        let sealed = file(&root, 1);
        let made = sealed.load(None, 1000).unwrap();
        let bytes = fs::read(&sealed.path).unwrap();
        assert!(!bytes.windows(8).any(|window| window == &made.current[..8]));
        assert_eq!(fs::metadata(&sealed.path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&sealed.path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(sealed.load(None, 1000), Err(QuoteSecretError::Exposed { mode: 0o640, .. })));
        let [first, second, third, ..] = made.current;
        assert!(!format!("{made:?}").contains(&format!("{first}, {second}, {third}")));
    }

    #[test]
    fn a_changed_bit_or_another_key_is_noticed_and_nothing_replaced() {
        let root = tempfile::tempdir().unwrap();
        let sealed = file(&root, 1);
        sealed.load(None, 1000).unwrap();
        let good = fs::read(&sealed.path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&sealed.path, &bad).unwrap();
            assert!(matches!(sealed.load(None, 1000 + DAY), Err(QuoteSecretError::Sealed { .. })), "byte {at}");
            assert_eq!(fs::read(&sealed.path).unwrap(), bad);
        }
        fs::write(&sealed.path, &good[..20]).unwrap();
        assert!(matches!(sealed.load(None, 1000), Err(QuoteSecretError::Sealed { .. })));
        // Another account has a file of its own, and cannot open this one.
        let other = file(&root, 2);
        assert!(other.load(None, 1000).is_ok());
        fs::write(&other.path, &good).unwrap();
        assert!(matches!(other.load(None, 1000), Err(QuoteSecretError::Sealed { .. })));
    }

    #[test]
    fn a_new_secret_is_known_for_a_while_before_it_makes_quotes() {
        let generations = Generations { made: 1000, current: [2; 32], previous: Some([1; 32]) };
        let makes = |now| {
            let secrets = generations.secrets(now);
            (rand_of(&secrets.current), secrets.previous.as_ref().map(rand_of))
        };
        let (old, new) = (rand_of(&QuoteSecret::new([1; 32])), rand_of(&QuoteSecret::new([2; 32])));
        assert_eq!(makes(1000 + HELD_BACK - 1), (old, Some(new)));
        assert_eq!(makes(1000 + HELD_BACK), (new, Some(old)));
    }

    fn rand_of(secret: &QuoteSecret) -> alloy::primitives::U256 {
        let domain = streamflow_pm::QuoteDomain { chain_id: 1, broker: Address::ZERO };
        secret.recipient_rand(&domain, Address::ZERO, &Default::default(), streamflow_types::Price::FREE)
    }

    #[test]
    fn two_who_find_it_old_make_one_new_secret() {
        let root = tempfile::tempdir().unwrap();
        file(&root, 1).load(None, 1000).unwrap();
        let racing: Vec<_> = (0..8)
            .map(|_| {
                let own = file(&root, 1);
                std::thread::spawn(move || own.load(None, 1000 + DAY).unwrap())
            })
            .collect();
        let mut made: Vec<_> = racing.into_iter().map(|thread| thread.join().unwrap().current).collect();
        made.dedup();
        assert_eq!(made.len(), 1);
    }
}
