//! Winning tickets as `redeemOrderedTickets` takes them: without what the chain can compute
//! (contracts/types/OrderedTicket.sol).
use alloy::primitives::{Address, B256, U256};
use streamflow_bindings::TicketBroker;
use streamflow_types::WinningTicket;

/// Bits of a face value in a ticket's terms.
const FACE_VALUE_BITS: usize = 96;

/// Winners of one sender, in ascending order of their keys.
#[derive(Clone, Debug)]
pub struct OrderedGroup<'a> {
    /// Who signed them.
    pub sender: Address,
    /// Mark of (recipient, sender) that the group was planned on; 192 bits.
    pub mark: U256,
    /// Its tickets.
    pub tickets: Vec<&'a WinningTicket>,
}

/// No account can hold such a sum, and the call has no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a face value of {0} wei needs more than 96 bits")]
pub struct FaceValueTooLarge(pub U256);

/// The call that redeems these groups of `recipient`, which must be in ascending order of their senders.
///
/// # Errors
/// A face value has no room in it.
pub fn redeem_ordered_call(
    recipient: Address,
    groups: &[OrderedGroup<'_>],
) -> Result<TicketBroker::redeemOrderedTicketsCall, FaceValueTooLarge> {
    let plan = |group: &OrderedGroup<'_>| TicketBroker::OrderedGroup {
        sender: group.sender,
        plan: (U256::from(group.tickets.len()) << 192) | group.mark,
    };
    let tickets = groups.iter().flat_map(|group| &group.tickets);
    Ok(TicketBroker::redeemOrderedTicketsCall {
        recipient,
        groups: groups.iter().map(plan).collect(),
        tickets: tickets.map(|winner| ordered_ticket(winner)).collect::<Result<_, _>>()?,
    })
}

/// A winner in five words.
///
/// # Errors
/// Its face value has no room in them.
pub fn ordered_ticket(winner: &WinningTicket) -> Result<TicketBroker::OrderedTicket, FaceValueTooLarge> {
    let ticket = &winner.signed.ticket;
    if ticket.face_value.bit_len() > FACE_VALUE_BITS {
        return Err(FaceValueTooLarge(ticket.face_value));
    }
    let (r, s, v) = split(winner.signed.sig.as_bytes());
    Ok(TicketBroker::OrderedTicket {
        recipientRand: winner.recipient_rand,
        winProb: ticket.win_prob.0,
        terms: (U256::from(ticket.deployment.is_some()) << 224)
            | (ticket.face_value << 128)
            | (U256::from(ticket.creation_round.0) << 64)
            | U256::from(ticket.sender_nonce),
        r,
        yParityAndS: B256::from((U256::from(v == 28) << 255) | s),
    })
}

/// Face value of a ticket in five words, wei.
pub fn ordered_face_value(ticket: &TicketBroker::OrderedTicket) -> U256 {
    (ticket.terms >> 128) & ((U256::ONE << FACE_VALUE_BITS) - U256::ONE)
}

fn split(sig: &[u8; 65]) -> (B256, U256, u8) {
    let (r, rest) = sig.split_at(32);
    let (s, v) = rest.split_at(32);
    (B256::from_slice(r), U256::from_be_slice(s), v[0])
}

#[cfg(test)]
mod tests {
    use alloy::primitives::uint;
    use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb};

    use super::*;

    fn winner(v: u8) -> WinningTicket {
        let mut sig = [0x22; 65];
        sig[32..64].copy_from_slice(&[0x33; 32]);
        sig[64] = v;
        let ticket = Ticket {
            face_value: U256::from(0xface),
            win_prob: WinProb(U256::from(77)),
            sender_nonce: 5,
            creation_round: Round(9),
            ..Ticket::default()
        };
        let signed = SignedTicket { ticket, sig: Signature65::new(sig) };
        WinningTicket { signed, recipient_rand: U256::from(8), params_expiration_block: 1 }
    }

    #[test]
    fn every_part_has_its_place() {
        let ticket = ordered_ticket(&winner(27)).unwrap();
        assert_eq!(
            ticket.terms,
            uint!(0x00000000_00000000000000000000face_0000000000000009_0000000000000005_U256) // 32 | 96 | 64 | 64 bits
        );
        assert_eq!((ticket.recipientRand, ticket.winProb), (U256::from(8), U256::from(77)));
        assert_eq!((ticket.r, ticket.yParityAndS), (B256::repeat_byte(0x22), B256::repeat_byte(0x33)));
        assert_eq!(ordered_face_value(&ticket), U256::from(0xface));
        let mut bound = winner(27);
        bound.signed.ticket.deployment = Some(B256::repeat_byte(1));
        assert_eq!(ordered_ticket(&bound).unwrap().terms, ticket.terms | (U256::ONE << 224));
        let odd = ordered_ticket(&winner(28)).unwrap().yParityAndS;
        assert_eq!((odd[0], odd[1]), (0xb3, 0x33), "the parity is the highest bit");
    }

    #[test]
    fn a_group_names_count_and_mark() {
        let (sender, winner) = (Address::repeat_byte(4), winner(27));
        let group = OrderedGroup { sender, mark: U256::from(6), tickets: vec![&winner, &winner, &winner] };
        let call = redeem_ordered_call(Address::repeat_byte(1), &[group]).unwrap();
        assert_eq!(call.groups[0].plan, (U256::from(3) << 192) | U256::from(6));
        assert_eq!((call.groups[0].sender, call.tickets.len()), (sender, 3));
    }

    #[test]
    fn a_face_value_of_97_bits_is_refused() {
        let mut large = winner(27);
        large.signed.ticket.face_value = (U256::ONE << 96) - U256::ONE;
        assert!(ordered_ticket(&large).is_ok());
        large.signed.ticket.face_value = U256::ONE << 96;
        assert_eq!(ordered_ticket(&large), Err(FaceValueTooLarge(U256::ONE << 96)));
    }
}
