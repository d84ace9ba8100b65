//! The devices that the attempts at one job use, and what they are blamed for.
//!
//! libav says so when a device fails. A worker that dies or hangs may do so for the driver's sake or for the segment's:
//! another attempt, elsewhere, tells them apart. What is done there was the first device's fault; what fails there as well is
//! the segment's.
use super::PoolError;
use crate::{
    Encoder, MediaError,
    gpu::{Fleet, Lease, Placement},
    worker::Request,
};

pub(super) struct Trail<'a> {
    fleet: Option<&'a Fleet>,
    request: &'a Request,
    /// Devices on which an attempt failed.
    failed: Vec<u32>,
    last: Option<PoolError>,
    current: Option<Lease>,
    /// The device of an attempt whose worker failed, and how.
    suspect: Option<(Lease, PoolError)>,
}

impl<'a> Trail<'a> {
    pub(super) fn new(fleet: Option<&'a Fleet>, request: &'a Request) -> Self {
        Self { fleet, request, failed: Vec::new(), last: None, current: None, suspect: None }
    }

    /// Chooses the device of the next attempt, and gives the request as its worker gets it.
    ///
    /// # Errors
    /// No device is left and the CPU may not help; where one failed this job, its error.
    pub(super) fn next(&mut self) -> Result<Request, PoolError> {
        let mut request = self.request.clone();
        let (Some(fleet), Request::Transcode(order)) = (self.fleet, &mut request) else { return Ok(request) };
        if order.settings.deterministic {
            // What a device scales is not the same everywhere.
            return Ok(request);
        }
        let renditions = order.profiles.len();
        let placed = match (fleet.place(renditions, &self.failed), &self.last) {
            (Err(_), Some(error @ PoolError::Media(_))) => return Err(error.clone()),
            // Rather the same device than none: it may be the segment.
            (Err(_), Some(_)) => fleet.place(renditions, &[])?,
            (placed, _) => placed?,
        };
        match placed {
            Placement::Device(lease) => {
                order.device = Some(lease.assignment().clone());
                self.current = Some(lease);
            }
            Placement::Cpu => order.settings.encoder = Encoder::X264,
        }
        Ok(request)
    }

    /// The device of this attempt.
    pub(super) fn device(&self) -> Option<u32> {
        self.current.as_ref().map(|lease| lease.assignment().device)
    }

    /// Judges the attempt; `None` is one that did the job.
    pub(super) fn ended(&mut self, error: Option<&PoolError>) {
        let (current, device) = (self.current.take(), self.device_of_suspect());
        self.last = error.cloned();
        self.failed.extend(current.as_ref().filter(|_| error.is_some()).map(|lease| lease.assignment().device));
        match (error, current) {
            (None, current) => {
                self.blame();
                current.into_iter().for_each(Lease::done);
            }
            (Some(error @ PoolError::Media(MediaError::Gpu { .. })), Some(lease)) => lease.failed(error),
            (Some(error), Some(mut lease)) if error.is_fault() && self.suspect.is_none() => {
                lease.release();
                self.suspect = Some((lease, error.clone()));
            }
            (Some(error), Some(lease)) if error.is_fault() && device == Some(lease.assignment().device) => {
                self.suspect = None;
                lease.failed(error);
            }
            (Some(_), _) => self.suspect = None,
        }
    }

    fn device_of_suspect(&self) -> Option<u32> {
        self.suspect.as_ref().map(|(lease, _)| lease.assignment().device)
    }

    /// Whether the job is to be tried elsewhere for the device's sake, which says nothing of the segment.
    pub(super) fn leaves(&self, error: &PoolError) -> bool {
        self.fleet.is_some() && matches!(error, PoolError::Media(MediaError::Gpu { .. }))
    }

