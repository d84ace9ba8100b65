//! What an orchestrator needs of the store, as `pm` declares it.

use alloy_primitives::{Address, U256};
use streamflow_pm::{Inserted, StoreError as PmStoreError, TicketStore};
use streamflow_types::WinningTicket;

use crate::{Store, StoreError};

impl TicketStore for Store {
    async fn insert_winning(&self, ticket: &WinningTicket) -> Result<Inserted, PmStoreError> {
        match self.insert_winners(std::slice::from_ref(ticket)).await? {
            0 => Ok(Inserted::Duplicate),
            _ => Ok(Inserted::New),
        }
    }

    async fn pending_face_value(&self, sender: Address) -> Result<U256, PmStoreError> {
        Ok(self.outstanding(sender).await?)
    }
}

impl From<StoreError> for PmStoreError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BadColumn { .. } | StoreError::Damaged(_) => Self::Corrupt(Box::new(error)),
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}
