//! A server that only answers: what one costs without a protocol or a disk.
//!
//! A request is `[ticket u64][length u32][answer u32]` and `length` bytes, a response
//! `[ticket u64][length u32]` and `length` bytes, as many as the request asks for; little endian.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    process, thread,
};

use clap::Args;

/// The bytes before those of a request, and of a response.
pub(super) const REQUEST: usize = 16;
pub(super) const RESPONSE: usize = 12;
/// No request or response has more bytes.
pub(super) const LONGEST: usize = 32 << 20;
/// Read at once.
const CHUNK: usize = 256 << 10;

/// What `synod echo` is told.
#[derive(Args, Debug)]
pub(crate) struct Echo {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// Stop when standard input ends, as it does when whoever started this is gone
    #[arg(long)]
    while_stdin: bool,
}

impl Echo {
    /// Says where it listens on the first line, and answers until it is killed.
    pub(crate) fn run(&self) -> io::Result<()> {
        let listener = TcpListener::bind(&self.listen)?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        if self.while_stdin {
            thread::spawn(|| {
                drop(io::copy(&mut io::stdin(), &mut io::sink()));
                process::exit(0);
            });
        }
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            // A client that goes away or talks nonsense loses its connection, and that is all.
            thread::spawn(|| drop(answer(stream)));
        }
        Ok(())
    }
}

/// Appends a request to `to`.
pub(super) fn request(to: &mut Vec<u8>, ticket: u64, body: &[u8], answer: u32) {
    let length = u32::try_from(body.len()).expect("the arguments bound it");
    to.extend_from_slice(&ticket.to_le_bytes());
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&answer.to_le_bytes());
    to.extend_from_slice(body);
}

/// The ticket of the response at the start of `from`, and its length in all, once it is whole.
pub(super) fn response(from: &[u8]) -> io::Result<Option<(u64, usize)>> {
    let Some((head, body)) = from.split_first_chunk::<RESPONSE>() else { return Ok(None) };
    let ticket = u64::from_le_bytes(*head.first_chunk().expect("12 bytes"));
    let length = bounded(*head.last_chunk().expect("12 bytes"))?;
    Ok((body.len() >= length).then_some((ticket, RESPONSE + length)))
}

fn bounded(length: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST { Err(io::ErrorKind::InvalidData.into()) } else { Ok(length) }
}

/// Takes all that has come, and answers it with one write.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut requests, mut responses) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        requests.extend_from_slice(&chunk[..count]);
        let mut used = 0;
        while let Some(length) = serve(&requests[used..], &mut responses)? {
            used += length;
        }
        requests.drain(..used);
        stream.write_all(&responses)?;
        responses.clear();
    }
}

/// Answers the first request; tells its length, once it is whole.
fn serve(requests: &[u8], responses: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let Some((head, body)) = requests.split_first_chunk::<REQUEST>() else { return Ok(None) };
    let length: [u8; 4] = *head[8..].first_chunk().expect("16 bytes");
    let (length, answer) = (bounded(length)?, bounded(*head.last_chunk().expect("16 bytes"))?);
    if body.len() < length {
        return Ok(None);
    }
    responses.extend_from_slice(&head[..8]);
    responses.extend_from_slice(&head[12..]);
    responses.resize(responses.len() + answer, 0);
    Ok(Some(REQUEST + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_once_they_are_whole() {
        let mut requests = Vec::new();
        request(&mut requests, 7, b"hello", 3);
        let mut responses = Vec::new();
        for part in 0..requests.len() {
            assert_eq!(serve(&requests[..part], &mut responses).unwrap(), None);
        }
        assert_eq!(serve(&requests, &mut responses).unwrap(), Some(REQUEST + 5));
        for part in 0..responses.len() {
            assert_eq!(response(&responses[..part]).unwrap(), None);
        }
        assert_eq!(response(&responses).unwrap(), Some((7, RESPONSE + 3)));
        assert_eq!(responses.len(), RESPONSE + 3);
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_allocated() {
        let mut requests = Vec::new();
        request(&mut requests, 7, b"", u32::MAX);
        assert!(serve(&requests, &mut Vec::new()).is_err());
        assert!(response(&[255; RESPONSE]).is_err());
    }
}
