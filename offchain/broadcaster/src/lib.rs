//! The broadcaster role: takes a stream in, pays orchestrators, serves HLS.
