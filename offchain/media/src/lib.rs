//! Video: probe, segment, transcode, HLS; libav in supervised worker processes.
