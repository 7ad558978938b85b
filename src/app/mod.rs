//! The document, its commands and its history; no widgets and no tensor engine.
