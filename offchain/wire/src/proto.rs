//! Messages and services of package `net`, generated from `proto/` (node.md §1).
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]

use std::fmt;

tonic::include_proto!("net");

impl fmt::Debug for RegisterRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterRequest")
            .field("capacity", &self.capacity)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthToken")
            .field("session_id", &self.session_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("ticket_params", &self.ticket_params)
            .field("sender", &self.sender)
            .field("expiration_params", &self.expiration_params)
            .field("sender_params", &self.sender_params)
            .finish_non_exhaustive()
    }
}
