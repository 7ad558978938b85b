use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How a message is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something finished.
    Info,
    /// Something deserves attention, but went on.
    Warning,
    /// Something did not happen.
    Error,
}

/// A file that a message offers to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Open this model.
    OpenModel(PathBuf),
}

/// One line to the user, shown as a toast and kept in the log.
#[derive(Clone, Debug)]
pub struct Message {
    /// How it is meant.
    pub severity: Severity,
    /// One clear sentence.
    pub text: String,
    /// What can be done about it at once.
    pub offer: Option<Offer>,
    /// When it was said.
    pub at: Instant,
    /// Whether the toast was closed.
    pub dismissed: bool,
}

/// The log of a session, newest last.
#[derive(Debug, Default)]
pub struct Messages {
    log: Vec<Message>,
    seen: usize,
}

impl Messages {
    const CAPACITY: usize = 500;

    /// Adds a message. One that repeats the last is not said twice.
    pub fn say(&mut self, severity: Severity, text: impl Into<String>) {
        self.push(severity, text.into(), None);
    }

    /// Adds a message with something to do about it; it takes the place of the offer before it.
    pub fn offer(&mut self, text: impl Into<String>, offer: Offer) {
        self.log.iter_mut().filter(|m| m.offer.is_some()).for_each(|m| m.dismissed = true);
        self.push(Severity::Info, text.into(), Some(offer));
    }

    fn push(&mut self, severity: Severity, text: String, offer: Option<Offer>) {
        match severity {
            Severity::Info => tracing::info!("{text}"),
            Severity::Warning => tracing::warn!("{text}"),
            Severity::Error => tracing::error!("{text}"),
        }
        self.log.retain(|m| m.dismissed || m.text != text);
        if self.log.len() == Self::CAPACITY {
            self.log.remove(0);
        }
        self.log.push(Message { severity, text, offer, at: Instant::now(), dismissed: false });
        self.seen = self.seen.min(self.log.len() - 1);
    }

    /// All messages, oldest first.
    pub fn log(&self) -> &[Message] {
        &self.log
    }

    /// Messages that still stand as toasts, with their index in the log. Errors and offers stay until
    /// closed.
    pub fn toasts(&self) -> impl Iterator<Item = (usize, &Message)> {
        self.log.iter().enumerate().filter(|(_, m)| !m.dismissed && m.time_left().is_none_or(|t| !t.is_zero()))
    }

    /// Closes a toast.
    pub fn dismiss(&mut self, index: usize) {
        if let Some(message) = self.log.get_mut(index) {
            message.dismissed = true;
        }
    }

    /// Messages added since the log was last looked at.
    pub fn unread(&self) -> usize {
        self.log.len() - self.seen
    }

    /// Marks everything as looked at.
    pub fn mark_read(&mut self) {
        self.seen = self.log.len();
    }
}

impl Message {
    /// How long the toast stays; none if until closed.
    pub fn time_left(&self) -> Option<Duration> {
        let stays = match (self.severity, &self.offer) {
            (Severity::Error, _) | (_, Some(_)) => return None,
            (Severity::Warning, None) => Duration::from_secs(10),
            (Severity::Info, None) => Duration::from_secs(5),
        };
        Some(stays.saturating_sub(self.at.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_until_they_are_closed() {
        let mut messages = Messages::default();
        messages.say(Severity::Error, "no such file");
        assert_eq!(messages.toasts().count(), 1);
        assert!(messages.log()[0].time_left().is_none());
        messages.dismiss(0);
        assert_eq!((messages.toasts().count(), messages.log().len()), (0, 1));
    }

    #[test]
    fn an_offer_waits_to_be_taken_up_until_the_next_one() {
        let mut messages = Messages::default();
        messages.offer("exported a", Offer::OpenModel("a".into()));
        assert!(messages.log()[0].time_left().is_none());
        messages.offer("exported b", Offer::OpenModel("b".into()));
        assert_eq!(messages.toasts().map(|(_, m)| m.text.as_str()).collect::<Vec<_>>(), ["exported b"]);
    }

    #[test]
    fn a_repeated_message_moves_instead_of_piling_up() {
        let mut messages = Messages::default();
        messages.say(Severity::Info, "saved");
        messages.say(Severity::Error, "failed");
        messages.say(Severity::Info, "saved");
        assert_eq!(messages.log().iter().map(|m| m.text.as_str()).collect::<Vec<_>>(), ["failed", "saved"]);
    }

    #[test]
    fn unread_counts_what_came_after_the_last_look() {
        let mut messages = Messages::default();
        messages.say(Severity::Info, "one");
        messages.mark_read();
        messages.say(Severity::Info, "two");
        assert_eq!(messages.unread(), 1);
    }
}
