use super::Progress;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Called from a worker whenever there is something new to show.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

type Job<T> = Box<dyn FnOnce(&JobContext<T>) + Send>;

/// Messages kept for a reader that is slow; older ones are dropped first.
const MAILBOX: usize = 64;

struct State<T> {
    waiting: Option<Job<T>>,
    running: bool,
    cancelled: bool,
    closed: bool,
    progress: Option<Progress>,
    mailbox: VecDeque<T>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    wake: Wake,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panicking job must not take the window down with it: the state stays usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One background worker that runs the latest job submitted and reports values of type `T`.
pub struct Slot<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl<T: Send + 'static> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("busy", &self.is_busy()).finish()
    }
}

/// What a running job sees of its slot.
pub struct JobContext<T> {
    shared: Arc<Shared<T>>,
}

impl<T> std::fmt::Debug for JobContext<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobContext")
    }
}

impl<T> JobContext<T> {
    /// Whether the job should stop: it was cancelled, or a newer one waits.
    pub fn superseded(&self) -> bool {
        let state = self.shared.lock();
        state.cancelled || state.closed || state.waiting.is_some()
    }

    /// Sends a result or an intermediate one to the owner of the slot.
    pub fn send(&self, value: T) {
        {
            let mut state = self.shared.lock();
            if state.mailbox.len() == MAILBOX {
                state.mailbox.pop_front();
            }
            state.mailbox.push_back(value);
        }
        (self.shared.wake)();
    }

    /// Updates the progress shown for this job.
    pub fn progress(&self, done: u64, total: u64) {
        {
            let mut state = self.shared.lock();
            let Some(progress) = state.progress.as_mut() else { return };
            if (progress.done, progress.total) == (done, total) {
                return;
            }
            (progress.done, progress.total) = (done, total);
        }
        (self.shared.wake)();
    }
}

impl<T: Send + 'static> Slot<T> {
    /// A slot with its own thread.
    ///
    /// # Errors
    /// If the operating system refuses another thread.
    pub fn new(name: &str, wake: Wake) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: None,
                running: false,
                cancelled: false,
                closed: false,
                progress: None,
                mailbox: VecDeque::new(),
            }),
            changed: Condvar::new(),
            wake,
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&worker))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Runs `job` as soon as the slot is free, replacing a job that still waits.
    pub fn submit(&self, label: impl Into<String>, job: impl FnOnce(&JobContext<T>) + Send + 'static) {
        let mut state = self.shared.lock();
        state.waiting = Some(Box::new(job));
        state.progress = Some(Progress::start(label));
        state.cancelled = false;
        self.shared.changed.notify_all();
    }

    /// Drops the waiting job and asks the running one to stop.
    pub fn cancel(&self) {
        let mut state = self.shared.lock();
        state.waiting = None;
        state.cancelled = true;
    }

    /// Whether a job runs or waits.
    pub fn is_busy(&self) -> bool {
        let state = self.shared.lock();
        state.running || state.waiting.is_some()
    }

    /// Progress of the running job.
    pub fn progress(&self) -> Option<Progress> {
        let state = self.shared.lock();
        if state.running || state.waiting.is_some() { state.progress.clone() } else { None }
    }

    /// The oldest value not yet received.
    pub fn receive(&self) -> Option<T> {
        self.shared.lock().mailbox.pop_front()
    }

    /// Blocks until no job runs or waits. For tests and for a clean exit.
    pub fn wait(&self) {
        let mut state = self.shared.lock();
        while state.running || state.waiting.is_some() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Send + 'static> Drop for Slot<T> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A job that panicked has already said so on stderr.
            thread.join().ok();
        }
    }
}

fn work<T>(shared: &Arc<Shared<T>>) {
    let context = JobContext { shared: Arc::clone(shared) };
    loop {
        let job = {
            let mut state = shared.lock();
            loop {
                if state.closed && state.waiting.is_none() {
                    return;
                }
                if let Some(job) = state.waiting.take() {
                    state.running = true;
                    break job;
                }
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        let finished = FinishOnDrop(shared);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&context)));
        drop(finished);
        if outcome.is_err() {
            tracing::error!("a background job stopped unexpectedly");
        }
    }
}

struct FinishOnDrop<'a, T>(&'a Arc<Shared<T>>);

impl<T> Drop for FinishOnDrop<'_, T> {
    fn drop(&mut self) {
        {
            let mut state = self.0.lock();
            state.running = false;
            if state.waiting.is_none() {
                state.progress = None;
            }
        }
        self.0.changed.notify_all();
        (self.0.wake)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::sync_channel;

    fn quiet() -> Wake {
        Arc::new(|| {})
    }

    fn drain<T: Send>(slot: &Slot<T>) -> Vec<T> {
        std::iter::from_fn(|| slot.receive()).collect()
    }

    #[test]
    fn only_the_newest_waiting_job_runs() {
        let slot = Slot::new("test", quiet()).unwrap();
        let (started, running) = sync_channel(1);
        let (release, gate) = sync_channel::<()>(1);
        slot.submit("first", move |c: &JobContext<u32>| {
            started.send(()).unwrap();
            gate.recv().unwrap();
            c.send(1);
        });
        running.recv().unwrap();
        slot.submit("second", |c| c.send(2));
        slot.submit("third", |c| c.send(3));
        release.send(()).unwrap();
        slot.wait();
        assert_eq!(drain(&slot), vec![1, 3]);
    }

    #[test]
    fn a_running_job_learns_that_a_newer_one_waits() {
        let slot = Slot::new("test", quiet()).unwrap();
        let (started, running) = sync_channel(1);
        slot.submit("endless", move |c: &JobContext<&str>| {
            started.send(()).unwrap();
            while !c.superseded() {
                std::thread::yield_now();
            }
            c.send("stopped");
        });
        running.recv().unwrap();
        slot.submit("next", |c| c.send("done"));
        slot.wait();
        assert_eq!(drain(&slot), vec!["stopped", "done"]);
    }

    #[test]
    fn cancelling_stops_the_running_job_and_forgets_the_waiting_one() {
        let slot = Slot::new("test", quiet()).unwrap();
        let (started, running) = sync_channel(1);
        slot.submit("endless", move |c: &JobContext<u32>| {
            started.send(()).unwrap();
            while !c.superseded() {
                std::thread::yield_now();
            }
        });
        running.recv().unwrap();
        slot.submit("never", |c| c.send(7));
        slot.cancel();
        slot.wait();
        assert!(drain(&slot).is_empty());
        slot.submit("after", |c| c.send(8));
        slot.wait();
        assert_eq!(drain(&slot), vec![8]);
    }

    #[test]
    fn a_panicking_job_leaves_the_slot_usable() {
        let slot = Slot::new("test", quiet()).unwrap();
        slot.submit("bad", |_: &JobContext<u32>| std::panic::resume_unwind(Box::new("boom")));
        slot.wait();
        slot.submit("good", |c| c.send(5));
        slot.wait();
        assert_eq!(drain(&slot), vec![5]);
    }

    #[test]
    fn every_message_wakes_the_owner() {
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        let wake: Wake = Arc::new(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let slot = Slot::new("test", wake).unwrap();
        slot.submit("talk", |c: &JobContext<u32>| {
            c.send(1);
            c.progress(1, 2);
            c.progress(1, 2);
        });
        slot.wait();
        drop(slot);
        assert_eq!(count.load(Ordering::Relaxed), 3, "one message, one progress change, one finish");
    }
}
