//! The window. Reads the document, sends commands.
