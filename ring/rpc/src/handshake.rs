//! Who is there: both sides prove that they know the cluster's secret before
//! the first frame.
//!
//! The caller says hello with a nonce; the server answers with its own nonce
//! and a proof over both; the caller checks it and proves itself the same way.
//! Each proof names its side, so that neither can be sent back to its maker.
//! This is identity, not secrecy: the bytes that follow are not encrypted.
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::{HANDSHAKE, Lane};
use crate::secret::Secret;

const MAGIC: [u8; 4] = *b"VRGA";
/// Version of the protocol, frames included.
const VERSION: u16 = 4;
const HELLO: usize = 40;
const NONCE: usize = 32;
const SERVER: &[u8] = b"virga node protocol 4: server";
const CALLER: &[u8] = b"virga node protocol 4: caller";

/// Why a connection ended before its first frame.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The other side does not speak this protocol.
    #[error("the other side does not speak the node protocol")]
    Foreign,
    /// The other side speaks another version of it.
    #[error("the other side speaks version {0} of the node protocol, this one {VERSION}")]
    Version(u16),
    /// The other side does not know the cluster's secret.
    #[error("the other side does not know the cluster's secret")]
    Secret,
    /// The other side took too long.
    #[error("the other side did not finish the handshake in time")]
    Late,
    /// No nonce could be made.
    #[error("no randomness: {0}")]
    Chance(getrandom::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

fn nonce() -> Result<[u8; NONCE], Refused> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(Refused::Chance)?;
    Ok(nonce)
}

async fn in_time<T>(work: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    tokio::time::timeout(HANDSHAKE, work)
        .await
        .unwrap_or(Err(Refused::Late))
}

/// The caller's side.
///
/// # Errors
/// The other side is no server of this cluster.
pub(crate) async fn call<S>(stream: &mut S, secret: &Secret, lane: Lane) -> Result<(), Refused>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(async {
        let mut hello = [0; HELLO];
        hello[..4].copy_from_slice(&MAGIC);
        hello[4..6].copy_from_slice(&VERSION.to_le_bytes());
        hello[6] = lane.code();
        hello[8..].copy_from_slice(&nonce()?);
        stream.write_all(&hello).await?;
        let mut answer = [0; NONCE + 32];
        stream.read_exact(&mut answer).await?;
        let (theirs, proof) = answer.split_at(NONCE);
        if !secret.holds(&[SERVER, &hello, theirs], proof) {
            return Err(Refused::Secret);
        }
        let proof = secret.prove(&[CALLER, &hello, theirs]).ok_or(Refused::Secret)?;
        stream.write_all(&proof).await?;
        Ok(())
    })
    .await
}

/// The server's side; what kind of connection the caller wants.
///
/// # Errors
/// The other side is no caller of this cluster.
pub(crate) async fn answer<S>(stream: &mut S, secret: &Secret) -> Result<Lane, Refused>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(async {
        let mut hello = [0; HELLO];
        stream.read_exact(&mut hello).await?;
        if hello[..4] != MAGIC {
            return Err(Refused::Foreign);
        }
        let version = u16::from_le_bytes([hello[4], hello[5]]);
        if version != VERSION {
            return Err(Refused::Version(version));
        }
        let lane = Lane::from_code(hello[6]).ok_or(Refused::Foreign)?;
        let ours = nonce()?;
        let proof = secret.prove(&[SERVER, &hello, &ours]).ok_or(Refused::Secret)?;
        let mut answer = [0; NONCE + 32];
        answer[..NONCE].copy_from_slice(&ours);
        answer[NONCE..].copy_from_slice(&proof);
        stream.write_all(&answer).await?;
        let mut proof = [0; 32];
        stream.read_exact(&mut proof).await?;
        if secret.holds(&[CALLER, &hello, &ours], &proof) {
            Ok(lane)
        } else {
            Err(Refused::Secret)
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 32]).unwrap()
    }

    #[tokio::test]
    async fn two_nodes_of_one_cluster_meet() {
        let (mut a, mut b) = tokio::io::duplex(1024);
        let (ours, secret) = (secret(1), secret(1));
        let (called, answered) = tokio::join!(call(&mut a, &ours, Lane::Bulk), answer(&mut b, &secret));
        called.unwrap();
        assert_eq!(answered.unwrap(), Lane::Bulk);
    }

    #[tokio::test]
    async fn nodes_of_different_clusters_part() {
        let (mut a, mut b) = tokio::io::duplex(1024);
        let (ours, theirs) = (secret(1), secret(2));
        let caller = async {
            let result = call(&mut a, &ours, Lane::Small).await;
            drop(a);
            result
        };
        let (called, answered) = tokio::join!(caller, answer(&mut b, &theirs));
        assert!(matches!(called, Err(Refused::Secret)));
        assert!(matches!(answered, Err(Refused::Io(_))));
    }

    #[tokio::test]
    async fn a_server_believes_no_caller_without_the_secret() {
        let (mut a, mut b) = tokio::io::duplex(1024);
        let ours = secret(1);
        let liar = async {
            let mut hello = [0; HELLO];
            hello[..4].copy_from_slice(&MAGIC);
            hello[4..6].copy_from_slice(&VERSION.to_le_bytes());
            hello[6] = Lane::Small.code();
            a.write_all(&hello).await.unwrap();
            let mut answer = [0; NONCE + 32];
            a.read_exact(&mut answer).await.unwrap();
            // the server's own proof, sent back
            a.write_all(&answer[NONCE..]).await.unwrap();
        };
        let ((), answered) = tokio::join!(liar, answer(&mut b, &ours));
        assert!(matches!(answered, Err(Refused::Secret)));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_other_protocols_are_refused() {
        let (a, mut b) = tokio::io::duplex(1024);
        assert!(matches!(answer(&mut b, &secret(1)).await, Err(Refused::Late)));
        drop(a);
        let (mut a, mut b) = tokio::io::duplex(1024);
        a.write_all(b"GET /v1/AUTH_demo HTTP/1.1\r\nHost: localhost\r\n")
            .await
            .unwrap();
        assert!(matches!(answer(&mut b, &secret(1)).await, Err(Refused::Foreign)));
    }
}
