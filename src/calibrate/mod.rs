//! Criteria that look at more than magnitudes: at the graph, and at what the model does on calibration examples.
