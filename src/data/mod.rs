//! Files to labelled examples.
