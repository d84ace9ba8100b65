//! Domain values of Streamflow: tickets, rounds, prices, profiles. No I/O.
