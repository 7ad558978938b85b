//! One-pass exact distributions of weights and of channel norms.
