use super::ExportError;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rayon::prelude::*;
use std::io::{self, Write};

/// Bytes compressed on their own, so that all cores help; deflate looks back only 32 KiB, so this costs
/// well under 1 %.
const BLOCK: usize = 1 << 20;

/// Blocks between two looks at whether to go on.
const BLOCKS_AT_ONCE: usize = 16;

/// What a zip archive with one file of these pieces takes, deflated at level 6 in independent blocks of
/// 1 MiB.
///
/// # Errors
/// [`ExportError::Cancelled`] once `cancelled` says so.
pub fn zip_bytes<P: AsRef<[u8]>>(
    pieces: &[P],
    name: &str,
    cancelled: &mut dyn FnMut() -> bool,
) -> Result<u64, ExportError> {
    /// Joins a block to the next in one deflate stream: an empty stored block.
    const JOIN: u64 = 5;
    /// Local header, central directory entry and end record, without names.
    const CONTAINER: u64 = 30 + 46 + 22;
    let mut total = CONTAINER + 2 * name.len() as u64;
    for batch in blocks(pieces).chunks(BLOCKS_AT_ONCE) {
        if cancelled() {
            return Err(ExportError::Cancelled);
        }
        total += batch.par_iter().map(|block| deflated(block) + JOIN).sum::<u64>();
    }
    Ok(total)
}

/// Cuts the joined pieces into blocks; one block may hold the end of a piece and the start of the next.
fn blocks<P: AsRef<[u8]>>(pieces: &[P]) -> Vec<Vec<&[u8]>> {
    let mut blocks = Vec::new();
    let (mut block, mut room) = (Vec::new(), BLOCK);
    for piece in pieces {
        let mut rest = piece.as_ref();
        while !rest.is_empty() {
            let (part, left) = rest.split_at(rest.len().min(room));
            block.push(part);
            (rest, room) = (left, room - part.len());
            if room == 0 {
                blocks.push(std::mem::take(&mut block));
                room = BLOCK;
            }
        }
    }
    if !block.is_empty() {
        blocks.push(block);
    }
    blocks
}

fn deflated(block: &[&[u8]]) -> u64 {
    let stored = block.iter().map(|part| part.len() as u64).sum();
    let mut encoder = DeflateEncoder::new(Count(0), Compression::new(6));
    let written = block.iter().try_for_each(|part| encoder.write_all(part));
    // A counter cannot fail to be written to; if the encoder does, the block counts as stored.
    written.and_then(|()| encoder.finish()).map_or(stored, |Count(bytes)| bytes.min(stored))
}

struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half zeros, half noise from a linear congruential generator.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = |i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i % 8 < 4 { 0 } else { (state >> 24) as u8 }
        };
        (0..length).map(&mut next).collect()
    }

    #[test]
    fn the_estimate_is_close_to_a_real_archive() {
        let file = noise(5 << 19);
        let mut archive = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_level(Some(6));
        archive.start_file("w.bin", options).unwrap();
        archive.write_all(&file).unwrap();
        let real = archive.finish().unwrap().into_inner().len() as f64;
        let estimate = zip_bytes(&[&file], "w.bin", &mut || false).unwrap() as f64;
        assert!((estimate / real - 1.0).abs() < 0.01, "{estimate} against {real}");
    }

    #[test]
    fn pieces_count_as_the_file_they_join_to() {
        let file = noise(3 << 19);
        let (a, rest) = file.split_at(1000);
        let (b, c) = rest.split_at(BLOCK);
        let whole = zip_bytes(&[&file], "w", &mut || false).unwrap();
        assert_eq!(zip_bytes(&[a, b, &[], c], "w", &mut || false).unwrap(), whole);
    }

    #[test]
    fn nothing_still_takes_a_container_and_cancelling_stops() {
        assert_eq!(zip_bytes::<&[u8]>(&[], "a", &mut || false).unwrap(), 100);
        assert!(matches!(zip_bytes(&[[0u8; 9]], "a", &mut || true), Err(ExportError::Cancelled)));
    }
}
