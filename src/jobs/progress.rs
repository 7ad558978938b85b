use std::time::{Duration, Instant};

/// How far a running job has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What is being done, in a few words.
    pub label: String,
    /// Units finished.
    pub done: u64,
    /// Units in all; 0 while unknown.
    pub total: u64,
    /// When the job started.
    pub started: Instant,
}

impl Progress {
    /// Progress of a job that starts now.
    pub fn start(label: impl Into<String>) -> Self {
        Self { label: label.into(), done: 0, total: 0, started: Instant::now() }
    }

    /// Finished share in 0..=1, if the total is known.
    pub fn fraction(&self) -> Option<f32> {
        (self.total > 0).then(|| (self.done as f64 / self.total as f64).min(1.0) as f32)
    }

    /// Time left at the average pace so far, once there is something to average.
    pub fn remaining(&self) -> Option<Duration> {
        let fraction = f64::from(self.fraction()?);
        (fraction > 0.0).then(|| self.started.elapsed().mul_f64((1.0 - fraction) / fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_from_the_pace_so_far() {
        let started = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let progress = Progress { label: String::new(), done: 1, total: 4, started };
        let left = progress.remaining().unwrap().as_secs_f64();
        assert!((29.0..31.5).contains(&left), "{left}");
    }

    #[test]
    fn nothing_is_promised_before_the_total_is_known() {
        let progress = Progress::start("opening");
        assert_eq!((progress.fraction(), progress.remaining()), (None, None));
    }
}
