//! Says which events a node can serve: it reads them as a node does, with the node's own decoder.
//!
//! Each line of the input is an event: its CID, its order key, and each of its event blocks in
//! their order as `codec:root:multihash:bytes`, with spaces between and all bytes in hex. The
//! answer is `yes`, or `no` and why.

#![allow(dead_code)] // what counts is whether a field can be decoded

mod types;

use cid::multihash::Multihash;
use ipld_core::{cid::Cid, ipld::Ipld};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, io, str::FromStr};
use types::{Capability, Envelope, Payload, Proof, Protected, Root, Time};
use unsigned_varint::decode;

type Answer<T> = Result<T, String>;

/// What a node reads of a file of blocks at most, for a block and its CID.
const LARGEST: usize = 4 * 1024 * 1024;

struct Stored {
    root: Cid,
    blocks: HashMap<Cid, Vec<u8>>,
}

impl Stored {
    fn block(&self, cid: &Cid, what: &str) -> Answer<&[u8]> {
        self.blocks.get(cid).map(Vec::as_slice).ok_or(format!("no {what}"))
    }
}

fn read<'a, T: Deserialize<'a>>(block: &'a [u8], what: &str) -> Answer<T> {
    serde_ipld_dagcbor::from_slice(block).map_err(|error| format!("{what}: {error}"))
}

/// A node's feed encodes what it decoded.
fn write<T: Serialize>(content: &T, what: &str) -> Answer<Vec<u8>> {
    serde_ipld_dagcbor::to_vec(content).map_err(|error| format!("{what} not encoded: {error}"))
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hex")
}

fn is_event_id(key: &[u8]) -> bool {
    if key.is_empty() || key == [0xff] {
        return true;
    }
    let Ok((0xce, rest)) = decode::u64(key) else { return false };
    let Ok((0x05, rest)) = decode::u64(rest) else { return false };
    // a node falls over a shorter one
    matches!(decode::u64(rest), Ok((_, rest)) if rest.len() >= 20)
}

fn stored(line: &str) -> Answer<Stored> {
    let mut fields = line.split(' ');
    let cid = unhex(fields.next().unwrap_or_default());
    let key = unhex(fields.next().unwrap_or_default());
    if !is_event_id(&key) {
        return Err("order key".into());
    }
    let (mut roots, mut blocks) = (vec![], HashMap::new());
    for field in fields {
        let parts: Vec<_> = field.split(':').collect();
        if parts[1] == "-1" {
            return Err("root flag".into());
        }
        let codec: i64 = parts[0].parse().expect("a codec");
        let codec = u64::try_from(codec).map_err(|_| "codec")?;
        let multihash = Multihash::<64>::from_bytes(&unhex(parts[2])).map_err(|e| e.to_string())?;
        let (cid, bytes) = (Cid::new_v1(codec, multihash), unhex(parts[3]));
        if cid.to_bytes().len() + bytes.len() > LARGEST {
            return Err("a block is too large".into());
        }
        if parts[1] != "0" {
            roots.push(cid);
        }
        blocks.insert(cid, bytes);
    }
    let root = *roots.first().ok_or("no root")?;
    if root.to_bytes() != cid {
        return Err("served as another event".into());
    }
    Ok(Stored { root, blocks })
}

fn capability(envelope: &Envelope) -> Option<Cid> {
    let protected = envelope.signatures[0].protected.as_ref()?;
    let header: Protected = serde_json::from_slice(&protected.0).ok()?;
    Cid::from_str(header.cap?.strip_prefix("ipfs://")?).ok()
}

fn serve_signed(event: &Stored, envelope: Envelope) -> Answer<()> {
    let cid = Cid::read_bytes(envelope.payload.0.as_slice()).map_err(|e| format!("payload: {e}"))?;
    let payload: Payload = read(event.block(&cid, "payload")?, "payload")?;
    if envelope.signatures.is_empty() {
        return Err("no signature".into());
    }
    if let Some(cid) = capability(&envelope) {
        let capability: Capability = read(event.block(&cid, "capability")?, "capability")?;
        write(&capability, "capability")?;
    }
    write(&payload, "payload")?;
    write(&envelope, "envelope")?;
    Ok(())
}

fn serve_time(event: &Stored, time: &Time) -> Answer<()> {
    let proof: Proof = read(event.block(&time.proof, "proof")?, "proof")?;
    if time.prev != proof.root || !time.path.is_empty() {
        let mut nodes: Vec<Ipld> = vec![read(event.block(&proof.root, "node")?, "node")?];
        let parts: Vec<_> = time.path.split('/').collect();
        for part in &parts[..parts.len() - 1] {
            let item = nodes[nodes.len() - 1].get(*part).map_err(|e| format!("path: {e}"))?;
            let Some(Ipld::Link(cid)) = item else { return Err("path: no link".into()) };
            nodes.push(read(event.block(cid, "node")?, "node")?);
        }
        if nodes.iter().any(|node| !matches!(node, Ipld::List(_))) {
            return Err("node: no list".into());
        }
        write(&nodes, "nodes")?;
    }
    write(&proof, "proof")?;
    // under the CID of what it encodes anew
    let same = event.root.codec() == 0x71 && write(time, "event")? == event.blocks[&event.root];
    same.then_some(()).ok_or("served as another event".into())
}

fn serve(line: &str) -> Answer<()> {
    let event = stored(line)?;
    match read(event.block(&event.root, "root")?, "root")? {
        Root::Time(time) => serve_time(&event, &time),
        Root::Signed(envelope) => serve_signed(&event, envelope),
        Root::Unsigned(init) => write(&init, "event").map(|_| ()),
    }
}

fn main() {
    for line in io::stdin().lines() {
        match serve(&line.expect("text")) {
            Ok(()) => println!("yes"),
            Err(why) => println!("no {}", why.replace('\n', " ")),
        }
    }
}
