//! What a node decodes: its blocks as types with the fields that it asks for, in their order.

use ipld_core::{cid::Cid, ipld::Ipld};
use serde::{de, Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::{BTreeMap, HashMap}, fmt};

/// A byte string; the decoder would make a plain `Vec<u8>` of a list of numbers.
#[derive(Default)]
pub struct Bytes(pub Vec<u8>);

struct ByteString;

impl de::Visitor<'_> for ByteString {
    type Value = Bytes;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, content: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(content.to_vec()))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_byte_buf(ByteString)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

#[derive(Deserialize, Serialize)]
pub struct Time {
    pub id: Cid,
    pub prev: Cid,
    pub proof: Cid,
    pub path: String,
}

#[derive(Deserialize, Serialize)]
pub struct Signature {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<BTreeMap<String, Ipld>>,
    pub protected: Option<Bytes>,
    pub signature: Bytes,
}

#[derive(Deserialize, Serialize)]
pub struct Envelope {
    pub payload: Bytes,
    pub signatures: Vec<Signature>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitHeader {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    controllers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sep: Option<String>,
    model: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    should_index: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_version: Option<Cid>,
}

#[derive(Deserialize, Serialize)]
pub struct Init {
    header: InitHeader,
    data: Option<Ipld>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataHeader {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    should_index: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_version: Option<Cid>,
}

#[derive(Deserialize, Serialize)]
pub struct Data {
    pub id: Cid,
    pub prev: Cid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<DataHeader>,
    data: Ipld,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub enum Root {
    Time(Box<Time>),
    Signed(Envelope),
    Unsigned(Init),
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub enum Payload {
    Data(Data),
    Init(Init),
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    chain_id: String,
    pub root: Cid,
    tx_hash: Cid,
    tx_type: String,
}

/// The protected header of a signature, of which a node reads nothing else.
#[derive(Deserialize)]
pub struct Protected {
    pub cap: Option<String>,
}

#[derive(Deserialize, Serialize)]
enum HeaderType {
    #[serde(rename = "eip4361")]
    Ethereum,
    #[serde(rename = "caip122")]
    AnyChain,
}

#[derive(Deserialize, Serialize)]
struct CapabilityHeader {
    t: HeaderType,
}

#[derive(Deserialize, Serialize)]
struct Grant {
    aud: String,
    domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<String>,
    iat: String,
    iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<String>,
    nonce: String,
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    version: String,
}

#[derive(Deserialize, Serialize)]
enum SignatureType {
    #[serde(rename = "eip191")]
    Ethereum,
    #[serde(rename = "eip1271")]
    Contract,
    #[serde(rename = "solana:ed25519")]
    Solana,
    #[serde(rename = "tezos:ed25519")]
    Tezos,
    #[serde(rename = "stacks:secp256k1")]
    Stacks,
    #[serde(rename = "webauthn:p256")]
    WebAuthn,
    #[serde(rename = "jws")]
    Jws,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum MetadataValue {
    Boolean(bool),
    Integer(i64),
    Null,
    String(String),
}

#[derive(Deserialize, Serialize)]
struct JwsMetadata {
    alg: String,
    kid: String,
    #[serde(flatten)]
    rest: HashMap<String, MetadataValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Metadata {
    Jws(JwsMetadata),
    Any(Ipld),
}

#[derive(Deserialize, Serialize)]
struct CapabilitySignature {
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<Metadata>,
    t: SignatureType,
    s: String,
}

#[derive(Deserialize, Serialize)]
pub struct Capability {
    h: CapabilityHeader,
    p: Grant,
    s: CapabilitySignature,
}
