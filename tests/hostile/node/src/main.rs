//! Tells which events a node can decode: its own decoder, on types with the fields that it asks for.
//!
//! Each line of the input is a root block and, behind a space, the payload block that an envelope names, both in hex.

#![allow(dead_code)] // what counts is whether a field can be decoded

use ipld_core::{cid::Cid, ipld::Ipld};
use serde::{de, Deserialize, Deserializer};
use serde_ipld_dagcbor::from_slice;
use std::{collections::BTreeMap, fmt, io};

/// A byte string; the decoder would make a plain `Vec<u8>` of a list of numbers.
struct ByteString;

struct Bytes;

impl de::Visitor<'_> for Bytes {
    type Value = ByteString;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<ByteString, E> {
        Ok(ByteString)
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_byte_buf(Bytes)
    }
}

#[derive(Deserialize)]
struct Time {
    id: Cid,
    prev: Cid,
    proof: Cid,
    path: String,
}

#[derive(Deserialize)]
struct Signature {
    header: Option<BTreeMap<String, Ipld>>,
    protected: Option<ByteString>,
    signature: ByteString,
}

#[derive(Deserialize)]
struct Envelope {
    payload: ByteString,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitHeader {
    #[serde(default)]
    controllers: Vec<String>,
    sep: Option<String>,
    model: ByteString,
    should_index: Option<bool>,
    unique: Option<ByteString>,
    context: Option<ByteString>,
}

#[derive(Deserialize)]
struct Init {
    header: InitHeader,
    data: Option<Ipld>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataHeader {
    should_index: Option<bool>,
    model_version: Option<Cid>,
}

#[derive(Deserialize)]
struct Data {
    id: Cid,
    prev: Cid,
    header: Option<DataHeader>,
    data: Ipld,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Root {
    Time(Time),
    Signed(Envelope),
    Unsigned(Init),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Payload {
    Data(Data),
    Init(Init),
}

fn reads(root: &str, payload: &str) -> bool {
    let bytes = |text: &str| hex::decode(text).expect("hex");
    match from_slice::<Root>(&bytes(root)) {
        Ok(Root::Signed(envelope)) => !envelope.signatures.is_empty() && from_slice::<Payload>(&bytes(payload)).is_ok(),
        Ok(_) => true,
        Err(_) => false,
    }
}

fn main() {
    for line in io::stdin().lines() {
        let line = line.expect("text");
        let (root, payload) = line.split_once(' ').unwrap_or((&line, ""));
        println!("{}", if reads(root, payload) { "yes" } else { "no" });
    }
}
