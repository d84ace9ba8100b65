//! The transcoder role: registers with an orchestrator and transcodes its segments.
