//! Whether the database answers and takes writes, asked now and then by whoever reports on a node.
use crate::{Store, StoreError};

/// Row that is read and written for it; every process of an operator uses the same one.
const PROBE: &str = "probe";

impl Store {
    /// Reads one row.
    ///
    /// # Errors
    /// As any call that reads.
    pub async fn check_read(&self) -> Result<(), StoreError> {
        self.setting(PROBE).await.map(drop)
    }

    /// Writes `mark` and has it on the disk when this returns. A mark that is stored already would write nothing.
    ///
    /// # Errors
    /// As any call that writes: [`StoreError::DiskFull`], [`StoreError::NotWritable`], [`StoreError::Locked`].
    pub async fn check_write(&self, mark: u64) -> Result<(), StoreError> {
        self.set_setting(PROBE, &mark.to_be_bytes()).await
    }
}
