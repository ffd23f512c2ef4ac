//! What the nodes of `synod node` replicate: registers by key, kept in memory.
//!
//! Small enough to be read at one sitting, and enough to tell whether anything was lost or done
//! twice. Tests that speak to such nodes include this file.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;
use synod::StateMachine;

/// The registers. The maps share structure, so a snapshot is made at once, whatever their size.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Registers(OrdMap<Value, Value>);

/// Bytes that are shared, not copied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Value(Arc<[u8]>);

/// What can be done.
#[derive(Serialize, Deserialize)]
pub(crate) enum Change {
    /// Write a register.
    Put { key: ByteBuf, value: ByteBuf },
    /// Write a register if it holds what is expected; `None`: if there is no such register.
    Swap { key: ByteBuf, expect: Option<ByteBuf>, value: ByteBuf },
    /// Add to the end of what a register holds.
    Append { key: ByteBuf, more: ByteBuf },
}

impl StateMachine for Registers {
    type Command = Change;
    /// Whether anything was written.
    type Reply = bool;
    type Query = ByteBuf;
    type Answer = Option<ByteBuf>;

    fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Put { key, value } => self.put(key, value.into_vec()),
            Change::Swap { key, expect, value } => {
                let now = self.0.get::<[u8]>(&key).map(|value| &*value.0);
                if now != expect.as_ref().map(|expect| &***expect) {
                    return false;
                }
                self.put(key, value.into_vec());
            }
            Change::Append { key, more } => {
                let now = self.0.get::<[u8]>(&key).map_or(&[][..], |value| &*value.0);
                let value = [now, &more].concat();
                self.put(key, value);
            }
        }
        true
    }

    fn query(&self, key: ByteBuf) -> Option<ByteBuf> {
        self.0.get::<[u8]>(&key).map(|value| ByteBuf::from(&*value.0))
    }
}

impl Registers {
    fn put(&mut self, key: ByteBuf, value: Vec<u8>) {
        self.0.insert(Value(key.into_vec().into()), Value(value.into()));
    }
}

impl std::borrow::Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ByteBuf::deserialize(deserializer).map(|bytes| Self(bytes.into_vec().into()))
    }
}
