//! Writers, size reports and the proof that a file equals what was seen.
