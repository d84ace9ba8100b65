//! Whether this process lives, and whether its disk and database can be worked with.
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::gauge;
use serde::Serialize;
use streamflow_store::Store;
use streamflow_types::with_causes;
use tokio::{runtime::Handle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    readiness::{Figures, Readiness},
};

/// Time within which the event loop and the database must answer.
pub const BOUND: Duration = Duration::from_secs(3);
/// Time between two looks at disk and database.
const LOOK: Duration = Duration::from_secs(5);
/// Time for one write: more than another process may hold the lock.
const WRITE: Duration = Duration::from_secs(15);
/// Names among the needs of a role.
const STORE: &str = "store";
const DISK: &str = "disk";
/// Setting of the least free space.
const MIN_FREE: &str = "data.min_free_bytes";

/// The role's event loop and its database, seen from outside.
#[derive(Clone, Debug)]
pub struct Health {
    role: Handle,
    store: Arc<Mutex<Option<Store>>>,
}

/// Answer of `/healthz`.
#[derive(Clone, Debug, Serialize)]
pub struct Vitals {
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// `ok`, or why not.
    pub event_loop: String,
    /// The same; `none` for a role without database.
    pub store: String,
}

const OK: &str = "ok";
const NONE: &str = "none";

impl Health {
    /// Of the runtime that this is called in.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn here() -> Self {
        Self { role: Handle::current(), store: Arc::default() }
    }

    /// From now on the database counts too.
    pub fn watch(&self, store: Store) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }

    /// The role's runtime, for work that must not run anywhere else.
    pub fn role(&self) -> &Handle {
        &self.role
    }

    /// Asks the event loop for a sign of life, then the database, each for [`BOUND`] at most.
    pub async fn vitals(&self) -> Vitals {
        let event_loop = match timeout(BOUND, self.role.spawn(async {})).await {
            Ok(_) => OK.to_owned(),
            Err(_) => format!("no task was run within {BOUND:?}: the process hangs, restart it"),
        };
        let known = self.store.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let store = match known {
            None => NONE.to_owned(),
            Some(_) if event_loop != OK => "not asked: the event loop does not answer".to_owned(),
            Some(store) => {
                let read = self.role.spawn(async move { store.check_read().await });
                match timeout(BOUND, read).await {
                    Ok(Ok(Ok(()))) => OK.to_owned(),
                    Ok(Ok(Err(error))) => with_causes(&error),
                    Ok(Err(_)) => "the look at the database was given up".to_owned(),
                    Err(_) => format!("the database did not answer within {BOUND:?}"),
                }
            }
        };
        let healthy = event_loop == OK && (store == OK || store == NONE);
        Vitals { healthy, event_loop, store }
    }
}

/// Writes to the database now and then, and tells whether that works.
pub async fn watch_store(store: Store, readiness: Readiness, end: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    while end.run_until_cancelled(looks.tick()).await.is_some() {
        let written = end.run_until_cancelled(timeout(WRITE, store.check_write(clock::unix_seconds()))).await;
        match written {
            None => return,
            Some(Ok(Ok(()))) => readiness.met(STORE),
            Some(Ok(Err(error))) => readiness.missing(STORE, with_causes(&error)),
            Some(Err(_)) => readiness.missing(STORE, format_args!("nothing could be written for {WRITE:?}")),
        }
    }
}

/// Looks at the free space below `directories`, those that exist, and tells whether there is enough.
pub async fn watch_disk(directories: Vec<PathBuf>, limit: u64, readiness: Readiness, end: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    while end.run_until_cancelled(looks.tick()).await.is_some() {
        let seen = directories.clone();
        let least = tokio::task::spawn_blocking(move || least_free(&seen)).await;
        match least {
            Ok(Ok(Some((directory, free)))) => tell_free(&directory, free, limit, &readiness),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err((directory, error))) => {
                readiness.missing(DISK, format_args!("cannot look at {}: {error}", directory.display()));
            }
        }
    }
}

fn tell_free(directory: &Path, free: u64, limit: u64, readiness: &Readiness) {
    gauge!("streamflow_node_disk_free_bytes").set(free as f64);
    if free >= limit {
        return readiness.met(DISK);
    }
    let reason = format!(
        "{free} bytes are free on the disk of {}, {limit} are wanted ({MIN_FREE}): free space there, or move data.dir",
        directory.display()
    );
    readiness.beyond(DISK, reason, Figures { got: free, limit, setting: MIN_FREE });
}

/// Bytes that this user may still write below `directory`.
///
/// # Errors
/// When the system does not tell.
pub fn free_space(directory: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

type FreeSpace = Result<Option<(PathBuf, u64)>, (PathBuf, io::Error)>;

/// The directory with the least space that this user may take.
fn least_free(directories: &[PathBuf]) -> FreeSpace {
    let mut least: Option<(PathBuf, u64)> = None;
    for directory in directories {
        match free_space(directory) {
            Ok(free) => {
                if least.as_ref().is_none_or(|(_, known)| free < *known) {
                    least = Some((directory.clone(), free));
                }
            }
            // It is made with the first stream.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((directory.clone(), error)),
        }
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::readiness::Need;

    #[test]
    fn a_loop_that_hangs_and_a_database_that_is_closed_are_told() {
        let (release, hang) = mpsc::channel::<()>();
        let (send, vitals_of) = mpsc::channel();
        let role = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let health = Health::here();
                let store = Store::in_memory().await.unwrap();
                health.watch(store.clone());
                send.send(health).unwrap();
                // The whole loop stands still here.
                hang.recv().unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                store.close().await;
                while hang.try_recv().is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        });
        let health = vitals_of.recv().unwrap();
        let outside = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hung = outside.block_on(health.vitals());
        assert!(!hung.healthy && hung.event_loop.contains("no task was run"), "{hung:?}");
        release.send(()).unwrap();
        let closed = outside.block_on(async {
            loop {
                let vitals = health.vitals().await;
                if vitals.store != OK {
                    return vitals;
                }
            }
        });
        assert!(!closed.healthy && closed.event_loop == OK, "{closed:?}");
        release.send(()).unwrap();
        role.join().unwrap();
    }

    #[test]
    fn too_little_space_is_told_with_both_figures_and_the_setting() {
        let (readiness, directory) = (Readiness::default(), tempfile::tempdir().unwrap());
        let missing = directory.path().join("not made yet");
        let (found, free) = least_free(&[missing, directory.path().to_owned()]).unwrap().unwrap();
        assert_eq!(found, directory.path());
        assert!(free > 0);
        tell_free(&found, 5, 10, &readiness);
        let Need::Missing(lack) = readiness.needs()[DISK].clone() else { panic!("5 of 10 bytes are enough?") };
        assert_eq!(lack.figures, Some(Figures { got: 5, limit: 10, setting: MIN_FREE }));
        assert!(lack.reason.contains("5 bytes are free") && lack.reason.contains("10 are wanted"), "{}", lack.reason);
        tell_free(&found, 10, 10, &readiness);
        assert!(readiness.is_ready());
    }
}
