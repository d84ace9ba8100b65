//! Renditions kept in memory until the broadcaster has fetched them.
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{config::StorageConfig, metrics};

/// What an entry costs besides its bytes, so that many tiny objects are bounded too.
const ENTRY_BYTES: u64 = 512;

/// Objects in directories: a bounded number in each, a bounded number of bytes in all; the oldest go first.
///
/// Clones share the objects.
#[derive(Clone, Debug)]
pub(crate) struct RenditionCache {
    limits: StorageConfig,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By age: the smallest key is the oldest.
    objects: BTreeMap<u64, Object>,
    directories: HashMap<String, VecDeque<(String, u64)>>,
    next: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Object {
    directory: String,
    name: String,
    data: Bytes,
    stored: Instant,
    fetched: bool,
}

impl RenditionCache {
    /// An empty cache.
    pub(crate) fn new(limits: StorageConfig) -> Self {
        Self { limits, inner: Arc::default() }
    }

    /// Keeps `data` as `directory/name`, in place of an older object of that name. Returns false when it alone is more
    /// than the bound on bytes.
    pub(crate) fn insert(&self, directory: &str, name: &str, data: Bytes) -> bool {
        if cost(&data) > self.limits.max_bytes {
            return false;
        }
        let mut inner = self.lock();
        inner.remove(directory, name);
        inner.add(directory, name, data);
        inner.trim_directory(directory, self.limits.objects_per_directory);
        inner.trim_bytes(self.limits.max_bytes);
        metrics::cached_bytes(inner.bytes);
        true
    }

    /// The object, if it is still kept.
    pub(crate) fn get(&self, directory: &str, name: &str) -> Option<Bytes> {
        let mut inner = self.lock();
        let key = inner.find(directory, name)?;
        let object = inner.objects.get_mut(&key)?;
        object.fetched = true;
        Some(object.data.clone())
    }

    /// Whether somebody may still come for an object that was stored within `age`.
    pub(crate) fn has_unfetched(&self, age: Duration) -> bool {
        self.lock().objects.values().rev().take_while(|object| object.stored.elapsed() <= age).any(|o| !o.fetched)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(data: &Bytes) -> u64 {
    ENTRY_BYTES.saturating_add(data.len() as u64)
}

impl Inner {
    fn find(&self, directory: &str, name: &str) -> Option<u64> {
        self.directories.get(directory)?.iter().find(|(n, _)| n == name).map(|(_, key)| *key)
    }

    fn add(&mut self, directory: &str, name: &str, data: Bytes) {
        let key = self.next;
        self.next += 1;
        self.bytes += cost(&data);
        self.directories.entry(directory.to_owned()).or_default().push_back((name.to_owned(), key));
        self.objects.insert(
            key,
            Object {
                directory: directory.to_owned(),
                name: name.to_owned(),
                data,
                stored: Instant::now(),
                fetched: false,
            },
        );
    }

    fn remove(&mut self, directory: &str, name: &str) {
        if let Some(key) = self.find(directory, name) {
            self.remove_key(key);
        }
    }

    fn remove_key(&mut self, key: u64) {
        let Some(object) = self.objects.remove(&key) else { return };
        self.bytes -= cost(&object.data);
        if let Some(names) = self.directories.get_mut(&object.directory) {
            names.retain(|(name, _)| *name != object.name);
            if names.is_empty() {
                self.directories.remove(&object.directory);
            }
        }
    }

    fn trim_directory(&mut self, directory: &str, objects: usize) {
        while let Some(names) = self.directories.get(directory).filter(|names| names.len() > objects) {
            let Some((_, oldest)) = names.front() else { return };
            self.remove_key(*oldest);
        }
    }

    fn trim_bytes(&mut self, max_bytes: u64) {
        while self.bytes > max_bytes {
            let Some((&oldest, _)) = self.objects.first_key_value() else { return };
            self.remove_key(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(max_bytes: u64) -> RenditionCache {
        RenditionCache::new(StorageConfig { objects_per_directory: 12, max_bytes })
    }

    fn data(bytes: usize) -> Bytes {
        vec![7; bytes].into()
    }

    #[test]
    fn thirteenth_object_drops_the_first_of_its_directory_only() {
        let cache = cache(1 << 20);
        cache.insert("b", "0.ts", data(1));
        for seq in 0..13 {
            cache.insert("a", &format!("{seq}.ts"), data(1));
        }
        assert_eq!(cache.get("a", "0.ts"), None);
        assert_eq!(cache.get("a", "1.ts"), Some(data(1)));
        assert_eq!(cache.get("b", "0.ts"), Some(data(1)));
    }

    #[test]
    fn bytes_of_all_directories_are_bounded() {
        let cache = cache(10_000);
        for directory in 0..100 {
            cache.insert(&directory.to_string(), "0.ts", data(1_000));
        }
        let inner = cache.lock();
        assert!(inner.bytes <= 10_000);
        assert_eq!(inner.objects.len(), 6); // 1512 each
        assert_eq!(inner.directories.len(), 6);
    }

    #[test]
    fn objects_wait_until_they_are_fetched_or_old() {
        let cache = cache(1 << 20);
        let minute = Duration::from_secs(60);
        assert!(!cache.has_unfetched(minute));
        cache.insert("a", "0.ts", data(1));
        cache.insert("a", "1.ts", data(1));
        cache.get("a", "1.ts");
        assert!(cache.has_unfetched(minute));
        cache.get("a", "0.ts");
        assert!(!cache.has_unfetched(minute));
    }

    #[test]
    fn object_larger_than_the_cache_is_refused() {
        let cache = cache(10_000);
        assert!(cache.insert("a", "0.ts", data(1_000)));
        assert!(!cache.insert("a", "1.ts", data(10_000)));
        assert!(cache.get("a", "0.ts").is_some());
    }

    #[test]
    fn same_name_replaces_and_counts_once() {
        let cache = cache(10_000);
        cache.insert("a", "0.ts", data(1_000));
        cache.insert("a", "0.ts", data(2_000));
        assert_eq!(cache.get("a", "0.ts"), Some(data(2_000)));
        assert_eq!(cache.lock().bytes, 2_000 + ENTRY_BYTES);
    }
}
