//! Background work: latest-wins slots, cancellation and progress.
