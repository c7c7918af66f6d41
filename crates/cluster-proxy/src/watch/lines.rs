//! Splits a watch's byte stream into lines, with a cap.

use bytes::{Bytes, BytesMut};

/// A longer line ends the watch.
pub const LINE_MAX: usize = 4 * 1024 * 1024;

/// A line beyond the cap.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a watch line is longer than {0} bytes")]
pub struct LineTooLong(usize);

/// Collects bytes until a newline.
#[derive(Debug)]
pub struct LineSplitter {
    buffer: BytesMut,
    /// Bytes that are known to hold no newline.
    scanned: usize,
    max: usize,
}

impl LineSplitter {
    /// A splitter with a cap on the line's length.
    pub fn new(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            max,
        }
    }

    /// Adds bytes of the stream.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next complete line that is not blank, without its newline.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let rest = self.buffer.get(self.scanned..).unwrap_or_default();
            let Some(offset) = rest.iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.buffer.len();
                if self.buffer.len() > self.max {
                    return Err(LineTooLong(self.max));
                }
                return Ok(None);
            };
            let end = self.scanned + offset;
            let line = self.buffer.split_to(end + 1).freeze().slice(..end);
            self.scanned = 0;
            if line.len() > self.max {
                return Err(LineTooLong(self.max));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_are_cut() {
        let text = b"{\"a\":1}\n\r\n{\"b\":2}\n{\"c\"";
        for size in 1..text.len() {
            let mut splitter = LineSplitter::new(64);
            let mut lines = Vec::new();
            for chunk in text.chunks(size) {
                splitter.push(chunk);
                while let Some(line) = splitter.next_line().unwrap() {
                    lines.push(line);
                }
            }
            assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}"], "chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut_at_the_cap() {
        let mut splitter = LineSplitter::new(16);
        splitter.push(&[b'x'; 16]);
        assert_eq!(splitter.next_line(), Ok(None));
        splitter.push(b"x");
        assert_eq!(splitter.next_line(), Err(LineTooLong(16)));
        let mut splitter = LineSplitter::new(16);
        splitter.push(&[&[b'x'; 17][..], b"\n"].concat());
        assert_eq!(splitter.next_line(), Err(LineTooLong(16)));
    }
}
