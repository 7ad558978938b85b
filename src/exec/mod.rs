//! Running a graph on Candle: kernels, programs, gradients.
