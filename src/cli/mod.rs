//! The command line: arguments in, one engine, text or JSON out.