    /// There is no other attempt: the device is to blame.
    pub(super) fn blame(&mut self) {
        if let Some((lease, error)) = self.suspect.take() {
            lease.failed(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use streamflow_types::Profile;

    use super::*;
    use crate::{
        TranscodeSettings,
        gpu::{BreakerPolicy, Fallback, NoDevice, UsableDevice},
        worker::TranscodeOrder,
    };

    const FAULTS: usize = 3;

    fn fleet(devices: u32, fallback: Fallback) -> Fleet {
        let usable = |device| UsableDevice { device, decodes: Vec::new(), encodes: Vec::new(), sessions: None };
        let policy = BreakerPolicy { faults: FAULTS, ..BreakerPolicy::default() };
        Fleet::new((0..devices).map(usable).collect(), Encoder::Nvenc, fallback, policy)
    }

    fn request() -> Request {
        let settings = TranscodeSettings { encoder: Encoder::Nvenc, ..TranscodeSettings::default() };
        let profiles = vec![Profile::new("a", 320, 180, 300_000).unwrap()];
        Request::Transcode(TranscodeOrder { profiles, settings, device: None })
    }

    fn died() -> PoolError {
        PoolError::WorkerDied { signal: Some(11), exit: None, stderr: Vec::new() }
    }

    fn blamed() -> PoolError {
        MediaError::Gpu { device: 0, step: "encode a frame".into(), reason: "external".into() }.into()
    }

    /// One job whose attempts end like this; where each of them was.
    fn job(fleet: &Fleet, ends: &[Option<PoolError>]) -> Vec<Option<u32>> {
        let request = request();
        let mut trail = Trail::new(Some(fleet), &request);
        let mut places = Vec::new();
        for end in ends {
            let Request::Transcode(order) = trail.next().unwrap() else { panic!("another request") };
            let device = trail.device();
            assert_eq!(order.device.map(|device| device.device), device);
            assert_eq!(order.settings.encoder == Encoder::X264, device.is_none());
            places.push(device);
            trail.ended(end.as_ref());
        }
        trail.blame();
        places
    }

    fn is_broken(fleet: &Fleet) -> bool {
        !matches!(fleet.place(1, &[]), Ok(Placement::Device(_)))
    }

    #[test]
    fn a_worker_that_dies_where_another_place_does_the_job_died_of_the_device() {
        let fleet = fleet(1, Fallback::Cpu);
        for _ in 0..FAULTS {
            assert!(!is_broken(&fleet));
            assert_eq!(job(&fleet, &[Some(died()), None]), [Some(0), None]);
        }
        assert!(is_broken(&fleet));
    }

    #[test]
    fn a_segment_that_kills_workers_everywhere_breaks_no_device() {
        for (fleet, second) in [(fleet(1, Fallback::Cpu), None), (fleet(2, Fallback::Refuse), Some(1))] {
            for _ in 0..10 {
                let places = job(&fleet, &[Some(died()), Some(died())]);
                assert_ne!(places[0], places[1]);
                assert!(second.is_none() || places.contains(&second));
            }
            assert!(!is_broken(&fleet));
        }
    }

    #[test]
    fn where_there_is_no_other_place_each_job_counts_once() {
        let fleet = fleet(1, Fallback::Refuse);
        for _ in 0..FAULTS {
            assert!(!is_broken(&fleet));
            assert_eq!(job(&fleet, &[Some(died()), Some(died())]), [Some(0), Some(0)]);
        }
        assert!(is_broken(&fleet));
    }

    #[test]
    fn a_worker_that_dies_without_another_attempt_counts() {
        let fleet = fleet(1, Fallback::Cpu);
        (0..FAULTS).for_each(|_| drop(job(&fleet, &[Some(died())])));
        assert!(is_broken(&fleet));
    }

    #[test]
    fn bad_segments_and_jobs_that_are_abandoned_count_nothing() {
        let fleet = fleet(1, Fallback::Cpu);
        let request = request();
        for _ in 0..10 {
            job(&fleet, &[Some(MediaError::NoKeyFrame.into())]);
            let mut trail = Trail::new(Some(&fleet), &request);
            trail.next().unwrap();
            trail.ended(Some(&died()));
        }
        assert!(!is_broken(&fleet));
    }

    #[test]
    fn what_libav_blames_counts_at_once_and_is_told_where_nothing_else_helps() {
        let (fleet, request) = (fleet(2, Fallback::Refuse), request());
        for _ in 0..FAULTS {
            let mut trail = Trail::new(Some(&fleet), &request);
            for _device in 0..2 {
                trail.next().unwrap();
                assert!(trail.leaves(&blamed()));
                trail.ended(Some(&blamed()));
            }
            assert!(matches!(trail.next(), Err(PoolError::Media(MediaError::Gpu { .. }))));
        }
        let mut trail = Trail::new(Some(&fleet), &request);
        assert!(matches!(trail.next(), Err(PoolError::NoDevice(NoDevice::Broken { .. }))));
    }

    #[test]
    fn what_is_to_be_the_same_everywhere_is_done_on_the_cpu() {
        let (fleet, mut request) = (fleet(1, Fallback::Refuse), request());
        if let Request::Transcode(order) = &mut request {
            order.settings = TranscodeSettings { deterministic: true, ..TranscodeSettings::default() };
        }
        let mut trail = Trail::new(Some(&fleet), &request);
        let Request::Transcode(order) = trail.next().unwrap() else { panic!("another request") };
        assert!(order.device.is_none() && trail.device().is_none());
    }

    #[test]
    fn without_devices_nothing_is_assigned() {
        let request = request();
        let mut trail = Trail::new(None, &request);
        let Request::Transcode(order) = trail.next().unwrap() else { panic!("another request") };
        assert!(order.device.is_none() && order.settings.encoder == Encoder::Nvenc);
        assert!(!trail.leaves(&blamed()));
    }
}
