use flate2::Crc;
use std::io::{self, Write};

/// Writes a zip archive whose entries are stored uncompressed, each starting at a multiple of an alignment,
/// so that a reader can map them. The same entries give the same bytes: no times, no attributes.
pub(super) struct StoredZip<'a> {
    out: &'a mut dyn Write,
    at: u64,
    alignment: u64,
    directory: Vec<u8>,
    count: u64,
}

const LOCAL_HEADER_BYTES: u64 = 30;
/// Where 32 bits end and the zip64 fields take over.
const WIDE: u64 = u32::MAX as u64;
const ZIP64: u16 = 1;
/// Header id of the padding, as PyTorch writes it.
const PADDING: [u8; 2] = *b"FB";

impl<'a> StoredZip<'a> {
    /// Begins an archive in which all data starts at multiples of `alignment`.
    pub const fn new(out: &'a mut dyn Write, alignment: u64) -> Self {
        Self { out, at: 0, alignment, directory: Vec::new(), count: 0 }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// What the writer reports, or a name beyond 65 535 bytes.
    pub fn add(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        let mut crc = Crc::new();
        crc.update(data);
        let (start, size) = (self.at, data.len() as u64);
        let name_length = u16::try_from(name.len()).map_err(|_long| io::Error::other("a name is too long for zip"))?;
        let narrow = |n: u64| if n >= WIDE { u32::MAX } else { n as u32 };
        let version: u16 = if size >= WIDE || start >= WIDE { 45 } else { 20 };

        let mut extra = Vec::new();
        if size >= WIDE {
            extra.extend(ZIP64.to_le_bytes());
            extra.extend(16u16.to_le_bytes());
            extra.extend([size, size].iter().flat_map(|n| n.to_le_bytes()));
        }
        let header_end = start + LOCAL_HEADER_BYTES + u64::from(name_length) + extra.len() as u64;
        if !header_end.is_multiple_of(self.alignment) {
            let padding = (header_end + 4).next_multiple_of(self.alignment) - header_end - 4;
            extra.extend(PADDING);
            extra.extend((padding as u16).to_le_bytes());
            extra.resize(extra.len() + padding as usize, b'Z');
        }

        // From "version needed" to "name length" both headers agree.
        let mut common = Vec::with_capacity(24);
        common.extend(version.to_le_bytes());
        common.extend(0x0800u16.to_le_bytes());
        // No compression, and 1980-01-01 00:00, the first moment that zip knows.
        common.extend([0, 0, 0, 0, 0x21, 0]);
        common.extend(crc.sum().to_le_bytes());
        common.extend(narrow(size).to_le_bytes());
        common.extend(narrow(size).to_le_bytes());
        common.extend(name_length.to_le_bytes());

        self.put(b"PK\x03\x04")?;
        self.put(&common)?;
        self.put(&(extra.len() as u16).to_le_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&extra)?;
        self.put(data)?;

        let mut wide = Vec::new();
        if size >= WIDE {
            wide.extend([size, size]);
        }
        if start >= WIDE {
            wide.push(start);
        }
        let mut extra = Vec::new();
        if !wide.is_empty() {
            extra.extend(ZIP64.to_le_bytes());
            extra.extend((wide.len() as u16 * 8).to_le_bytes());
            extra.extend(wide.iter().flat_map(|n| n.to_le_bytes()));
        }
        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(version.to_le_bytes());
        self.directory.extend(common);
        self.directory.extend((extra.len() as u16).to_le_bytes());
        // No comment, first disk, no attributes.
        self.directory.extend([0; 10]);
        self.directory.extend(narrow(start).to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.directory.extend(extra);
        self.count += 1;
        Ok(())
    }

    /// Writes the directory, and `comment` of at most 65 535 bytes.
    ///
    /// # Errors
    /// What the writer reports, or a comment that is too long.
    pub fn finish(mut self, comment: &[u8]) -> io::Result<()> {
        let comment_length =
            u16::try_from(comment.len()).map_err(|_long| io::Error::other("the comment is too long for zip"))?;
        let (start, size, count) = (self.at, self.directory.len() as u64, self.count);
        let directory = std::mem::take(&mut self.directory);
        self.put(&directory)?;
        if start >= WIDE || size >= WIDE || count >= 0xffff {
            let record = self.at;
            self.put(b"PK\x06\x06")?;
            self.put(&44u64.to_le_bytes())?;
            self.put(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
            for n in [count, count, size, start] {
                self.put(&n.to_le_bytes())?;
            }
            self.put(b"PK\x06\x07\0\0\0\0")?;
            self.put(&record.to_le_bytes())?;
            self.put(&1u32.to_le_bytes())?;
        }
        self.put(b"PK\x05\x06\0\0\0\0")?;
        let short = count.min(0xffff) as u16;
        self.put(&short.to_le_bytes())?;
        self.put(&short.to_le_bytes())?;
        self.put(&(size.min(WIDE) as u32).to_le_bytes())?;
        self.put(&(start.min(WIDE) as u32).to_le_bytes())?;
        self.put(&comment_length.to_le_bytes())?;
        self.put(comment)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::Archive;
    use super::*;
    use bytes::Bytes;
    use std::path::Path;

    #[test]
    fn entries_come_back_aligned_and_unchanged() {
        let mut file = Vec::new();
        let mut zip = StoredZip::new(&mut file, 64);
        let entries = [("a/data.pkl", vec![1u8; 5]), ("a/data/0", vec![2; 1000]), ("a/\u{e9}", vec![])];
        for (name, data) in &entries {
            zip.add(name, data).unwrap();
        }
        zip.finish(b"remark").unwrap();
        let bytes = Bytes::from(file);
        let mut archive = Archive::open(&bytes, Path::new("a.zip")).unwrap();
        assert_eq!(archive.names(), entries.iter().map(|e| e.0).collect::<Vec<_>>());
        for (name, data) in entries {
            let read = archive.read(name).unwrap().unwrap();
            assert_eq!(read, data);
            assert_eq!((read.as_ptr() as usize - bytes.as_ptr() as usize) % 64, 0, "{name}");
        }
        assert!(archive.read("b").unwrap().is_none());
    }
}
